//! The error of this crate: which step of finding, loading or calling a plugin went wrong.

use std::fmt;
use std::path::Path;

use fewbit_core::{CoreError, CoreErrorKind};
use serde::{Deserialize, Serialize};

/// What went wrong, one kind per step, for programs that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum PluginErrorKind {
    /// The manifest cannot be read or says what cannot be.
    Manifest,
    /// Two manifests have one id.
    Duplicate,
    /// The plugin is for another system or processor.
    Platform,
    /// The library is not the one that the manifest was written for.
    Hash,
    /// The plugin needs another version of the ABI.
    Abi,
    /// The library cannot be opened.
    Open,
    /// The library does not export the query function.
    Symbol,
    /// The table that the query function gives cannot be.
    Table,
    /// The table is of another plugin than the manifest.
    Identity,
    /// The plugin refused to start.
    Init,
    /// Devices cannot be counted or opened.
    Device,
    /// The capability document cannot be.
    Capability,
    /// The capability document differs from the manifest's snapshot.
    Snapshot,
    /// A call was answered with an error.
    Call,
    /// An answer broke a rule of the ABI.
    Contract,
    /// The plugin wrote outside the memory it was given.
    Bounds,
    /// The worker ended by a signal.
    Crash,
    /// The worker ended by itself.
    Exit,
    /// The worker did not answer in time.
    Timeout,
    /// The worker's answer cannot be understood.
    Protocol,
    /// No worker could be started.
    Worker,
}

fewbit_core::kinds_with_codes! { PluginErrorKind {
    Manifest = "PLUG-MANIFEST", "a faulty manifest",
        "The plugin's manifest cannot be read, has an unknown key or a wrong type, or names a file that it must not: \
         the library lies beside its manifest.",
        "Correct the line that the message names; docs/vendor/abi.md lists every key.";
    Duplicate = "PLUG-DUPLICATE", "two plugins of one id",
        "Two manifests that were found have the same id, so neither is loaded.",
        "Remove one of the two files that the message names, or give only one folder with --plugin-dir.";
    Platform = "PLUG-PLATFORM", "a plugin for another machine",
        "The manifest names another operating system, architecture, processor feature or C library.",
        "Take the vendor's build for this machine.";
    Hash = "PLUG-HASH", "a library that was changed",
        "The SHA-256 of the library is not the one in the manifest: the file was replaced, or the manifest was not \
         written again after a build.",
        "Install the plugin again. While you develop one, load it with --dev, which does not compare the hash.";
    Abi = "PLUG-ABI", "another version of the ABI",
        "The plugin was built for another major version of the plugin ABI, or needs a newer minor one.",
        "Take the vendor's build for this program, or a newer program.";
    Open = "PLUG-OPEN", "a library that cannot be opened",
        "The system's loader refused the library, usually because another library that it needs is missing. The \
         message repeats the loader's.",
        "Install what is missing, or put it where the loader looks.";
    Symbol = "PLUG-SYMBOL", "no plugin",
        "The library does not export fewbit_plugin_query, the one function that a plugin has to export.",
        "Check that the manifest names the right library, and that the function is exported.";
    Table = "PLUG-TABLE", "a table that cannot be",
        "The table that the plugin answers has a wrong first word, a wrong size, another major version or a required \
         function that is null.",
        "Tell the vendor; the first fields of fewbit_plugin must be as plugin.h says.";
    Identity = "PLUG-IDENTITY", "another plugin than the manifest's",
        "The id or version inside the library is not the manifest's.",
        "Install the plugin again: manifest and library belong together.";
    Init = "PLUG-INIT", "a plugin that does not start",
        "The plugin's init function answered with an error, which the message repeats.",
        "Follow the message; usually a driver or a licence is missing.";
    Device = "PLUG-DEVICE", "a device that does not open",
        "The plugin could not count or open its devices.",
        "Check that the device is attached and that you may use it.";
    Capability = "PLUG-CAPABILITY", "a faulty capability document",
        "What the plugin says of its device is no capability document: no UTF-8, too long, of another schema, with \
         an unknown key or a figure that is no number.",
        "Tell the vendor; docs/design/capability.md has every key.";
    Snapshot = "PLUG-SNAPSHOT", "a device unlike its snapshot",
        "The device's capability document is not the snapshot that the manifest names, so plans made without the \
         device may not fit it.",
        "Plan with the device attached, or ask the vendor for a snapshot of this device.";
    Call = "PLUG-CALL", "a call that failed",
        "The plugin answered a call with an error, which the message repeats.",
        "Follow the message; run the device's own diagnosis.";
    Contract = "PLUG-CONTRACT", "an answer against the rules",
        "The plugin's answer breaks a rule of the ABI: success without an object, a refusal without a reason, a \
         number out of its range, a node that was promised and then refused.",
        "Tell the vendor, with the report of the conformance kit.";
    Bounds = "PLUG-BOUNDS", "a write outside the buffers",
        "The plugin wrote before the beginning or behind the end of a tensor. What it computed is thrown away.",
        "Do not use the plugin; tell the vendor, with the report of the conformance kit.";
    Crash = "PLUG-CRASH", "a plugin that crashed",
        "The process in which the plugin ran ended by a signal, in the step that the message names. This program is \
         not harmed.",
        "Tell the vendor, with the step and the signal.";
    Exit = "PLUG-EXIT", "a plugin that ended its process",
        "The process in which the plugin ran ended without an answer, which a plugin must never cause.",
        "Tell the vendor, with the step that the message names.";
    Timeout = "PLUG-TIMEOUT", "a plugin that does not answer",
        "A call took longer than allowed, and its process was ended.",
        "Tell the vendor, with the step that the message names.";
    Protocol = "PLUG-PROTOCOL", "a worker that is not understood",
        "What came from the plugin's process is no answer: the plugin wrote to a descriptor that is not its own, or \
         the two programs are of different versions.",
        "Use one version of the program; otherwise tell the vendor.";
    Worker = "PLUG-WORKER", "no process for the plugin",
        "The process in which the plugin was to run could not be started, or shared memory could not be had.",
        "Check the limits on processes, open files and memory.";
} }

/// An error about a plugin: kind, plugin, step, message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub struct PluginError {
    kind: PluginErrorKind,
    /// The manifest, the library or the plugin's id.
    place: Option<String>,
    /// The call that was made.
    stage: Option<String>,
    message: String,
    help: Option<String>,
    /// What the plugin said of a refusal: bits of `FEWBIT_WHY_*`.
    why: u32,
    /// The node that the plugin named.
    node: Option<u32>,
    /// The status that the plugin answered with.
    status: i32,
}

impl PluginError {
    pub(crate) fn new(kind: PluginErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            place: None,
            stage: None,
            message: message.into(),
            help: None,
            why: 0,
            node: None,
            status: fewbit_abi::OK,
        }
    }

    /// What a call answered.
    pub(crate) fn answered(
        kind: PluginErrorKind,
        status: i32,
        why: u32,
        node: Option<u32>,
        text: &str,
    ) -> Self {
        let said = if text.is_empty() { "no message" } else { text };
        let message = format!("{}: {said}", status_name(status));
        Self { why, node, status, ..Self::new(kind, message) }
    }

    /// The same error at `place`, unless it has one.
    #[must_use]
    pub(crate) fn at(mut self, place: impl Into<String>) -> Self {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    /// The same error at a file, unless it has a place.
    #[must_use]
    pub(crate) fn at_file(self, path: &Path) -> Self {
        self.at(path.display().to_string())
    }

    /// The same error in the call `stage`, unless it has one.
    #[must_use]
    pub(crate) fn during(mut self, stage: &str) -> Self {
        self.stage.get_or_insert_with(|| stage.to_owned());
        self
    }

    #[must_use]
    pub(crate) fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> PluginErrorKind {
        self.kind
    }

    /// The stable code, which `fewbit explain` understands.
    pub fn code(&self) -> &'static str {
        self.kind.entry().code
    }

    /// The manifest, library or plugin.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// The call during which it went wrong: `dlopen`, `init`, `run`, …
    pub fn stage(&self) -> Option<&str> {
        self.stage.as_deref()
    }

    /// The message alone.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it, where there is more to say than the code's page does.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// The plugin's reasons: bits of `FEWBIT_WHY_*`, 0 where it gave none.
    pub fn why(&self) -> u32 {
        self.why
    }

    /// The index of the node that the plugin named.
    pub fn node(&self) -> Option<u32> {
        self.node
    }

    /// The status of the call, 0 where the error is not the answer to a call.
    pub fn status(&self) -> i32 {
        self.status
    }
}

impl fmt::Display for PluginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(place) = &self.place {
            write!(f, "{place}: ")?;
        }
        f.write_str(&self.message)?;
        match &self.stage {
            Some(stage) => write!(f, ", in {stage}"),
            None => Ok(()),
        }
    }
}

impl From<PluginError> for CoreError {
    fn from(error: PluginError) -> Self {
        let kind = if error.status == fewbit_abi::UNSUPPORTED {
            CoreErrorKind::Unsupported
        } else {
            CoreErrorKind::Backend
        };
        let code = error.code();
        let help = error.help.clone().unwrap_or_else(|| format!("`fewbit explain {code}` says more"));
        let message = match &error.stage {
            Some(stage) => format!("{} in {stage} ({code})", error.message),
            None => format!("{} ({code})", error.message),
        };
        let core = CoreError::new(kind, message).help(help);
        match error.place {
            Some(place) => core.at(place),
            None => core,
        }
    }
}

/// The result of this crate's fallible functions.
pub type Result<T, E = PluginError> = std::result::Result<T, E>;

/// A status in words.
fn status_name(status: i32) -> String {
    use fewbit_abi as abi;
    match status {
        abi::INVALID_ARGUMENT => "invalid argument".to_owned(),
        abi::UNSUPPORTED => "unsupported".to_owned(),
        abi::OUT_OF_MEMORY => "out of memory".to_owned(),
        abi::INCOMPATIBLE => "incompatible".to_owned(),
        abi::DEVICE_LOST => "device lost".to_owned(),
        abi::CANCELLED => "cancelled".to_owned(),
        abi::INTERNAL => "internal error".to_owned(),
        other => format!("status {other}"),
    }
}

/// Reasons in words: `element type, shape`.
pub(crate) fn reasons(why: u32) -> String {
    let known: Vec<&str> =
        fewbit_abi::REASONS.iter().filter(|(bit, _)| why & bit != 0).map(|(_, name)| *name).collect();
    if known.is_empty() { "no reason".to_owned() } else { known.join(", ") }
}
