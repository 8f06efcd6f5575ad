//! Matrix products in tiles, and convolutions as matrix products.
//!
//! A pointwise convolution multiplies the input where it lies. So does any other, tap by tap: along one output row the
//! pixels that a tap reads lie evenly spaced, and where the image is padded they do so in a padded copy of a few input
//! rows. Only images narrower than [`NARROW`] have their taps gathered, a block of output pixels at a time.

use std::ops::Range;

use super::panel::{Aligned, Width};
use super::small::SmallWeights;
use super::{Bounds, scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::error::KernelError;
use crate::shape::ConvShape;
use crate::tier::{Tier, TierToken};

/// A left-hand matrix of `lines * rows` rows. Row `(line, r)` is, in this order, the elements
/// `data[line * line_step + r * row_step + y * tap_row_step + x * tap_step + i]` for `y < tap_rows`, `x < taps`,
/// `i < depth`.
#[derive(Clone, Copy)]
pub(super) struct Left<'a> {
    pub(super) data: &'a [f32],
    pub(super) lines: usize,
    pub(super) line_step: usize,
    pub(super) rows: usize,
    pub(super) row_step: usize,
    pub(super) tap_rows: usize,
    pub(super) tap_row_step: usize,
    pub(super) taps: usize,
    pub(super) tap_step: usize,
    pub(super) depth: usize,
}

impl<'a> Left<'a> {
    /// Rows of `k` elements, `row_step` apart.
    fn dense(data: &'a [f32], rows: usize, row_step: usize, k: usize) -> Self {
        Self {
            data,
            lines: 1,
            line_step: 0,
            rows,
            row_step,
            tap_rows: 1,
            tap_row_step: 0,
            taps: 1,
            tap_step: 0,
            depth: k,
        }
    }

    /// Elements of a row.
    pub(super) fn k(&self) -> usize {
        self.tap_rows * self.taps * self.depth
    }
}

/// The product of a left-hand matrix with panels of columns: `c[row][j] = clamp(bias[j] + Σ a[row][i] * b[i][j])`.
pub(super) struct Product<'a> {
    pub(super) a: Left<'a>,
    /// Panels of `n` columns, see [`Width`].
    pub(super) b: &'a [f32],
    pub(super) n: usize,
    /// One per column, padded as the panels are.
    pub(super) bias: &'a [f32],
    pub(super) bounds: Bounds,
    /// Rows `ldc` apart, the lines' one after the other.
    pub(super) c: &'a mut [f32],
    pub(super) ldc: usize,
}

impl Product<'_> {
    /// Checks what the tiles rely on: every row and panel lies inside its slice.
    fn check(&self, width: Width) {
        let Left { data, lines, line_step, rows, row_step, tap_rows, tap_row_step, taps, tap_step, depth } =
            self.a;
        assert!(lines > 0 && rows > 0 && tap_rows > 0 && taps > 0 && self.n > 0, "products are not empty");
        let last_row = (lines - 1) * line_step + (rows - 1) * row_step;
        let last_tap = (tap_rows - 1) * tap_row_step + (taps - 1) * tap_step;
        assert!(last_row + last_tap + depth <= data.len(), "rows of a lie in their slice");
        assert!((lines * rows - 1) * self.ldc + self.n <= self.c.len(), "rows of c lie in their slice");
        assert!(lines * rows == 1 || self.ldc >= self.n, "rows of c do not overlap");
        assert!(width.columns(self.n) * self.a.k() <= self.b.len(), "panels lie in their slice");
        assert!(width.columns(self.n) <= self.bias.len(), "the bias is padded");
    }

    /// Whether all panels stay in the first-level cache, so that the output is best written row by row.
    pub(super) fn panels_are_small(&self) -> bool {
        self.n * self.a.k() * size_of::<f32>() <= SMALL_PANELS
    }

    pub(super) fn run(self, token: TierToken) {
        self.check(Width::of(token));
        match token.tier() {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Vnni => avx512::product(token, self),
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 | Tier::AvxVnni => avx2::product(token, self),
            _ => scalar::product(self),
        }
    }
}

/// Rows of the largest tile of a tier.
fn tile_rows(token: TierToken) -> usize {
    match token.tier() {
        #[cfg(target_arch = "x86_64")]
        Tier::Avx512Vnni => avx512::TILE_ROWS,
        #[cfg(target_arch = "x86_64")]
        Tier::Avx2 | Tier::AvxVnni => avx2::TILE_ROWS,
        _ => scalar::TILE_ROWS,
    }
}

/// Cuts `rows` into tiles of at most `most` rows that differ by at most one row: short tiles leave the arithmetic
/// units waiting.
pub(super) fn even_tiles(rows: usize, most: usize) -> impl Iterator<Item = Range<usize>> {
    let tiles = rows.div_ceil(most);
    let (short, longer) = (rows / tiles.max(1), rows % tiles.max(1));
    (0..tiles).map(move |tile| {
        let start = tile * short + tile.min(longer);
        start..start + short + usize::from(tile < longer)
    })
}

/// Bytes of panels that stay in the first-level cache beside the rows of a tile.
const SMALL_PANELS: usize = 16 * 1024;
/// Bytes of the left-hand block that all panels read in turn: it stays in the second-level cache.
const BLOCK_BYTES: usize = 512 * 1024;
/// Output rows narrower than this make tiles too short.
const NARROW: usize = 4;

/// Rows of one left-hand block.
fn block_rows(token: TierToken, k: usize) -> usize {
    let tile = tile_rows(token);
    (BLOCK_BYTES / size_of::<f32>() / k.max(1) / tile).clamp(1, 64) * tile
}

/// Where the left-hand rows of a convolution come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// The input as it lies: row `i` is pixel `i`.
    Pointwise,
    /// The input or a padded copy of some of its rows.
    Lines(Lines),
    /// Taps gathered into scratch memory.
    Gathered,
}

/// Geometry of [`Source::Lines`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lines {
    /// Whether a copy with the padding is needed.
    padded: bool,
    /// Columns of an input row that all taps of an output row together reach over.
    columns: usize,
    /// Input rows that the taps of an output row reach over.
    reach: usize,
    /// Most output rows computed at once.
    band: usize,
}

impl Source {
    fn of(shape: &ConvShape) -> Self {
        if shape.is_pointwise() {
            return Source::Pointwise;
        }
        let columns = (shape.out_w - 1) * shape.stride_w + (shape.kernel_w - 1) * shape.dilation_w + 1;
        let reach = (shape.kernel_h - 1) * shape.dilation_h + 1;
        let rows = (shape.out_h - 1) * shape.stride_h + reach;
        let Some(row_bytes) = columns.checked_mul(shape.in_c * size_of::<f32>()) else {
            return Source::Gathered;
        };
        if shape.out_w < NARROW || row_bytes.checked_mul(reach).is_none_or(|bytes| bytes > LARGEST_BAND) {
            return Source::Gathered;
        }
        let padded = shape.pad_top > 0 || shape.pad_left > 0 || columns > shape.in_w || rows > shape.in_h;
        let rows_at_once = (BLOCK_BYTES / row_bytes.max(1)).max(reach);
        let band = ((rows_at_once - reach) / shape.stride_h + 1).min(shape.out_h);
        Source::Lines(Lines { padded, columns, reach, band })
    }
}

/// Bytes of the padded input rows of one output row beyond which taps are gathered instead.
const LARGEST_BAND: usize = 4 << 20;

/// A convolution's weights in the panels' order.
#[derive(Debug)]
enum Packed {
    Floats(Aligned),
    Small(SmallWeights),
}

/// Working memory of one call.
pub(super) struct Work<'a> {
    /// Padded rows or gathered taps.
    pub(super) left: &'a mut [f32],
    /// Panels decoded from small weights.
    pub(super) panels: &'a mut [f32],
}

/// Weights of a convolution, one matrix per group.
#[derive(Debug)]
pub(super) struct ConvGemm {
    packed: Packed,
    /// Per group, padded to whole vectors.
    bias: Aligned,
    source: Source,
}

/// Output channels of one unit where there is one pixel only.
const UNIT_CHANNELS: usize = 128;

impl ConvGemm {
    pub(super) fn new(token: TierToken, shape: &ConvShape, weights: &[f32], bias: Option<&[f32]>) -> Self {
        let width = Width::of(token);
        let (k, wide) = (shape.depth(), shape.out_c / shape.groups);
        let columns = width.columns(wide);
        let mut packed = Aligned::zeroed(shape.groups * columns * k);
        for group in 0..shape.groups {
            let weights = &weights[group * wide * k..];
            let panels = &mut packed.as_mut_slice()[group * columns * k..][..columns * k];
            width.pack(k, wide, panels, |row, column| weights[column * k + row]);
        }
        Self::of(token, shape, Packed::Floats(packed), bias)
    }

    /// Weights of few bits, in 4 where `four` allows it and all fit.
    pub(super) fn small(
        token: TierToken,
        shape: &ConvShape,
        codes: &[i8],
        scales: &[f32],
        four: bool,
        bias: Option<&[f32]>,
    ) -> Self {
        let wide = shape.out_c / shape.groups;
        let small = SmallWeights::new(token, shape.groups, wide, shape.depth(), codes, scales, four);
        Self::of(token, shape, Packed::Small(small), bias)
    }

    fn of(token: TierToken, shape: &ConvShape, packed: Packed, bias: Option<&[f32]>) -> Self {
        let wide = shape.out_c / shape.groups;
        let columns = Width::of(token).columns(wide);
        let mut padded = Aligned::zeroed(shape.groups * columns);
        if let Some(bias) = bias {
            let groups = padded.as_mut_slice().chunks_exact_mut(columns);
            for (padded, bias) in groups.zip(bias.chunks_exact(wide)) {
                padded[..wide].copy_from_slice(bias);
            }
        }
        Self { packed, bias: padded, source: Source::of(shape) }
    }

    pub(super) fn packed_len(&self) -> usize {
        let weights = match &self.packed {
            Packed::Floats(packed) => size_of_val(packed.as_slice()),
            Packed::Small(small) => small.packed_len(),
        };
        weights + size_of_val(self.bias.as_slice())
    }

    /// Bits of a stored weight.
    pub(super) fn bits(&self) -> u32 {
        match &self.packed {
            Packed::Floats(_) => 32,
            Packed::Small(small) if small.is_four() => 4,
            Packed::Small(_) => 8,
        }
    }

    /// Elements of scratch memory for decoded panels.
    pub(super) fn panels_len(&self) -> usize {
        match &self.packed {
            Packed::Floats(_) => 0,
            Packed::Small(small) => small.work_len(),
        }
    }

    pub(super) fn unit_len(&self, token: TierToken, shape: &ConvShape) -> usize {
        if shape.pixels() == 1 && shape.groups == 1 {
            return UNIT_CHANNELS;
        }
        if let Source::Lines(_) = self.source {
            return shape.out_w * shape.out_c;
        }
        // Small images make smaller units, so that there are enough of them to share out.
        let tile = tile_rows(token);
        let pixels = if shape.pixels() <= 32 * tile { tile.div_ceil(2) } else { tile };
        pixels * shape.out_c
    }

    /// Elements of scratch memory: the padded rows, or the gathered block.
    pub(super) fn work_len(&self, token: TierToken, shape: &ConvShape) -> usize {
        match self.source {
            Source::Pointwise | Source::Lines(Lines { padded: false, .. }) => 0,
            Source::Lines(Lines { columns, reach, band, .. }) => {
                ((band - 1) * shape.stride_h + reach) * columns * shape.in_c
            }
            Source::Gathered => block_rows(token, shape.depth()).min(shape.pixels()) * shape.depth(),
        }
    }

    pub(super) fn run(
        &self,
        token: TierToken,
        shape: &ConvShape,
        bounds: Bounds,
        input: &[f32],
        elements: Range<usize>,
        out: &mut [f32],
        work: &mut Work<'_>,
    ) {
        if elements.is_empty() {
            return;
        }
        if shape.pixels() == 1 && shape.groups == 1 {
            let k = shape.depth();
            let data = if self.source == Source::Pointwise {
                input
            } else {
                gather(shape, input, 0..1, 0, work.left);
                &*work.left
            };
            let a = Left::dense(data, 1, k, k);
            // Units begin at whole panels.
            self.multiply_columns(
                token,
                bounds,
                (0, shape.out_c),
                elements,
                a,
                (out, shape.out_c),
                work.panels,
            );
            return;
        }
        let pixels = elements.start / shape.out_c..elements.end / shape.out_c;
        match self.source {
            Source::Lines(lines) => {
                let rows = pixels.start / shape.out_w..pixels.end / shape.out_w;
                self.run_lines(token, shape, bounds, lines, input, rows, out, work);
            }
            Source::Pointwise | Source::Gathered => {
                self.run_pixels(token, shape, bounds, input, pixels, out, work);
            }
        }
    }

    fn run_pixels(
        &self,
        token: TierToken,
        shape: &ConvShape,
        bounds: Bounds,
        input: &[f32],
        pixels: Range<usize>,
        out: &mut [f32],
        work: &mut Work<'_>,
    ) {
        let (k, deep) = (shape.depth(), shape.in_c / shape.groups);
        for block in even_tiles(pixels.len(), block_rows(token, k)) {
            let rows = block.len();
            let first = pixels.start + block.start;
            let out = &mut out[block.start * shape.out_c..block.end * shape.out_c];
            for group in 0..shape.groups {
                let a = if self.source == Source::Pointwise {
                    Left::dense(&input[first * shape.in_c + group * deep..], rows, shape.in_c, k)
                } else {
                    gather(shape, input, first..first + rows, group, work.left);
                    Left::dense(work.left, rows, k, k)
                };
                self.multiply(token, shape, bounds, group, a, out, work.panels);
            }
        }
    }

    /// Computes output rows, all images counted through.
    fn run_lines(
        &self,
        token: TierToken,
        shape: &ConvShape,
        bounds: Bounds,
        lines: Lines,
        input: &[f32],
        rows: Range<usize>,
        out: &mut [f32],
        work: &mut Work<'_>,
    ) {
        let c = shape.in_c;
        let deep = c / shape.groups;
        let mut row = rows.start;
        while row < rows.end {
            let (image, oy) = (row / shape.out_h, row % shape.out_h);
            let band = lines.band.min(rows.end - row).min(shape.out_h - oy);
            let (data, row_len) = if lines.padded {
                let count = (band - 1) * shape.stride_h + lines.reach;
                pad(shape, input, image, oy * shape.stride_h, count, lines.columns, work.left);
                (&*work.left, lines.columns * c)
            } else {
                (&input[(image * shape.in_h + oy * shape.stride_h) * shape.in_w * c..], shape.in_w * c)
            };
            let len = shape.out_w * shape.out_c;
            let out = &mut out[(row - rows.start) * len..][..band * len];
            for group in 0..shape.groups {
                // Neighbouring taps whose channels touch count as one deeper tap.
                let joined = shape.groups == 1 && shape.dilation_w == 1;
                let a = Left {
                    data: &data[group * deep..],
                    lines: band,
                    line_step: shape.stride_h * row_len,
                    rows: shape.out_w,
                    row_step: shape.stride_w * c,
                    tap_rows: shape.kernel_h,
                    tap_row_step: shape.dilation_h * row_len,
                    taps: if joined { 1 } else { shape.kernel_w },
                    tap_step: shape.dilation_w * c,
                    depth: if joined { shape.kernel_w * deep } else { deep },
                };
                self.multiply(token, shape, bounds, group, a, out, work.panels);
            }
            row += band;
        }
    }

    /// The product with the weights of a group, into its channels of the pixels at `out`.
    fn multiply(
        &self,
        token: TierToken,
        shape: &ConvShape,
        bounds: Bounds,
        group: usize,
        a: Left<'_>,
        out: &mut [f32],
        panels: &mut [f32],
    ) {
        let wide = shape.out_c / shape.groups;
        let c = &mut out[group * wide..];
        self.multiply_columns(token, bounds, (group, wide), 0..wide, a, (c, shape.out_c), panels);
    }

    /// The product with some columns of a group of `wide`, beginning at a whole panel, into the rows of `c` that lie
    /// as far apart as it says.
    fn multiply_columns(
        &self,
        token: TierToken,
        bounds: Bounds,
        (group, wide): (usize, usize),
        columns: Range<usize>,
        a: Left<'_>,
        (c, ldc): (&mut [f32], usize),
        panels: &mut [f32],
    ) {
        let padded = Width::of(token).columns(wide);
        let bias = &self.bias.as_slice()[group * padded..];
        match &self.packed {
            Packed::Floats(packed) => {
                let b = &packed.as_slice()[(group * padded + columns.start) * a.k()..];
                let bias = &bias[columns.start..];
                Product { a, b, n: columns.len(), bias, bounds, c, ldc }.run(token);
            }
            Packed::Small(small) => {
                for first in columns.clone().step_by(small.columns_at_once()) {
                    let n = small.columns_at_once().min(columns.end - first);
                    small.decode(token, group, first, n, panels);
                    let c = &mut c[first - columns.start..];
                    Product { a, b: panels, n, bias: &bias[first..], bounds, c, ldc }.run(token);
                }
            }
        }
    }
}

/// Copies `count` input rows from row `first` of the padded image on, `columns` pixels of each from its left edge on.
fn pad(
    shape: &ConvShape,
    input: &[f32],
    image: usize,
    first: usize,
    count: usize,
    columns: usize,
    work: &mut [f32],
) {
    let c = shape.in_c;
    let left = shape.pad_left.min(columns);
    let inside = shape.in_w.min(columns - left);
    for (i, row) in work.chunks_exact_mut((columns * c).max(1)).take(count).enumerate() {
        match (first + i).checked_sub(shape.pad_top).filter(|&iy| iy < shape.in_h) {
            Some(iy) => {
                row[..left * c].fill(0.0);
                let from = (image * shape.in_h + iy) * shape.in_w * c;
                row[left * c..][..inside * c].copy_from_slice(&input[from..][..inside * c]);
                row[(left + inside) * c..].fill(0.0);
            }
            None => row.fill(0.0),
        }
    }
}

/// Writes the taps of some output pixels, `[pixel][kernel_h][kernel_w][channels of the group]`, zero outside the image.
fn gather(shape: &ConvShape, input: &[f32], pixels: Range<usize>, group: usize, work: &mut [f32]) {
    let (deep, k) = (shape.in_c / shape.groups, shape.depth());
    if k == 0 {
        return;
    }
    for (pixel, row) in pixels.zip(work.chunks_exact_mut(k)) {
        let (line, ox) = (pixel / shape.out_w, pixel % shape.out_w);
        let (image, oy) = (line / shape.out_h, line % shape.out_h);
        let mut taps = row.chunks_exact_mut(deep);
        for ky in 0..shape.kernel_h {
            let iy = shape.in_row(oy, ky);
            for (kx, tap) in taps.by_ref().take(shape.kernel_w).enumerate() {
                match iy.zip(shape.in_column(ox, kx)) {
                    Some((iy, ix)) => {
                        let at = (image * shape.in_h + iy) * shape.in_w + ix;
                        tap.copy_from_slice(&input[at * shape.in_c + group * deep..][..deep]);
                    }
                    None => tap.fill(0.0),
                }
            }
        }
    }
}

/// A matrix product of which both operands are known only at run time: `[m][k] × [k][n] → [m][n]`.
///
/// The right-hand matrix is packed first into memory of the caller's, once for all rows; then any rows are computed,
/// in any number of calls. A batch is a loop over this. Arithmetic and error as for [`ConvF32`](super::ConvF32).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GemmF32 {
    token: TierToken,
    n: usize,
    k: usize,
}

impl GemmF32 {
    /// A product over `k` with `n` columns.
    pub fn new(token: TierToken, n: usize, k: usize) -> Result<Self, KernelError> {
        if n == 0
            || n.checked_next_multiple_of(64)
                .and_then(|n| n.checked_mul(k.max(1)))
                .is_none_or(|n| n > 1 << 48)
        {
            return Err(KernelError::shape(format!("expected 1 to 2^48 elements, found {k} rows of {n}")));
        }
        Ok(Self { token, n, k })
    }

    /// Elements that the packed right-hand matrix takes.
    pub fn packed_len(&self) -> usize {
        Width::of(self.token).columns(self.n) * (self.k + 1)
    }

    /// Packs `b`, `[k][n]`, or `[n][k]` if `transposed`, into the [`packed_len`](Self::packed_len) elements of
    /// `packed` together with a bias of `n` elements, if any.
    pub fn pack(
        &self,
        b: &[f32],
        transposed: bool,
        bias: Option<&[f32]>,
        packed: &mut [f32],
    ) -> Result<(), KernelError> {
        let Self { n, k, .. } = *self;
        KernelError::check_length("right-hand matrix", n * k, b.len())?;
        KernelError::check_length("packed matrix", self.packed_len(), packed.len())?;
        if let Some(bias) = bias {
            KernelError::check_length("bias", n, bias.len())?;
        }
        let width = Width::of(self.token);
        let (padded, panels) = packed.split_at_mut(width.columns(n));
        padded.fill(0.0);
        if let Some(bias) = bias {
            padded[..n].copy_from_slice(bias);
        }
        if transposed {
            width.pack(k, n, panels, |row, column| b[column * k + row]);
        } else {
            width.pack(k, n, panels, |row, column| b[row * n + column]);
        }
        Ok(())
    }

    /// Computes the rows of `out` from as many rows of `a`, clamped to `activation`.
    pub fn run(
        &self,
        a: &[f32],
        packed: &[f32],
        activation: (f32, f32),
        out: &mut [f32],
    ) -> Result<(), KernelError> {
        let Self { token, n, k } = *self;
        let rows = out.len() / n;
        KernelError::check_length("output", rows * n, out.len())?;
        KernelError::check_length("left-hand matrix", rows * k, a.len())?;
        KernelError::check_length("packed matrix", self.packed_len(), packed.len())?;
        let bounds = Bounds { min: activation.0, max: activation.1 };
        let (bias, b) = packed.split_at(Width::of(token).columns(n));
        for block in even_tiles(rows, block_rows(token, k)) {
            let a = &a[block.start * k..block.end * k];
            let c = &mut out[block.start * n..block.end * n];
            Product { a: Left::dense(a, block.len(), k, k), b, n, bias, bounds, c, ldc: n }.run(token);
        }
        Ok(())
    }
}
