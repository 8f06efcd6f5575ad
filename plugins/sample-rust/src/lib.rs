//! A backend plugin to learn from, in safe Rust over `fewbit-plugin-sdk`.
//!
//! | file | owns |
//! |---|---|
//! | `lib.rs` | the plugin, its one device, executables and contexts |
//! | `capabilities.json` | the capability document: what the planner believes and the conformance kit proves |
//! | `operators.rs` | which nodes are supported, and how each becomes a step |
//! | `kernels.rs` | the arithmetic |

mod kernels;
mod operators;

use std::sync::Arc;

use fewbit_plugin_sdk::{
    Context, Device, Error, Executable, Footprint, Host, Input, Level, Output, Plugin, Program, Result,
    Verdict, Why,
};

use operators::Step;

/// The plugin: it needs no driver, so there is nothing to keep but the host.
#[derive(Debug)]
pub struct Sample {
    host: Host,
}

impl Plugin for Sample {
    const ID: &'static str = "org.fewbit.sample-rust";
    const VENDOR: &'static str = "fewbit";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const BUILD: &'static str = "cargo";
    type Device = Processor;

    fn init(host: Host) -> Result<Self> {
        Ok(Sample { host })
    }

    fn device_count(&self) -> Result<u32> {
        Ok(1)
    }

    fn open(&self, _index: u32) -> Result<Processor> {
        Ok(Processor { host: self.host.clone() })
    }
}

/// The one device: this machine's processor.
#[derive(Debug)]
pub struct Processor {
    host: Host,
}

impl Device for Processor {
    type Executable = Compiled;

    fn capabilities(&self) -> Result<String> {
        Ok(include_str!("capabilities.json").to_owned())
    }

    // One function answers `supports` and `compile`, so they cannot disagree.
    fn supports(&self, program: &Program<'_>) -> Result<Vec<Verdict>> {
        Ok(program.nodes().iter().map(|node| Step::new(program, node).into()).collect())
    }

    fn compile(&self, program: &Program<'_>) -> Result<Compiled> {
        let steps: Vec<Step> =
            program.nodes().iter().map(|node| Step::new(program, node)).collect::<Result<_>>()?;
        // Constants are the host's until this call returns: what is kept is copied.
        let mut values: Vec<Kept> = Vec::with_capacity(program.values().len());
        for value in program.values() {
            values.push(match value.data {
                Some(data) => Kept::Constant(data.into()),
                // Inputs that no step reads may be of any extents; then nothing is kept for them.
                None => Kept::Bytes(value.byte_len().unwrap_or(0)),
            });
        }
        self.host.log(Level::Debug, "compile", &format!("{} steps", steps.len()));
        Ok(Compiled { steps, values, inputs: program.inputs().to_vec(), outputs: program.outputs().to_vec() })
    }
}

/// What is known of a value when compiling ends.
#[derive(Debug)]
enum Kept {
    Constant(Box<[u8]>),
    Bytes(usize),
}

/// A compiled program; contexts share it.
#[derive(Debug)]
pub struct Compiled {
    steps: Vec<Step>,
    values: Vec<Kept>,
    inputs: Vec<u32>,
    outputs: Vec<u32>,
}

impl Executable for Compiled {
    type Context = Running;

    fn context(self: &Arc<Self>) -> Result<Running> {
        let buffers = self.values.iter().map(|value| match value {
            Kept::Constant(_) => Ok(Vec::new()),
            Kept::Bytes(bytes) => zeros(*bytes),
        });
        Ok(Running { buffers: buffers.collect::<Result<_>>()?, compiled: Arc::clone(self) })
    }

    fn footprint(&self) -> Option<Footprint> {
        let mut footprint = Footprint::default();
        for value in &self.values {
            match value {
                Kept::Constant(data) => footprint.weights += data.len() as u64,
                Kept::Bytes(bytes) => footprint.activations += *bytes as u64,
            }
        }
        Some(footprint)
    }
}

/// A buffer, or an error where there is no memory for it.
fn zeros(bytes: usize) -> Result<Vec<u8>> {
    let mut buffer = Vec::new();
    buffer
        .try_reserve_exact(bytes)
        .map_err(|_| Error::out_of_memory(format!("no memory for {bytes} bytes of activations")))?;
    buffer.resize(bytes, 0);
    Ok(buffer)
}

/// Runs a program, one run at a time: it has a buffer for every value that is not constant.
#[derive(Debug)]
pub struct Running {
    compiled: Arc<Compiled>,
    buffers: Vec<Vec<u8>>,
}

impl Running {
    /// The bytes of a value.
    fn bytes(&self, value: u32) -> &[u8] {
        match &self.compiled.values[value as usize] {
            Kept::Constant(data) => data,
            Kept::Bytes(_) => &self.buffers[value as usize],
        }
    }
}

impl Context for Running {
    fn run(&mut self, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()> {
        let compiled = Arc::clone(&self.compiled);
        for (input, &value) in inputs.iter().zip(&compiled.inputs) {
            let buffer = &mut self.buffers[value as usize];
            if buffer.len() == input.bytes().len() {
                buffer.copy_from_slice(input.bytes());
            }
        }
        for step in &compiled.steps {
            // Taken out while it is written, so that operands can be read beside it.
            let mut output = std::mem::take(&mut self.buffers[step.output() as usize]);
            let operands: Vec<&[u8]> = step.operands().iter().map(|&value| self.bytes(value)).collect();
            kernels::run(step, &operands, &mut output);
            self.buffers[step.output() as usize] = output;
        }
        for (output, &value) in outputs.iter_mut().zip(&compiled.outputs) {
            let bytes = self.bytes(value);
            if bytes.len() != output.bytes_mut().len() {
                return Err(Error::unsupported(
                    Why::SHAPE,
                    format!("the extents of output {value} are not fixed"),
                ));
            }
            output.bytes_mut().copy_from_slice(bytes);
        }
        Ok(())
    }
}

fewbit_plugin_sdk::export!(Sample);
