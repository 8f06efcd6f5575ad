//! Weights in 8 or 4 bits for float arithmetic: codes in memory, floats only while a few panels are multiplied.
//!
//! A product with few rows (a classifier, a language model's step) takes as long as its weights take to arrive from
//! memory, so a quarter or an eighth of the bytes is what counts. Panels are decoded into working memory right before
//! all rows of a block walk over them; decoding is `code * scale`, rounded once, so the results are those of the float
//! kernel over decoded weights, bit for bit.

use super::panel::{Aligned, Width};
use crate::tier::TierToken;
use crate::tiered::tiered;

/// Decoded floats that stay in the second-level cache.
const DECODED: usize = 64 * 1024;

/// Codes of one matrix per group, in the panels' order.
#[derive(Debug)]
pub(super) struct SmallWeights {
    width: Width,
    k: usize,
    /// Columns of a group.
    n: usize,
    codes: Codes,
    /// Per group one scale for each column, zero where columns are padding.
    scales: Aligned,
}

/// Codes of all groups, each column padded as panels are.
#[derive(Debug)]
enum Codes {
    /// One to a byte, `[k][columns of the panel]`.
    Eight(Vec<i8>),
    /// Two rows to a byte, the even one in the low half, `[k / 2 rounded up][columns of the panel]`.
    Four(Vec<u8>),
}

impl SmallWeights {
    /// Packs `codes`, `[group][n][k]`, with one scale per column or one for all; in 4 bits where all lie in -8..=7 and
    /// `four` allows it.
    pub(super) fn new(
        token: TierToken,
        groups: usize,
        n: usize,
        k: usize,
        codes: &[i8],
        scales: &[f32],
        four: bool,
    ) -> Self {
        let width = Width::of(token);
        let columns = width.columns(n);
        let mut padded = Aligned::zeroed(groups * columns);
        for (group, out) in padded.as_mut_slice().chunks_exact_mut(columns).enumerate() {
            for (column, scale) in out.iter_mut().take(n).enumerate() {
                *scale = scales[if scales.len() == 1 { 0 } else { group * n + column }];
            }
        }
        let at = |group: usize, row: usize, column: usize| {
            if row < k && column < n { codes[(group * n + column) * k + row] } else { 0 }
        };
        // (group, first column, columns) of every panel, in the order of memory.
        let panels = (0..groups).flat_map(|group| {
            (0..n)
                .step_by(width.panel)
                .map(move |first| (group, first, width.columns(n - first).min(width.panel)))
        });
        let codes = if four && codes.iter().all(|code| (-8..=7).contains(code)) {
            let mut packed = Vec::with_capacity(groups * columns * k.div_ceil(2));
            for (group, first, wide) in panels {
                for row in (0..k).step_by(2) {
                    packed.extend((first..first + wide).map(|column| {
                        (at(group, row, column) as u8 & 15) | (at(group, row + 1, column) as u8) << 4
                    }));
                }
            }
            Codes::Four(packed)
        } else {
            let mut packed = Vec::with_capacity(groups * columns * k);
            for (group, first, wide) in panels {
                for row in 0..k {
                    packed.extend((first..first + wide).map(|column| at(group, row, column)));
                }
            }
            Codes::Eight(packed)
        };
        Self { width, k, n, codes, scales: padded }
    }

    /// Whether codes take four bits.
    pub(super) fn is_four(&self) -> bool {
        matches!(self.codes, Codes::Four(_))
    }

    pub(super) fn packed_len(&self) -> usize {
        let codes = match &self.codes {
            Codes::Eight(codes) => codes.len(),
            Codes::Four(codes) => codes.len(),
        };
        codes + size_of_val(self.scales.as_slice())
    }

    /// Columns that are decoded at once: whole panels.
    pub(super) fn columns_at_once(&self) -> usize {
        let panel = self.width.panel;
        (DECODED / (self.k * panel).max(1)).clamp(1, 4) * panel
    }

    /// Floats of working memory that decoding needs.
    pub(super) fn work_len(&self) -> usize {
        let columns = self.columns_at_once().min(self.width.columns(self.n));
        columns * self.k
    }

    /// Decodes `n` columns of a group from column `first` on, which begins a panel, into the panels of a float matrix.
    pub(super) fn decode(&self, token: TierToken, group: usize, first: usize, n: usize, out: &mut [f32]) {
        let (k, panel) = (self.k, self.width.panel);
        let columns = self.width.columns(self.n);
        let rows = match self.codes {
            Codes::Eight(_) => k,
            Codes::Four(_) => k.div_ceil(2),
        };
        for start in (first..first + n).step_by(panel) {
            let wide = self.width.columns(self.n - start).min(panel);
            let scales = &self.scales.as_slice()[group * columns + start..][..wide];
            let from = (group * columns + start) * rows;
            let out = &mut out[(start - first) * k..][..wide * k];
            match &self.codes {
                Codes::Eight(codes) => eight(token, &codes[from..][..wide * rows], scales, out),
                Codes::Four(codes) => four(token, &codes[from..][..wide * rows], scales, out),
            }
        }
    }
}

tiered! {
    /// Decodes rows of as many codes as there are scales.
    fn eight(codes: &[i8], scales: &[f32], out: &mut [f32]) {
        match scales.len() {
            32 => eight_rows::<32>(codes, scales, out),
            16 => eight_rows::<16>(codes, scales, out),
            _ => eight_rows::<8>(codes, scales, out),
        }
    }
}

/// Panels are 8, 16 or 32 columns wide in every tier (see [`Width`]); known widths keep the scales in registers.
#[inline(always)]
fn eight_rows<const W: usize>(codes: &[i8], scales: &[f32], out: &mut [f32]) {
    let Some(scales) = scales.first_chunk::<W>() else { return };
    for (codes, out) in codes.as_chunks::<W>().0.iter().zip(out.as_chunks_mut::<W>().0) {
        for column in 0..W {
            out[column] = f32::from(codes[column]) * scales[column];
        }
    }
}

tiered! {
    /// As [`eight`], two rows to a row of bytes; the second one may be missing in `out`.
    fn four(codes: &[u8], scales: &[f32], out: &mut [f32]) {
        match scales.len() {
            32 => four_rows::<32>(codes, scales, out),
            16 => four_rows::<16>(codes, scales, out),
            _ => four_rows::<8>(codes, scales, out),
        }
    }
}

#[inline(always)]
fn four_rows<const W: usize>(codes: &[u8], scales: &[f32], out: &mut [f32]) {
    let Some(scales) = scales.first_chunk::<W>() else { return };
    let codes = codes.as_chunks::<W>().0;
    let out = out.as_chunks_mut::<W>().0;
    let odd = out.len() % 2;
    let (pairs, last) = out.split_at_mut(out.len() - odd);
    for (codes, rows) in codes.iter().zip(pairs.as_chunks_mut::<2>().0) {
        for column in 0..W {
            rows[0][column] = low(codes[column]) * scales[column];
        }
        for column in 0..W {
            rows[1][column] = f32::from(codes[column] as i8 >> 4) * scales[column];
        }
    }
    if let ([row], Some(codes)) = (last, codes.last()) {
        for column in 0..W {
            row[column] = low(codes[column]) * scales[column];
        }
    }
}

/// The code in the low half of a byte.
#[inline(always)]
fn low(byte: u8) -> f32 {
    f32::from((byte << 4) as i8 >> 4)
}
