//! Matrix products in tiles, and convolutions as matrix products.
//!
//! A pointwise convolution multiplies the input where it lies. Any other gathers the taps of a block of output pixels
//! into scratch memory, which the panels of all output channels then read: never the whole image.

use std::ops::Range;

use super::panel::{Aligned, Width};
use super::{Bounds, scalar};
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};
use crate::error::KernelError;
use crate::shape::ConvShape;
use crate::tier::{Tier, TierToken};

/// The product of a block of rows with some columns: `c[r][j] = clamp(bias[j] + Σ a[r][i] * b[i][j])`.
pub(super) struct Product<'a> {
    /// `rows` rows of `k` elements, `lda` apart.
    pub(super) a: &'a [f32],
    pub(super) lda: usize,
    pub(super) rows: usize,
    pub(super) k: usize,
    /// Panels of `n` columns, see [`Width`].
    pub(super) b: &'a [f32],
    pub(super) n: usize,
    /// One per column, padded as the panels are.
    pub(super) bias: &'a [f32],
    pub(super) bounds: Bounds,
    /// Rows `ldc` apart.
    pub(super) c: &'a mut [f32],
    pub(super) ldc: usize,
}

impl Product<'_> {
    /// Checks what the tiles rely on: every row and panel lies inside its slice.
    fn check(&self, width: Width) {
        assert!(self.rows > 0 && self.n > 0, "products are not empty");
        assert!((self.rows - 1) * self.lda + self.k <= self.a.len(), "rows of a lie in their slice");
        assert!((self.rows - 1) * self.ldc + self.n <= self.c.len(), "rows of c lie in their slice");
        assert!(width.columns(self.n) * self.k <= self.b.len(), "panels lie in their slice");
        assert!(width.columns(self.n) <= self.bias.len(), "the bias is padded");
        assert!(self.rows == 1 || self.ldc >= self.n, "rows of c do not overlap");
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
pub(super) fn tile_rows(token: TierToken) -> usize {
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

/// Bytes of the left-hand block that all panels read in turn: it stays in the second-level cache.
const BLOCK_BYTES: usize = 256 * 1024;

/// Rows of one such block.
fn block_rows(token: TierToken, k: usize) -> usize {
    let tile = tile_rows(token);
    (BLOCK_BYTES / size_of::<f32>() / k.max(1) / tile).clamp(1, 64) * tile
}

/// Weights of a convolution, one matrix per group.
#[derive(Debug)]
pub(super) struct ConvGemm {
    packed: Aligned,
    /// Per group, padded to whole vectors.
    bias: Aligned,
}

/// Output channels of one unit where there is one pixel only.
const UNIT_CHANNELS: usize = 128;

impl ConvGemm {
    pub(super) fn new(token: TierToken, shape: &ConvShape, weights: &[f32], bias: Option<&[f32]>) -> Self {
        let width = Width::of(token);
        let (k, wide) = (shape.depth(), shape.out_c / shape.groups);
        let columns = width.columns(wide);
        let mut packed = Aligned::zeroed(shape.groups * columns * k);
        let mut padded = Aligned::zeroed(shape.groups * columns);
        for group in 0..shape.groups {
            let weights = &weights[group * wide * k..];
            let panels = &mut packed.as_mut_slice()[group * columns * k..][..columns * k];
            width.pack(k, wide, panels, |row, column| weights[column * k + row]);
            if let Some(bias) = bias {
                padded.as_mut_slice()[group * columns..][..wide]
                    .copy_from_slice(&bias[group * wide..][..wide]);
            }
        }
        Self { packed, bias: padded }
    }

    pub(super) fn packed_len(&self) -> usize {
        size_of_val(self.packed.as_slice()) + size_of_val(self.bias.as_slice())
    }

    pub(super) fn unit_len(token: TierToken, shape: &ConvShape) -> usize {
        if shape.pixels() == 1 && shape.groups == 1 {
            return UNIT_CHANNELS;
        }
        // Small images make smaller units, so that there are enough of them to share out.
        let tile = tile_rows(token);
        let pixels = if shape.pixels() <= 32 * tile { tile.div_ceil(2) } else { tile };
        pixels * shape.out_c
    }

    /// Elements of scratch memory: the gathered block.
    pub(super) fn work_len(token: TierToken, shape: &ConvShape) -> usize {
        if shape.is_pointwise() { 0 } else { block_rows(token, shape.depth()) * shape.depth() }
    }

    pub(super) fn run(
        &self,
        token: TierToken,
        shape: &ConvShape,
        bounds: Bounds,
        input: &[f32],
        elements: Range<usize>,
        out: &mut [f32],
        work: &mut [f32],
    ) {
        if elements.is_empty() {
            return;
        }
        let width = Width::of(token);
        let (k, deep, wide) = (shape.depth(), shape.in_c / shape.groups, shape.out_c / shape.groups);
        let columns = width.columns(wide);
        let (packed, bias) = (self.packed.as_slice(), self.bias.as_slice());
        if shape.pixels() == 1 && shape.groups == 1 {
            let a = if shape.is_pointwise() {
                input
            } else {
                gather(shape, input, 0..1, 0, work);
                &*work
            };
            // Units begin at whole panels.
            let (first, n) = (elements.start, elements.len());
            let (b, bias) = (&packed[first * k..], &bias[first..]);
            Product { a, lda: k, rows: 1, k, b, n, bias, bounds, c: out, ldc: n }.run(token);
            return;
        }
        let pixels = elements.start / shape.out_c..elements.end / shape.out_c;
        for block in even_tiles(pixels.len(), block_rows(token, k)) {
            let rows = block.len();
            for group in 0..shape.groups {
                let first = pixels.start + block.start;
                let (a, lda) = if shape.is_pointwise() {
                    (&input[first * shape.in_c + group * deep..], shape.in_c)
                } else {
                    gather(shape, input, first..first + rows, group, work);
                    (&*work, k)
                };
                Product {
                    a,
                    lda,
                    rows,
                    k,
                    b: &packed[group * columns * k..],
                    n: wide,
                    bias: &bias[group * columns..],
                    bounds,
                    c: &mut out[block.start * shape.out_c + group * wide..],
                    ldc: shape.out_c,
                }
                .run(token);
            }
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
            Product { a, lda: k, rows: block.len(), k, b, n, bias, bounds, c, ldc: n }.run(token);
        }
        Ok(())
    }
}
