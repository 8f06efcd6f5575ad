//! Modes that an attribute chooses among, with the names that ONNX, capability documents and the plugin interface
//! share: they are written here and nowhere else.

/// Gives an enum of modes its list, the names of its variants and the way back from a name.
macro_rules! spelled {
    ($mode:ident { $($variant:ident => $name:literal),+ $(,)? }) => {
        impl $mode {
            /// Every mode, in the order of its declaration.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// Their names, in the same order.
            pub const NAMES: &'static [&'static str] = &[$($name),+];

            /// ONNX's name.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// The mode of that name; `None` where no mode is called so.
            pub fn named(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

pub(in crate::ir) use spelled;

/// How padding is filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PadMode {
    /// With one value.
    Constant,
    /// Mirrored without the edge.
    Reflect,
    /// With the edge.
    Edge,
    /// Cyclically.
    Wrap,
}

spelled!(PadMode {
    Constant => "constant",
    Reflect => "reflect",
    Edge => "edge",
    Wrap => "wrap",
});

/// How new samples are made of old ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ResizeMode {
    /// The nearest sample.
    Nearest,
    /// Between the two neighbours of each axis.
    Linear,
    /// Cubic convolution over four neighbours of each axis.
    Cubic,
}

spelled!(ResizeMode {
    Nearest => "nearest",
    Linear => "linear",
    Cubic => "cubic",
});

/// Where an output sample lies in the input (ONNX `coordinate_transformation_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CoordinateMode {
    /// `(x + 0.5) / scale - 0.5`.
    HalfPixel,
    /// As half pixel, but 0 where the output has one sample.
    PytorchHalfPixel,
    /// `x * (in - 1) / (out - 1)`.
    AlignCorners,
    /// `x / scale`.
    Asymmetric,
    /// Half pixel with symmetric borders.
    HalfPixelSymmetric,
}

spelled!(CoordinateMode {
    HalfPixel => "half_pixel",
    PytorchHalfPixel => "pytorch_half_pixel",
    AlignCorners => "align_corners",
    Asymmetric => "asymmetric",
    HalfPixelSymmetric => "half_pixel_symmetric",
});

/// Which sample is nearest (ONNX `nearest_mode`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum NearestMode {
    /// The nearest, ties down.
    RoundPreferFloor,
    /// The nearest, ties up.
    RoundPreferCeil,
    /// The one below.
    Floor,
    /// The one above.
    Ceil,
}

spelled!(NearestMode {
    RoundPreferFloor => "round_prefer_floor",
    RoundPreferCeil => "round_prefer_ceil",
    Floor => "floor",
    Ceil => "ceil",
});

#[cfg(test)]
mod tests {
    use super::*;

    /// Every name leads back to its mode, no two share one, and nothing else is a name.
    macro_rules! leads_back {
        ($($mode:ident),+) => {$(
            for (at, &mode) in $mode::ALL.iter().enumerate() {
                assert_eq!($mode::named(mode.name()), Some(mode));
                assert!($mode::ALL[..at].iter().all(|other| other.name() != mode.name()));
                assert_eq!($mode::named(&mode.name().to_uppercase()), None);
            }
            assert_eq!($mode::named(""), None);
        )+};
    }

    #[test]
    fn names_lead_back_to_their_modes() {
        leads_back!(PadMode, ResizeMode, CoordinateMode, NearestMode);
    }
}
