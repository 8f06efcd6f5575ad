//! Pools and means.

use fewbit_core::capability::reasons;
use fewbit_core::ir::{Node, Op, PoolAttributes, ReduceOp};

use super::{Params, Walk, shader};
use crate::lower::{
    Codes, Layout, Lowering, Result, expect_shape, extents_of, is_real, mean_multiplier, refused,
    require_real, usable,
};

const POOL: &str = include_str!("pool.wgsl");
const MEAN: &str = include_str!("mean.wgsl");
const MEAN_WALK: &str = include_str!("mean_walk.wgsl");
/// Elements of a mean: more could overflow the sum of codes.
const MEAN_MAX: usize = 1 << 22;

impl<'g> Lowering<'g> {
    /// What a mean or maximum reads and writes: codes or floats.
    fn pooled(&self, node: &Node) -> Result<Option<(Codes, Codes)>> {
        let ((_, x), (_, y)) = (self.input(node, 0)?, self.out(node)?);
        if is_real(x) {
            require_real(y)?;
            return Ok(None);
        }
        Ok(Some((self.codes(x)?, self.codes(y)?)))
    }

    pub(crate) fn pool(&mut self, node: &'g Node, pool: &PoolAttributes) -> Result<()> {
        let ((id, x), (_, y)) = (self.input(node, 0)?, self.out(node)?);
        let (input, output) = (extents_of(x)?, extents_of(y)?);
        let spatial = input.len().saturating_sub(2);
        if !(1..=2).contains(&spatial) || output.len() != input.len() || input[..2] != output[..2] {
            return refused(reasons::RANK, "kernels pool over one or two spatial axes");
        }
        let two = |values: &[usize], missing: usize| match *values {
            [w] if spatial == 1 => Ok([missing, w]),
            [h, w] if spatial == 2 => Ok([h, w]),
            _ => refused(reasons::RANK, "a window of other dimensions than the image"),
        };
        let mean = matches!(node.op, Op::AveragePool(_));
        if pool.pads.len() != 2 * spatial {
            return refused(reasons::MODE, "expected two pads along each axis");
        }
        let [height, width] = two(&input[2..], 1)?;
        let [out_height, out_width] = two(&output[2..], 1)?;
        let kernel = two(&pool.kernel, 1)?;
        let codes = self.pooled(node)?;
        if !mean && codes.is_some_and(|(x, y)| x != y) {
            return refused(reasons::SHARED_SCALE, "elements keep their parameters");
        }
        let positions = input[0] * out_height * out_width;
        let quads = input[1].div_ceil(4);
        let params = Params::new()
            .u(&[positions, height, width, quads, out_height, out_width])
            .u(&kernel)
            .u(&two(&pool.strides, 1)?)
            .u(&two(&pool.dilations, 1)?)
            .u(&two(&pool.pads[..spatial], 0)?)
            .u(&two(&pool.pads[spatial..], 0)?)
            .u(&[usize::from(pool.count_include_pad)]);
        let (params, start, sample, end) = match (codes, mean) {
            (Some((x, y)), _) => (
                params.bits(&[x.flip(), y.flip()]).i(&[x.zero(), y.zero(), -128 - y.zero(), 127 - y.zero()]),
                if mean { "vec4<i32>()" } else { "vec4<i32>(-128)" },
                if mean {
                    "result += codes_of(x[at], g.flip) - vec4(g.zero);"
                } else {
                    "result = max(result, codes_of(x[at], g.flip));"
                },
                if mean {
                    "let real = vec4<f32>(result) * multipliers[counted];
  y[index] = word_of(nearest(real, g.low, g.high) + vec4(g.out_zero), g.out_flip);"
                } else {
                    "y[index] = word_of(result, g.flip);"
                },
            ),
            (None, true) => {
                (params.u(&[0; 6]), "vec4<f32>()", "result += x[at];", "y[index] = result / f32(counted);")
            }
            (None, false) => (
                params.u(&[0; 6]),
                "vec4<f32>()",
                "let value = x[at];
      // NaN stays.
      let strange = (bitcast<vec4<u32>>(value) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
      result = select(result, value, (value > result) | strange | vec4(inside == 1u));",
                "y[index] = result;",
            ),
        };
        let multipliers = match codes.filter(|_| mean) {
            Some((x, y)) => {
                let all: Vec<f32> = (0..=kernel[0] * kernel[1])
                    .map(|count| usable(mean_multiplier(x, count.max(1), y)))
                    .collect::<Result<_>>()?;
                self.numbers(|| all)?
            }
            None => self.numbers(|| vec![0.0f32; 4])?,
        };
        let from = self.want(id, Layout::Channels)?;
        let to = self.output(node, Layout::Channels)?;
        let element = if codes.is_some() { "u32" } else { "vec4<f32>" };
        let name = format!(
            "{}_pool_{}",
            if mean { "average" } else { "max" },
            if codes.is_some() { "codes" } else { "f32" }
        );
        let values = [("ELEMENT", element), ("START", start), ("SAMPLE", sample), ("END", end)];
        let shader = shader(&name, POOL, &values);
        self.launch_quads(shader, vec![from, multipliers], to, params.done(), positions * quads);
        Ok(())
    }

    /// `GlobalAveragePool`, `ReduceMean`, and sums of floats.
    pub(crate) fn mean(&mut self, node: &'g Node) -> Result<()> {
        let ((id, x), (_, y)) = (self.input(node, 0)?, self.out(node)?);
        let shape = extents_of(x)?;
        let rank = shape.len();
        let (op, axes, keep) = match &node.op {
            Op::Reduce { op, axes, keep_dims } => (*op, axes.clone(), *keep_dims),
            Op::GlobalAveragePool if rank >= 3 => (ReduceOp::Mean, (2..rank).collect(), true),
            _ => return refused(reasons::RANK, "kernels average over at least one spatial axis"),
        };
        let mean = op == ReduceOp::Mean;
        if axes.iter().any(|&axis| axis >= rank) {
            return refused(reasons::AXIS, format!("axes {axes:?} of {rank} dimensions"));
        }
        let kept = |axis: &usize| !axes.contains(axis);
        let expected: Vec<usize> = (0..rank)
            .filter(|axis| keep || kept(axis))
            .map(|axis| if kept(&axis) { shape[axis] } else { 1 })
            .collect();
        expect_shape(y, &expected)?;
        let count: usize = axes.iter().map(|&axis| shape[axis]).product();
        if count > MEAN_MAX {
            return refused(reasons::DIM, format!("a mean of {count} elements"));
        }
        let codes = self.pooled(node)?;
        let Some((load, end)) = reduction(op).filter(|_| mean || codes.is_none()) else {
            return refused(reasons::OP, format!("no kernel reduces by {op:?} here"));
        };
        let (ratio, numbers) = match codes {
            Some((x, y)) => (
                usable(mean_multiplier(x, count, y))?,
                Params::new().bits(&[x.flip(), y.flip()]).i(&[
                    x.zero(),
                    y.zero(),
                    -128 - y.zero(),
                    127 - y.zero(),
                ]),
            ),
            None => (0.0, Params::new().u(&[0; 6])),
        };
        let numbers = numbers.f(&[ratio]).done();
        let suffix = if codes.is_some() { "codes" } else { "f32" };
        let layout = self.layout(id);
        if mean && layout == Layout::Channels && keep && axes.iter().copied().eq(2..rank) {
            let from = self.want(id, layout)?;
            let to = self.output(node, layout)?;
            let quads = shape[1].div_ceil(4);
            let params = Params::new().u(&[shape[0] * quads, quads, count]).bits(&numbers).done();
            let values = if codes.is_some() {
                [
                    ("ELEMENT", "u32"),
                    ("SUM", "vec4<i32>"),
                    ("LOAD", "codes_of(x[at], g.flip) - vec4(g.zero)"),
                    ("END", END_CODES),
                ]
            } else {
                [("ELEMENT", "vec4<f32>"), ("SUM", "vec4<f32>"), ("LOAD", "x[at]"), ("END", END_REALS)]
            };
            let shader = shader(&format!("mean_{suffix}"), MEAN, &values);
            self.launch_quads(shader, vec![from], to, params, shape[0] * quads);
            return Ok(());
        }
        let (layout, from) = self.any(id)?;
        let strides = layout.strides(&shape);
        let mut offsets = vec![0u32];
        for &axis in &axes {
            offsets = offsets
                .iter()
                .flat_map(|&base| (0..shape[axis]).map(move |at| (base, at)))
                .map(|(base, at)| base + (at * strides[axis]) as u32)
                .collect();
        }
        let own: Vec<i64> = (0..rank)
            .filter(|axis| keep || kept(axis))
            .map(|axis| if kept(&axis) { strides[axis] as i64 } else { 0 })
            .collect();
        let walk = Walk::new(Layout::Rows, &expected, &[&own]);
        let offsets = self.numbers(|| offsets)?;
        let to = self.output(node, Layout::Rows)?;
        let values = if codes.is_some() {
            [
                ("ELEMENT", "u32"),
                ("OUT", "u32"),
                ("SUM", "vec4<i32>"),
                ("PART", "i32"),
                ("LOAD", "extractBits(i32(x[at / 4u] ^ g.flip), 8u * (at % 4u), 8u) - g.zero"),
                ("END", END_CODES),
            ]
        } else {
            [
                ("ELEMENT", "f32"),
                ("OUT", "vec4<f32>"),
                ("SUM", "vec4<f32>"),
                ("PART", "f32"),
                ("LOAD", load),
                ("END", end),
            ]
        };
        let name = format!("{}_walk_{suffix}", format!("{op:?}").to_lowercase());
        let shader = shader(&name, MEAN_WALK, &values);
        let params = walk.params().u(&[count]).bits(&numbers).done();
        self.launch_quads(shader, vec![from, offsets], to, params, walk.quads());
        Ok(())
    }
}

/// What is summed of an element, and what becomes of the sum.
fn reduction(op: ReduceOp) -> Option<(&'static str, &'static str)> {
    Some(match op {
        ReduceOp::Mean => ("x[at]", END_REALS),
        ReduceOp::Sum => ("x[at]", "y[quad] = sum;"),
        ReduceOp::L1 => ("abs(x[at])", "y[quad] = sum;"),
        ReduceOp::L2 => ("x[at] * x[at]", "y[quad] = sqrt(sum);"),
        ReduceOp::SumSquare => ("x[at] * x[at]", "y[quad] = sum;"),
        _ => return None,
    })
}

const END_CODES: &str = "let real = vec4<f32>(sum) * g.ratio;
  y[quad] = word_of(nearest(real, g.low, g.high) + vec4(g.out_zero), g.out_flip);";
const END_REALS: &str = "y[quad] = sum / f32(g.count);";
