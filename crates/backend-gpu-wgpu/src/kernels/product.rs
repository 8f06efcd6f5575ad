//! Convolutions and products with constant matrices: geometry, and weights packed into blocks of output channels.
//!
//! Both are one kernel: a matrix is an image of height 1 whose pixels are rows. Channels come in quads; an invocation
//! computes a tile of positions by quads of output channels. Depthwise convolutions have a kernel of their own. Groups
//! whose channels do not fill quads are computed as one group with zeros between.

use fewbit_core::capability::reasons;
use fewbit_core::ir::{ConvAttributes, DType, Node, Op, Tensor, Value, ValueId};
use fewbit_core::plan::Precision;
use fewbit_core::quant::Granularity;
use fewbit_core::quant::convert::{self, CodeRange};
use half::f16;

mod geometry;
mod pack;
mod shared;
mod text;

use geometry::{Geometry, Index, Weights};
use pack::{Channels, word};
use text::{Finish, Kind, Tile, product_shader};

use super::{Params, shader};
use crate::lower::{
    Codes, Layout, Lowering, Result, constant_of, extents_of, is_real, refused, require_real, usable,
};

const PARAMS: &str = include_str!("product_params.wgsl");
const DENSE: &str = include_str!("product.wgsl");
const SHARED: &str = include_str!("product_shared.wgsl");
const DEPTHWISE: &str = include_str!("depthwise.wgsl");
/// Taps of a depthwise convolution: more products of codes would not add up exactly in f32, and their text is unrolled.
const TAPS_MAX: usize = 128;
/// Weights that groups may become with zeros between.
const SPREAD_MAX: usize = 1 << 24;

/// What is added: of the accumulator's scale, or real.
enum Addend {
    Nothing,
    Codes(Vec<i32>),
    Reals(Vec<f32>),
}

impl<'g> Lowering<'g> {
    /// Conv, Gemm and MatMul.
    pub(crate) fn product(&mut self, node: &'g Node) -> Result<()> {
        match &node.op {
            Op::Conv { conv, .. } => self.convolution(node, conv),
            _ => self.matrix(node),
        }
    }

    fn convolution(&mut self, node: &'g Node, conv: &ConvAttributes) -> Result<()> {
        let ((id, x), (_, w), (_, y)) = (self.input(node, 0)?, self.input(node, 1)?, self.out(node)?);
        let (input, output, weights) = (extents_of(x)?, extents_of(y)?, extents_of(w)?);
        let Some(geometry) = Geometry::convolution(conv, &input, &output) else {
            return refused(reasons::RANK, "kernels convolve over one or two spatial axes");
        };
        let fits = geometry.groups > 0
            && input[1].is_multiple_of(geometry.groups)
            && output[1].is_multiple_of(geometry.groups)
            && weights.iter().product::<usize>() == output[1] * geometry.depth() * geometry.taps();
        if !fits {
            return refused(reasons::GROUPS, format!("{} groups of {} channels", geometry.groups, input[1]));
        }
        let index = Index::Conv { depth: geometry.depth(), taps: geometry.taps() };
        self.packed(node, id, &geometry, index, 0, Layout::Channels)
    }

    fn matrix(&mut self, node: &'g Node) -> Result<()> {
        let ((id, a), (_, b), (_, y)) = (self.input(node, 0)?, self.input(node, 1)?, self.out(node)?);
        let (trans_a, trans_b) = match node.op {
            Op::Gemm { trans_a, trans_b, alpha, beta, .. } => {
                if alpha != 1.0 || (beta != 1.0 && node.input(2).is_some()) {
                    return refused(reasons::MODE, "kernels take alpha and beta of 1");
                }
                (trans_a, trans_b)
            }
            _ => (false, false),
        };
        if trans_a {
            return refused(reasons::MODE, "kernels take the first matrix as it is");
        }
        let (left, right, output) = (extents_of(a)?, extents_of(b)?, extents_of(y)?);
        if b.constant.is_none() || right.len() != 2 || left.len() < 2 {
            if node.op == Op::MatMul {
                return self.matrices(node);
            }
            return refused(reasons::CONSTANT, "kernels take a constant matrix as weights");
        }
        let (k, n) = if trans_b { (right[1], right[0]) } else { (right[0], right[1]) };
        let depth = left[left.len() - 1];
        let rows = left[..left.len() - 1].iter().product();
        if depth != k || output.iter().product::<usize>() != rows * n {
            return refused(reasons::DIM, format!("{left:?} by {right:?} does not give {output:?}"));
        }
        let index = if trans_b { Index::Rows { depth } } else { Index::Columns { outputs: n } };
        self.packed(node, id, &Geometry::matrix(rows, depth, n), index, n, Layout::Padded)
    }

    /// A product with constant weights; `columns` is the row length of a matrix's addend, 0 for a convolution's bias.
    fn packed(
        &mut self,
        node: &'g Node,
        x_id: ValueId,
        geometry: &Geometry,
        index: Index,
        columns: usize,
        layout: Layout,
    ) -> Result<()> {
        let x = self.graph.value(x_id);
        if geometry.is_depthwise() && geometry.taps() > TAPS_MAX {
            return refused(reasons::KERNEL, format!("a depthwise kernel of {} taps", geometry.taps()));
        }
        let (_, w) = self.input(node, 1)?;
        let tensor = constant_of(w, "weights")?;
        let aligned = geometry.depth().is_multiple_of(4) && geometry.width().is_multiple_of(4);
        let spreads = geometry.groups > 1 && !geometry.is_depthwise() && !aligned;
        if spreads && geometry.out_channels * geometry.channels * geometry.taps() > SPREAD_MAX {
            return refused(reasons::GROUPS, "the channels of a group are no multiple of 4");
        }
        let one = Geometry { groups: if spreads { 1 } else { geometry.groups }, ..geometry.clone() };
        let addend = self.addend(node, geometry.out_channels, columns)?;
        if is_real(x) {
            let (_, y) = self.out(node)?;
            require_real(y)?;
            let bias = match addend {
                Addend::Nothing => vec![0.0; geometry.out_channels],
                Addend::Reals(reals) => reals,
                Addend::Codes(_) => return refused(reasons::BIAS, "float products take an f32 bias"),
            };
            let weights = if w.quant.is_some() {
                let (values, scales) = Self::integer_weights(node, w, tensor)?;
                Small::Codes(self.values(|| values, index, geometry, spreads), scales)
            } else if !matches!(tensor.dtype(), DType::F32 | DType::F16) {
                return refused(reasons::WEIGHT_TYPE, format!("weights are {}", tensor.dtype()));
            } else if node.precision == Some(Precision::F16) {
                let round = |value: f32| f16::from_f32(value);
                let make = || tensor.to_f32_vec().into_iter().map(round).collect();
                Small::Halves(self.values(make, index, geometry, spreads))
            } else {
                Small::Reals(self.values(|| tensor.to_f32_vec(), index, geometry, spreads))
            };
            return self.real(node, x_id, &one, &weights, &bias, layout);
        }
        let codes = self.codes(x)?;
        let (values, scales) = Self::integer_weights(node, w, tensor)?;
        let weights = self.values(|| values, index, geometry, spreads);
        self.integer(node, x_id, codes, &one, &weights, &scales, addend, layout)
    }

    fn values<T: Copy + Default>(
        &self,
        make: impl FnOnce() -> Vec<T>,
        index: Index,
        geometry: &Geometry,
        spreads: bool,
    ) -> Weights<T> {
        let values = if self.dry { Vec::new() } else { make() };
        let weights = Weights { values, index };
        if spreads && !self.dry { weights.spread(geometry) } else { weights }
    }

    /// 8-bit weights without zero points, and a scale for each output channel.
    fn integer_weights(node: &Node, w: &Value, tensor: &Tensor) -> Result<(Vec<i8>, Vec<f32>)> {
        if !matches!(tensor.dtype(), DType::I8 | DType::U8 | DType::I4 | DType::U4) {
            return refused(reasons::WEIGHT_TYPE, format!("weights are {}", tensor.dtype()));
        }
        let Some(quant) = &w.quant else { return refused(reasons::WEIGHT_TYPE, "weights have no scales") };
        let axis = match &node.op {
            Op::Conv { .. } | Op::Gemm { trans_b: true, .. } => 0,
            _ => 1,
        };
        let extents = tensor.extents();
        let channels = extents[axis];
        let (count, inner) = match quant.granularity {
            Granularity::PerTensor => (1, 1),
            Granularity::PerChannel { axis: own } if own == axis => {
                (channels, extents[axis + 1..].iter().product::<usize>())
            }
            _ => {
                return refused(reasons::WEIGHT_GRANULARITY, "expected one scale, or one per output channel");
            }
        };
        if quant.scales.len() != count || quant.zero_points.len() != count {
            return refused(reasons::WEIGHT_GRANULARITY, format!("expected {count} scales"));
        }
        let spread = |at: usize| if count == 1 { quant.scales[0] } else { quant.scales[at] };
        let scales = (0..channels).map(spread).collect();
        // Zero points are few and the answer must be the same when nothing is packed: weights are looked at here too.
        let codes: Option<Vec<i8>> = tensor
            .to_i64_vec()
            .into_iter()
            .enumerate()
            .map(|(at, code)| i8::try_from(code - i64::from(quant.zero_points[at / inner % count])).ok())
            .collect();
        match codes {
            Some(codes) => Ok((codes, scales)),
            None => refused(reasons::WEIGHT_ZERO, "weights without their zero points exceed 8 bits"),
        }
    }

    /// A constant bias, or an addend that is the same in every row.
    fn addend(&self, node: &Node, channels: usize, columns: usize) -> Result<Addend> {
        let Some(id) = node.input(2) else { return Ok(Addend::Nothing) };
        let value = self.graph.value(id);
        let Some(tensor) = &value.constant else {
            return refused(reasons::BIAS, "kernels take a constant bias");
        };
        let count = tensor.elements();
        let last = tensor.extents().last().copied().unwrap_or(1);
        // One number may stand for all; of a matrix's addend only the last dimension may be longer than 1.
        if count != last || !(count == channels || (columns > 0 && count == 1)) {
            let extents = tensor.extents();
            return refused(reasons::BIAS, format!("expected a bias of {channels}, found {extents:?}"));
        }
        match (tensor.dtype(), &value.quant) {
            (DType::I32, _) => {
                let codes = tensor.to_i64_vec().into_iter().map(|code| code as i32).collect();
                Ok(Addend::Codes(each(codes, channels)))
            }
            (DType::F32, None) => Ok(Addend::Reals(each(tensor.to_f32_vec(), channels))),
            (other, _) => refused(reasons::BIAS, format!("the bias is {other}")),
        }
    }

    fn integer(
        &mut self,
        node: &'g Node,
        x_id: ValueId,
        x: Codes,
        geometry: &Geometry,
        weights: &Weights<i8>,
        scales: &[f32],
        addend: Addend,
        layout: Layout,
    ) -> Result<()> {
        let (_, y) = self.out(node)?;
        let to = if is_real(y) { None } else { Some(self.codes(y)?) };
        let mut multipliers = Vec::with_capacity(scales.len());
        for &scale in scales {
            let multiplier =
                to.map_or(x.scale * scale, |y| convert::product_multiplier(x.scale, scale, y.scale));
            multipliers.push(usable(multiplier)?);
        }
        let none = vec![0; geometry.out_channels];
        let (bias, reals) = match addend {
            Addend::Nothing => (none, None),
            Addend::Codes(codes) => (codes, None),
            Addend::Reals(reals) if to.is_none() => (none, Some(reals)),
            // A quantized output takes the bias at the accumulator's scale.
            Addend::Reals(reals) => {
                let wide = CodeRange { min: i32::MIN, max: i32::MAX };
                let code = |(&real, &scale): (&f32, &f32)| convert::quantize(real, x.scale * scale, 0, wide);
                (reals.iter().zip(scales).map(code).collect(), None)
            }
        };
        let bounds = node.op.activation().bounds();
        let zero = x.zero();
        // The sum of zero points is part of the bias.
        let corrected = |channel: usize| {
            let products = (0..geometry.taps()).flat_map(|tap| (0..geometry.depth()).map(move |k| (tap, k)));
            let sum =
                products.fold(0i32, |sum, (tap, k)| sum.wrapping_add(weights.at(channel, tap, k).into()));
            bias[channel].wrapping_sub(zero.wrapping_mul(sum))
        };
        let tile = Tile::new(geometry, self.tuning);
        let channels = Channels::new(geometry, &tile);
        let packed = self.constant(|| channels.pack_codes(geometry, weights))?;
        let has_addend = reals.is_some();
        let tail = self.numbers(|| {
            let mut words: Vec<u32> = Vec::new();
            for quad in channels.quads() {
                words.extend(quad.map(|lane| lane.map_or(0, |c| corrected(c) as u32)));
                words.extend(quad.map(|lane| lane.map_or(0, |c| multipliers[c].to_bits())));
                if let Some(reals) = &reals {
                    words.extend(quad.map(|lane| lane.map_or(0, |c| reals[c].to_bits())));
                }
            }
            words
        })?;
        let from = self.want(x_id, layout)?;
        let out = self.output(node, layout)?;
        let finish = match (to, has_addend) {
            (Some(_), _) => Finish::Codes,
            (None, false) => Finish::Reals,
            (None, true) => Finish::RealsAndAddend,
        };
        let shader = product_shader(geometry, &tile, Kind::Codes, finish);
        let y_codes = to.unwrap_or(x);
        let (low, high) = to.map_or((0, 0), |y| y.bounds(bounds));
        let params = channels
            .params(geometry)
            .bits(&[x.flip(), word(zero), y_codes.flip()])
            .i(&[y_codes.zero(), low - y_codes.zero(), high - y_codes.zero()])
            .f(&[bounds.0, bounds.1])
            .u(&[0, 0])
            .done();
        let blocks = channels.blocks * channels.groups;
        self.launch(shader, vec![from, packed, tail], out, params, tile.groups(geometry, blocks));
        Ok(())
    }

    fn real(
        &mut self,
        node: &'g Node,
        x_id: ValueId,
        geometry: &Geometry,
        weights: &Small,
        bias: &[f32],
        layout: Layout,
    ) -> Result<()> {
        let tile = Tile::new(geometry, self.tuning);
        let channels = Channels::new(geometry, &tile);
        let (kind, packed) = match weights {
            Small::Reals(weights) => (Kind::Reals, self.numbers(|| channels.pack_reals(geometry, weights))?),
            Small::Halves(weights) => {
                (Kind::Halves, self.numbers(|| channels.pack_reals(geometry, weights))?)
            }
            Small::Codes(weights, _) => {
                (Kind::Weights, self.numbers(|| channels.pack_reals(geometry, weights))?)
            }
        };
        let tail = self.numbers(|| {
            let mut reals: Vec<f32> = Vec::new();
            for quad in channels.quads() {
                reals.extend(quad.map(|lane| lane.map_or(0.0, |c| bias[c])));
                if let Small::Codes(_, scales) = weights {
                    reals.extend(quad.map(|lane| lane.map_or(0.0, |c| scales[c])));
                }
            }
            reals
        })?;
        let from = self.want(x_id, layout)?;
        let out = self.output(node, layout)?;
        let shader = product_shader(geometry, &tile, kind, Finish::Reals);
        let (low, high) = node.op.activation().bounds();
        let params =
            channels.params(geometry).u(&[0; 6]).f(&[low, high]).u(&[geometry.channels % 4, 0]).done();
        let blocks = channels.blocks * channels.groups;
        self.launch(shader, vec![from, packed, tail], out, params, tile.groups(geometry, blocks));
        Ok(())
    }
}

/// Weights of a product of floats as they are stored.
enum Small {
    Reals(Weights<f32>),
    Halves(Weights<f16>),
    /// With a scale for each output channel.
    Codes(Weights<i8>, Vec<f32>),
}

/// One number for each channel.
fn each<T: Copy>(values: Vec<T>, channels: usize) -> Vec<T> {
    if values.len() == 1 { vec![values[0]; channels] } else { values }
}
