//! Backend plugins for fewbit in safe Rust.
//!
//! Implement [`Plugin`], [`Device`], [`Executable`] and [`Context`], build a `cdylib`, and put
//!
//! ```ignore
//! fewbit_plugin_sdk::export!(MyPlugin);
//! ```
//!
//! into it once. The macro defines `fewbit_plugin_query`, the one symbol that a host looks for. Everything between
//! that symbol and your code is here: pointers, lengths, texts, extents, overlap and versions are checked before a
//! slice or a reference is made, results travel through the host's sinks and structs, and a panic becomes
//! `FEWBIT_INTERNAL` with its text instead of the end of the host's process. (So build with `panic = "unwind"`; the
//! macro refuses another setting.)
//!
//! What an operator means, which attributes it has and how integers round is in `docs/vendor/operators.md`; what a
//! capability document says is in `docs/design/capability.md`. `plugins/sample-rust` is a whole plugin.
//!
//! Owns the safe side of the boundary that `fewbit-abi` lays out, and nothing else of fewbit.

mod blob;
mod error;
mod host;
mod program;
mod raw;
mod table;
mod tensor;

use std::sync::Arc;

pub use error::{Error, Result, Status, Verdict, Why};
pub use fewbit_abi::Footprint;
pub use host::{Host, Level, Parallel};
pub use program::{Attribute, DType, Granularity, Node, Program, Quant, Scheme, Value};
pub use tensor::{Element, Input, Output};

#[doc(hidden)]
pub mod __private {
    pub use fewbit_abi::Plugin as Table;

    pub use crate::table::{Exported, Slot, table};
}

/// A plugin: what is true of it before any device is open, and how devices are found.
pub trait Plugin: Sized + Send + Sync + 'static {
    /// The manifest's id, such as `com.example.npu`.
    const ID: &'static str;
    /// Who makes it.
    const VENDOR: &'static str;
    /// The manifest's version.
    const VERSION: &'static str;
    /// What tells builds of one version apart, such as a commit.
    const BUILD: &'static str;
    /// Whether executables can be written and read: [`Executable::save`] and [`Device::load`].
    const BLOBS: bool = false;
    /// What it drives.
    type Device: Device;

    /// Called once, before everything else.
    ///
    /// # Errors
    /// Where the plugin cannot work at all: a driver is missing, for example. A machine without a device is not an
    /// error but a count of 0.
    fn init(host: Host) -> Result<Self>;

    /// How many devices there are.
    ///
    /// # Errors
    /// Where they cannot be counted.
    fn device_count(&self) -> Result<u32>;

    /// Opens the device of that index, which is below the count.
    ///
    /// # Errors
    /// Where it cannot be opened.
    fn open(&self, index: u32) -> Result<Self::Device>;
}

/// An open device; calls may come from several threads at once.
pub trait Device: Send + Sync + 'static {
    /// What a program becomes.
    type Executable: Executable;

    /// The capability document as JSON: a function of the device and the build, the same bytes at every call.
    ///
    /// # Errors
    /// Where the device cannot be asked.
    fn capabilities(&self) -> Result<String>;

    /// One verdict per node. A promise: a program all of whose nodes are supported compiles, save for memory and a
    /// lost device.
    ///
    /// # Errors
    /// Where no verdict can be given at all.
    fn supports(&self, program: &Program<'_>) -> Result<Vec<Verdict>>;

    /// Compiles a program. Copy what is kept: the program ends with the call.
    ///
    /// # Errors
    /// A refusal with its reason and node; memory; a lost device.
    fn compile(&self, program: &Program<'_>) -> Result<Self::Executable>;

    /// Reads what [`Executable::save`] wrote, in this very build of the plugin: id, version, build, length and check
    /// sum agree already.
    ///
    /// # Errors
    /// Where it cannot be read; by default always.
    fn load(&self, saved: &[u8]) -> Result<Self::Executable> {
        let _ = saved;
        Err(Error::unsupported(Why::OP, "this plugin does not load executables"))
    }
}

/// A compiled program: unchanging, shared by its contexts on several threads.
pub trait Executable: Send + Sync + 'static {
    /// What runs it.
    type Context: Context;

    /// A context; it may keep a clone of `self`.
    ///
    /// # Errors
    /// Memory, or a lost device.
    fn context(self: &Arc<Self>) -> Result<Self::Context>;

    /// The executable as bytes for [`Device::load`].
    ///
    /// # Errors
    /// Where it cannot be written; by default always.
    fn save(&self) -> Result<Vec<u8>> {
        Err(Error::unsupported(Why::OP, "this plugin does not save executables"))
    }

    /// What it and one context hold; `None` where that is not known.
    fn footprint(&self) -> Option<Footprint> {
        None
    }
}

/// Runs an executable, one run at a time, with scratch of its own.
pub trait Context: Send + 'static {
    /// One run: inputs and outputs in the program's order, each of the type, extents and length that the program
    /// says, none overlapping another. Writes every byte of every output, or fails.
    ///
    /// # Errors
    /// A lost device, memory. The context can be used again afterwards; after a panic it cannot.
    fn run(&mut self, inputs: &[Input<'_>], outputs: &mut [Output<'_>]) -> Result<()>;

    /// Nanoseconds of each node in the last run; `None` unless the program was compiled with the option `profile` 1.
    fn node_times(&self) -> Option<&[u64]> {
        None
    }
}

/// Defines `fewbit_plugin_query` for a type that implements [`Plugin`]. Once per library.
#[macro_export]
macro_rules! export {
    ($plugin:ty) => {
        #[cfg(panic = "abort")]
        compile_error!("a plugin needs panic = \"unwind\": a panic must not end the host's process");

        $crate::__slot!($plugin);

        /// The plugin's table of functions, or null where the host's major version is not served.
        #[unsafe(no_mangle)]
        pub extern "C" fn fewbit_plugin_query(
            host_major: u32,
            host_minor: u32,
        ) -> *const $crate::__private::Table {
            $crate::__private::table::<$plugin>(host_major, host_minor)
        }
    };
}

/// Where the plugin's one instance lives.
#[doc(hidden)]
#[macro_export]
macro_rules! __slot {
    ($plugin:ty) => {
        const _: () = {
            static SLOT: $crate::__private::Slot<$plugin> = $crate::__private::Slot::new();

            impl $crate::__private::Exported for $plugin {
                fn slot() -> &'static $crate::__private::Slot<Self> {
                    &SLOT
                }
            }
        };
    };
}
