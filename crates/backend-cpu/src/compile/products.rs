//! Convolutions and matrix products.

use fewbit_core::ir::{ConvAttributes, DType, Node, Op, Tensor, Value};
use fewbit_core::plan::Precision;
use fewbit_core::quant::Granularity;
use fewbit_core::reference;
use fewbit_kernels::{ConvF32, ConvInt8, ConvShape, GemmF32};

use super::{Compiler, Q8, Result, conv_output, defect, kernel_error, taps_last, untyped};
use crate::buffer::{Layout, Slot};
use crate::step::Work;

/// A product as a convolution over channels-last pixels.
struct Product {
    shape: ConvShape,
    layout: Layout,
    /// Turns weights of the program's order into `[out][taps][in]`.
    order: Order,
}

#[derive(Clone, Copy)]
enum Order {
    /// `[out][in][taps]`.
    Conv { inputs: usize, taps: usize },
    /// `[out][in]`.
    Rows,
    /// `[in][out]`.
    Columns { outputs: usize },
}

impl Order {
    fn apply<T: Copy + Default>(self, weights: &[T]) -> Vec<T> {
        match self {
            Order::Conv { inputs, taps } => taps_last(weights, inputs, taps),
            Order::Rows => weights.to_vec(),
            Order::Columns { outputs } => {
                let inputs = weights.len() / outputs.max(1);
                (0..outputs).flat_map(|o| (0..inputs).map(move |i| weights[i * outputs + o])).collect()
            }
        }
    }
}

/// Weights as i8 with one scale per channel or one for all, where they have at most 8 bits and their zero points fit.
pub(super) fn int8_weights(value: &Value, channel_axis: usize) -> Option<(Vec<i8>, Vec<f32>)> {
    let (tensor, quant) = (value.constant.as_ref()?, value.quant.as_ref()?);
    if !matches!(tensor.dtype(), DType::I8 | DType::U8 | DType::I4 | DType::U4) {
        return None;
    }
    let extents = tensor.extents();
    let (channels, inner) = match quant.granularity {
        Granularity::PerTensor => (1, 1),
        Granularity::PerChannel { axis } if axis == channel_axis => {
            (extents[axis], extents[axis + 1..].iter().product::<usize>())
        }
        _ => return None,
    };
    let codes = tensor
        .to_i64_vec()
        .into_iter()
        .enumerate()
        .map(|(at, code)| i8::try_from(code - i64::from(quant.zero_points[at / inner % channels])).ok())
        .collect::<Option<Vec<i8>>>()?;
    Some((codes, quant.scales.clone()))
}

/// Integer weights of a float product as codes that kernels keep; `None` where they are decoded when the model is
/// loaded: scales per block, further factors, depthwise convolutions.
pub(super) fn kept_codes(node: &Node, weights: &Value) -> Option<(Vec<i8>, Vec<f32>)> {
    let unit = !matches!(node.op, Op::Gemm { alpha, .. } if alpha != 1.0);
    unit.then(|| int8_weights(weights, channel_axis(&node.op))).flatten()
}

/// The axis of output channels in a node's weights.
pub(super) fn channel_axis(op: &Op) -> usize {
    match op {
        Op::Conv { .. } | Op::Gemm { trans_b: true, .. } => 0,
        _ => 1,
    }
}

/// The sizes of a convolution of rank 3 or 4 (one or two spatial axes).
pub(super) fn conv_shape(conv: &ConvAttributes, x: &[usize], y: &[usize]) -> Option<ConvShape> {
    let two = |values: &[usize], missing: usize| match *values {
        [w] => Some((missing, w)),
        [h, w] => Some((h, w)),
        _ => None,
    };
    let spatial = x.len().checked_sub(2)?;
    let (in_h, in_w) = two(&x[2..], 1)?;
    let (out_h, out_w) = two(&y[2..], 1)?;
    let (kernel_h, kernel_w) = two(&conv.kernel, 1)?;
    let (stride_h, stride_w) = two(&conv.strides, 1)?;
    let (dilation_h, dilation_w) = two(&conv.dilations, 1)?;
    let (pad_top, pad_left) = two(&conv.pads[..spatial], 0)?;
    Some(ConvShape {
        batch: x[0],
        in_h,
        in_w,
        in_c: x[1],
        out_h,
        out_w,
        out_c: y[1],
        kernel_h,
        kernel_w,
        stride_h,
        stride_w,
        dilation_h,
        dilation_w,
        pad_top,
        pad_left,
        groups: conv.groups,
    })
}

impl Compiler<'_> {
    pub(super) fn product(&mut self, node: &Node) -> Result<()> {
        let (w_id, w) = self.in_value(node, 1)?;
        if w.constant.is_none() {
            return self.run_time_product(node, w_id);
        }
        let product = self.as_convolution(node)?;
        let (x_id, x) = self.in_value(node, 0)?;
        let input = self.form(x_id, product.layout)?;
        let bias = node.input(2).and_then(|id| self.graph.value(id).constant.clone());
        match (Q8::of(x), node.precision) {
            (Some(x), _) => self.integer(node, &product, x, w, bias.as_ref(), input),
            (None, Some(Precision::W8A8Dynamic)) => self.dynamic(node, &product, w, bias.as_ref(), input),
            (None, _) => self.float(node, &product, w, bias.as_ref(), input),
        }
    }

    fn as_convolution(&self, node: &Node) -> Result<Product> {
        let (_, x) = self.in_value(node, 0)?;
        let (_, y) = self.out_value(node)?;
        let x = x.extents().ok_or_else(|| untyped(x))?;
        let y = y.extents().ok_or_else(|| untyped(y))?;
        Ok(match &node.op {
            Op::Conv { conv, .. } => {
                let shape = conv_shape(conv, &x, &y).ok_or_else(|| defect("a convolution of rank 3 or 4"))?;
                let taps = shape.kernel_h * shape.kernel_w;
                let order = Order::Conv { inputs: shape.in_c / shape.groups, taps };
                Product { shape, layout: Layout::Last, order }
            }
            op => {
                let n = y.last().copied().unwrap_or(1);
                let k = x.last().copied().unwrap_or(1);
                let m = y.iter().product::<usize>() / n.max(1);
                let order = match op {
                    Op::Gemm { trans_b: true, .. } => Order::Rows,
                    _ => Order::Columns { outputs: n },
                };
                Product { shape: ConvShape::gemm(m, n, k), layout: Layout::Plain, order }
            }
        })
    }

    fn integer(
        &mut self,
        node: &Node,
        product: &Product,
        x: Q8,
        w: &Value,
        bias: Option<&Tensor>,
        input: Slot,
    ) -> Result<()> {
        let (codes, scales) =
            int8_weights(w, channel_axis(&node.op)).ok_or_else(|| defect("8-bit weights"))?;
        let bias = bias.map(|bias| bias.as_slice::<i32>().map(<[i32]>::to_vec)).transpose()?;
        let codes = product.order.apply(&codes);
        let conv = if codes.iter().all(|code| (-8..=7).contains(code)) && w.dtype == Some(DType::I4) {
            ConvInt8::with_four_bits(self.token, product.shape, &codes, bias.as_deref())
        } else {
            ConvInt8::new(self.token, product.shape, &codes, bias.as_deref())
        }
        .map_err(kernel_error)?;
        let (_, y) = self.out_value(node)?;
        let output = conv_output(x, &scales, y, node.op.activation().bounds())?;
        self.note(conv.packed_len() + scales.len() * 12, conv.scratch_len());
        let kernel = conv.kernel().to_string();
        let slot = self.output(node, product.layout)?;
        let work = Work::ConvInt8 { conv, x_zero: x.stored_zero(), output };
        self.push(&node.name, &kernel, vec![input], vec![slot], work, product.shape.macs());
        Ok(())
    }

    fn dynamic(
        &mut self,
        node: &Node,
        product: &Product,
        w: &Value,
        bias: Option<&Tensor>,
        input: Slot,
    ) -> Result<()> {
        let (codes, weight_scales) =
            int8_weights(w, channel_axis(&node.op)).ok_or_else(|| defect("8-bit weights"))?;
        let conv = ConvInt8::new(self.token, product.shape, &product.order.apply(&codes), None)
            .map_err(kernel_error)?;
        self.note(conv.packed_len() + weight_scales.len() * 8, conv.scratch_len());
        let kernel = format!("dynamic+{}", conv.kernel());
        let slot = self.output(node, product.layout)?;
        let temporary = self.buffer(DType::U8, input.elements, product.layout);
        let (min, max) = node.op.activation().bounds();
        let work = Work::Dynamic { conv, weight_scales, bias: bias.map(Tensor::to_f32_vec), min, max };
        self.push(&node.name, &kernel, vec![input], vec![slot, temporary], work, product.shape.macs());
        Ok(())
    }

    fn float(
        &mut self,
        node: &Node,
        product: &Product,
        w: &Value,
        bias: Option<&Tensor>,
        input: Slot,
    ) -> Result<()> {
        let constant = w.constant.as_ref().ok_or_else(|| defect("constant weights"))?;
        let (alpha, beta) = match node.op {
            Op::Gemm { alpha, beta, .. } => (alpha, beta),
            _ => (1.0, 1.0),
        };
        let mut bias = bias.map(Tensor::to_f32_vec);
        for bias in bias.iter_mut().flatten() {
            *bias *= beta;
        }
        if let Some(bias) = &mut bias
            && bias.len() == 1
        {
            *bias = vec![bias[0]; product.shape.out_c];
        }
        let bounds = node.op.activation().bounds();
        let conv = if let Some((codes, scales)) = kept_codes(node, w) {
            let four = w.dtype == Some(DType::I4);
            let codes = product.order.apply(&codes);
            ConvF32::with_codes(self.token, product.shape, &codes, &scales, four, bias.as_deref(), bounds)
        } else {
            let mut weights = match &w.quant {
                Some(quant) => reference::dequantize(constant, quant, DType::F32)?.to_f32_vec(),
                None => constant.to_f32_vec(),
            };
            for weight in &mut weights {
                *weight *= alpha;
            }
            ConvF32::new(self.token, product.shape, &product.order.apply(&weights), bias.as_deref(), bounds)
        }
        .map_err(kernel_error)?;
        self.note(conv.packed_len(), conv.scratch_len());
        let family = if product.shape.is_depthwise() { "depthwise" } else { "gemm" };
        let weights = match conv.weight_bits() {
            32 => String::new(),
            bits => format!("i{bits}"),
        };
        let kernel = format!("{family}_f32{weights}_{}", self.token.tier());
        let slot = self.output(node, product.layout)?;
        self.push(&node.name, &kernel, vec![input], vec![slot], Work::ConvF32(conv), product.shape.macs());
        Ok(())
    }

    /// A product of two run-time matrices, batched; one of them may be shared by the whole batch.
    fn run_time_product(&mut self, node: &Node, w_id: fewbit_core::ir::ValueId) -> Result<()> {
        let (x_id, x) = self.in_value(node, 0)?;
        let (_, w) = self.in_value(node, 1)?;
        let (_, y) = self.out_value(node)?;
        let x = x.extents().ok_or_else(|| untyped(x))?;
        let w = w.extents().ok_or_else(|| untyped(w))?;
        let y = y.extents().ok_or_else(|| untyped(y))?;
        let (rank, batch) = (y.len(), y[..y.len() - 2].iter().product::<usize>());
        let (m, n, k) = (y[rank - 2], y[rank - 1], x[x.len() - 1]);
        let gemm = GemmF32::new(self.token, n, k).map_err(kernel_error)?;
        let step = |extents: &[usize], size: usize| {
            if extents[..extents.len() - 2].iter().product::<usize>() == 1 { 0 } else { size }
        };
        let (a_step, b_step) = (step(&x, m * k), step(&w, k * n));
        let a = self.form(x_id, Layout::Plain)?;
        let b = self.form(w_id, Layout::Plain)?;
        let slot = self.output(node, Layout::Plain)?;
        let packed = self.buffer(DType::F32, gemm.packed_len(), Layout::Plain);
        let operations = (batch * m * n * k) as u64;
        let work = Work::GemmF32 { gemm, batch, rows: m, a_step, b_step };
        self.push(&node.name, "gemm_f32", vec![a, b], vec![slot, packed], work, operations);
        Ok(())
    }
}
