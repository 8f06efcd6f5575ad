//! Attributes of one node, read by name and type.

use std::cell::Cell;

use fewbit_core::ir::{Attribute, Tensor};
use indexmap::IndexMap;

use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::external::Folder;
use crate::proto::attribute_proto::AttributeType;
use crate::proto::{AttributeProto, GraphProto, NodeProto};
use crate::tensor;

/// The attributes of a node.
pub(super) struct Attributes<'a> {
    node: &'a NodeProto,
    name: &'a str,
    /// The number of the first attribute read as a type that it is not of, and that type.
    mistaken: Cell<Option<(usize, AttributeType)>>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(node: &'a NodeProto, name: &'a str) -> Self {
        Self { node, name, mistaken: Cell::new(None) }
    }

    /// The node's name.
    pub(super) fn name(&self) -> &'a str {
        self.name
    }

    fn find(&self, name: &str) -> Option<&'a AttributeProto> {
        self.node.attribute.iter().find(|attribute| attribute.name() == name)
    }

    /// The attribute if it is of type `expected`. One of another type counts as absent until [`Self::check`].
    fn typed(&self, name: &str, expected: AttributeType) -> Option<&'a AttributeProto> {
        let at = self.node.attribute.iter().position(|attribute| attribute.name() == name)?;
        let attribute = &self.node.attribute[at];
        // Old writers leave the type out: it is that of the field that is there.
        if matches!(attribute.r#type(), AttributeType::Undefined) || attribute.r#type() == expected {
            return Some(attribute);
        }
        if self.mistaken.get().is_none() {
            self.mistaken.set(Some((at, expected)));
        }
        None
    }

    /// Fails if an attribute that was asked for is of another type.
    pub(super) fn check(&self) -> Result<()> {
        let Some((at, expected)) = self.mistaken.get() else { return Ok(()) };
        let attribute = &self.node.attribute[at];
        let name = |kind: AttributeType| kind.as_str_name().to_lowercase();
        Err(self.fail(format!(
            "expects {} of type {}, found {}",
            attribute.name(),
            name(expected),
            name(attribute.r#type())
        )))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.find(name).is_some()
    }

    pub(super) fn fail(&self, message: impl std::fmt::Display) -> OnnxError {
        OnnxError::new(OnnxErrorKind::Attribute, format!("{} {message}", self.node.op_type())).at(self.name)
    }

    /// The node's form of its operator is valid, but has no meaning here: `form` says which, and which have one.
    pub(super) fn lacks(&self, form: impl Into<String>) -> OnnxError {
        OnnxError::lack(form).at(self.name)
    }

    pub(super) fn int(&self, name: &str, default: i64) -> i64 {
        self.typed(name, AttributeType::Int).map_or(default, AttributeProto::i)
    }

    pub(super) fn flag(&self, name: &str, default: bool) -> bool {
        self.int(name, i64::from(default)) != 0
    }

    pub(super) fn float(&self, name: &str, default: f32) -> f32 {
        self.typed(name, AttributeType::Float).map_or(default, AttributeProto::f)
    }

    pub(super) fn ints(&self, name: &str) -> Option<&'a [i64]> {
        self.typed(name, AttributeType::Ints).map(|attribute| attribute.ints.as_slice())
    }

    pub(super) fn floats(&self, name: &str) -> Option<&'a [f32]> {
        self.typed(name, AttributeType::Floats).map(|attribute| attribute.floats.as_slice())
    }

    /// A graph, where there is one.
    pub(super) fn graph(&self, name: &str) -> Option<&'a GraphProto> {
        self.typed(name, AttributeType::Graph).and_then(|attribute| attribute.g.as_ref())
    }

    /// Texts, none where absent; what is not UTF-8 is empty.
    pub(super) fn texts(&self, name: &str) -> Vec<String> {
        let texts = self
            .typed(name, AttributeType::Strings)
            .map(|attribute| attribute.strings.as_slice())
            .unwrap_or_default();
        texts.iter().map(|text| String::from_utf8(text.to_vec()).unwrap_or_default()).collect()
    }

    pub(super) fn text(&self, name: &str, default: &'a str) -> &'a str {
        self.typed(name, AttributeType::String)
            .and_then(|attribute| attribute.s.as_deref())
            .map_or(default, |text| std::str::from_utf8(text).unwrap_or_default())
    }

    pub(super) fn tensor(&self, name: &str, folder: &Folder) -> Result<Option<Tensor>> {
        self.typed(name, AttributeType::Tensor)
            .and_then(|attribute| attribute.t.as_ref())
            .map(|proto| tensor::read(proto, folder))
            .transpose()
    }

    /// Extents or counts: whole numbers of at least `least`, as many as `rank`, or `default` each where absent.
    pub(super) fn extents(&self, name: &str, rank: usize, default: usize, least: i64) -> Result<Vec<usize>> {
        let Some(values) = self.ints(name) else { return Ok(vec![default; rank]) };
        if values.len() != rank || values.iter().any(|&value| value < least || value > i64::from(u32::MAX)) {
            return Err(
                self.fail(format!("expects {rank} values of at least {least} in {name}, found {values:?}"))
            );
        }
        Ok(values.iter().map(|&value| value as usize).collect())
    }

    /// The tensor of a Constant node, in any of its forms.
    pub(super) fn constant(&self, folder: &Folder) -> Result<Tensor> {
        if let Some(tensor) = self.tensor("value", folder)? {
            return Ok(tensor);
        }
        let from_core = |error| OnnxError::core(OnnxErrorKind::Tensor, error);
        if let Some(attribute) = self.typed("value_float", AttributeType::Float) {
            return Ok(Tensor::scalar(attribute.f()));
        }
        if let Some(attribute) = self.typed("value_int", AttributeType::Int) {
            return Ok(Tensor::scalar(attribute.i()));
        }
        if let Some(values) = self.floats("value_floats") {
            return Tensor::from_slice(&[values.len()], values).map_err(from_core);
        }
        if let Some(values) = self.ints("value_ints") {
            return Tensor::from_slice(&[values.len()], values).map_err(from_core);
        }
        Err(self.fail("expects a tensor or numbers as value, found none or another kind"))
    }

    /// All of them, for display.
    pub(super) fn all(&self) -> IndexMap<String, Attribute> {
        self.node
            .attribute
            .iter()
            .map(|attribute| {
                let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
                let value = match attribute.r#type() {
                    AttributeType::Float => Attribute::Float(attribute.f()),
                    AttributeType::Int => Attribute::Int(attribute.i()),
                    AttributeType::String => Attribute::Text(text(attribute.s())),
                    AttributeType::Floats => Attribute::Floats(attribute.floats.clone()),
                    AttributeType::Ints => Attribute::Ints(attribute.ints.clone()),
                    AttributeType::Strings => {
                        Attribute::Texts(attribute.strings.iter().map(|bytes| text(bytes)).collect())
                    }
                    other => Attribute::Other(other.as_str_name().to_lowercase()),
                };
                (attribute.name().to_owned(), value)
            })
            .collect()
    }
}
