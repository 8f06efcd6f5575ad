//! Resizes of height and width.

use fewbit_core::capability::reasons;
use fewbit_core::ir::{Node, ResizeAttributes, ResizeMode};
use fewbit_core::quant::convert;
use fewbit_core::reference::{linear_samples, nearest_sample, resize_scale};

use super::{Params, shader};
use crate::lower::{Layout, Lowering, Result, extents_of, is_real, refused, require_real};

const RESIZE: &str = include_str!("resize.wgsl");

impl<'g> Lowering<'g> {
    pub(crate) fn resize(&mut self, node: &'g Node, attributes: ResizeAttributes) -> Result<()> {
        let ((id, x), (_, y)) = (self.input(node, 0)?, self.out(node)?);
        let (input, output) = (extents_of(x)?, extents_of(y)?);
        let (&[_, _, height, width], &[_, _, out_height, out_width]) = (&input[..], &output[..]) else {
            return refused(reasons::RANK, "kernels resize images: 4 dimensions");
        };
        let linear = match attributes.mode {
            ResizeMode::Nearest => false,
            ResizeMode::Linear => true,
            _ => return refused(reasons::MODE, "kernels resize by the nearest sample or linearly"),
        };
        if attributes.exclude_outside {
            return refused(reasons::MODE, "kernels weigh samples at the edge as they are");
        }
        let constant = |index: usize| {
            let tensor = self.graph.value(node.input(index)?).constant.as_ref()?;
            (tensor.elements() == 4).then(|| tensor.to_f32_vec())
        };
        let scales = match (constant(2), constant(3)) {
            (Some(scales), _) if scales[..2] == [1.0, 1.0] => [scales[2], scales[3]],
            (None, Some(_)) => [resize_scale(height, out_height), resize_scale(width, out_width)],
            _ => return refused(reasons::CONSTANT, "kernels resize by constant scales or sizes"),
        };
        if input[..2] != output[..2] {
            return refused(reasons::DIM, "batch and channels must stay");
        }
        let real = is_real(x);
        let flip = if real {
            require_real(y)?;
            0
        } else {
            let (from, to) = (self.codes(x)?, self.codes(y)?);
            if from != to {
                return refused(reasons::SHARED_SCALE, "elements keep their parameters");
            }
            from.flip()
        };
        // Of each row the upper and lower sample and the weight of the lower one; then of each column.
        let samples: Vec<(usize, usize, f32)> =
            [(height, out_height, scales[0]), (width, out_width, scales[1])]
                .into_iter()
                .flat_map(|(from, to, scale)| {
                    (0..to).map(move |at| {
                        if linear {
                            let (low, high, fraction) = linear_samples(attributes, at, from, to, scale);
                            (low, high, fraction)
                        } else {
                            let sample = nearest_sample(attributes, at, from, to, scale);
                            (sample, sample, 0.0)
                        }
                    })
                })
                .collect();
        let table = self.numbers(|| {
            samples
                .iter()
                .flat_map(|&(low, high, weight)| {
                    let weight = if real { weight.to_bits() } else { convert::resize_weight(weight) as u32 };
                    [low as u32, high as u32, weight]
                })
                .collect()
        })?;
        let from = self.want(id, Layout::Channels)?;
        let to = self.output(node, Layout::Channels)?;
        let quads = Layout::Channels.quads(&output);
        let pixel = input[1].div_ceil(4);
        let params =
            Params::new().u(&[quads, pixel, height, width, out_height, out_width]).bits(&[flip]).done();
        let body = match (linear, real) {
            (false, _) => "y[index] = x[(top + left) * g.pixel + quad];",
            (true, true) => {
                "let below = bitcast<f32>(samples[row + 2u]);
  let beside = bitcast<f32>(samples[column + 2u]);
  let upper = x[(top + left) * g.pixel + quad] * (1.0 - beside) + x[(top + right) * g.pixel + quad] * beside;
  let lower = x[(bottom + left) * g.pixel + quad] * (1.0 - beside) + x[(bottom + right) * g.pixel + quad] * beside;
  y[index] = upper * (1.0 - below) + lower * below;"
            }
            (true, false) => {
                "let below = i32(samples[row + 2u]);
  let beside = i32(samples[column + 2u]);
  let upper = code(top + left, quad) * (2048 - beside) + code(top + right, quad) * beside;
  let lower = code(bottom + left, quad) * (2048 - beside) + code(bottom + right, quad) * beside;
  let sum = upper * (2048 - below) + lower * below;
  // Halves to even codes: of the program's own, not the signed ones; both are even together, for 128 is.
  let whole = sum >> vec4(22u);
  let part = sum & vec4(0x3fffff);
  let odd = (whole & vec4(1)) == vec4(1);
  let up = (part > vec4(0x200000)) | ((part == vec4(0x200000)) & odd);
  y[index] = word_of(whole + select(vec4(0), vec4(1), up), g.flip);"
            }
        };
        let (element, code) = if real {
            ("vec4<f32>", "")
        } else {
            (
                "u32",
                "fn code(pixel: u32, quad: u32) -> vec4<i32> {
  return codes_of(x[pixel * g.pixel + quad], g.flip);
}",
            )
        };
        let name = format!(
            "resize_{}_{}",
            if linear { "linear" } else { "nearest" },
            if real { "f32" } else { "codes" }
        );
        let shader = shader(&name, RESIZE, &[("ELEMENT", element), ("CODE", code), ("BODY", body)]);
        self.launch_quads(shader, vec![from, table], to, params, quads);
        Ok(())
    }
}
