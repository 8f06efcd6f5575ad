//! Shared memory: sealed files that live in memory, and how tensors lie in them.

#![expect(unsafe_code, reason = "maps memory that another process sees")]

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use memmap2::{Mmap, MmapMut, MmapOptions};
use rustix::fs::{MemfdFlags, SealFlags};

use crate::adapter::SlotOf;

/// Bytes before, between and behind tensors; a multiple of every alignment that kernels ask for.
const GUARD: usize = 256;
/// What guards are filled with.
const GUARD_BYTE: u8 = 0xa5;

/// Where tensors lie, with a guard on each side of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Layout {
    /// Offset and length of each tensor.
    pub(crate) spans: Vec<(usize, usize)>,
    /// Bytes of all.
    pub(crate) bytes: usize,
}

impl Layout {
    pub(crate) fn of(slots: &[SlotOf]) -> Self {
        let mut at = GUARD;
        let spans = slots
            .iter()
            .map(|slot| {
                let span = (at, slot.bytes);
                at += slot.bytes.next_multiple_of(GUARD) + GUARD;
                span
            })
            .collect();
        Self { spans, bytes: at }
    }

    /// Fills everything that is no tensor.
    pub(crate) fn set_guards(&self, memory: &mut [u8]) {
        for (start, end) in self.gaps() {
            memory[start..end].fill(GUARD_BYTE);
        }
    }

    /// The tensor behind (or, for the first, before) which a guard was written to.
    pub(crate) fn broken_guard(&self, memory: &[u8]) -> Option<usize> {
        let broken = |(start, end): (usize, usize)| memory[start..end].iter().any(|&byte| byte != GUARD_BYTE);
        // The gap behind a tensor is that before the next; writing behind the end is the commoner mistake.
        Some(self.gaps().position(broken)?.saturating_sub(1))
    }

    /// The tensors in `memory`, each to write to.
    pub(crate) fn split<'m>(&self, memory: &'m mut [u8]) -> Vec<&'m mut [u8]> {
        let mut rest = memory;
        let mut at = 0;
        let mut tensors = Vec::with_capacity(self.spans.len());
        for &(start, len) in &self.spans {
            let (_, tail) = std::mem::take(&mut rest).split_at_mut(start - at);
            let (tensor, tail) = tail.split_at_mut(len);
            tensors.push(tensor);
            rest = tail;
            at = start + len;
        }
        tensors
    }

    /// What lies before each tensor and behind the last.
    fn gaps(&self) -> impl Iterator<Item = (usize, usize)> + '_ {
        let starts = std::iter::once(0).chain(self.spans.iter().map(|(start, len)| start + len));
        let ends = self.spans.iter().map(|(start, _)| *start).chain(std::iter::once(self.bytes));
        starts.zip(ends)
    }
}

/// Memory of the host that a worker sees.
pub(crate) struct Memory {
    descriptor: OwnedFd,
    map: MmapMut,
}

impl Memory {
    /// Zeros of a size that nobody can change.
    pub(crate) fn new(name: &str, bytes: usize) -> std::io::Result<Self> {
        let descriptor = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&descriptor, bytes.max(1) as u64)?;
        // A worker that could shrink the file could end this process by a bus error.
        rustix::fs::fcntl_add_seals(&descriptor, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        // SAFETY: the file is sealed against shrinking, so every page stays. The worker may write to it at any time:
        // bytes are only copied in and out, and nothing is believed because it was there before.
        let map = unsafe { MmapOptions::new().len(bytes.max(1)).map_mut(&descriptor)? };
        Ok(Self { descriptor, map })
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.map
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.map
    }
}

impl AsFd for Memory {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.descriptor.as_fd()
    }
}

/// The worker's view of memory that it may only read: a write ends the process.
pub(super) fn map_to_read(descriptor: OwnedFd, bytes: usize) -> std::io::Result<Mmap> {
    let file = checked(descriptor, bytes)?;
    // SAFETY: the file is sealed against shrinking; the host writes to it only between runs.
    unsafe { MmapOptions::new().len(bytes.max(1)).map(&file) }
}

/// The worker's view of memory that it may write.
pub(super) fn map_to_write(descriptor: OwnedFd, bytes: usize) -> std::io::Result<MmapMut> {
    let file = checked(descriptor, bytes)?;
    // SAFETY: the file is sealed against shrinking; the host reads it only between runs.
    unsafe { MmapOptions::new().len(bytes.max(1)).map_mut(&file) }
}

fn checked(descriptor: OwnedFd, bytes: usize) -> std::io::Result<File> {
    let file = File::from(descriptor);
    if file.metadata()?.len() < bytes.max(1) as u64 {
        return Err(std::io::Error::other("the shared memory is shorter than what lies in it"));
    }
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(bytes: usize) -> SlotOf {
        SlotOf { value: 0, dims: vec![bytes as i64], bytes }
    }

    #[test]
    fn tensors_do_not_touch_and_every_gap_is_guarded() {
        let layout = Layout::of(&[slot(10), slot(0), slot(256)]);
        let mut memory = Memory::new("test", layout.bytes).unwrap();
        layout.set_guards(memory.bytes_mut());
        assert_eq!(layout.broken_guard(memory.bytes()), None);
        let lengths: Vec<usize> =
            layout.split(memory.bytes_mut()).iter().map(|tensor| tensor.len()).collect();
        assert_eq!(lengths, [10, 0, 256]);
        for (index, &(start, len)) in layout.spans.iter().enumerate() {
            for (at, expected) in [(start + len, index), (start - 1, index.saturating_sub(1))] {
                let before = memory.bytes()[at];
                memory.bytes_mut()[at] = 7;
                assert_eq!(layout.broken_guard(memory.bytes()), Some(expected), "byte {at}");
                memory.bytes_mut()[at] = before;
            }
        }
    }

    #[test]
    fn memory_cannot_be_shrunk() {
        let memory = Memory::new("test", 8192).unwrap();
        assert!(rustix::fs::ftruncate(memory.as_fd(), 1).is_err());
    }
}
