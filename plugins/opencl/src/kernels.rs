//! The kernels' source and its compiled form.
//!
//! Everything is one program per device, built when the first executable is compiled. Its binary is kept on disk under
//! a key of device, driver, options and source, so that later processes need no compiler.

#![expect(unsafe_code, reason = "binaries are given to the driver")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use fewbit_plugin_sdk::{Error, Level, Result, Why};
use opencl3::program::Program;
use sha2::{Digest, Sha256};

use crate::device::{Opened, Products, failed};

const SOURCES: [&str; 4] = [
    include_str!("kernels/common.cl"),
    include_str!("kernels/product.cl"),
    include_str!("kernels/element.cl"),
    include_str!("kernels/window.cl"),
];
/// The folder of binaries; `off` for none.
const CACHE_VARIABLE: &str = "FEWBIT_OPENCL_CACHE";
/// Bytes of a check sum.
const SUM: usize = 32;

/// The built kernels of a device.
pub(crate) struct Kernels {
    pub(crate) program: Program,
}

impl Kernels {
    pub(crate) fn build(device: &Opened) -> Result<Kernels> {
        Self::build_in(device, folder().as_deref())
    }

    /// As [`build`](Self::build) with binaries in `folder`.
    pub(crate) fn build_in(device: &Opened, folder: Option<&Path>) -> Result<Kernels> {
        let tuning = device.tuning;
        let packed = tuning.products == Products::Packed;
        let mut options = format!(
            "-DVEC={} -DROWS={} -DEXACT_DIVIDE={} -DDOT={}",
            tuning.vector,
            tuning.rows,
            u8::from(tuning.exact_divide),
            u8::from(packed),
        );
        if tuning.exact_divide {
            options.push_str(" -cl-fp32-correctly-rounded-divide-sqrt");
        }
        options.push_str(if packed { " -cl-std=CL3.0" } else { " -cl-std=CL1.2" });
        let source = source(packed);
        let file = folder.map(|folder| folder.join(key(device, &options, &source)));
        if let Some(program) = file.as_deref().and_then(|file| load(device, file, &options)) {
            device.log(Level::Debug, "the kernels come from the cache");
            return Ok(Kernels { program });
        }
        let program =
            Program::create_and_build_from_source(&device.context, &source, &options).map_err(|log| {
                let start: String = log.chars().take(300).collect();
                Error::internal(format!("the driver does not build the kernels: {start}"))
                    .because(Why::DRIVER)
            })?;
        if let Some(file) = file {
            // A cache that cannot be written costs time and nothing else.
            if let Err(error) = store(&program, &file) {
                device.log(Level::Debug, &format!("{} is not written: {error}", file.display()));
            }
        }
        Ok(Kernels { program })
    }
}

fn source(packed: bool) -> String {
    let mut source = String::new();
    if packed {
        source.push_str("#pragma OPENCL EXTENSION cl_khr_integer_dot_product : enable\n");
    }
    source.extend(SOURCES);
    source
}

/// A name that no other device, driver, set of options or source has.
fn key(device: &Opened, options: &str, source: &str) -> String {
    let facts = &device.facts;
    let mut hash = Sha256::new();
    for part in [&facts.platform, &facts.name, &facts.vendor, &facts.driver, &facts.version, options, source]
    {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut name = String::new();
    for byte in hash.finalize().iter().take(16) {
        let _ = write!(name, "{byte:02x}");
    }
    name + ".clbin"
}

/// Where binaries are kept: what the variable says, else the user's folder for caches.
fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    match set(CACHE_VARIABLE) {
        Some(value) if value == "off" => None,
        Some(value) => Some(value.into()),
        None => {
            let base = set("XDG_CACHE_HOME")
                .map(PathBuf::from)
                .or_else(|| Some(PathBuf::from(set("HOME")?).join(".cache")))?;
            Some(base.join("fewbit").join("opencl"))
        }
    }
}

/// A program from a file; `None` where there is none, it is damaged, or the driver does not take it.
fn load(device: &Opened, file: &Path, options: &str) -> Option<Program> {
    let bytes = fs::read(file).ok()?;
    let (sum, binary) = bytes.split_at_checked(SUM)?;
    if Sha256::digest(binary)[..] != *sum {
        return None;
    }
    let id = device.handle.id();
    // SAFETY: this device's driver made the binary, which its check sum and the key in its name say is whole and its
    // own.
    let mut program = unsafe { Program::create_from_binary(&device.context, &[id], &[binary]) }.ok()?;
    program.build(&[id], options).ok()?;
    Some(program)
}

fn store(program: &Program, file: &Path) -> std::result::Result<(), String> {
    let binaries = program.get_binaries().map_err(failed("no binary")).map_err(|error| error.to_string())?;
    let [binary] = &binaries[..] else { return Err("expected one binary".to_owned()) };
    let text = |error: std::io::Error| error.to_string();
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(text)?;
    }
    let mut bytes = Sha256::digest(binary).to_vec();
    bytes.extend(binary);
    // Another process may read or write it now: it appears whole.
    let new = file.with_extension(format!("{}.new", std::process::id()));
    fs::write(&new, bytes).map_err(text)?;
    fs::rename(&new, file).map_err(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device;

    #[test]
    fn binaries_are_kept_read_again_and_replaced_where_damaged() {
        let Some((handle, facts)) = device::find(None).unwrap().into_iter().next() else {
            let required = std::env::var("FEWBIT_REQUIRE_OPENCL").is_ok_and(|value| value == "1");
            assert!(!required, "FEWBIT_REQUIRE_OPENCL=1 and there is no OpenCL device");
            fewbit_testing::report_skip("there is no OpenCL device");
            return;
        };
        let tuning = facts.tuning();
        let device = Opened::new(handle, facts, tuning, None).unwrap();
        let folder = std::env::temp_dir().join(format!("fewbit-opencl-{}", std::process::id()));
        Kernels::build_in(&device, Some(&folder)).unwrap();
        let files: Vec<PathBuf> = fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        let [file] = &files[..] else { panic!("expected one binary, found {files:?}") };
        let whole = fs::read(file).unwrap();
        // What is whole is taken as it is: no other bytes are written.
        let written = fs::metadata(file).unwrap().modified().unwrap();
        Kernels::build_in(&device, Some(&folder)).unwrap();
        assert_eq!(fs::metadata(file).unwrap().modified().unwrap(), written);
        // What is not is built anew.
        fs::write(file, &whole[..whole.len() - 1]).unwrap();
        Kernels::build_in(&device, Some(&folder)).unwrap();
        let again = fs::read(file).unwrap();
        let (sum, binary) = again.split_at(SUM);
        assert_eq!(Sha256::digest(binary)[..], *sum);
        fs::remove_dir_all(folder).unwrap();
    }
}
