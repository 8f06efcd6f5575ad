//! The portable tier's tiles, in a form that a compiler can vectorise for the baseline instruction set.

use super::gemm::{Product, even_tiles};

/// Rows of the largest tile.
pub(super) const TILE_ROWS: usize = 4;
const PANEL: usize = 8;

/// Computes a product; its bounds were checked by the caller, and every access here is checked again.
pub(super) fn product(product: Product<'_>) {
    let Product { a, b, n, bias, bounds, c, ldc } = product;
    let k = a.k();
    for first in (0..n).step_by(PANEL) {
        let panel = b[first * k..][..PANEL * k].as_chunks::<PANEL>().0;
        let bias: &[f32; PANEL] = bias[first..].first_chunk().expect("the bias is padded to whole panels");
        let wide = PANEL.min(n - first);
        for line in 0..a.lines {
            for tile in even_tiles(a.rows, TILE_ROWS) {
                let mut acc = [*bias; TILE_ROWS];
                for (tap, panel) in panel.chunks_exact(a.depth.max(1)).enumerate() {
                    let at = line * a.line_step + tap / a.taps * a.tap_row_step + tap % a.taps * a.tap_step;
                    // Rows beyond the tile repeat its last one; their results are dropped.
                    let rows: [&[f32]; TILE_ROWS] = std::array::from_fn(|r| {
                        &a.data[at + (tile.start + r).min(tile.end - 1) * a.row_step..][..a.depth]
                    });
                    for (i, b) in panel.iter().enumerate() {
                        for (acc, row) in acc.iter_mut().zip(rows) {
                            for (acc, &b) in acc.iter_mut().zip(b) {
                                *acc += row[i] * b;
                            }
                        }
                    }
                }
                for (row, acc) in tile.zip(acc) {
                    for (y, v) in c[(line * a.rows + row) * ldc + first..][..wide].iter_mut().zip(acc) {
                        *y = bounds.clamp(v);
                    }
                }
            }
        }
    }
}
