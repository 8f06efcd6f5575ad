//! Observations: what only somebody who calls the plugin's functions one by one can see.
//!
//! The conformance kit asks for them; each is made in a fresh worker, so that one that ends the process costs itself
//! alone.

use std::hint::black_box;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::child::{Events, at};
use crate::adapter::{Api, ContextHandle, DeviceHandle, ExecutableHandle, Slots};
use crate::error::{PluginError, Result};
use crate::program::Program;

/// What to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Check {
    /// The query function gives the same table a hundred times, and nothing for majors that there are not.
    QueryIsPure,
    /// An extension id that nobody knows is answered with null.
    UnknownExtension,
    /// Every free function accepts null.
    FreeNothing,
    /// The capability document is the same bytes at every call and for every opening of a device.
    StableCapabilities,
    /// NULL in place of a program is refused with a message.
    NoProgram,
    /// A program with an operator that there is not is refused with a reason and a message: UTF-8, ended by NUL.
    Refusal,
    /// Buffers that are said to be a byte too short are refused, and outputs stay untouched.
    ShortBuffers,
    /// A device that there is not is refused, and the plugin goes on.
    NoSuchDevice,
    /// A device opens twice, and closing one leaves the other usable.
    DeviceTwice,
    /// Folder, environment, file mask, handlers of signals, locale and floating-point environment are, after compiling
    /// and running, as they were before loading.
    Environment,
    /// Compiling, running and freeing a program again and again does not grow the process.
    Cycles {
        /// How often.
        times: u32,
    },
    /// An executable that was written and read back gives the same outputs; damaged blobs are refused.
    Blob,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Observed {
    /// As it must be.
    Passed,
    /// The plugin does not have what the check is about, and need not.
    Absent,
    /// Not as it must be.
    Failed(String),
}

impl From<PluginError> for Observed {
    fn from(error: PluginError) -> Self {
        Observed::Failed(error.to_string())
    }
}

fn held(holds: bool, otherwise: &str) -> Observed {
    if holds { Observed::Passed } else { Observed::Failed(otherwise.to_owned()) }
}

/// What is observed.
pub(super) struct Subject<'a> {
    pub(super) api: &'a Arc<Api>,
    pub(super) devices: &'a [Arc<DeviceHandle>],
    /// A program with its constants.
    pub(super) program: Option<(&'a Program, &'a [u8])>,
    /// How things were before the plugin was loaded.
    pub(super) before: Option<&'a Surroundings>,
    pub(super) events: &'a Events,
}

impl Subject<'_> {
    /// Makes one observation.
    pub(super) fn observe(&self, check: Check) -> Observed {
        let Self { api, devices, program, before, events } = *self;
        let seen = match check {
            Check::QueryIsPure => {
                events.stage("query");
                let rule = "expected the same table at every query, and NULL for unknown majors";
                Ok(held(api.query_is_pure(), rule))
            }
            Check::UnknownExtension => {
                events.stage("get_extension");
                Ok(held(api.refuses_unknown_extensions(), "expected NULL for an unknown extension"))
            }
            Check::FreeNothing => {
                events.stage("free");
                api.free_nothing();
                Ok(Observed::Passed)
            }
            Check::StableCapabilities => stable(api, devices),
            Check::NoProgram => {
                events.stage("supports and compile");
                Ok(devices.first().map_or(Observed::Absent, |device| verdict(device.without_program())))
            }
            Check::Refusal => Ok(refusal(devices, program, events)),
            Check::ShortBuffers => short_buffers(devices, program, events),
            Check::NoSuchDevice => no_such_device(api, devices),
            Check::DeviceTwice => twice(api),
            Check::Environment => environment(devices, program, before, events),
            Check::Cycles { times } => cycles(devices, program, times, events),
            Check::Blob => blob(api, devices, program, events),
        };
        seen.unwrap_or_else(Observed::from)
    }
}

fn verdict(answer: std::result::Result<(), String>) -> Observed {
    answer.map_or_else(Observed::Failed, |()| Observed::Passed)
}

fn refusal(devices: &[Arc<DeviceHandle>], program: Option<(&Program, &[u8])>, events: &Events) -> Observed {
    let (Some(device), Some((program, constants))) = (devices.first(), program) else {
        return Observed::Absent;
    };
    let mut program = program.clone();
    for node in &mut program.nodes {
        "org.example".clone_into(&mut node.domain);
        "Nonsense".clone_into(&mut node.op_type);
    }
    events.stage("compile");
    verdict(device.refuses(&program, &|span| at(constants, span)))
}

fn short_buffers(
    devices: &[Arc<DeviceHandle>],
    program: Option<(&Program, &[u8])>,
    events: &Events,
) -> Result<Observed> {
    let (Some(device), Some((program, constants))) = (devices.first(), program) else {
        return Ok(Observed::Absent);
    };
    let running = Running::compile(device, program, constants)?;
    events.stage("run");
    let mut outputs = running.blank();
    Ok(verdict(running.context()?.refuses_short_buffers(&running.inputs, &mut outputs)))
}

fn stable(api: &Arc<Api>, devices: &[Arc<DeviceHandle>]) -> Result<Observed> {
    for (index, device) in devices.iter().enumerate() {
        let first = device.capabilities()?;
        for _ in 0..3 {
            if device.capabilities()? != first {
                return Ok(Observed::Failed("expected the same document at every call".to_owned()));
            }
        }
        if api.open(index as u32)?.capabilities()? != first {
            return Ok(Observed::Failed(
                "expected the same document for every opening of the device".to_owned(),
            ));
        }
    }
    Ok(Observed::Passed)
}

fn no_such_device(api: &Arc<Api>, devices: &[Arc<DeviceHandle>]) -> Result<Observed> {
    if api.open(u32::MAX).is_ok() {
        return Ok(Observed::Failed("expected device 4294967295 to be refused, found it opened".to_owned()));
    }
    for device in devices {
        device.capabilities()?;
    }
    Ok(Observed::Passed)
}

fn twice(api: &Arc<Api>) -> Result<Observed> {
    if api.device_count()? == 0 {
        return Ok(Observed::Absent);
    }
    let (one, other) = (api.open(0)?, api.open(0)?);
    drop(one);
    other.capabilities()?;
    Ok(Observed::Passed)
}

/// A compiled program with inputs to run it on.
struct Running {
    executable: Arc<ExecutableHandle>,
    slots: Slots,
    inputs: Vec<Vec<u8>>,
}

impl Running {
    fn compile(device: &Arc<DeviceHandle>, program: &Program, constants: &[u8]) -> Result<Self> {
        Ok(Self::of(device.compile(program, &|span| at(constants, span))?, program))
    }

    fn of(executable: Arc<ExecutableHandle>, program: &Program) -> Self {
        let slots = Slots::of(program);
        // Small codes; as floats, small numbers.
        let fill = |bytes: usize| (0..bytes).map(|at| (at * 7 % 64) as u8).collect();
        let inputs = slots.inputs.iter().map(|slot| fill(slot.bytes)).collect();
        Self { executable, slots, inputs }
    }

    fn context(&self) -> Result<ContextHandle> {
        self.executable.context(self.slots.clone())
    }

    /// Outputs that nothing was written to.
    fn blank(&self) -> Vec<Vec<u8>> {
        self.slots.outputs.iter().map(|slot| vec![0xcd; slot.bytes]).collect()
    }

    fn run(&self) -> Result<Vec<Vec<u8>>> {
        let mut outputs = self.blank();
        self.context()?
            .run(self.inputs.iter().map(Vec::as_slice), outputs.iter_mut().map(Vec::as_mut_slice))?;
        Ok(outputs)
    }
}

/// What a plugin must leave as it was.
#[derive(PartialEq)]
pub(super) struct Surroundings {
    folder: Option<std::path::PathBuf>,
    variables: Vec<(std::ffi::OsString, std::ffi::OsString)>,
    mask: String,
    /// What handles signals.
    handlers: Vec<usize>,
    locale: Option<String>,
    /// Bits of results that change with rounding mode and flushing of small numbers.
    floats: [u32; 4],
}

impl Surroundings {
    pub(super) fn now() -> Self {
        let mut variables: Vec<_> = std::env::vars_os().collect();
        variables.sort();
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let mask = status.lines().find(|line| line.starts_with("Umask")).unwrap_or_default().to_owned();
        let floats = [
            (black_box(1.0f32) / black_box(3.0)).to_bits(),
            (black_box(-1.0f32) / black_box(3.0)).to_bits(),
            (black_box(1.0f32) + black_box(f32::EPSILON / 2.0)).to_bits(),
            (black_box(f32::MIN_POSITIVE) / black_box(4.0)).to_bits(),
        ];
        Self {
            folder: std::env::current_dir().ok(),
            variables,
            mask,
            handlers: crate::load::signal_handlers(),
            locale: crate::load::locale(),
            floats,
        }
    }

    fn difference(&self, other: &Self) -> Option<&'static str> {
        [
            ("current folder", self.folder != other.folder),
            ("environment", self.variables != other.variables),
            ("file mask", self.mask != other.mask),
            ("handling of signals", self.handlers != other.handlers),
            ("locale", self.locale != other.locale),
            ("floating-point environment", self.floats != other.floats),
        ]
        .into_iter()
        .find_map(|(what, differs)| differs.then_some(what))
    }
}

fn environment(
    devices: &[Arc<DeviceHandle>],
    program: Option<(&Program, &[u8])>,
    before: Option<&Surroundings>,
    events: &Events,
) -> Result<Observed> {
    let (Some(device), Some((program, constants)), Some(before)) = (devices.first(), program, before) else {
        return Ok(Observed::Absent);
    };
    events.stage("compile");
    let running = Running::compile(device, program, constants)?;
    events.stage("run");
    running.run()?;
    Ok(match before.difference(&Surroundings::now()) {
        None => Observed::Passed,
        Some(what) => Observed::Failed(format!("expected the {what} as it was, found it changed")),
    })
}

/// Bytes of memory that the process holds.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = text.split_whitespace().nth(1)?.parse().ok()?;
    Some(pages * rustix::param::page_size() as u64)
}

fn cycles(
    devices: &[Arc<DeviceHandle>],
    program: Option<(&Program, &[u8])>,
    times: u32,
    events: &Events,
) -> Result<Observed> {
    let (Some(device), Some((program, constants))) = (devices.first(), program) else {
        return Ok(Observed::Absent);
    };
    events.stage("compile, run and free");
    let once = || -> Result<()> {
        Running::compile(device, program, constants)?.run()?;
        Ok(())
    };
    // What a driver or an allocator keeps from the first rounds is not a leak.
    for _ in 0..times.div_ceil(4) {
        once()?;
    }
    let Some(before) = resident() else { return Ok(Observed::Absent) };
    for _ in 0..times {
        once()?;
    }
    let grown = resident().unwrap_or(before).saturating_sub(before);
    let slots = Slots::of(program);
    let tensors: usize = slots.inputs.iter().chain(&slots.outputs).map(|slot| slot.bytes).sum();
    // A leak is at least a sixteenth of what a program holds, and 64 bytes, per round; half a megabyte is noise.
    let per_round = ((tensors + constants.len()) as u64 / 16).clamp(64, 1 << 16);
    let allowed = u64::from(times) * per_round + (512 << 10);
    if grown <= allowed {
        return Ok(Observed::Passed);
    }
    let message = format!("expected at most {allowed} bytes more after {times} programs, found {grown}");
    Ok(Observed::Failed(message))
}

fn blob(
    api: &Arc<Api>,
    devices: &[Arc<DeviceHandle>],
    program: Option<(&Program, &[u8])>,
    events: &Events,
) -> Result<Observed> {
    let (true, Some(device), Some((program, constants))) = (api.has_blobs(), devices.first(), program) else {
        return Ok(Observed::Absent);
    };
    let failed = |message: String| Ok(Observed::Failed(message));
    let first = Running::compile(device, program, constants)?;
    let expected = first.run()?;
    events.stage("blob_save");
    let blob = first.executable.save()?;
    events.stage("blob_check");
    match device.check_blob(&blob) {
        Ok(fewbit_abi::BLOB_OPTIMAL) => {}
        Ok(grade) => return failed(format!("expected a fresh blob to be graded 0, found {grade}")),
        Err(error) if error.status() == fewbit_abi::UNSUPPORTED => {}
        Err(error) => return Err(error),
    }
    events.stage("blob_load");
    if Running::of(device.load_blob(&blob)?, program).run()? != expected {
        return failed("expected the same outputs from a blob that was read back".to_owned());
    }
    for (what, damaged) in damaged(&blob) {
        events.stage("blob_load");
        if let Ok(executable) = device.load_blob(&damaged)
            && Running::of(executable, program).run().is_ok_and(|outputs| outputs != expected)
        {
            return failed(format!("expected a blob that was {what} to be refused, found other results"));
        }
    }
    Ok(Observed::Passed)
}

/// Blobs that something happened to.
fn damaged(blob: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let mut list = vec![("emptied", Vec::new())];
    if !blob.is_empty() {
        list.push(("cut in half", blob[..blob.len() / 2].to_vec()));
        for at in [0, blob.len() / 3, blob.len() - 1] {
            let mut flipped = blob.to_vec();
            flipped[at] ^= 0x10;
            list.push(("flipped in one bit", flipped));
        }
    }
    list
}
