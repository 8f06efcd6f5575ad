//! Control flow: bodies become closed graphs, to which what they read from outside is given.

use std::collections::{HashMap, HashSet};

use fewbit_core::infer::Inference;
use fewbit_core::ir::{Control, DType, Dim, Graph, MOST_NESTING, Op, ScanAxis, Shape, Tensor, ValueId};
use indexmap::IndexSet;

use super::attributes::Attributes;
use super::{Importer, Translated, tensor_type};
use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::proto::{GraphProto, NodeProto, TensorProto, ValueInfoProto};
use crate::tensor;

/// Most axes of a body's input whose rank alone is known: a file may declare any number.
const MOST_AXES: usize = 64;

/// What a body's own input is given, as far as the node's inputs tell.
#[derive(Clone, Default)]
struct Own {
    dtype: Option<DType>,
    rank: Option<usize>,
}

/// A value from outside that a body reads.
struct Captured {
    name: String,
    id: ValueId,
    /// Its elements, where they are known: then the body gets a constant instead.
    constant: Option<Tensor>,
}

/// The names that a node reads: its inputs, and what its bodies read from outside.
pub(super) fn reads(node: &NodeProto) -> IndexSet<&str> {
    let mut names: IndexSet<&str> = node.input.iter().map(String::as_str).collect();
    for attribute in &node.attribute {
        for body in attribute.g.iter().chain(&attribute.graphs) {
            names.extend(free(body));
        }
    }
    names
}

/// The names that a body reads and does not define. Nesting is as deep as a protobuf message may be.
fn free(body: &GraphProto) -> IndexSet<&str> {
    let mut own: HashSet<&str> = body.initializer.iter().map(TensorProto::name).collect();
    own.extend(body.input.iter().map(ValueInfoProto::name));
    own.extend(body.node.iter().flat_map(|node| &node.output).map(String::as_str));
    let read = body.node.iter().flat_map(reads).chain(body.output.iter().map(ValueInfoProto::name));
    read.filter(|name| !name.is_empty() && !own.contains(name)).collect()
}

impl Importer<'_> {
    /// The node as control flow over closed bodies.
    pub(super) fn control(
        &mut self,
        proto: &NodeProto,
        a: &Attributes,
        inputs: &[Option<ValueId>],
    ) -> Result<Translated> {
        let names: &[&str] = match proto.op_type() {
            "If" => &["then_branch", "else_branch"],
            _ => &["body"],
        };
        let mut bodies = Vec::new();
        for name in names {
            bodies.push(a.graph(name).ok_or_else(|| a.fail(format!("expects a graph {name}, found none")))?);
        }
        let captured: IndexSet<&str> = bodies.iter().flat_map(|body| free(body)).collect();
        let captured: Vec<Captured> = captured
            .into_iter()
            .filter_map(|name| {
                let id = *self.values.get(name)?;
                Some(Captured { name: name.to_owned(), id, constant: self.constant_of(Some(id)).cloned() })
            })
            .collect();
        let own = |id: &Option<ValueId>| Own {
            dtype: id.and_then(|id| self.graph.value(id).dtype),
            rank: self.rank(*id).ok(),
        };
        let op = match proto.op_type() {
            "If" => {
                let else_branch = self.body(bodies[1], &[], &captured)?;
                let then_branch = self.body(bodies[0], &[], &captured)?;
                Control::If { then_branch, else_branch }
            }
            "Loop" => {
                let carried = inputs.len().saturating_sub(2);
                let scalar = |dtype| Own { dtype: Some(dtype), rank: Some(0) };
                let mut given = vec![scalar(DType::I64), scalar(DType::Bool)];
                given.extend(inputs.iter().skip(2).map(own));
                Control::Loop { body: self.body(bodies[0], &given, &captured)?, carried }
            }
            _ => self.scan(a, bodies[0], inputs, &captured)?,
        };
        let mut inputs = inputs.to_vec();
        if let Control::Loop { .. } = op {
            inputs.resize(inputs.len().max(2), None);
        }
        inputs.extend(captured.iter().filter(|value| value.constant.is_none()).map(|value| Some(value.id)));
        let mut outputs = proto.output.clone();
        let (_, body) = op.bodies()[0];
        // Outputs that nobody names are still made.
        outputs.resize(outputs.len().max(body.outputs.len().saturating_sub(op.own_outputs())), String::new());
        Ok(Translated { op: Op::Control(Box::new(op)), inputs, outputs })
    }

    fn scan(
        &self,
        a: &Attributes,
        proto: &GraphProto,
        inputs: &[Option<ValueId>],
        captured: &[Captured],
    ) -> Result<Control> {
        if self.opset < 9 {
            return Err(a.lacks("a scan with a batch; scans without one, from set 9 on, are supported"));
        }
        let count = usize::try_from(a.int("num_scan_inputs", 0)).unwrap_or(0);
        let carried =
            inputs.len().checked_sub(count).filter(|_| count > 0).ok_or_else(|| {
                a.fail(format!("expects 1 to {} scanned inputs, found {count}", inputs.len()))
            })?;
        let at =
            |name: &str, index: usize| a.ints(name).and_then(|list| list.get(index)).copied().unwrap_or(0);
        let axis = |axis: i64, rank: usize| -> Result<usize> {
            let found = if axis < 0 { axis.saturating_add_unsigned(rank as u64) } else { axis };
            usize::try_from(found)
                .ok()
                .filter(|&found| found < rank)
                .ok_or_else(|| a.fail(format!("expects an axis of rank {rank}, found {axis}")))
        };
        let mut given = Vec::new();
        let mut scanned = Vec::new();
        for (index, &id) in inputs.iter().enumerate() {
            let dtype = id.and_then(|id| self.graph.value(id).dtype);
            let Some(index) = index.checked_sub(carried) else {
                given.push(Own { dtype, rank: self.rank(id).ok() });
                continue;
            };
            let rank = self.rank(id)?;
            let axis = axis(at("scan_input_axes", index), rank)?;
            scanned.push(ScanAxis { axis, reverse: at("scan_input_directions", index) == 1 });
            given.push(Own { dtype, rank: Some(rank - 1) });
        }
        let body = self.body(proto, &given, captured)?;
        let mut collected = Vec::new();
        for index in 0..body.outputs.len().saturating_sub(carried) {
            let wanted = at("scan_output_axes", index);
            let rank = body.value(body.outputs[carried + index]).shape.as_ref().map(Shape::rank);
            let axis = match (usize::try_from(wanted), rank) {
                (Ok(axis), _) => axis,
                (Err(_), Some(rank)) => axis(wanted, rank + 1)?,
                (Err(_), None) => {
                    return Err(a.lacks(format!(
                        "scan_output_axes {wanted} of an output of unknown rank; axes of 0 and more are supported"
                    )));
                }
            };
            collected.push(ScanAxis { axis, reverse: at("scan_output_directions", index) == 1 });
        }
        Ok(Control::Scan { body, carried, scanned, collected })
    }

    /// A body as a closed graph: its own inputs, then the captured values that are not constant.
    fn body(&self, proto: &GraphProto, own: &[Own], captured: &[Captured]) -> Result<Graph> {
        if self.depth >= MOST_NESTING {
            return Err(OnnxError::new(
                OnnxErrorKind::Structure,
                format!("expected control flow at most {MOST_NESTING} deep, found more"),
            ));
        }
        let mut inner = Importer {
            graph: Graph::new(proto.name().to_owned()),
            inference: Inference::new(),
            opset: self.opset,
            sets: self.sets,
            folder: self.folder,
            values: HashMap::new(),
            declared: HashMap::new(),
            types: HashMap::new(),
            node_names: HashSet::new(),
            depth: self.depth + 1,
        };
        inner.take_constants(proto)?;
        inner.take_types(proto, None)?;
        let inputs: Vec<_> =
            proto.input.iter().filter(|input| !inner.values.contains_key(input.name())).collect();
        if inputs.len() != own.len() {
            return Err(OnnxError::new(
                OnnxErrorKind::Structure,
                format!("expected a body of {} inputs, found {}", own.len(), inputs.len()),
            ));
        }
        for (input, own) in inputs.into_iter().zip(own) {
            let told = input.r#type.as_ref().and_then(tensor_type);
            let dtype = match told {
                Some((elements, _)) if elements != 0 => {
                    Some(tensor::dtype(elements).map_err(|error| error.at(input.name()))?)
                }
                _ => own.dtype,
            };
            let rank = told.and_then(|(_, shape)| shape.map(|shape| shape.dim.len())).or(own.rank);
            if let Some(rank) = rank {
                inner.declared.insert(input.name().to_owned(), rank);
            }
            let free =
                |rank| Shape((0..rank).map(|axis| Dim::Symbol(format!("{}.{axis}", input.name()))).collect());
            let shape = rank.filter(|&rank| rank <= MOST_AXES).map(free);
            inner.input(input.name(), dtype, shape)?;
        }
        for value in captured {
            if let Some(tensor) = &value.constant {
                inner.constant(&value.name, tensor.clone())?;
                continue;
            }
            let outer = self.graph.value(value.id);
            if let Ok(rank) = self.rank(Some(value.id)) {
                inner.declared.insert(value.name.clone(), rank);
            }
            inner.input(&value.name, outer.dtype, outer.shape.clone())?;
        }
        for node in inner.sorted(proto)? {
            inner.node(node)?;
        }
        inner.finish(proto)
    }

    fn input(&mut self, name: &str, dtype: Option<DType>, shape: Option<Shape>) -> Result<()> {
        let id = self.graph.add_value(name, dtype, shape);
        self.graph.inputs.push(id);
        if self.values.insert(name.to_owned(), id).is_some() {
            return Err(OnnxError::new(
                OnnxErrorKind::Structure,
                "expected names used once, found a second value",
            )
            .at(name));
        }
        Ok(())
    }
}
