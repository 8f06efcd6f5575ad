//! The table of functions: each checks its pointers, calls the plugin, and lets no panic out.

#![expect(unsafe_code, reason = "the functions that a host calls")]

use std::any::Any;
use std::ffi::{CStr, c_char, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr::null;
use std::sync::{Arc, PoisonError, RwLock};

use fewbit_abi as abi;

use crate::blob::{self, Tag};
use crate::error::{Error, Result, Status, Why};
use crate::host::Host;
use crate::program::Program;
use crate::raw;
use crate::tensor::Signature;
use crate::{Context, Device, Executable, Plugin, Verdict};

/// A plugin that has a place for its one instance; `export!` implements it.
pub trait Exported: Plugin {
    /// The place.
    fn slot() -> &'static Slot<Self>;
}

/// The instance between `init` and `deinit`, and the host it was given.
#[derive(Debug)]
pub struct Slot<P>(RwLock<Option<(Arc<P>, Host)>>);

impl<P> Slot<P> {
    /// Empty.
    #[expect(clippy::new_without_default, reason = "only made in a static")]
    pub const fn new() -> Self {
        Slot(RwLock::new(None))
    }

    fn get(&self) -> Result<Arc<P>> {
        let slot = self.0.read().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref()
            .map(|(plugin, _)| Arc::clone(plugin))
            .ok_or_else(|| Error::invalid("called before `init`, or after `deinit`"))
    }
}

/// The table for hosts of major version 1; null for others.
pub fn table<P: Exported>(host_major: u32, _host_minor: u32) -> *const abi::Plugin {
    if host_major == abi::ABI_MAJOR { Entries::<P>::TABLE } else { null() }
}

/// An open device. The device ends before the plugin it came from.
struct OpenDevice<P: Plugin> {
    device: P::Device,
    _plugin: Arc<P>,
}

/// A compiled program with what it must be given.
struct Compiled<E> {
    executable: Arc<E>,
    signature: Arc<Signature>,
}

/// A context with what it must be given.
struct Running<C> {
    context: C,
    signature: Arc<Signature>,
    /// Whether a run panicked: nobody knows what state it left.
    broken: bool,
}

type Run<P> = <<<P as Plugin>::Device as Device>::Executable as Executable>::Context;
type Exe<P> = <<P as Plugin>::Device as Device>::Executable;

/// What a panic said.
fn panic_text(payload: Box<dyn Any + Send>) -> String {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "no text".to_owned());
    // What was thrown may panic when dropped; what that throws is not looked at any more.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
        std::mem::forget(second);
    }
    text
}

/// Runs `body`; errors and panics become a status and fill `error`.
///
/// # Safety
/// `error` is null or points to an error of the header.
unsafe fn guarded(error: *mut abi::Error, body: impl FnOnce() -> Result<()>) -> abi::Status {
    let failed = match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => return abi::OK,
        Ok(Err(failed)) => failed,
        Err(panic) => Error::internal(format!("the plugin panicked: {}", panic_text(panic))),
    };
    if !error.is_null() && error.is_aligned() {
        // SAFETY: not null, aligned, the caller's promise.
        unsafe { error.write(failed.to_abi()) };
    }
    failed.status as abi::Status
}

/// Runs `body`, whose panics go nowhere: destroy functions cannot fail.
fn quietly(body: impl FnOnce()) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(body)) {
        drop(panic_text(panic));
    }
}

/// Writes an answer.
///
/// # Safety
/// `out` is null or points to a place for a `T`.
unsafe fn answer<T>(out: *mut T, value: impl FnOnce() -> Result<T>) -> Result<()> {
    if out.is_null() || !out.is_aligned() {
        return Err(Error::invalid("expected a place for the answer, found NULL or an odd address"));
    }
    let value = value()?;
    // SAFETY: not null, aligned, the caller's promise.
    unsafe { out.write(value) };
    Ok(())
}

/// The object behind a handle.
///
/// # Safety
/// `handle` is null or was made of a `Box<T>` by this table and is not freed for `'a`.
unsafe fn object<'a, T>(handle: *mut c_void, what: &str) -> Result<&'a T> {
    if handle.is_null() {
        return Err(Error::invalid(format!("expected `{what}`, found NULL")));
    }
    // SAFETY: not null, the caller's promise; shared, as calls may come at once.
    Ok(unsafe { &*handle.cast::<T>() })
}

/// Drops the object behind a handle.
///
/// # Safety
/// `handle` is null or was made of a `Box<T>` by this table and is used no more.
unsafe fn free<T>(handle: *mut c_void) {
    if !handle.is_null() {
        // SAFETY: the caller's promise.
        quietly(|| drop(unsafe { Box::from_raw(handle.cast::<T>()) }));
    }
}

/// Gives bytes to the host in pieces.
///
/// # Safety
/// `sink` is null or points to a sink of the header.
unsafe fn give(sink: *const abi::Sink, bytes: &[u8]) -> Result<()> {
    /// Small enough to let the host stop early, large enough not to matter.
    const PIECE: usize = 1 << 16;
    if sink.is_null() || !sink.is_aligned() {
        return Err(Error::invalid("expected `sink`, found NULL or an odd address"));
    }
    // SAFETY: not null, aligned, the caller's promise.
    let sink = unsafe { sink.read() };
    let Some(write) = sink.write else { return Err(Error::invalid("expected `sink.write`, found NULL")) };
    for piece in bytes.chunks(PIECE) {
        // SAFETY: the host's function with its own context; the piece outlives the call.
        let status = unsafe { write(sink.ctx, piece.as_ptr().cast(), piece.len()) };
        if status != abi::OK {
            return Err(Error::new(status_of(status), "the host takes no more bytes").because(Why::MEMORY));
        }
    }
    Ok(())
}

/// A sink's answer is passed on as it is.
fn status_of(status: abi::Status) -> Status {
    match status {
        abi::INVALID_ARGUMENT => Status::InvalidArgument,
        abi::UNSUPPORTED => Status::Unsupported,
        abi::OUT_OF_MEMORY => Status::OutOfMemory,
        abi::INCOMPATIBLE => Status::Incompatible,
        abi::DEVICE_LOST => Status::DeviceLost,
        abi::INTERNAL => Status::Internal,
        _ => Status::Cancelled,
    }
}

struct Entries<P>(std::marker::PhantomData<P>);

impl<P: Exported> Entries<P> {
    const TAG: Tag = Tag { id: P::ID, version: P::VERSION, build: P::BUILD };

    const TABLE: &'static abi::Plugin = &abi::Plugin {
        magic: abi::MAGIC,
        struct_size: size_of::<abi::Plugin>() as u32,
        abi_major: abi::ABI_MAJOR as u16,
        abi_minor: abi::ABI_MINOR as u16,
        flags: 0,
        id: abi::Str::of(P::ID),
        vendor: abi::Str::of(P::VENDOR),
        version: abi::Str::of(P::VERSION),
        build: abi::Str::of(P::BUILD),
        init: Some(Self::init),
        deinit: Some(Self::deinit),
        get_extension: Some(Self::get_extension),
        device_count: Some(Self::device_count),
        device_open: Some(Self::device_open),
        device_close: Some(Self::device_close),
        capabilities: Some(Self::capabilities),
        supports: Some(Self::supports),
        compile: Some(Self::compile),
        blob_save: if P::BLOBS { Some(Self::blob_save) } else { None },
        blob_load: if P::BLOBS { Some(Self::blob_load) } else { None },
        blob_check: if P::BLOBS { Some(Self::blob_check) } else { None },
        executable_free: Some(Self::executable_free),
        context_new: Some(Self::context_new),
        run: Some(Self::run),
        context_free: Some(Self::context_free),
        footprint: Some(Self::footprint),
    };

    const PROFILE: &'static abi::ExtProfile = &abi::ExtProfile {
        struct_size: size_of::<abi::ExtProfile>() as u32,
        reserved: 0,
        node_times: Some(Self::node_times),
    };

    unsafe extern "C" fn init(host: *const abi::Host, error: *mut abi::Error) -> abi::Status {
        let body = || {
            let mut slot = P::slot().0.write().unwrap_or_else(PoisonError::into_inner);
            if slot.is_some() {
                return Err(Error::invalid("`init` was called twice"));
            }
            // SAFETY: the host's promise.
            let host = unsafe { Host::new(host)? };
            match P::init(host.clone()) {
                Ok(plugin) => {
                    *slot = Some((Arc::new(plugin), host));
                    Ok(())
                }
                Err(failed) => {
                    host.end();
                    Err(failed)
                }
            }
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, body) }
    }

    unsafe extern "C" fn deinit() {
        let ended = P::slot().0.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((plugin, host)) = ended {
            // The plugin may still log while it ends.
            quietly(|| drop(plugin));
            host.end();
        }
    }

    unsafe extern "C" fn get_extension(id: *const c_char) -> *const c_void {
        if id.is_null() {
            return null();
        }
        // SAFETY: ids end with NUL.
        let id = unsafe { CStr::from_ptr(id) };
        if id == abi::EXT_PROFILE { (&raw const *Self::PROFILE).cast() } else { null() }
    }

    unsafe extern "C" fn device_count(out: *mut u32, error: *mut abi::Error) -> abi::Status {
        // SAFETY: the host's promise, here and below.
        unsafe { guarded(error, || answer(out, || P::slot().get()?.device_count())) }
    }

    unsafe extern "C" fn device_open(
        index: u32,
        out: *mut *mut abi::Device,
        error: *mut abi::Error,
    ) -> abi::Status {
        let open = || {
            let plugin = P::slot().get()?;
            let count = plugin.device_count()?;
            if index >= count {
                return Err(Error::invalid(format!("there is no device {index}, only {count}")));
            }
            let device = plugin.open(index)?;
            Ok(Box::into_raw(Box::new(OpenDevice { device, _plugin: plugin })).cast())
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, || answer(out, open)) }
    }

    unsafe extern "C" fn device_close(device: *mut abi::Device) {
        // SAFETY: handles of devices are made in `device_open`.
        unsafe { free::<OpenDevice<P>>(device.cast()) }
    }

    /// # Safety
    /// As [`object`], of a device.
    unsafe fn device<'a>(device: *mut abi::Device) -> Result<&'a P::Device> {
        // SAFETY: handles of devices are made in `device_open`.
        Ok(&unsafe { object::<OpenDevice<P>>(device.cast(), "device")? }.device)
    }

    unsafe extern "C" fn capabilities(
        device: *mut abi::Device,
        sink: *const abi::Sink,
        error: *mut abi::Error,
    ) -> abi::Status {
        // SAFETY: the host's promise.
        unsafe { guarded(error, || give(sink, Self::device(device)?.capabilities()?.as_bytes())) }
    }

    unsafe extern "C" fn supports(
        device: *mut abi::Device,
        program: *const abi::Program,
        per_node: *mut abi::Verdict,
        error: *mut abi::Error,
    ) -> abi::Status {
        let body = || {
            // SAFETY: the host's promise, here and below.
            let (device, program) = unsafe { (Self::device(device)?, Program::new(program)?) };
            let nodes = program.nodes().len();
            if nodes > 0 && (per_node.is_null() || !per_node.is_aligned()) {
                return Err(Error::invalid("expected `per_node`, found NULL or an odd address"));
            }
            let verdicts: Vec<Verdict> = device.supports(&program)?;
            if verdicts.len() != nodes {
                return Err(Error::internal(format!(
                    "the plugin gave {} verdicts on {nodes} nodes",
                    verdicts.len()
                )));
            }
            for (index, verdict) in verdicts.into_iter().enumerate() {
                let raw = abi::Verdict {
                    supported: u32::from(verdict.is_yes()),
                    why: verdict.why().map_or(0, Why::bits),
                };
                // SAFETY: the host gives a place for every node.
                unsafe { per_node.add(index).write(raw) };
            }
            Ok(())
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, body) }
    }

    /// A handle on an executable.
    fn handle(executable: Exe<P>, signature: Signature) -> *mut abi::Executable {
        let compiled = Compiled { executable: Arc::new(executable), signature: Arc::new(signature) };
        Box::into_raw(Box::new(compiled)).cast()
    }

    unsafe extern "C" fn compile(
        device: *mut abi::Device,
        program: *const abi::Program,
        out: *mut *mut abi::Executable,
        error: *mut abi::Error,
    ) -> abi::Status {
        let compile = || {
            // SAFETY: the host's promise.
            let (device, program) = unsafe { (Self::device(device)?, Program::new(program)?) };
            Ok(Self::handle(device.compile(&program)?, Signature::of(&program)))
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, || answer(out, compile)) }
    }

    unsafe extern "C" fn blob_save(
        executable: *mut abi::Executable,
        sink: *const abi::Sink,
        error: *mut abi::Error,
    ) -> abi::Status {
        let body = || {
            // SAFETY: the host's promise.
            let compiled = unsafe { Self::compiled(executable)? };
            let payload = compiled.executable.save()?;
            // SAFETY: the host's promise.
            unsafe { give(sink, &blob::write(&Self::TAG, &compiled.signature, &payload)) }
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, body) }
    }

    unsafe extern "C" fn blob_load(
        device: *mut abi::Device,
        blob: abi::Bytes,
        out: *mut *mut abi::Executable,
        error: *mut abi::Error,
    ) -> abi::Status {
        let load = || {
            // SAFETY: the host's promise.
            let (device, bytes) =
                unsafe { (Self::device(device)?, raw::slice(blob.ptr.cast::<u8>(), blob.len, "blob")?) };
            let (signature, payload) = blob::read(&Self::TAG, bytes)?;
            Ok(Self::handle(device.load(payload)?, signature))
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, || answer(out, load)) }
    }

    unsafe extern "C" fn blob_check(
        device: *mut abi::Device,
        tag: abi::Bytes,
        out: *mut i32,
        error: *mut abi::Error,
    ) -> abi::Status {
        let check = || {
            // SAFETY: the host's promise.
            let bytes = unsafe {
                Self::device(device)?;
                raw::slice(tag.ptr.cast::<u8>(), tag.len, "tag")?
            };
            Ok(Self::TAG.check(bytes))
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, || answer(out, check)) }
    }

    unsafe extern "C" fn executable_free(executable: *mut abi::Executable) {
        // SAFETY: handles of executables are made in `handle`.
        unsafe { free::<Compiled<Exe<P>>>(executable.cast()) }
    }

    /// # Safety
    /// As [`object`], of an executable.
    unsafe fn compiled<'a>(executable: *mut abi::Executable) -> Result<&'a Compiled<Exe<P>>> {
        // SAFETY: handles of executables are made in `handle`.
        unsafe { object(executable.cast(), "executable") }
    }

    unsafe extern "C" fn context_new(
        executable: *mut abi::Executable,
        out: *mut *mut abi::Context,
        error: *mut abi::Error,
    ) -> abi::Status {
        let make = || {
            // SAFETY: the host's promise.
            let compiled = unsafe { Self::compiled(executable)? };
            let running = Running {
                context: compiled.executable.context()?,
                signature: Arc::clone(&compiled.signature),
                broken: false,
            };
            Ok(Box::into_raw(Box::new(running)).cast())
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, || answer(out, make)) }
    }

    /// # Safety
    /// `context` is null or was made in `context_new`, and nothing else uses it for `'a`.
    unsafe fn running<'a>(context: *mut abi::Context) -> Result<&'a mut Running<Run<P>>> {
        if context.is_null() {
            return Err(Error::invalid("expected `context`, found NULL"));
        }
        // SAFETY: the caller's promise: the header allows one call at a time per context.
        Ok(unsafe { &mut *context.cast() })
    }

    unsafe extern "C" fn run(
        context: *mut abi::Context,
        inputs: *const *const abi::Tensor,
        n_inputs: u32,
        outputs: *const *mut abi::Tensor,
        n_outputs: u32,
        error: *mut abi::Error,
    ) -> abi::Status {
        let body = || {
            // SAFETY: the host's promise.
            let running = unsafe { Self::running(context)? };
            if running.broken {
                return Err(Error::internal("an earlier run of this context panicked"));
            }
            // SAFETY: the host's promise; the tensors end with this call.
            let (inputs, mut outputs) =
                unsafe { running.signature.tensors(inputs, n_inputs, outputs, n_outputs)? };
            running.broken = true;
            let result = running.context.run(&inputs, &mut outputs);
            running.broken = false;
            result
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, body) }
    }

    unsafe extern "C" fn context_free(context: *mut abi::Context) {
        // SAFETY: handles of contexts are made in `context_new`.
        unsafe { free::<Running<Run<P>>>(context.cast()) }
    }

    unsafe extern "C" fn node_times(
        context: *mut abi::Context,
        nanoseconds: *mut u64,
        n_nodes: u32,
        error: *mut abi::Error,
    ) -> abi::Status {
        let body = || {
            // SAFETY: the host's promise.
            let running = unsafe { Self::running(context)? };
            let Some(times) = running.context.node_times() else {
                return Err(Error::unsupported(
                    Why::ATTRIBUTE,
                    "there are no times: the program was not compiled with profile = 1",
                ));
            };
            if times.len() != n_nodes as usize {
                return Err(Error::invalid(format!("expected {} nodes, found {n_nodes}", times.len())));
            }
            if !times.is_empty() && (nanoseconds.is_null() || !nanoseconds.is_aligned()) {
                return Err(Error::invalid("expected `nanoseconds`, found NULL or an odd address"));
            }
            for (index, &time) in times.iter().enumerate() {
                // SAFETY: the host gives a place for every node.
                unsafe { nanoseconds.add(index).write(time) };
            }
            Ok(())
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, body) }
    }

    unsafe extern "C" fn footprint(
        executable: *mut abi::Executable,
        out: *mut abi::Footprint,
        error: *mut abi::Error,
    ) -> abi::Status {
        let footprint = || {
            // SAFETY: the host's promise.
            let compiled = unsafe { Self::compiled(executable)? };
            compiled
                .executable
                .footprint()
                .ok_or_else(|| Error::unsupported(Why::MEMORY, "this plugin does not know what it holds"))
        };
        // SAFETY: the host's promise.
        unsafe { guarded(error, || answer(out, footprint)) }
    }
}
