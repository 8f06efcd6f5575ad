//! The document: a device, its processors, their figures and where each figure comes from.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Rule, validate};
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::DType;
use crate::plan::Precision;
use crate::quant::{Granularity, Scheme, Symmetry};

/// What a device does, from a live backend, a plugin's snapshot or `targets/NAME.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capability {
    /// Version of this schema: [`Capability::SCHEMA`].
    pub schema: u32,
    /// What people type: lower-case letters, digits, `-` and `_`.
    pub name: String,
    /// What people call the device.
    pub title: String,
    /// Who makes it.
    pub vendor: String,
    /// One or two sentences: what it is, and how a model gets there.
    pub summary: String,
    /// What the device's toolchain takes.
    pub artifact: Artifact,
    /// What a person should know beside the rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// What computes, the preferred one first.
    pub processors: Vec<Processor>,
}

/// The file that a device's toolchain takes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Artifact {
    /// Its format.
    pub format: ArtifactFormat,
    /// The newest ONNX operator set that is read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opset_max: Option<u32>,
    /// Where this comes from.
    pub source: String,
}

/// A file format.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ArtifactFormat {
    /// ONNX with QuantizeLinear and DequantizeLinear.
    OnnxQdq,
    /// A TFLite flatbuffer.
    Tflite,
}

impl ArtifactFormat {
    /// The name in documents and messages.
    pub fn name(self) -> &'static str {
        match self {
            ArtifactFormat::OnnxQdq => "onnx-qdq",
            ArtifactFormat::Tflite => "tflite",
        }
    }
}

/// A form of quantized activations: element types, the preferred one first, and where zero may lie.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ActivationForm {
    /// Element types in storage, the preferred one first.
    pub dtypes: Vec<DType>,
    /// `symmetric`: zero point 0 (signed) or the middle (unsigned); `affine`: any.
    pub symmetry: Symmetry,
}

impl ActivationForm {
    /// The scheme of the preferred element type, one scale per tensor; `None` where no type is listed.
    pub fn scheme(&self) -> Option<Scheme> {
        let &dtype = self.dtypes.first()?;
        Some(Scheme { dtype, symmetry: self.symmetry, granularity: Granularity::PerTensor })
    }
}

/// What kind of hardware a processor is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ProcessorKind {
    /// A general-purpose processor.
    Cpu,
    /// A graphics processor.
    Gpu,
    /// An accelerator for neural networks.
    Npu,
    /// A microcontroller.
    Mcu,
}

/// How near results are to the integer arithmetic of [`quant::convert`](crate::quant::convert).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Numerics {
    /// Equal to the bit.
    Exact,
    /// At most one code away.
    OffByOne,
    /// Within a tolerance that the notes name.
    Tolerance,
}

/// How a result between two codes is rounded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rounding {
    /// To the even one on ties.
    HalfToEven,
    /// Away from zero on ties.
    HalfAwayFromZero,
    /// Upwards on ties.
    HalfUp,
    /// Not documented.
    Unknown,
}

/// One processor of a device.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Processor {
    /// Unique within the document.
    pub id: String,
    /// What kind of hardware it is.
    pub kind: ProcessorKind,
    /// How near its integer results are to ours.
    pub numerics: Numerics,
    /// How it rounds.
    pub rounding: Rounding,
    /// Whether sums of two products saturate in 16 bits, so that weights need a spare bit.
    pub saturates_intermediate: bool,
    /// What products are summed in.
    pub accumulator: DType,
    /// The form in which plans give it 8-bit activations; required where a rule has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub activations: Option<ActivationForm>,
    /// Layouts of activations, the preferred one first: `nchw`, `nhwc`, or the device's own.
    pub layouts: Vec<String>,
    /// Whether extents may be known only at run time.
    pub dynamic_shapes: bool,
    /// Whether only one connected part of a model runs here: what follows a refused node runs elsewhere.
    pub single_partition: bool,
    /// Where the statements above come from.
    pub source: String,
    /// Operators whose quantized inputs and outputs must share scale and zero point.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared_scale: Option<SharedScale>,
    /// Operators whose output has a scale and zero point that cannot be chosen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fixed_scale: Vec<FixedScale>,
    /// Its memories, the nearest one first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub memories: Vec<Memory>,
    /// Peak rates.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub roofline: Vec<Roofline>,
    /// Precisions that run natively and whose peak rate is not known.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rate_unknown: Vec<Precision>,
    /// Energy per operation.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub energy: Vec<Energy>,
    /// What runs.
    pub rules: Vec<Rule>,
}

/// Operators whose quantized inputs and outputs must share scale and zero point.
///
/// Operators that move elements do so everywhere and need not be listed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedScale {
    /// Operators or groups.
    pub ops: Vec<String>,
    /// Where this comes from.
    pub source: String,
}

/// An operator whose output has a scale and zero point that cannot be chosen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FixedScale {
    /// The operator.
    pub op: String,
    /// The element type this holds for.
    pub dtype: DType,
    /// The scale.
    pub scale: f32,
    /// The zero point.
    pub zero_point: i32,
    /// Where this comes from.
    pub source: String,
}

/// What a memory holds while a model runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Holds {
    /// Constants.
    Weights,
    /// What nodes read and write.
    Activations,
}

/// A memory and how fast it is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Memory {
    /// Its name, such as `sram` or `dram`.
    pub name: String,
    /// Its size; left out where unknown or as large as the board maker likes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    /// Bandwidth in 10^9 bytes per second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gbps: Option<f64>,
    /// What it holds.
    pub holds: Vec<Holds>,
    /// Whether a model that does not fit cannot run (else it is slower).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub must_fit: bool,
    /// Where the figures come from.
    pub source: String,
}

/// The peak rate at one precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Roofline {
    /// The precision.
    pub precision: Precision,
    /// 10^9 multiply-accumulates per second.
    pub gmacs: f64,
    /// Where the figure comes from, with the arithmetic where it is derived.
    pub source: String,
}

/// Energy per operation at one precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Energy {
    /// The precision.
    pub precision: Precision,
    /// Picojoules per multiply-accumulate.
    pub pj_per_mac: f64,
    /// Picojoules per byte that crosses the outermost memory.
    pub pj_per_byte: f64,
    /// Where the figures come from.
    pub source: String,
}

/// The version alone: read first, so that another version gives one clear error.
#[derive(Clone, Copy, Deserialize)]
struct Version {
    schema: Option<u32>,
}

impl Capability {
    /// The version of the schema that this build reads and writes.
    pub const SCHEMA: u32 = 1;

    /// Reads a TOML document; `place` is the file's name in errors.
    ///
    /// # Errors
    /// [`CoreErrorKind::Capability`] at `place:line` for text that is not TOML, an unknown or missing key, a wrong
    /// type, another schema version; at `place` for a document that contradicts itself.
    pub fn from_toml(text: &str, place: &str) -> Result<Self> {
        let fail = |error: &toml::de::Error| {
            let line = error.span().map(|span| 1 + text[..span.start.min(text.len())].matches('\n').count());
            malformed(place, line, error.message())
        };
        let version: Version = toml::from_str(text).map_err(|error| fail(&error))?;
        check_version(version, place)?;
        let document: Self = toml::from_str(text).map_err(|error| fail(&error))?;
        document.validate().map_err(|error| error.at(place))?;
        Ok(document)
    }

    /// Reads a JSON document; `place` is the file's name in errors.
    ///
    /// # Errors
    /// As [`Capability::from_toml`].
    pub fn from_json(text: &str, place: &str) -> Result<Self> {
        let fail = |error: &serde_json::Error| {
            let message = error.to_string();
            // serde_json ends its message with the position, which the place already says.
            let message = message.split(" at line ").next().unwrap_or_default();
            malformed(place, Some(error.line()).filter(|&line| line > 0), message)
        };
        let version: Version = serde_json::from_str(text).map_err(|error| fail(&error))?;
        check_version(version, place)?;
        let document: Self = serde_json::from_str(text).map_err(|error| fail(&error))?;
        document.validate().map_err(|error| error.at(place))?;
        Ok(document)
    }

    /// The document as JSON, indented, the same for equal documents.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a document has string keys and finite numbers")
    }

    /// The SHA-256, in lower-case hexadecimal, of [`Capability::to_json`].
    pub fn hash(&self) -> String {
        hexadecimal(&Sha256::digest(self.to_json().as_bytes()))
    }

    /// Checks the document against itself: names, figures, forms, rules.
    ///
    /// # Errors
    /// [`CoreErrorKind::Capability`] naming the first part that cannot be, and what it contradicts.
    pub fn validate(&self) -> Result<()> {
        validate::validate(self)
    }

    /// The processor of that id.
    pub fn processor(&self, id: &str) -> Option<&Processor> {
        self.processors.iter().find(|processor| processor.id == id)
    }
}

impl Processor {
    /// The rule of that id.
    pub fn rule(&self, id: &str) -> Option<&Rule> {
        self.rules.iter().find(|rule| rule.id == id)
    }

    /// Whether quantized inputs and outputs of this operator must share scale and zero point by the document.
    pub fn shares_scale(&self, op: &str) -> bool {
        self.shared_scale.as_ref().is_some_and(|shared| super::ops::covers(&shared.ops, op))
    }

    /// The parameters that this operator's output must have in `dtype`.
    pub fn fixed_scale(&self, op: &str, dtype: DType) -> Option<&FixedScale> {
        self.fixed_scale.iter().find(|fixed| fixed.op == op && fixed.dtype == dtype)
    }

    /// The peak rate at `precision` in 10^9 multiply-accumulates per second.
    pub fn gmacs(&self, precision: Precision) -> Option<f64> {
        self.roofline.iter().find(|roofline| roofline.precision == precision).map(|roofline| roofline.gmacs)
    }

    /// The energy figures at `precision`.
    pub fn energy(&self, precision: Precision) -> Option<&Energy> {
        self.energy.iter().find(|energy| energy.precision == precision)
    }

    /// Bandwidth in 10^9 bytes per second of the outermost memory that holds `what` and whose bandwidth is known.
    pub fn gbps(&self, what: Holds) -> Option<f64> {
        self.memories
            .iter()
            .rev()
            .filter(|memory| memory.holds.contains(&what))
            .find_map(|memory| memory.gbps)
    }
}

fn check_version(version: Version, place: &str) -> Result<()> {
    let fail = |message: String| Err(CoreError::new(CoreErrorKind::Capability, message).at(place));
    match version.schema {
        Some(Capability::SCHEMA) => Ok(()),
        Some(other) => fail(format!("expected schema version {}, found {other}", Capability::SCHEMA))
            .map_err(|error| error.help("use the program of the version that this document was written for")),
        None => fail(format!("expected `schema = {}`, found no schema version", Capability::SCHEMA)),
    }
}

fn malformed(place: &str, line: Option<usize>, message: &str) -> CoreError {
    let place = line.map_or_else(|| place.to_owned(), |line| format!("{place}:{line}"));
    CoreError::new(CoreErrorKind::Capability, message.trim().replace('\n', ", "))
        .at(place)
        .help("docs/design/capability.md lists every key, its type and its meaning")
}

/// Bytes as lower-case hexadecimal.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        let digit = |nibble: u8| char::from_digit(u32::from(nibble), 16).expect("a nibble is below 16");
        text.push(digit(byte >> 4));
        text.push(digit(byte & 15));
        text
    })
}
