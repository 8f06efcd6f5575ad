//! The instruction sets with inner loops of their own: the one place that calls them.
#![expect(unsafe_code, reason = "calling functions that need CPU features; the tier token proves them")]

use super::Sink;
use super::avx512;
use super::dense::PanelJob;
use super::depthwise::{Planes, RowJob};
use crate::tier::{Tier, TierToken};

/// An instruction set that this machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Isa {
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Avx512,
}

impl Isa {
    /// The instruction set of a tier, `None` for the scalar one.
    pub(super) fn new(token: TierToken) -> Option<Self> {
        let kind = match token.tier() {
            Tier::Avx512Vnni => Kind::Avx512,
            _ => return None,
        };
        Some(Self { kind })
    }

    /// 32-bit lanes of a register.
    pub(super) fn lanes(self) -> usize {
        match self.kind {
            Kind::Avx512 => avx512::LANES,
        }
    }

    /// Registers across the widest panel; of a `single` pixel, a divisor of a unit's.
    pub(super) fn most_vectors(self, _single: bool) -> usize {
        match self.kind {
            Kind::Avx512 => avx512::gemm::MOST_VECTORS,
        }
    }

    /// Bytes of packed weights per register of accumulators and step of four products.
    pub(super) fn packed_bytes(self) -> usize {
        match self.kind {
            Kind::Avx512 => 64,
        }
    }

    /// Puts weight `w`, product `k` of 4 of lane `lane`, into the packed bytes of a step.
    pub(super) fn pack(self, bytes: &mut [u8], lane: usize, k: usize, w: i8) {
        match self.kind {
            Kind::Avx512 => bytes[lane * 4 + k] = w as u8,
        }
    }

    /// Computes one panel of a block.
    pub(super) fn panel(self, job: &PanelJob<'_>, sink: &mut Sink<'_>) {
        match self.kind {
            // SAFETY: `Isa::new` took a token of the tier, so the CPU has its features.
            Kind::Avx512 => unsafe { avx512::gemm::panel(job, sink) },
        }
    }

    /// Channels of a block of a depthwise convolution: four registers of lanes.
    pub(super) fn depthwise_block(self) -> usize {
        4 * self.lanes()
    }

    /// Interleaves the rows of a block of channels.
    pub(super) fn interleave(self, job: &Planes<'_>, planes: &mut [u8]) {
        match self.kind {
            // SAFETY: as in `panel`.
            Kind::Avx512 => unsafe { avx512::depthwise::interleave(job, planes) },
        }
    }

    /// Computes a row of a depthwise convolution.
    pub(super) fn depthwise_row(self, job: &RowJob<'_>, sink: &mut Sink<'_>) {
        match self.kind {
            // SAFETY: as in `panel`.
            Kind::Avx512 => unsafe { avx512::depthwise::row(job, sink) },
        }
    }
}
