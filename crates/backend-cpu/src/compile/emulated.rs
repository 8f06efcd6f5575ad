//! Nodes without a kernel: the reference interpreter between conversions of layout and storage.

use std::sync::Arc;

use fewbit_core::error::Result;
use fewbit_core::ir::{DType, Graph, Node, NodeId, Tensor};
use fewbit_core::{CoreError, reference};

use super::{Compiler, defect};
use crate::buffer::{Buffer, Layout, Slot};
use crate::step::{Sources, Work, flip_sign};

/// A node that runs in the reference interpreter.
pub(crate) struct Emulated {
    graph: Arc<Graph>,
    node: NodeId,
    /// Per input of the node, which input of the step it is, a constant, or absent.
    inputs: Vec<Operand>,
}

enum Operand {
    Absent,
    Constant(Tensor),
    Computed { index: usize, extents: Vec<usize> },
}

impl Compiler<'_> {
    pub(super) fn emulate(&mut self, node: &Node) -> Result<()> {
        let mut slots = Vec::new();
        let mut operands = Vec::new();
        for input in &node.inputs {
            operands.push(match *input {
                None => Operand::Absent,
                Some(id) => {
                    let value = self.graph.value(id);
                    if let Some(constant) = &value.constant {
                        Operand::Constant(constant.clone())
                    } else {
                        let extents = value.extents().ok_or_else(|| super::untyped(value))?;
                        slots.push(self.form(id, Layout::Plain)?);
                        Operand::Computed { index: slots.len() - 1, extents }
                    }
                }
            });
        }
        let mut outputs = Vec::new();
        for &id in &node.outputs {
            let value = self.graph.value(id);
            let dtype = value.dtype.ok_or_else(|| super::untyped(value))?;
            let slot = self.buffer(dtype, super::elements(value)?, Layout::Plain);
            self.forms[id.index()][Layout::Plain as usize] = Some(slot);
            outputs.push(slot);
        }
        let id = self.graph.find_node(&node.name).ok_or_else(|| defect("a node of the graph"))?;
        let work = Emulated { graph: Arc::clone(self.graph), node: id, inputs: operands };
        let kernel = format!("reference_{}", node.op.kind().as_str().to_lowercase());
        self.push(&node.name, &kernel, slots, outputs, Work::Emulated(Box::new(work)), 0);
        Ok(())
    }
}

impl Emulated {
    pub(crate) fn run(
        &self,
        inputs: &[Slot],
        outputs: &[Slot],
        sources: &Sources,
        buffers: &mut [Buffer],
    ) -> Result<(), CoreError> {
        let node = self.graph.node(self.node).ok_or_else(|| defect("a node of the graph"))?;
        let tensors = self
            .inputs
            .iter()
            .map(|operand| match operand {
                Operand::Absent => Ok(None),
                Operand::Constant(tensor) => Ok(Some(tensor.clone())),
                Operand::Computed { index, extents } => {
                    let slot = &inputs[*index];
                    let mut tensor = Tensor::from_bytes(slot.dtype, extents, sources.bytes(slot))?;
                    if slot.dtype == DType::I8 {
                        flip_sign(tensor.bytes_mut());
                    }
                    Ok(Some(tensor))
                }
            })
            .collect::<Result<Vec<_>>>()?;
        let borrowed: Vec<Option<&Tensor>> = tensors.iter().map(Option::as_ref).collect();
        let results = reference::evaluate(&self.graph, node, &borrowed)?;
        for ((result, slot), buffer) in results.iter().zip(outputs).zip(buffers) {
            let bytes = result.bytes();
            let out = buffer.slice_mut::<u8>(slot.bytes());
            if out.len() != bytes.len() || result.dtype() != slot.dtype {
                return Err(defect(format!(
                    "expected {} bytes of {}, found {}",
                    out.len(),
                    slot.dtype,
                    bytes.len()
                ))
                .at(&node.name));
            }
            out.copy_from_slice(bytes);
            if slot.dtype == DType::I8 {
                flip_sign(out);
            }
        }
        Ok(())
    }
}
