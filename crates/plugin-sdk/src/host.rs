//! The host's services: its log and its threads.

#![expect(unsafe_code, reason = "calls the host's function pointers")]

use std::any::Any;
use std::cell::Cell;
use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use fewbit_abi as abi;

use crate::error::{Error, Result, Status, Why};
use crate::raw;

/// How much a line of the log matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// The user must act.
    Error = abi::LOG_ERROR,
    /// A result differs from what was asked for.
    Warn = abi::LOG_WARN,
    /// One line per stage.
    Info = abi::LOG_INFO,
    /// Decisions.
    Debug = abi::LOG_DEBUG,
    /// Everything.
    Trace = abi::LOG_TRACE,
}

/// What the plugin can ask of the program that loaded it.
///
/// Clones are cheap and share the host; after the plugin's end they do nothing.
#[derive(Clone, Debug)]
pub struct Host {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    /// `None` once the plugin has ended. Calls hold the lock for reading, so that none outlives the host.
    functions: RwLock<Option<Functions>>,
}

/// The functions that this host has, copied from its struct.
#[derive(Debug, Clone, Copy)]
struct Functions {
    ctx: *mut c_void,
    log: Option<unsafe extern "C" fn(*mut c_void, i32, abi::Str, abi::Str)>,
    log_max_level: Option<unsafe extern "C" fn(*mut c_void) -> u32>,
    parallel: Option<abi::ExtHostParallel>,
}

// SAFETY: the header allows every one of these functions on any thread, with `ctx`.
unsafe impl Send for Functions {}
// SAFETY: as above, concurrently.
unsafe impl Sync for Functions {}

impl Host {
    /// The host behind the struct that `init` was given; fields that an older host lacks are absent.
    ///
    /// # Safety
    /// `host` is null or points to `struct_size` bytes that the host filled in and that stay valid until
    /// [`Host::end`].
    pub(crate) unsafe fn new(host: *const abi::Host) -> Result<Host> {
        // SAFETY: the caller's promise.
        let size = unsafe { raw::struct_size(host, "host")? };
        macro_rules! field {
            ($name:ident) => {
                if abi::knows!(abi::Host, size, $name) {
                    // SAFETY: the field lies within the bytes that the host filled in.
                    Some(unsafe { (&raw const (*host).$name).read() })
                } else {
                    None
                }
            };
        }
        if field!(abi_major).map(u32::from) != Some(abi::ABI_MAJOR) {
            return Err(Error::new(
                Status::Incompatible,
                "the host has another major version of the interface",
            )
            .because(Why::DEPENDENCY));
        }
        let ctx = field!(ctx).unwrap_or(std::ptr::null_mut());
        let get_extension = field!(get_extension).flatten();
        let parallel = get_extension.and_then(|get_extension| {
            // SAFETY: the host's function with its own context and a text that ends with NUL.
            let family = unsafe { get_extension(ctx, abi::EXT_HOST_PARALLEL.as_ptr()) };
            // SAFETY: an extension is null or a struct of that id, valid as long as the host.
            unsafe { raw::complete(family.cast::<abi::ExtHostParallel>(), "fewbit.host.parallel/1") }
                .ok()
                .copied()
        });
        let functions = Functions {
            ctx,
            log: field!(log).flatten(),
            log_max_level: field!(log_max_level).flatten(),
            parallel,
        };
        Ok(Host { shared: Arc::new(Shared { functions: RwLock::new(Some(functions)) }) })
    }

    /// From here on every clone does nothing; waits for calls in progress.
    pub(crate) fn end(&self) {
        *self.shared.functions.write().unwrap_or_else(PoisonError::into_inner) = None;
    }

    fn with<T>(&self, call: impl FnOnce(Functions) -> T) -> Option<T> {
        let functions = self.shared.functions.read().unwrap_or_else(PoisonError::into_inner);
        (*functions).map(call)
    }

    /// Whether the host keeps lines of this level: what it does not keep need not be put together.
    pub fn enabled(&self, level: Level) -> bool {
        self.with(|host| match (host.log, host.log_max_level) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(_), Some(max)) => {
                // SAFETY: the host's function with its own context.
                let max = unsafe { max(host.ctx) };
                max >= level as u32
            }
        })
        .unwrap_or(false)
    }

    /// Gives the host a line for its log; `target` names the part of the plugin that speaks.
    pub fn log(&self, level: Level, target: &str, text: &str) {
        if !self.enabled(level) {
            return;
        }
        self.with(|host| {
            if let Some(log) = host.log {
                // SAFETY: the host's function with its own context; both texts outlive the call.
                unsafe { log(host.ctx, level as i32, abi::Str::of(target), abi::Str::of(text)) };
            }
        });
    }

    /// The host's threads, where it offers them.
    pub fn parallel(&self) -> Option<Parallel> {
        let threads = self.with(|host| host.parallel.filter(|family| family.parallel_for.is_some()))?;
        Some(Parallel { host: self.clone(), threads: threads?.threads.max(1) })
    }

    /// Runs `body(0)` to `body(n - 1)`, on the host's threads where it offers them, and returns when all are done.
    pub fn for_each(&self, n: u32, body: impl Fn(u32) + Sync) {
        match self.parallel() {
            Some(parallel) => parallel.for_each(n, body),
            None => (0..n).for_each(body),
        }
    }
}

/// The host's threads.
#[derive(Clone, Debug)]
pub struct Parallel {
    host: Host,
    threads: u32,
}

thread_local! {
    /// Whether this thread runs a body: hosts do not allow a loop within a loop.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

impl Parallel {
    /// How many bodies run at once, at least 1.
    pub fn threads(&self) -> u32 {
        self.threads
    }

    /// Runs `body(0)` to `body(n - 1)` and returns when all are done; within a body, and after the plugin's end, on
    /// this thread alone.
    ///
    /// # Panics
    /// With the first panic of a body, when all others are done.
    pub fn for_each<F: Fn(u32) + Sync>(&self, n: u32, body: F) {
        if n <= 1 || INSIDE.get() {
            return (0..n).for_each(body);
        }
        let work = Work { body: &body, panic: Mutex::new(None) };
        let ran = self.host.with(|host| {
            let Some((parallel, run)) = host.parallel.and_then(|family| Some((family, family.parallel_for?)))
            else {
                return false;
            };
            // SAFETY: the host's function with its own context; `work` outlives the call, which returns when every
            // body is done, and `one::<F>` takes what it points to. `F: Sync`, so threads may share it.
            unsafe { run(parallel.ctx, n, Some(one::<F>), (&raw const work).cast_mut().cast()) };
            true
        });
        if ran != Some(true) {
            return (0..n).for_each(body);
        }
        if let Some(panic) = work.panic.into_inner().unwrap_or_else(PoisonError::into_inner) {
            resume_unwind(panic);
        }
    }
}

struct Work<'f, F> {
    body: &'f F,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
}

/// One body on a thread of the host: a panic waits for the caller.
///
/// # Safety
/// `work` points to a `Work<F>` that lives until this returns.
unsafe extern "C" fn one<F: Fn(u32) + Sync>(work: *mut c_void, index: u32) {
    // SAFETY: the caller's promise; shared between threads, hence no `&mut`.
    let work = unsafe { &*work.cast::<Work<'_, F>>() };
    let before = INSIDE.replace(true);
    let panicked = catch_unwind(AssertUnwindSafe(|| (work.body)(index)));
    INSIDE.set(before);
    if let Err(panic) = panicked {
        work.panic.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(panic);
    }
}
