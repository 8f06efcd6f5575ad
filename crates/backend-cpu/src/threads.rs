//! Threads: static cuts of a step's units, so that results do not depend on how many threads there are.

use std::ops::Range;
use std::sync::Arc;

use fewbit_core::error::Result;
use fewbit_core::{CoreError, CoreErrorKind};
use fewbit_kernels::{KernelError, Scratch};

/// Work below this many operations is not worth a second thread.
const WORTH_A_THREAD: u64 = 50_000;

/// The threads of one executable; one thread means the caller's.
#[derive(Debug, Clone)]
pub(crate) struct Threads {
    count: usize,
    pool: Option<Arc<rayon::ThreadPool>>,
}

impl Threads {
    pub(crate) fn new(count: usize) -> Result<Self> {
        let count = count.max(1);
        let pool = (count > 1)
            .then(|| rayon::ThreadPoolBuilder::new().num_threads(count).build().map(Arc::new))
            .transpose()
            .map_err(|error| {
                CoreError::new(CoreErrorKind::Backend, format!("cannot start {count} threads: {error}"))
                    .help("ask for fewer --threads")
            })?;
        Ok(Self { count, pool })
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// Cuts `units` into one contiguous part per thread and runs `work` on each with its part of `out`.
    ///
    /// `range_of` tells the elements of `out` that some units cover; `operations` is the size of the whole work.
    pub(crate) fn split<T: Send>(
        &self,
        units: usize,
        operations: u64,
        range_of: impl Fn(Range<usize>) -> Range<usize>,
        out: &mut [T],
        scratch: &mut [Scratch],
        work: impl Fn(Range<usize>, &mut [T], &mut Scratch) -> Result<(), KernelError> + Sync,
    ) -> Result<(), KernelError> {
        let parts =
            self.count.min(units).min(usize::try_from(operations / WORTH_A_THREAD).unwrap_or(usize::MAX));
        let (Some(pool), true) = (&self.pool, parts > 1) else {
            return match scratch.first_mut() {
                Some(scratch) => work(0..units, out, scratch),
                None => work(0..units, out, &mut Scratch::default()),
            };
        };
        let mut results: Vec<Result<(), KernelError>> = (0..parts).map(|_| Ok(())).collect();
        let mut rest = out;
        let mut taken = 0;
        pool.in_place_scope(|scope| {
            for ((part, result), scratch) in results.iter_mut().enumerate().zip(scratch.iter_mut()) {
                let units = part * units / parts..(part + 1) * units / parts;
                let end = range_of(units.clone()).end;
                let (mine, others) = std::mem::take(&mut rest).split_at_mut(end - taken);
                rest = others;
                taken = end;
                let work = &work;
                let run = move || *result = work(units, mine, scratch);
                if part + 1 == parts {
                    // The last part runs here; the others are under way.
                    run();
                } else {
                    scope.spawn(move |_| run());
                }
            }
        });
        results.into_iter().collect()
    }
}
