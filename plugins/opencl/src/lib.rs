//! A backend over OpenCL: exact 8-bit and 32-bit float kernels for the operators of CNNs and encoders.
//!
//! The driver is loaded at run time; without one there are no devices, and nothing fails. `docs/vendor/opencl.md` says
//! what the backend needs, what it declares and how it is tested.
//!
//! | file | owns |
//! |---|---|
//! | `device.rs` | finding devices, what they say of themselves, tuning per class |
//! | `capability.rs`, `capabilities.json` | the capability document |
//! | `kernels.rs`, `kernels/` | the kernels, building them, binaries on disk |
//! | `lower.rs`, `lower/` | from a program's nodes to launches |
//! | `plan.rs` | launches, and which tensors share a buffer |
//! | `execute.rs` | executables, contexts, runs |

mod capability;
mod device;
mod execute;
mod kernels;
mod lower;
mod plan;

use std::sync::Arc;

use fewbit_plugin_sdk::{Device, Error, Host, Level, Plugin, Program, Result, Verdict, Why};

pub use device::{Facts, Kind, Products, Tuning};
pub use execute::{Compiled, Running};

use device::Opened;

/// How integer products are computed, for tests and measurements: `floats` or `packed`.
const PRODUCTS_VARIABLE: &str = "FEWBIT_OPENCL_PRODUCTS";
/// Rows and vector of tiles, such as `8x16`.
const TILE_VARIABLE: &str = "FEWBIT_OPENCL_TILE";
/// `no`: divisions are corrected in kernels even where the device's round correctly.
const DIVIDE_VARIABLE: &str = "FEWBIT_OPENCL_DIVIDE";

/// The plugin.
#[derive(Debug)]
pub struct OpenCl {
    host: Host,
}

impl Plugin for OpenCl {
    const ID: &'static str = "org.fewbit.opencl";
    const VENDOR: &'static str = "fewbit";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const BUILD: &'static str = "cargo";
    type Device = Processor;

    fn init(host: Host) -> Result<Self> {
        Ok(OpenCl { host })
    }

    fn device_count(&self) -> Result<u32> {
        Ok(device::find(Some(&self.host))?.len() as u32)
    }

    fn open(&self, index: u32) -> Result<Processor> {
        let Some((handle, facts)) = device::find(Some(&self.host))?.into_iter().nth(index as usize) else {
            return Err(Error::device_lost(format!("there is no device {index} any more")));
        };
        let tuning = chosen(&facts)?;
        self.host.log(Level::Info, "opencl", &format!("{}, {}: {tuning:?}", facts.name, facts.driver));
        Ok(Processor { opened: Opened::new(handle, facts, tuning, Some(self.host.clone()))?, index })
    }
}

/// The tuning of a device, as far as the environment does not choose.
fn chosen(facts: &Facts) -> Result<Tuning> {
    let mut tuning = facts.tuning();
    match std::env::var(PRODUCTS_VARIABLE).as_deref() {
        Ok("floats") => tuning.products = Products::Floats,
        Ok("packed") if facts.integer_dot => tuning.products = Products::Packed,
        Ok("packed") => {
            return Err(Error::unsupported(
                Why::DRIVER,
                format!("{PRODUCTS_VARIABLE}=packed: {} has no packed products", facts.name),
            ));
        }
        _ => {}
    }
    if let Ok(tile) = std::env::var(TILE_VARIABLE) {
        let numbers =
            tile.split_once('x').and_then(|(rows, vector)| Some((rows.parse().ok()?, vector.parse().ok()?)));
        let fits = numbers.filter(|(rows, vector)| (1..=32).contains(rows) && [4, 8, 16].contains(vector));
        let Some((rows, vector)) = fits else {
            let message = format!("{TILE_VARIABLE}={tile}: expected 1 to 32 rows x 4, 8 or 16");
            return Err(Error::unsupported(Why::ATTRIBUTE, message));
        };
        (tuning.rows, tuning.vector) = (rows, vector);
    }
    if std::env::var(DIVIDE_VARIABLE).is_ok_and(|value| value == "no") {
        tuning.exact_divide = false;
    }
    Ok(tuning)
}

/// A device of a platform of OpenCL.
pub struct Processor {
    opened: Arc<Opened>,
    index: u32,
}

impl std::fmt::Debug for Processor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Processor").field("facts", &self.opened.facts).finish_non_exhaustive()
    }
}

impl Device for Processor {
    type Executable = Compiled;

    fn capabilities(&self) -> Result<String> {
        capability::document(&self.opened.facts, self.opened.tuning, self.index)
    }

    fn supports(&self, program: &Program<'_>) -> Result<Vec<Verdict>> {
        Ok(lower::verdicts(program, self.opened.tuning))
    }

    fn compile(&self, program: &Program<'_>) -> Result<Compiled> {
        let plan = lower::lower(program, self.opened.tuning)?;
        self.opened.log(
            Level::Debug,
            &format!("{} nodes become {} launches", program.nodes().len(), plan.launches.len()),
        );
        Compiled::new(Arc::clone(&self.opened), plan, program.option_int("profile") == Some(1))
    }
}

fewbit_plugin_sdk::export!(OpenCl);
