//! Operators that move elements: reshapes, transposes, joins, cuts, borders and sizes.

use fewbit_core::ir::{CoordinateMode, NearestMode, Node, PadMode, ResizeAttributes, ResizeMode};

use super::elements::axis_in;
use super::{Layout, TO_LAST, TO_PLAIN, Writer, codes, extent_of, lacking};
use crate::error::Result;
use crate::file::Options;

impl Writer<'_> {
    /// Other extents over the same elements in the same order.
    pub(super) fn reshape(&mut self, node: &Node) -> Result<()> {
        let source = Self::input(node, 0)?;
        let output = node.outputs[0];
        let (from, to) = (self.extents(source)?, self.extents(output)?);
        if from == to {
            let layout = self.layout_of(source);
            return self.copy(node, layout);
        }
        // The order of axes is the order of elements where all but one of the moved axes have one element.
        let flat = matches!(from[..], [_, channels, height, width] if channels == 1 || height * width == 1);
        let layout = if flat { self.layout_of(source) } else { Layout::Plain };
        let input = self.want(source, layout)?;
        let parameters = self.parameters(input);
        let place = self.place(output, Layout::Plain, parameters)?;
        let new_shape = to.iter().map(|&extent| extent_of(extent)).collect::<Result<Vec<_>>>()?;
        let shape = self.numbers("shape", &[new_shape.len()], &new_shape)?;
        self.emit(codes::RESHAPE, vec![input, shape], vec![place.tensor], Options::Reshape { new_shape });
        self.close(&place);
        Ok(())
    }

    /// The value itself under another name.
    fn copy(&mut self, node: &Node, layout: Layout) -> Result<()> {
        let source = Self::input(node, 0)?;
        let input = self.want(source, layout)?;
        let output = node.outputs[0];
        if self.stored(source)? == self.stored(output)? {
            self.remember(output, layout, input);
            return Ok(());
        }
        let to = self.define(output, layout)?;
        self.emit(codes::QUANTIZE, vec![input], vec![to], Options::Quantize {});
        Ok(())
    }

    /// A change of order that the file's two orders are about costs nothing.
    pub(super) fn transpose(&mut self, node: &Node, perm: &[usize]) -> Result<()> {
        let source = Self::input(node, 0)?;
        let output = node.outputs[0];
        if self.stored(source)? == self.stored(output)? {
            let seen = match perm {
                _ if perm == TO_PLAIN => Some((Layout::Plain, Layout::Last)),
                _ if perm == TO_LAST => Some((Layout::Last, Layout::Plain)),
                _ => None,
            };
            if let Some((from, to)) = seen {
                let tensor = self.want(source, from)?;
                self.remember(output, to, tensor);
                return Ok(());
            }
        }
        let input = self.want(source, Layout::Plain)?;
        let parameters = self.parameters(input);
        let place = self.place(output, Layout::Plain, parameters)?;
        self.emit_transpose(input, place.tensor, perm)?;
        self.close(&place);
        Ok(())
    }

    pub(super) fn concat(&mut self, node: &Node, axis: usize) -> Result<()> {
        let ids: Vec<_> = node.inputs.iter().flatten().copied().collect();
        let layout = self.common_layout(&ids);
        let output = node.outputs[0];
        let to = self.define(output, layout)?;
        let parameters = self.parameters(to);
        let mut inputs = Vec::with_capacity(ids.len());
        for id in ids {
            let input = self.want(id, layout)?;
            inputs.push(self.requantized(input, parameters.as_ref()));
        }
        let options =
            Options::Concatenation { axis: axis_in(layout, axis) as i32, activation: codes::CLAMP_NONE };
        self.emit(codes::CONCATENATION, inputs, vec![to], options);
        Ok(())
    }

    pub(super) fn split(&mut self, node: &Node, axis: usize) -> Result<()> {
        let source = Self::input(node, 0)?;
        let layout = self.layout_of(source);
        let input = self.want(source, layout)?;
        let parameters = self.parameters(input);
        let (mut sizes, mut places) = (Vec::new(), Vec::new());
        for &output in &node.outputs {
            sizes.push(extent_of(self.extents(output)?[axis])?);
            places.push(self.place(output, layout, parameters.clone())?);
        }
        let count = sizes.len();
        let sizes = self.numbers("sizes", &[count], &sizes)?;
        let axis = self.numbers("axis", &[], &[axis_in(layout, axis) as i32])?;
        let outputs = places.iter().map(|place| place.tensor).collect();
        self.emit(
            codes::SPLIT_V,
            vec![input, sizes, axis],
            outputs,
            Options::SplitV { num_splits: count as i32 },
        );
        for place in &places {
            self.close(place);
        }
        Ok(())
    }

    pub(super) fn slice(&mut self, node: &Node) -> Result<()> {
        let source = Self::input(node, 0)?;
        let extents = self.extents(source)?;
        let list = |index: usize| -> Result<Option<Vec<i64>>> {
            Ok(self.constant(node, index)?.map(fewbit_core::ir::Tensor::to_i64_vec))
        };
        let (Some(starts), Some(ends)) = (list(1)?, list(2)?) else {
            return Err(lacking("expected starts and ends"));
        };
        let axes = list(3)?.unwrap_or_else(|| (0..starts.len() as i64).collect());
        let steps = list(4)?.unwrap_or_else(|| vec![1; starts.len()]);
        let to = self.extents(node.outputs[0])?;
        let layout = self.layout_of(source);
        let mut begin = vec![0; extents.len()];
        let mut stride = vec![1; extents.len()];
        let mut end = extents.iter().map(|&extent| extent_of(extent)).collect::<Result<Vec<_>>>()?;
        for (((start, _), axis), step) in starts.iter().zip(&ends).zip(axes).zip(steps) {
            let axis = usize::try_from(if axis < 0 { axis + extents.len() as i64 } else { axis })
                .ok()
                .filter(|axis| *axis < extents.len())
                .ok_or_else(|| lacking("expected axes of the input"))?;
            if step < 1 {
                return Err(lacking(
                    "a slice that runs backwards has no form in TFLite that this version writes",
                ));
            }
            let extent = extents[axis] as i64;
            let from = if *start < 0 { start + extent } else { *start }.clamp(0, extent);
            let at = axis_in(layout, axis);
            begin[at] = from as i32;
            stride[at] = i32::try_from(step).unwrap_or(i32::MAX);
            // As many elements as shape inference found.
            end[at] = extent_of(
                from as usize + to[axis].saturating_sub(1) * step as usize + usize::from(to[axis] > 0),
            )?;
        }
        // Axes that the slice leaves alone lie where the order puts them.
        if layout == Layout::Last {
            for (axis, &extent) in extents.iter().enumerate() {
                let at = axis_in(layout, axis);
                if begin[at] == 0 && stride[at] == 1 && to[axis] == extent {
                    end[at] = extent_of(extent)?;
                }
            }
        }
        let input = self.want(source, layout)?;
        let parameters = self.parameters(input);
        let rank = extents.len();
        let place = self.place(node.outputs[0], layout, parameters)?;
        let begin = self.numbers("begin", &[rank], &begin)?;
        let end = self.numbers("end", &[rank], &end)?;
        let stride = self.numbers("stride", &[rank], &stride)?;
        let options = Options::StridedSlice {
            begin_mask: 0,
            end_mask: 0,
            ellipsis_mask: 0,
            new_axis_mask: 0,
            shrink_axis_mask: 0,
        };
        self.emit(codes::STRIDED_SLICE, vec![input, begin, end, stride], vec![place.tensor], options);
        self.close(&place);
        Ok(())
    }

    pub(super) fn pad(&mut self, node: &Node, mode: PadMode) -> Result<()> {
        if mode != PadMode::Constant {
            return Err(lacking("only constant borders have a form in TFLite that this version writes"));
        }
        if self.constant(node, 2)?.is_some_and(|value| value.to_f64_vec() != [0.0]) || node.input(3).is_some()
        {
            return Err(lacking(
                "only borders of zeros around all axes have a form in TFLite that this version writes",
            ));
        }
        let source = Self::input(node, 0)?;
        let rank = self.extents(source)?.len();
        let pads = self.constant(node, 1)?.map(fewbit_core::ir::Tensor::to_i64_vec).unwrap_or_default();
        if pads.len() != 2 * rank || pads.iter().any(|&pad| pad < 0) {
            return Err(lacking("borders that cut have no form in TFLite"));
        }
        let layout = self.layout_of(source);
        let mut borders = vec![0; 2 * rank];
        for axis in 0..rank {
            let at = axis_in(layout, axis);
            borders[2 * at] = extent_of(pads[axis] as usize)?;
            borders[2 * at + 1] = extent_of(pads[rank + axis] as usize)?;
        }
        let input = self.want(source, layout)?;
        let parameters = self.parameters(input);
        let place = self.place(node.outputs[0], layout, parameters)?;
        let borders = self.numbers("paddings", &[rank, 2], &borders)?;
        self.emit(codes::PAD, vec![input, borders], vec![place.tensor], Options::Pad {});
        self.close(&place);
        Ok(())
    }

    pub(super) fn resize(&mut self, node: &Node, attributes: ResizeAttributes) -> Result<()> {
        let source = Self::input(node, 0)?;
        let output = node.outputs[0];
        let (from, to) = (self.extents(source)?, self.extents(output)?);
        if from.len() != 4 || from[..2] != to[..2] {
            return Err(lacking("only images are resized in TFLite, and only their height and width"));
        }
        let align_corners = attributes.coordinates == CoordinateMode::AlignCorners;
        let half_pixel_centers = match attributes.coordinates {
            CoordinateMode::HalfPixel => true,
            CoordinateMode::PytorchHalfPixel => to[2] > 1 && to[3] > 1,
            CoordinateMode::AlignCorners | CoordinateMode::Asymmetric => false,
            _ => return Err(lacking("half pixels with symmetric borders have no form in TFLite")),
        };
        let (builtin, options) = match attributes.mode {
            ResizeMode::Linear => {
                (codes::RESIZE_BILINEAR, Options::ResizeBilinear { align_corners, half_pixel_centers })
            }
            ResizeMode::Nearest => {
                let alike =
                    (2..4).all(|axis| same_samples(from[axis], to[axis], attributes, half_pixel_centers));
                if align_corners || !alike {
                    return Err(lacking("this choice of nearest samples has no form in TFLite"));
                }
                (codes::RESIZE_NEAREST_NEIGHBOR, Options::ResizeNearest { align_corners, half_pixel_centers })
            }
            _ => return Err(lacking("cubic interpolation has no form in TFLite")),
        };
        let input = self.want(source, Layout::Last)?;
        let parameters = self.parameters(input);
        let place = self.place(output, Layout::Last, parameters)?;
        let size = self.numbers("size", &[2], &[extent_of(to[2])?, extent_of(to[3])?])?;
        self.emit(builtin, vec![input, size], vec![place.tensor], options);
        self.close(&place);
        Ok(())
    }

    pub(super) fn depth_to_space(&mut self, node: &Node, block: usize, crd: bool) -> Result<()> {
        if crd {
            return Err(lacking("channels in the order column, row, depth have no form in TFLite"));
        }
        let options = Options::DepthToSpace { block_size: extent_of(block)? };
        self.blocks(node, codes::DEPTH_TO_SPACE, options)
    }

    pub(super) fn space_to_depth(&mut self, node: &Node, block: usize) -> Result<()> {
        let options = Options::SpaceToDepth { block_size: extent_of(block)? };
        self.blocks(node, codes::SPACE_TO_DEPTH, options)
    }

    fn blocks(&mut self, node: &Node, builtin: i32, options: Options) -> Result<()> {
        let input = self.want(Self::input(node, 0)?, Layout::Last)?;
        let parameters = self.parameters(input);
        let place = self.place(node.outputs[0], Layout::Last, parameters)?;
        self.emit(builtin, vec![input], vec![place.tensor], options);
        self.close(&place);
        Ok(())
    }
}

/// Whether TFLite takes the samples that ONNX names, along an axis.
fn same_samples(from: usize, to: usize, attributes: ResizeAttributes, half_pixel: bool) -> bool {
    let scale = from as f64 / to as f64;
    (0..to).all(|at| {
        let ours = match attributes.coordinates {
            CoordinateMode::Asymmetric => at as f64 * scale,
            _ => (at as f64 + 0.5) * scale - 0.5,
        };
        let ours = match attributes.nearest {
            NearestMode::RoundPreferFloor => (ours - 0.5).ceil(),
            NearestMode::RoundPreferCeil => (ours + 0.5).floor(),
            NearestMode::Floor => ours.floor(),
            _ => ours.ceil(),
        };
        let theirs = ((at as f64 + if half_pixel { 0.5 } else { 0.0 }) * scale).floor();
        let last = from as f64 - 1.0;
        ours.clamp(0.0, last) == theirs.clamp(0.0, last)
    })
}
