//! Element-wise nodes of two operands: which broadcasts the kernels' blocks express.

use fewbit_core::ir::{BinaryOp, Graph, Node, Op};
use fewbit_core::quant::convert;
use fewbit_kernels::{AddU8, BinaryF32, MulU8};

use super::{Compiler, Q8, Result, defect, untyped};
use crate::buffer::Layout;
use crate::step::{Blocks, Work};

/// The blocks of `a` against `b` over `out`, all in the same order of axes; `None` where neither is whole or the
/// other is repeated over more than one run of axes.
pub(super) fn blocks(a: &[usize], b: &[usize], out: &[usize]) -> Option<Blocks> {
    let n: usize = out.iter().product();
    let padded = |extents: &[usize]| {
        let mut padded = vec![1; out.len().checked_sub(extents.len())?];
        padded.extend_from_slice(extents);
        Some(padded)
    };
    let (a, b) = (padded(a)?, padded(b)?);
    match (a == out, b == out) {
        (true, true) => Some(Blocks::whole(n)),
        (true, false) => {
            let (len, tail) = repeated(&b, out)?;
            Some(Blocks { len, a: len, b: tail, a_step: len, b_step: tail })
        }
        (false, true) => {
            let (len, tail) = repeated(&a, out)?;
            Some(Blocks { len, a: tail, b: len, a_step: tail, b_step: len })
        }
        (false, false) => None,
    }
}

/// For extents that are whole, then 1, then whole: elements of `out` per block and of the operand per block.
fn repeated(operand: &[usize], out: &[usize]) -> Option<(usize, usize)> {
    let differs = |axis: usize| operand[axis] != out[axis];
    let first = (0..out.len()).find(|&axis| differs(axis))?;
    let last = (0..out.len()).rfind(|&axis| differs(axis))?;
    if (first..=last).any(|axis| operand[axis] != 1) {
        return None;
    }
    Some((out[first..].iter().product(), out[last + 1..].iter().product()))
}

/// Extents in channels-last order.
fn last(extents: &[usize]) -> Vec<usize> {
    match *extents {
        [n, c, ref spatial @ ..] if !spatial.is_empty() => {
            let mut order = vec![n];
            order.extend_from_slice(spatial);
            order.push(c);
            order
        }
        _ => extents.to_vec(),
    }
}

/// Extents of an operand as the channels-last output sees them; `None` where it has too few axes to be reordered.
fn last_operand(extents: &[usize], rank: usize) -> Option<Vec<usize>> {
    if extents.len() == rank {
        return Some(last(extents));
    }
    let wide = extents.iter().filter(|&&extent| extent != 1).count();
    (wide == 0).then(|| vec![1; rank])
}

/// The layout and blocks in which a node can run: as its first whole operand lies, else plain.
pub(super) fn choose(a: &[usize], b: &[usize], out: &[usize], prefer: Layout) -> Option<(Layout, Blocks)> {
    if prefer == Layout::Last
        && out.len() >= 3
        && let (Some(a), Some(b)) = (last_operand(a, out.len()), last_operand(b, out.len()))
        && let Some(blocks) = blocks(&a, &b, &last(out))
    {
        return Some((Layout::Last, blocks));
    }
    blocks(a, b, out).map(|blocks| (Layout::Plain, blocks))
}

/// The kernel's form of a function of two floats.
pub(super) fn float_kernel(op: BinaryOp) -> Option<BinaryF32> {
    Some(match op {
        BinaryOp::Add => BinaryF32::Add,
        BinaryOp::Sub => BinaryF32::Sub,
        BinaryOp::Mul => BinaryF32::Mul,
        BinaryOp::Div => BinaryF32::Div,
        BinaryOp::Min => BinaryF32::Min,
        BinaryOp::Max => BinaryF32::Max,
        BinaryOp::Pow => BinaryF32::Pow,
        BinaryOp::PRelu => BinaryF32::PRelu,
        _ => return None,
    })
}

/// Extents of the operands and the output of a node.
pub(super) fn operand_extents(graph: &Graph, node: &Node) -> Option<(Vec<usize>, Vec<usize>, Vec<usize>)> {
    let extents = |id: fewbit_core::ir::ValueId| graph.value(id).extents();
    Some((extents(node.input(0)?)?, extents(node.input(1)?)?, extents(*node.outputs.first()?)?))
}

impl Compiler<'_> {
    pub(super) fn binary(&mut self, node: &Node) -> Result<()> {
        let Op::Binary { op, activation } = node.op else { return Err(defect("a function of two elements")) };
        let (a_id, a) = self.in_value(node, 0)?;
        let (b_id, b) = self.in_value(node, 1)?;
        let (_, y) = self.out_value(node)?;
        let (ae, be, ye) = operand_extents(self.graph, node).ok_or_else(|| untyped(y))?;
        let prefer = if self.is_last(a_id) || self.is_last(b_id) { Layout::Last } else { Layout::Plain };
        let (layout, blocks) =
            choose(&ae, &be, &ye, prefer).ok_or_else(|| defect("a broadcast in blocks"))?;
        let left = self.form(a_id, layout)?;
        let right = self.form(b_id, layout)?;
        let output = self.output(node, layout)?;
        let bounds = activation.bounds();
        let (work, kernel) = match (Q8::of(a), Q8::of(b), Q8::of(y)) {
            (Some(a), Some(b), Some(y)) if op == BinaryOp::Mul => (
                Work::MulU8 {
                    parameters: MulU8 {
                        a_zero: a.stored_zero(),
                        b_zero: b.stored_zero(),
                        multiplier: convert::product_multiplier(a.scale, b.scale, y.scale),
                        codes: y.codes(bounds)?,
                    },
                    blocks,
                },
                "mul_u8".to_owned(),
            ),
            (Some(a), Some(b), Some(y)) => {
                let sign = if op == BinaryOp::Sub { -1.0 } else { 1.0 };
                let parameters = AddU8 {
                    a_zero: a.stored_zero(),
                    a_ratio: a.scale / y.scale,
                    b_zero: b.stored_zero(),
                    b_ratio: sign * (b.scale / y.scale),
                    codes: y.codes(bounds)?,
                };
                (Work::AddU8 { parameters, blocks }, "add_u8".to_owned())
            }
            _ => {
                let kernel = float_kernel(op).ok_or_else(|| defect("a function without a kernel"))?;
                (Work::BinaryF32 { op: kernel, bounds, blocks }, format!("{}_f32", op.name().to_lowercase()))
            }
        };
        self.push(&node.name, &kernel, vec![left, right], vec![output], work, output.elements as u64 * 4);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_runs_of_repeated_axes() {
        assert_eq!(blocks(&[2, 3], &[2, 3], &[2, 3]), Some(Blocks::whole(6)));
        let scalar = blocks(&[2, 3], &[], &[2, 3]).unwrap();
        assert_eq!((scalar.len, scalar.b), (6, 1));
        let channel = blocks(&[2, 4, 4, 3], &[3], &[2, 4, 4, 3]).unwrap();
        assert_eq!((channel.len, channel.b, channel.b_step), (96, 3, 3));
        let per_image = blocks(&[2, 1, 1, 3], &[2, 4, 4, 3], &[2, 4, 4, 3]).unwrap();
        assert_eq!((per_image.len, per_image.a, per_image.a_step, per_image.b_step), (48, 3, 3, 48));
        let rows = blocks(&[2, 3, 5], &[2, 3, 1], &[2, 3, 5]).unwrap();
        assert_eq!((rows.len, rows.b, rows.b_step), (5, 1, 1));
        assert_eq!(blocks(&[2, 1], &[1, 3], &[2, 3]), None);
        assert_eq!(blocks(&[2, 3, 4, 5], &[1, 3, 1, 5], &[2, 3, 4, 5]), None);
    }

    #[test]
    fn channels_last_reorders_operands_of_full_rank_and_scalars() {
        let (layout, found) = choose(&[1, 3, 4, 4], &[1, 3, 1, 1], &[1, 3, 4, 4], Layout::Last).unwrap();
        assert_eq!((layout, found.b), (Layout::Last, 3));
        let (layout, _) = choose(&[1, 3, 4, 4], &[4], &[1, 3, 4, 4], Layout::Last).unwrap();
        assert_eq!(layout, Layout::Plain);
    }
}
