//! Operators on windows of images: convolutions and pools, and the borders that they need.

use fewbit_core::ir::{Activation, ConvAttributes, DType, Node, PoolAttributes, Tensor, ValueId};

use super::{Layout, Writer, codes, extent_of, lacking};
use crate::error::Result;
use crate::file::Options;

/// A window over two axes: extents, steps, steps inside it, borders before and behind.
struct Window {
    kernel: [usize; 2],
    strides: [usize; 2],
    dilations: [usize; 2],
    before: [usize; 2],
    behind: [usize; 2],
}

impl Window {
    fn of(kernel: &[usize], strides: &[usize], dilations: &[usize], pads: &[usize]) -> Result<Self> {
        let two = |list: &[usize]| <[usize; 2]>::try_from(list).ok();
        let pads = <[usize; 4]>::try_from(pads).ok();
        match (two(kernel), two(strides), two(dilations), pads) {
            (Some(kernel), Some(strides), Some(dilations), Some([top, left, bottom, right])) => {
                Ok(Self { kernel, strides, dilations, before: [top, left], behind: [bottom, right] })
            }
            _ => Err(lacking(format!(
                "windows over {} axes have no form in TFLite, only those over two",
                kernel.len()
            ))),
        }
    }

    fn is_padded(&self) -> bool {
        self.before != [0, 0] || self.behind != [0, 0]
    }

    /// Whether the borders are those that TFLite calls SAME over an image of this height and width.
    fn is_same(&self, image: [usize; 2]) -> bool {
        (0..2).all(|axis| {
            let reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1;
            let outputs = image[axis].div_ceil(self.strides[axis]);
            let total = ((outputs - 1) * self.strides[axis] + reach).saturating_sub(image[axis]);
            self.before[axis] == total / 2 && self.behind[axis] == total - total / 2
        })
    }
}

/// What fills borders.
#[derive(Clone, Copy)]
enum Filling {
    /// The number 0.
    Zero,
    /// The least number that there is.
    Least,
}

impl Writer<'_> {
    /// The image as the operator reads it, and TFLite's name for its borders: a PAD before it where TFLite has none.
    fn bordered(&mut self, image: ValueId, window: &Window, filling: Filling) -> Result<(i32, i8)> {
        let tensor = self.want(image, Layout::Last)?;
        let extents = self.extents(image)?;
        if !window.is_padded() {
            return Ok((tensor, codes::VALID));
        }
        if window.is_same([extents[2], extents[3]]) {
            return Ok((tensor, codes::SAME));
        }
        let borders =
            [[0, 0], [window.before[0], window.behind[0]], [window.before[1], window.behind[1]], [0, 0]];
        let padded: Vec<usize> = [extents[0], extents[2], extents[3], extents[1]]
            .iter()
            .zip(borders)
            .map(|(extent, [before, behind])| extent + before + behind)
            .collect();
        let (dtype, quantization) = self.stored(image)?;
        let name = format!("{}_padded", self.program.value(image).name);
        let to = self.push_tensor(&name, &padded, dtype, quantization.clone(), 0)?;
        let borders =
            borders.iter().flatten().map(|&border| extent_of(border)).collect::<Result<Vec<_>>>()?;
        let borders = self.numbers("paddings", &[4, 2], &borders)?;
        let least = match (filling, dtype) {
            (Filling::Zero, _) => None,
            // Zero has the lowest code: it is the least number.
            (_, DType::I8)
                if quantization.as_ref().is_some_and(|parameters| parameters.zero_points == [-128]) =>
            {
                None
            }
            (_, DType::I8) => Some(vec![i8::MIN as u8]),
            (_, DType::I16) => Some(i16::MIN.to_le_bytes().to_vec()),
            (_, DType::F32) => Some(f32::MIN.to_le_bytes().to_vec()),
            _ => return Err(lacking(format!("borders of {dtype} have no form in TFLite"))),
        };
        match least {
            None => self.emit(codes::PAD, vec![tensor, borders], vec![to], Options::Pad {}),
            Some(bytes) => {
                let least = self.push_constant("least", &[1], dtype, quantization, bytes)?;
                self.emit(codes::PADV2, vec![tensor, borders, least], vec![to], Options::PadV2 {});
            }
        }
        Ok((to, codes::VALID))
    }

    /// A convolution: weights from ONNX's output, input, height, width to TFLite's orders.
    pub(super) fn conv(&mut self, node: &Node, conv: &ConvAttributes, activation: Activation) -> Result<()> {
        let window = Window::of(&conv.kernel, &conv.strides, &conv.dilations, &conv.pads)?;
        let image = Self::input(node, 0)?;
        let channels = self.extents(image)?[1];
        let weights = Self::input(node, 1)?;
        let outputs = self.extents(weights)?[0];
        let depthwise = conv.groups == channels && conv.groups > 1;
        // One output axis last, or the only input axis first: [1, height, width, outputs].
        let order = if depthwise { [1, 2, 3, 0] } else { [0, 2, 3, 1] };
        let (input, padding) = self.bordered(image, &window, Filling::Zero)?;
        let weights = self.weights(node, 1, &order)?;
        let bias = self.bias(node, 2, outputs)?;
        let (place, clamps) = self.clamped(node.outputs[0], Layout::Last, activation)?;
        let [stride_h, stride_w] = window.strides.map(|stride| stride as i32);
        let [dilation_h, dilation_w] = window.dilations.map(|dilation| dilation as i32);
        let activation = clamps.fused;
        let (builtin, options) = if depthwise {
            let depth_multiplier = extent_of(outputs / channels)?;
            let options = Options::DepthwiseConv2d {
                padding,
                stride_w,
                stride_h,
                depth_multiplier,
                activation,
                dilation_w,
                dilation_h,
            };
            (codes::DEPTHWISE_CONV_2D, options)
        } else {
            let options = Options::Conv2d { padding, stride_w, stride_h, activation, dilation_w, dilation_h };
            (codes::CONV_2D, options)
        };
        self.emit(builtin, vec![input, weights, bias], vec![place], options);
        self.clamp_behind(place, clamps)
    }

    pub(super) fn conv_transpose(
        &mut self,
        node: &Node,
        conv: &ConvAttributes,
        output_padding: &[usize],
        activation: Activation,
    ) -> Result<()> {
        let window = Window::of(&conv.kernel, &conv.strides, &conv.dilations, &conv.pads)?;
        if conv.groups != 1 || window.dilations != [1, 1] || output_padding.iter().any(|&extent| extent != 0)
        {
            return Err(lacking(
                "transposed convolutions in groups, dilated or with output padding have no form in TFLite",
            ));
        }
        let output = node.outputs[0];
        let extents = self.extents(output)?;
        let padding = if !window.is_padded() {
            codes::VALID
        } else if window.is_same([extents[2], extents[3]]) {
            codes::SAME
        } else {
            return Err(lacking(format!(
                "borders {:?} of a transposed convolution have no form in TFLite",
                conv.pads
            )));
        };
        let input = self.want(Self::input(node, 0)?, Layout::Last)?;
        // From input, output, height, width.
        let weights = self.weights(node, 1, &[1, 2, 3, 0])?;
        let bias = self.bias(node, 2, extents[1])?;
        let (place, clamps) = self.clamped(output, Layout::Last, activation)?;
        let shape = [extents[0], extents[2], extents[3], extents[1]]
            .map(extent_of)
            .into_iter()
            .collect::<Result<Vec<_>>>()?;
        let shape = self.numbers("output_shape", &[4], &shape)?;
        let [stride_h, stride_w] = window.strides.map(|stride| stride as i32);
        let options = Options::TransposeConv { padding, stride_w, stride_h, activation: clamps.fused };
        self.emit(codes::TRANSPOSE_CONV, vec![shape, weights, input, bias], vec![place], options);
        self.clamp_behind(place, clamps)
    }

    pub(super) fn pool(&mut self, node: &Node, pool: &PoolAttributes, builtin: i32) -> Result<()> {
        let window = Window::of(&pool.kernel, &pool.strides, &pool.dilations, &pool.pads)?;
        if window.dilations != [1, 1] {
            return Err(lacking("dilated pools have no form in TFLite"));
        }
        let image = Self::input(node, 0)?;
        let average = builtin == codes::AVERAGE_POOL_2D;
        let extents = self.extents(image)?;
        let to = self.extents(node.outputs[0])?;
        let fits = (0..2).all(|axis| {
            let all = extents[2 + axis] + window.before[axis] + window.behind[axis];
            (all - window.kernel[axis]) / window.strides[axis] + 1 == to[2 + axis]
        });
        if !fits {
            return Err(lacking("windows that hang over the border have no form in TFLite"));
        }
        let same = window.is_same([extents[2], extents[3]]);
        if average && window.is_padded() && (same == pool.count_include_pad) {
            return Err(lacking(format!("an average over borders {:?} has no form in TFLite", pool.pads)));
        }
        let filling = if average { Filling::Zero } else { Filling::Least };
        let (input, padding) = self.bordered(image, &window, filling)?;
        let parameters = self.parameters(input);
        let place = self.place(node.outputs[0], Layout::Last, parameters)?;
        let [stride_h, stride_w] = window.strides.map(|stride| stride as i32);
        let [filter_h, filter_w] = window.kernel.map(|extent| extent as i32);
        let options = Options::Pool2d {
            padding,
            stride_w,
            stride_h,
            filter_w,
            filter_h,
            activation: codes::CLAMP_NONE,
        };
        self.emit(builtin, vec![input], vec![place.tensor], options);
        self.close(&place);
        Ok(())
    }

    /// Weights with their axes in the order asked for: symmetric, where they are codes.
    pub(super) fn weights(&mut self, node: &Node, index: usize, order: &[usize]) -> Result<i32> {
        let id = Self::input(node, index)?;
        let Some(constant) = self.constant(node, index)? else {
            return Err(lacking(format!("expected weights at input {index}")));
        };
        let (_, quantization) = self.stored(id)?;
        if quantization.is_some_and(|parameters| parameters.zero_points.iter().any(|&zero| zero != 0)) {
            return Err(lacking("weights with a zero point have no form in TFLite")
                .with_help("plan for a target whose rules ask for symmetric weights"));
        }
        self.constant_tensor(id, constant, order)
    }

    /// The bias of `outputs` channels, at the scale of the products; i64 beside activations of 16 bits. TFLite's
    /// convolutions have one always: zeros where the node has none.
    pub(super) fn bias(&mut self, node: &Node, index: usize, outputs: usize) -> Result<i32> {
        let zeros;
        let (name, constant) =
            if let (Some(id), Some(constant)) = (node.input(index), self.constant(node, index)?) {
                (self.program.value(id).name.clone(), constant)
            } else {
                let integer = self.stored(Self::input(node, 1)?)?.1.is_some();
                zeros = Tensor::zeros(if integer { DType::I32 } else { DType::F32 }, &[outputs])?;
                (format!("{}_bias", node.name), &zeros)
            };
        if constant.elements() != outputs {
            return Err(lacking(format!(
                "expected a bias of {outputs} numbers, found {}",
                constant.elements()
            )));
        }
        if constant.dtype() != DType::I32 {
            return self.push_constant(&name, &[outputs], constant.dtype(), None, constant.bytes().to_vec());
        }
        let (dtype, input) = self.stored(Self::input(node, 0)?)?;
        let (_, weights) = self.stored(Self::input(node, 1)?)?;
        let (Some(mut quantization), Some(input)) = (weights, input) else {
            return Err(lacking("expected quantized weights beside a bias of integers"));
        };
        for scale in &mut quantization.scales {
            *scale *= input.scales[0];
        }
        quantization.axis = 0;
        if dtype == DType::I16 {
            let bytes = constant.to_i64_vec().iter().flat_map(|number| number.to_le_bytes()).collect();
            return self.push_constant(&name, &[outputs], DType::I64, Some(quantization), bytes);
        }
        self.push_constant(&name, &[outputs], DType::I32, Some(quantization), constant.bytes().to_vec())
    }
}
