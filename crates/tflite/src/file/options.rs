//! What operators say of themselves: one table of the schema each.
//!
//! The number is the table's place in the schema's union `BuiltinOptions`; `@` is a field's place in the table. Names,
//! places and defaults are those of TensorFlow's `lite/schema/schema.fbs`.

use crate::error::Result;
use crate::flat::{Field, Fields, Table};

/// A kind of field.
trait Kind: Sized {
    fn read(table: &Table<'_, '_>, slot: u16, default: Self) -> Result<Self>;
    fn field(&self) -> Field<'_>;
}

macro_rules! kinds {
    ($($kind:ty, |$table:ident, $slot:ident, $default:ident| $read:expr, |$value:ident| $field:expr;)*) => { $(
        impl Kind for $kind {
            fn read($table: &Table<'_, '_>, $slot: u16, $default: Self) -> Result<Self> {
                $read
            }
            fn field(&self) -> Field<'_> {
                let $value = self;
                $field
            }
        }
    )* };
}

kinds! {
    i8, |table, slot, _default| table.i8(slot), |value| Field::I8(*value);
    i32, |table, slot, default| table.i32_or(slot, default), |value| Field::I32(*value);
    f32, |table, slot, _default| table.f32(slot), |value| Field::F32(*value);
    bool, |table, slot, _default| Ok(table.u8(slot)? != 0), |value| Field::U8(u8::from(*value));
    Vec<i32>, |table, slot, _default| table.i32s(slot), |value| Field::I32s(value);
}

macro_rules! options {
    ($($(#[$doc:meta])* $name:ident = $number:literal {
        $($(#[$field_doc:meta])* $field:ident: $kind:ty = $default:expr, @$slot:literal;)*
    })*) => {
        /// The options of an operator.
        #[derive(Debug, Clone, PartialEq)]
        pub enum Options {
            /// None.
            None,
            $($(#[$doc])* $name { $($(#[$field_doc])* $field: $kind,)* },)*
            /// A table that this crate does not read, by its place in the union.
            Other(u8),
        }

        impl Options {
            /// The place of the table in the union.
            pub(super) fn number(&self) -> u8 {
                match self {
                    Options::None => 0,
                    $(Options::$name { .. } => $number,)*
                    Options::Other(number) => *number,
                }
            }

            pub(super) fn read(number: u8, table: Option<Table<'_, '_>>) -> Result<Self> {
                let Some(table) = table else { return Ok(Options::None) };
                let _ = &table;
                Ok(match number {
                    0 => Options::None,
                    $($number => Options::$name {
                        $($field: <$kind as Kind>::read(&table, $slot, $default)?,)*
                    },)*
                    other => Options::Other(other),
                })
            }

            /// The fields of the table, if there is one.
            pub(super) fn fields(&self) -> Option<Fields<'_>> {
                match self {
                    Options::None | Options::Other(_) => None,
                    $(Options::$name { $($field),* } => Some(vec![$(($slot, Kind::field($field))),*]),)*
                }
            }
        }
    };
}

options! {
    /// Of CONV_2D.
    Conv2d = 1 {
        /// How borders are filled.
        padding: i8 = 0, @0;
        /// Step to the right.
        stride_w: i32 = 0, @1;
        /// Step down.
        stride_h: i32 = 0, @2;
        /// The fused clamp.
        activation: i8 = 0, @3;
        /// Step between taps to the right.
        dilation_w: i32 = 1, @4;
        /// Step between taps downwards.
        dilation_h: i32 = 1, @5;
    }
    /// Of DEPTHWISE_CONV_2D.
    DepthwiseConv2d = 2 {
        /// How borders are filled.
        padding: i8 = 0, @0;
        /// Step to the right.
        stride_w: i32 = 0, @1;
        /// Step down.
        stride_h: i32 = 0, @2;
        /// Output channels of one input channel.
        depth_multiplier: i32 = 0, @3;
        /// The fused clamp.
        activation: i8 = 0, @4;
        /// Step between taps to the right.
        dilation_w: i32 = 1, @5;
        /// Step between taps downwards.
        dilation_h: i32 = 1, @6;
    }
    /// Of AVERAGE_POOL_2D and MAX_POOL_2D.
    Pool2d = 5 {
        /// How borders are filled.
        padding: i8 = 0, @0;
        /// Step to the right.
        stride_w: i32 = 0, @1;
        /// Step down.
        stride_h: i32 = 0, @2;
        /// Width of the window.
        filter_w: i32 = 0, @3;
        /// Height of the window.
        filter_h: i32 = 0, @4;
        /// The fused clamp.
        activation: i8 = 0, @5;
    }
    /// Of FULLY_CONNECTED.
    FullyConnected = 8 {
        /// The fused clamp.
        activation: i8 = 0, @0;
        /// 0, or 1 for shuffled weights.
        weights_format: i8 = 0, @1;
        /// Whether the output has the input's rank.
        keep_num_dims: bool = false, @2;
    }
    /// Of SOFTMAX.
    Softmax = 9 {
        /// Factor of the exponents.
        beta: f32 = 0.0, @0;
    }
    /// Of CONCATENATION.
    Concatenation = 10 {
        /// The axis.
        axis: i32 = 0, @0;
        /// The fused clamp.
        activation: i8 = 0, @1;
    }
    /// Of ADD.
    Add = 11 {
        /// The fused clamp.
        activation: i8 = 0, @0;
    }
    /// Of RESIZE_BILINEAR.
    ResizeBilinear = 15 {
        /// Whether corners lie on corners.
        align_corners: bool = false, @2;
        /// Whether samples lie at the middle of pixels.
        half_pixel_centers: bool = false, @3;
    }
    /// Of RESHAPE.
    Reshape = 17 {
        /// The new extents.
        new_shape: Vec<i32> = Vec::new(), @0;
    }
    /// Of SPACE_TO_DEPTH.
    SpaceToDepth = 19 {
        /// Extent of a block.
        block_size: i32 = 0, @0;
    }
    /// Of MUL.
    Mul = 21 {
        /// The fused clamp.
        activation: i8 = 0, @0;
    }
    /// Of PAD.
    Pad = 22 {}
    /// Of GATHER.
    Gather = 23 {
        /// The axis.
        axis: i32 = 0, @0;
        /// Leading axes that indices and elements share.
        batch_dims: i32 = 0, @1;
    }
    /// Of TRANSPOSE.
    Transpose = 26 {}
    /// Of MEAN, SUM, REDUCE_MAX and REDUCE_MIN.
    Reducer = 27 {
        /// Whether reduced axes stay with extent 1.
        keep_dims: bool = false, @0;
    }
    /// Of SUB.
    Sub = 28 {
        /// The fused clamp.
        activation: i8 = 0, @0;
    }
    /// Of DIV.
    Div = 29 {
        /// The fused clamp.
        activation: i8 = 0, @0;
    }
    /// Of STRIDED_SLICE; masks have a bit for each axis.
    StridedSlice = 32 {
        /// Axes whose begin does not count.
        begin_mask: i32 = 0, @0;
        /// Axes whose end does not count.
        end_mask: i32 = 0, @1;
        /// The place of an ellipsis.
        ellipsis_mask: i32 = 0, @2;
        /// New axes.
        new_axis_mask: i32 = 0, @3;
        /// Axes that go away.
        shrink_axis_mask: i32 = 0, @4;
    }
    /// Of EXP.
    Exp = 33 {}
    /// Of LOG_SOFTMAX.
    LogSoftmax = 36 {}
    /// Of DEQUANTIZE.
    Dequantize = 38 {}
    /// Of MAXIMUM and MINIMUM.
    MaximumMinimum = 39 {}
    /// Of NEG.
    Neg = 42 {}
    /// Of PADV2.
    PadV2 = 43 {}
    /// Of TRANSPOSE_CONV.
    TransposeConv = 49 {
        /// How borders are cut.
        padding: i8 = 0, @0;
        /// Step to the right.
        stride_w: i32 = 0, @1;
        /// Step down.
        stride_h: i32 = 0, @2;
        /// The fused clamp.
        activation: i8 = 0, @3;
    }
    /// Of POW.
    Pow = 56 {}
    /// Of RESIZE_NEAREST_NEIGHBOR.
    ResizeNearest = 74 {
        /// Whether corners lie on corners.
        align_corners: bool = false, @0;
        /// Whether samples lie at the middle of pixels.
        half_pixel_centers: bool = false, @1;
    }
    /// Of LEAKY_RELU.
    LeakyRelu = 75 {
        /// The slope below zero.
        alpha: f32 = 0.0, @0;
    }
    /// Of ABS.
    Abs = 78 {}
    /// Of SPLIT_V.
    SplitV = 79 {
        /// Number of pieces.
        num_splits: i32 = 0, @0;
    }
    /// Of QUANTIZE.
    Quantize = 89 {}
    /// Of HARD_SWISH.
    HardSwish = 91 {}
    /// Of DEPTH_TO_SPACE.
    DepthToSpace = 94 {
        /// Extent of a block.
        block_size: i32 = 0, @0;
    }
    /// Of BATCH_MATMUL.
    BatchMatMul = 101 {
        /// Whether the first operand is stored transposed.
        adj_x: bool = false, @0;
        /// Whether the second is.
        adj_y: bool = false, @1;
    }
    /// Of GELU.
    Gelu = 116 {
        /// Whether by the tangent.
        approximate: bool = false, @0;
    }
}
