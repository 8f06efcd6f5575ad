//! Import: from a file to a [`Graph`].
//!
//! Operators of older sets become the newest form. Axes are counted from the front, which needs ranks: types are
//! inferred node by node on the way in, and the model's own declarations fill what inference cannot tell.

mod attributes;
mod control;
mod functions;
#[cfg(test)]
mod mutated;
mod operators;

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::Path;

use fewbit_core::infer::Inference;
use fewbit_core::ir::{DType, Dim, Graph, Lack, Node, Op, Shape, Tensor, ValueId};
use indexmap::IndexMap;
use prost::Message;

use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::external::Folder;
use crate::proto::{
    GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TypeProto, tensor_shape_proto, type_proto,
};
use crate::slim::slim;
use crate::tensor;

use attributes::Attributes;
use operators::table::{self, Translate};

/// The oldest operator set that is read.
pub const OLDEST_OPSET: i64 = 1;
/// The newest operator set whose definitions this build knows.
pub const NEWEST_OPSET: i64 = 28;
/// Tensors of as many bytes are read from the file when it is their turn.
const LARGE: u64 = 1 << 14;
/// Most elements of an input that is set to a number: they are flags and rates.
const MOST_SET: usize = 1 << 16;
/// The newest version of the file's form.
const NEWEST_IR: i64 = 14;

/// How to import.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct ImportOptions {
    /// Extents of inputs by name, which replace what the file leaves free.
    pub shapes: IndexMap<String, Vec<usize>>,
    /// The extent of leading dimensions that are still free; `None` leaves them free.
    pub batch: Option<usize>,
    /// Inputs by name that are this number everywhere: they become constants.
    pub values: IndexMap<String, f64>,
}

impl ImportOptions {
    /// Fixes the inputs listed, and leading dimensions that are still free to `batch`.
    pub fn fixed(shapes: IndexMap<String, Vec<usize>>, batch: Option<usize>) -> Self {
        Self { shapes, batch, values: IndexMap::new() }
    }

    /// The same, with inputs that are one number.
    #[must_use]
    pub fn with_values(mut self, values: IndexMap<String, f64>) -> Self {
        self.values = values;
        self
    }
}

/// Reads the model at `path`; external data may lie in its folder.
///
/// # Errors
/// An [`OnnxError`] that names the file, value or node.
pub fn open(path: &Path, options: &ImportOptions) -> Result<Graph> {
    let unreadable =
        |error: std::io::Error| OnnxError::new(OnnxErrorKind::Read, format!("cannot be read: {error}"));
    let mut file = File::open(path).map_err(unreadable)?;
    let bytes = match slim(&mut file, LARGE).map_err(unreadable)? {
        Some(slim) => slim,
        None => std::fs::read(path).map_err(unreadable)?,
    };
    let folder =
        path.parent().map(|folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder });
    read(bytes.into(), options, &Folder { path: folder.map(Path::to_owned), own: Some(file) })
}

/// Reads a model from bytes; external data is refused.
///
/// # Errors
/// An [`OnnxError`] that names the value or node.
pub fn import(bytes: &[u8], options: &ImportOptions) -> Result<Graph> {
    read(bytes.to_vec().into(), options, &Folder::default())
}

fn read(bytes: prost::bytes::Bytes, options: &ImportOptions, folder: &Folder) -> Result<Graph> {
    let mut model = ModelProto::decode(bytes).map_err(|error| {
        OnnxError::new(
            OnnxErrorKind::Malformed,
            format!("expected an ONNX model, found other or truncated bytes: {error}"),
        )
        .with_help("check that the file was copied whole, and that it is the .onnx itself")
    })?;
    functions::inline(&mut model)?;
    let graph = model.graph.as_ref().ok_or_else(|| {
        OnnxError::new(OnnxErrorKind::Malformed, "expected an ONNX model with a graph, found none")
            .with_help("check that the file was copied whole, and that it is the .onnx itself")
    })?;
    if let Some(version) = model.ir_version.filter(|version| !(3..=NEWEST_IR).contains(version)) {
        return Err(OnnxError::new(
            OnnxErrorKind::Version,
            format!("expected version 3 to {NEWEST_IR} of ONNX's form, found {version}"),
        ));
    }
    let opset = model
        .opset_import
        .iter()
        .find(|set| matches!(set.domain(), "" | "ai.onnx"))
        .map_or(OLDEST_OPSET, OperatorSetIdProto::version);
    if !(OLDEST_OPSET..=NEWEST_OPSET).contains(&opset) {
        return Err(OnnxError::new(
            OnnxErrorKind::Version,
            format!("expected operator set {OLDEST_OPSET} to {NEWEST_OPSET}, found {opset}"),
        )
        .with_help("export the model again, or convert it with onnx.version_converter"));
    }
    let mut importer = Importer::new(&model, graph, opset, options, folder)?;
    importer.graph.metadata =
        model.metadata_props.iter().map(|entry| (entry.key().to_owned(), entry.value().to_owned())).collect();
    for node in importer.sorted(graph)? {
        importer.node(node)?;
    }
    importer.finish(graph)
}

/// What is known while nodes are translated.
struct Importer<'a> {
    graph: Graph,
    inference: Inference,
    opset: i64,
    /// The operator sets of all domains.
    sets: &'a [OperatorSetIdProto],
    folder: &'a Folder,
    values: HashMap<String, ValueId>,
    /// Ranks that the model declares for intermediate values.
    declared: HashMap<String, usize>,
    /// Types that the model declares: all that is known of what an operator without a meaning makes.
    types: HashMap<String, (Option<DType>, Option<Shape>)>,
    node_names: HashSet<String>,
    /// How many bodies of control flow are around.
    depth: usize,
}

impl<'a> Importer<'a> {
    /// Takes over initializers and inputs.
    fn new(
        model: &'a ModelProto,
        proto: &GraphProto,
        opset: i64,
        options: &ImportOptions,
        folder: &'a Folder,
    ) -> Result<Self> {
        let mut this = Self {
            graph: Graph::new(proto.name().to_owned()),
            inference: Inference::new(),
            opset,
            sets: &model.opset_import,
            folder,
            values: HashMap::new(),
            declared: HashMap::new(),
            types: HashMap::new(),
            node_names: HashSet::new(),
            depth: 0,
        };
        this.take_constants(proto)?;
        // Extents that --shape replaces may contradict those of the file further on.
        if options.shapes.is_empty() {
            this.take_types(proto, options.batch)?;
        }
        let mut unused: HashSet<&str> = options.shapes.keys().map(String::as_str).collect();
        let mut unset: HashSet<&str> = options.values.keys().map(String::as_str).collect();
        for input in &proto.input {
            let name = input.name();
            // Before version 4 of the form, initializers are listed as inputs too.
            if this.values.contains_key(name) {
                continue;
            }
            let fail = |message: String| OnnxError::new(OnnxErrorKind::Structure, message).at(name);
            let (elements, shape) = input
                .r#type
                .as_ref()
                .and_then(tensor_type)
                .ok_or_else(|| fail("expected a tensor as input, found another type".to_owned()))?;
            let dtype = tensor::dtype(elements).map_err(|error| error.at(name))?;
            let given = options.shapes.get(name);
            unused.remove(name);
            let mut dims = match (shape, given) {
                (Some(shape), _) => read_dims(shape, name)?,
                (None, Some(given)) => given.iter().map(|&extent| Dim::Fixed(extent)).collect(),
                (None, None) => {
                    return Err(fail("expected an input of known rank, found none".to_owned())
                        .with_help(format!("give --shape {name}=1,3,224,224 (its extents)")));
                }
            };
            if let Some(given) = given {
                fix(&mut dims, given).map_err(fail)?;
            }
            if let (Some(batch), Some(first @ Dim::Symbol(_))) = (options.batch, dims.first_mut()) {
                *first = Dim::Fixed(batch);
            }
            if let Some(&number) = options.values.get(name) {
                unset.remove(name);
                let tensor = filled(dtype, &Shape(dims), number).map_err(fail)?;
                this.constant(name, tensor)?;
                continue;
            }
            let id = this.graph.add_input(name, dtype, Shape(dims));
            this.values.insert(name.to_owned(), id);
        }
        if let Some(name) = unused.into_iter().chain(unset).min() {
            let inputs: Vec<&str> =
                this.graph.inputs.iter().map(|&id| this.graph.value(id).name.as_str()).collect();
            return Err(OnnxError::new(
                OnnxErrorKind::Structure,
                format!("the model has no input `{name}`; its inputs are {}", inputs.join(", ")),
            ));
        }
        Ok(this)
    }

    /// Takes over initializers, and the ranks that the graph declares.
    fn take_constants(&mut self, proto: &GraphProto) -> Result<()> {
        for info in &proto.value_info {
            if let Some((_, Some(shape))) = info.r#type.as_ref().and_then(tensor_type) {
                self.declared.insert(info.name().to_owned(), shape.dim.len());
            }
        }
        for initializer in &proto.initializer {
            let name = initializer.name().to_owned();
            let tensor = tensor::read(initializer, self.folder)?;
            require_finite(&name, &tensor)?;
            self.constant(&name, tensor)?;
        }
        Ok(())
    }

    /// Takes over the types that the graph declares; a leading dimension that is free becomes `batch`.
    fn take_types(&mut self, proto: &GraphProto, batch: Option<usize>) -> Result<()> {
        for info in proto.value_info.iter().chain(&proto.output) {
            let Some((elements, shape)) = info.r#type.as_ref().and_then(tensor_type) else { continue };
            let mut dims = shape.map(|shape| read_dims(shape, info.name())).transpose()?;
            let first = dims.as_mut().and_then(|dims| dims.first_mut());
            if let (Some(batch), Some(first @ Dim::Symbol(_))) = (batch, first) {
                *first = Dim::Fixed(batch);
            }
            let declared = (tensor::dtype(elements).ok(), dims.map(Shape));
            self.types.insert(info.name().to_owned(), declared);
        }
        Ok(())
    }

    fn constant(&mut self, name: &str, tensor: Tensor) -> Result<ValueId> {
        if self.values.contains_key(name) {
            return Err(OnnxError::new(
                OnnxErrorKind::Structure,
                "expected names used once, found a second value",
            )
            .at(name));
        }
        let id = self.graph.add_constant(name, tensor);
        self.values.insert(name.to_owned(), id);
        Ok(id)
    }

    /// A new constant of the importer's own, for attributes that became inputs.
    fn new_constant(&mut self, base: &str, tensor: Tensor) -> ValueId {
        let mut name = base.to_owned();
        let mut number = 2u64;
        while self.values.contains_key(&name) {
            name = format!("{base}_{number}");
            number += 1;
        }
        let id = self.graph.add_constant(name.clone(), tensor);
        self.values.insert(name, id);
        id
    }

    /// A node of the importer's own in front of the one called `base`, for operators that become several; its output.
    fn emit(&mut self, base: &str, op: Op, inputs: Vec<Option<ValueId>>) -> ValueId {
        self.emit_all(base, op, inputs, 1)[0]
    }

    /// As [`Importer::emit`], with several outputs.
    fn emit_all(&mut self, base: &str, op: Op, inputs: Vec<Option<ValueId>>, count: usize) -> Vec<ValueId> {
        let name = self.fresh_name(base, &op);
        let mut outputs = Vec::with_capacity(count);
        for at in 0..count {
            let value = if at == 0 { name.clone() } else { format!("{name}.{at}") };
            let output = self.graph.add_value(value.clone(), None, None);
            self.values.insert(value, output);
            outputs.push(output);
        }
        self.push(Node { name, op, inputs, outputs: outputs.clone(), precision: None });
        outputs
    }

    /// As [`Importer::emit`], making the file's value of that name; nothing where the name is empty.
    fn emit_as(&mut self, base: &str, op: Op, inputs: Vec<Option<ValueId>>, output: &str) {
        if output.is_empty() {
            return;
        }
        let name = self.fresh_name(base, &op);
        let value = self.graph.add_value(output, None, None);
        self.values.insert(output.to_owned(), value);
        self.push(Node { name, op, inputs, outputs: vec![value], precision: None });
    }

    /// A name for a node of the importer's own.
    fn fresh_name(&mut self, base: &str, op: &Op) -> String {
        let base = format!("{base}/{}", op.kind().as_str().to_lowercase());
        let mut name = base.clone();
        let mut number = 2u64;
        while self.values.contains_key(&name) || !self.node_names.insert(name.clone()) {
            name = format!("{base}_{number}");
            number += 1;
        }
        name
    }

    fn push(&mut self, node: Node) {
        let id = self.graph.add_node(node);
        // What cannot be inferred (unknown operators) is left open; a contradiction is found again, and told, by
        // whoever infers the whole graph.
        drop(self.inference.node(&mut self.graph, id));
    }

    /// The nodes in an order in which each reads only what is there.
    fn sorted<'g>(&self, proto: &'g GraphProto) -> Result<Vec<&'g NodeProto>> {
        let mut producer: HashMap<&str, usize> = HashMap::new();
        for (index, node) in proto.node.iter().enumerate() {
            for output in node.output.iter().filter(|output| !output.is_empty()) {
                if self.values.contains_key(output.as_str()) || producer.insert(output, index).is_some() {
                    return Err(OnnxError::new(
                        OnnxErrorKind::Structure,
                        format!("expected every value to be made once, found `{output}` made twice"),
                    )
                    .at(place(node, index)));
                }
            }
        }
        let mut waiting = vec![0usize; proto.node.len()];
        let mut readers: Vec<Vec<usize>> = vec![Vec::new(); proto.node.len()];
        for (index, node) in proto.node.iter().enumerate() {
            for input in control::reads(node).into_iter().filter(|input| !input.is_empty()) {
                if let Some(&from) = producer.get(input) {
                    waiting[index] += 1;
                    readers[from].push(index);
                } else if !self.values.contains_key(input) {
                    return Err(OnnxError::new(
                        OnnxErrorKind::Structure,
                        format!(
                            "expected an initializer, an input or a node that makes `{input}`, found none"
                        ),
                    )
                    .at(place(node, index))
                    .with_help("the file lacks a weight or was cut from a larger model; export it again"));
                }
            }
        }
        let mut ready: std::collections::BTreeSet<usize> =
            (0..proto.node.len()).filter(|&index| waiting[index] == 0).collect();
        let mut order = Vec::with_capacity(proto.node.len());
        while let Some(index) = ready.pop_first() {
            order.push(&proto.node[index]);
            for &reader in &readers[index] {
                waiting[reader] -= 1;
                if waiting[reader] == 0 {
                    ready.insert(reader);
                }
            }
        }
        if order.len() < proto.node.len() {
            let index = waiting.iter().position(|&count| count > 0).unwrap_or(0);
            return Err(OnnxError::new(OnnxErrorKind::Structure, "expected an acyclic graph, found a cycle")
                .at(place(&proto.node[index], index))
                .with_help("export the model again"));
        }
        Ok(order)
    }

    fn node(&mut self, proto: &NodeProto) -> Result<()> {
        let name = self.node_name(proto);
        let inputs: Vec<Option<ValueId>> =
            proto.input.iter().map(|input| self.values.get(input.as_str()).copied()).collect();
        let attributes = Attributes::new(proto, &name);
        let operator = table::find(own_domain(proto), proto.op_type());
        let before = self.graph.node_ids().len();
        let translated = match operator.map(|operator| (operator, &operator.translate)) {
            Some((_, Translate::Constant)) => {
                let tensor =
                    attributes.constant(self.folder).and_then(|tensor| attributes.check().map(|()| tensor));
                let tensor = tensor.map_err(|error| error.at(&name))?;
                if let Some(output) = proto.output.first() {
                    require_finite(output, &tensor)?;
                    self.constant(output, tensor)?;
                }
                return Ok(());
            }
            Some((_, Translate::Control)) => self.control(proto, &attributes, &inputs),
            Some((operator, Translate::Op(to_op))) => {
                operators::translate(self, operator, *to_op, proto, &attributes, inputs.clone())
            }
            Some((_, Translate::Absorbed(form))) => Err(OnnxError::lack(*form)),
            None => Err(OnnxError::lack("")),
        };
        // Before what was concluded from an attribute that was not there as it must be.
        attributes.check().map_err(|error| error.at(&name))?;
        let translated = match translated {
            Ok(translated) => translated,
            Err(error) => match error.as_lack() {
                Some(lack) => {
                    // What was emitted before it was clear that the form is not supported.
                    for id in self.graph.node_ids().split_off(before) {
                        self.graph.remove_node(id);
                    }
                    let op = self.opaque(proto, &attributes, operator.map(|_| lack));
                    Translated { op, inputs, outputs: proto.output.clone() }
                }
                None => return Err(error.at(&name)),
            },
        };
        let mut outputs = Vec::new();
        for output in &translated.outputs {
            let value_name = if output.is_empty() {
                self.graph.fresh_value_name(&format!("{name}_unused"))
            } else {
                output.clone()
            };
            // What passes absorb is inferred as ever.
            let absorbed =
                operator.is_some_and(|operator| matches!(operator.translate, Translate::Absorbed(_)));
            let declared = match &translated.op {
                Op::Opaque { .. } if !absorbed => self.types.get(&value_name).cloned(),
                _ => None,
            };
            let (dtype, shape) = declared.unwrap_or_default();
            let id = self.graph.add_value(value_name.clone(), dtype, shape);
            self.values.insert(value_name, id);
            outputs.push(id);
        }
        let mut inputs = translated.inputs;
        while inputs.last() == Some(&None) {
            inputs.pop();
        }
        self.push(Node { name, op: translated.op, inputs, outputs, precision: None });
        Ok(())
    }

    /// The node's own name, or its operator and number; unique.
    fn node_name(&mut self, proto: &NodeProto) -> String {
        let base = match proto.name() {
            "" => proto.output.first().map_or_else(|| proto.op_type().to_owned(), Clone::clone),
            name => name.to_owned(),
        };
        let mut name = base.clone();
        let mut number = 2u64;
        while !self.node_names.insert(name.clone()) {
            name = format!("{base}_{number}");
            number += 1;
        }
        name
    }

    /// An operator without a meaning in the IR, with its attributes and what is lacking kept for display: nothing of
    /// the operator (`None`), or a form of it.
    fn opaque(&self, proto: &NodeProto, attributes: &Attributes, form: Option<(&str, Option<&str>)>) -> Op {
        let (domain, op_type) = (own_domain(proto), proto.op_type());
        let version = |set: &&OperatorSetIdProto| match set.domain() {
            "ai.onnx" => domain.is_empty(),
            set => set == domain,
        };
        let opset = self.sets.iter().find(version).map(OperatorSetIdProto::version);
        let lack = match form {
            Some((form, remedy)) => {
                Lack { opset, form: Some(form.to_owned()), nearest: None, remedy: remedy.map(str::to_owned) }
            }
            None => Lack { opset, form: None, nearest: table::nearest(op_type), remedy: None },
        };
        Op::Opaque {
            domain: domain.to_owned(),
            op_type: op_type.to_owned(),
            attributes: attributes.all(),
            lack: Box::new(lack),
        }
    }

    /// The rank of a value, by inference or by the model's declaration.
    fn rank(&self, id: Option<ValueId>) -> Result<usize> {
        let Some(id) = id else {
            return Err(OnnxError::new(OnnxErrorKind::Attribute, "expected an input, found none"));
        };
        let value = self.graph.value(id);
        value.shape.as_ref().map(Shape::rank).or_else(|| self.declared.get(&value.name).copied()).ok_or_else(
            || {
                OnnxError::lack(format!("`{}` of unknown rank; known ranks are supported", value.name))
                    .with_help("run onnx.shape_inference on the model, or fix its inputs with --shape")
            },
        )
    }

    /// The elements of a value, where it is constant or computed from constants and known extents alone.
    fn constant_of(&self, id: Option<ValueId>) -> Option<&Tensor> {
        let id = id?;
        self.graph.value(id).constant.as_ref().or_else(|| self.inference.tensor(id))
    }

    fn finish(mut self, proto: &GraphProto) -> Result<Graph> {
        for output in &proto.output {
            let id = self.values.get(output.name()).copied().ok_or_else(|| {
                OnnxError::new(OnnxErrorKind::Structure, "expected a node that makes this output, found none")
                    .at(output.name())
            })?;
            self.graph.outputs.push(id);
        }
        if self.graph.outputs.is_empty() {
            return Err(OnnxError::new(
                OnnxErrorKind::Structure,
                "expected a graph with outputs, found none",
            ));
        }
        Ok(self.graph)
    }
}

/// What a node became.
struct Translated {
    op: Op,
    inputs: Vec<Option<ValueId>>,
    outputs: Vec<String>,
}

fn place(node: &NodeProto, index: usize) -> String {
    match node.name() {
        "" => format!("{} (node {index})", node.op_type()),
        name => name.to_owned(),
    }
}

fn tensor_type(proto: &TypeProto) -> Option<(i32, Option<&crate::proto::TensorShapeProto>)> {
    match proto.value.as_ref()? {
        type_proto::Value::TensorType(tensor) => Some((tensor.elem_type(), tensor.shape.as_ref())),
        _ => None,
    }
}

fn read_dims(shape: &crate::proto::TensorShapeProto, name: &str) -> Result<Vec<Dim>> {
    shape
        .dim
        .iter()
        .enumerate()
        .map(|(axis, dim)| match &dim.value {
            Some(tensor_shape_proto::dimension::Value::DimValue(extent)) if *extent >= 0 => {
                usize::try_from(*extent).map(Dim::Fixed).map_err(|_| {
                    OnnxError::new(
                        OnnxErrorKind::Structure,
                        format!("expected an extent that fits, found {extent}"),
                    )
                    .at(name)
                })
            }
            // Some exporters write -1 for a free dimension.
            Some(tensor_shape_proto::dimension::Value::DimValue(_)) | None => {
                Ok(Dim::Symbol(format!("{name}.{axis}")))
            }
            Some(tensor_shape_proto::dimension::Value::DimParam(symbol)) => {
                Ok(Dim::Symbol(if symbol.is_empty() { format!("{name}.{axis}") } else { symbol.clone() }))
            }
        })
        .collect()
}

/// Replaces dimensions by given extents; a dimension that is known must agree, but for the first (the batch).
fn fix(dims: &mut [Dim], given: &[usize]) -> Result<(), String> {
    if dims.len() != given.len() {
        return Err(format!("expected {} extents in --shape, found {}", dims.len(), given.len()));
    }
    for (axis, (dim, &extent)) in dims.iter_mut().zip(given).enumerate() {
        match dim {
            Dim::Fixed(fixed) if *fixed != extent && axis > 0 => {
                return Err(format!("the model fixes axis {axis} to {fixed}, found {extent} in --shape"));
            }
            _ => *dim = Dim::Fixed(extent),
        }
    }
    Ok(())
}

/// A tensor that is one number everywhere.
fn filled(dtype: DType, shape: &Shape, number: f64) -> Result<Tensor, String> {
    let extents =
        shape.extents().ok_or_else(|| format!("expected fixed extents of a set input, found {shape}"))?;
    let elements = extents.iter().try_fold(1usize, |product, &extent| product.checked_mul(extent));
    let elements = elements
        .filter(|&elements| elements <= MOST_SET)
        .ok_or_else(|| format!("expected a set input of at most {MOST_SET} elements, found {shape}"))?;
    if dtype.is_integer() && number.fract() != 0.0 {
        return Err(format!("expected a whole number for elements of type {dtype}, found {number}"));
    }
    Tensor::from_f64(dtype, &extents, &vec![number; elements]).map_err(|error| error.to_string())
}

/// Refuses float tensors that hold NaN: nothing sensible can follow from them.
fn require_finite(name: &str, tensor: &Tensor) -> Result<()> {
    let found = match tensor.dtype() {
        DType::F32 => tensor.as_slice::<f32>().is_ok_and(|values| values.iter().any(|x| x.is_nan())),
        DType::F16 | DType::Bf16 | DType::F64 => tensor.to_f64_vec().iter().any(|x| x.is_nan()),
        _ => false,
    };
    if found {
        return Err(OnnxError::new(OnnxErrorKind::NotFinite, "expected numbers as weights, found NaN")
            .at(name)
            .with_help("the training or the export went wrong; export the model again"));
    }
    Ok(())
}

/// The operator's domain, empty for ONNX's own.
fn own_domain(proto: &NodeProto) -> &str {
    match proto.domain() {
        "ai.onnx" => "",
        domain => domain,
    }
}
