//! The adapter: safe calls over a plugin's table.
//!
//! The only place that follows pointers of a plugin. Every answer is checked here, once: success without an object,
//! numbers out of range, texts that are none. Objects are freed in the order that the ABI asks for, because each keeps
//! what it was made from.

#![expect(unsafe_code, reason = "calls foreign functions and reads what they point to")]

use std::ffi::{CStr, c_char, c_void};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, PoisonError};

use fewbit_abi::{self as abi, Status};

use crate::error::{PluginError, PluginErrorKind, Result, reasons};
use crate::manifest::DOCUMENT_MAX;
use crate::program::{Program, Span};
use crate::view::View;

/// Bytes that a text of the table may have.
const TEXT_MAX: usize = 1024;
/// Devices that a plugin may have.
const DEVICES_MAX: u32 = 1024;
/// Bytes that a blob may have.
const BLOB_MAX: usize = 4 << 30;

/// Who a plugin says it is.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Identity {
    /// The manifest's id.
    pub id: String,
    /// Who makes it.
    pub vendor: String,
    /// Its version.
    pub version: String,
    /// What tells builds apart.
    pub build: String,
    /// The minor version of the ABI that it was built against.
    pub abi_minor: u32,
}

/// A plugin's table, copied and checked.
pub(crate) struct Api {
    table: abi::Plugin,
    identity: Identity,
    query: abi::Query,
}

// SAFETY: a table's texts and functions live as long as the library and never change; every function says in the header
// which calls may run at once, and the handles below keep to it.
unsafe impl Send for Api {}
// SAFETY: as above.
unsafe impl Sync for Api {}

// The required functions of a table that was checked.
macro_rules! required {
    ($api:expr, $entry:ident) => {
        $api.table.$entry.expect("the table was checked for this function")
    };
}

mod context;
mod wrong;

pub(crate) use context::{ContextHandle, SlotOf, Slots};

impl Api {
    /// Copies and checks a table.
    ///
    /// # Safety
    /// `table` leads to 16 bytes, and as many as its `struct_size` says, that never change; `query` gave it.
    pub(crate) unsafe fn read(table: *const abi::Plugin, query: abi::Query) -> Result<Self> {
        let broken = |message: String| Err(PluginError::new(PluginErrorKind::Table, message).during("query"));
        if !table.is_aligned() {
            return broken("expected an aligned table".to_owned());
        }
        let mut head = [0u32; 4];
        // SAFETY: the first 16 bytes of a table are the same in every version of the ABI.
        unsafe { std::ptr::copy_nonoverlapping(table.cast::<u8>(), head.as_mut_ptr().cast(), 16) };
        let [magic, size, versions, flags] = head;
        let (major, minor) = (versions & 0xffff, versions >> 16);
        if magic != abi::MAGIC {
            return broken(format!(
                "expected a table that begins with {:#010x}, found {magic:#010x}",
                abi::MAGIC
            ));
        }
        if major != abi::ABI_MAJOR {
            return Err(PluginError::new(
                PluginErrorKind::Abi,
                format!("expected a table of ABI {}, found {major}.{minor}", abi::ABI_MAJOR),
            )
            .during("query"));
        }
        let least = std::mem::offset_of!(abi::Plugin, footprint);
        if (size as usize) < least || size as usize > 1 << 16 {
            return broken(format!("expected a table of at least {least} bytes, found {size}"));
        }
        if flags != 0 {
            return broken(format!("expected flags of 0, found {flags:#x}"));
        }
        // All zeros is a table whose texts are empty and whose functions are absent.
        let mut copy = std::mem::MaybeUninit::<abi::Plugin>::zeroed();
        let known = (size as usize).min(size_of::<abi::Plugin>());
        // SAFETY: the table has `size` bytes; null function pointers and empty texts are valid values of the struct.
        let table = unsafe {
            std::ptr::copy_nonoverlapping(table.cast::<u8>(), copy.as_mut_ptr().cast(), known);
            copy.assume_init()
        };
        let missing = [
            ("init", table.init.is_none()),
            ("device_count", table.device_count.is_none()),
            ("device_open", table.device_open.is_none()),
            ("device_close", table.device_close.is_none()),
            ("capabilities", table.capabilities.is_none()),
            ("supports", table.supports.is_none()),
            ("compile", table.compile.is_none()),
            ("executable_free", table.executable_free.is_none()),
            ("context_new", table.context_new.is_none()),
            ("run", table.run.is_none()),
            ("context_free", table.context_free.is_none()),
        ];
        if let Some((name, _)) = missing.iter().find(|(_, absent)| *absent) {
            return broken(format!("expected a function `{name}`, found NULL"));
        }
        // SAFETY: the texts of a table live as long as it does.
        let identity = unsafe {
            Identity {
                id: table_text("id", table.id)?,
                vendor: table_text("vendor", table.vendor)?,
                version: table_text("version", table.version)?,
                build: table_text("build", table.build)?,
                abi_minor: minor,
            }
        };
        Ok(Self { table, identity, query })
    }

    /// Who it says it is.
    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }

    /// The first call.
    pub(crate) fn init(&self, host: &'static abi::Host) -> Result<()> {
        // SAFETY: the host's table is never freed.
        call(PluginErrorKind::Init, "init", |error| unsafe { required!(self, init)(host, error) })
    }

    /// The last call: every object has been freed.
    pub(crate) fn deinit(&self) {
        if let Some(deinit) = self.table.deinit {
            // SAFETY: objects keep the table they were made from, so whoever holds the last one has freed them all.
            unsafe { deinit() }
        }
    }

    pub(crate) fn device_count(&self) -> Result<u32> {
        let mut count = 0;
        // SAFETY: `count` and the error are the callee's to write during the call.
        call(PluginErrorKind::Device, "device_count", |error| unsafe {
            required!(self, device_count)(&raw mut count, error)
        })?;
        if count > DEVICES_MAX {
            let message = format!("expected at most {DEVICES_MAX} devices, found {count}");
            return Err(PluginError::new(PluginErrorKind::Contract, message).during("device_count"));
        }
        Ok(count)
    }

    pub(crate) fn open(self: &Arc<Self>, index: u32) -> Result<Arc<DeviceHandle>> {
        let mut device = std::ptr::null_mut();
        // SAFETY: `device` and the error are the callee's to write during the call.
        call(PluginErrorKind::Device, "device_open", |error| unsafe {
            required!(self, device_open)(index, &raw mut device, error)
        })?;
        let raw = object(device, "device_open")?;
        Ok(Arc::new(DeviceHandle { api: Arc::clone(self), raw }))
    }

    /// Whether executables can be written and read.
    pub(crate) fn has_blobs(&self) -> bool {
        self.table.blob_save.is_some() && self.table.blob_load.is_some()
    }
}

/// One text of a table.
///
/// # Safety
/// `text` leads to `len` bytes, or `len` is 0.
unsafe fn table_text(name: &str, text: abi::Str) -> Result<String> {
    let broken = |message: String| PluginError::new(PluginErrorKind::Table, message).during("query");
    if text.len == 0 {
        return Ok(String::new());
    }
    if text.ptr.is_null() || text.len > TEXT_MAX {
        return Err(broken(format!("expected a `{name}` of at most {TEXT_MAX} bytes")));
    }
    // SAFETY: the caller upholds that the bytes can be read.
    let bytes = unsafe { std::slice::from_raw_parts(text.ptr.cast::<u8>(), text.len) };
    match std::str::from_utf8(bytes) {
        Ok(text) if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(broken(format!("expected a `{name}` of UTF-8 on one line"))),
    }
}

/// Makes one call and reads its error.
fn call(kind: PluginErrorKind, stage: &str, call: impl FnOnce(*mut abi::Error) -> Status) -> Result<()> {
    let mut error = abi::Error::clear();
    let status = call(&raw mut error);
    if status == abi::OK { Ok(()) } else { Err(answer(kind, stage, status, &error)) }
}

/// What a plugin's error says, as far as it can be believed.
fn answer(kind: PluginErrorKind, stage: &str, status: Status, error: &abi::Error) -> PluginError {
    let mut bytes = error.message.map(|c: c_char| c as u8);
    if let Some(last) = bytes.last_mut() {
        *last = 0;
    }
    let text = CStr::from_bytes_until_nul(&bytes).map(CStr::to_string_lossy).unwrap_or_default();
    let text: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    let node = (error.node != abi::ABSENT).then_some(error.node);
    let answered = PluginError::answered(kind, status, error.why, node, text.trim()).during(stage);
    if error.vendor_code == 0 {
        answered
    } else {
        answered.help(format!("the vendor's code is {}", error.vendor_code))
    }
}

fn object<T>(pointer: *mut T, stage: &str) -> Result<NonNull<T>> {
    NonNull::new(pointer).ok_or_else(|| {
        PluginError::new(PluginErrorKind::Contract, "expected an object with success, found NULL")
            .during(stage)
    })
}

/// Bytes that a plugin writes, up to a limit.
struct Collected {
    bytes: Vec<u8>,
    limit: usize,
    refused: bool,
}

/// Lets `call` write to a sink of at most `limit` bytes.
fn collect(
    kind: PluginErrorKind,
    stage: &str,
    limit: usize,
    write: impl FnOnce(*const abi::Sink, *mut abi::Error) -> Status,
) -> Result<Vec<u8>> {
    unsafe extern "C" fn take(ctx: *mut c_void, bytes: *const c_void, len: usize) -> Status {
        // SAFETY: `ctx` is the collection below, which lives during the call and which only one thread writes to.
        let collected = unsafe { &mut *ctx.cast::<Collected>() };
        if len > collected.limit - collected.bytes.len() || (bytes.is_null() && len > 0) {
            collected.refused = true;
            return abi::CANCELLED;
        }
        if len > 0 {
            // SAFETY: header rule R2 lends `len` bytes to this call.
            collected.bytes.extend_from_slice(unsafe { std::slice::from_raw_parts(bytes.cast::<u8>(), len) });
        }
        abi::OK
    }
    let mut collected = Collected { bytes: Vec::new(), limit, refused: false };
    let sink = abi::Sink { ctx: (&raw mut collected).cast(), write: Some(take) };
    let answered = call(kind, stage, |error| write(&raw const sink, error));
    if collected.refused {
        let message = format!("expected at most {limit} bytes, found more");
        return Err(PluginError::new(kind, message).during(stage));
    }
    answered.map(|()| collected.bytes)
}

/// An open device.
pub(crate) struct DeviceHandle {
    api: Arc<Api>,
    raw: NonNull<abi::Device>,
}

// SAFETY: the ABI lets functions of a device be called from any thread at once, and closed from any.
unsafe impl Send for DeviceHandle {}
// SAFETY: as above.
unsafe impl Sync for DeviceHandle {}

impl DeviceHandle {
    /// The capability document's text.
    pub(crate) fn capabilities(&self) -> Result<String> {
        let kind = PluginErrorKind::Capability;
        // SAFETY: device, sink and error live during the call.
        let bytes = collect(kind, "capabilities", DOCUMENT_MAX, |sink, error| unsafe {
            required!(self.api, capabilities)(self.raw.as_ptr(), sink, error)
        })?;
        String::from_utf8(bytes)
            .map_err(|_| PluginError::new(kind, "expected a document of UTF-8").during("capabilities"))
    }

    /// One verdict per node: nothing, or the reasons against it.
    pub(crate) fn supports<'p>(
        &self,
        program: &'p Program,
        constant: &dyn Fn(Span) -> Option<&'p [u8]>,
    ) -> Result<Vec<Option<u32>>> {
        let view = View::new(program, constant);
        // A number that no plugin writes, to find verdicts that were left out.
        let unwritten = abi::Verdict { supported: 0xdead_beef, why: 0 };
        let mut verdicts = vec![unwritten; program.nodes.len()];
        // SAFETY: the program and as many verdicts as it has nodes live during the call.
        call(PluginErrorKind::Call, "supports", |error| unsafe {
            required!(self.api, supports)(self.raw.as_ptr(), view.as_ptr(), verdicts.as_mut_ptr(), error)
        })?;
        let broken =
            |message: String| PluginError::new(PluginErrorKind::Contract, message).during("supports");
        verdicts
            .into_iter()
            .zip(&program.nodes)
            .map(|(verdict, node)| match (verdict.supported, verdict.why) {
                (1, _) => Ok(None),
                (0, 0) => {
                    Err(broken(format!("expected a reason for refusing node {}, found none", node.name)))
                }
                (0, why) => Ok(Some(why)),
                (other, _) => {
                    Err(broken(format!("expected a verdict on node {}, found {other:#x}", node.name)))
                }
            })
            .collect()
    }

    pub(crate) fn compile<'p>(
        self: &Arc<Self>,
        program: &'p Program,
        constant: &dyn Fn(Span) -> Option<&'p [u8]>,
    ) -> Result<Arc<ExecutableHandle>> {
        let view = View::new(program, constant);
        let mut executable = std::ptr::null_mut();
        // SAFETY: program, out pointer and error live during the call.
        call(PluginErrorKind::Call, "compile", |error| unsafe {
            required!(self.api, compile)(self.raw.as_ptr(), view.as_ptr(), &raw mut executable, error)
        })?;
        let raw = object(executable, "compile")?;
        Ok(Arc::new(ExecutableHandle { device: Arc::clone(self), raw, saving: Mutex::new(()) }))
    }

    /// An executable out of a blob.
    pub(crate) fn load_blob(self: &Arc<Self>, blob: &[u8]) -> Result<Arc<ExecutableHandle>> {
        let load = self.api.table.blob_load.ok_or_else(|| absent("blob_load"))?;
        let mut executable = std::ptr::null_mut();
        // SAFETY: the blob, out pointer and error live during the call.
        call(PluginErrorKind::Call, "blob_load", |error| unsafe {
            load(self.raw.as_ptr(), abi::Bytes::of(blob), &raw mut executable, error)
        })?;
        let raw = object(executable, "blob_load")?;
        Ok(Arc::new(ExecutableHandle { device: Arc::clone(self), raw, saving: Mutex::new(()) }))
    }

    /// How well a blob fits, by its first bytes: one of `BLOB_*`.
    pub(crate) fn check_blob(&self, blob: &[u8]) -> Result<i32> {
        let check = self.api.table.blob_check.ok_or_else(|| absent("blob_check"))?;
        let tag = &blob[..blob.len().min(abi::BLOB_TAG_MAX)];
        let mut grade = i32::MIN;
        // SAFETY: the tag, out pointer and error live during the call.
        call(PluginErrorKind::Call, "blob_check", |error| unsafe {
            check(self.raw.as_ptr(), abi::Bytes::of(tag), &raw mut grade, error)
        })?;
        if (abi::BLOB_OPTIMAL..=abi::BLOB_REFUSED).contains(&grade) {
            return Ok(grade);
        }
        let message = format!("expected a grade of 0 to 2, found {grade}");
        Err(PluginError::new(PluginErrorKind::Contract, message).during("blob_check"))
    }
}

impl Drop for DeviceHandle {
    fn drop(&mut self) {
        // SAFETY: every executable keeps its device, so none is left.
        unsafe { required!(self.api, device_close)(self.raw.as_ptr()) }
    }
}

fn absent(function: &str) -> PluginError {
    PluginError::answered(
        PluginErrorKind::Call,
        abi::UNSUPPORTED,
        0,
        None,
        &format!("the plugin has no {function}"),
    )
    .during(function)
}

/// A compiled program.
pub(crate) struct ExecutableHandle {
    device: Arc<DeviceHandle>,
    raw: NonNull<abi::Executable>,
    saving: Mutex<()>,
}

// SAFETY: contexts are made and footprints asked for on any thread; saving takes turns, see `save`.
unsafe impl Send for ExecutableHandle {}
// SAFETY: as above.
unsafe impl Sync for ExecutableHandle {}

impl ExecutableHandle {
    fn api(&self) -> &Api {
        &self.device.api
    }

    /// What it holds, where the plugin tells.
    pub(crate) fn footprint(&self) -> Option<abi::Footprint> {
        let ask = self.api().table.footprint?;
        let mut footprint = abi::Footprint::default();
        // SAFETY: executable, out pointer and error live during the call.
        call(PluginErrorKind::Call, "footprint", |error| unsafe {
            ask(self.raw.as_ptr(), &raw mut footprint, error)
        })
        .ok()?;
        Some(footprint)
    }

    /// The executable as bytes.
    pub(crate) fn save(&self) -> Result<Vec<u8>> {
        let save = self.api().table.blob_save.ok_or_else(|| absent("blob_save"))?;
        // The ABI allows one such call at a time.
        let _turn = self.saving.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: executable, sink and error live during the call.
        collect(PluginErrorKind::Call, "blob_save", BLOB_MAX, |sink, error| unsafe {
            save(self.raw.as_ptr(), sink, error)
        })
    }
}

impl Drop for ExecutableHandle {
    fn drop(&mut self) {
        // SAFETY: every context keeps its executable, so none is left.
        unsafe { required!(self.api(), executable_free)(self.raw.as_ptr()) }
    }
}

/// A refusal by a plugin in words.
pub(crate) fn refusal(id: &str, why: u32) -> String {
    format!("{id} refuses it for its {}", reasons(why))
}
