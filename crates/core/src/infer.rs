//! Shape and type inference: the element type and shape of every value from inputs and attributes.
//!
//! Owns the rules of every operator ([`infer_node`]), their application to a graph ([`infer`], [`Inference`]), partial evaluation of
//! shape arithmetic ([`known_tensors`]), and fixing what is free ([`fix_input`], [`fix_batch`], [`require_fixed`]).
//!
//! Dimensions that depend on a symbol stay symbolic: their names are expressions such as `(H+1)/2`, so that values
//! computed along two paths agree where the arithmetic does. All arithmetic is checked: a hostile model gives an
//! error of kind [`CoreErrorKind::Shape`], never an overflow. The interpreter of [`crate::reference`] asks the same
//! rules about its real tensors.

mod compute;
mod control;
mod dims;
mod fix;
mod index;
mod known;
mod moving;
mod recurrent;
mod rules;
mod site;
mod window;

pub use fix::{
    FreeDimension, fix_batch, fix_input, free_dimensions, require_fixed, require_fixed_where_known,
};

pub(crate) use control::single as single_integer;
pub(crate) use index::{blocks, reduced_axes, unpooled};
pub(crate) use moving::{pad_amounts, resize_operands, slice_bounds, slice_range};
pub(crate) use rules::outputs;
pub(crate) use site::Site;

use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::{DType, Dim, Graph, Node, NodeId, Shape, Tensor, Value, ValueId};
use control::Given;
use site::{Inferred, Known};

/// Infers the element type and shape of every value that nodes produce.
///
/// Nodes must be in topological order ([`Graph::sort`]). What a value already declares must agree with what is
/// inferred; where one of them is more specific (an extent against a symbol), the value keeps that. Outputs of
/// [`Op::Opaque`](crate::ir::Op::Opaque), and what depends on them alone, stay as declared.
///
/// # Errors
/// [`CoreErrorKind::Shape`] at the node whose inputs, attributes or declared outputs contradict each other;
/// [`CoreErrorKind::Structure`] where an input is missing or read before it is produced.
pub fn infer(graph: &mut Graph) -> Result<()> {
    run(graph).map(|_| ())
}

/// The element type and shape of each output of `node`, from what `graph` knows about its inputs.
///
/// # Errors
/// As [`infer`]; [`CoreErrorKind::Dynamic`] where too little is known about the inputs to tell the outputs' types
/// and ranks.
pub fn infer_node(graph: &Graph, node: &Node) -> Result<Vec<(DType, Shape)>> {
    let site = Site::from_graph(graph, node, &[]);
    let complete = |inferred: Inferred| match (inferred.dtype, inferred.shape) {
        (Some(dtype), Some(shape)) => Ok((dtype, shape)),
        _ => Err(CoreError::new(
            CoreErrorKind::Dynamic,
            format!("expected inputs of {} whose types and ranks are known", node.op.kind()),
        )
        .at(&node.name)
        .help("run shape inference on the whole graph first, and fix its free dimensions")),
    };
    outputs(&site)?.into_iter().map(complete).collect()
}

/// Per value (by [`ValueId::index`]), its elements where constants and known extents alone decide them.
///
/// Constants of the graph come back as they are; beyond them only small tensors are evaluated, as shape arithmetic
/// has. A value counts as known even where it depends on a shape that is only partly fixed (the channels of a batch
/// of unknown size, say).
///
/// # Errors
/// As [`infer`].
pub fn known_tensors(graph: &Graph) -> Result<Vec<Option<Tensor>>> {
    let mut copy = graph.clone();
    let known = run(&mut copy)?;
    Ok(graph
        .value_ids()
        .zip(known)
        .map(|(id, known)| match (&graph.value(id).constant, known) {
            (Some(tensor), _) => Some(tensor.clone()),
            (None, known) => known.and_then(site::Known::into_tensor),
        })
        .collect())
}

/// Infers a body of control flow anew from what is known of its inputs.
fn infer_given(body: &mut Graph, given: &[Given]) -> Result<()> {
    let mut known = vec![None; body.value_ids().len()];
    for (id, given) in body.inputs.clone().into_iter().zip(given) {
        let Value { name, dtype, shape, .. } = body.value_mut(id);
        let found = Inferred { dtype: given.dtype, shape: None };
        merge(name, dtype, shape, found)?;
        shape.clone_from(&given.shape);
        known[id.index()].clone_from(&given.known);
    }
    // What earlier inputs implied does not hold for these.
    let computed: Vec<ValueId> = body
        .nodes()
        .filter(|(_, node)| !matches!(node.op, crate::ir::Op::Opaque { .. }))
        .flat_map(|(_, node)| node.outputs.clone())
        .collect();
    for id in computed {
        body.value_mut(id).shape = None;
    }
    run_with(body, Inference { known }).map(|_| ())
}

fn run(graph: &mut Graph) -> Result<Vec<Option<Known>>> {
    run_with(graph, Inference::default())
}

fn run_with(graph: &mut Graph, mut inference: Inference) -> Result<Vec<Option<Known>>> {
    let mut ready = vec![false; graph.value_ids().len()];
    let producers = graph.producers();
    for id in graph.value_ids() {
        ready[id.index()] = producers[id.index()].is_none();
        if let Value { constant: Some(tensor), dtype, shape, name, .. } = graph.value_mut(id) {
            let found = Inferred { dtype: Some(tensor.dtype()), shape: Some(tensor.shape()) };
            merge(name, dtype, shape, found)?;
        }
    }
    for id in graph.node_ids() {
        let Some(node) = graph.node(id) else { continue };
        if let Some(&early) = node.inputs.iter().flatten().find(|input| !ready[input.index()]) {
            return Err(CoreError::new(
                CoreErrorKind::Structure,
                format!(
                    "expected nodes in topological order, found `{}` read early",
                    graph.value(early).name
                ),
            )
            .at(&node.name)
            .help("sort the graph first"));
        }
        for output in &node.outputs {
            ready[output.index()] = true;
        }
        inference.node(graph, id)?;
    }
    inference.known.resize(graph.value_ids().len(), None);
    Ok(inference.known)
}

/// Inference node by node, for who builds a graph and needs shapes on the way.
///
/// It remembers the elements of shape arithmetic, so that a shape computed by earlier nodes is known to later ones.
/// Belongs to one graph, whose values keep their ids meanwhile.
#[derive(Debug, Default)]
pub struct Inference {
    /// Per value, what is known of its elements besides the graph's constants.
    known: Vec<Option<Known>>,
}

impl Inference {
    /// Nothing inferred yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The elements of a value that earlier nodes compute from constants and known extents alone, where it is small.
    pub fn tensor(&self, id: ValueId) -> Option<&Tensor> {
        match self.known.get(id.index())?.as_ref()? {
            Known::Tensor(tensor) => Some(tensor),
            Known::Numbers(_) => None,
        }
    }

    /// Infers the types and shapes of the outputs of one node, whose producers have been inferred; the graph's values
    /// take what is found, as by [`infer`].
    ///
    /// # Errors
    /// As [`infer`]; the values of the outputs are then as they were, or partly inferred.
    pub fn node(&mut self, graph: &mut Graph, id: NodeId) -> Result<()> {
        self.known.resize(graph.value_ids().len(), None);
        control::settle(graph, id, &self.known)?;
        let Some(node) = graph.node(id) else { return Ok(()) };
        let site = Site::from_graph(graph, node, &self.known);
        let inferred = outputs(&site)?;
        let elements = known::evaluate(graph, &site, &inferred)?;
        let (outputs, place) = (node.outputs.clone(), node.name.clone());
        for ((&output, inferred), elements) in outputs.iter().zip(inferred).zip(elements) {
            let Value { name, dtype, shape, .. } = graph.value_mut(output);
            merge(name, dtype, shape, inferred).map_err(|error| error.at(&place))?;
            self.known[output.index()] = elements;
        }
        Ok(())
    }
}

/// Lets what is declared and what was found become one, the more specific of both.
fn merge(name: &str, dtype: &mut Option<DType>, shape: &mut Option<Shape>, found: Inferred) -> Result<()> {
    match (*dtype, found.dtype) {
        (Some(declared), Some(found)) if declared != found => {
            return Err(CoreError::new(
                CoreErrorKind::Shape,
                format!("expected elements of type {found} in `{name}`, found {declared} declared"),
            ));
        }
        (_, found) => *dtype = dtype.or(found),
    }
    let Some(found) = found.shape else { return Ok(()) };
    let Some(declared) = shape else {
        *shape = Some(found);
        return Ok(());
    };
    let contradiction = |declared: &Shape| {
        CoreError::new(
            CoreErrorKind::Shape,
            format!("expected shape {found} for `{name}`, found {declared} declared"),
        )
    };
    if declared.rank() != found.rank() {
        return Err(contradiction(declared));
    }
    let unified: Option<Vec<Dim>> =
        found.0.iter().zip(&declared.0).map(|(found, declared)| dims::unify(found, declared)).collect();
    match unified {
        Some(unified) => *declared = Shape(unified),
        None => return Err(contradiction(declared)),
    }
    Ok(())
}
