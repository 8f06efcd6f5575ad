//! The device under test: how to open it, and who it says it is.

use std::sync::{Arc, Mutex, PoisonError};

use fewbit_core::backend::Device;
use fewbit_core::capability::NodeQuery;
use fewbit_core::capability::{Capability, Numerics, Support, Verdict};
use fewbit_core::ir::{DType, Graph, Node};
use fewbit_core::plan::Precision;
use fewbit_plugin_host::{Check, Observed, PluginError};
use serde::{Deserialize, Serialize};

use crate::error::{KitError, KitErrorKind, Result};

/// Who a backend says it is, and what its files are.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// `cpu`, or the plugin's id.
    pub id: String,
    /// Its vendor.
    pub vendor: String,
    /// Its version.
    pub version: String,
    /// Its build.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub build: String,
    /// SHA-256 of the library, of a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library_sha256: Option<String>,
    /// The library's file name, of a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub library: Option<String>,
    /// SHA-256 of the manifest, of a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_sha256: Option<String>,
    /// The ABI that it speaks, `1.0`, of a plugin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub abi: Option<String>,
    /// Whether it ran in a process of its own.
    pub isolated: bool,
}

/// Looks at what only somebody who calls a plugin's functions one by one can see.
pub(crate) type Observer = dyn Fn(Check, Option<&Graph>) -> Result<Observed, PluginError> + Send + Sync;
type Open = dyn Fn() -> Result<Arc<dyn Device>> + Send + Sync;

/// A device under test.
pub struct Subject {
    /// Who it says it is.
    pub identity: Identity,
    /// What it declared when it was opened first.
    pub capability: Capability,
    /// How to name it in commands: `--builtin cpu`, `--manifest FILE`.
    pub selector: String,
    open: Box<Open>,
    observer: Option<Box<Observer>>,
    device: Mutex<Option<Arc<dyn Device>>>,
}

impl Subject {
    /// Opens the device that `open` gives; it is asked again after a crash.
    ///
    /// # Errors
    /// [`KitErrorKind::Subject`] when it cannot be opened or its document cannot be used.
    pub fn new(
        identity: Identity,
        selector: impl Into<String>,
        open: impl Fn() -> Result<Arc<dyn Device>> + Send + Sync + 'static,
    ) -> Result<Self> {
        let device = open()?;
        let refused = |error: fewbit_core::CoreError| {
            KitError::new(KitErrorKind::Subject, error.to_string()).at("capabilities")
        };
        let capability = device.capabilities().map_err(refused)?;
        capability.validate().map_err(refused)?;
        let device = Mutex::new(Some(device));
        Ok(Self {
            identity,
            capability,
            selector: selector.into(),
            open: Box::new(open),
            observer: None,
            device,
        })
    }

    /// The same, of which a plugin's own observations can be made.
    pub(crate) fn observed_by(self, observer: Box<Observer>) -> Self {
        Self { observer: Some(observer), ..self }
    }

    /// Whether it is behind the plugin ABI.
    pub(crate) fn is_plugin(&self) -> bool {
        self.observer.is_some()
    }

    /// Makes an observation; `None` where the subject is no plugin.
    pub(crate) fn observe(
        &self,
        check: Check,
        program: Option<&Graph>,
    ) -> Option<Result<Observed, PluginError>> {
        self.observer.as_ref().map(|observer| observer(check, program))
    }

    /// The device, opened again where the last one was given up.
    pub(crate) fn device(&self) -> Result<Arc<dyn Device>> {
        let mut device = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(device) = &*device {
            return Ok(Arc::clone(device));
        }
        let opened = (self.open)()?;
        *device = Some(Arc::clone(&opened));
        Ok(opened)
    }

    /// Another device of the same backend, opened for one purpose.
    pub(crate) fn fresh(&self) -> Result<Arc<dyn Device>> {
        (self.open)()
    }

    /// Gives the device up: it crashed or hangs.
    pub(crate) fn give_up(&self) {
        *self.device.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// How exact it says its integers are: the least exact of its processors.
    pub(crate) fn numerics(&self) -> Numerics {
        least_exact(&self.capability)
    }

    /// What its document says of a node; `None` of conversions, which no rule names.
    pub(crate) fn declared(&self, program: &Graph, node: &Node) -> Option<Verdict> {
        if node.op.is_conversion() {
            return None;
        }
        let query = NodeQuery::new(program, node, precision(program, node));
        let mut verdicts = self.capability.processors.iter().map(|processor| processor.judge(&query));
        let first = verdicts.next()?;
        Some(verdicts.fold(first, |best, next| if next.support > best.support { next } else { best }))
    }

    /// Whether its document allows every node of the program.
    pub(crate) fn declares(&self, program: &Graph) -> bool {
        program.nodes().all(|(_, node)| {
            self.declared(program, node).is_none_or(|verdict| verdict.support != Support::Unsupported)
        })
    }
}

/// The precision at which a node of a lowered program computes.
pub(crate) fn precision(program: &Graph, node: &Node) -> Precision {
    if let Some(precision) = node.precision {
        return precision;
    }
    let dtype = |id| {
        let value = program.value(id);
        value.quant.as_ref().and(value.dtype)
    };
    let activation = node.input(0).and_then(dtype).or_else(|| node.outputs.first().copied().and_then(dtype));
    let weights = node.input(1).filter(|_| node.op.has_weights()).and_then(dtype);
    match (activation, weights) {
        (Some(DType::I16 | DType::U16), Some(DType::I4 | DType::U4)) => Precision::W4A16,
        (Some(DType::I16 | DType::U16), _) => Precision::W8A16,
        (Some(_), Some(DType::I4 | DType::U4)) => Precision::W4A8,
        (Some(_), _) => Precision::W8A8,
        (None, Some(DType::I4 | DType::U4)) => Precision::W4A16F,
        (None, Some(_)) => Precision::W8A16F,
        (None, None) => Precision::F32,
    }
}

/// The newest ABI that this kit speaks.
pub(crate) fn host_abi() -> String {
    format!("{}.{}", fewbit_plugin_host::ABI_VERSION.0, fewbit_plugin_host::ABI_VERSION.1)
}

/// How exact the least exact processor of a document says its integers are.
pub(crate) fn least_exact(document: &Capability) -> Numerics {
    let all = || document.processors.iter().map(|processor| processor.numerics);
    [Numerics::Tolerance, Numerics::OffByOne]
        .into_iter()
        .find(|wanted| all().any(|numerics| numerics == *wanted))
        .unwrap_or(Numerics::Exact)
}
