//! What a program becomes: launches of kernels over buffers, and which buffer each tensor uses while.

/// Room behind every buffer, so that vectors may be read over its end.
pub(crate) const SLACK: usize = 64;

/// An argument of a kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Arg {
    /// A tensor of the run.
    Tensor(usize),
    /// A constant of the executable.
    Constant(usize),
    Int(i32),
    Uint(u32),
    Float(f32),
}

/// One launch of a kernel.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Launch {
    pub(crate) kernel: &'static str,
    pub(crate) args: Vec<Arg>,
    /// Work items that have something to do, by dimension.
    pub(crate) items: [usize; 3],
    /// The node it belongs to.
    pub(crate) node: usize,
}

/// A tensor of a run: how long it is and when it is used, by launches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    pub(crate) bytes: usize,
    /// The launch that writes it; inputs are there before the first.
    pub(crate) first: usize,
    /// The last launch that reads it; outputs are read after the last.
    pub(crate) last: usize,
}

/// Buffers that tensors share over time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Memory {
    /// Per tensor, its buffer.
    pub(crate) slots: Vec<usize>,
    /// Per buffer, its bytes.
    pub(crate) bytes: Vec<usize>,
}

impl Memory {
    /// Gives each tensor the free buffer that fits best; two tensors in one buffer are never in use at once.
    pub(crate) fn plan(tensors: &[Lifetime]) -> Memory {
        let mut order: Vec<usize> = (0..tensors.len()).collect();
        order.sort_by_key(|&tensor| (tensors[tensor].first, tensor));
        let mut memory = Memory { slots: vec![0; tensors.len()], bytes: Vec::new() };
        let mut busy_until: Vec<usize> = Vec::new();
        for tensor in order {
            let Lifetime { bytes, first, last } = tensors[tensor];
            let free = (0..busy_until.len()).filter(|&slot| busy_until[slot] < first);
            // What already fits, and wastes least; else what must grow least.
            let best = free.min_by_key(|&slot| {
                let size = memory.bytes[slot];
                (size < bytes, size.abs_diff(bytes))
            });
            let slot = best.unwrap_or_else(|| {
                memory.bytes.push(0);
                busy_until.push(0);
                memory.bytes.len() - 1
            });
            memory.bytes[slot] = memory.bytes[slot].max(bytes);
            busy_until[slot] = last;
            memory.slots[tensor] = slot;
        }
        memory
    }
}

/// A compiled program before it meets a device.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) launches: Vec<Launch>,
    pub(crate) tensors: Vec<Lifetime>,
    pub(crate) constants: Vec<Vec<u8>>,
    /// Per input of the program, its tensor; `None` where nothing reads it.
    pub(crate) inputs: Vec<Option<usize>>,
    /// Per output of the program, where it lies.
    pub(crate) outputs: Vec<Arg>,
    /// Number of nodes.
    pub(crate) nodes: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_in_use_at_once_never_share_a_buffer() {
        let mut state = 7u64;
        let mut below = |end: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % end
        };
        for _ in 0..200 {
            let tensors: Vec<Lifetime> = (0..=below(40))
                .map(|_| {
                    let first = below(30);
                    Lifetime { bytes: below(1000), first, last: first + below(6) }
                })
                .collect();
            let memory = Memory::plan(&tensors);
            for (i, a) in tensors.iter().enumerate() {
                assert!(memory.bytes[memory.slots[i]] >= a.bytes);
                for (j, b) in tensors.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    assert!(!(together && memory.slots[i] == memory.slots[j]), "{a:?} and {b:?}");
                }
            }
        }
    }

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Lifetime> =
            (0..10).map(|at| Lifetime { bytes: 100, first: at, last: at + 1 }).collect();
        assert_eq!(Memory::plan(&chain).bytes, [100, 100]);
    }
}
