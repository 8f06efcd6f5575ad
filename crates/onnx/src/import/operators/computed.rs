//! Forms whose axes or sizes are computed while running: shape arithmetic in front of operators that take a shape.

use fewbit_core::ir::{Activation, BinaryOp, DType, IndexOp, Op, ReduceOp, ScatterReduction, ValueId};

use super::Site;
use crate::error::Result;

fn binary(op: BinaryOp) -> Op {
    Op::Binary { op, activation: Activation::None }
}

/// Most axes of a tensor that is made by computed axes: a file may ask for any number.
const MOST_AXES: usize = 64;

impl Site<'_, '_> {
    /// A list of integers.
    fn list(&mut self, values: impl IntoIterator<Item = usize>) -> Result<ValueId> {
        let values: Vec<f64> = values.into_iter().map(|value| value as f64).collect();
        self.number(DType::I64, &[values.len()], &values)
    }

    /// The extents of the first input.
    fn extents_of(&mut self, x: ValueId) -> ValueId {
        self.then(Op::Shape { start: 0, end: None }, &[x])
    }

    /// `list` with `updates` at the places `axes`, which may count from the end.
    fn placed(&mut self, list: ValueId, axes: ValueId, updates: ValueId) -> ValueId {
        let scatter = IndexOp::ScatterElements { axis: 0, reduction: ScatterReduction::None };
        self.then(Op::Index(scatter), &[list, axes, updates])
    }

    /// The number of elements of the list at input `index`, where it is known.
    fn length(&self, index: usize) -> Option<usize> {
        let extents = self.importer.graph.value(self.input(index)?).extents()?;
        (extents.len() <= 1).then(|| extents.iter().product())
    }

    /// Squeeze or Unsqueeze by computed axes: a reshape to computed extents; their number must be known.
    pub(super) fn squeeze_computed(&mut self, insert: bool) -> Result<Op> {
        let (x, axes) = (self.x()?, self.required(1)?);
        let count = self.length(1).ok_or_else(|| {
            self.attributes.lacks("computed axes of unknown number; a known number is supported")
        })?;
        let rank = self.importer.rank(Some(x))?;
        // A single axis may come as a scalar.
        let count_list = self.list([count])?;
        let axes = self.then(Op::Reshape { allow_zero: true }, &[axes, count_list]);
        let extents = self.extents_of(x);
        let shape = if insert {
            let total = rank.saturating_add(count);
            if total > MOST_AXES {
                return Err(self.attributes.fail(format!("expects at most {MOST_AXES} axes, found {total}")));
            }
            // The n-th place that is not new takes the n-th extent; new ones take the 1 behind the last.
            let (old, new) = (self.list(vec![1; total])?, self.list(vec![0; count])?);
            let stays = self.placed(old, axes, new);
            let axis = self.number(DType::I64, &[], &[0.0])?;
            let sum = IndexOp::CumSum { exclusive: true, reverse: false };
            let before = self.then(Op::Index(sum), &[stays, axis]);
            let holds = self.then(Op::Cast { to: DType::Bool }, &[stays]);
            let last = self.list([rank])?;
            let places = self.then(Op::Where, &[holds, before, last]);
            let one = self.list([1])?;
            let padded = self.then(Op::Concat { axis: 0 }, &[extents, one]);
            self.then(Op::Gather { axis: 0 }, &[padded, places])
        } else {
            let left = rank
                .checked_sub(count)
                .ok_or_else(|| self.attributes.fail(format!("expects at most {rank} axes, found {count}")))?;
            // Axes that go are numbered behind those that stay; the smallest numbers are the axes that stay.
            let (all, gone) = (self.list(0..rank)?, self.list(vec![rank; count])?);
            let numbered = self.placed(all, axes, gone);
            let left = self.list([left])?;
            let stay = self.smallest(numbered, left);
            self.then(Op::Gather { axis: 0 }, &[extents, stay])
        };
        Ok(self.last(Op::Reshape { allow_zero: true }, &[x, shape]))
    }

    /// The `count` smallest of a list, ascending.
    fn smallest(&mut self, list: ValueId, count: ValueId) -> ValueId {
        let op = Op::Index(IndexOp::TopK { axis: 0, largest: false });
        self.importer.emit_all(self.attributes.name(), op, vec![Some(list), Some(count)], 2)[0]
    }

    /// Split by computed sizes: one slice per piece, of which the last is the node's own.
    pub(super) fn split_computed(&mut self, axis: usize) -> Result<Op> {
        let (x, sizes) = (self.x()?, self.required(1)?);
        let zero = self.number(DType::I64, &[], &[0.0])?;
        let sums = |exclusive| Op::Index(IndexOp::CumSum { exclusive, reverse: false });
        let (starts, ends) = (self.then(sums(true), &[sizes, zero]), self.then(sums(false), &[sizes, zero]));
        let axes = self.list([axis])?;
        let mut names = std::mem::take(&mut self.outputs);
        let last = names.pop().ok_or_else(|| self.attributes.fail("expects outputs, found none"))?;
        let bounds = |this: &mut Self, piece: usize| -> Result<[ValueId; 4]> {
            let at = this.list([piece])?;
            let start = this.then(Op::Gather { axis: 0 }, &[starts, at]);
            let end = this.then(Op::Gather { axis: 0 }, &[ends, at]);
            Ok([x, start, end, axes])
        };
        let pieces = names.len();
        for (piece, name) in names.into_iter().enumerate() {
            let inputs = bounds(self, piece)?.map(Some).to_vec();
            self.importer.emit_as(self.attributes.name(), Op::Slice, inputs, &name);
        }
        let inputs = bounds(self, pieces)?;
        self.outputs = vec![last];
        Ok(self.last(Op::Slice, &inputs))
    }

    /// A reduction over computed axes.
    pub(super) fn reduce_computed(&self, op: ReduceOp) -> Op {
        let (keep_dims, all) =
            (self.attributes.flag("keepdims", true), !self.attributes.flag("noop_with_empty_axes", false));
        Op::Index(IndexOp::ReduceBy { op, keep_dims, all })
    }

    /// Padding about the centre that crops where it is negative.
    pub(super) fn center_crop_pad(&mut self) -> Result<Op> {
        let (x, wanted) = (self.x()?, self.required(1)?);
        let rank = self.importer.rank(Some(x))?;
        let axes = match self.attributes.ints("axes") {
            None => (0..rank).collect(),
            // In the order in which they are given.
            Some(axes) => {
                self.axes(axes, rank)?;
                axes.iter().map(|&axis| self.axis(axis)).collect::<Result<Vec<_>>>()?
            }
        };
        let (axes, two) = (self.list(axes)?, self.list([2])?);
        let extents = self.extents_of(x);
        let extents = self.then(Op::Gather { axis: 0 }, &[extents, axes]);
        let wanted = self.then(Op::Cast { to: DType::I64 }, &[wanted]);
        let missing = self.then(binary(BinaryOp::Sub), &[wanted, extents]);
        // Of an odd difference the larger half is behind.
        let before = self.then(binary(BinaryOp::Div), &[missing, two]);
        let after = self.then(binary(BinaryOp::Sub), &[missing, before]);
        let pads = self.then(Op::Concat { axis: 0 }, &[before, after]);
        self.inputs = vec![Some(x), Some(pads), None, Some(axes)];
        Ok(Op::Pad { mode: fewbit_core::ir::PadMode::Constant })
    }

    /// Scales and sizes of every axis by the one scale that keeps the aspect ratio of the axes listed, for extents or
    /// sizes that are computed.
    pub(super) fn keep_aspect_computed(&mut self, axes: &[usize], rank: usize, larger: bool) -> Result<()> {
        let (x, Some(sizes)) = (self.x()?, self.input(3)) else { return Ok(()) };
        let axes = self.list(axes.iter().copied())?;
        let extents = self.extents_of(x);
        let scaled = self.then(Op::Gather { axis: 0 }, &[extents, axes]);
        let float = Op::Cast { to: DType::F32 };
        let (asked, given) = (self.then(float.clone(), &[sizes]), self.then(float, &[scaled]));
        let ratios = self.then(binary(BinaryOp::Div), &[asked, given]);
        let op = if larger { ReduceOp::Max } else { ReduceOp::Min };
        let scale = self.then(Op::Reduce { op, axes: vec![0], keep_dims: true }, &[ratios]);
        let shape = self.then(Op::Shape { start: 0, end: None }, &[axes]);
        let scale = self.then(Op::Expand, &[scale, shape]);
        let ones = self.number(DType::F32, &[rank], &vec![1.0; rank])?;
        let scales = self.placed(ones, axes, scale);
        let half = self.number(DType::F32, &[], &[0.5])?;
        let rounded = self.then(binary(BinaryOp::Mul), &[scale, given]);
        let rounded = self.then(binary(BinaryOp::Add), &[rounded, half]);
        let rounded = self.then(Op::Cast { to: DType::I64 }, &[rounded]);
        let sizes = self.placed(extents, axes, rounded);
        (self.inputs[2], self.inputs[3]) = (Some(scales), Some(sizes));
        Ok(())
    }

    /// Blocks of space gathered into channels, ordered column-row-depth: what transposition makes of fixed extents.
    pub(super) fn space_to_depth_crd(&mut self, block: usize) -> Result<Op> {
        let x = self.x()?;
        let [n, c, h, w] = <[usize; 4]>::try_from(self.extents(x)?).map_err(|extents| {
            self.attributes.fail(format!("expects an input of rank 4, found {extents:?}"))
        })?;
        let squared = block.checked_mul(block).and_then(|block| block.checked_mul(c));
        let (Some(depth), true) = (squared, h % block == 0 && w % block == 0) else {
            return Err(self
                .attributes
                .fail(format!("expects extents divisible by {block}, found {h} and {w}")));
        };
        let (rows, columns) = (h / block, w / block);
        let apart = self.list([n, c, rows, block, columns, block])?;
        let apart = self.then(Op::Reshape { allow_zero: true }, &[x, apart]);
        let moved = self.then(Op::Transpose { perm: vec![0, 1, 3, 5, 2, 4] }, &[apart]);
        let shape = self.list([n, depth, rows, columns])?;
        Ok(self.last(Op::Reshape { allow_zero: true }, &[moved, shape]))
    }
}
