//! Loading: from a manifest to a started plugin, one error kind per step.
//!
//! The only place that opens libraries. Libraries are never closed: thread-local destructors and pointers that a
//! plugin keeps outlive it.

#![expect(
    unsafe_code,
    reason = "opening a library runs its constructors; its symbols have the types we give them"
)]

use std::ffi::{CStr, c_char};

use fewbit_abi as abi;
use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::adapter::Api;
use crate::error::{PluginErrorKind, Result};
use crate::host::{self, LogSink};
use crate::manifest::Manifest;

/// glibc's and musl's `RTLD_NODELETE` on Linux.
#[cfg(target_os = "linux")]
const RTLD_NODELETE: i32 = 0x1000;
#[cfg(not(target_os = "linux"))]
const RTLD_NODELETE: i32 = 0x80;

/// What a plugin may be loaded without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct Trust {
    /// Whether the library may be another one than the manifest's hash says: while a plugin is developed.
    pub skip_hash: bool,
}

/// Loads and starts the plugin of a manifest; `stage` is told each step before it is taken.
pub(crate) fn load(
    manifest: &Manifest,
    trust: Trust,
    log: LogSink,
    log_level: u32,
    stage: &mut dyn FnMut(&str),
) -> Result<Api> {
    stage("manifest");
    manifest.check_platform()?;
    if !trust.skip_hash {
        manifest.check_hash()?;
    }
    // The loader looks for a name without a folder in its own places, never beside the manifest.
    let path = std::path::absolute(manifest.library_path())
        .map_err(|error| manifest.refused(PluginErrorKind::Open, error.to_string()))?;
    stage("dlopen");
    // SAFETY: opening runs the library's constructors, which the user asked for by naming the plugin; a caller who does
    // not trust them loads in a worker.
    let library = unsafe { Library::open(Some(&path), RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE) }
        .map_err(|error| manifest.refused(PluginErrorKind::Open, loader_message(&error)))?;
    // The handle is leaked, whatever happens next: see above.
    let library: &'static Library = Box::leak(Box::new(library));
    stage("query");
    // SAFETY: the symbol has this type by the ABI; a library that defines it otherwise is no plugin.
    let query = unsafe { library.get::<abi::Query>(abi::QUERY_SYMBOL.as_bytes()) }.map_err(|_| {
        manifest.refused(
            PluginErrorKind::Symbol,
            format!("expected {} to export {}, found no such function", manifest.library, abi::QUERY_SYMBOL),
        )
    })?;
    // SAFETY: the function may be called at any time with any numbers.
    let table = unsafe { query(abi::ABI_MAJOR, abi::ABI_MINOR) };
    if table.is_null() {
        let message =
            format!("expected a plugin that serves ABI {}, found one that does not", abi::ABI_MAJOR);
        return Err(manifest.refused(PluginErrorKind::Abi, message).during("query"));
    }
    // SAFETY: the query function gives a table that lives as long as the library, which is for ever, and whose first 16
    // bytes say how long it is.
    let api = unsafe { Api::read(table, *query) }.map_err(|error| error.at_file(manifest.path()))?;
    let identity = api.identity();
    for (what, found, wanted) in
        [("id", &identity.id, &manifest.id), ("version", &identity.version, &manifest.version)]
    {
        if found != wanted {
            let message =
                format!("expected a plugin of {what} {wanted}, as the manifest says, found {found}");
            return Err(manifest.refused(PluginErrorKind::Identity, message));
        }
    }
    stage("init");
    api.init(host::table(log, log_level)).map_err(|error| error.at_file(manifest.path()))?;
    Ok(api)
}

/// The loader's message on one line.
fn loader_message(error: &libloading::Error) -> String {
    let mut text = error.to_string();
    if let Some(source) = std::error::Error::source(error) {
        text = format!("{text}: {source}");
    }
    text.replace('\n', ", ")
}

/// The C library's locale, all categories; a library that does not tell has none that a plugin could change.
pub(crate) fn locale() -> Option<String> {
    /// All categories, in glibc and musl.
    const LC_ALL: std::ffi::c_int = 6;
    type SetLocale = unsafe extern "C" fn(std::ffi::c_int, *const c_char) -> *const c_char;
    let this = Library::this();
    // SAFETY: with NULL the function changes nothing and gives a text that lives until its next call.
    let locale = unsafe {
        let text = this.get::<SetLocale>(b"setlocale").ok()?(LC_ALL, std::ptr::null());
        if text.is_null() {
            return None;
        }
        CStr::from_ptr(text)
    };
    Some(locale.to_string_lossy().into_owned())
}

/// The functions that handle signals 1 to 31, as addresses; empty where the C library does not tell.
pub(crate) fn signal_handlers() -> Vec<usize> {
    /// As long as every C library's `struct sigaction` and longer; its first word is the handler.
    type Action = [usize; 64];
    type SigAction = unsafe extern "C" fn(std::ffi::c_int, *const Action, *mut Action) -> std::ffi::c_int;
    let this = Library::this();
    // SAFETY: without a new action the function only writes the present one to memory that is long enough.
    unsafe {
        let Ok(ask) = this.get::<SigAction>(b"sigaction") else { return Vec::new() };
        (1..32)
            .map(|signal| {
                let mut action = [0; 64];
                ask(signal, std::ptr::null(), &raw mut action);
                action[0]
            })
            .collect()
    }
}

/// Name and version of the C library, where it tells.
pub(crate) fn libc_version() -> Option<(&'static str, String)> {
    let this = Library::this();
    // SAFETY: glibc defines this function without arguments, giving a text that is never freed.
    let version = unsafe {
        let function = this.get::<unsafe extern "C" fn() -> *const c_char>(b"gnu_get_libc_version").ok()?;
        CStr::from_ptr(function())
    };
    Some(("glibc", version.to_str().ok()?.to_owned()))
}
