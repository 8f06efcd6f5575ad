//! int8 convolution: u8 activations × i8 weights → i32 → [`Epilogue`], NHWC, the same bits in every tier.
//!
//! `acc[c] = bias[c] + Σ (x - x_zero) * w[c]` over the taps, modulo 2³². A tap outside the image reads `x_zero`.
//! Matrix products and fully connected layers are 1×1 convolutions ([`ConvShape::gemm`]). In the naming of other
//! libraries these are the `qu8_qc8w` kernels.
//!
//! This module checks arguments, cuts the work into units and prepares the per-channel parameters; its children
//! own one way of computing each.

/// Repeats `$body` with `$i` from 0 to `$count - 1`, a constant of at most 12, without a loop. Accumulators stay in
/// registers only where every index into them is a constant.
#[cfg(target_arch = "x86_64")]
macro_rules! unrolled {
    ($count:expr, |$i:ident| $body:expr) => {
        unrolled!(@ [0 1 2 3 4 5 6 7 8 9 10 11] $count, $i, $body)
    };
    (@ [$($index:literal)*] $count:expr, $i:ident, $body:expr) => {
        {$(if $index < $count {
            let $i: usize = $index;
            $body;
        })*}
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod dense;
mod depthwise;
#[cfg(target_arch = "x86_64")]
mod isa;
#[cfg(not(target_arch = "x86_64"))]
#[path = "int8/no_isa.rs"]
mod isa;
mod mem;
mod nibbles;
mod rows;
mod scalar;

use std::ops::Range;

use self::isa::Isa;
use crate::catalog::{CATALOG, Element, Family, KernelInfo};
use crate::error::KernelError;
use crate::requant::{Epilogue, requantize};
use crate::scratch::{Parts, Scratch, space};
use crate::shape::ConvShape;
use crate::tier::TierToken;

/// A convolution with its weights packed for one tier. Sharable between threads.
#[derive(Debug)]
pub struct ConvInt8 {
    token: TierToken,
    shape: ConvShape,
    /// Per slot: the bias and the sum of the weights, with which the zero point of the input folds into it.
    bias: Vec<i32>,
    weight_sums: Vec<i32>,
    largest_accumulator: u64,
    slots: Slots,
    strategy: Strategy,
}

/// Where the parameters of each output channel lie in the arrays that kernels read.
#[derive(Debug, Clone, Copy)]
enum Slots {
    /// Every group's `wide` channels fill the first of `padded` slots.
    Groups { groups: usize, wide: usize, padded: usize },
    /// Blocks of channels in the order of [`depthwise::channel_slot`]; the last holds its channels so many times.
    Blocks { channels: usize, block: usize, last_copies: usize },
}

/// How a convolution is computed; chosen from its shape and the tier.
#[derive(Debug)]
enum Strategy {
    Scalar(scalar::Scalar),
    Dense(dense::Dense),
    Depthwise(depthwise::Depthwise),
}

/// The output elements of some units, in the type of the epilogue.
#[derive(Debug)]
pub enum OutSlice<'a> {
    /// For [`Epilogue::U8`].
    U8(&'a mut [u8]),
    /// For [`Epilogue::I32`].
    I32(&'a mut [i32]),
    /// For [`Epilogue::F32`].
    F32(&'a mut [f32]),
}

/// What a strategy needs to compute the output elements `elements`.
struct Job<'a> {
    input: &'a [u8],
    x_zero: u8,
    elements: Range<usize>,
    /// Per slot: bias with the zero point folded in.
    bias: &'a [i32],
    sink: Sink<'a>,
    /// As many bytes as the strategy asked for.
    work: &'a mut [u8],
}

/// An [`Epilogue`] with its per-channel parameters spread over the slots, and the output it writes.
enum Sink<'a> {
    /// Every product fits 32 bits.
    U8(ToU8<'a>),
    /// Some product may not: a rare case that scalar code finishes.
    HugeU8(ToU8<'a>),
    I32 {
        out: &'a mut [i32],
    },
    F32 {
        out: &'a mut [f32],
        scale: &'a [f32],
        bias: &'a [f32],
        min: f32,
        max: f32,
    },
}

/// Parameters and output of a requantization.
struct ToU8<'a> {
    out: &'a mut [u8],
    multiplier: &'a [f32],
    zero_point: i32,
    min: i32,
    max: i32,
}

impl ToU8<'_> {
    /// Requantizes accumulators, given with the slot of each, to the output elements from `at` on.
    fn finish(&mut self, at: usize, accumulators: impl Iterator<Item = (usize, i32)>) {
        for (out, (slot, acc)) in self.out[at..].iter_mut().zip(accumulators) {
            *out = requantize(acc, self.multiplier[slot], self.zero_point, self.min, self.max);
        }
    }
}

/// Output pixels of the largest unit: a tile or two.
const UNIT_PIXELS: usize = 12;
/// Units wanted of a convolution with few pixels, so that many threads share it evenly.
const WANTED_UNITS: usize = 32;
/// Output channels of one unit where there is one pixel only.
const UNIT_CHANNELS: usize = 64;

impl ConvInt8 {
    /// Packs `weights`, `[out_c][kernel_h][kernel_w][in_c / groups]`, for the tier of `token`. Any i8 is a weight,
    /// -128 too. `bias` has one entry per output channel, in units of the accumulator.
    pub fn new(
        token: TierToken,
        shape: ConvShape,
        weights: &[i8],
        bias: Option<&[i32]>,
    ) -> Result<Self, KernelError> {
        Self::packed(token, shape, weights, bias, false)
    }

    /// As [`ConvInt8::new`] for weights from -8 to 7: they stay packed two in a byte, and every result is the same.
    ///
    /// Depthwise convolutions and the portable tier keep them in bytes.
    pub fn with_four_bits(
        token: TierToken,
        shape: ConvShape,
        weights: &[i8],
        bias: Option<&[i32]>,
    ) -> Result<Self, KernelError> {
        if let Some(weight) = weights.iter().find(|weight| !(-8..=7).contains(*weight)) {
            return Err(KernelError::parameter(format!("expected weights from -8 to 7, found {weight}")));
        }
        Self::packed(token, shape, weights, bias, true)
    }

    fn packed(
        token: TierToken,
        shape: ConvShape,
        weights: &[i8],
        bias: Option<&[i32]>,
        four_bits: bool,
    ) -> Result<Self, KernelError> {
        shape.validate()?;
        KernelError::check_length("weights", shape.weight_len(), weights.len())?;
        if let Some(bias) = bias {
            KernelError::check_length("bias", shape.out_c, bias.len())?;
        }
        let strategy = match Isa::new(token) {
            None => Strategy::Scalar(scalar::Scalar::new(&shape, weights)),
            Some(isa) if shape.is_depthwise() => {
                Strategy::Depthwise(depthwise::Depthwise::new(isa, &shape, weights))
            }
            Some(isa) => Strategy::Dense(dense::Dense::new(isa, &shape, weights, four_bits)),
        };
        let wide = shape.out_c / shape.groups;
        let slots = match &strategy {
            Strategy::Scalar(_) => Slots::Groups { groups: 1, wide: shape.out_c, padded: shape.out_c },
            Strategy::Dense(dense) => {
                Slots::Groups { groups: shape.groups, wide, padded: dense.group_slots() }
            }
            Strategy::Depthwise(depthwise) => depthwise.slots(&shape),
        };
        let mut largest_accumulator = 0;
        let mut weight_sums = Vec::with_capacity(shape.out_c);
        for c in 0..shape.out_c {
            let taps = &weights[c * shape.depth()..][..shape.depth()];
            let magnitude: u64 = taps.iter().map(|w| u64::from(w.unsigned_abs())).sum();
            let offset = bias.map_or(0, |bias| bias[c]);
            let largest = u64::from(offset.unsigned_abs()).saturating_add(magnitude.saturating_mul(255));
            largest_accumulator = largest.max(largest_accumulator);
            weight_sums.push(taps.iter().fold(0, |sum: i32, &w| sum.wrapping_add(i32::from(w))));
        }
        let mut conv = Self {
            token,
            shape,
            bias: vec![0; slots.len()],
            weight_sums: vec![0; slots.len()],
            largest_accumulator,
            slots,
            strategy,
        };
        if let Some(bias) = bias {
            slots.spread(bias, &mut conv.bias);
        }
        slots.spread(&weight_sums, &mut conv.weight_sums);
        Ok(conv)
    }

    /// Bytes of the packed weights.
    pub fn packed_len(&self) -> usize {
        match &self.strategy {
            Strategy::Dense(dense) => dense.packed_len(),
            _ => self.shape.weight_len(),
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

    /// The catalogue's entry of the kernel that computes it.
    pub fn kernel(&self) -> &'static KernelInfo {
        let family = if self.shape.is_depthwise() { Family::Depthwise } else { Family::Gemm };
        CATALOG
            .iter()
            .find(|info| (info.family, info.a, info.tier) == (family, Element::U8, self.token.tier()))
            .expect("the catalogue has both int8 families in every tier")
    }

    /// No accumulator's magnitude exceeds this, whatever the input: above `i32::MAX` accumulators may wrap.
    pub fn largest_accumulator(&self) -> u64 {
        self.largest_accumulator
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
            _ if self.shape.pixels() == 1 && self.shape.groups == 1 => UNIT_CHANNELS,
            Strategy::Depthwise(_) => self.shape.out_w * self.shape.out_c,
            Strategy::Scalar(_) | Strategy::Dense(_) => {
                (self.shape.pixels() / WANTED_UNITS).clamp(1, UNIT_PIXELS) * self.shape.out_c
            }
        }
    }

    /// Bytes of scratch memory that [`run`](Self::run) needs, in each thread.
    pub fn scratch_len(&self) -> usize {
        let slots = self.bias.len();
        space::<i32>(slots) + 2 * space::<f32>(slots) + self.work_len()
    }

    fn work_len(&self) -> usize {
        match &self.strategy {
            Strategy::Scalar(scalar) => scalar.work_len(),
            Strategy::Dense(dense) => dense.work_len(&self.shape),
            Strategy::Depthwise(depthwise) => depthwise.work_len(&self.shape),
        }
    }

    /// Computes the output elements of `units` into `out`, which has exactly their length.
    ///
    /// `input` is the whole input tensor and `x_zero` its zero point, which may differ from run to run. The result
    /// does not depend on how the units are split into calls.
    pub fn run(
        &self,
        input: &[u8],
        x_zero: u8,
        units: Range<usize>,
        epilogue: &Epilogue<'_>,
        out: OutSlice<'_>,
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
        let slots = self.bias.len();
        let mut parts = Parts(scratch.bytes(self.scratch_len())?);
        let bias = parts.take::<i32>(slots);
        let scale = parts.take::<f32>(slots);
        let offset = parts.take::<f32>(slots);
        let sink = match (epilogue, out) {
            (Epilogue::U8(parameters), OutSlice::U8(out)) => {
                KernelError::check_length("output", elements.len(), out.len())?;
                self.spread("multipliers", parameters.multiplier(), scale)?;
                let (min, max) = parameters.bounds();
                let to_u8 = ToU8 { out, multiplier: scale, zero_point: parameters.zero_point(), min, max };
                if parameters.fits(self.largest_accumulator) { Sink::U8(to_u8) } else { Sink::HugeU8(to_u8) }
            }
            (Epilogue::I32, OutSlice::I32(out)) => {
                KernelError::check_length("output", elements.len(), out.len())?;
                Sink::I32 { out }
            }
            (Epilogue::F32(dequantize), OutSlice::F32(out)) => {
                KernelError::check_length("output", elements.len(), out.len())?;
                self.spread("scales", dequantize.scale, scale)?;
                // -0.0 is the addend that changes nothing.
                self.spread("float bias", dequantize.bias.unwrap_or(&[-0.0]), offset)?;
                Sink::F32 { out, scale, bias: offset, min: dequantize.min, max: dequantize.max }
            }
            (epilogue, out) => {
                return Err(KernelError::output_type(format!(
                    "expected an output slice of the epilogue's type, found epilogue {epilogue:?} and {}",
                    out.type_name()
                )));
            }
        };
        for ((folded, &bias), &sum) in bias.iter_mut().zip(&self.bias).zip(&self.weight_sums) {
            *folded = bias.wrapping_sub(sum.wrapping_mul(i32::from(x_zero)));
        }
        let job = Job { input, x_zero, elements, bias, sink, work: &mut parts.0[..self.work_len()] };
        match &self.strategy {
            Strategy::Scalar(scalar) => scalar.run(&self.shape, job),
            Strategy::Dense(dense) => dense.run(&self.shape, job),
            Strategy::Depthwise(depthwise) => depthwise.run(&self.shape, job),
        }
        Ok(())
    }

    /// Spreads one value, or one per output channel, over the slots.
    fn spread(&self, what: &str, values: &[f32], slots: &mut [f32]) -> Result<(), KernelError> {
        if let &[value] = values {
            slots.fill(value);
            return Ok(());
        }
        KernelError::check_length(what, self.shape.out_c, values.len())?;
        self.slots.spread(values, slots);
        Ok(())
    }
}

impl Slots {
    fn len(self) -> usize {
        match self {
            Slots::Groups { groups, padded, .. } => groups * padded,
            Slots::Blocks { channels, block, .. } => channels.next_multiple_of(block),
        }
    }

    fn spread<T: Copy>(self, values: &[T], slots: &mut [T]) {
        match self {
            Slots::Groups { wide, padded, .. } => {
                for (slots, values) in slots.chunks_exact_mut(padded).zip(values.chunks_exact(wide)) {
                    slots[..wide].copy_from_slice(values);
                }
            }
            Slots::Blocks { block, last_copies, .. } => {
                for (slots, values) in slots.chunks_exact_mut(block).zip(values.chunks(block)) {
                    let copies = if values.len() == block { 1 } else { last_copies };
                    // Four neighbours stay neighbours; blocks and copies begin at multiples of four.
                    let (fours, rest) = values.as_chunks::<4>();
                    let (slots, _) = slots.as_chunks_mut::<4>();
                    for start in (0..block).step_by(block / copies).take(copies) {
                        for (i, four) in fours.iter().enumerate() {
                            slots[depthwise::channel_slot(block, start + i * 4) / 4] = *four;
                        }
                        if !rest.is_empty() {
                            let slots =
                                &mut slots[depthwise::channel_slot(block, start + fours.len() * 4) / 4];
                            slots[..rest.len()].copy_from_slice(rest);
                        }
                    }
                }
            }
        }
    }
}

impl OutSlice<'_> {
    fn type_name(&self) -> &'static str {
        match self {
            OutSlice::U8(_) => "u8",
            OutSlice::I32(_) => "i32",
            OutSlice::F32(_) => "f32",
        }
    }
}
