//! Products of two matrices of the run, batched, in floats.

use fewbit_core::capability::reasons;
use fewbit_core::ir::Node;

use super::{Params, shader};
use crate::adapter::GROUP;
use crate::lower::{Layout, Lowering, Result, extents_of, refused, require_real};

const MATRICES: &str = include_str!("matrices.wgsl");
/// Rows of an invocation's tile; its columns are a quad.
const ROWS: usize = 4;
/// Matrices of a batch: workgroups along a dimension.
const BATCHES_MAX: usize = 65535;

impl<'g> Lowering<'g> {
    pub(crate) fn matrices(&mut self, node: &'g Node) -> Result<()> {
        let ((a_id, a), (b_id, b), (_, y)) = (self.input(node, 0)?, self.input(node, 1)?, self.out(node)?);
        for value in [a, b, y] {
            require_real(value)?;
        }
        let (left, right, output) = (extents_of(a)?, extents_of(b)?, extents_of(y)?);
        let ([outer_a @ .., m, k], [outer_b @ .., depth, n]) = (&left[..], &right[..]) else {
            return refused(reasons::RANK, "kernels multiply matrices");
        };
        let Some((outer, &[rows, columns])) = output.split_last_chunk::<2>() else {
            return refused(reasons::RANK, "kernels multiply matrices");
        };
        let fits = |operand: &[usize]| {
            operand.len() <= outer.len()
                && operand.iter().rev().zip(outer.iter().rev()).all(|(&own, &out)| own == out || own == 1)
        };
        if k != depth || (*m, *n) != (rows, columns) || !fits(outer_a) || !fits(outer_b) {
            return refused(reasons::DIM, format!("{left:?} by {right:?} does not give {output:?}"));
        }
        let count: usize = outer.iter().product();
        if count > BATCHES_MAX {
            return refused(
                reasons::BATCH,
                format!("expected at most {BATCHES_MAX} matrices, found {count}"),
            );
        }
        let (k_quads, n_quads) = (k.div_ceil(4), n.div_ceil(4));
        let offset = |operand: &[usize], size: usize, batch: usize| {
            let (mut rest, mut at, mut stride) = (batch, 0, size);
            for (axis, &out) in outer.iter().enumerate().rev() {
                let missing = outer.len() - operand.len();
                let own = axis.checked_sub(missing).map_or(1, |axis| operand[axis]);
                if own != 1 {
                    at += rest % out * stride;
                }
                stride *= own;
                rest /= out;
            }
            at as u32
        };
        let offsets = self.numbers(|| {
            (0..count)
                .flat_map(|batch| [offset(outer_a, m * k_quads, batch), offset(outer_b, k * n_quads, batch)])
                .collect()
        })?;
        let reads = vec![self.want(a_id, Layout::Padded)?, self.want(b_id, Layout::Padded)?, offsets];
        let to = self.output(node, Layout::Padded)?;
        let tail = if k.is_multiple_of(4) { "" } else { TAIL };
        let across = if n_quads >= 16 { 16 } else { n_quads.next_power_of_two() };
        let down = GROUP as usize / across;
        let (lanes_x, lanes_y) = (format!("{across}u"), format!("{down}u"));
        let values = [("TAIL", tail), ("LANES_X", lanes_x.as_str()), ("LANES_Y", lanes_y.as_str())];
        let shader = shader("matrices_f32", MATRICES, &values);
        let params = Params::new().u(&[*m, *k, k_quads, n_quads]).done();
        let groups = [n_quads.div_ceil(across) as u32, m.div_ceil(ROWS * down) as u32, count as u32];
        self.launch(shader, reads, to, params, groups);
        Ok(())
    }
}

/// Of the last quad of the depth, what is no element counts as 0.
const TAIL: &str = "let left = vec4(0u, 1u, 2u, 3u) < vec4(g.depth - 4u * q);
    a0 = select(vec4(0.0), a0, left);
    a1 = select(vec4(0.0), a1, left);
    a2 = select(vec4(0.0), a2, left);
    a3 = select(vec4(0.0), a3, left);
    b1 = select(vec4(0.0), b1, left.y);
    b2 = select(vec4(0.0), b2, left.z);
    b3 = select(vec4(0.0), b3, left.w);";
