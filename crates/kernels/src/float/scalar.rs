//! The portable tier's tiles, in a form that a compiler can vectorise for the baseline instruction set.

use super::gemm::{Product, even_tiles};

/// Rows of the largest tile.
pub(super) const TILE_ROWS: usize = 4;
const PANEL: usize = 8;

/// Computes a product; its bounds were checked by the caller, and every access here is checked again.
pub(super) fn product(product: Product<'_>) {
    let Product { a, lda, rows, k, b, n, bias, bounds, c, ldc } = product;
    for first in (0..n).step_by(PANEL) {
        let panel = &b[first * k..][..PANEL * k];
        let bias: &[f32; PANEL] = bias[first..].first_chunk().expect("the bias is padded to whole panels");
        let wide = PANEL.min(n - first);
        for tile in even_tiles(rows, TILE_ROWS) {
            let mut acc = [*bias; TILE_ROWS];
            // Rows beyond the tile repeat its last one; their results are dropped.
            let a: [&[f32]; TILE_ROWS] =
                std::array::from_fn(|r| &a[(tile.start + r).min(tile.end - 1) * lda..][..k]);
            for (i, b) in panel.as_chunks::<PANEL>().0.iter().enumerate() {
                for (acc, a) in acc.iter_mut().zip(a) {
                    for (acc, &b) in acc.iter_mut().zip(b) {
                        *acc += a[i] * b;
                    }
                }
            }
            for (row, acc) in tile.zip(acc) {
                for (y, v) in c[row * ldc + first..][..wide].iter_mut().zip(acc) {
                    *y = bounds.clamp(v);
                }
            }
        }
    }
}
