//! Suite `op_int`: integer operators, to the bit.
//!
//! Data covers all codes; scales are such that outputs spread over their type without saturating, except in families
//! that are about corners: zero points at the ends of the type, saturation, exact halves, wrapping sums, no elements.

mod conversions;
mod elementwise;
mod moving;
mod pools;
mod products;

use fewbit_core::capability::WeightGranularity;
use fewbit_core::ir::DType;
use fewbit_core::quant::{QuantParams, Symmetry};

use super::Case;
use crate::build::Store;
use crate::case::Form;
use crate::random::Random;

/// Forms of activations of operators without weights.
const FORMS: [Form; 3] = [
    Form::new(DType::U8, Symmetry::Affine, None),
    Form::new(DType::I8, Symmetry::Affine, None),
    Form::new(DType::I8, Symmetry::Symmetric, None),
];

/// Forms of products.
const WEIGHTED: [Form; 5] = [
    Form::new(DType::U8, Symmetry::Affine, Some(WeightGranularity::PerChannel)),
    Form::new(DType::I8, Symmetry::Affine, Some(WeightGranularity::PerChannel)),
    Form::new(DType::I8, Symmetry::Symmetric, Some(WeightGranularity::PerChannel)),
    Form::new(DType::U8, Symmetry::Affine, Some(WeightGranularity::PerTensor)),
    Form::new(DType::I8, Symmetry::Symmetric, Some(WeightGranularity::PerTensor)),
];

/// All cases of the suite.
pub(super) fn cases() -> Vec<Case> {
    let mut cases = products::cases();
    cases.extend(elementwise::cases());
    cases.extend(pools::cases());
    cases.extend(moving::cases());
    cases.extend(conversions::cases());
    cases
}

/// The parameters of an 8-bit activation.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Codes {
    dtype: DType,
    scale: f32,
    zero: i32,
}

impl Codes {
    /// Parameters of the form, with a zero point somewhere in the middle half where it may have one.
    fn of(random: &mut Random, form: Form) -> Self {
        Self { dtype: form.dtype, scale: random.float(0.01, 0.1), zero: zero(random, form) }
    }

    fn with_scale(self, scale: f32) -> Self {
        Self { scale, ..self }
    }

    fn with_zero(self, zero: i32) -> Self {
        Self { zero, ..self }
    }

    fn params(self) -> QuantParams {
        QuantParams::per_tensor(self.scale, self.zero)
    }

    fn store(self) -> Store {
        Store::codes(self.dtype, self.scale, self.zero)
    }

    /// The lowest and highest code.
    fn ends(self) -> (i32, i32) {
        let (low, high) = self.dtype.integer_range().unwrap_or((0, 255));
        (low as i32, high as i32)
    }

    /// The root mean square of code minus zero point over all codes.
    fn spread(self) -> f32 {
        let (low, high) = self.ends();
        let middle = (low + high) as f32 / 2.0;
        let offset = middle - self.zero as f32;
        (74.0f32 * 74.0 + offset * offset).sqrt()
    }
}

/// A zero point of the form: in the middle half of the type, or the one that symmetric codes have.
fn zero(random: &mut Random, form: Form) -> i32 {
    let signed = form.dtype.is_signed_integer();
    match form.symmetry {
        Symmetry::Symmetric => i32::from(!signed) * 128,
        Symmetry::Affine if signed => random.integer(-64, 63) as i32,
        Symmetry::Affine => random.integer(64, 191) as i32,
    }
}

/// The zero points at the ends of the form's type; none where it has only one.
fn extreme_zeros(form: Form) -> Vec<(&'static str, i32)> {
    match (form.symmetry, form.dtype.integer_range()) {
        (Symmetry::Affine, Some((low, high))) => vec![("low", low as i32), ("high", high as i32)],
        _ => Vec::new(),
    }
}
