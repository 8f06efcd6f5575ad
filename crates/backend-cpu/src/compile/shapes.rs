//! Pooling, resizing, concatenation, rows, and what only moves elements.

use fewbit_core::ir::{Graph, Node, Op, PoolAttributes, ResizeAttributes, ResizeMode, Tensor};
use fewbit_core::quant::convert;
use fewbit_core::reference::{linear_samples, nearest_sample, resize_scale};
use fewbit_kernels::{LINEAR_ONE, LinearTap, PoolShape, ResizeShape, Transpose};

use super::{Compiler, OPEN, Q8, Result, defect, kernel_error, requantize, untyped};
use crate::buffer::{Layout, Slot};
use crate::step::Work;

/// Sizes of a pooling of rank 3 or 4.
pub(super) fn pool_shape(pool: &PoolAttributes, x: &[usize], y: &[usize]) -> Option<PoolShape> {
    let two = |values: &[usize], missing: usize| match *values {
        [w] => Some((missing, w)),
        [h, w] => Some((h, w)),
        _ => None,
    };
    let spatial = x.len().checked_sub(2)?;
    let (in_h, in_w) = two(&x[2..], 1)?;
    let (out_h, out_w) = two(&y[2..], 1)?;
    let (kernel_h, kernel_w) = two(&pool.kernel, 1)?;
    let (stride_h, stride_w) = two(&pool.strides, 1)?;
    let (dilation_h, dilation_w) = two(&pool.dilations, 1)?;
    let (pad_top, pad_left) = two(&pool.pads[..spatial], 0)?;
    let (pad_bottom, pad_right) = two(&pool.pads[spatial..], 0)?;
    Some(PoolShape {
        batch: x[0],
        in_h,
        in_w,
        channels: x[1],
        out_h,
        out_w,
        kernel_h,
        kernel_w,
        stride_h,
        stride_w,
        dilation_h,
        dilation_w,
        pad_top,
        pad_left,
        pad_bottom,
        pad_right,
        count_include_pad: pool.count_include_pad,
    })
}

/// Scales of the two spatial axes of a resize of rank 4 that leaves batch and channels alone.
pub(super) fn resize_scales(graph: &Graph, node: &Node) -> Option<(f32, f32)> {
    let constant = |index: usize| -> Option<&Tensor> {
        graph.value(node.input(index)?).constant.as_ref().filter(|tensor| tensor.elements() > 0)
    };
    let x = graph.value(node.input(0)?).extents()?;
    let y = graph.value(*node.outputs.first()?).extents()?;
    if x.len() != 4 || x[..2] != y[..2] {
        return None;
    }
    if let Some(scales) = constant(2) {
        let scales = scales.to_f32_vec();
        return (scales.len() == 4).then(|| (scales[2], scales[3]));
    }
    constant(3)?;
    Some((resize_scale(x[2], y[2]), resize_scale(x[3], y[3])))
}

impl Compiler<'_> {
    pub(super) fn pool(&mut self, node: &Node) -> Result<()> {
        let (id, x) = self.in_value(node, 0)?;
        let (_, y) = self.out_value(node)?;
        let (xe, ye) = (x.extents().ok_or_else(|| untyped(x))?, y.extents().ok_or_else(|| untyped(y))?);
        let (Op::MaxPool(pool) | Op::AveragePool(pool)) = &node.op else { return Err(defect("a pooling")) };
        let shape = pool_shape(pool, &xe, &ye).ok_or_else(|| defect("a pooling of rank 3 or 4"))?;
        shape.validate().map_err(kernel_error)?;
        let input = self.form(id, Layout::Last)?;
        let output = self.output(node, Layout::Last)?;
        let (work, kernel) = match (&node.op, Q8::of(x), Q8::of(y)) {
            (Op::MaxPool(_), ..) => (Work::MaxPool(shape), "max_pool"),
            (_, Some(x), Some(y)) => {
                let multiplier = (0..=shape.taps())
                    .map(|count| convert::mean_multiplier(x.scale, count.max(1), y.scale))
                    .collect();
                let codes = y.codes(OPEN)?;
                (Work::AveragePoolU8 { shape, x_zero: x.stored_zero(), multiplier, codes }, "average_pool_u8")
            }
            _ => (Work::AveragePoolF32(shape), "average_pool_f32"),
        };
        let operations = (output.elements * shape.taps()) as u64;
        self.push(&node.name, kernel, vec![input], vec![output], work, operations);
        Ok(())
    }

    pub(super) fn global_average(&mut self, node: &Node) -> Result<()> {
        let (id, x) = self.in_value(node, 0)?;
        let (_, y) = self.out_value(node)?;
        let extents = x.extents().ok_or_else(|| untyped(x))?;
        let (batch, channels) = (extents[0], extents[1]);
        let pixels: usize = extents[2..].iter().product();
        let input = self.form(id, Layout::Last)?;
        // One pixel is the same in both layouts, and without the spatial axes there is only one.
        let output = self.output(node, Layout::Plain)?;
        let (work, kernel) = match (Q8::of(x), Q8::of(y)) {
            (Some(x), Some(y)) => {
                let multiplier = convert::mean_multiplier(x.scale, pixels, y.scale);
                let codes = y.codes(OPEN)?;
                let x_zero = x.stored_zero();
                (Work::GlobalAverageU8 { channels, batch, x_zero, multiplier, codes }, "global_average_u8")
            }
            _ => (Work::GlobalAverageF32 { channels, batch }, "global_average_f32"),
        };
        self.push(&node.name, kernel, vec![input], vec![output], work, input.elements as u64);
        Ok(())
    }

    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Result<()> {
        let (_, y) = self.out_value(node)?;
        let extents = y.extents().ok_or_else(|| untyped(y))?;
        let any_last = node.inputs.iter().flatten().any(|&id| self.is_last(id));
        let layout = if axis == 1 && extents.len() >= 3 && any_last { Layout::Last } else { Layout::Plain };
        let inner: usize = if layout == Layout::Last { 1 } else { extents[axis + 1..].iter().product() };
        let y_codes = Q8::of(y);
        let (mut slots, mut widths, mut tables) = (Vec::new(), Vec::new(), Vec::new());
        for index in 0..node.inputs.len() {
            let (id, x) = self.in_value(node, index)?;
            slots.push(self.form(id, layout)?);
            widths.push(x.extents().ok_or_else(|| untyped(x))?[axis] * inner);
            tables.push(match (Q8::of(x), y_codes) {
                (Some(x), Some(y)) if x != y => Some(requantize(x, y)?),
                _ => None,
            });
        }
        let out_width = extents[axis] * inner;
        let output = self.output(node, layout)?;
        let work = Work::Concat { widths, tables, out_width };
        self.push(&node.name, "concat", slots, vec![output], work, output.elements as u64);
        Ok(())
    }

    pub(super) fn resize(&mut self, node: &Node) -> Result<()> {
        let Op::Resize(attributes) = node.op else { return Err(defect("a resize")) };
        let (id, x) = self.in_value(node, 0)?;
        let (_, y) = self.out_value(node)?;
        let (xe, ye) = (x.extents().ok_or_else(|| untyped(x))?, y.extents().ok_or_else(|| untyped(y))?);
        let (scale_h, scale_w) =
            resize_scales(self.graph, node).ok_or_else(|| defect("scales of a resize"))?;
        let shape = ResizeShape { batch: xe[0], in_h: xe[2], in_w: xe[3], channels: xe[1] };
        let input = self.form(id, Layout::Last)?;
        let output = self.output(node, Layout::Last)?;
        let (work, kernel) = if attributes.mode == ResizeMode::Nearest {
            let rows = nearest(attributes, xe[2], ye[2], scale_h);
            let columns = nearest(attributes, xe[3], ye[3], scale_w);
            (Work::ResizeNearest { shape, rows, columns }, "resize_nearest")
        } else if Q8::of(x).is_some() {
            let tap = |low, high, fraction: f32| {
                let weight = convert::resize_weight(fraction) as u16;
                LinearTap { low, high, weights: [LINEAR_ONE - weight, weight] }
            };
            let rows = linear(attributes, xe[2], ye[2], scale_h, tap);
            let columns = linear(attributes, xe[3], ye[3], scale_w, tap);
            (Work::ResizeLinearU8 { shape, rows, columns }, "resize_linear_u8")
        } else {
            let tap = |low, high, fraction: f32| LinearTap { low, high, weights: [1.0 - fraction, fraction] };
            let rows = linear(attributes, xe[2], ye[2], scale_h, tap);
            let columns = linear(attributes, xe[3], ye[3], scale_w, tap);
            (Work::ResizeLinearF32 { shape, rows, columns }, "resize_linear_f32")
        };
        self.push(&node.name, kernel, vec![input], vec![output], work, output.elements as u64 * 4);
        Ok(())
    }

    pub(super) fn softmax(&mut self, node: &Node, log: bool) -> Result<()> {
        let (id, x) = self.in_value(node, 0)?;
        let Op::Softmax { axis, .. } = node.op else { return Err(defect("a softmax")) };
        let width = x.extents().ok_or_else(|| untyped(x))?[axis];
        let input = self.form(id, Layout::Plain)?;
        let output = self.output(node, Layout::Plain)?;
        let work = Work::Softmax { width, log };
        self.push(&node.name, "softmax_f32", vec![input], vec![output], work, 0);
        Ok(())
    }

    pub(super) fn layer_norm(&mut self, node: &Node, axis: usize, epsilon: f32) -> Result<()> {
        let (id, x) = self.in_value(node, 0)?;
        let width: usize = x.extents().ok_or_else(|| untyped(x))?[axis..].iter().product();
        let floats = |index: usize| {
            node.input(index).and_then(|id| self.graph.value(id).constant.as_ref()).map(Tensor::to_f32_vec)
        };
        let (scale, bias) = (floats(1).unwrap_or_else(|| vec![1.0; width]), floats(2));
        let input = self.form(id, Layout::Plain)?;
        let output = self.output(node, Layout::Plain)?;
        let work = Work::LayerNorm { scale, bias, epsilon };
        self.push(&node.name, "layer_norm_f32", vec![input], vec![output], work, 0);
        Ok(())
    }

    /// Other extents over the same memory.
    pub(super) fn alias(&mut self, node: &Node) -> Result<()> {
        let (id, _) = self.in_value(node, 0)?;
        let slot = self.form(id, Layout::Plain)?;
        self.register(node, Slot { layout: Layout::Plain, ..slot })
    }

    fn register(&mut self, node: &Node, slot: Slot) -> Result<()> {
        let (id, _) = self.out_value(node)?;
        self.forms[id.index()][slot.layout as usize] = Some(slot);
        Ok(())
    }

    pub(super) fn transpose(&mut self, node: &Node, perm: &[usize]) -> Result<()> {
        let (id, x) = self.in_value(node, 0)?;
        let extents = x.extents().ok_or_else(|| untyped(x))?;
        let rank = perm.len();
        // Channels to the front of a plain value is its channels-last form, and the other way round.
        let to_front: Vec<usize> = [0, rank - 1].into_iter().chain(1..rank - 1).collect();
        let to_back: Vec<usize> = [0].into_iter().chain(2..rank).chain([1]).collect();
        if rank >= 3 && perm == to_front {
            let slot = self.form(id, Layout::Plain)?;
            return self.register(node, Slot { layout: Layout::Last, ..slot });
        }
        if rank >= 3 && perm == to_back {
            let slot = self.form(id, Layout::Last)?;
            return self.register(node, Slot { layout: Layout::Plain, ..slot });
        }
        let transpose = Transpose::new(&extents, perm).map_err(kernel_error)?;
        let input = self.form(id, Layout::Plain)?;
        if transpose.is_copy() {
            return self.register(node, input);
        }
        let output = self.output(node, Layout::Plain)?;
        let work = Work::Transpose(transpose);
        self.push(&node.name, "transpose", vec![input], vec![output], work, output.elements as u64 * 4);
        Ok(())
    }
}

fn nearest(attributes: ResizeAttributes, input: usize, output: usize, scale: f32) -> Vec<u32> {
    (0..output).map(|index| nearest_sample(attributes, index, input, output, scale) as u32).collect()
}

fn linear<W>(
    attributes: ResizeAttributes,
    input: usize,
    output: usize,
    scale: f32,
    tap: impl Fn(u32, u32, f32) -> LinearTap<W>,
) -> Vec<LinearTap<W>> {
    (0..output)
        .map(|index| {
            let (low, high, fraction) = linear_samples(attributes, index, input, output, scale);
            tap(low as u32, high as u32, fraction)
        })
        .collect()
}
