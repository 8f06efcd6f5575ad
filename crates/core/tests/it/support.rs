//! One node as a graph.

use fewbit_core::error::Result;
use fewbit_core::ir::{DType, Graph, Node, Op, Tensor, ValueId};
use fewbit_core::plan::Precision;
use fewbit_core::quant::QuantParams;
use fewbit_core::reference::evaluate;

/// A node under construction.
pub(crate) struct Single {
    graph: Graph,
    node: Node,
    tensors: Vec<Option<Tensor>>,
}

impl Single {
    /// A node of `op` with one output.
    pub(crate) fn new(op: Op) -> Self {
        let mut graph = Graph::new("single");
        let output = graph.add_value("y", None, None);
        let node =
            Node { name: "node".to_owned(), op, inputs: Vec::new(), outputs: vec![output], precision: None };
        Single { graph, node, tensors: Vec::new() }
    }

    /// The next input.
    pub(crate) fn input(mut self, tensor: Tensor) -> Self {
        self.push(Some(tensor), None);
        self
    }

    /// The next input, quantized.
    pub(crate) fn quantized(mut self, tensor: Tensor, quant: QuantParams) -> Self {
        self.push(Some(tensor), Some(quant));
        self
    }

    /// The next input is absent.
    pub(crate) fn absent(mut self) -> Self {
        self.push(None, None);
        self
    }

    fn push(&mut self, tensor: Option<Tensor>, quant: Option<QuantParams>) {
        let id = tensor.as_ref().map(|tensor| {
            let name = format!("x{}", self.tensors.len());
            let id = self.graph.add_value(name, Some(tensor.dtype()), Some(tensor.shape()));
            self.graph.value_mut(id).quant = quant;
            id
        });
        self.node.inputs.push(id);
        self.tensors.push(tensor);
    }

    /// Declares the output's type.
    pub(crate) fn output(mut self, dtype: DType, quant: Option<QuantParams>) -> Self {
        let id: ValueId = self.node.outputs[0];
        self.graph.value_mut(id).dtype = Some(dtype);
        self.graph.value_mut(id).quant = quant;
        self
    }

    /// As many outputs.
    pub(crate) fn outputs(mut self, count: usize) -> Self {
        while self.node.outputs.len() < count {
            let name = format!("y{}", self.node.outputs.len());
            self.node.outputs.push(self.graph.add_value(name, None, None));
        }
        self
    }

    /// The node's precision.
    pub(crate) fn precision(mut self, precision: Precision) -> Self {
        self.node.precision = Some(precision);
        self
    }

    /// Every output, or the error.
    pub(crate) fn try_all(&self) -> Result<Vec<Tensor>> {
        let inputs: Vec<Option<&Tensor>> = self.tensors.iter().map(Option::as_ref).collect();
        evaluate(&self.graph, &self.node, &inputs)
    }

    /// The output.
    #[track_caller]
    pub(crate) fn run(&self) -> Tensor {
        self.try_all().expect("the node fits its inputs").remove(0)
    }
}

/// A float tensor.
pub(crate) fn floats(extents: &[usize], values: &[f32]) -> Tensor {
    Tensor::from_slice(extents, values).expect("as many elements as the extents hold")
}

/// A list of 64-bit integers.
pub(crate) fn list(values: &[i64]) -> Tensor {
    Tensor::from_slice(&[values.len()], values).expect("as many elements as the extents hold")
}

/// Integers of any type.
pub(crate) fn codes(dtype: DType, extents: &[usize], values: &[i64]) -> Tensor {
    Tensor::from_i64(dtype, extents, values).expect("as many elements as the extents hold")
}

/// The numbers from 0 on as floats.
pub(crate) fn count_up(extents: &[usize]) -> Tensor {
    let values: Vec<f32> = (0..extents.iter().product::<usize>()).map(|x| x as f32).collect();
    floats(extents, &values)
}
