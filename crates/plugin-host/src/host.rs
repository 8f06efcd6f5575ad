//! What the host offers a plugin: a log and threads.

#![expect(unsafe_code, reason = "these functions are called by foreign code with pointers")]

use std::ffi::{CStr, c_char, c_void};

use fewbit_abi as abi;

/// Bytes of a log line that are kept.
const LINE_MAX: usize = 4096;

/// Where log lines of a plugin go: level, target, text.
pub(crate) type LogSink = Box<dyn Fn(i32, &str, &str) + Send + Sync>;

/// What lies behind `fewbit_host.ctx`.
struct Context {
    log: LogSink,
    level: u32,
    parallel: abi::ExtHostParallel,
}

/// The host's table with what it points to; never freed, because a plugin that is never unloaded may keep it.
pub(crate) fn table(log: LogSink, level: u32) -> &'static abi::Host {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let context: &'static Context = Box::leak(Box::new(Context {
        log,
        level,
        parallel: abi::ExtHostParallel {
            struct_size: size_of::<abi::ExtHostParallel>() as u32,
            threads: u32::try_from(threads).unwrap_or(1),
            ctx: std::ptr::null_mut(),
            parallel_for: Some(parallel_for),
        },
    }));
    Box::leak(Box::new(abi::Host {
        struct_size: size_of::<abi::Host>() as u32,
        abi_major: abi::ABI_MAJOR as u16,
        abi_minor: abi::ABI_MINOR as u16,
        ctx: std::ptr::from_ref(context).cast_mut().cast(),
        log: Some(log_line),
        log_max_level: Some(log_max_level),
        get_extension: Some(get_extension),
    }))
}

/// The text of a plugin, as far as it is one.
///
/// # Safety
/// `text` points to `len` bytes, or `len` is 0.
unsafe fn text(text: abi::Str) -> String {
    if text.ptr.is_null() {
        return String::new();
    }
    // SAFETY: the caller upholds that the bytes can be read; no more than a line of them are.
    let bytes = unsafe { std::slice::from_raw_parts(text.ptr.cast::<u8>(), text.len.min(LINE_MAX)) };
    String::from_utf8_lossy(bytes).into_owned()
}

unsafe extern "C" fn log_line(ctx: *mut c_void, level: i32, target: abi::Str, line: abi::Str) {
    // SAFETY: `ctx` is the leaked context that `table` gave the plugin, and header rule R2 lends both texts to this call.
    let (context, target, line) = unsafe { (&*ctx.cast::<Context>(), text(target), text(line)) };
    if u32::try_from(level).is_ok_and(|level| level <= context.level) {
        (context.log)(level, &target, &line);
    }
}

unsafe extern "C" fn log_max_level(ctx: *mut c_void) -> u32 {
    // SAFETY: `ctx` is the leaked context that `table` gave the plugin.
    unsafe { (*ctx.cast::<Context>()).level }
}

unsafe extern "C" fn get_extension(ctx: *mut c_void, id: *const c_char) -> *const c_void {
    if id.is_null() {
        return std::ptr::null();
    }
    // SAFETY: extension ids end with NUL by the header; `ctx` is the leaked context that `table` gave the plugin.
    let (id, context) = unsafe { (CStr::from_ptr(id), &*ctx.cast::<Context>()) };
    if id == abi::EXT_HOST_PARALLEL { std::ptr::from_ref(&context.parallel).cast() } else { std::ptr::null() }
}

/// A plugin's argument that goes to several threads, as the header says it does.
#[derive(Clone, Copy)]
struct Shared(*mut c_void);

// SAFETY: `parallel_for` is documented to call the body on several threads at once; the plugin vouches for its argument.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    fn get(self) -> *mut c_void {
        self.0
    }
}

unsafe extern "C" fn parallel_for(
    _ctx: *mut c_void,
    n: u32,
    body: Option<unsafe extern "C" fn(arg: *mut c_void, index: u32)>,
    arg: *mut c_void,
) {
    use rayon::prelude::*;
    let Some(body) = body else { return };
    let arg = Shared(arg);
    (0..n).into_par_iter().for_each(|index| {
        // SAFETY: the plugin gave body and argument for exactly this.
        unsafe { body(arg.get(), index) }
    });
}
