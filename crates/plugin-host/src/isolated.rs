//! A plugin in a worker, behind the same seam as one in this process.
//!
//! Owns the worker's life: starting it, waiting no longer than allowed, and saying afterwards how it ended. The first
//! verdict stays: every later call on the same worker repeats it.

use std::ffi::OsString;
use std::io::{Read, Seek, SeekFrom};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use fewbit_abi as abi;
use fewbit_core::backend::CompileOptions;
use fewbit_core::ir::{Graph, Tensor};
use rustix::fs::MemfdFlags;

use crate::adapter::{Identity, Slots};
use crate::backend::{LoadOptions, Opened, Port, PortContext, PortExecutable};
use crate::error::{PluginError, PluginErrorKind, Result};
use crate::manifest::Manifest;
use crate::program::{Constants, Program, Translated};
pub use crate::worker::{Check, Observed};
use crate::worker::{
    Connection, Event, Fault, Layout, Limits, Memory, RUN_FAILED, RUN_OK, RUN_REQUEST, Reply, Request,
    Shipped,
};

/// How long an ended process may take to be gone.
const REAP: Duration = Duration::from_secs(2);
/// Bytes of what a plugin wrote to its standard error that are shown.
const SAID_MAX: u64 = 2048;

/// How to start workers and what they may use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerOptions {
    /// The program that is a worker with `arguments`: usually this one.
    pub program: PathBuf,
    /// What makes it one.
    pub arguments: Vec<OsString>,
    /// How long loading, and each call about devices, may take.
    pub start: Duration,
    /// How long judging and compiling a program may take.
    pub compile: Duration,
    /// How long one run may take.
    pub run: Duration,
    /// What it may use.
    pub limits: Limits,
}

impl WorkerOptions {
    /// Workers started as `program arguments…`, with the usual patience: 10 s to start, 300 s to compile, 60 s to run.
    pub fn new(program: impl Into<PathBuf>, arguments: impl IntoIterator<Item = OsString>) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().collect(),
            start: Duration::from_secs(10),
            compile: Duration::from_mins(5),
            run: Duration::from_mins(1),
            limits: Limits::default(),
        }
    }

    /// No call may take longer than this.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        (self.start, self.compile, self.run) = (timeout, timeout, timeout);
        self
    }
}

/// Starts a worker, loads the plugin there and opens every device.
pub(crate) fn open(
    manifest: &Manifest,
    options: &LoadOptions,
    worker: &WorkerOptions,
) -> Result<(Identity, Vec<Opened>)> {
    let (worker, identity, devices) = Worker::start(manifest, options, worker)?;
    let mut opened = Vec::new();
    for device in 0..devices {
        let reply = worker.ask(&Request::Capabilities { device }, &[], worker.options.start)?;
        let Reply::Document(document) = reply else { return Err(worker.unexpected("capabilities")) };
        opened.push(Opened { document, port: Arc::new(Remote { worker: Arc::clone(&worker), device }) });
    }
    Ok((identity, opened))
}

/// Makes one observation of a plugin in a fresh worker, over `program` where the check needs one.
///
/// # Errors
/// What loading says, and how the worker ended if the observation ended it.
pub fn observe(
    manifest: &Manifest,
    options: &LoadOptions,
    check: Check,
    program: Option<&Graph>,
) -> Result<Observed> {
    let Some(worker) = &options.worker else {
        return Err(manifest.refused(PluginErrorKind::Worker, "expected a worker to observe the plugin in"));
    };
    let (worker, ..) = Worker::start(manifest, options, worker)?;
    let translated = program.map(|program| Translated::of(program, &CompileOptions::threads(1))).transpose();
    let translated =
        translated.map_err(|error| manifest.refused(PluginErrorKind::Call, error.to_string()))?;
    let memory;
    let (program, descriptors) = match &translated {
        None => (None, vec![]),
        Some(translated) => {
            memory = ship(&translated.constants)?;
            let bytes = translated.constants.bytes as u64;
            let shipped = Shipped { program: translated.program.clone(), constant_bytes: bytes };
            (Some(shipped), vec![memory.as_fd()])
        }
    };
    let patience = worker.options.compile;
    match worker.ask(&Request::Observe { check, program }, &descriptors, patience)? {
        Reply::Observed(observed) => Ok(observed),
        _ => Err(worker.unexpected("observe")),
    }
}

/// Constants in memory that a worker can read.
fn ship(constants: &Constants) -> Result<Memory> {
    let mut memory = Memory::new("fewbit-constants", constants.bytes).map_err(no_memory)?;
    constants.copy_into(memory.bytes_mut());
    Ok(memory)
}

fn no_memory(error: impl std::fmt::Display) -> PluginError {
    PluginError::new(PluginErrorKind::Worker, format!("cannot have shared memory: {error}"))
}

struct Worker {
    place: String,
    id: String,
    options: WorkerOptions,
    child: Mutex<Child>,
    control: Mutex<Connection>,
    /// What the plugin writes to its standard error.
    said: std::fs::File,
    /// The last call that was announced.
    stage: Mutex<String>,
    /// How it ended, once it has.
    verdict: OnceLock<PluginError>,
}

impl Worker {
    fn start(
        manifest: &Manifest,
        options: &LoadOptions,
        worker: &WorkerOptions,
    ) -> Result<(Arc<Self>, Identity, u32)> {
        let fail = |error: std::io::Error| {
            let message = format!("cannot start {}: {error}", worker.program.display());
            manifest.refused(PluginErrorKind::Worker, message)
        };
        let (ours, theirs) = UnixStream::pair().map_err(fail)?;
        let said = rustix::fs::memfd_create("fewbit-stderr", MemfdFlags::CLOEXEC)
            .map_err(|error| fail(error.into()))?;
        let said = std::fs::File::from(said);
        let child = Command::new(&worker.program)
            .args(&worker.arguments)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .stderr(Stdio::from(said.try_clone().map_err(fail)?))
            .spawn()
            .map_err(fail)?;
        let this = Arc::new(Self {
            place: manifest.path().display().to_string(),
            id: manifest.id.clone(),
            options: worker.clone(),
            child: Mutex::new(child),
            control: Mutex::new(Connection::new(ours)),
            said,
            stage: Mutex::new("start".to_owned()),
            verdict: OnceLock::new(),
        });
        let request = Request::Load {
            manifest: Box::new(manifest.clone()),
            path: manifest.path().to_owned(),
            trust: options.trust,
            log_level: options.log_level,
            limits: worker.limits,
        };
        match this.ask(&request, &[], worker.start)? {
            Reply::Loaded { identity, devices } => Ok((this, identity, devices)),
            _ => Err(this.unexpected("load")),
        }
    }

    /// Asks and waits for the answer; what comes before it are stages and lines of a log.
    fn ask(
        &self,
        request: &Request,
        descriptors: &[std::os::fd::BorrowedFd<'_>],
        patience: Duration,
    ) -> Result<Reply> {
        if let Some(verdict) = self.verdict.get() {
            return Err(verdict.clone());
        }
        let mut control = self.control.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + patience;
        control.send(request, descriptors).map_err(|fault| self.ended(fault, None))?;
        loop {
            match control.receive::<Event>(Some(deadline)).map_err(|fault| self.ended(fault, None))?.0 {
                Event::Stage(name) => *self.stage.lock().unwrap_or_else(PoisonError::into_inner) = name,
                Event::Log { level, target, text } => crate::logged(&self.id, level, &target, &text),
                Event::Reply(Reply::Failed(error)) => return Err(error.at(&self.place)),
                Event::Reply(reply) => return Ok(reply),
            }
        }
    }

    /// How the worker ended after `fault`, in the stage given or the last one announced; it is ended if it has not.
    fn ended(&self, fault: Fault, stage: Option<&str>) -> PluginError {
        let known = self.verdict.get_or_init(|| {
            let announced = self.stage.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let stage = stage.unwrap_or(&announced);
            let verdict = match fault {
                Fault::Late => {
                    let _ = self.reap(Duration::ZERO);
                    PluginError::new(PluginErrorKind::Timeout, "expected an answer in time, found none")
                }
                Fault::Garbled(message) => {
                    let _ = self.reap(Duration::ZERO);
                    PluginError::new(PluginErrorKind::Protocol, message)
                }
                Fault::Closed => match self.reap(REAP) {
                    Some(status) => ending(status),
                    None => PluginError::new(
                        PluginErrorKind::Protocol,
                        "the worker closed its socket and lives on",
                    ),
                },
            };
            let verdict = verdict.at(&self.place).during(stage);
            match self.last_words() {
                Some(said) => verdict.help(format!("it wrote: {said}")),
                None => verdict,
            }
        });
        known.clone()
    }

    /// The status of the process, which is ended if it takes longer than `patience` to end by itself.
    fn reap(&self, patience: Duration) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap_or_else(PoisonError::into_inner);
        let deadline = Instant::now() + patience;
        loop {
            match child.try_wait() {
                Ok(Some(status)) => return Some(status),
                Ok(None) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(1)),
                _ => {
                    let _ = child.kill();
                    let _ = child.wait();
                    return None;
                }
            }
        }
    }

    /// The end of what the plugin wrote to its standard error.
    fn last_words(&self) -> Option<String> {
        let mut file = self.said.try_clone().ok()?;
        let length = file.metadata().ok()?.len();
        file.seek(SeekFrom::Start(length.saturating_sub(SAID_MAX))).ok()?;
        let mut bytes = Vec::new();
        file.take(SAID_MAX).read_to_end(&mut bytes).ok()?;
        let text: String =
            String::from_utf8_lossy(&bytes).chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        Some(text.trim().to_owned()).filter(|text| !text.is_empty())
    }

    fn unexpected(&self, stage: &str) -> PluginError {
        self.ended(Fault::Garbled("expected another answer".to_owned()), Some(stage))
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        // Closing the socket lets the worker free everything and end; one that does not is ended.
        let nowhere = UnixStream::pair().map(|(end, _)| Connection::new(end));
        if let Ok(nowhere) = nowhere {
            drop(std::mem::replace(self.control.get_mut().unwrap_or_else(PoisonError::into_inner), nowhere));
        }
        let _ = self.reap(REAP);
    }
}

/// What an exit status says.
fn ending(status: ExitStatus) -> PluginError {
    match (status.signal(), status.code()) {
        (Some(signal), _) => {
            let name = match signal {
                4 => " (illegal instruction)",
                6 => " (abort)",
                7 => " (bus error)",
                8 => " (arithmetic)",
                9 => " (killed)",
                11 => " (segmentation fault)",
                24 => " (processor time)",
                25 => " (file size)",
                _ => "",
            };
            PluginError::new(
                PluginErrorKind::Crash,
                format!("the plugin's process ended by signal {signal}{name}"),
            )
        }
        (None, code) => {
            let code = code.map_or_else(|| "no code".to_owned(), |code| format!("code {code}"));
            PluginError::new(
                PluginErrorKind::Exit,
                format!("the plugin's process ended with {code} and without an answer"),
            )
        }
    }
}

struct Remote {
    worker: Arc<Worker>,
    device: u32,
}

impl Port for Remote {
    fn supports(&self, program: &Program, constants: &Constants) -> Result<Vec<Option<u32>>> {
        let memory = ship(constants)?;
        let program = Shipped { program: program.clone(), constant_bytes: constants.bytes as u64 };
        let nodes = program.program.nodes.len();
        let request = Request::Supports { device: self.device, program };
        match self.worker.ask(&request, &[memory.as_fd()], self.worker.options.compile)? {
            Reply::Verdicts(verdicts) if verdicts.len() == nodes => Ok(verdicts),
            _ => Err(self.worker.unexpected("supports")),
        }
    }

    fn compile(&self, program: &Program, constants: &Constants) -> Result<Arc<dyn PortExecutable>> {
        let memory = ship(constants)?;
        let program = Shipped { program: program.clone(), constant_bytes: constants.bytes as u64 };
        let request = Request::Compile { device: self.device, program };
        match self.worker.ask(&request, &[memory.as_fd()], self.worker.options.compile)? {
            Reply::Executable(number) => {
                Ok(Arc::new(RemoteExecutable { worker: Arc::clone(&self.worker), number }))
            }
            _ => Err(self.worker.unexpected("compile")),
        }
    }
}

struct RemoteExecutable {
    worker: Arc<Worker>,
    number: u32,
}

impl PortExecutable for RemoteExecutable {
    fn footprint(&self) -> Option<abi::Footprint> {
        let request = Request::Footprint { executable: self.number };
        match self.worker.ask(&request, &[], self.worker.options.start).ok()? {
            Reply::Footprint(Some([weights, activations, scratch])) => {
                Some(abi::Footprint { weights, activations, scratch })
            }
            _ => None,
        }
    }

    fn context(self: Arc<Self>, slots: Slots) -> Result<Box<dyn PortContext>> {
        let (input_layout, output_layout) = (Layout::of(&slots.inputs), Layout::of(&slots.outputs));
        let inputs = Memory::new("fewbit-inputs", input_layout.bytes).map_err(no_memory)?;
        let outputs = Memory::new("fewbit-outputs", output_layout.bytes).map_err(no_memory)?;
        let (ours, theirs) = UnixStream::pair().map_err(no_memory)?;
        let request = Request::Context { executable: self.number, slots };
        let descriptors = [theirs.as_fd(), inputs.as_fd(), outputs.as_fd()];
        let Reply::Done = self.worker.ask(&request, &descriptors, self.worker.options.start)? else {
            return Err(self.worker.unexpected("context_new"));
        };
        let connection = Connection::new(ours);
        Ok(Box::new(RemoteContext {
            executable: self,
            connection,
            inputs,
            outputs,
            input_layout,
            output_layout,
        }))
    }
}

impl Drop for RemoteExecutable {
    fn drop(&mut self) {
        // A worker that is gone holds nothing any more.
        let request = Request::Free { executable: self.number };
        let _ = self.worker.ask(&request, &[], self.worker.options.start);
    }
}

struct RemoteContext {
    executable: Arc<RemoteExecutable>,
    connection: Connection,
    inputs: Memory,
    outputs: Memory,
    input_layout: Layout,
    output_layout: Layout,
}

impl PortContext for RemoteContext {
    fn run(&mut self, inputs: &[Tensor], outputs: &mut [Tensor]) -> Result<()> {
        let worker = &self.executable.worker;
        let ended = |fault: Fault| worker.ended(fault, Some("run"));
        for (tensor, &(start, len)) in inputs.iter().zip(&self.input_layout.spans) {
            self.inputs.bytes_mut()[start..start + len].copy_from_slice(tensor.bytes());
        }
        let deadline = Instant::now() + worker.options.run;
        self.connection.patience(Some(deadline)).map_err(ended)?;
        self.connection.send_byte(RUN_REQUEST).map_err(ended)?;
        match self.connection.receive_byte().map_err(ended)? {
            RUN_OK => {}
            RUN_FAILED => {
                let (error, _) = self.connection.receive::<PluginError>(Some(deadline)).map_err(ended)?;
                return Err(error.at(&worker.place));
            }
            other => return Err(ended(Fault::Garbled(format!("expected 0 or 1, found {other}")))),
        }
        for (tensor, &(start, len)) in outputs.iter_mut().zip(&self.output_layout.spans) {
            tensor.bytes_mut().copy_from_slice(&self.outputs.bytes()[start..start + len]);
        }
        Ok(())
    }

    fn node_times(&mut self, nodes: usize) -> Option<Vec<u64>> {
        use crate::worker::TIMES_REQUEST;
        let deadline = Instant::now() + self.executable.worker.options.start;
        self.connection.patience(Some(deadline)).ok()?;
        self.connection.send_byte(TIMES_REQUEST).ok()?;
        self.connection.send(&(nodes as u32), &[]).ok()?;
        let (times, _) = self.connection.receive::<Option<Vec<u64>>>(Some(deadline)).ok()?;
        times.filter(|times| times.len() == nodes)
    }
}
