//! What a program becomes: launches of kernels over buffers, and which buffer each tensor uses while.

use std::sync::Arc;

/// An operand of a launch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Arg {
    /// A tensor of the run.
    Tensor(usize),
    /// A constant of the executable.
    Constant(usize),
}

/// A shader: its text is its identity.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Shader {
    /// What profiles show.
    pub(crate) name: String,
    /// The whole WGSL, with an entry point `main`.
    pub(crate) source: Arc<str>,
}

/// One launch of a kernel: binding 0 is the uniform of `params`, then the operands read, then the one written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Launch {
    pub(crate) shader: Shader,
    pub(crate) reads: Vec<Arg>,
    /// The tensor written.
    pub(crate) write: usize,
    /// The words of the shader's `Params`.
    pub(crate) params: Vec<u32>,
    /// Workgroups along each dimension.
    pub(crate) groups: [u32; 3],
    /// The node it belongs to, by its place in the program's order.
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
        order.sort_by_key(|&tensor| (tensors[tensor].first, std::cmp::Reverse(tensors[tensor].bytes)));
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

/// A constant of the executable, row-major and padded as its reader wants it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Constant {
    pub(crate) bytes: Vec<u8>,
}

/// How one end of the program meets the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Port {
    /// Where it lies, row-major and dense.
    pub(crate) place: Arg,
    /// Bytes without padding.
    pub(crate) bytes: usize,
}

/// A compiled program before it meets a device.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) launches: Vec<Launch>,
    pub(crate) tensors: Vec<Lifetime>,
    pub(crate) constants: Vec<Constant>,
    /// Per input of the program; `None` where nothing reads it.
    pub(crate) inputs: Vec<Option<Port>>,
    /// Per output of the program.
    pub(crate) outputs: Vec<Port>,
    /// Inputs whose elements are indices, and of how many elements.
    pub(crate) checks: Vec<(usize, usize)>,
    /// Names of the nodes, in order.
    pub(crate) nodes: Vec<String>,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_chain_needs_two_buffers() {
        let chain: Vec<Lifetime> =
            (0..10).map(|at| Lifetime { bytes: 100, first: at, last: at + 1 }).collect();
        assert_eq!(Memory::plan(&chain).bytes, [100, 100]);
    }

    proptest! {
        #[test]
        fn tensors_in_use_at_once_never_share_a_buffer(
            lives in prop::collection::vec((0usize..1000, 0usize..40, 0usize..10), 0..60)
        ) {
            let tensors: Vec<Lifetime> =
                lives.into_iter().map(|(bytes, first, more)| Lifetime { bytes, first, last: first + more }).collect();
            let memory = Memory::plan(&tensors);
            for (i, a) in tensors.iter().enumerate() {
                prop_assert!(memory.bytes[memory.slots[i]] >= a.bytes);
                for (j, b) in tensors.iter().enumerate().skip(i + 1) {
                    let together = a.first <= b.last && b.first <= a.last;
                    prop_assert!(!(together && memory.slots[i] == memory.slots[j]), "{a:?} and {b:?}");
                }
            }
        }
    }
}
