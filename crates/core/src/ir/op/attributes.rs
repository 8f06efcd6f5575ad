//! Attributes that an operator takes together: windows, the fused clamp, a resize.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{CoordinateMode, NearestMode, ResizeMode};
use crate::ir::Tensor;

/// A clamp fused into the operator that produces a value: what integer arithmetic absorbs without cost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Activation {
    /// The value as computed.
    #[default]
    None,
    /// `max(x, 0)`.
    Relu,
    /// `min(max(x, min), max)`; Relu6 is `Clip { min: 0.0, max: 6.0 }`.
    Clip {
        /// Lower bound, may be negative infinity.
        min: f32,
        /// Upper bound, may be infinity.
        max: f32,
    },
}

impl Activation {
    /// The bounds of the clamp, infinite where there is none.
    pub fn bounds(self) -> (f32, f32) {
        match self {
            Activation::None => (f32::NEG_INFINITY, f32::INFINITY),
            Activation::Relu => (0.0, f32::INFINITY),
            Activation::Clip { min, max } => (min, max),
        }
    }
}

/// Attributes of a convolution or a transposed one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConvAttributes {
    /// Kernel extents.
    pub kernel: Vec<usize>,
    /// Steps between outputs (of the input for a transposed convolution).
    pub strides: Vec<usize>,
    /// Steps between taps.
    pub dilations: Vec<usize>,
    /// Zeros around the input: all begins, then all ends.
    pub pads: Vec<usize>,
    /// Number of channel groups.
    pub groups: usize,
}

impl ConvAttributes {
    /// The window that ONNX's attributes spell out; `None` where the kernel is left to the weights, padding to the
    /// runtime, or a number cannot be.
    pub fn explicit(attributes: &IndexMap<String, Attribute>) -> Option<Self> {
        let ints = |values: &[i64]| -> Option<Vec<usize>> {
            values.iter().map(|&value| usize::try_from(value).ok()).collect()
        };
        let Some(Attribute::Ints(kernel)) = attributes.get("kernel_shape") else { return None };
        let mut conv = Self::unit(&ints(kernel)?);
        for (name, attribute) in attributes {
            match (name.as_str(), attribute) {
                ("kernel_shape", _) => {}
                ("strides", Attribute::Ints(values)) => conv.strides = ints(values)?,
                ("dilations", Attribute::Ints(values)) => conv.dilations = ints(values)?,
                ("pads", Attribute::Ints(values)) => conv.pads = ints(values)?,
                ("group", Attribute::Int(groups)) => conv.groups = usize::try_from(*groups).ok()?,
                ("auto_pad", Attribute::Text(text)) if text == "NOTSET" => {}
                _ => return None,
            }
        }
        let rank = conv.kernel.len();
        let fits = rank > 0 && conv.strides.len() == rank && conv.dilations.len() == rank;
        (fits && conv.pads.len() == 2 * rank && conv.groups > 0).then_some(conv)
    }

    /// Stride 1, dilation 1, no padding, one group.
    pub fn unit(kernel: &[usize]) -> Self {
        let rank = kernel.len();
        Self {
            kernel: kernel.to_vec(),
            strides: vec![1; rank],
            dilations: vec![1; rank],
            pads: vec![0; 2 * rank],
            groups: 1,
        }
    }
}

/// Attributes of a pooling window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolAttributes {
    /// Window extents.
    pub kernel: Vec<usize>,
    /// Steps between windows.
    pub strides: Vec<usize>,
    /// Steps inside a window.
    pub dilations: Vec<usize>,
    /// Padding around the input: all begins, then all ends.
    pub pads: Vec<usize>,
    /// Whether the last, incomplete window counts.
    pub ceil: bool,
    /// Whether padding counts in an average's divisor.
    pub count_include_pad: bool,
}

/// Attributes of a resize; the output's extents come from its inputs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ResizeAttributes {
    /// Interpolation.
    pub mode: ResizeMode,
    /// Coordinates.
    pub coordinates: CoordinateMode,
    /// Rounding of coordinates in nearest mode.
    pub nearest: NearestMode,
    /// Coefficient of cubic interpolation.
    pub cubic: f32,
    /// Whether samples outside the input have no weight (cubic and linear modes).
    pub exclude_outside: bool,
}

/// An attribute of an operator this IR has no meaning for.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Attribute {
    /// An integer.
    Int(i64),
    /// A float.
    Float(f32),
    /// A text.
    Text(String),
    /// Integers.
    Ints(Vec<i64>),
    /// Floats.
    Floats(Vec<f32>),
    /// Texts.
    Texts(Vec<String>),
    /// A tensor.
    Tensor(Tensor),
    /// Something else, by the name of its kind (a subgraph, a type).
    Other(String),
}
