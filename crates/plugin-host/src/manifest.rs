//! Manifests: what a plugin says of itself before its library is opened.
//!
//! Owns the form of `NAME.backend.toml` and every check that needs no foreign code: paths, platform, hash and ABI range.

use std::io::Read;
use std::path::{Component, Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{PluginError, PluginErrorKind, Result};

/// What the name of a manifest ends with.
pub const SUFFIX: &str = ".backend.toml";
/// Bytes that a manifest may have.
const MANIFEST_MAX: u64 = 1 << 20;
/// Bytes that a snapshot of a capability document may have.
pub(crate) const DOCUMENT_MAX: usize = 16 << 20;

/// A manifest that has been read and makes sense by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of this form: 1.
    pub manifest: u32,
    /// Reverse domain name: `com.example.npu`.
    pub id: String,
    /// Who makes it.
    pub vendor: String,
    /// The plugin's version.
    pub version: String,
    /// The library, beside the manifest.
    pub library: String,
    /// SHA-256 of the library in lower-case hexadecimal.
    pub sha256: String,
    /// What it was built against.
    pub abi: AbiRange,
    /// Where it runs.
    #[serde(default)]
    pub platform: Platform,
    /// How it is run.
    #[serde(default)]
    pub run: Run,
    /// What it does, for planning without the device.
    #[serde(default)]
    pub capabilities: Snapshot,
    /// Where the manifest lies.
    #[serde(skip)]
    path: PathBuf,
}

/// Versions of the ABI.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbiRange {
    /// The major version.
    pub major: u32,
    /// The minor version it was built against.
    pub minor: u32,
    /// The lowest minor version of a host that it works with.
    #[serde(default)]
    pub needs_host_minor: u32,
}

/// Where a plugin runs; what is left out does not matter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Platform {
    /// Operating systems: `linux`, `windows`, `macos`.
    pub os: Vec<String>,
    /// Architectures: `x86_64`, `aarch64`.
    pub arch: Vec<String>,
    /// Processor features, by the names that the Rust compiler has for them.
    pub cpu_features: Vec<String>,
    /// The C library and the lowest version: `glibc>=2.28`.
    pub libc: Option<String>,
}

/// Whether a plugin runs in a process of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Isolation {
    /// Always.
    Required,
    /// Unless it is trusted.
    #[default]
    Preferred,
    /// Never.
    None,
}

/// Whose threads a plugin uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThreadsOf {
    /// The host's, through `fewbit.host.parallel/1`, or none.
    #[default]
    Host,
    /// Its own.
    Own,
}

/// How a plugin is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Run {
    /// Whether in a process of its own.
    pub isolation: Isolation,
    /// Whose threads it uses.
    pub threads: ThreadsOf,
}

/// The capability document that comes with a plugin.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Snapshot {
    /// A JSON file beside the manifest.
    pub snapshot: Option<String>,
}

impl Manifest {
    /// Reads and checks the manifest at `path`; opens nothing else.
    ///
    /// # Errors
    /// [`PluginErrorKind::Manifest`] for a file that cannot be read, is too long, is no manifest, or names a file that
    /// does not lie beside it.
    pub fn read(path: &Path) -> Result<Self> {
        let fail = |message: String| PluginError::new(PluginErrorKind::Manifest, message).at_file(path);
        let text = read_bounded(path, MANIFEST_MAX).map_err(fail)?;
        let text = String::from_utf8(text).map_err(|_| fail("expected UTF-8".to_owned()))?;
        let mut manifest: Self = toml::from_str(&text).map_err(|error| {
            let line =
                error.span().map_or(1, |span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            let message = error.message().trim().replace('\n', ", ");
            PluginError::new(PluginErrorKind::Manifest, message).at(format!("{}:{line}", path.display()))
        })?;
        path.clone_into(&mut manifest.path);
        manifest.check().map_err(|error| error.at_file(path))?;
        Ok(manifest)
    }

    /// A manifest that was read and checked elsewhere, at its path.
    pub(crate) fn at(mut self, path: PathBuf) -> Self {
        self.path = path;
        self
    }

    /// Where the manifest lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where the library lies.
    pub fn library_path(&self) -> PathBuf {
        self.path.with_file_name(&self.library)
    }

    /// Where the snapshot of the capability document lies.
    pub fn snapshot_path(&self) -> Option<PathBuf> {
        self.capabilities.snapshot.as_ref().map(|name| self.path.with_file_name(name))
    }

    fn check(&self) -> Result<()> {
        let fail = |message: String| Err(PluginError::new(PluginErrorKind::Manifest, message));
        if self.manifest != 1 {
            return fail(format!("expected `manifest = 1`, found {}", self.manifest));
        }
        let part = |part: &str| {
            !part.is_empty()
                && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        if !self.id.contains('.') || !self.id.split('.').all(part) || self.id.len() > 128 {
            return fail(format!(
                "expected an id such as com.example.npu (lower-case letters, digits and hyphens), found `{}`",
                self.id
            ));
        }
        for (key, text) in [("vendor", &self.vendor), ("version", &self.version)] {
            if text.trim().is_empty() || text.len() > 128 || text.chars().any(char::is_control) {
                return fail(format!("expected a {key} of 1 to 128 characters on one line"));
            }
        }
        beside(&self.library)?;
        if let Some(snapshot) = &self.capabilities.snapshot {
            beside(snapshot)?;
        }
        let hexadecimal = self.sha256.len() == 64
            && self.sha256.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if !hexadecimal {
            return fail("expected a sha256 of 64 lower-case hexadecimal digits".to_owned());
        }
        Ok(())
    }

    /// Checks that the plugin is for this machine and this ABI.
    ///
    /// # Errors
    /// [`PluginErrorKind::Platform`] or [`PluginErrorKind::Abi`], naming what was expected and found.
    pub fn check_platform(&self) -> Result<()> {
        let lists = [
            ("system", &self.platform.os, std::env::consts::OS),
            ("architecture", &self.platform.arch, std::env::consts::ARCH),
        ];
        for (what, allowed, found) in lists {
            if !allowed.is_empty() && !allowed.iter().any(|name| name == found) {
                return Err(self.refused(
                    PluginErrorKind::Platform,
                    format!("expected the {what} {}, found {found}", allowed.join(" or ")),
                ));
            }
        }
        for feature in &self.platform.cpu_features {
            if !has_cpu_feature(feature) {
                return Err(self.refused(
                    PluginErrorKind::Platform,
                    format!("expected a processor with {feature}, which this one has not"),
                ));
            }
        }
        if let Some(wanted) = &self.platform.libc {
            check_libc(wanted).map_err(|message| self.refused(PluginErrorKind::Platform, message))?;
        }
        let AbiRange { major, minor, needs_host_minor } = self.abi;
        if major != fewbit_abi::ABI_MAJOR {
            return Err(self.refused(
                PluginErrorKind::Abi,
                format!(
                    "expected a plugin of ABI {}, found one of {major}.{minor}: it needs another build",
                    fewbit_abi::ABI_MAJOR
                ),
            ));
        }
        if needs_host_minor > fewbit_abi::ABI_MINOR {
            let host = format!("{}.{}", fewbit_abi::ABI_MAJOR, fewbit_abi::ABI_MINOR);
            return Err(self.refused(
                PluginErrorKind::Abi,
                format!("expected a program of ABI {major}.{needs_host_minor} or newer, this one has {host}"),
            ));
        }
        Ok(())
    }

    /// Checks that the library is the one that the manifest was written for.
    ///
    /// # Errors
    /// [`PluginErrorKind::Open`] for a library that cannot be read, [`PluginErrorKind::Hash`] for another one.
    pub fn check_hash(&self) -> Result<()> {
        let found = hash_file(&self.library_path()).map_err(|error| {
            self.refused(
                PluginErrorKind::Open,
                format!("cannot read {}: {error}", self.library_path().display()),
            )
        })?;
        if found == self.sha256 {
            return Ok(());
        }
        Err(self.refused(
            PluginErrorKind::Hash,
            format!("expected {} with sha256 {}, found {found}", self.library, self.sha256),
        ))
    }

    pub(crate) fn refused(&self, kind: PluginErrorKind, message: impl Into<String>) -> PluginError {
        PluginError::new(kind, message).at_file(&self.path)
    }
}

/// The SHA-256 of a file's content, in lower-case hexadecimal.
///
/// # Errors
/// What the system says.
pub fn hash_file(path: &Path) -> std::io::Result<String> {
    let mut file = std::fs::File::open(path)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => hash.update(&buffer[..read]),
        }
    }
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The content of a file of at most `limit` bytes.
pub(crate) fn read_bounded(path: &Path, limit: u64) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("cannot read the file: {error}"))?;
    let is_file = file.metadata().is_ok_and(|metadata| metadata.is_file());
    if !is_file {
        return Err("expected a file".to_owned());
    }
    let mut content = Vec::new();
    file.take(limit + 1)
        .read_to_end(&mut content)
        .map_err(|error| format!("cannot read the file: {error}"))?;
    if content.len() as u64 > limit {
        return Err(format!("expected at most {limit} bytes, found more"));
    }
    Ok(content)
}

/// A file name without any folder.
fn beside(name: &str) -> Result<()> {
    let mut components = Path::new(name).components();
    let plain = matches!((components.next(), components.next()), (Some(Component::Normal(_)), None))
        && !name.contains(['/', '\\', '\0']);
    if plain {
        return Ok(());
    }
    Err(PluginError::new(
        PluginErrorKind::Manifest,
        format!("expected the name of a file beside the manifest, found `{name}`"),
    ))
}

/// Whether the processor has a feature; names that are not known here are not had.
fn has_cpu_feature(name: &str) -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        macro_rules! any {
            ($($feature:tt)*) => {
                match name { $($feature => std::arch::is_x86_feature_detected!($feature),)* _ => false }
            };
        }
        any! {
            "sse2" "sse3" "ssse3" "sse4.1" "sse4.2" "popcnt" "avx" "avx2" "fma" "f16c" "bmi1" "bmi2" "avxvnni"
            "avx512f" "avx512bw" "avx512vl" "avx512dq" "avx512cd" "avx512vnni" "avx512bf16" "avx512fp16"
        }
    }
    #[cfg(target_arch = "aarch64")]
    {
        macro_rules! any {
            ($($feature:tt)*) => {
                match name { $($feature => std::arch::is_aarch64_feature_detected!($feature),)* _ => false }
            };
        }
        any! { "neon" "dotprod" "i8mm" "fp16" "bf16" "sve" "sve2" }
    }
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    {
        let _ = name;
        false
    }
}

/// Checks a statement such as `glibc>=2.28`.
fn check_libc(wanted: &str) -> Result<(), String> {
    let Some((name, version)) = wanted.split_once(">=") else {
        return Err(format!("expected a C library such as glibc>=2.28, found `{wanted}`"));
    };
    let numbers = |text: &str| text.split('.').map(str::parse).collect::<Result<Vec<u32>, _>>().ok();
    let Some(least) = numbers(version.trim()) else {
        return Err(format!("expected a version such as 2.28, found `{}`", version.trim()));
    };
    let Some((found_name, found)) = crate::load::libc_version() else {
        return Err(format!("expected {wanted}, and the C library of this system does not tell its version"));
    };
    if name.trim() != found_name {
        return Err(format!("expected {wanted}, found {found_name}"));
    }
    if numbers(&found).is_some_and(|found| found >= least) {
        Ok(())
    } else {
        Err(format!("expected {wanted}, found {found_name} {found}"))
    }
}

#[cfg(test)]
mod tests;
