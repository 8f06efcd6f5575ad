//! f32 convolution and matrix products, NHWC.
//!
//! `y[c] = clamp(bias[c] + Σ x * w[c], min, max)`. Every output element is one chain of additions, the bias first,
//! then the products in the order of the weights (tap rows, tap columns, channels); a tap outside the image
//! contributes nothing or a product with zero. So a result depends neither on how the work is cut nor on the tile
//! that computes it, and the vector tiers, which contract each product with its addition, agree bit for bit; the
//! scalar tier rounds products too.
//!
//! Error against exact arithmetic: at most `(k + 2) * 2⁻²⁴ * (|bias| + Σ |x * w|)` for `k` products, to first order,
//! in every tier.
//!
//! Children: [`panel`] packs matrices, [`small`] keeps them in few bits, [`gemm`] multiplies them in tiles and drives convolutions, [`depthwise`] is
//! convolution channel by channel; [`avx512`] and [`avx2`] hold the vector tiers' loops, [`vector_depthwise`] what
//! they share.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod depthwise;
mod gemm;
mod panel;
mod scalar;
mod small;
#[cfg(target_arch = "x86_64")]
mod vector_depthwise;

use std::ops::Range;

use crate::error::KernelError;
use crate::scratch::{Parts, Scratch, space};
use crate::shape::ConvShape;
use crate::tier::TierToken;

pub use gemm::GemmF32;

/// An f32 convolution with its weights packed for one tier. Sharable between threads.
#[derive(Debug)]
pub struct ConvF32 {
    token: TierToken,
    shape: ConvShape,
    bounds: Bounds,
    strategy: Strategy,
}

/// How a convolution is computed; chosen from its shape.
#[derive(Debug)]
enum Strategy {
    Gemm(gemm::ConvGemm),
    Depthwise(depthwise::Depthwise),
}

/// The clamp that ends every kernel; NaN passes.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bounds {
    min: f32,
    max: f32,
}

impl Bounds {
    fn clamp(self, v: f32) -> f32 {
        let v = if v < self.min { self.min } else { v };
        if v > self.max { self.max } else { v }
    }
}

impl ConvF32 {
    /// Packs `weights`, `[out_c][kernel_h][kernel_w][in_c / groups]`, for the tier of `token`. `bias` has one entry
    /// per output channel. `activation` holds the bounds of the fused clamp, infinite where there is none.
    pub fn new(
        token: TierToken,
        shape: ConvShape,
        weights: &[f32],
        bias: Option<&[f32]>,
        activation: (f32, f32),
    ) -> Result<Self, KernelError> {
        let bounds = checked(&shape, weights.len(), bias, activation)?;
        let strategy = if shape.is_depthwise() {
            Strategy::Depthwise(depthwise::Depthwise::new(&shape, weights, bias))
        } else {
            Strategy::Gemm(gemm::ConvGemm::new(token, &shape, weights, bias))
        };
        Ok(Self { token, shape, bounds, strategy })
    }

    /// As [`new`](Self::new) with the weights `codes * scales`, one scale per output channel or one for all. The codes
    /// are what is kept, in 4 bits if `four` says so and all lie in -8..=7, and results are bit for bit those of
    /// `new` with decoded weights. Depthwise weights are decoded at once: they are few.
    pub fn with_codes(
        token: TierToken,
        shape: ConvShape,
        codes: &[i8],
        scales: &[f32],
        four: bool,
        bias: Option<&[f32]>,
        activation: (f32, f32),
    ) -> Result<Self, KernelError> {
        let bounds = checked(&shape, codes.len(), bias, activation)?;
        if scales.len() != 1 {
            KernelError::check_length("scales", shape.out_c, scales.len())?;
        }
        if shape.is_depthwise() {
            let each = shape.depth();
            let scale = |at: usize| scales[if scales.len() == 1 { 0 } else { at / each }];
            let weights: Vec<f32> =
                codes.iter().enumerate().map(|(at, &code)| f32::from(code) * scale(at)).collect();
            return Self::new(token, shape, &weights, bias, activation);
        }
        let strategy = Strategy::Gemm(gemm::ConvGemm::small(token, &shape, codes, scales, four, bias));
        Ok(Self { token, shape, bounds, strategy })
    }

    /// Bits in which a weight is kept: 32, 8 or 4.
    pub fn weight_bits(&self) -> u32 {
        match &self.strategy {
            Strategy::Gemm(gemm) => gemm.bits(),
            Strategy::Depthwise(_) => 32,
        }
    }

    /// Its sizes.
    pub fn shape(&self) -> &ConvShape {
        &self.shape
    }

    /// The tier it was packed for.
    pub fn token(&self) -> TierToken {
        self.token
    }

    /// Bytes of packed weights and bias.
    pub fn packed_len(&self) -> usize {
        match &self.strategy {
            Strategy::Gemm(gemm) => gemm.packed_len(),
            Strategy::Depthwise(depthwise) => depthwise.packed_len(),
        }
    }

    /// Independent units of work.
    pub fn units(&self) -> usize {
        self.shape.output_len().div_ceil(self.unit_len())
    }

    /// Output elements that `units` cover: a contiguous range of the NHWC output.
    pub fn unit_range(&self, units: Range<usize>) -> Range<usize> {
        let len = self.shape.output_len();
        let clip = |unit: usize| unit.saturating_mul(self.unit_len()).min(len);
        clip(units.start)..clip(units.end)
    }

    /// Output elements of every unit but the last, which may be shorter.
    fn unit_len(&self) -> usize {
        match &self.strategy {
            Strategy::Gemm(gemm) => gemm.unit_len(self.token, &self.shape),
            Strategy::Depthwise(_) => self.shape.out_w * self.shape.out_c,
        }
    }

    /// Bytes of scratch memory that [`run`](Self::run) needs, in each thread.
    pub fn scratch_len(&self) -> usize {
        match &self.strategy {
            Strategy::Gemm(gemm) => {
                space::<f32>(gemm.work_len(self.token, &self.shape)) + space::<f32>(gemm.panels_len())
            }
            Strategy::Depthwise(_) => space::<f32>(depthwise::Depthwise::work_len(self.token, &self.shape)),
        }
    }

    /// Computes the output elements of `units` into `out`, which has exactly their length; `input` is the whole input
    /// tensor. The result does not depend on how the units are split into calls.
    pub fn run(
        &self,
        input: &[f32],
        units: Range<usize>,
        out: &mut [f32],
        scratch: &mut Scratch,
    ) -> Result<(), KernelError> {
        KernelError::check_length("input", self.shape.input_len(), input.len())?;
        if units.start > units.end || units.end > self.units() {
            return Err(KernelError::parameter(format!(
                "expected units within 0..{}, found {units:?}",
                self.units()
            )));
        }
        let elements = self.unit_range(units);
        KernelError::check_length("output", elements.len(), out.len())?;
        match &self.strategy {
            Strategy::Gemm(gemm) => {
                let mut parts = Parts(scratch.bytes(self.scratch_len())?);
                let left = parts.take::<f32>(gemm.work_len(self.token, &self.shape));
                let mut work = gemm::Work { left, panels: parts.take::<f32>(gemm.panels_len()) };
                gemm.run(self.token, &self.shape, self.bounds, input, elements, out, &mut work);
            }
            Strategy::Depthwise(depthwise) => {
                let mut parts = Parts(scratch.bytes(self.scratch_len())?);
                let work = parts.take::<f32>(depthwise::Depthwise::work_len(self.token, &self.shape));
                depthwise.run(self.token, &self.shape, self.bounds, input, elements, out, work);
            }
        }
        Ok(())
    }
}

/// Refuses arguments that do not fit the shape; gives the bounds of the clamp.
fn checked(
    shape: &ConvShape,
    weights: usize,
    bias: Option<&[f32]>,
    (min, max): (f32, f32),
) -> Result<Bounds, KernelError> {
    shape.validate()?;
    KernelError::check_length("weights", shape.weight_len(), weights)?;
    if let Some(bias) = bias {
        KernelError::check_length("bias", shape.out_c, bias.len())?;
    }
    if min.is_nan() || max.is_nan() || min > max {
        return Err(KernelError::parameter(format!(
            "expected a lower bound not above the upper one, found {min} and {max}"
        )));
    }
    Ok(Bounds { min, max })
}
