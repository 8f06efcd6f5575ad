//! Matrix products.

use fewbit_core::ir::{Activation, Node, Op};

use super::{Layout, Writer, codes, lacking};
use crate::error::Result;
use crate::file::Options;

impl Writer<'_> {
    /// A product with constant weights as FULLY_CONNECTED, of two computed operands as BATCH_MATMUL.
    pub(super) fn product(&mut self, node: &Node) -> Result<()> {
        let (alpha, beta, trans_a, trans_b, activation) = match node.op {
            Op::Gemm { alpha, beta, trans_a, trans_b, activation } => {
                (alpha, beta, trans_a, trans_b, activation)
            }
            _ => (1.0, 1.0, false, false, Activation::None),
        };
        let addend = node.input(2).is_some();
        if alpha != 1.0 || trans_a || (addend && beta != 1.0) {
            return Err(lacking(
                "a product with a factor or a transposed first operand has no form in TFLite",
            ));
        }
        let (a, b) = (Self::input(node, 0)?, Self::input(node, 1)?);
        let output = node.outputs[0];
        let extents = self.extents(b)?;
        if self.program.value(b).constant.is_none() {
            let inputs = vec![self.want(a, Layout::Plain)?, self.want(b, Layout::Plain)?];
            if addend || activation != Activation::None {
                return Err(lacking(
                    "a product of two computed operands with an addend or a clamp has no form in TFLite",
                ));
            }
            let to = self.define(output, Layout::Plain)?;
            let options = Options::BatchMatMul { adj_x: false, adj_y: trans_b };
            self.emit(codes::BATCH_MATMUL, inputs, vec![to], options);
            return Ok(());
        }
        let [rows, columns] = extents[..] else {
            return Err(lacking(format!(
                "constant weights of {} axes have no form in TFLite, only those of two",
                extents.len()
            )));
        };
        let input = self.want(a, Layout::Plain)?;
        let (weights, outputs) = if trans_b {
            (self.weights(node, 1, &[0, 1])?, rows)
        } else {
            (self.weights(node, 1, &[1, 0])?, columns)
        };
        let bias = self.bias(node, 2, outputs)?;
        let (place, clamps) = self.clamped(output, Layout::Plain, activation)?;
        let keep_num_dims = self.extents(output)?.len() != 2;
        let options = Options::FullyConnected { activation: clamps.fused, weights_format: 0, keep_num_dims };
        self.emit(codes::FULLY_CONNECTED, vec![input, weights, bias], vec![place], options);
        self.clamp_behind(place, clamps)
    }
}
