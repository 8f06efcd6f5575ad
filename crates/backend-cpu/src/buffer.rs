//! Memory of one context: buffers aligned to cache lines, seen as elements of any type.

use bytemuck::{Pod, Zeroable};
use fewbit_core::ir::DType;

/// A cache line.
#[derive(Debug, Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// A block of memory aligned to cache lines.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
}

impl Buffer {
    pub(crate) fn zeroed(bytes: usize) -> Self {
        Self { lines: vec![Line([0; 64]); bytes.div_ceil(64)] }
    }

    pub(crate) fn of<T: Pod>(elements: &[T]) -> Self {
        let bytes: &[u8] = bytemuck::cast_slice(elements);
        let mut this = Self::zeroed(bytes.len());
        this.slice_mut::<u8>(bytes.len()).copy_from_slice(bytes);
        this
    }

    /// The first `len` elements.
    pub(crate) fn slice<T: Pod>(&self, len: usize) -> &[T] {
        &bytemuck::cast_slice(&self.lines)[..len]
    }

    /// The first `len` elements, to write to.
    pub(crate) fn slice_mut<T: Pod>(&mut self, len: usize) -> &mut [T] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..len]
    }
}

/// Where the elements of a value are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// In a buffer of the context: virtual while compiling, real afterwards.
    Buffer(usize),
    /// In an input of the run.
    Input(usize),
    /// In a constant of the executable.
    Constant(usize),
}

/// Order of a value's elements in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// As the program says: row-major.
    Plain,
    /// Axis 1 (channels) innermost.
    Last,
}

/// One physical form of a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Slot {
    pub(crate) place: Place,
    /// Storage type: i8 is u8 with 128 added, unless it still lies in an input.
    pub(crate) dtype: DType,
    pub(crate) elements: usize,
    pub(crate) layout: Layout,
}

impl Slot {
    pub(crate) fn bytes(&self) -> usize {
        self.dtype.byte_len(self.elements).unwrap_or(usize::MAX)
    }
}

/// Real buffers for virtual ones.
#[derive(Debug, Clone, Default)]
pub(crate) struct MemoryPlan {
    /// Per virtual buffer, the real one.
    pub(crate) real: Vec<usize>,
    /// Bytes of each real buffer.
    pub(crate) sizes: Vec<usize>,
}

/// A virtual buffer's size and the first and last step that touch it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) bytes: usize,
    pub(crate) first: usize,
    pub(crate) last: usize,
}

impl MemoryPlan {
    /// Assigns real buffers in the order of first use: the free one that fits tightest, else the largest free one,
    /// grown, else a new one. Buffers that live at the same step never share.
    pub(crate) fn new(lifetimes: &[Lifetime]) -> Self {
        let mut order: Vec<usize> = (0..lifetimes.len()).collect();
        order.sort_by_key(|&id| (lifetimes[id].first, std::cmp::Reverse(lifetimes[id].bytes)));
        let mut plan = Self { real: vec![0; lifetimes.len()], sizes: Vec::new() };
        let mut busy_until: Vec<usize> = Vec::new();
        for id in order {
            let life = lifetimes[id];
            let free = (0..plan.sizes.len()).filter(|&real| busy_until[real] < life.first);
            let fits = free
                .clone()
                .filter(|&real| plan.sizes[real] >= life.bytes)
                .min_by_key(|&real| plan.sizes[real]);
            let real = fits.or_else(|| free.max_by_key(|&real| plan.sizes[real])).unwrap_or_else(|| {
                plan.sizes.push(0);
                busy_until.push(0);
                plan.sizes.len() - 1
            });
            plan.sizes[real] = plan.sizes[real].max(life.bytes);
            busy_until[real] = life.last;
            plan.real[id] = real;
        }
        plan
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chain_needs_two_buffers() {
        let lives: Vec<Lifetime> =
            (0..10).map(|at| Lifetime { bytes: 100, first: at, last: at + 1 }).collect();
        assert_eq!(MemoryPlan::new(&lives).sizes, vec![100, 100]);
    }

    proptest! {
        #[test]
        fn buffers_that_live_together_never_share(
            lives in prop::collection::vec((0usize..1000, 0usize..40, 0usize..10), 0..60)
        ) {
            let lives: Vec<Lifetime> =
                lives.into_iter().map(|(bytes, first, more)| Lifetime { bytes, first, last: first + more }).collect();
            let plan = MemoryPlan::new(&lives);
            for (a, x) in lives.iter().enumerate() {
                prop_assert!(plan.sizes[plan.real[a]] >= x.bytes);
                for (b, y) in lives.iter().enumerate().skip(a + 1) {
                    let together = x.first <= y.last && y.first <= x.last;
                    prop_assert!(!(together && plan.real[a] == plan.real[b]), "{x:?} {y:?}");
                }
            }
        }
    }
}
