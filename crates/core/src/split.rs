//! Where a graph's extents start to depend on data.
//!
//! Owns [`at_data`]: devices compile what has fixed shapes; what follows (the boxes that suppression leaves, the places
//! that are not zero) runs in the reference interpreter, which takes its extents from the data.

use crate::error::Result;
use crate::ir::{Graph, ValueId};

/// Where an input of the tail comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The graph's input of that number.
    Input(usize),
    /// The head's output of that number.
    Head(usize),
}

/// Where an output of the graph comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The head's output of that number.
    Head(usize),
    /// The tail's output of that number.
    Tail(usize),
}

/// A graph in two parts.
#[derive(Debug, Clone)]
pub struct Split {
    /// The part whose shapes are fixed; its inputs are the graph's.
    pub head: Graph,
    /// The part whose shapes data decides.
    pub tail: Graph,
    /// Per input of the tail.
    pub sources: Vec<Source>,
    /// Per output of the graph.
    pub origins: Vec<Origin>,
}

/// Splits the graph in front of the first extents that data decides; `None` where all are fixed, and where an input is
/// not: then it is for the caller to fix it.
///
/// # Errors
/// [`CoreErrorKind::Structure`](crate::CoreErrorKind::Structure) when the graph has a cycle.
pub fn at_data(graph: &Graph) -> Result<Option<Split>> {
    let fixed = |id: ValueId| graph.value(id).extents().is_some() && graph.value(id).dtype.is_some();
    if !graph.inputs.iter().all(|&id| fixed(id)) {
        return Ok(None);
    }
    let mut behind = vec![false; graph.value_ids().len()];
    let (mut early, mut late) = (Vec::new(), Vec::new());
    for (id, node) in graph.nodes() {
        let waits = node.inputs.iter().flatten().any(|input| behind[input.index()]);
        if waits || !node.outputs.iter().all(|&output| fixed(output)) {
            node.outputs.iter().for_each(|output| behind[output.index()] = true);
            late.push(id);
        } else {
            early.push(id);
        }
    }
    if late.is_empty() {
        return Ok(None);
    }
    let (mut head, mut tail) = (graph.clone(), graph.clone());
    (head.outputs, tail.outputs, tail.inputs) = (Vec::new(), Vec::new(), Vec::new());
    let mut origins = Vec::with_capacity(graph.outputs.len());
    for &output in &graph.outputs {
        let (part, list) = if behind[output.index()] {
            (Origin::Tail as fn(usize) -> Origin, &mut tail.outputs)
        } else {
            (Origin::Head as fn(usize) -> Origin, &mut head.outputs)
        };
        origins.push(part(list.len()));
        list.push(output);
    }
    let mut sources = Vec::new();
    for input in late.iter().filter_map(|&id| graph.node(id)).flat_map(|node| node.inputs.iter().flatten()) {
        let known = behind[input.index()] || graph.value(*input).constant.is_some();
        if known || tail.inputs.contains(input) {
            continue;
        }
        tail.inputs.push(*input);
        sources.push(if let Some(at) = graph.inputs.iter().position(|id| id == input) {
            Source::Input(at)
        } else if let Some(at) = head.outputs.iter().position(|id| id == input) {
            Source::Head(at)
        } else {
            head.outputs.push(*input);
            Source::Head(head.outputs.len() - 1)
        });
    }
    for id in late {
        head.remove_node(id);
    }
    for id in early {
        tail.remove_node(id);
    }
    head.compact()?;
    tail.compact()?;
    Ok(Some(Split { head, tail, sources, origins }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::infer::infer;
    use crate::ir::{Activation, BinaryOp, DType, IndexOp, Op, Shape, Tensor};
    use crate::reference::Interpreter;

    /// `y = x + x`; the places where `y` is not zero, and `y` there.
    fn model() -> Graph {
        let mut graph = Graph::new("found");
        let x = graph.add_input("x", DType::F32, Shape::fixed(&[4]));
        let y = graph.add_op("y", Op::Binary { op: BinaryOp::Add, activation: Activation::None }, &[x, x]);
        let places = graph.add_op("places", Op::Index(IndexOp::NonZero), &[y]);
        let zero = graph.add_constant("zero", Tensor::scalar(0i64));
        let list = graph.add_op("list", Op::Gather { axis: 0 }, &[places, zero]);
        let found = graph.add_op("found", Op::Gather { axis: 0 }, &[y, list]);
        let same = graph.add_op("same", Op::Gather { axis: 0 }, &[x, list]);
        graph.outputs = vec![found, y, same];
        infer(&mut graph).unwrap();
        graph
    }

    #[test]
    fn both_parts_compute_what_the_whole_does() {
        let graph = model();
        let split = at_data(&graph).unwrap().unwrap();
        assert_eq!((split.head.node_count(), split.tail.node_count()), (1, 4));
        assert_eq!(split.sources, [Source::Head(0), Source::Input(0)]);
        assert_eq!(split.origins, [Origin::Tail(0), Origin::Head(0), Origin::Tail(1)]);
        let x = Tensor::from_slice(&[4], &[0.0f32, 1.5, 0.0, -2.0]).unwrap();
        let whole = Interpreter::new(&graph).unwrap().run(std::slice::from_ref(&x)).unwrap();
        let head = Interpreter::new(&split.head).unwrap().run(std::slice::from_ref(&x)).unwrap();
        let tail = Interpreter::new(&split.tail).unwrap().run(&[head[0].clone(), x]).unwrap();
        assert_eq!(whole, [tail[0].clone(), head[0].clone(), tail[1].clone()]);
        assert_eq!(whole[0].to_f32_vec(), [3.0, -4.0]);
    }

    #[test]
    fn fixed_graphs_and_free_inputs_stay_whole() {
        let mut graph = model();
        graph.outputs.truncate(2);
        graph.outputs.remove(0);
        for name in ["places", "list", "found", "same"] {
            let id = graph.find_node(name).unwrap();
            graph.remove_node(id);
        }
        assert!(at_data(&graph).unwrap().is_none());
        let mut free = model();
        let x = free.inputs[0];
        free.value_mut(x).shape = Some(Shape(vec![crate::ir::Dim::Symbol("N".to_owned())]));
        assert!(at_data(&free).unwrap().is_none());
    }
}
