//! A host: it keeps the log, and runs bodies on threads of its own.

#![expect(unsafe_code, reason = "the other side of the boundary")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::null;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fewbit_abi as abi;

/// Lines of the log.
pub(crate) static LOG: Mutex<Vec<(i32, String)>> = Mutex::new(Vec::new());

/// Plugins live in statics: tests that use one take turns.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

unsafe extern "C" fn log(_ctx: *mut c_void, level: i32, target: abi::Str, text: abi::Str) {
    // SAFETY: the SDK gives texts that outlive the call.
    let read = |text: abi::Str| unsafe {
        String::from_utf8(std::slice::from_raw_parts(text.ptr.cast(), text.len).to_vec()).unwrap()
    };
    LOG.lock().unwrap().push((level, format!("{}: {}", read(target), read(text))));
}

unsafe extern "C" fn log_max_level(_ctx: *mut c_void) -> u32 {
    abi::LOG_DEBUG as u32
}

struct Shared(*mut c_void);
// SAFETY: the header lets bodies run on any thread.
unsafe impl Sync for Shared {}

unsafe extern "C" fn parallel_for(
    _ctx: *mut c_void,
    n: u32,
    body: Option<unsafe extern "C" fn(*mut c_void, u32)>,
    arg: *mut c_void,
) {
    let (body, arg) = (body.unwrap(), &Shared(arg));
    std::thread::scope(|scope| {
        for first in 0..3 {
            scope.spawn(move || {
                for index in (first..n).step_by(3) {
                    // SAFETY: what the SDK handed over.
                    unsafe { body(arg.0, index) };
                }
            });
        }
    });
}

struct Family(abi::ExtHostParallel);
// SAFETY: it holds no pointer that is used.
unsafe impl Sync for Family {}
static PARALLEL: Family = Family(abi::ExtHostParallel {
    struct_size: size_of::<abi::ExtHostParallel>() as u32,
    threads: 3,
    ctx: std::ptr::null_mut(),
    parallel_for: Some(parallel_for),
});

unsafe extern "C" fn get_extension(_ctx: *mut c_void, id: *const c_char) -> *const c_void {
    // SAFETY: ids end with NUL.
    if unsafe { CStr::from_ptr(id) } == abi::EXT_HOST_PARALLEL {
        (&raw const PARALLEL.0).cast()
    } else {
        null()
    }
}

/// A host that has everything.
pub(crate) fn host() -> abi::Host {
    abi::Host {
        struct_size: size_of::<abi::Host>() as u32,
        abi_major: 1,
        abi_minor: 0,
        ctx: std::ptr::null_mut(),
        log: Some(log),
        log_max_level: Some(log_max_level),
        get_extension: Some(get_extension),
    }
}

/// A host whose struct ends behind the version.
pub(crate) fn older_host() -> [u32; 2] {
    [8, 1]
}

/// The message of an error.
pub(crate) fn message(error: &abi::Error) -> &str {
    // SAFETY: it ends with NUL: it is cleared by the host and the SDK leaves the last byte alone.
    unsafe { CStr::from_ptr(error.message.as_ptr()) }.to_str().unwrap()
}
