//! Control flow: what bodies learn from a node's inputs, and the node's outputs from its bodies.
//!
//! [`settle`] gives each body the types and shapes of what it gets and infers it; [`outputs`] reads the bodies. A
//! carried value keeps an extent only where every round keeps it. Names of extents mean nothing outside their body,
//! so that those which do not come from outside are renamed on the way out.

use super::site::{Inferred, Known, Operand, Site};
use super::{dims, infer_given};
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::{Control, DType, Dim, Graph, NodeId, Op, ScanAxis, Shape, Tensor, ValueId};

/// What a body is told of one of its inputs.
#[derive(Debug, Clone, Default)]
pub(super) struct Given {
    /// Its element type, where known.
    pub dtype: Option<DType>,
    /// Its shape, where known.
    pub shape: Option<Shape>,
    /// Its elements, as far as known.
    pub known: Option<Known>,
}

impl Given {
    fn of(operand: &Operand) -> Self {
        let known = operand.known.cloned().or_else(|| operand.tensor.cloned().map(Known::Tensor));
        Given { dtype: operand.dtype, shape: operand.shape.clone(), known }
    }

    fn scalar(dtype: DType) -> Self {
        Given { dtype: Some(dtype), shape: Some(Shape(Vec::new())), known: None }
    }
}

/// Infers the bodies of the node `id` anew from what is known of its inputs.
pub(super) fn settle(graph: &mut Graph, id: NodeId, known: &[Option<Known>]) -> Result<()> {
    let Some(node) = graph.node(id) else { return Ok(()) };
    let (Op::Control(control), place) = (&node.op, node.name.clone()) else { return Ok(()) };
    let site = Site::from_graph(graph, node, known);
    check(&site, control)?;
    let given: Vec<Given> = site.inputs.iter().flatten().map(Given::of).collect();
    let absent = site.inputs.iter().map(Option::is_none).collect::<Vec<_>>();
    let choice = condition(&site, 0);
    let Some(node) = graph.node_mut(id) else { return Ok(()) };
    let Op::Control(control) = &mut node.op else { return Ok(()) };
    let result = match control.as_mut() {
        Control::If { then_branch, else_branch } => {
            // A branch that cannot be taken may contradict the shapes that there are.
            let taken = |branch: bool| choice.is_none_or(|choice| choice == branch);
            let mut result = Ok(());
            if taken(true) {
                result = infer_given(then_branch, &given[1..]);
            }
            if taken(false) && result.is_ok() {
                result = infer_given(else_branch, &given[1..]);
            }
            result
        }
        Control::Loop { body, carried } => {
            let behind = 2 - absent.iter().take(2).filter(|&&absent| absent).count();
            let mut inputs = vec![Given::scalar(DType::I64), Given::scalar(DType::Bool)];
            inputs.extend_from_slice(&given[behind..]);
            carry(body, inputs, 2..2 + *carried, 1, &place)
        }
        Control::Scan { body, carried, scanned, .. } => {
            let mut inputs = given;
            for (input, along) in inputs[*carried..].iter_mut().zip(scanned.iter()) {
                input.known = None;
                if let Some(shape) = &mut input.shape
                    && along.axis < shape.rank()
                {
                    shape.0.remove(along.axis);
                }
            }
            carry(body, inputs, 0..*carried, 0, &place)
        }
    };
    result.map_err(|error| error.at(place))
}

/// Infers a body that is run again and again: extents of its inputs `carried`, which come back from `first` of its
/// outputs on, are known only where they stay.
fn carry(
    body: &mut Graph,
    mut given: Vec<Given>,
    carried: std::ops::Range<usize>,
    first: usize,
    place: &str,
) -> Result<()> {
    for input in &mut given[carried.clone()] {
        input.known = None;
    }
    let unknown = |value: usize, axis: usize| dims::symbol(format!("{place}.carried{value}#{axis}"));
    let forget = |given: &mut [Given], back: Option<&Graph>| {
        let mut changed = false;
        for (at, input) in given[carried.clone()].iter_mut().enumerate() {
            let returned = back.map(|body| body.value(body.outputs[first + at]).shape.as_ref());
            let Some(shape) = &mut input.shape else { continue };
            match returned {
                Some(Some(returned)) if returned.rank() == shape.rank() => {
                    for (axis, (dim, back)) in shape.0.iter_mut().zip(returned.dims()).enumerate() {
                        if *dim != *back && *dim != unknown(at, axis) {
                            *dim = unknown(at, axis);
                            changed = true;
                        }
                    }
                }
                Some(_) => {
                    input.shape = None;
                    changed = true;
                }
                None => {
                    for (axis, dim) in shape.0.iter_mut().enumerate() {
                        *dim = unknown(at, axis);
                    }
                }
            }
        }
        changed
    };
    // First as the values come in, then without what did not stay: mostly one of them settles it.
    for _ in 0..2 {
        let mut tried = body.clone();
        if infer_given(&mut tried, &given).is_ok() && !forget(&mut given, Some(&tried)) {
            *body = tried;
            return Ok(());
        }
    }
    forget(&mut given, None);
    let mut tried = body.clone();
    infer_given(&mut tried, &given)?;
    if forget(&mut given, Some(&tried)) {
        infer_given(body, &given)?;
    } else {
        *body = tried;
    }
    Ok(())
}

/// The truth value of the input at `index`, where it is known.
fn condition(site: &Site, index: usize) -> Option<bool> {
    let tensor = site.optional(index)?.tensor?;
    (tensor.elements() == 1).then(|| tensor.to_i64_vec()[0] != 0)
}

/// What is known of the outputs of control flow over bodies that are inferred.
pub(super) fn outputs(site: &Site, control: &Control) -> Result<Vec<Inferred>> {
    check(site, control)?;
    let outer: Vec<&str> = site
        .inputs
        .iter()
        .flatten()
        .filter_map(Operand::dims)
        .flatten()
        .filter_map(|dim| match dim {
            Dim::Symbol(name) => Some(name.as_str()),
            Dim::Fixed(_) => None,
        })
        .collect();
    let outside = |dim: &Dim, output: usize, axis: usize| match dim {
        Dim::Symbol(name) if !outer.contains(&name.as_str()) => site.unknown(output, axis),
        dim => dim.clone(),
    };
    let value = |body: &Graph, id: ValueId, output: usize| {
        let value = body.value(id);
        let dims = |shape: &Shape| {
            shape.dims().iter().enumerate().map(|(axis, dim)| outside(dim, output, axis)).collect()
        };
        Inferred { dtype: value.dtype, shape: value.shape.as_ref().map(|shape| Shape(dims(shape))) }
    };
    let stacked = |body: &Graph, id: ValueId, output: usize, along: ScanAxis, count: &Dim| {
        let mut inferred = value(body, id, output);
        if let Some(shape) = &mut inferred.shape {
            if along.axis > shape.rank() {
                return Err(site.error(format!(
                    "expected to stack along an axis up to {}, found {}",
                    shape.rank(),
                    along.axis
                )));
            }
            shape.0.insert(along.axis, count.clone());
        }
        Ok(inferred)
    };
    match control {
        Control::If { then_branch, else_branch } => {
            let branch = |body: &Graph| -> Vec<Inferred> {
                body.outputs.iter().enumerate().map(|(at, &id)| value(body, id, at)).collect()
            };
            let (first, second) = (branch(then_branch), branch(else_branch));
            match condition(site, 0) {
                Some(true) => return Ok(first),
                Some(false) => return Ok(second),
                None => {}
            }
            first.into_iter().zip(second).enumerate().map(|(at, pair)| either(site, at, pair)).collect()
        }
        Control::Loop { body, carried } => {
            let count = rounds(site, body);
            let count = count.map_or_else(|| site.unknown(*carried, 0), Dim::Fixed);
            let kept = (0..*carried).map(|at| Ok(value(body, body.inputs[2 + at], at)));
            let stacks = (*carried..site.node.outputs.len()).map(|at| {
                stacked(body, body.outputs[1 + at], at, ScanAxis { axis: 0, reverse: false }, &count)
            });
            kept.chain(stacks).collect()
        }
        Control::Scan { body, carried, scanned, collected } => {
            let mut count: Option<Dim> = None;
            for (at, along) in scanned.iter().enumerate() {
                let Some(dims) = site.required(carried + at)?.dims() else { continue };
                let dim = dims[site.axis(along.axis, dims.len())?].clone();
                count = Some(match count {
                    None => dim,
                    Some(other) => dims::unify(&other, &dim).ok_or_else(|| {
                        site.error(format!("expected slices as many in each input, found {other} and {dim}"))
                    })?,
                });
            }
            let count = count.unwrap_or_else(|| site.unknown(*carried, 0));
            let kept = (0..*carried).map(|at| Ok(value(body, body.inputs[at], at)));
            let stacks = collected
                .iter()
                .enumerate()
                .map(|(at, along)| stacked(body, body.outputs[carried + at], carried + at, *along, &count));
            kept.chain(stacks).collect()
        }
    }
}

/// What is known of an output that either body makes.
fn either(site: &Site, at: usize, (a, b): (Inferred, Inferred)) -> Result<Inferred> {
    if let (Some(a), Some(b)) = (a.dtype, b.dtype)
        && a != b
    {
        return Err(site
            .error(format!("expected output {at} of one element type in both branches, found {a} and {b}")));
    }
    let shape = match (a.shape, b.shape) {
        (Some(a), Some(b)) if a.rank() == b.rank() => {
            let pairs = a.0.into_iter().zip(b.0).enumerate();
            Some(Shape(pairs.map(|(axis, (a, b))| if a == b { a } else { site.unknown(at, axis) }).collect()))
        }
        _ => None,
    };
    Ok(Inferred { dtype: a.dtype.or(b.dtype), shape })
}

/// The rounds of a loop, where its inputs decide them.
pub(crate) fn rounds(site: &Site, body: &Graph) -> Option<usize> {
    let trip = site.optional(0)?.integers()?.first().copied()?;
    let trip = usize::try_from(trip.max(0)).ok()?;
    match (site.optional(1), condition(site, 1)) {
        (_, Some(false)) => return Some(0),
        (None, _) | (_, Some(true)) => {}
        (Some(_), None) => return (trip == 0).then_some(0),
    }
    goes_on(body).then_some(trip)
}

/// Whether a loop's body never ends the loop: its condition is the one it got, or true.
pub(crate) fn goes_on(body: &Graph) -> bool {
    let producers = body.producers();
    let Some(&(mut id)) = body.outputs.first() else { return false };
    loop {
        if body.inputs.get(1) == Some(&id) {
            return true;
        }
        if let Some(tensor) = &body.value(id).constant {
            return tensor.elements() == 1 && tensor.to_i64_vec()[0] != 0;
        }
        match producers[id.index()].and_then(|id| body.node(id)) {
            Some(node) if matches!(node.op, Op::Identity) => match node.input(0) {
                Some(from) => id = from,
                None => return false,
            },
            _ => return false,
        }
    }
}

/// The fit of bodies to the node: the numbers of inputs and outputs, and the operator's own inputs.
pub(crate) fn check(site: &Site, control: &Control) -> Result<()> {
    let (inputs, outputs) = (site.node.inputs.len(), site.node.outputs.len());
    let structure = |message: String| {
        Err(CoreError::new(CoreErrorKind::Structure, format!("{}: {message}", control.name()))
            .at(&site.node.name))
    };
    let first = control.first_captured();
    if inputs < first {
        return structure(format!("expected at least {first} inputs, found {inputs}"));
    }
    let optional = if matches!(control, Control::Loop { .. }) { 2 } else { 0 };
    if let Some(absent) = (optional..inputs).find(|&index| site.optional(index).is_none()) {
        return structure(format!("expected input {absent} to be present, found none"));
    }
    let taken = control.first_captured_of_body() + inputs - first;
    for (name, body) in control.bodies() {
        if body.inputs.len() != taken {
            return structure(format!("expected {name} to take {taken} inputs, found {}", body.inputs.len()));
        }
        let given = outputs + control.own_outputs();
        if body.outputs.len() != given {
            return structure(format!(
                "expected {name} to give {given} outputs, found {}",
                body.outputs.len()
            ));
        }
    }
    let scalar = |index: usize, dtype: DType, what: &str| -> Result<()> {
        let Some(operand) = site.optional(index) else { return Ok(()) };
        if let Some(found) = operand.dtype.filter(|&found| found != dtype) {
            return Err(site.error(format!("expected {what} of type {dtype}, found {found}")));
        }
        match operand.shape.as_ref().and_then(Shape::elements) {
            Some(elements) if elements != 1 => {
                Err(site.error(format!("expected {what} of one element, found {elements}")))
            }
            _ => Ok(()),
        }
    };
    match control {
        Control::If { .. } => scalar(0, DType::Bool, "a condition"),
        Control::Loop { body, carried } => {
            if outputs < *carried {
                return structure(format!("expected at least {carried} outputs, found {outputs}"));
            }
            if let Some(found) = body.value(body.outputs[0]).dtype.filter(|&found| found != DType::Bool) {
                return Err(site.error(format!("expected a body that gives a condition, found {found}")));
            }
            scalar(0, DType::I64, "a number of rounds")?;
            scalar(1, DType::Bool, "a condition")
        }
        Control::Scan { carried, scanned, collected, .. } => {
            if scanned.is_empty() {
                return structure("expected at least one scanned input, found none".to_owned());
            }
            if outputs != carried + collected.len() {
                let expected = carried + collected.len();
                return structure(format!("expected {expected} outputs, found {outputs}"));
            }
            for (at, along) in scanned.iter().enumerate() {
                if let Some(dims) = site.required(carried + at)?.dims() {
                    site.axis(along.axis, dims.len())?;
                }
            }
            Ok(())
        }
    }
}

/// The integer that a tensor of one element holds.
pub(crate) fn single(tensor: &Tensor) -> Option<i64> {
    (tensor.elements() == 1).then(|| tensor.to_i64_vec()[0])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{Activation, BinaryOp};

    /// Doubles the first carried value's rows each round, keeps the second.
    fn growing() -> Graph {
        let mut body = Graph::new("body");
        body.add_input("round", DType::I64, Shape::fixed(&[]));
        let go = body.add_input("go", DType::Bool, Shape::fixed(&[]));
        let a = body.add_input("a", DType::F32, Shape::fixed(&[1, 4]));
        let b = body.add_input("b", DType::F32, Shape::fixed(&[4]));
        let longer = body.add_op("longer", Op::Concat { axis: 0 }, &[a, a]);
        let sum = body.add_op("sum", Op::Binary { op: BinaryOp::Add, activation: Activation::None }, &[b, b]);
        body.outputs = vec![go, longer, sum, sum];
        body
    }

    #[test]
    fn extents_stay_known_where_every_round_keeps_them() {
        let mut graph = Graph::new("g");
        let trip = graph.add_constant("trip", Tensor::scalar(3i64));
        let a = graph.add_input("a", DType::F32, Shape::fixed(&[1, 4]));
        let b = graph.add_input("b", DType::F32, Shape::fixed(&[4]));
        let outputs: Vec<ValueId> =
            ["x", "y", "z"].iter().map(|name| graph.add_value(*name, None, None)).collect();
        graph.add_node(crate::ir::Node {
            name: "loop".into(),
            op: Op::Control(Box::new(Control::Loop { body: growing(), carried: 2 })),
            inputs: vec![Some(trip), None, Some(a), Some(b)],
            outputs: outputs.clone(),
            precision: None,
        });
        graph.outputs = outputs.clone();
        crate::infer::infer(&mut graph).unwrap();
        crate::ir::verify::verify(&graph).unwrap();
        let shape = |at: usize| graph.value(outputs[at]).shape.clone().unwrap();
        assert!(matches!(shape(0).dims(), [Dim::Symbol(_), Dim::Fixed(4)]), "{}", shape(0));
        assert_eq!(shape(1), Shape::fixed(&[4]));
        assert_eq!(shape(2), Shape::fixed(&[3, 4]));
    }
}
