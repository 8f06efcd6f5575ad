//! The AVX2 and FMA tier of the float kernels: tiles of 6 rows by 16 columns, one accumulator register for each row
//! and vector, and depthwise convolution on blocks of pixels and channels.
#![expect(unsafe_code, reason = "tiles read and write through pointers, whose bounds their callers check")]

use std::arch::x86_64::{
    __m256, __m256i, _mm256_cmpgt_epi32, _mm256_fmadd_ps, _mm256_loadu_ps, _mm256_maskload_ps,
    _mm256_maskstore_ps, _mm256_max_ps, _mm256_min_ps, _mm256_set1_epi32, _mm256_set1_ps, _mm256_setr_epi32,
    _mm256_setzero_ps, _mm256_storeu_ps,
};
use std::ops::Range;

use super::Bounds;
use super::gemm::{Product, even_tiles};
use super::vector_depthwise::{Block, Blocks};
use crate::tier::TierToken;

/// Elements of a register.
const VECTOR: usize = 8;
/// Columns of a panel.
const PANEL: usize = 2 * VECTOR;
/// Rows of the largest tile.
pub(super) const TILE_ROWS: usize = 6;
/// A product of one row takes this many vectors at once, or the accumulators would wait for each other.
const FEW_ROWS: usize = 1;
const WIDE: usize = 8;

/// What a tile of `R` rows and `V` vectors works on.
///
/// Valid for it are: reads of `R` rows of a [`Left`](super::gemm::Left) at `a`; of as many rows as those have elements
/// of the panels at `b`, a panel every `panel_step` elements; of `V` vectors at `bias`; writes of `R` rows `ldc` apart at `c`, each of
/// `V - 1` whole vectors and the first `last` elements of one more.
#[derive(Clone, Copy)]
struct Tile {
    a: *const f32,
    row_step: usize,
    tap_rows: usize,
    tap_row_step: usize,
    taps: usize,
    tap_step: usize,
    depth: usize,
    b: *const f32,
    panel_step: usize,
    bias: *const f32,
    c: *mut f32,
    ldc: usize,
    last: usize,
    bounds: Bounds,
}

/// Computes one tile.
///
/// # Safety
/// The machine has AVX2 and FMA, and the tile's pointers are valid as [`Tile`] says.
#[target_feature(enable = "avx2,fma")]
unsafe fn tile<const R: usize, const V: usize>(t: &Tile) {
    let columns = if V == 1 { VECTOR } else { PANEL };
    // SAFETY: every offset lies inside what `Tile` says is valid, which the caller upholds.
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); V]; R];
        for v in 0..V {
            let bias = _mm256_loadu_ps(t.bias.add(v * VECTOR));
            for row in &mut acc {
                row[v] = bias;
            }
        }
        let mut b = t.b;
        for y in 0..t.tap_rows {
            for x in 0..t.taps {
                let a = t.a.add(y * t.tap_row_step + x * t.tap_step);
                for i in 0..t.depth {
                    let mut weights = [_mm256_setzero_ps(); V];
                    for (v, weights) in weights.iter_mut().enumerate() {
                        *weights = _mm256_loadu_ps(b.add(v / 2 * t.panel_step + v % 2 * VECTOR));
                    }
                    b = b.add(columns);
                    for (r, row) in acc.iter_mut().enumerate() {
                        let x = _mm256_set1_ps(*a.add(r * t.row_step + i));
                        for (acc, &weights) in row.iter_mut().zip(&weights) {
                            *acc = _mm256_fmadd_ps(x, weights, *acc);
                        }
                    }
                }
            }
        }
        let mask = first(t.last);
        for (r, row) in acc.iter().enumerate() {
            let c = t.c.add(r * t.ldc);
            for (v, &acc) in row.iter().enumerate() {
                let y = clamp(acc, t.bounds);
                if v + 1 < V || t.last >= VECTOR {
                    _mm256_storeu_ps(c.add(v * VECTOR), y);
                } else {
                    _mm256_maskstore_ps(c.add(v * VECTOR), mask, y);
                }
            }
        }
    }
}

/// NaN passes: the operand of a comparison that fails is the second.
#[target_feature(enable = "avx2,fma")]
fn clamp(v: __m256, bounds: Bounds) -> __m256 {
    _mm256_min_ps(_mm256_set1_ps(bounds.max), _mm256_max_ps(_mm256_set1_ps(bounds.min), v))
}

/// The mask of the first `n` elements of a vector.
#[target_feature(enable = "avx2,fma")]
fn first(n: usize) -> __m256i {
    let count = _mm256_set1_epi32(n.min(VECTOR) as i32);
    _mm256_cmpgt_epi32(count, _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7))
}

type TileFn = unsafe fn(&Tile);

macro_rules! tiles {
    ($vectors:literal: $($rows:literal)*) => { [$(tile::<$rows, $vectors>),*] };
}

/// By rows less one.
const NARROW: [TileFn; TILE_ROWS] = tiles!(1: 1 2 3 4 5 6);
const FULL: [TileFn; TILE_ROWS] = tiles!(2: 1 2 3 4 5 6);
const WIDER: [TileFn; FEW_ROWS] = tiles!(8: 1);

/// Computes a product whose bounds [`Product`] has checked.
pub(super) fn product(token: TierToken, product: Product<'_>) {
    debug_assert_ne!(token.tier(), crate::tier::Tier::Scalar);
    let small = product.panels_are_small();
    let Product { a, b, n, bias, bounds, c, ldc } = product;
    let k = a.k();
    let few = a.rows <= FEW_ROWS;
    // Vectors of the tiles from `column` on.
    let vectors = |column: usize| match n - column {
        left if few && left >= WIDE * VECTOR => WIDE,
        left if left > VECTOR => 2,
        _ => 1,
    };
    let mut run = |line: usize, rows: Range<usize>, column: usize| {
        let vectors = vectors(column);
        let tiles: &[TileFn] = match vectors {
            WIDE => &WIDER,
            2 => &FULL,
            _ => &NARROW,
        };
        let t = Tile {
            a: a.data[line * a.line_step + rows.start * a.row_step..].as_ptr(),
            row_step: a.row_step,
            tap_rows: a.tap_rows,
            tap_row_step: a.tap_row_step,
            taps: a.taps,
            tap_step: a.tap_step,
            depth: a.depth,
            b: b[column * k..].as_ptr(),
            panel_step: PANEL * k,
            bias: bias[column..].as_ptr(),
            c: c[(line * a.rows + rows.start) * ldc + column..].as_mut_ptr(),
            ldc,
            last: n - column - (vectors - 1) * VECTOR,
            bounds,
        };
        // SAFETY: the token proves the features. `Product` has checked that all rows, panels and biases of the product
        // lie in their slices; the tile's are among them, as `rows` lie below `a.rows`, `column` is a multiple of the
        // panel's width below `n`, and the mask ends at column `n`.
        unsafe { tiles[rows.len() - 1](&t) };
    };
    let most = if few { FEW_ROWS } else { TILE_ROWS };
    if small {
        for line in 0..a.lines {
            for rows in even_tiles(a.rows, most) {
                let mut column = 0;
                while column < n {
                    run(line, rows.clone(), column);
                    column += vectors(column) * VECTOR;
                }
            }
        }
    } else {
        let mut column = 0;
        while column < n {
            for line in 0..a.lines {
                for rows in even_tiles(a.rows, most) {
                    run(line, rows, column);
                }
            }
            column += vectors(column) * VECTOR;
        }
    }
}

/// Computes `P` output pixels of `V` vectors of channels; if `V` is 1, of its first `channels` alone.
///
/// # Safety
/// The machine has AVX2 and FMA, and the block's pointers are valid as [`Block`] says for `P` pixels and the channels.
#[target_feature(enable = "avx2,fma")]
unsafe fn block<const P: usize, const V: usize>(t: &Block, channels: usize) {
    // SAFETY: every offset lies inside what `Block` says is valid, which the caller upholds; a masked load or store
    // touches the elements of its mask alone.
    unsafe {
        let mask = first(channels);
        let load = |at: *const f32, v: usize| {
            if V == 1 { _mm256_maskload_ps(at, mask) } else { _mm256_loadu_ps(at.add(v * VECTOR)) }
        };
        let mut acc = [[_mm256_setzero_ps(); V]; P];
        for v in 0..V {
            let bias = load(t.bias, v);
            for pixel in &mut acc {
                pixel[v] = bias;
            }
        }
        for ky in 0..t.tap_rows {
            for kx in 0..t.taps {
                let x = t.x.add(ky * t.x_row_step + kx * t.x_tap_step);
                let w = t.w.add(ky * t.w_row_step + kx * t.channels);
                for v in 0..V {
                    let w = load(w, v);
                    for (p, pixel) in acc.iter_mut().enumerate() {
                        pixel[v] = _mm256_fmadd_ps(load(x.add(p * t.x_pixel_step), v), w, pixel[v]);
                    }
                }
            }
        }
        for (p, pixel) in acc.iter().enumerate() {
            let y = t.y.add(p * t.channels);
            for (v, &acc) in pixel.iter().enumerate() {
                let value = clamp(acc, t.bounds);
                if V == 1 {
                    _mm256_maskstore_ps(y, mask, value);
                } else {
                    _mm256_storeu_ps(y.add(v * VECTOR), value);
                }
            }
        }
    }
}

macro_rules! blocks {
    ($vectors:literal: $($pixels:literal)*) => { &[$(block::<$pixels, $vectors>),*] };
}

/// The depthwise convolution's blocks.
pub(super) const DEPTHWISE: Blocks = Blocks {
    vector: VECTOR,
    one_vector: blocks!(1: 1 2 3 4 5 6),
    two_vectors: blocks!(2: 1 2 3 4 5 6),
    eight_vectors: block::<1, 8>,
};
