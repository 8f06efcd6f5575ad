//! Devices: how they are found, and what each says of itself.

use std::sync::{Arc, OnceLock};

use fewbit_plugin_sdk::{Error, Host, Level, Result, Why};
use opencl3::context::Context;
use opencl3::device::{CL_DEVICE_TYPE_ALL, CL_DEVICE_TYPE_CPU, CL_DEVICE_TYPE_GPU, Device as Handle};
use opencl3::error_codes::ClError;
use opencl3::platform::get_platforms;

use crate::kernels::Kernels;

/// `CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT`.
const CORRECT_DIVISION: u64 = 1 << 7;
/// Status codes that mean a lack of memory: of the device, of resources, of the host.
const NO_MEMORY: [i32; 3] = [-4, -5, -6];
/// What a loader without any platform answers.
const PLATFORM_NOT_FOUND: i32 = -1001;
/// What `opencl3` answers where there is no loader.
const NO_LOADER: i32 = -2000;

/// An error of OpenCL as the plugin's.
pub(crate) fn failed(what: &str) -> impl Fn(ClError) -> Error + '_ {
    move |error| {
        let message = format!("{what}: {error}");
        let answer = if NO_MEMORY.contains(&error.0) {
            Error::out_of_memory(message)
        } else {
            Error::internal(message)
        };
        answer.with_vendor_code(error.0)
    }
}

/// What a device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A processor: wide vectors, caches, no local memory of its own.
    Cpu,
    /// A graphics processor.
    Gpu,
    /// Anything else.
    Other,
}

/// How integer products are computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Products {
    /// In floats, whose sums are exact as far as they go.
    Floats,
    /// By packed products of four bytes, where the device has them.
    Packed,
}

/// What can be chosen per device; the defaults are [`Facts::tuning`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tuning {
    /// Channels or columns of a tile: 4, 8 or 16.
    pub vector: usize,
    /// Positions or rows of a tile.
    pub rows: usize,
    /// How integer products are computed.
    pub products: Products,
    /// Whether `/` may be taken to round correctly.
    pub exact_divide: bool,
}

/// What a device says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "a list of what a device has")]
pub struct Facts {
    /// Its name.
    pub name: String,
    /// Its platform's name.
    pub platform: String,
    /// Who made it.
    pub vendor: String,
    /// The driver's version.
    pub driver: String,
    /// The version of OpenCL.
    pub version: String,
    /// What it is.
    pub kind: Kind,
    /// How many compute units it has.
    pub compute_units: u32,
    /// Bytes of memory.
    pub memory: u64,
    /// Bytes that one buffer may have.
    pub buffer_max: u64,
    /// Bytes of memory that a work group shares.
    pub local_memory: u64,
    /// Work items that a work group may have.
    pub group_max: usize,
    /// Whether it computes with 16-bit floats (`cl_khr_fp16`).
    pub fp16: bool,
    /// Whether it has packed products of four bytes (`cl_khr_integer_dot_product`).
    pub integer_dot: bool,
    /// Whether it has subgroups, by extension or feature.
    pub subgroups: bool,
    /// Whether division can be asked to round correctly.
    pub exact_divide: bool,
    /// Floats that it likes to have in a vector.
    pub vector: usize,
}

impl Facts {
    fn of(handle: Handle, platform: String) -> Result<Facts, ClError> {
        let extensions = handle.extensions()?;
        let has = |name: &str| extensions.split_ascii_whitespace().any(|found| found == name);
        let device_type = handle.dev_type()?;
        Ok(Facts {
            name: handle.name()?.trim().to_owned(),
            platform,
            vendor: handle.vendor()?.trim().to_owned(),
            driver: handle.driver_version()?,
            version: handle.version()?.trim().to_owned(),
            kind: match device_type {
                kind if kind & CL_DEVICE_TYPE_GPU != 0 => Kind::Gpu,
                kind if kind & CL_DEVICE_TYPE_CPU != 0 => Kind::Cpu,
                _ => Kind::Other,
            },
            compute_units: handle.max_compute_units()?,
            memory: handle.global_mem_size()?,
            buffer_max: handle.max_mem_alloc_size()?,
            local_memory: handle.local_mem_size()?,
            group_max: handle.max_work_group_size()?,
            fp16: has("cl_khr_fp16"),
            integer_dot: has("cl_khr_integer_dot_product"),
            // Runtimes of OpenCL 3.0 may list subgroups as a feature of the language alone.
            subgroups: has("cl_khr_subgroups") || handle.max_num_sub_groups().is_ok_and(|most| most > 0),
            exact_divide: handle.single_fp_config()? & CORRECT_DIVISION != 0,
            vector: handle.native_vector_width_float()? as usize,
        })
    }

    /// What measurements on devices of this class chose; `docs/vendor/opencl.md` has them.
    pub fn tuning(&self) -> Tuning {
        let (vector, rows, products) = match self.kind {
            // Tiles that fill the vector registers. Packed products are emulated on processors, and slower.
            Kind::Cpu => (if self.vector >= 16 { 16 } else { 8 }, 8, Products::Floats),
            // Work items with few registers; four channels are one packed word.
            _ => (4, 4, if self.integer_dot { Products::Packed } else { Products::Floats }),
        };
        Tuning { vector, rows, products, exact_divide: self.exact_divide }
    }
}

/// An open device: its facts, its OpenCL context, and the kernels once they are built.
pub(crate) struct Opened {
    pub(crate) facts: Facts,
    pub(crate) tuning: Tuning,
    pub(crate) handle: Handle,
    pub(crate) context: Context,
    pub(crate) host: Option<Host>,
    kernels: OnceLock<Result<Kernels>>,
}

impl Opened {
    pub(crate) fn new(
        handle: Handle,
        facts: Facts,
        tuning: Tuning,
        host: Option<Host>,
    ) -> Result<Arc<Opened>> {
        let context = Context::from_device(&handle).map_err(failed("the device has no context to give"))?;
        Ok(Arc::new(Opened { facts, tuning, handle, context, host, kernels: OnceLock::new() }))
    }

    /// The kernels, built at the first call.
    pub(crate) fn kernels(&self) -> Result<&Kernels> {
        self.kernels.get_or_init(|| Kernels::build(self)).as_ref().map_err(Clone::clone)
    }

    pub(crate) fn log(&self, level: Level, text: &str) {
        if let Some(host) = &self.host {
            host.log(level, "opencl", text);
        }
    }
}

/// Every device of every platform, processors last.
///
/// A machine without a loader or without platforms has none; that is no error. Devices that cannot be asked, or that
/// lack what every kernel needs, are left out with a line for the log.
pub(crate) fn find(host: Option<&Host>) -> Result<Vec<(Handle, Facts)>> {
    let platforms = match get_platforms() {
        Ok(platforms) => platforms,
        Err(ClError(NO_LOADER | PLATFORM_NOT_FOUND)) => return Ok(Vec::new()),
        Err(error) => {
            return Err(failed("platforms cannot be listed")(error).because(Why::DRIVER));
        }
    };
    let mut found = Vec::new();
    for platform in platforms {
        let name = platform.name().unwrap_or_default();
        // A platform without devices answers with an error.
        for id in platform.get_devices(CL_DEVICE_TYPE_ALL).unwrap_or_default() {
            let handle = Handle::new(id);
            let usable = handle.available().unwrap_or(false)
                && handle.compiler_available().unwrap_or(false)
                && handle.endian_little().unwrap_or(false);
            match Facts::of(handle, name.trim().to_owned()) {
                Ok(facts) if usable => found.push((handle, facts)),
                Ok(facts) => {
                    say(host, &format!("{} is left out: it has no compiler or is not available", facts.name));
                }
                Err(error) => say(host, &format!("a device of {name} is left out: {error}")),
            }
        }
    }
    // A stable order: graphics processors first.
    found.sort_by_key(|(_, facts)| facts.kind == Kind::Cpu);
    Ok(found)
}

fn say(host: Option<&Host>, text: &str) {
    if let Some(host) = host {
        host.log(Level::Warn, "opencl", text);
    }
}
