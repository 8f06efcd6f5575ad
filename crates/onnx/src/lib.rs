//! ONNX models in and out.
//!
//! Owns the file (protobuf, external data, limits), the translation of ONNX operators of operator sets 1 to the
//! newest into the IR, and the writing of float and quantized graphs as ONNX (QDQ). Any file may be hostile: nothing
//! here panics on it, and allocation is bounded by the bytes that exist.

mod error;
mod export;
mod external;
mod import;
#[expect(clippy::enum_variant_names, clippy::pedantic, unreachable_pub, reason = "generated")]
mod proto;
mod slim;
mod tensor;

pub use error::{OnnxError, OnnxErrorKind};
pub use export::{ExportOptions, export};
pub use import::{ImportOptions, NEWEST_OPSET, OLDEST_OPSET, import, open};
pub use tensor::read_tensor;
