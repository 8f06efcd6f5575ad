//! A plugin for these tests: it negates i8 tensors, and misbehaves where a node's name says so.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use fewbit_plugin_sdk::*;

/// Objects of [`Negate`] that are alive.
pub(crate) static ALIVE: AtomicU32 = AtomicU32::new(0);

/// Counts itself.
pub(crate) struct Counted;

impl Counted {
    fn new() -> Counted {
        ALIVE.fetch_add(1, Ordering::SeqCst);
        Counted
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        ALIVE.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) struct Negate {
    host: Host,
    _counted: Counted,
}

pub(crate) struct NegateDevice {
    host: Host,
    _counted: Counted,
}

pub(crate) struct NegateExecutable {
    host: Host,
    nodes: Vec<String>,
    _counted: Counted,
}

pub(crate) struct NegateContext {
    executable: Arc<NegateExecutable>,
    times: Vec<u64>,
    _counted: Counted,
}

impl Plugin for Negate {
    const ID: &'static str = "com.example.negate";
    const VENDOR: &'static str = "Example";
    const VERSION: &'static str = "1.2.3";
    const BUILD: &'static str = "test";
    const BLOBS: bool = true;
    type Device = NegateDevice;

    fn init(host: Host) -> Result<Self> {
        host.log(Level::Info, "negate", "hello");
        host.log(Level::Trace, "negate", "too much");
        Ok(Negate { host, _counted: Counted::new() })
    }

    fn device_count(&self) -> Result<u32> {
        Ok(1)
    }

    fn open(&self, _index: u32) -> Result<NegateDevice> {
        Ok(NegateDevice { host: self.host.clone(), _counted: Counted::new() })
    }
}

fn check(program: &Program<'_>, node: &Node<'_>) -> Result<()> {
    if node.op_type != "Neg" {
        return Err(node.unsupported(Why::OP, "only Neg"));
    }
    node.only(&["steps"])?;
    for value in node.inputs.iter().flatten().chain(node.outputs) {
        if program.value(*value).dtype != DType::I8 {
            return Err(node.unsupported(Why::DTYPE, "only i8"));
        }
    }
    Ok(())
}

impl Device for NegateDevice {
    type Executable = NegateExecutable;

    fn capabilities(&self) -> Result<String> {
        Ok(format!("{{\"pad\": \"{}\"}}", "x".repeat(100_000)))
    }

    fn supports(&self, program: &Program<'_>) -> Result<Vec<Verdict>> {
        Ok(program.nodes().iter().map(|node| check(program, node).into()).collect())
    }

    fn compile(&self, program: &Program<'_>) -> Result<NegateExecutable> {
        for node in program.nodes() {
            check(program, node)?;
        }
        assert!(program.nodes().iter().all(|node| node.name != "panic-in-compile"), "compile said no");
        Ok(NegateExecutable {
            host: self.host.clone(),
            nodes: program.nodes().iter().map(|node| node.name.to_owned()).collect(),
            _counted: Counted::new(),
        })
    }

    fn load(&self, saved: &[u8]) -> Result<NegateExecutable> {
        let nodes = std::str::from_utf8(saved).map_err(|_| Error::invalid("not text"))?;
        Ok(NegateExecutable {
            host: self.host.clone(),
            nodes: nodes.lines().map(str::to_owned).collect(),
            _counted: Counted::new(),
        })
    }
}

impl Executable for NegateExecutable {
    type Context = NegateContext;

    fn context(self: &Arc<Self>) -> Result<NegateContext> {
        Ok(NegateContext {
            executable: Arc::clone(self),
            times: vec![7; self.nodes.len()],
            _counted: Counted::new(),
        })
    }

    fn save(&self) -> Result<Vec<u8>> {
        Ok(self.nodes.join("\n").into_bytes())
    }

    fn footprint(&self) -> Option<Footprint> {
        Some(Footprint { weights: 1, activations: 2, scratch: 3 })
    }
}

impl Context for NegateContext {
    fn run(&mut self, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
        assert!(self.executable.nodes.iter().all(|name| name != "panic-in-run"), "run said {}", "no");
        if self.executable.nodes.iter().any(|name| name == "panic-in-body") {
            self.executable.host.for_each(8, |index| assert!(index != 5, "body five"));
        }
        let from = inputs[0].as_slice::<i8>()?;
        let to = std::sync::Mutex::new(outputs[0].as_mut_slice::<i8>()?);
        let odd = self.executable.nodes.len() % 2 == 1;
        self.executable.host.for_each(from.len() as u32, |index| {
            let x = from[index as usize];
            to.lock().unwrap()[index as usize] = if odd { x.wrapping_neg() } else { x };
        });
        Ok(())
    }

    fn node_times(&self) -> Option<&[u64]> {
        Some(&self.times)
    }
}

fewbit_plugin_sdk::__slot!(Negate);

/// Panics in `init`.
pub(crate) struct Panicking;

/// What is never reached.
#[derive(Clone, Copy)]
pub(crate) struct Nothing;

impl Plugin for Panicking {
    const ID: &'static str = "com.example.panicking";
    const VENDOR: &'static str = "Example";
    const VERSION: &'static str = "0.0.1";
    const BUILD: &'static str = "test";
    type Device = Nothing;

    fn init(_host: Host) -> Result<Self> {
        panic!("{}", "no such driver \u{1f600}".repeat(60))
    }

    fn device_count(&self) -> Result<u32> {
        Ok(0)
    }

    fn open(&self, _index: u32) -> Result<Nothing> {
        Ok(Nothing)
    }
}

impl Device for Nothing {
    type Executable = Nothing;

    fn capabilities(&self) -> Result<String> {
        Ok(String::new())
    }

    fn supports(&self, _program: &Program<'_>) -> Result<Vec<Verdict>> {
        Ok(Vec::new())
    }

    fn compile(&self, _program: &Program<'_>) -> Result<Nothing> {
        Ok(Nothing)
    }
}

impl Executable for Nothing {
    type Context = Nothing;

    fn context(self: &Arc<Self>) -> Result<Nothing> {
        Ok(Nothing)
    }
}

impl Context for Nothing {
    fn run(&mut self, _inputs: &[Input<'_>], _outputs: &mut [Output<'_>]) -> Result<()> {
        Ok(())
    }
}

fewbit_plugin_sdk::__slot!(Panicking);
