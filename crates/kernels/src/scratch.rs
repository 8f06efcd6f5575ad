//! Working memory that a caller lends to kernels, so that running one allocates nothing.

use bytemuck::{Pod, Zeroable};

use crate::error::KernelError;

/// A cache line: the alignment of everything handed out.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes of one cache line.
pub(crate) const LINE: usize = 64;

/// A reusable block of working memory, one per thread. Its content between calls means nothing.
#[derive(Default)]
pub struct Scratch {
    lines: Vec<Line>,
}

impl Scratch {
    /// Memory of at least `bytes`.
    pub fn with_capacity(bytes: usize) -> Self {
        let mut scratch = Self::default();
        scratch.grow(bytes);
        scratch
    }

    /// Makes room for at least `bytes`; never shrinks.
    pub fn grow(&mut self, bytes: usize) {
        let lines = bytes.div_ceil(LINE);
        if lines > self.lines.len() {
            self.lines.resize(lines, Line([0; LINE]));
        }
    }

    /// Bytes available.
    pub fn capacity(&self) -> usize {
        self.lines.len() * LINE
    }

    /// The first `bytes`, aligned to a cache line; what they hold is left from earlier use.
    pub(crate) fn bytes(&mut self, bytes: usize) -> Result<&mut [u8], KernelError> {
        let capacity = self.capacity();
        bytemuck::cast_slice_mut(&mut self.lines).get_mut(..bytes).ok_or_else(|| {
            KernelError::scratch(format!(
                "expected {bytes} bytes of scratch memory, found {capacity}; grow it to the kernel's scratch_len"
            ))
        })
    }
}

impl std::fmt::Debug for Scratch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Scratch").field("capacity", &self.capacity()).finish()
    }
}

/// Memory of fixed size, aligned to a cache line: packed weights.
pub(crate) struct Aligned {
    lines: Vec<Line>,
}

impl Aligned {
    /// At least `bytes` zeros, rounded up to whole cache lines.
    pub(crate) fn zeroed(bytes: usize) -> Self {
        Self { lines: vec![Line([0; LINE]); bytes.div_ceil(LINE)] }
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.lines)
    }

    pub(crate) fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.lines)
    }
}

impl std::fmt::Debug for Aligned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Aligned").field("bytes", &self.bytes().len()).finish()
    }
}

/// Bytes that `count` elements of `T` take in scratch memory: whole cache lines.
pub(crate) fn space<T>(count: usize) -> usize {
    (count * size_of::<T>()).next_multiple_of(LINE)
}

/// Cuts scratch memory into typed, aligned, disjoint parts.
pub(crate) struct Parts<'a>(pub(crate) &'a mut [u8]);

impl<'a> Parts<'a> {
    /// The next `count` elements. The whole was sized with [`space`] of every part.
    pub(crate) fn take<T: Pod>(&mut self, count: usize) -> &'a mut [T] {
        let (head, tail) = std::mem::take(&mut self.0).split_at_mut(space::<T>(count));
        self.0 = tail;
        &mut bytemuck::cast_slice_mut(head)[..count]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_aligned_and_disjoint() {
        let mut scratch = Scratch::with_capacity(space::<i32>(3) + space::<u8>(65));
        let mut parts = Parts(scratch.bytes(64 + 128).expect("capacity"));
        let a = parts.take::<i32>(3);
        let b = parts.take::<u8>(65);
        a.fill(-1);
        b.fill(1);
        assert!(a.iter().all(|&v| v == -1));
        assert_eq!(b.as_ptr().addr() % LINE, 0);
    }

    #[test]
    fn too_little_is_an_error() {
        assert_eq!(Scratch::with_capacity(64).bytes(65).expect_err("short").code(), "KERN-005");
    }
}
