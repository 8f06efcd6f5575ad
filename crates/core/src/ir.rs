//! The IR: graphs of operators over typed values.
//!
//! Owns [`Graph`], its nodes and values, operators with their attributes, tensors, shapes and element types.
//! Semantics are ONNX's (NCHW, broadcasting, rounding) whatever a backend's layout; where this IR differs, the
//! operator's documentation says so. A *quantized* value has [`QuantParams`](crate::quant::QuantParams) beside its
//! integer element type, and operators on quantized values compute the integer arithmetic of
//! [`quant::convert`](crate::quant::convert): there are no separate quantized operators.

mod control;
mod dtype;
mod graph;
pub mod hash;
mod id;
mod index;
mod lack;
mod op;
mod recurrent;
mod shape;
mod tensor;
pub mod text;
pub mod verify;

pub use control::{Control, MOST_NESTING, MOST_ROUNDS, ScanAxis};
pub use dtype::{DType, ParseDTypeError};
pub use graph::{Graph, Node, Value};
pub use id::{NodeId, ValueId};
pub use index::{GridAttributes, GridPadding, IndexOp, ResampleAttributes, RoiAttributes, ScatterReduction};
pub use lack::Lack;
pub use op::{
    Activation, Attribute, BinaryOp, CompareOp, ConvAttributes, CoordinateMode, LogicOp, NearestMode, Op,
    OpKind, PadMode, PoolAttributes, ReduceOp, ResizeAttributes, ResizeMode, UnaryOp,
};
pub use recurrent::{Cell, Direction, Recurrent};
pub use shape::{Dim, Shape};
pub use tensor::{Element, Tensor};
