//! The right-hand matrix of a product in panels: what a tile reads for its columns lies in one stream.
//!
//! A matrix of `n` columns and `k` rows becomes panels of [`Width::panel`] columns, each `[k][panel]`; the last one is
//! as many whole vectors wide as it needs. Columns beyond `n` are zero.

use bytemuck::{Pod, Zeroable};

use crate::tier::{Tier, TierToken};

/// Columns of a vector register and of a panel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Width {
    pub(super) vector: usize,
    pub(super) panel: usize,
}

impl Width {
    pub(super) fn of(token: TierToken) -> Self {
        match token.tier() {
            #[cfg(target_arch = "x86_64")]
            Tier::Avx512Vnni => Self { vector: 16, panel: 32 },
            #[cfg(target_arch = "x86_64")]
            Tier::Avx2 | Tier::AvxVnni => Self { vector: 8, panel: 16 },
            _ => Self { vector: 8, panel: 8 },
        }
    }

    /// `n` columns rounded up to whole vectors.
    pub(super) fn columns(self, n: usize) -> usize {
        n.next_multiple_of(self.vector)
    }

    /// Writes `k` rows of `n` columns, `at(row, column)`, into the panels that hold them.
    pub(super) fn pack(self, k: usize, n: usize, packed: &mut [f32], at: impl Fn(usize, usize) -> f32) {
        for first in (0..n).step_by(self.panel) {
            let wide = self.columns(n - first).min(self.panel);
            let panel = &mut packed[first * k..][..wide * k];
            for (row, out) in panel.chunks_exact_mut(wide).enumerate() {
                for (column, y) in out.iter_mut().enumerate() {
                    *y = if first + column < n { at(row, first + column) } else { 0.0 };
                }
            }
        }
    }
}

/// A cache line of elements.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([f32; 16]);

/// Elements whose first is aligned to a cache line.
#[derive(Debug, Clone)]
pub(super) struct Aligned {
    lines: Vec<Line>,
    len: usize,
}

impl Aligned {
    pub(super) fn zeroed(len: usize) -> Self {
        Self { lines: vec![Line([0.0; 16]); len.div_ceil(16)], len }
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}
