//! Limits of a rule: what a node may look like.

use serde::{Deserialize, Serialize};

use crate::ir::{Activation, DType};

/// How channels may be grouped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Groups {
    /// One group: every output channel reads every input channel.
    One,
    /// As many groups as input channels.
    Depthwise,
    /// Any number.
    Any,
}

/// A clamp that an operator may carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FusedClamp {
    /// `max(x, 0)`.
    Relu,
    /// Between 0 and 6.
    Relu6,
    /// Between any two bounds.
    Clip,
}

impl FusedClamp {
    /// The name in documents and messages.
    pub fn name(self) -> &'static str {
        match self {
            FusedClamp::Relu => "relu",
            FusedClamp::Relu6 => "relu6",
            FusedClamp::Clip => "clip",
        }
    }

    /// Whether this clamp includes `activation`.
    pub fn allows(self, activation: Activation) -> bool {
        match (self, activation) {
            (_, Activation::None) | (FusedClamp::Relu, Activation::Relu) | (FusedClamp::Clip, _) => true,
            (FusedClamp::Relu6, Activation::Clip { min, max }) => min == 0.0 && max == 6.0,
            _ => false,
        }
    }
}

/// What a node may look like; a limit that is left out does not limit.
///
/// "Spatial" means the axes behind batch and channels. Ranks, batch and dimensions are those of every activation
/// that the node reads or writes, unless said otherwise; batch is the first of at least three dimensions.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a key of the document")]
pub struct Limits {
    /// Allowed ranks of the first input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank: Option<Vec<usize>>,
    /// Largest rank of any activation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rank_max: Option<usize>,
    /// Largest batch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub batch_max: Option<usize>,
    /// Largest extent of any dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dim_max: Option<usize>,
    /// Largest number of dimensions that are not 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub non_unit_dims_max: Option<usize>,
    /// Largest kernel extent along each spatial axis, dilation included; a global pool's kernel is the whole image.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_max: Option<Vec<usize>>,
    /// Largest product of kernel extents, dilation included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kernel_area_max: Option<usize>,
    /// Largest stride.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride_max: Option<usize>,
    /// Largest dilation.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dilation_max: Option<usize>,
    /// Whether dilation must be the same along every axis.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub dilation_equal: bool,
    /// How channels may be grouped; any of the list.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<Vec<Groups>>,
    /// What the numbers of input and output channels must be a multiple of.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels_multiple_of: Option<usize>,
    /// Whether the second operand of a product (and its addend) must be constant.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub constant_weights: bool,
    /// Inputs, by index, that must be constant where they are present.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub constant_inputs: Vec<usize>,
    /// Clamps that may be fused into the operator; an empty list allows none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fused: Option<Vec<FusedClamp>>,
    /// Largest sum of absolute weight codes of one output channel.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weight_sum_max: Option<u64>,
    /// Modes of a resize: `nearest`, `linear`, `cubic`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize_modes: Option<Vec<String>>,
    /// Whole factors by which a resize may enlarge spatial axes; an extent that stays, or is 1, always may.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub resize_factors: Option<Vec<usize>>,
    /// Modes of a padding: `constant`, `reflect`, `edge`, `wrap`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pad_modes: Option<Vec<String>>,
    /// Whether the operator's axis must be the last one (or, for four dimensions in NCHW, the channels).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub channel_axis: bool,
    /// Whether the operator's axis must be the last one that is longer than 1.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub last_axis: bool,
    /// Whether a reduction must be over all spatial axes and no other.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub spatial_axes: bool,
    /// Whether both operands must have the shape of the result, or be constant.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub no_broadcast: bool,
    /// Element types of the activations in the float graph.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub element_types: Option<Vec<DType>>,
}

impl Limits {
    /// Whether nothing is limited.
    pub fn is_empty(&self) -> bool {
        *self == Limits::default()
    }
}
