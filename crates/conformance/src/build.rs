//! Builds the programs of cases: typed values, quantized or float, with shapes inferred as nodes are added.

use fewbit_core::infer;
use fewbit_core::ir::{DType, Graph, Node, Op, Shape, Tensor, Value, ValueId};
use fewbit_core::plan::Precision;
use fewbit_core::quant::QuantParams;

use crate::case::{Compare, Problem};
use crate::error::{KitError, KitErrorKind, Result};

/// What a node's output is stored as.
#[derive(Debug, Clone)]
pub(crate) struct Store {
    pub dtype: DType,
    pub quant: Option<QuantParams>,
}

impl Store {
    pub(crate) fn f32() -> Self {
        Self { dtype: DType::F32, quant: None }
    }

    pub(crate) fn codes(dtype: DType, scale: f32, zero_point: i32) -> Self {
        Self { dtype, quant: Some(QuantParams::per_tensor(scale, zero_point)) }
    }
}

/// A program under construction, with the data of its inputs.
pub(crate) struct Builder {
    graph: Graph,
    inputs: Vec<Tensor>,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self { graph: Graph::new("case"), inputs: Vec::new() }
    }

    /// An input of the program and what it is run on.
    pub(crate) fn input(&mut self, tensor: Tensor, quant: Option<QuantParams>) -> ValueId {
        let name = format!("x{}", self.inputs.len());
        let id = self.graph.add_input(name, tensor.dtype(), Shape::fixed(tensor.extents()));
        self.graph.value_mut(id).quant = quant;
        self.inputs.push(tensor);
        id
    }

    pub(crate) fn constant(&mut self, tensor: Tensor, quant: Option<QuantParams>) -> ValueId {
        let name = format!("c{}", self.graph.value_ids().len());
        let id = self.graph.add_constant(name, tensor);
        self.graph.value_mut(id).quant = quant;
        id
    }

    /// A constant of 64-bit integers: shapes, axes, pads.
    pub(crate) fn integers(&mut self, values: &[i64]) -> Result<ValueId> {
        Ok(self.constant(Tensor::from_slice(&[values.len()], values)?, None))
    }

    /// A node with outputs stored as `stores` say.
    pub(crate) fn node(
        &mut self,
        op: Op,
        inputs: &[Option<ValueId>],
        stores: &[Store],
    ) -> Result<Vec<ValueId>> {
        self.node_at(op, inputs, stores, None)
    }

    /// A node of a precision of its own.
    pub(crate) fn node_at(
        &mut self,
        op: Op,
        inputs: &[Option<ValueId>],
        stores: &[Store],
        precision: Option<Precision>,
    ) -> Result<Vec<ValueId>> {
        let outputs: Vec<ValueId> = stores
            .iter()
            .map(|Store { dtype, quant }| {
                let name = format!("v{}", self.graph.value_ids().len());
                self.graph.push_value(Value {
                    name,
                    dtype: Some(*dtype),
                    shape: None,
                    quant: quant.clone(),
                    constant: None,
                })
            })
            .collect();
        let name = format!("n{}", self.graph.node_count());
        let node = Node { name, op, inputs: inputs.to_vec(), outputs: outputs.clone(), precision };
        let inferred = infer::infer_node(&self.graph, &node)?;
        for (&id, (dtype, shape)) in outputs.iter().zip(inferred) {
            let value = self.graph.value_mut(id);
            if value.dtype != Some(dtype) {
                return Err(KitError::new(
                    KitErrorKind::Kit,
                    format!("expected {} to give {:?}, found {dtype}", node.op.kind(), value.dtype),
                ));
            }
            value.shape = Some(shape);
        }
        self.graph.add_node(node);
        Ok(outputs)
    }

    /// A node with one output.
    pub(crate) fn op(&mut self, op: Op, inputs: &[ValueId], store: Store) -> Result<ValueId> {
        let inputs: Vec<Option<ValueId>> = inputs.iter().copied().map(Some).collect();
        let outputs = self.node(op, &inputs, &[store])?;
        outputs.first().copied().ok_or_else(|| KitError::new(KitErrorKind::Kit, "expected one output"))
    }

    /// The extents of a value.
    pub(crate) fn extents(&self, id: ValueId) -> Vec<usize> {
        self.graph.value(id).extents().unwrap_or_default()
    }

    /// The finished problem.
    pub(crate) fn finish(mut self, outputs: &[ValueId], compare: Compare) -> Problem {
        self.graph.outputs = outputs.to_vec();
        Problem { program: self.graph, inputs: self.inputs, compare, corner: false, optional: false }
    }
}

impl Problem {
    /// The same, whose expected output is meant to be saturated, constant or empty.
    pub(crate) fn corner(mut self) -> Self {
        self.corner = true;
        self
    }

    /// The same, that a device may refuse.
    pub(crate) fn optional(mut self) -> Self {
        self.optional = true;
        self
    }
}
