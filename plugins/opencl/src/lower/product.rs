//! Convolutions and products of matrices: geometry, and weights packed into panels of channels.

use fewbit_plugin_sdk::{DType, Granularity, Node, Result, Scheme, Value, Why};

use super::{Arg, Codes, Layout, Lowering, floats};
use crate::device::Products;

/// What `G_OUT_KIND` may be.
const OUT_CODES: usize = 0;
const OUT_REALS: usize = 1;

/// A convolution over N H W C; a product of matrices is one of an image of height 1.
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
}

/// Where a vector's lanes come from: how values per channel become panels.
struct Panels {
    vector: usize,
    groups: usize,
    width: usize,
}

impl Panels {
    fn of(geometry: &Geometry, vector: usize) -> Panels {
        if geometry.is_depthwise() {
            Panels { vector, groups: 1, width: geometry.channels }
        } else {
            Panels { vector, groups: geometry.groups, width: geometry.width() }
        }
    }

    /// Panels of a group.
    fn count(&self) -> usize {
        self.width.div_ceil(self.vector)
    }

    /// For each lane of each panel, its channel; `None` behind the last one of a group.
    fn lanes(&self) -> impl Iterator<Item = Option<usize>> + '_ {
        (0..self.groups).flat_map(move |group| {
            (0..self.count() * self.vector)
                .map(move |lane| (lane < self.width).then_some(group * self.width + lane))
        })
    }

    fn spread<T: Copy + Default>(&self, values: &[T]) -> Vec<T> {
        self.lanes().map(|channel| channel.map_or_else(T::default, |channel| values[channel])).collect()
    }

    /// Weights `at(channel, tap, k)` in the order in which kernels read them.
    fn pack<T: Default>(
        &self,
        geometry: &Geometry,
        quad: usize,
        at: impl Fn(usize, usize, usize) -> T,
    ) -> Vec<T> {
        let lanes: Vec<Option<usize>> = self.lanes().collect();
        let (taps, depth) = (geometry.taps(), geometry.depth());
        let mut packed = Vec::with_capacity(lanes.len() * taps * depth);
        if geometry.is_depthwise() {
            for tap in 0..taps {
                packed.extend(lanes.iter().map(|lane| lane.map_or_else(T::default, |c| at(c, tap, 0))));
            }
            return packed;
        }
        for panel in lanes.chunks(self.vector) {
            for tap in 0..taps {
                for k in (0..depth).step_by(quad) {
                    for lane in panel {
                        packed.extend((k..k + quad).map(|k| lane.map_or_else(T::default, |c| at(c, tap, k))));
                    }
                }
            }
        }
        packed
    }
}

/// Constant 8-bit or 4-bit weights with their scales.
struct Weights<'p> {
    value: &'p Value<'p>,
    data: &'p [u8],
    scales: &'p [f32],
}

impl Weights<'_> {
    /// The weights, one a number.
    fn codes(&self) -> Vec<i8> {
        if self.value.dtype == DType::I4 {
            let count = self.value.elements().unwrap_or(0);
            let both = self.data.iter().flat_map(|&byte| [((byte << 4) as i8) >> 4, (byte as i8) >> 4]);
            return both.take(count).collect();
        }
        self.data.iter().map(|&byte| byte as i8).collect()
    }

    fn scale(&self, channel: usize) -> f32 {
        self.scales[if self.scales.len() == 1 { 0 } else { channel }]
    }
}

/// What is added: of the accumulator's scale, or real.
enum Addend {
    Nothing,
    Codes(Vec<i32>),
    Reals(Vec<f32>),
}

impl<'p> Lowering<'p> {
    pub(super) fn convolution(&mut self, node: &Node<'p>) -> Result<()> {
        let names = ["kernel_shape", "strides", "dilations", "pads", "group", "clamp_min", "clamp_max"];
        let (inputs, y) = self.operands(node, 2, 3, &names)?;
        let (Some(x), Some(w)) = (inputs[0], inputs[1]) else {
            return Err(self.refused(Why::OP, "no inputs"));
        };
        let (input, output) = (self.shape(x)?, self.shape(y)?);
        let rank = input.len();
        if !(3..=4).contains(&rank) || output.len() != rank || w.dims.len() != rank {
            return Err(self.refused(Why::RANK, format!("expected 3 or 4 dimensions, found {rank}")));
        }
        let spatial = rank - 2;
        // Of one spatial dimension, the height is 1.
        let pair = |values: &[i64], fill: usize| -> Result<[usize; 2]> {
            let wrong = || self.refused(Why::ATTRIBUTE, format!("{values:?} along {spatial} dimensions"));
            let numbers: Vec<usize> = values
                .iter()
                .map(|&value| usize::try_from(value).map_err(|_| wrong()))
                .collect::<Result<_>>()?;
            if numbers.iter().any(|&number| number > 1 << 20) {
                return Err(wrong());
            }
            match numbers[..] {
                [one] if spatial == 1 => Ok([fill, one]),
                [first, second] if spatial == 2 => Ok([first, second]),
                _ => Err(wrong()),
            }
        };
        let pads = node.ints("pads")?;
        let [kernel, strides, dilations] = [
            pair(node.ints("kernel_shape")?, 1)?,
            pair(node.ints("strides")?, 1)?,
            pair(node.ints("dilations")?, 1)?,
        ];
        if pads.len() != 2 * spatial {
            return Err(self.refused(Why::ATTRIBUTE, "expected two pads along each dimension"));
        }
        let (before, after) = (pair(&pads[..spatial], 0)?, pair(&pads[spatial..], 0)?);
        let groups = usize::try_from(node.int("group")?).unwrap_or(0);
        let geometry = Geometry {
            images: input[0],
            input: if spatial == 1 { [1, input[2]] } else { [input[2], input[3]] },
            channels: input[1],
            output: if spatial == 1 { [1, output[2]] } else { [output[2], output[3]] },
            out_channels: output[1],
            kernel,
            strides,
            dilations,
            pads: before,
            groups,
        };
        if groups == 0 || input[1] % groups != 0 || output[1] % groups != 0 {
            return Err(self.refused(Why::ATTRIBUTE, format!("{groups} groups of {} channels", input[1])));
        }
        for axis in 0..2 {
            let positive = kernel[axis] > 0 && strides[axis] > 0 && dilations[axis] > 0;
            let room = geometry.input[axis] + before[axis] + after[axis];
            let reach = kernel[axis].saturating_sub(1) * dilations[axis] + 1;
            let expected = room.checked_sub(reach).map(|room| room / strides[axis].max(1) + 1);
            if !positive || expected != Some(geometry.output[axis]) {
                return Err(self.refused(Why::SHAPE, format!("extents {input:?} do not give {output:?}")));
            }
        }
        let mut expected = vec![output[1], geometry.depth()];
        expected.extend(&kernel[2 - spatial..]);
        self.expect_shape(w, &expected)?;
        if output[0] != input[0] {
            return Err(self.refused(Why::SHAPE, "the batch changes"));
        }
        let (taps, depth) = (geometry.taps(), geometry.depth());
        let index = move |channel: usize, tap: usize, k: usize| (channel * depth + k) * taps + tap;
        self.product(node, &geometry, (x, w, y), inputs[2], 0, index, Layout::Channels)
    }

    /// Gemm and MatMul.
    pub(super) fn matrices(&mut self, node: &Node<'p>) -> Result<()> {
        let gemm = node.op_type == "Gemm";
        let names: &[&str] =
            if gemm { &["alpha", "beta", "transA", "transB", "clamp_min", "clamp_max"] } else { &[] };
        let (inputs, y) = self.operands(node, 2, if gemm { 3 } else { 2 }, names)?;
        let (Some(a), Some(b)) = (inputs[0], inputs[1]) else {
            return Err(self.refused(Why::OP, "no inputs"));
        };
        let addend = inputs.get(2).copied().flatten();
        let flag = |name: &str| if gemm { Ok(node.int(name)? != 0) } else { Ok(false) };
        let (trans_a, trans_b) = (flag("transA")?, flag("transB")?);
        if gemm && (node.float("alpha")? != 1.0 || (addend.is_some() && node.float("beta")? != 1.0)) {
            return Err(self.refused(Why::ATTRIBUTE, "expected alpha and beta of 1"));
        }
        let (left, right, output) = (self.shape(a)?, self.shape(b)?, self.shape(y)?);
        if !b.is_constant() || right.iter().rev().skip(2).any(|&extent| extent != 1) {
            if addend.is_none() && !trans_a && !trans_b && !gemm {
                return self.batches(node, a, b, y);
            }
            return Err(self.refused(Why::OP, "expected a constant second operand"));
        }
        let (k, n) = match right[..] {
            [k] => (k, 1),
            [.., k, n] if trans_b => (n, k),
            [.., k, n] => (k, n),
            [] => return Err(self.refused(Why::RANK, "expected a matrix")),
        };
        let (rows, depth) = match left[..] {
            [m, k] if trans_a => (k, m),
            [] => return Err(self.refused(Why::RANK, "expected a matrix")),
            [.., k] => (left.iter().rev().skip(1).product(), k),
        };
        if depth != k || output.iter().product::<usize>() != rows * n {
            return Err(self.refused(Why::SHAPE, format!("{left:?} by {right:?} does not give {output:?}")));
        }
        let geometry = Geometry::matrix(rows, depth, n);
        let index = move |column: usize, _: usize, k: usize| {
            if trans_b { column * depth + k } else { k * n + column }
        };
        if trans_a {
            // The transposed operand takes the place of the other while the product is lowered.
            let (from, width) = (self.want_input(node, 0, Layout::Rows)?, self.width(a)?);
            let to = Arg::Tensor(self.tensor(rows * depth * width));
            self.permute(from, to, width, &[rows, depth], &[1, rows as i64], 0);
            let key = (node.inputs[0].unwrap_or_default(), Layout::Rows);
            self.places.insert(key, to);
            let result = self.product(node, &geometry, (a, b, y), addend, n, index, Layout::Rows);
            self.places.insert(key, from);
            return result;
        }
        self.product(node, &geometry, (a, b, y), addend, n, index, Layout::Rows)
    }

    pub(super) fn want_input(&mut self, node: &Node<'_>, index: usize, layout: Layout) -> Result<Arg> {
        match node.inputs.get(index) {
            Some(&Some(value)) => self.want(value, layout),
            _ => Err(self.refused(Why::OP, format!("expected input {index}"))),
        }
    }

    /// A product with packed weights; `columns` is the row length of a matrix's addend, 0 for a convolution's bias.
    fn product(
        &mut self,
        node: &Node<'p>,
        geometry: &Geometry,
        (x, w, y): (&'p Value<'p>, &'p Value<'p>, &'p Value<'p>),
        addend: Option<&'p Value<'p>>,
        columns: usize,
        index: impl Fn(usize, usize, usize) -> usize,
        layout: Layout,
    ) -> Result<()> {
        let clamp = if node.attribute("clamp_min").is_some() {
            self.clamp(node)?
        } else {
            (f32::NEG_INFINITY, f32::INFINITY)
        };
        let panels = Panels::of(geometry, self.tuning.vector);
        if Self::is_real(x) && Self::is_real(w) {
            return self.real_product(node, geometry, &panels, (w, y), addend, columns, index, layout, clamp);
        }
        let codes = self.codes(x)?;
        let to = if Self::is_real(y) { None } else { Some(self.codes(y)?) };
        let weights = self.weights(node, w)?;
        let channels = geometry.out_channels;
        let addend = self.addend(addend, channels, columns)?;
        let scale = |channel: usize| codes.scale * weights.scale(channel);
        let multipliers: Vec<f32> =
            (0..channels).map(|channel| to.map_or(scale(channel), |y| scale(channel) / y.scale)).collect();
        let (bias, addends) = match addend {
            Addend::Nothing => (vec![0; channels], None),
            Addend::Codes(codes) => (codes, None),
            Addend::Reals(reals) if to.is_none() => (vec![0; channels], Some(reals)),
            // A quantized output takes the bias at the accumulator's scale.
            Addend::Reals(reals) => {
                let code = |(channel, &real): (usize, &f32)| (real / scale(channel)).round_ties_even() as i32;
                (reals.iter().enumerate().map(code).collect(), None)
            }
        };
        let packed = self.tuning.products == Products::Packed
            && !geometry.is_depthwise()
            && geometry.depth().is_multiple_of(4)
            && geometry.channels.is_multiple_of(4);
        let (low, high) = to.map_or((0, 0), |y| y.bounds(clamp));
        let zero = codes.zero;
        let numbers = self.shared_geometry(geometry, &panels, codes, to, (low, high), addends.is_some());
        let place = self.want_input(node, 0, layout)?;
        let quad = if packed { 4 } else { 1 };
        let all = if self.dry { Vec::new() } else { weights.codes() };
        let w = self.constant(|| panels.pack(geometry, quad, |c, tap, k| all[index(c, tap, k)]));
        let bias = self.constant(|| {
            let corrected: Vec<i32> = if packed {
                let sum = |channel: usize| -> i32 {
                    let taps =
                        (0..geometry.taps()).flat_map(|tap| (0..geometry.depth()).map(move |k| (tap, k)));
                    taps.fold(0i32, |sum, (tap, k)| sum.wrapping_add(all[index(channel, tap, k)].into()))
                };
                bias.iter()
                    .enumerate()
                    .map(|(channel, &bias)| bias.wrapping_sub(zero.wrapping_mul(sum(channel))))
                    .collect()
            } else {
                bias
            };
            panels.spread(&corrected)
        });
        let multipliers = self.constant(|| panels.spread(&multipliers));
        let addends = self.constant(|| panels.spread(&addends.unwrap_or_else(|| vec![0.0; channels])));
        let y = self.output(node, layout)?;
        let args =
            vec![place, w, bias, multipliers, addends, y, Arg::Float(clamp.0), Arg::Float(clamp.1), numbers];
        let kernel = match (geometry.is_depthwise(), packed) {
            (true, _) => "depthwise_codes",
            (false, true) => "product_packed",
            (false, false) => "product_codes",
        };
        self.tiled(kernel, args, geometry, &panels);
        Ok(())
    }

    fn tiled(&mut self, kernel: &'static str, args: Vec<Arg>, geometry: &Geometry, panels: &Panels) {
        let rows = if geometry.is_depthwise() { 1 } else { self.tuning.rows };
        let items = [panels.groups * panels.count(), geometry.positions().div_ceil(rows), 1];
        self.launch(kernel, args, items);
    }

    fn shared_geometry(
        &mut self,
        geometry: &Geometry,
        panels: &Panels,
        x: Codes,
        y: Option<Codes>,
        (low, high): (i32, i32),
        has_addend: bool,
    ) -> Arg {
        let g = geometry;
        let mut numbers = vec![
            g.positions(),
            g.input[0],
            g.input[1],
            g.channels,
            g.output[0],
            g.output[1],
            g.out_channels,
            g.kernel[0],
            g.kernel[1],
            g.strides[0],
            g.strides[1],
            g.dilations[0],
            g.dilations[1],
            g.pads[0],
            g.pads[1],
            g.depth(),
            panels.count(),
            g.width(),
            x.flip() as usize,
            x.zero as usize,
        ];
        numbers.extend(match y {
            Some(y) => [y.flip() as usize, y.zero as usize, low as usize, high as usize, OUT_CODES],
            None => [0, 0, 0, 0, OUT_REALS],
        });
        numbers.push(has_addend.into());
        self.geometry(&numbers)
    }

    fn real_product(
        &mut self,
        node: &Node<'p>,
        geometry: &Geometry,
        panels: &Panels,
        (w, y): (&'p Value<'p>, &'p Value<'p>),
        addend: Option<&'p Value<'p>>,
        columns: usize,
        index: impl Fn(usize, usize, usize) -> usize,
        layout: Layout,
        clamp: (f32, f32),
    ) -> Result<()> {
        self.reals(y)?;
        let Some(data) = w.data else { return Err(self.refused(Why::OP, "expected constant weights")) };
        let addend = match self.addend(addend, geometry.out_channels, columns)? {
            Addend::Nothing => None,
            Addend::Reals(reals) => Some(reals),
            Addend::Codes(_) => return Err(self.refused(Why::DTYPE, "expected an f32 bias")),
        };
        let none = Codes { signed: false, scale: 1.0, zero: 0 };
        let numbers = self.shared_geometry(geometry, panels, none, None, (0, 0), addend.is_some());
        let place = self.want_input(node, 0, layout)?;
        let all = if self.dry { Vec::new() } else { floats(data) };
        let w = self.constant(|| panels.pack(geometry, 1, |c, tap, k| all[index(c, tap, k)]));
        let addends = addend.unwrap_or_else(|| vec![0.0; geometry.out_channels]);
        let addends = self.constant(|| panels.spread(&addends));
        let y = self.output(node, layout)?;
        let args = vec![place, w, addends, y, Arg::Float(clamp.0), Arg::Float(clamp.1), numbers];
        let kernel = if geometry.is_depthwise() { "depthwise_floats" } else { "product_floats" };
        self.tiled(kernel, args, geometry, panels);
        Ok(())
    }

    fn weights(&self, node: &Node<'_>, w: &'p Value<'p>) -> Result<Weights<'p>> {
        if !matches!(w.dtype, DType::I8 | DType::I4) {
            return Err(self.refused(Why::DTYPE, format!("weights are {}, not i8 or i4", w.dtype)));
        }
        let (Some(data), Some(quant)) = (w.data, &w.quant) else {
            let why = if w.data.is_none() { Why::OP } else { Why::SCHEME };
            return Err(self.refused(why, "expected constant weights with scales"));
        };
        if !matches!(quant.scheme, Scheme::Symmetric | Scheme::Affine)
            || quant.zero_points.iter().any(|&zero| zero != 0)
            || !quant.scales.iter().all(|&scale| scale > 0.0 && scale.is_finite())
        {
            return Err(self.refused(Why::SCHEME, "expected symmetric weights"));
        }
        let rank = w.dims.len();
        let channel_axis = match node.op_type {
            "Conv" => 0,
            "Gemm" => usize::from(node.int("transB")? == 0),
            _ if rank > 1 => rank - 1,
            _ => usize::MAX,
        };
        let fits = match quant.granularity {
            Granularity::Tensor => true,
            Granularity::Channel { axis } => {
                axis == channel_axis && usize::try_from(w.dims[axis]) == Ok(quant.scales.len())
            }
            _ => false,
        };
        if !fits {
            return Err(self.refused(Why::GRANULARITY, "expected one scale, or one per output channel"));
        }
        Ok(Weights { value: w, data, scales: quant.scales })
    }

    /// A constant bias, or an addend that is the same in every row.
    fn addend(&self, value: Option<&Value<'_>>, channels: usize, columns: usize) -> Result<Addend> {
        let Some(value) = value else { return Ok(Addend::Nothing) };
        let Some(data) = value.data else {
            return Err(self.refused(Why::OP, "expected a constant bias"));
        };
        let shape = self.shape(value)?;
        let count: usize = shape.iter().product();
        let last = shape.last().copied().unwrap_or(1);
        // One number may stand for all; of a matrix's addend only the last dimension may be longer than 1.
        if count != last || !(count == channels || (columns > 0 && count == 1)) {
            return Err(self.refused(Why::SHAPE, format!("expected a bias of {channels}, found {shape:?}")));
        }
        let each = |values: Vec<f32>| if values.len() == 1 { vec![values[0]; channels] } else { values };
        match value.dtype {
            DType::I32 => {
                let codes: Vec<i32> =
                    data.as_chunks().0.iter().map(|&bytes| i32::from_le_bytes(bytes)).collect();
                Ok(Addend::Codes(if codes.len() == 1 { vec![codes[0]; channels] } else { codes }))
            }
            DType::F32 if value.quant.is_none() => Ok(Addend::Reals(each(floats(data)))),
            other => Err(self.refused(Why::DTYPE, format!("the bias is {other}"))),
        }
    }

    /// Products of matrices in floats, neither packed, with broadcast batches.
    fn batches(
        &mut self,
        node: &Node<'p>,
        a: &'p Value<'p>,
        b: &'p Value<'p>,
        y: &'p Value<'p>,
    ) -> Result<()> {
        for value in [a, b, y] {
            self.reals(value)?;
        }
        let (left, right, output) = (self.shape(a)?, self.shape(b)?, self.shape(y)?);
        let ([outer_a @ .., m, k], [outer_b @ .., depth, n]) = (&left[..], &right[..]) else {
            return Err(self.refused(Why::RANK, "expected matrices"));
        };
        let Some((outer, [rows, columns])) = output.split_last_chunk::<2>() else {
            return Err(self.refused(Why::RANK, "expected matrices"));
        };
        let fit = |operand: &[usize]| {
            operand.len() <= outer.len()
                && operand.iter().rev().zip(outer.iter().rev()).all(|(&own, &out)| own == out || own == 1)
        };
        if k != depth || (m, n) != (rows, columns) || !fit(outer_a) || !fit(outer_b) {
            return Err(self.refused(Why::SHAPE, format!("{left:?} by {right:?} does not give {output:?}")));
        }
        let count: usize = outer.iter().product();
        if count > 1 << 16 {
            return Err(self.refused(Why::SHAPE, format!("expected at most 65536 matrices, found {count}")));
        }
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
            at
        };
        let mut numbers = vec![*m, *k, *n, count];
        for batch in 0..count {
            numbers.push(offset(outer_a, m * k, batch));
            numbers.push(offset(outer_b, k * n, batch));
        }
        let numbers = self.geometry(&numbers);
        let (left, right) =
            (self.want_input(node, 0, Layout::Rows)?, self.want_input(node, 1, Layout::Rows)?);
        let items = [n.div_ceil(self.tuning.vector), m.div_ceil(self.tuning.rows), count];
        let y = self.output(node, Layout::Rows)?;
        self.launch("matrices_floats", vec![left, right, y, numbers], items);
        Ok(())
    }
}
