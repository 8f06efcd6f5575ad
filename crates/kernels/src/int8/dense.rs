//! Convolutions that are matrix products: every one but depthwise, grouped ones group by group.
//!
//! Owns how weights are packed into panels of columns and in which order blocks of output are computed; the inner
//! loops belong to the instruction sets ([`super::avx512`], [`super::avx2`]), the activations to [`super::rows`].

use super::mem::Reads;
use super::rows::Segments;
use super::{Isa, Job};
use crate::scratch::{Aligned, Parts, space};
use crate::shape::ConvShape;

/// Weights of a convolution packed for one instruction set.
#[derive(Debug)]
pub(super) struct Dense {
    isa: Isa,
    segments: Segments,
    /// Column panels of one group; every group has the same.
    panels: Vec<Panel>,
    /// Packed bytes of one group.
    group_bytes: usize,
    /// Slots of one group: its columns rounded up to whole vectors.
    group_slots: usize,
    packed: Aligned,
    /// Whether two weights share a byte of `packed`, and bytes of the largest panel once it is expanded.
    nibbles: Option<usize>,
    /// Output pixels whose activations should be walked at once: see [`block_len`].
    block: usize,
}

/// Neighbouring output channels computed together.
#[derive(Debug, Clone, Copy)]
struct Panel {
    /// First column, within the group.
    column: usize,
    /// Registers across.
    vectors: usize,
    /// Columns that exist.
    columns: usize,
    /// Where its weights begin, within the group.
    offset: usize,
}

/// One panel of a block of output pixels, as an instruction set sees it.
pub(super) struct PanelJob<'a> {
    /// Activations.
    pub(super) reads: Reads<'a>,
    /// Weights, `[segments][steps][vectors]` of the instruction set's packing.
    pub(super) weights: &'a [u8],
    /// Folded bias, a value for every lane.
    pub(super) bias: &'a [i32],
    /// The panel's first slot in the sink's parameters.
    pub(super) slot: usize,
    /// Registers across.
    pub(super) vectors: usize,
    /// Columns that exist: at most the lanes of all vectors, more than those of all but the last.
    pub(super) columns: usize,
    /// Groups of four products in a segment.
    pub(super) steps: usize,
    /// Output element of the first pixel and column.
    pub(super) out_at: usize,
    /// Output elements from one pixel to the next.
    pub(super) out_stride: usize,
}

/// Activation bytes that a block should walk: they stay in the first-level cache while panels pass.
const BLOCK_BYTES: usize = 24 * 1024;
/// A multiple of every tile height.
const BLOCK_STEP: usize = 24;
const LARGEST_BLOCK: usize = 192;

/// Output pixels of a block where `pixels` are cut into nearly equal ones of about `wanted`: at most half as many more.
///
/// A short last block would read all weights once more for a few pixels.
fn block_len(pixels: usize, wanted: usize) -> usize {
    pixels.div_ceil(((pixels + wanted / 2) / wanted).max(1))
}

impl Dense {
    /// Packs weights; with `four_bits` two of them share a byte until their panel is needed.
    pub(super) fn new(isa: Isa, shape: &ConvShape, weights: &[i8], four_bits: bool) -> Self {
        let segments = Segments::new(shape);
        let wide = shape.out_c / shape.groups;
        let lanes = isa.lanes();
        let vector_bytes = segments.count * segments.steps * isa.packed_bytes();
        let single = shape.pixels() == 1;
        let mut panels = Vec::new();
        let mut left = wide.div_ceil(lanes);
        let mut column = 0;
        while left > 0 {
            let most = isa.most_vectors();
            // Panels of nearly equal width; those of a single pixel must end where units do.
            let vectors = if single { most.min(left) } else { left.div_ceil(left.div_ceil(most)) };
            panels.push(Panel {
                column,
                vectors,
                columns: (wide - column).min(vectors * lanes),
                offset: column / lanes * vector_bytes,
            });
            column += vectors * lanes;
            left -= vectors;
        }
        let group_slots = wide.next_multiple_of(lanes);
        let group_bytes = group_slots / lanes * vector_bytes;
        let mut packed = Aligned::zeroed(group_bytes * shape.groups);
        for c in 0..shape.out_c {
            let (group, column) = (c / wide, c % wide);
            let panel =
                panels.iter().rfind(|panel| panel.column <= column).copied().expect("panels cover columns");
            let bytes = &mut packed.bytes_mut()[group * group_bytes + panel.offset..];
            let (vector, lane) = ((column - panel.column) / lanes, (column - panel.column) % lanes);
            for segment in 0..segments.count {
                let taps = &weights[c * shape.depth() + segment * segments.len..][..segments.len];
                for (k, &w) in taps.iter().enumerate() {
                    let step = segment * segments.steps + k / 4;
                    let at = (step * panel.vectors + vector) * isa.packed_bytes();
                    isa.pack(&mut bytes[at..][..isa.packed_bytes()], lane, k % 4, w);
                }
            }
        }
        // Windows overlap: an output pixel brings this much input that its neighbours have not read.
        let fresh = (shape.in_c * shape.stride_h * shape.stride_w).min(shape.depth() * shape.groups);
        let fits = BLOCK_BYTES / fresh.max(1) / BLOCK_STEP * BLOCK_STEP;
        let block = fits.clamp(BLOCK_STEP * 2, LARGEST_BLOCK);
        let mut this = Self { isa, segments, panels, group_bytes, group_slots, packed, nibbles: None, block };
        if four_bits {
            this.halve(shape.groups);
        }
        this
    }

    /// Puts two weights in a byte.
    fn halve(&mut self, groups: usize) {
        let mut packed = Aligned::zeroed(self.stored(self.group_bytes * groups));
        for group in 0..groups {
            for panel in &self.panels {
                let bytes = self.panel_bytes(panel);
                let from = group * self.group_bytes + panel.offset;
                let to = self.stored(from)..self.stored(from + bytes);
                self.isa.pack_nibbles(&self.packed.bytes()[from..][..bytes], &mut packed.bytes_mut()[to]);
            }
        }
        self.packed = packed;
        self.nibbles = self.panels.iter().map(|panel| self.panel_bytes(panel)).max();
    }

    /// Bytes of a panel as inner loops read it.
    fn panel_bytes(&self, panel: &Panel) -> usize {
        self.segments.count * self.segments.steps * panel.vectors * self.isa.packed_bytes()
    }

    /// Bytes that hold so many expanded bytes of weights of four bits.
    fn stored(&self, bytes: usize) -> usize {
        bytes / self.isa.weight_bytes() / 2
    }

    /// Bytes of the packed weights.
    pub(super) fn packed_len(&self) -> usize {
        self.packed.bytes().len()
    }

    /// Slots of one group.
    pub(super) fn group_slots(&self) -> usize {
        self.group_slots
    }

    pub(super) fn work_len(&self, shape: &ConvShape) -> usize {
        self.nibbles.map_or(0, space::<u8>) + self.segments.space(shape, self.longest_block())
    }

    /// Output pixels of the longest block that [`block_len`] gives.
    fn longest_block(&self) -> usize {
        self.block + self.block / 2
    }

    pub(super) fn run(&self, shape: &ConvShape, job: Job<'_>) {
        let Job { input, x_zero, elements, bias, mut sink, work } = job;
        let mut parts = Parts(work);
        let expanded = parts.take::<u8>(self.nibbles.unwrap_or(0));
        let mut table = self.segments.table(shape, input, x_zero, self.longest_block(), &mut parts);
        let wide = shape.out_c / shape.groups;
        let pixels = elements.start / shape.out_c..elements.end.div_ceil(shape.out_c);
        let block_len = block_len(pixels.len(), self.block);
        let mut first = pixels.start;
        while first < pixels.end {
            let block = first..(first + block_len).min(pixels.end);
            table.fill(block.clone());
            for group in 0..shape.groups {
                let reads = table.reads(block.clone(), group);
                for panel in &self.panels {
                    let at = block.start * shape.out_c + group * wide + panel.column;
                    // Units of a single pixel are ranges of panels.
                    if at < elements.start || at >= elements.end {
                        continue;
                    }
                    let slot = group * self.group_slots + panel.column;
                    let slots = panel.vectors * self.isa.lanes();
                    let bytes = self.panel_bytes(panel);
                    let from = group * self.group_bytes + panel.offset;
                    let weights = if self.nibbles.is_some() {
                        let stored = &self.packed.bytes()[self.stored(from)..self.stored(from + bytes)];
                        self.isa.expand_nibbles(stored, &mut expanded[..bytes]);
                        &expanded[..bytes]
                    } else {
                        &self.packed.bytes()[from..][..bytes]
                    };
                    let panel_job = PanelJob {
                        reads,
                        weights,
                        bias: &bias[slot..][..slots],
                        slot,
                        vectors: panel.vectors,
                        columns: panel.columns,
                        steps: self.segments.steps,
                        out_at: at - elements.start,
                        out_stride: shape.out_c,
                    };
                    self.isa.panel(&panel_job, &mut sink);
                }
            }
            first = block.end;
        }
    }
}

impl PanelJob<'_> {
    /// The sink's parameters of this panel's lanes.
    pub(super) fn slots<'a>(&self, parameters: &'a [f32]) -> &'a [f32] {
        &parameters[self.slot..][..self.bias.len()]
    }
}

/// Rows of each tile when `pixels` are cut into as few tiles of at most `most` rows as possible, nearly equal ones.
pub(super) fn tile_rows(pixels: usize, most: usize) -> impl Iterator<Item = (usize, usize)> {
    let tiles = pixels.div_ceil(most);
    let (rows, taller) = (pixels / tiles.max(1), pixels % tiles.max(1));
    (0..tiles).map(move |tile| (tile * rows + tile.min(taller), rows + usize::from(tile < taller)))
}
