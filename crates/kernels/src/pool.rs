//! Pooling over NHWC: maxima and averages of windows, u8 and f32, and means over whole images.
//!
//! Units of work are output rows, all images counted through: rows `a..b` are the output elements
//! `a * out_w * channels..b * out_w * channels`.

use std::ops::Range;

use crate::codes::{Codes, check_factors};
use crate::error::KernelError;
use crate::tier::TierToken;
use crate::tiered::tiered;

/// Sizes of a pooling. Output pixel `(oy, ox)` and tap `(ky, kx)` read input pixel
/// `(oy * stride_h + ky * dilation_h - pad_top, ox * stride_w + kx * dilation_w - pad_left)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct PoolShape {
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub in_h: usize,
    /// Input columns.
    pub in_w: usize,
    /// Channels.
    pub channels: usize,
    /// Output rows.
    pub out_h: usize,
    /// Output columns.
    pub out_w: usize,
    /// Rows of a window.
    pub kernel_h: usize,
    /// Columns of a window.
    pub kernel_w: usize,
    /// Input rows from one window to the next.
    pub stride_h: usize,
    /// Input columns from one window to the next.
    pub stride_w: usize,
    /// Input rows from one tap to the next.
    pub dilation_h: usize,
    /// Input columns from one tap to the next.
    pub dilation_w: usize,
    /// Rows of padding above.
    pub pad_top: usize,
    /// Columns of padding to the left.
    pub pad_left: usize,
    /// Rows of padding below: they matter only to an average that counts padding.
    pub pad_bottom: usize,
    /// Columns of padding to the right, likewise.
    pub pad_right: usize,
    /// Whether an average divides by the taps inside the padded image, not only by those inside the image.
    pub count_include_pad: bool,
}

impl PoolShape {
    /// Refuses sizes of zero, windows wholly in the padding, and tensors too large to address.
    pub fn validate(&self) -> Result<(), KernelError> {
        let sizes = [
            self.batch,
            self.in_h,
            self.in_w,
            self.channels,
            self.out_h,
            self.out_w,
            self.kernel_h,
            self.kernel_w,
            self.stride_h,
            self.stride_w,
            self.dilation_h,
            self.dilation_w,
        ];
        if sizes.contains(&0) {
            return Err(KernelError::shape(format!(
                "expected a pooling without sizes, strides or dilations of 0, found {self:?}"
            )));
        }
        let limit = 1usize << 31;
        let product =
            |sizes: [usize; 4]| sizes.iter().try_fold(1usize, |product, &size| product.checked_mul(size));
        let bounded = sizes.iter().all(|&size| size < limit)
            && [self.pad_top, self.pad_left, self.pad_bottom, self.pad_right].iter().all(|&pad| pad < limit)
            && product([self.batch, self.in_h, self.in_w, self.channels]).is_some_and(|n| n < 1 << 48)
            && product([self.batch, self.out_h, self.out_w, self.channels]).is_some_and(|n| n < 1 << 48);
        if !bounded {
            return Err(KernelError::shape(format!(
                "expected a pooling whose sizes are below 2^31 and tensors below 2^48 elements, found {self:?}"
            )));
        }
        let axes = [
            ("row", self.out_h, self.stride_h, self.kernel_h, self.dilation_h, self.pad_top, self.in_h),
            ("column", self.out_w, self.stride_w, self.kernel_w, self.dilation_w, self.pad_left, self.in_w),
        ];
        for (name, out, stride, kernel, dilation, pad, size) in axes {
            for o in 0..out {
                if taps(o, stride, kernel, dilation, pad, size).is_empty() {
                    return Err(KernelError::shape(format!(
                        "expected every window to touch the image, found output {name} {o} outside it"
                    )));
                }
            }
        }
        Ok(())
    }

    /// Elements of the input.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.channels
    }

    /// Output rows of all images together: the units of work.
    pub fn rows(&self) -> usize {
        self.batch * self.out_h
    }

    /// Elements of one output row.
    pub fn row_len(&self) -> usize {
        self.out_w * self.channels
    }

    /// Taps of one window.
    pub fn taps(&self) -> usize {
        self.kernel_h * self.kernel_w
    }

    /// The divisor of an average at output pixel `(oy, ox)`.
    pub fn count(&self, oy: usize, ox: usize) -> usize {
        let (rows, columns) = if self.count_include_pad {
            let (height, width) =
                (self.pad_top + self.in_h + self.pad_bottom, self.pad_left + self.in_w + self.pad_right);
            (
                taps(oy, self.stride_h, self.kernel_h, self.dilation_h, 0, height),
                taps(ox, self.stride_w, self.kernel_w, self.dilation_w, 0, width),
            )
        } else {
            (self.tap_rows(oy), self.tap_columns(ox))
        };
        rows.len() * columns.len()
    }

    fn tap_rows(&self, oy: usize) -> Range<usize> {
        taps(oy, self.stride_h, self.kernel_h, self.dilation_h, self.pad_top, self.in_h)
    }

    fn tap_columns(&self, ox: usize) -> Range<usize> {
        taps(ox, self.stride_w, self.kernel_w, self.dilation_w, self.pad_left, self.in_w)
    }

    /// Calls `f` with each tap's pixel of the window at output row `row` (all images counted) and column `ox`.
    #[inline(always)]
    fn window<'a, T>(&self, input: &'a [T], row: usize, ox: usize, mut f: impl FnMut(&'a [T])) {
        let (image, oy) = (row / self.out_h, row % self.out_h);
        for ky in self.tap_rows(oy) {
            let iy = oy * self.stride_h + ky * self.dilation_h - self.pad_top;
            for kx in self.tap_columns(ox) {
                let ix = ox * self.stride_w + kx * self.dilation_w - self.pad_left;
                let pixel = (image * self.in_h + iy) * self.in_w + ix;
                f(&input[pixel * self.channels..][..self.channels]);
            }
        }
    }

    fn check(&self, input: usize, rows: &Range<usize>, out: usize) -> Result<(), KernelError> {
        self.validate()?;
        KernelError::check_length("input", self.input_len(), input)?;
        if rows.start > rows.end || rows.end > self.rows() {
            return Err(KernelError::parameter(format!(
                "expected output rows within 0..{}, found {rows:?}",
                self.rows()
            )));
        }
        KernelError::check_length("output", rows.len() * self.row_len(), out)
    }
}

/// Taps along one axis that lie inside `size`.
fn taps(o: usize, stride: usize, kernel: usize, dilation: usize, pad: usize, size: usize) -> Range<usize> {
    let start = o * stride;
    let first = pad.saturating_sub(start).div_ceil(dilation).min(kernel);
    let end = (size + pad).saturating_sub(start).div_ceil(dilation).min(kernel);
    first..end.max(first)
}

/// Maximum of each window; padding never wins. Codes keep their scale and zero point.
pub fn max_pool_u8(
    token: TierToken,
    shape: &PoolShape,
    input: &[u8],
    rows: Range<usize>,
    out: &mut [u8],
) -> Result<(), KernelError> {
    shape.check(input.len(), &rows, out.len())?;
    max_u8(token, shape, input, rows, out);
    Ok(())
}

/// Maximum of each window; padding never wins. NaN is not carried: a window of NaN alone gives one.
pub fn max_pool_f32(
    token: TierToken,
    shape: &PoolShape,
    input: &[f32],
    rows: Range<usize>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    shape.check(input.len(), &rows, out.len())?;
    max_f32(token, shape, input, rows, out);
    Ok(())
}

/// Mean of each window: `y = clamp(rhe(f32(Σ (x - x_zero)) * multiplier[count]) + zero_point, min, max)`, where the sum
/// runs over the taps inside the image and `count` is [`PoolShape::count`]. `multiplier` has
/// [`PoolShape::taps`]` + 1` entries, `(s_x / f32(count)) / s_y`; entry 0 is never used.
pub fn average_pool_u8(
    token: TierToken,
    shape: &PoolShape,
    input: &[u8],
    x_zero: u8,
    multiplier: &[f32],
    codes: Codes,
    rows: Range<usize>,
    out: &mut [u8],
) -> Result<(), KernelError> {
    shape.check(input.len(), &rows, out.len())?;
    KernelError::check_length("multipliers", shape.taps() + 1, multiplier.len())?;
    check_factors("multiplier", &multiplier[1..])?;
    check_count(shape.taps())?;
    average_u8(token, shape, input, x_zero, multiplier, codes, rows, out);
    Ok(())
}

/// Mean of each window: the sum over the taps inside the image, in their order, divided by [`PoolShape::count`].
/// Error at most `taps * 2⁻²⁴` of the mean magnitude.
pub fn average_pool_f32(
    token: TierToken,
    shape: &PoolShape,
    input: &[f32],
    rows: Range<usize>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    shape.check(input.len(), &rows, out.len())?;
    average_f32(token, shape, input, rows, out);
    Ok(())
}

/// Mean over all pixels of one image, `[pixels][channels]`, of the channels `range`:
/// `y = clamp(rhe(f32(Σ (x - x_zero)) * multiplier) + zero_point, min, max)`, `multiplier = (s_x / f32(pixels)) / s_y`.
/// At most 8 421 504 pixels, so that the sum fits 32 bits.
pub fn global_average_u8(
    token: TierToken,
    input: &[u8],
    channels: usize,
    x_zero: u8,
    multiplier: f32,
    codes: Codes,
    range: Range<usize>,
    out: &mut [u8],
) -> Result<(), KernelError> {
    let pixels = check_image(input.len(), channels, &range, out.len())?;
    check_factors("multiplier", &[multiplier])?;
    check_count(pixels)?;
    global_u8(token, input, channels, x_zero, multiplier, codes, range, out);
    Ok(())
}

/// Mean over all pixels of one image, `[pixels][channels]`, of the channels `range`: sums of 64 pixels each, which are
/// then added in order, divided by the number of pixels. Error at most `(pixels / 64 + 64) * 2⁻²⁴` of the mean
/// magnitude.
pub fn global_average_f32(
    token: TierToken,
    input: &[f32],
    channels: usize,
    range: Range<usize>,
    out: &mut [f32],
) -> Result<(), KernelError> {
    check_image(input.len(), channels, &range, out.len())?;
    global_f32(token, input, channels, range, out);
    Ok(())
}

fn check_image(
    input: usize,
    channels: usize,
    range: &Range<usize>,
    out: usize,
) -> Result<usize, KernelError> {
    if channels == 0 || input == 0 || !input.is_multiple_of(channels) {
        return Err(KernelError::parameter(format!(
            "expected whole pixels of {channels} channels, found {input} elements"
        )));
    }
    if range.start > range.end || range.end > channels {
        return Err(KernelError::parameter(format!(
            "expected channels within 0..{channels}, found {range:?}"
        )));
    }
    KernelError::check_length("output", range.len(), out)?;
    Ok(input / channels)
}

/// The largest number of codes whose sum fits an i32.
const LARGEST_COUNT: usize = i32::MAX as usize / 255;

fn check_count(count: usize) -> Result<(), KernelError> {
    if count <= LARGEST_COUNT {
        return Ok(());
    }
    Err(KernelError::parameter(format!(
        "expected at most {LARGEST_COUNT} elements in a mean of 8-bit codes, found {count}; take means of parts"
    )))
}

/// Channels summed at once, in an array that lives in registers or the first-level cache.
const BLOCK: usize = 64;

tiered! {
    fn max_u8(shape: &PoolShape, input: &[u8], rows: Range<usize>, out: &mut [u8]) {
        for (row, out) in rows.zip(out.chunks_exact_mut(shape.row_len())) {
            for (ox, out) in out.chunks_exact_mut(shape.channels).enumerate() {
                out.fill(0);
                shape.window(input, row, ox, |x| {
                    for (y, &x) in out.iter_mut().zip(x) {
                        *y = x.max(*y);
                    }
                });
            }
        }
    }
}

tiered! {
    fn max_f32(shape: &PoolShape, input: &[f32], rows: Range<usize>, out: &mut [f32]) {
        for (row, out) in rows.zip(out.chunks_exact_mut(shape.row_len())) {
            for (ox, out) in out.chunks_exact_mut(shape.channels).enumerate() {
                out.fill(f32::NAN);
                shape.window(input, row, ox, |x| {
                    for (y, &x) in out.iter_mut().zip(x) {
                        // True also where `y` is NaN.
                        *y = if x <= *y || x.is_nan() { *y } else { x };
                    }
                });
            }
        }
    }
}

tiered! {
    fn average_u8(
        shape: &PoolShape,
        input: &[u8],
        x_zero: u8,
        multiplier: &[f32],
        codes: Codes,
        rows: Range<usize>,
        out: &mut [u8],
    ) {
        let rounding = codes.rounding();
        for (row, out) in rows.zip(out.chunks_exact_mut(shape.row_len())) {
            for (ox, out) in out.chunks_exact_mut(shape.channels).enumerate() {
                let multiplier = multiplier[shape.count(row % shape.out_h, ox)];
                for (block, out) in out.chunks_mut(BLOCK).enumerate() {
                    let mut sums = [0i32; BLOCK];
                    let mut inside = 0;
                    shape.window(input, row, ox, |x| {
                        add_codes(&mut sums, &x[block * BLOCK..][..out.len()]);
                        inside += 1;
                    });
                    let zeros = inside * i32::from(x_zero);
                    for (y, &sum) in out.iter_mut().zip(&sums) {
                        *y = rounding.code((sum - zeros) as f32 * multiplier);
                    }
                }
            }
        }
    }
}

tiered! {
    fn average_f32(shape: &PoolShape, input: &[f32], rows: Range<usize>, out: &mut [f32]) {
        for (row, out) in rows.zip(out.chunks_exact_mut(shape.row_len())) {
            for (ox, out) in out.chunks_exact_mut(shape.channels).enumerate() {
                out.fill(0.0);
                shape.window(input, row, ox, |x| {
                    for (y, &x) in out.iter_mut().zip(x) {
                        *y += x;
                    }
                });
                let count = shape.count(row % shape.out_h, ox) as f32;
                for y in &mut *out {
                    *y /= count;
                }
            }
        }
    }
}

tiered! {
    fn global_u8(
        input: &[u8],
        channels: usize,
        x_zero: u8,
        multiplier: f32,
        codes: Codes,
        range: Range<usize>,
        out: &mut [u8],
    ) {
        let rounding = codes.rounding();
        let zeros = (input.len() / channels) as i32 * i32::from(x_zero);
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let first = range.start + block * BLOCK;
            let mut sums = [0i32; BLOCK];
            for pixel in input.chunks_exact(channels) {
                add_codes(&mut sums, &pixel[first..][..out.len()]);
            }
            for (y, &sum) in out.iter_mut().zip(&sums) {
                *y = rounding.code((sum - zeros) as f32 * multiplier);
            }
        }
    }
}

tiered! {
    fn global_f32(input: &[f32], channels: usize, range: Range<usize>, out: &mut [f32]) {
        let pixels = (input.len() / channels) as f32;
        for (block, out) in out.chunks_mut(BLOCK).enumerate() {
            let first = range.start + block * BLOCK;
            let mut totals = [0f32; BLOCK];
            for run in input.chunks(64 * channels) {
                let mut sums = [0f32; BLOCK];
                for pixel in run.chunks_exact(channels) {
                    for (sum, &x) in sums.iter_mut().zip(&pixel[first..][..out.len()]) {
                        *sum += x;
                    }
                }
                for (total, sum) in totals.iter_mut().zip(sums) {
                    *total += sum;
                }
            }
            for (y, total) in out.iter_mut().zip(totals) {
                *y = total / pixels;
            }
        }
    }
}

/// Adds codes to the first sums; a whole block has a loop of constant length.
#[inline(always)]
fn add_codes(sums: &mut [i32; BLOCK], x: &[u8]) {
    if let Ok(x) = <&[u8; BLOCK]>::try_from(x) {
        for (sum, &x) in sums.iter_mut().zip(x) {
            *sum += i32::from(x);
        }
    } else {
        for (sum, &x) in sums.iter_mut().zip(x) {
            *sum += i32::from(x);
        }
    }
}
