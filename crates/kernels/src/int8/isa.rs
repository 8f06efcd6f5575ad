//! The instruction sets with inner loops of their own: the one place that calls them.
#![expect(unsafe_code, reason = "calling functions that need CPU features; the tier token proves them")]

use super::Sink;
use super::dense::PanelJob;
use super::depthwise::{Planes, RowsJob};
use super::{avx2, avx512, nibbles};
use crate::tier::{Tier, TierToken};

/// An instruction set that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Isa {
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Avx2,
    AvxVnni,
    Avx512,
}

impl Isa {
    /// The instruction set of a tier, `None` for the scalar one.
    pub(super) fn new(token: TierToken) -> Option<Self> {
        let kind = match token.tier() {
            Tier::Scalar => return None,
            Tier::Avx2 => Kind::Avx2,
            Tier::AvxVnni => Kind::AvxVnni,
            Tier::Avx512Vnni => Kind::Avx512,
        };
        Some(Self { kind })
    }

    /// 32-bit lanes of a register.
    pub(super) fn lanes(self) -> usize {
        match self.kind {
            Kind::Avx2 | Kind::AvxVnni => avx2::LANES,
            Kind::Avx512 => avx512::LANES,
        }
    }

    /// Registers across the widest panel. Panels of that width fill a unit of a single pixel evenly.
    pub(super) fn most_vectors(self) -> usize {
        match self.kind {
            Kind::Avx2 | Kind::AvxVnni => avx2::gemm::MOST_VECTORS,
            Kind::Avx512 => avx512::gemm::MOST_VECTORS,
        }
    }

    /// Channels of a block of a depthwise convolution: four registers of lanes.
    pub(super) fn depthwise_block(self) -> usize {
        4 * self.lanes()
    }

    /// Bytes of packed weights per register of accumulators and step of four products.
    pub(super) fn packed_bytes(self) -> usize {
        match self.kind {
            Kind::Avx2 => avx2::packed_bytes(false),
            Kind::AvxVnni => avx2::packed_bytes(true),
            Kind::Avx512 => avx512::PACKED,
        }
    }

    /// Puts weight `w`, product `k` of 4 of lane `lane`, into the packed bytes of a step.
    pub(super) fn pack(self, bytes: &mut [u8], lane: usize, k: usize, w: i8) {
        match self.kind {
            Kind::Avx2 => avx2::pack(false, bytes, lane, k, w),
            Kind::AvxVnni => avx2::pack(true, bytes, lane, k, w),
            Kind::Avx512 => bytes[lane * 4 + k] = w as u8,
        }
    }

    /// Bytes of one packed weight.
    pub(super) fn weight_bytes(self) -> usize {
        match self.kind {
            Kind::Avx2 => 2,
            Kind::AvxVnni | Kind::Avx512 => 1,
        }
    }

    /// Packs the bytes of a panel of weights of four bits, two weights in a byte.
    pub(super) fn pack_nibbles(self, bytes: &[u8], packed: &mut [u8]) {
        match self.kind {
            Kind::Avx2 => nibbles::pack::<i16>(bytemuck::cast_slice(bytes), packed),
            Kind::AvxVnni | Kind::Avx512 => nibbles::pack::<i8>(bytemuck::cast_slice(bytes), packed),
        }
    }

    /// Expands what [`Isa::pack_nibbles`] packed; `bytes` begins at a cache line.
    pub(super) fn expand_nibbles(self, packed: &[u8], bytes: &mut [u8]) {
        // SAFETY: as in `panel`.
        unsafe {
            match self.kind {
                Kind::Avx2 => avx2::expand_wide(packed, bytemuck::cast_slice_mut(bytes)),
                Kind::AvxVnni => avx2::expand(packed, bytemuck::cast_slice_mut(bytes)),
                Kind::Avx512 => avx512::expand(packed, bytemuck::cast_slice_mut(bytes)),
            }
        }
    }

    /// Computes one panel of a block.
    pub(super) fn panel(self, job: &PanelJob<'_>, sink: &mut Sink<'_>) {
        // SAFETY: `Isa::new` took a token of the tier, so the CPU has the features of its functions.
        unsafe {
            match self.kind {
                Kind::Avx2 => avx2::gemm::plain::panel(job, sink),
                Kind::AvxVnni => avx2::gemm::vnni::panel(job, sink),
                Kind::Avx512 => avx512::gemm::panel(job, sink),
            }
        }
    }

    /// How often `channels` channels fit a block, as far as there is code for it.
    pub(super) fn depthwise_copies(self, channels: usize) -> usize {
        match self.kind {
            Kind::Avx2 | Kind::AvxVnni => 1,
            Kind::Avx512 => avx512::depthwise::copies(channels),
        }
    }

    /// Interleaves the rows of a block of channels.
    pub(super) fn interleave(self, job: &Planes<'_>, planes: &mut [u8]) {
        // SAFETY: as in `panel`.
        unsafe {
            match self.kind {
                Kind::Avx2 | Kind::AvxVnni => avx2::depthwise::interleave(job, planes),
                Kind::Avx512 => avx512::depthwise::interleave(job, planes),
            }
        }
    }

    /// Computes rows of a depthwise convolution.
    pub(super) fn depthwise_rows(self, job: &RowsJob<'_>, sink: &mut Sink<'_>) {
        // SAFETY: as in `panel`.
        unsafe {
            match self.kind {
                Kind::Avx2 => avx2::depthwise::plain::rows(job, sink),
                Kind::AvxVnni => avx2::depthwise::vnni::rows(job, sink),
                Kind::Avx512 => avx512::depthwise::rows(job, sink),
            }
        }
    }
}
