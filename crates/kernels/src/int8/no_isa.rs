//! Stands in for [`super::isa`] on architectures without inner loops of their own: no [`Isa`] exists there.

use super::Sink;
use super::dense::PanelJob;
use super::depthwise::{Planes, RowsJob};
use crate::tier::TierToken;

/// No instruction set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Isa {}

impl Isa {
    pub(super) fn new(_: TierToken) -> Option<Self> {
        None
    }

    pub(super) fn lanes(self) -> usize {
        match self {}
    }

    pub(super) fn most_vectors(self) -> usize {
        match self {}
    }

    pub(super) fn depthwise_block(self) -> usize {
        match self {}
    }

    pub(super) fn depthwise_copies(self, _: usize) -> usize {
        match self {}
    }

    pub(super) fn packed_bytes(self) -> usize {
        match self {}
    }

    pub(super) fn pack(self, _: &mut [u8], _: usize, _: usize, _: i8) {
        match self {}
    }

    pub(super) fn weight_bytes(self) -> usize {
        match self {}
    }

    pub(super) fn pack_nibbles(self, _: &[u8], _: &mut [u8]) {
        match self {}
    }

    pub(super) fn expand_nibbles(self, _: &[u8], _: &mut [u8]) {
        match self {}
    }

    pub(super) fn panel(self, _: &PanelJob<'_>, _: &mut Sink<'_>) {
        match self {}
    }

    pub(super) fn interleave(self, _: &Planes<'_>, _: &mut [u8]) {
        match self {}
    }

    pub(super) fn depthwise_rows(self, _: &RowsJob<'_>, _: &mut Sink<'_>) {
        match self {}
    }
}
