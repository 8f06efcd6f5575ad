//! The worker's own side: reads requests, calls the plugin, answers.

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use memmap2::{Mmap, MmapMut};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Resource, Rlimit, setrlimit};

use super::Layout;
use super::memory::{map_to_read, map_to_write};
use super::observe::{Subject, Surroundings};
use super::protocol::{
    Connection, Event, Fault, Limits, RUN_FAILED, RUN_OK, RUN_REQUEST, Reply, Request, Shipped, TIMES_REQUEST,
};
use crate::adapter::{Api, ContextHandle, DeviceHandle, ExecutableHandle, Slots};
use crate::error::{PluginError, PluginErrorKind, Result};
use crate::program::{Program, Span};

/// How long a worker whose host is gone may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// The main function of a worker: what a program does when it was started as one.
///
/// The socket to the host is standard input. Returns when the host closes it.
pub fn main() -> ExitCode {
    match serve() {
        Ok(()) | Err(Fault::Closed) => ExitCode::SUCCESS,
        Err(Fault::Late | Fault::Garbled(_)) => ExitCode::FAILURE,
    }
}

fn serve() -> std::result::Result<(), Fault> {
    // The socket moves away from descriptor 0, which a plugin might read.
    let socket: OwnedFd = std::io::stdin().as_fd().try_clone_to_owned()?;
    rustix::stdio::dup2_stdin(std::fs::File::open("/dev/null")?)?;
    watch(socket.try_clone()?);
    let events = Events(Arc::new(Mutex::new(Connection::new(UnixStream::from(socket.try_clone()?)))));
    let mut requests = Connection::new(UnixStream::from(socket));
    let mut worker =
        Worker { events, before: None, plugin: None, executables: Vec::new(), threads: Vec::new() };
    loop {
        let (request, descriptors) = match requests.receive::<Request>(None) {
            Ok(received) => received,
            Err(Fault::Closed) => break,
            Err(fault) => return Err(fault),
        };
        let reply = worker.answer(request, descriptors).unwrap_or_else(Reply::Failed);
        worker.events.send(&Event::Reply(reply))?;
    }
    worker.end();
    Ok(())
}

/// Ends the process when the host is gone and the plugin does not let it end by itself.
fn watch(socket: OwnedFd) {
    std::thread::spawn(move || {
        // A hang-up is always reported; nothing else is asked for.
        let _ = rustix::io::retry_on_intr(|| poll(&mut [PollFd::new(&socket, PollFlags::empty())], None));
        std::thread::sleep(GRACE);
        std::process::abort();
    });
}

/// The way to the host for several writers.
#[derive(Clone)]
pub(super) struct Events(Arc<Mutex<Connection>>);

impl Events {
    fn send(&self, event: &Event) -> std::result::Result<(), Fault> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).send(event, &[])
    }

    /// Announces a call.
    pub(super) fn stage(&self, name: &str) {
        // A host that is gone is found by the loop that reads requests.
        let _ = self.send(&Event::Stage(name.to_owned()));
    }
}

struct Loaded {
    api: Arc<Api>,
    devices: Vec<Arc<DeviceHandle>>,
}

struct Worker {
    events: Events,
    /// How things were before the plugin was loaded.
    before: Option<Surroundings>,
    plugin: Option<Loaded>,
    /// By number; `None` where freed.
    executables: Vec<Option<Arc<ExecutableHandle>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Worker {
    fn answer(&mut self, request: Request, descriptors: Vec<OwnedFd>) -> Result<Reply> {
        let mut descriptors = descriptors.into_iter();
        match request {
            Request::Load { manifest, path, trust, log_level, limits } => {
                limit(limits)?;
                self.before = Some(Surroundings::now());
                let manifest = manifest.at(path);
                let logs = self.events.clone();
                let log = Box::new(move |level: i32, target: &str, text: &str| {
                    let _ =
                        logs.send(&Event::Log { level, target: target.to_owned(), text: text.to_owned() });
                });
                let events = self.events.clone();
                let mut stage = |name: &str| events.stage(name);
                let api = Arc::new(crate::load::load(&manifest, trust, log, log_level, &mut stage)?);
                self.events.stage("device_count");
                let count = api.device_count()?;
                let mut devices = Vec::new();
                for index in 0..count {
                    self.events.stage("device_open");
                    devices.push(api.open(index)?);
                }
                let identity = api.identity().clone();
                self.plugin = Some(Loaded { api, devices });
                Ok(Reply::Loaded { identity, devices: count })
            }
            Request::Capabilities { device } => {
                self.events.stage("capabilities");
                Ok(Reply::Document(self.device(device)?.capabilities()?))
            }
            Request::Supports { device, program } => {
                let (program, constants) = unpack(program, descriptors.next())?;
                self.events.stage("supports");
                let verdicts = self.device(device)?.supports(&program, &|span| at(&constants, span))?;
                Ok(Reply::Verdicts(verdicts))
            }
            Request::Compile { device, program } => {
                let (program, constants) = unpack(program, descriptors.next())?;
                self.events.stage("compile");
                let executable = self.device(device)?.compile(&program, &|span| at(&constants, span))?;
                self.executables.push(Some(executable));
                Ok(Reply::Executable(self.executables.len() as u32 - 1))
            }
            Request::Footprint { executable } => {
                self.events.stage("footprint");
                let footprint = self.executable(executable)?.footprint();
                Ok(Reply::Footprint(footprint.map(|f| [f.weights, f.activations, f.scratch])))
            }
            Request::Context { executable, slots } => {
                let (Some(socket), Some(inputs), Some(outputs)) =
                    (descriptors.next(), descriptors.next(), descriptors.next())
                else {
                    return Err(protocol("expected three descriptors"));
                };
                self.events.stage("context_new");
                let context = self.executable(executable)?.context(slots.clone())?;
                let seat = Seat::new(context, &slots, inputs, outputs)
                    .map_err(|error| protocol(&error.to_string()))?;
                let connection = Connection::new(UnixStream::from(socket));
                self.threads.retain(|thread| !thread.is_finished());
                self.threads.push(std::thread::spawn(move || seat.serve(connection)));
                Ok(Reply::Done)
            }
            Request::Free { executable } => {
                self.events.stage("executable_free");
                if let Some(entry) = self.executables.get_mut(executable as usize) {
                    *entry = None;
                }
                Ok(Reply::Done)
            }
            Request::Observe { check, program } => {
                let program = program.map(|program| unpack(program, descriptors.next())).transpose()?;
                let loaded = self.loaded()?;
                let subject = Subject {
                    api: &loaded.api,
                    devices: &loaded.devices,
                    program: program.as_ref().map(|(program, constants)| (program, &constants[..])),
                    before: self.before.as_ref(),
                    events: &self.events,
                };
                Ok(Reply::Observed(subject.observe(check)))
            }
        }
    }

    fn loaded(&self) -> Result<&Loaded> {
        self.plugin.as_ref().ok_or_else(|| protocol("expected Load first"))
    }

    fn device(&self, index: u32) -> Result<&Arc<DeviceHandle>> {
        self.loaded()?.devices.get(index as usize).ok_or_else(|| protocol("expected the number of a device"))
    }

    fn executable(&self, index: u32) -> Result<&Arc<ExecutableHandle>> {
        let found = self.executables.get(index as usize).and_then(Option::as_ref);
        found.ok_or_else(|| protocol("expected the number of an executable"))
    }

    /// Frees everything in the order that the ABI asks for.
    fn end(mut self) {
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
        self.executables.clear();
        if let Some(Loaded { api, devices }) = self.plugin.take() {
            drop(devices);
            api.deinit();
        }
    }
}

fn protocol(message: &str) -> PluginError {
    PluginError::new(PluginErrorKind::Protocol, message)
}

fn limit(limits: Limits) -> Result<()> {
    let wanted = [
        (Resource::Core, Some(0)),
        (Resource::Cpu, limits.cpu_seconds),
        (Resource::As, limits.address_space),
        (Resource::Fsize, limits.file_size),
    ];
    for (resource, limit) in wanted {
        if limit.is_some() {
            setrlimit(resource, Rlimit { current: limit, maximum: limit }).map_err(|error| {
                PluginError::new(PluginErrorKind::Worker, format!("cannot limit the worker: {error}"))
            })?;
        }
    }
    Ok(())
}

/// A program with the memory of its constants.
fn unpack(shipped: Shipped, descriptor: Option<OwnedFd>) -> Result<(Program, Mmap)> {
    let descriptor = descriptor.ok_or_else(|| protocol("expected the constants' descriptor"))?;
    let bytes = usize::try_from(shipped.constant_bytes).map_err(|_| protocol("expected fewer constants"))?;
    let constants = map_to_read(descriptor, bytes).map_err(|error| protocol(&error.to_string()))?;
    Ok((shipped.program, constants))
}

/// The constant that lies at `span`.
pub(super) fn at(constants: &[u8], span: Span) -> Option<&[u8]> {
    let start = usize::try_from(span.offset).ok()?;
    constants.get(start..start.checked_add(usize::try_from(span.len).ok()?)?)
}

/// A context with its memory.
struct Seat {
    context: ContextHandle,
    inputs: Mmap,
    outputs: MmapMut,
    input_layout: Layout,
    output_layout: Layout,
}

impl Seat {
    fn new(
        context: ContextHandle,
        slots: &Slots,
        inputs: OwnedFd,
        outputs: OwnedFd,
    ) -> std::io::Result<Self> {
        let (input_layout, output_layout) = (Layout::of(&slots.inputs), Layout::of(&slots.outputs));
        let inputs = map_to_read(inputs, input_layout.bytes)?;
        let mut outputs = map_to_write(outputs, output_layout.bytes)?;
        output_layout.set_guards(&mut outputs);
        Ok(Self { context, inputs, outputs, input_layout, output_layout })
    }

    /// Runs as often as the host asks.
    fn serve(mut self, mut connection: Connection) {
        while let Ok(request) = connection.receive_byte() {
            let sent = match request {
                RUN_REQUEST => match self.run() {
                    Ok(()) => connection.send_byte(RUN_OK),
                    Err(error) => {
                        connection.send_byte(RUN_FAILED).and_then(|()| connection.send(&error, &[]))
                    }
                },
                TIMES_REQUEST => {
                    let nodes = connection.receive::<u32>(None);
                    nodes
                        .and_then(|(nodes, _)| connection.send(&self.context.node_times(nodes as usize), &[]))
                }
                _ => break,
            };
            if sent.is_err() {
                break;
            }
        }
    }

    fn run(&mut self) -> Result<()> {
        let inputs = self.input_layout.spans.iter().map(|&(start, len)| &self.inputs[start..start + len]);
        let outputs = self.output_layout.split(&mut self.outputs);
        self.context.run(inputs, outputs.into_iter())?;
        let Some(tensor) = self.output_layout.broken_guard(&self.outputs) else { return Ok(()) };
        self.output_layout.set_guards(&mut self.outputs);
        let message = format!("expected writes inside the outputs, found one beside output {tensor}");
        Err(PluginError::new(PluginErrorKind::Bounds, message).during("run"))
    }
}
