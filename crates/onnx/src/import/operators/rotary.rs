//! Rotary position embedding (Su et al. 2021) as a composition.

use fewbit_core::ir::{Activation, BinaryOp, DType, Op, ValueId};

use super::Site;
use crate::error::Result;

/// A function of two elements without a clamp.
fn binary(op: BinaryOp) -> Op {
    Op::Binary { op, activation: Activation::None }
}

impl Site<'_, '_> {
    /// The last operator of the composition.
    pub(super) fn rotary(&mut self) -> Result<Op> {
        let (a, x) = (self.attributes, self.x()?);
        let (Some(cos), Some(sin)) = (self.input(1), self.input(2)) else {
            return Err(a.fail("expects cosines and sines, found fewer inputs"));
        };
        let extents = self.extents(x)?;
        // Samples × steps × heads × elements.
        let (apart, size) = match *extents.as_slice() {
            [_, _, _, size] => (self.then(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[x]), size),
            [_, _, all] => {
                let heads = usize::try_from(a.int("num_heads", 0)).unwrap_or(0);
                if heads == 0 || all % heads != 0 {
                    return Err(a.fail(format!("expects num_heads that divides {all}, found {heads}")));
                }
                let cut = self.number(DType::I64, &[4], &[0.0, 0.0, heads as f64, (all / heads) as f64])?;
                (self.then(Op::Reshape { allow_zero: false }, &[x, cut]), all / heads)
            }
            _ => return Err(a.fail(format!("expects an input of rank 3 or 4, found {extents:?}"))),
        };
        let turned = match usize::try_from(a.int("rotary_embedding_dim", 0)) {
            Ok(0) => size,
            Ok(turned) if turned <= size && turned % 2 == 0 => turned,
            _ => return Err(a.fail(format!("expects an even rotary_embedding_dim up to {size}"))),
        };
        let interleaved = a.flag("interleaved", false);
        let (first, second) = if interleaved {
            (self.cut(apart, 0, turned, 2)?, self.cut(apart, 1, turned, 2)?)
        } else {
            (self.cut(apart, 0, turned / 2, 1)?, self.cut(apart, turned / 2, turned, 1)?)
        };
        let [cos, sin] = [cos, sin].map(|cache| {
            let own = match self.input(3) {
                Some(places) => self.then(Op::Gather { axis: 0 }, &[cache, places]),
                None => cache,
            };
            // The same for every head.
            self.then(Op::Unsqueeze { axes: vec![2] }, &[own])
        });
        let mut product = |a: ValueId, b: ValueId| self.then(binary(BinaryOp::Mul), &[a, b]);
        let parts = [product(cos, first), product(sin, second), product(sin, first), product(cos, second)];
        let real = self.then(binary(BinaryOp::Sub), &[parts[0], parts[1]]);
        let imaginary = self.then(binary(BinaryOp::Add), &[parts[2], parts[3]]);
        let mut y = if interleaved {
            let [real, imaginary] =
                [real, imaginary].map(|part| self.then(Op::Unsqueeze { axes: vec![4] }, &[part]));
            let pairs = self.then(Op::Concat { axis: 4 }, &[real, imaginary]);
            let joined = self.number(DType::I64, &[4], &[0.0, 0.0, 0.0, turned as f64])?;
            self.then(Op::Reshape { allow_zero: false }, &[pairs, joined])
        } else {
            self.then(Op::Concat { axis: 3 }, &[real, imaginary])
        };
        if turned < size {
            let rest = self.cut(apart, turned, size, 1)?;
            y = self.then(Op::Concat { axis: 3 }, &[y, rest]);
        }
        if extents.len() == 4 {
            return Ok(self.last(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y]));
        }
        let joined = self.number(DType::I64, &[3], &[0.0, 0.0, -1.0])?;
        Ok(self.last(Op::Reshape { allow_zero: false }, &[y, joined]))
    }

    /// Elements `start..end` of the last of four axes, every `step`-th.
    fn cut(&mut self, x: ValueId, start: usize, end: usize, step: usize) -> Result<ValueId> {
        let mut inputs = vec![x];
        for number in [start, end, 3, step] {
            inputs.push(self.number(DType::I64, &[1], &[number as f64])?);
        }
        Ok(self.then(Op::Slice, &inputs))
    }
}
