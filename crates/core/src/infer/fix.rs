//! Free dimensions: finding them, fixing them, refusing them.

use super::infer;
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::{Dim, Graph, NodeId, Shape, ValueId};

/// A dimension of a graph input that is known only by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreeDimension {
    /// The input's name.
    pub input: String,
    /// The axis.
    pub axis: usize,
    /// The dimension's name.
    pub symbol: String,
}

/// The dimensions of graph inputs that are not fixed, in the order of inputs and axes.
pub fn free_dimensions(graph: &Graph) -> Vec<FreeDimension> {
    let free = |&id: &ValueId| {
        let value = graph.value(id);
        let dims = value.shape.iter().flat_map(|shape| shape.dims().iter().enumerate());
        dims.filter_map(|(axis, dim)| match dim {
            Dim::Symbol(symbol) => {
                Some(FreeDimension { input: value.name.clone(), axis, symbol: symbol.clone() })
            }
            Dim::Fixed(_) => None,
        })
        .collect::<Vec<_>>()
    };
    graph.inputs.iter().flat_map(free).collect()
}

/// Checks that every value's type and shape are known and fixed, as compiling needs.
///
/// # Errors
/// [`CoreErrorKind::Dynamic`] that lists the free dimensions of inputs with an option that would fix them; where
/// inputs are fixed but a later value is not, at that value; [`CoreErrorKind::Unsupported`] where that is for an
/// operator that this build has no meaning for, at its node.
pub fn require_fixed(graph: &Graph) -> Result<()> {
    require(graph, Err)
}

/// As [`require_fixed`], but values may be open that depend on an operator without a meaning: enough to show a graph
/// and to judge its nodes.
///
/// # Errors
/// [`CoreErrorKind::Dynamic`], as [`require_fixed`].
pub fn require_fixed_where_known(graph: &Graph) -> Result<()> {
    require(graph, |_| Ok(()))
}

/// `unsupported` decides what comes of a value that is open for an operator without a meaning.
fn require(graph: &Graph, unsupported: impl Fn(CoreError) -> Result<()>) -> Result<()> {
    let free = free_dimensions(graph);
    if let Some(first) = free.first() {
        let list: Vec<String> = free
            .iter()
            .map(|free| format!("`{}` axis {} ({})", free.input, free.axis, free.symbol))
            .collect();
        let example = graph.find_value(&first.input).map(|id| example(graph, id)).unwrap_or_default();
        return Err(CoreError::new(
            CoreErrorKind::Dynamic,
            format!("expected fixed extents, found free dimensions: {}", list.join(", ")),
        )
        .at(&first.input)
        .help(format!("fix them, for example with --shape {}={example}", first.input)));
    }
    for &id in &graph.inputs {
        if graph.value(id).shape.is_none() || graph.value(id).dtype.is_none() {
            return Err(not_fixed(graph, id));
        }
    }
    // The first operator without a meaning that a value depends on.
    let mut behind: Vec<Option<NodeId>> = vec![None; graph.value_ids().len()];
    for (at, node) in graph.nodes() {
        let inherited = node.inputs.iter().flatten().find_map(|input| behind[input.index()]);
        let cause = if node.opaque().is_some() { Some(at) } else { inherited };
        for &id in &node.outputs {
            behind[id.index()] = cause;
            if graph.value(id).extents().is_none() || graph.value(id).dtype.is_none() {
                if let Some(error) = cause.and_then(|cause| graph.node(cause)?.unsupported()) {
                    unsupported(error)?;
                    continue;
                }
                return Err(not_fixed(graph, id).help(format!(
                    "node `{}` ({}) makes a shape that depends on data",
                    node.name,
                    node.op.kind()
                )));
            }
        }
    }
    Ok(())
}

fn not_fixed(graph: &Graph, id: ValueId) -> CoreError {
    let value = graph.value(id);
    let shape = value.shape.as_ref().map_or_else(|| "an unknown one".to_owned(), Shape::to_string);
    let dtype = value.dtype.map_or_else(|| "an unknown type".to_owned(), |dtype| dtype.to_string());
    CoreError::new(
        CoreErrorKind::Dynamic,
        format!("expected a known type and fixed shape, found {dtype} and {shape}"),
    )
    .at(&value.name)
}

/// The extents of an input with 1 in front and 224 elsewhere in place of what is free.
fn example(graph: &Graph, id: ValueId) -> String {
    let shape = graph.value(id).shape.as_ref();
    let extents =
        shape.into_iter().flat_map(|shape| shape.dims().iter().enumerate()).map(|(axis, dim)| match dim {
            Dim::Fixed(extent) => extent.to_string(),
            Dim::Symbol(_) if axis == 0 => "1".to_owned(),
            Dim::Symbol(_) if axis == 1 && shape.is_some_and(|shape| shape.rank() == 4) => "3".to_owned(),
            Dim::Symbol(_) => "224".to_owned(),
        });
    extents.collect::<Vec<_>>().join(",")
}

/// Fixes the shape of the input called `name` and infers the graph anew.
///
/// A symbol stands for one extent wherever it occurs, so other inputs that share it are fixed with it. An input of
/// unknown rank takes the extents as they are. On an error the graph is as it was.
///
/// # Errors
/// [`CoreErrorKind::Shape`] when there is no such input, the rank differs, a dimension is already fixed to another
/// extent, or one symbol would get two extents; and as [`infer`].
pub fn fix_input(graph: &mut Graph, name: &str, extents: &[usize]) -> Result<()> {
    let fail = |message: String| CoreError::new(CoreErrorKind::Shape, message).at(name);
    let Some(&id) = graph.inputs.iter().find(|&&id| graph.value(id).name == name) else {
        let names: Vec<&str> = graph.inputs.iter().map(|&id| graph.value(id).name.as_str()).collect();
        return Err(fail(format!("expected the name of an input ({}), found `{name}`", names.join(", "))));
    };
    let mut fixed: Vec<(String, usize)> = Vec::new();
    if let Some(shape) = &graph.value(id).shape {
        let mismatch = || fail(format!("expected extents that fit {shape}, found {extents:?}"));
        if shape.rank() != extents.len() {
            return Err(mismatch());
        }
        for (dim, &extent) in shape.dims().iter().zip(extents) {
            match dim {
                Dim::Fixed(known) if *known != extent => return Err(mismatch()),
                Dim::Fixed(_) => {}
                Dim::Symbol(symbol) => {
                    if let Some((_, other)) = fixed.iter().find(|(known, _)| known == symbol)
                        && *other != extent
                    {
                        return Err(fail(format!(
                            "expected one extent for dimension {symbol} of {shape}, found {other} and {extent}"
                        )));
                    }
                    fixed.push((symbol.clone(), extent));
                }
            }
        }
    }
    let mut changed = graph.clone();
    changed.value_mut(id).shape = Some(Shape::fixed(extents));
    substitute(&mut changed, &fixed);
    infer(&mut changed)?;
    *graph = changed;
    Ok(())
}

/// Fixes the leading dimension of every input where it is still free, and infers the graph anew.
///
/// # Errors
/// As [`infer`]; the graph is then as it was.
pub fn fix_batch(graph: &mut Graph, batch: usize) -> Result<()> {
    let leading = free_dimensions(graph).into_iter().filter(|free| free.axis == 0);
    let fixed: Vec<(String, usize)> = leading.map(|free| (free.symbol, batch)).collect();
    let mut changed = graph.clone();
    substitute(&mut changed, &fixed);
    infer(&mut changed)?;
    *graph = changed;
    Ok(())
}

/// Replaces symbols by extents in every value's shape; expressions over them are left to inference.
fn substitute(graph: &mut Graph, fixed: &[(String, usize)]) {
    for id in graph.value_ids() {
        let Some(shape) = &mut graph.value_mut(id).shape else { continue };
        for dim in &mut shape.0 {
            if let Dim::Symbol(symbol) = dim
                && let Some((_, extent)) = fixed.iter().find(|(known, _)| known == symbol)
            {
                *dim = Dim::Fixed(*extent);
            }
        }
    }
}
