//! The content hash of graphs.

use super::Graph;
use super::text::{self, Detail};

/// The SHA-256, in lower-case hexadecimal, of what the graph computes: its structure, names, types, operators,
/// quantization parameters and the bytes of its constants.
///
/// Two graphs of equal content have equal hashes whatever their ids, removed nodes, unused values, model names and
/// metadata. The order of nodes and of inputs and outputs counts.
pub fn hash(graph: &Graph) -> String {
    text::digest(text::write(graph, Detail::Canonical).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ir::{DType, Op, Shape, Tensor, UnaryOp};

    fn graph(unused: bool, last: f32) -> Graph {
        let mut graph = Graph::new("one");
        if unused {
            graph.add_constant("unused", Tensor::scalar(1.0f32));
        }
        let x = graph.add_input("x", DType::F32, Shape::fixed(&[16]));
        let mut values = vec![0.5f32; 16];
        values[15] = last;
        let c = graph.add_constant("c", Tensor::from_slice(&[16], &values).unwrap());
        let sum = graph.add_op(
            "sum",
            Op::Binary { op: crate::ir::BinaryOp::Add, activation: crate::ir::Activation::None },
            &[x, c],
        );
        let y = graph.add_op("y", Op::Unary(UnaryOp::Relu), &[sum]);
        graph.outputs.push(y);
        graph
    }

    #[test]
    fn ids_names_of_models_and_metadata_do_not_count() {
        let plain = graph(false, 1.0);
        let mut other = graph(true, 1.0);
        other.name = "two".into();
        other.metadata.insert("a".into(), "b".into());
        assert_eq!(hash(&plain), hash(&other));
        other.compact().unwrap();
        assert_eq!(hash(&plain), hash(&other));
        assert_eq!(hash(&plain).len(), 64);
    }

    #[test]
    fn every_bit_of_a_constant_counts() {
        assert_ne!(hash(&graph(false, 1.0)), hash(&graph(false, 1.000_000_1)));
        assert_ne!(hash(&graph(false, 0.0)), hash(&graph(false, -0.0)));
    }

    #[test]
    fn names_types_and_parameters_count() {
        let plain = hash(&graph(false, 1.0));
        let mut other = graph(false, 1.0);
        let x = other.inputs[0];
        other.value_mut(x).quant = Some(crate::quant::QuantParams::per_tensor(0.1, 0));
        assert_ne!(plain, hash(&other));
        let mut other = graph(false, 1.0);
        other.value_mut(x).name = "z".into();
        assert_ne!(plain, hash(&other));
    }
}
