//! Convolutions and products with constant matrices: geometry, and weights packed into blocks of output channels.
//!
//! Both are one kernel: a matrix is an image of height 1 whose pixels are rows. Channels come in quads; an invocation
//! computes a tile of positions by quads of output channels. Depthwise convolutions have a kernel of their own. Groups
//! whose channels do not fill quads are computed as one group with zeros between.

use fewbit_core::capability::reasons;
use fewbit_core::ir::{ConvAttributes, DType, Node, Op, Tensor, Value, ValueId};
use fewbit_core::quant::Granularity;
use fewbit_core::quant::convert::{self, CodeRange};

use super::{Params, shader};
use crate::adapter::GROUP;
use crate::lower::{
    Codes, Layout, Lowering, Result, Tuning, constant_of, extents_of, is_real, refused, require_real, usable,
};
use crate::plan::Shader;

const PARAMS: &str = include_str!("product_params.wgsl");
const DENSE: &str = include_str!("product.wgsl");
const DEPTHWISE: &str = include_str!("depthwise.wgsl");
/// Weights that groups may become with zeros between.
const SPREAD_MAX: usize = 1 << 24;

/// A convolution over N H W C; a product of matrices is one of an image of height 1.
#[derive(Debug, Clone)]
struct Geometry {
    images: usize,
    /// Height and width, here and below.
    input: [usize; 2],
    channels: usize,
    output: [usize; 2],
    out_channels: usize,
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    pads: [usize; 2],
    groups: usize,
}

impl Geometry {
    /// A product of `rows` by `depth` and `depth` by `columns`.
    fn matrix(rows: usize, depth: usize, columns: usize) -> Geometry {
        Geometry {
            images: 1,
            input: [1, rows],
            channels: depth,
            output: [1, rows],
            out_channels: columns,
            kernel: [1, 1],
            strides: [1, 1],
            dilations: [1, 1],
            pads: [0, 0],
            groups: 1,
        }
    }

    /// The attributes of a convolution over one or two spatial axes.
    fn convolution(conv: &ConvAttributes, x: &[usize], y: &[usize]) -> Option<Geometry> {
        let spatial = x.len().checked_sub(2).filter(|spatial| (1..=2).contains(spatial))?;
        let two = |values: &[usize], missing: usize| match *values {
            [w] if spatial == 1 => Some([missing, w]),
            [h, w] if spatial == 2 => Some([h, w]),
            _ => None,
        };
        let pads = conv.pads.get(..spatial)?;
        Some(Geometry {
            images: x[0],
            input: two(&x[2..], 1)?,
            channels: x[1],
            output: two(y.get(2..)?, 1)?,
            out_channels: y[1],
            kernel: two(&conv.kernel, 1)?,
            strides: two(&conv.strides, 1)?,
            dilations: two(&conv.dilations, 1)?,
            pads: two(pads, 0)?,
            groups: conv.groups,
        })
    }

    fn positions(&self) -> usize {
        self.images * self.output[0] * self.output[1]
    }

    fn taps(&self) -> usize {
        self.kernel[0] * self.kernel[1]
    }

    /// Input channels of a group.
    fn depth(&self) -> usize {
        self.channels / self.groups
    }

    /// Output channels of a group.
    fn width(&self) -> usize {
        self.out_channels / self.groups
    }

    fn is_depthwise(&self) -> bool {
        self.groups > 1 && self.groups == self.channels && self.groups == self.out_channels
    }

    /// Whether every output position is an input position.
    fn is_pointwise(&self) -> bool {
        self.taps() == 1 && self.strides == [1, 1] && self.pads == [0, 0] && self.input == self.output
    }
}

/// Constant weights by output channel, tap and input channel of the group.
struct Weights<T> {
    values: Vec<T>,
    index: Index,
}

/// Where a weight lies in its tensor.
#[derive(Debug, Clone, Copy)]
enum Index {
    /// `[out][in][taps]`.
    Conv { depth: usize, taps: usize },
    /// `[out][in]`.
    Rows { depth: usize },
    /// `[in][out]`.
    Columns { outputs: usize },
}

impl<T: Copy + Default> Weights<T> {
    fn at(&self, channel: usize, tap: usize, k: usize) -> T {
        let at = match self.index {
            Index::Conv { depth, taps } => (channel * depth + k) * taps + tap,
            Index::Rows { depth } => channel * depth + k,
            Index::Columns { outputs } => k * outputs + channel,
        };
        self.values.get(at).copied().unwrap_or_default()
    }

    /// One group in place of several, zeros between.
    fn spread(self, geometry: &Geometry) -> Weights<T> {
        let (depth, width, taps) = (geometry.depth(), geometry.width(), geometry.taps());
        let mut values = vec![T::default(); geometry.out_channels * geometry.channels * taps];
        for channel in 0..geometry.out_channels {
            for k in 0..depth {
                for tap in 0..taps {
                    let all = channel / width * depth + k;
                    values[(channel * geometry.channels + all) * taps + tap] = self.at(channel, tap, k);
                }
            }
        }
        Weights { values, index: Index::Conv { depth: geometry.channels, taps } }
    }
}

/// The tile of an invocation, and how invocations lie in a workgroup.
#[derive(Debug, Clone, Copy)]
struct Tile {
    /// Output positions.
    positions: usize,
    /// Quads of output channels.
    quads: usize,
    /// Invocations of a workgroup along positions and along blocks of channels.
    lanes: [usize; 2],
}

impl Tile {
    fn new(geometry: &Geometry, tuning: Tuning) -> Tile {
        let positions = geometry.positions();
        let width = geometry.width().div_ceil(4);
        let across = match positions {
            0..=3 => 1,
            4..=31 => 4,
            32..=127 => 16,
            _ if tuning.software => 64,
            _ => 16,
        };
        let tall = if positions >= 4 * across { 4 } else { 1 };
        let quads = if width >= 2 { 2 } else { 1 };
        Tile { positions: tall, quads, lanes: [across, GROUP as usize / across] }
    }

    fn groups(&self, positions: usize, blocks: usize) -> [u32; 3] {
        let [x, y] = self.lanes;
        [positions.div_ceil(x * self.positions) as u32, blocks.div_ceil(y) as u32, 1]
    }
}

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
            require_real(w)?;
            let bias = match addend {
                Addend::Nothing => vec![0.0; geometry.out_channels],
                Addend::Reals(reals) => reals,
                Addend::Codes(_) => return refused(reasons::BIAS, "float products take an f32 bias"),
            };
            let weights = self.values(|| tensor.to_f32_vec(), index, geometry, spreads);
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
        let depthwise = geometry.is_depthwise();
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
        let shader = if depthwise {
            depthwise_shader(geometry, &tile, true, finish)
        } else {
            dense_shader(geometry, &tile, true, finish)
        };
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
        self.launch(shader, vec![from, packed, tail], out, params, tile.groups(geometry.positions(), blocks));
        Ok(())
    }

    fn real(
        &mut self,
        node: &'g Node,
        x_id: ValueId,
        geometry: &Geometry,
        weights: &Weights<f32>,
        bias: &[f32],
        layout: Layout,
    ) -> Result<()> {
        let tile = Tile::new(geometry, self.tuning);
        let channels = Channels::new(geometry, &tile);
        let packed = self.numbers(|| channels.pack_reals(geometry, weights))?;
        let tail = self.numbers(|| {
            channels.quads().flat_map(|quad| quad.map(|lane| lane.map_or(0.0, |c| bias[c]))).collect()
        })?;
        let from = self.want(x_id, layout)?;
        let out = self.output(node, layout)?;
        let shader = if geometry.is_depthwise() {
            depthwise_shader(geometry, &tile, false, Finish::Reals)
        } else {
            dense_shader(geometry, &tile, false, Finish::Reals)
        };
        let (low, high) = node.op.activation().bounds();
        let params =
            channels.params(geometry).u(&[0; 6]).f(&[low, high]).u(&[geometry.channels % 4, 0]).done();
        let blocks = channels.blocks * channels.groups;
        self.launch(shader, vec![from, packed, tail], out, params, tile.groups(geometry.positions(), blocks));
        Ok(())
    }
}

/// One number for each channel.
fn each<T: Copy>(values: Vec<T>, channels: usize) -> Vec<T> {
    if values.len() == 1 { vec![values[0]; channels] } else { values }
}

/// Four copies of a signed code.
fn word(code: i32) -> u32 {
    u32::from(code as u8) * 0x0101_0101
}

/// How output channels become quads and blocks of quads.
struct Channels {
    groups: usize,
    /// Output channels and quads of them in a group.
    width: usize,
    quads: usize,
    /// Blocks of a group, and quads of a block.
    blocks: usize,
    block: usize,
}

impl Channels {
    fn new(geometry: &Geometry, tile: &Tile) -> Channels {
        let (groups, width, block) = if geometry.is_depthwise() {
            (1, geometry.channels, 1)
        } else {
            (geometry.groups, geometry.width(), tile.quads)
        };
        let quads = width.div_ceil(4);
        Channels { groups, width, quads, blocks: quads.div_ceil(block), block }
    }

    /// For each quad of each block, the channel of each lane; `None` behind the last one of a group.
    fn quads(&self) -> impl Iterator<Item = [Option<usize>; 4]> + '_ {
        (0..self.groups).flat_map(move |group| {
            (0..self.blocks * self.block).map(move |quad| {
                [0, 1, 2, 3].map(|lane| {
                    let channel = 4 * quad + lane;
                    (channel < self.width).then_some(group * self.width + channel)
                })
            })
        })
    }

    /// Bytes `[block][tap][quad of input channels][quad of the block][output lane][input lane]`; of a depthwise
    /// convolution `[quad][tap][lane]`.
    fn pack_codes(&self, geometry: &Geometry, weights: &Weights<i8>) -> Vec<u8> {
        let quads: Vec<[Option<usize>; 4]> = self.quads().collect();
        let (taps, depth) = (geometry.taps(), geometry.depth());
        let mut bytes = Vec::new();
        let byte = |lane: Option<usize>, tap: usize, k: usize| {
            lane.filter(|_| k < depth).map_or(0, |channel| weights.at(channel, tap, k) as u8)
        };
        if geometry.is_depthwise() {
            for quad in quads {
                for tap in 0..taps {
                    bytes.extend(quad.map(|lane| byte(lane, tap, 0)));
                }
            }
            return bytes;
        }
        for block in quads.chunks(self.block) {
            for tap in 0..taps {
                for k in (0..depth).step_by(4) {
                    for lane in block.iter().flatten() {
                        bytes.extend((k..k + 4).map(|k| byte(*lane, tap, k)));
                    }
                }
            }
        }
        bytes
    }

    /// Floats `[block][tap][quad of input channels][quad of the block][input lane][output lane]`; of a depthwise
    /// convolution `[quad][tap][lane]`.
    fn pack_reals(&self, geometry: &Geometry, weights: &Weights<f32>) -> Vec<f32> {
        let quads: Vec<[Option<usize>; 4]> = self.quads().collect();
        let (taps, depth) = (geometry.taps(), geometry.depth());
        let mut reals = Vec::new();
        let real = |lane: Option<usize>, tap: usize, k: usize| {
            lane.filter(|_| k < depth).map_or(0.0, |channel| weights.at(channel, tap, k))
        };
        if geometry.is_depthwise() {
            for quad in quads {
                for tap in 0..taps {
                    reals.extend(quad.map(|lane| real(lane, tap, 0)));
                }
            }
            return reals;
        }
        for block in quads.chunks(self.block) {
            for tap in 0..taps {
                for k in (0..depth).step_by(4) {
                    for quad in block {
                        for k in k..k + 4 {
                            reals.extend(quad.map(|lane| real(lane, tap, k)));
                        }
                    }
                }
            }
        }
        reals
    }

    /// The members of `product_params.wgsl` that codes and floats share.
    fn params(&self, g: &Geometry) -> Params {
        Params::new()
            .u(&[g.positions(), g.input[0], g.input[1], g.channels.div_ceil(4)])
            .u(&[g.output[0], g.output[1], g.out_channels.div_ceil(4)])
            .u(&g.kernel)
            .u(&g.strides)
            .u(&g.dilations)
            .u(&g.pads)
            .u(&[g.depth().div_ceil(4), self.quads, self.blocks, self.groups])
    }
}

/// The last step of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finish {
    Codes,
    Reals,
    RealsAndAddend,
}

impl Finish {
    fn name(self) -> &'static str {
        match self {
            Finish::Codes => "codes",
            Finish::Reals | Finish::RealsAndAddend => "reals",
        }
    }
}

/// The function that ends a product, from a quad of sums to a quad of the output.
fn finish(integer: bool, finish: Finish) -> (&'static str, &'static str, usize) {
    match (integer, finish) {
        (true, Finish::Codes) => (
            "u32",
            "let real = vec4<f32>(sum + bitcast<vec4<i32>>(tail[at])) * bitcast<vec4<f32>>(tail[at + 1u]);
  return word_of(nearest(real, g.low, g.high) + vec4(g.out_zero), g.out_flip);",
            2,
        ),
        (true, Finish::Reals) => (
            "vec4<f32>",
            "let real = vec4<f32>(sum + bitcast<vec4<i32>>(tail[at])) * bitcast<vec4<f32>>(tail[at + 1u]);
  return bounded(real, g.clamp_low, g.clamp_high);",
            2,
        ),
        (true, Finish::RealsAndAddend) => (
            "vec4<f32>",
            "let real = vec4<f32>(sum + bitcast<vec4<i32>>(tail[at])) * bitcast<vec4<f32>>(tail[at + 1u]);
  return bounded(kept(real, g.none) + bitcast<vec4<f32>>(tail[at + 2u]), g.clamp_low, g.clamp_high);",
            3,
        ),
        (false, _) => {
            ("vec4<f32>", "return bounded(sum + bitcast<vec4<f32>>(tail[at]), g.clamp_low, g.clamp_high);", 1)
        }
    }
}

fn dense_shader(geometry: &Geometry, tile: &Tile, integer: bool, end: Finish) -> Shader {
    let pointwise = geometry.is_pointwise();
    let tailed = !integer && !geometry.depth().is_multiple_of(4);
    let (out, body, stride) = finish(integer, end);
    let positions = 0..tile.positions;
    let each = |text: &dyn Fn(usize) -> String| positions.clone().map(text).collect::<Vec<_>>().join("\n");
    let sums = each(&|p| {
        (0..tile.quads)
            .map(|o| {
                let kind = if integer { "vec4<i32>" } else { "vec4<f32>" };
                format!("  var s{p}_{o} = {kind}();")
            })
            .collect::<Vec<_>>()
            .join("\n")
    });
    let starts = each(&|p| {
        format!(
            "  let position{p} = first + {}u;\n  let clamped{p} = min(position{p}, g.positions - 1u);{}",
            p * tile.lanes[0],
            if pointwise { String::new() } else { format!("\n  let corner{p} = corner_of(clamped{p});") }
        )
    });
    let places = each(&|p| {
        if pointwise {
            format!("      let at{p} = clamped{p} * g.in_quads + base;")
        } else {
            format!(
                "      let tap{p} = tap_of(corner{p}, tap_y, tap_x);\n      let at{p} = tap{p}.at + base;"
            )
        }
    });
    let loads = each(&|p| {
        let load = match (integer, tailed) {
            (true, _) => format!("x[at{p} + k] ^ g.flip"),
            (false, false) => format!("x[at{p} + k]"),
            (false, true) => format!("select(vec4(0.0), x[at{p} + k], lanes)"),
        };
        let outside = if integer { "g.zero_word" } else { "vec4(0.0)" };
        if pointwise {
            format!("        let x{p} = {load};")
        } else {
            format!("        let x{p} = select({outside}, {load}, tap{p}.inside);")
        }
    });
    let products = (0..tile.quads)
        .map(|o| {
            if integer {
                let load = format!("        let w{o} = weights[at + {o}u];\n");
                load + &each(&|p| {
                    format!(
                        "        s{p}_{o} += vec4(dot4I8Packed(x{p}, w{o}.x), dot4I8Packed(x{p}, w{o}.y), \
                         dot4I8Packed(x{p}, w{o}.z), dot4I8Packed(x{p}, w{o}.w));"
                    )
                })
            } else {
                (0..4)
                    .map(|lane| {
                        let load = format!("        let w{o}_{lane} = weights[at + {}u];\n", 4 * o + lane);
                        let component = ["x", "y", "z", "w"][lane];
                        load + &each(&|p| {
                            format!("        s{p}_{o} = fma(vec4(x{p}.{component}), w{o}_{lane}, s{p}_{o});")
                        })
                    })
                    .collect::<Vec<_>>()
                    .join("\n")
            }
        })
        .collect::<Vec<_>>()
        .join("\n");
    let stores = each(&|p| {
        (0..tile.quads)
            .map(|o| {
                format!(
                    "  if position{p} < g.positions && quad + {o}u < g.width_quads {{\n    y[position{p} * \
                     g.out_quads + out + {o}u] = finished(s{p}_{o}, (block * {}u + {o}u) * {stride}u);\n  }}",
                    tile.quads
                )
            })
            .collect::<Vec<_>>()
            .join("\n")
    });
    let [lanes_x, lanes_y] = tile.lanes.map(|lanes| format!("{lanes}u"));
    let values = [
        ("params", PARAMS),
        ("IN", if integer { "u32" } else { "vec4<f32>" }),
        ("WEIGHTS", if integer { "vec4<u32>" } else { "vec4<f32>" }),
        ("SUM", if integer { "vec4<i32>" } else { "vec4<f32>" }),
        ("OUT", out),
        ("FINISH", body),
        ("LANES_X", &lanes_x),
        ("LANES_Y", &lanes_y),
        ("TILE", &format!("{}u", tile.positions)),
        ("BLOCK", &format!("{}u", tile.quads)),
        ("STEP", &format!("{}u", tile.quads * if integer { 1 } else { 4 })),
        (
            "TAIL",
            if tailed {
                "        let left = select(4u, g.depth_tail, k + 1u == g.depth_quads);
        let lanes = vec4(0u, 1u, 2u, 3u) < vec4(left);"
            } else {
                ""
            },
        ),
        ("SUMS", &sums),
        ("STARTS", &starts),
        ("PLACES", &places),
        ("LOADS", &loads),
        ("PRODUCTS", &products),
        ("STORES", &stores),
    ];
    let kind = if pointwise { "pointwise" } else { "conv" };
    let input = if integer { "codes" } else { "f32" };
    let output = if integer && end != Finish::Codes { "_reals" } else { "" };
    shader(&format!("{kind}_{input}{output}_{}x{}", tile.positions, 4 * tile.quads), DENSE, &values)
}

fn depthwise_shader(geometry: &Geometry, tile: &Tile, integer: bool, end: Finish) -> Shader {
    let (out, body, stride) = finish(integer, end);
    let [lanes_x, lanes_y] = tile.lanes.map(|lanes| format!("{lanes}u"));
    let [kernel_h, kernel_w] = geometry.kernel.map(|extent| format!("{extent}u"));
    let values = [
        ("params", PARAMS),
        ("IN", if integer { "u32" } else { "vec4<f32>" }),
        ("SUM", if integer { "vec4<i32>" } else { "vec4<f32>" }),
        ("OUT", out),
        ("FINISH", body),
        ("LANES_X", &lanes_x),
        ("LANES_Y", &lanes_y),
        ("TILE", &format!("{}u", tile.positions)),
        ("KERNEL_H", &kernel_h),
        ("KERNEL_W", &kernel_w),
        ("TAIL_STRIDE", &format!("{stride}u")),
        (
            "PRODUCT",
            if integer {
                "let word = select(g.zero_word, x[tap.at + quad] ^ g.flip, tap.inside);
        sum += codes_of(word, 0u) * codes_of(weights[at + tap_y * KERNEL_W + tap_x], 0u);"
            } else {
                "let real = select(vec4(0.0), x[tap.at + quad], tap.inside);
        sum = fma(real, weights[at + tap_y * KERNEL_W + tap_x], sum);"
            },
        ),
    ];
    let input = if integer { "codes" } else { "f32" };
    let name = format!("depthwise{}x{}_{input}_{}", geometry.kernel[0], geometry.kernel[1], end.name());
    shader(&name, DEPTHWISE, &values)
}
