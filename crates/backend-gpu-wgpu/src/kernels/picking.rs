//! Ranges, broadcasts, rows by index, and numbers of other types.

use fewbit_core::capability::reasons;
use fewbit_core::ir::{DType, Node};

use super::moving::same_values;
use super::{Params, Walk, shader};
use crate::lower::{Layout, Lowering, Result, expect_shape, extents_of, refused, require_real, width_of};

const GATHER: &str = include_str!("gather.wgsl");
const CAST: &str = include_str!("cast.wgsl");

impl<'g> Lowering<'g> {
    /// The integers of a constant input; `None` where the node leaves it out.
    fn integers(&self, node: &Node, index: usize) -> Result<Option<Vec<i64>>> {
        let Some(id) = node.input(index) else { return Ok(None) };
        match &self.graph.value(id).constant {
            Some(tensor) => Ok(Some(tensor.to_i64_vec())),
            None => refused(reasons::CONSTANT, format!("kernels take a constant input {index}")),
        }
    }

    pub(crate) fn slice(&mut self, node: &'g Node) -> Result<()> {
        let ((id, x), (_, y)) = (self.input(node, 0)?, self.out(node)?);
        let (shape, output, width) = (extents_of(x)?, extents_of(y)?, width_of(x)?);
        same_values(x, y)?;
        let rank = shape.len();
        let (Some(starts), Some(_)) = (self.integers(node, 1)?, self.integers(node, 2)?) else {
            return refused(reasons::CONSTANT, "expected starts and ends");
        };
        let axes = self.integers(node, 3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = self.integers(node, 4)?.unwrap_or_else(|| vec![1; starts.len()]);
        if axes.len() != starts.len() || steps.len() != starts.len() || output.len() != rank {
            return refused(reasons::MODE, "expected as many axes and steps as starts");
        }
        let (layout, from) = self.any(id)?;
        let own = layout.strides(&shape);
        let mut strides: Vec<i64> = own.iter().map(|&stride| stride as i64).collect();
        let mut base = 0;
        for ((&axis, &start), &step) in axes.iter().zip(&starts).zip(&steps) {
            let axis = if axis < 0 { axis + rank as i64 } else { axis };
            let Some(axis) = usize::try_from(axis).ok().filter(|&axis| axis < rank) else {
                return refused(reasons::AXIS, format!("axis {axis} of {rank} dimensions"));
            };
            // How many there are is inferred already, at least one; where the first is depends on the step's sign.
            let extent = shape[axis] as i64;
            let start = if start < 0 { start.saturating_add(extent) } else { start };
            let start = start.clamp(0, if step < 0 { extent - 1 } else { extent });
            let last = start.saturating_add(step.saturating_mul(output[axis] as i64 - 1));
            if step == 0 || !(0..extent).contains(&start) || !(0..extent).contains(&last) {
                return refused(reasons::DIM, format!("a range from {start} by {step} of {extent}"));
            }
            base += start * own[axis] as i64;
            strides[axis] = if output[axis] > 1 { step * own[axis] as i64 } else { 0 };
        }
        let to = self.output(node, layout)?;
        self.launch_move(from, to, width, &Walk::new(layout, &output, &[&strides]), base)
    }

    pub(crate) fn expand(&mut self, node: &'g Node) -> Result<()> {
        let ((id, x), (_, y)) = (self.input(node, 0)?, self.out(node)?);
        let (shape, output, width) = (extents_of(x)?, extents_of(y)?, width_of(x)?);
        same_values(x, y)?;
        let fits = shape.len() <= output.len()
            && shape.iter().rev().zip(output.iter().rev()).all(|(&own, &out)| own == out || own == 1);
        if !fits {
            return refused(reasons::BROADCAST, format!("{shape:?} does not broadcast to {output:?}"));
        }
        let from = self.want(id, Layout::Rows)?;
        let own = Layout::Rows.strides(&shape);
        let missing = output.len() - shape.len();
        let stride = |axis: usize| match axis.checked_sub(missing) {
            Some(axis) if shape[axis] != 1 => own[axis] as i64,
            _ => 0,
        };
        let strides: Vec<i64> = (0..output.len()).map(stride).collect();
        let to = self.output(node, Layout::Rows)?;
        self.launch_move(from, to, width, &Walk::new(Layout::Rows, &output, &[&strides]), 0)
    }

    pub(crate) fn gather(&mut self, node: &'g Node, axis: usize) -> Result<()> {
        let ((id, x), (index_id, indices), (_, y)) =
            (self.input(node, 0)?, self.input(node, 1)?, self.out(node)?);
        let (shape, output, width) = (extents_of(x)?, extents_of(y)?, width_of(x)?);
        same_values(x, y)?;
        if width == 8 {
            return refused(reasons::TYPE, format!("`{}` has 64-bit elements", x.name));
        }
        if axis >= shape.len() {
            return refused(reasons::AXIS, format!("axis {axis} of {} dimensions", shape.len()));
        }
        let extent = shape[axis];
        let words = match indices.dtype {
            Some(DType::I64) => 2,
            Some(DType::I32) => 1,
            _ => return refused(reasons::TYPE, format!("`{}` is neither i64 nor i32", indices.name)),
        };
        let count: usize = extents_of(indices)?.iter().product();
        let inner: usize = shape[axis + 1..].iter().product();
        let outer: usize = shape[..axis].iter().product();
        if output.iter().product::<usize>() != outer * count * inner {
            return refused(reasons::DIM, format!("{shape:?} by {count} indices does not give {output:?}"));
        }
        // A kernel cannot say that an index is none: constants are looked at here, inputs before every run.
        if let Some(tensor) = &indices.constant {
            let limit = extent as i64;
            if let Some(index) =
                tensor.to_i64_vec().into_iter().find(|index| !(-limit..limit).contains(index))
            {
                return refused(reasons::DIM, format!("index {index} of {extent} elements"));
            }
        } else if let Some(input) = self.graph.inputs.iter().position(|&input| input == index_id) {
            self.check_indices(input, extent);
        } else {
            return refused(reasons::CONSTANT, "kernels take indices that are constants or inputs");
        }
        let from = self.want(id, Layout::Rows)?;
        let picks = self.want(index_id, Layout::Rows)?;
        let to = self.output(node, Layout::Rows)?;
        let total = outer * count * inner;
        let params = Params::new().u(&[total.div_ceil(4), total, inner, count, extent, words]).done();
        let values = if width == 1 {
            [("QUAD", "u32"), ("START", "0u"), ("PICK", PICK_BYTE)]
        } else {
            [("QUAD", "vec4<u32>"), ("START", "vec4<u32>()"), ("PICK", "result[lane] = x[at];")]
        };
        let shader = shader(&format!("gather_{}", 8 * width), GATHER, &values);
        self.launch_quads(shader, vec![from, picks], to, params, total.div_ceil(4));
        Ok(())
    }

    /// Integers to floats.
    pub(crate) fn cast(&mut self, node: &'g Node) -> Result<()> {
        let ((id, x), (_, y)) = (self.input(node, 0)?, self.out(node)?);
        let shape = extents_of(x)?;
        expect_shape(y, &shape)?;
        if x.quant.is_some() || y.quant.is_some() {
            return refused(reasons::TYPE, "the kernel takes integers that stand for themselves");
        }
        if x.dtype == y.dtype {
            return self.alias(node);
        }
        require_real(y)?;
        let body = match x.dtype {
            // What fits 32 bits is converted as such; of larger numbers both halves, with the error of three roundings.
            Some(DType::I64) => {
                "let low = bitcast<i32>(x[2u * at]);
  let high = bitcast<i32>(x[2u * at + 1u]);
  return select(f32(high) * 4294967296.0 + f32(x[2u * at]), f32(low), high == (low >> 31u));"
            }
            Some(DType::I32) => "return f32(bitcast<i32>(x[at]));",
            Some(DType::Bool | DType::U8) => "return f32(extractBits(x[at / 4u], 8u * (at % 4u), 8u));",
            _ => return refused(reasons::TYPE, format!("`{}` is no integer that the kernel casts", x.name)),
        };
        let from = self.want(id, Layout::Rows)?;
        let to = self.output(node, Layout::Rows)?;
        let total: usize = shape.iter().product();
        let shader = shader("cast_f32", CAST, &[("BODY", body)]);
        let quads = total.div_ceil(4);
        self.launch_quads(shader, vec![from], to, Params::new().u(&[quads, total]).done(), quads);
        Ok(())
    }
}

const PICK_BYTE: &str =
    "result = insertBits(result, extractBits(x[at / 4u], 8u * (at % 4u), 8u), 8u * lane, 8u);";
