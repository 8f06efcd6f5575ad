//! The list of kernels. Dispatch reports its choices as entries of it; tests, benches and the CPU's capability
//! document iterate it. A new kernel is its own file and one entry here.

use std::fmt;

use crate::tier::Tier;

/// What a kernel computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Family {
    /// Matrix product, and every convolution that reduces to one.
    Gemm,
    /// Depthwise convolution.
    Depthwise,
}

impl Family {
    /// The family's part of a kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Family::Gemm => "gemm",
            Family::Depthwise => "depthwise",
        }
    }
}

/// Element type of a kernel's operand.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Element {
    /// Unsigned 8-bit integer.
    U8,
    /// Signed 8-bit integer.
    I8,
    /// Signed 32-bit integer.
    I32,
    /// IEEE single precision.
    F32,
    /// IEEE half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl Element {
    /// The type's part of a kernel's name.
    pub fn name(self) -> &'static str {
        match self {
            Element::U8 => "u8",
            Element::I8 => "i8",
            Element::I32 => "i32",
            Element::F32 => "f32",
            Element::F16 => "f16",
            Element::Bf16 => "bf16",
        }
    }
}

/// The block of output that one kernel call computes: `rows` pixels by `columns` channels, `depth` products of each
/// element per instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tile {
    /// MR.
    pub rows: usize,
    /// NR.
    pub columns: usize,
    /// K per instruction.
    pub depth: usize,
}

/// How far a kernel's result may lie from the scalar reference.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub enum ErrorBound {
    /// Not at all: the same bits.
    Exact,
    /// At most `k` times this, relative to the sum of the magnitudes of the `k` products.
    RelativePerTerm(f64),
}

/// One kernel.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KernelInfo {
    /// What it computes.
    pub family: Family,
    /// Type of the activations.
    pub a: Element,
    /// Type of the weights.
    pub b: Element,
    /// Type of the accumulators.
    pub accumulator: Element,
    /// Its largest block of output.
    pub tile: Tile,
    /// The instructions it needs.
    pub tier: Tier,
    /// Whether an intermediate sum may saturate.
    pub saturates: bool,
    /// How exact it is.
    pub error: ErrorBound,
}

impl KernelInfo {
    const fn int8(family: Family, rows: usize, columns: usize, depth: usize, tier: Tier) -> Self {
        Self {
            family,
            a: Element::U8,
            b: Element::I8,
            accumulator: Element::I32,
            tile: Tile { rows, columns, depth },
            tier,
            saturates: false,
            error: ErrorBound::Exact,
        }
    }

    const fn f32(family: Family, rows: usize, columns: usize, tier: Tier) -> Self {
        Self {
            family,
            a: Element::F32,
            b: Element::F32,
            accumulator: Element::F32,
            tile: Tile { rows, columns, depth: 1 },
            tier,
            saturates: false,
            error: ErrorBound::RelativePerTerm(1.0 / (1 << 24) as f64),
        }
    }
}

/// `{family}_{a}{b}{accumulator}_{MR}x{NR}k{K}_{tier}`.
impl fmt::Display for KernelInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tile { rows, columns, depth } = self.tile;
        let types = [self.a, self.b, self.accumulator].map(Element::name).concat();
        write!(f, "{}_{types}_{rows}x{columns}k{depth}_{}", self.family.name(), self.tier)
    }
}

/// Every kernel of this build, whether or not this machine can run it.
pub const CATALOG: &[KernelInfo] = &[
    KernelInfo::int8(Family::Gemm, 1, 1, 1, Tier::Scalar),
    KernelInfo::int8(Family::Gemm, 6, 16, 4, Tier::Avx2),
    KernelInfo::int8(Family::Gemm, 6, 16, 4, Tier::AvxVnni),
    KernelInfo::int8(Family::Gemm, 6, 64, 4, Tier::Avx512Vnni),
    KernelInfo::int8(Family::Depthwise, 1, 1, 1, Tier::Scalar),
    KernelInfo::int8(Family::Depthwise, 2, 32, 4, Tier::Avx2),
    KernelInfo::int8(Family::Depthwise, 2, 32, 4, Tier::AvxVnni),
    KernelInfo::int8(Family::Depthwise, 4, 64, 4, Tier::Avx512Vnni),
    KernelInfo::f32(Family::Gemm, 4, 8, Tier::Scalar),
    KernelInfo::f32(Family::Gemm, 6, 16, Tier::Avx2),
    KernelInfo::f32(Family::Gemm, 14, 32, Tier::Avx512Vnni),
    KernelInfo::f32(Family::Depthwise, 1, 1, Tier::Scalar),
    KernelInfo::f32(Family::Depthwise, 6, 16, Tier::Avx2),
    KernelInfo::f32(Family::Depthwise, 8, 32, Tier::Avx512Vnni),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_spell_out_the_entry() {
        let mut names: Vec<String> = CATALOG.iter().map(ToString::to_string).collect();
        assert!(names.iter().any(|name| name == "gemm_u8i8i32_1x1k1_scalar"), "{names:?}");
        names.sort();
        assert!(names.windows(2).all(|pair| pair[0] != pair[1]), "{names:?}");
    }
}
