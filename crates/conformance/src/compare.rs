//! Comparing outputs with the reference's: measures, bounds, and how much a comparison would notice.

use fewbit_core::capability::Numerics;
use fewbit_core::ir::Tensor;
use serde::{Deserialize, Serialize};

use crate::case::Compare;

/// Signal over noise, in dB, that a whole model must keep on a device whose integers are not exact.
pub(crate) const MODEL_SQNR: f64 = 30.0;
/// Codes by which an output may differ on a device that declares a tolerance only.
const TOLERATED_CODES: f64 = 4.0;
/// Share of equal elements beyond which an expected output says too little.
const TOO_UNIFORM: f64 = 0.95;
/// Elements of an output that are changed to see whether the comparison notices.
const MUTATIONS: usize = 32;

/// How far an output is from the expected one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Measure {
    /// The figure; of `dB` more is better, of all others less.
    pub value: f64,
    /// `codes`, `ulp`, `nmse`, `dB` or `unequal elements`.
    pub unit: String,
    /// What it may be at most (of `dB` at least).
    pub bound: f64,
}

impl Measure {
    pub(crate) fn holds(&self) -> bool {
        if self.unit == "dB" { self.value >= self.bound } else { self.value <= self.bound }
    }
}

/// The worst element of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Worst {
    pub output: usize,
    pub element: usize,
    pub expected: f64,
    pub found: f64,
    /// How many elements differ at all.
    pub different: usize,
}

/// A comparison of all outputs of one run.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Comparison {
    pub measure: Measure,
    pub worst: Option<Worst>,
}

/// What `compare` asks of a device with these numerics.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Rule {
    Equal,
    Codes(f64),
    Ulp(f64),
    Nmse(f64),
    Decibels(f64),
}

fn rule(compare: Compare, numerics: Numerics) -> Rule {
    match (compare, numerics) {
        (Compare::Exact, _) | (Compare::Declared | Compare::Model, Numerics::Exact) => Rule::Equal,
        (Compare::Declared, Numerics::OffByOne) => Rule::Codes(1.0),
        (Compare::Declared, Numerics::Tolerance) => Rule::Codes(TOLERATED_CODES),
        (Compare::Model, _) => Rule::Decibels(MODEL_SQNR),
        (Compare::Ulp(most), _) => Rule::Ulp(f64::from(most)),
        (Compare::Nmse(most), _) => Rule::Nmse(most),
    }
}

/// Compares outputs of equal number, types and extents.
pub(crate) fn compare(expected: &[Tensor], found: &[Tensor], how: Compare, numerics: Numerics) -> Comparison {
    let rule = rule(how, numerics);
    let (mut value, mut worst, mut different): (f64, Option<Worst>, usize) = (0.0, None, 0);
    let mut far = 0.0;
    let (mut signal, mut noise) = (0.0, 0.0);
    for (output, (expected, found)) in expected.iter().zip(found).enumerate() {
        let (dtype, elements) = (expected.dtype(), expected.to_f64_vec());
        let largest = elements.iter().filter(|x| x.is_finite()).fold(0f64, |most, x| most.max(x.abs()));
        let (mut own_signal, mut own_noise) = (0.0, 0.0);
        for (element, (&e, f)) in elements.iter().zip(found.to_f64_vec()).enumerate() {
            if e.is_finite() && f.is_finite() {
                own_signal += e * e;
                own_noise += (e - f) * (e - f);
            }
            if e == f || (e.is_nan() && f.is_nan()) {
                continue;
            }
            different += 1;
            let finite = e.is_finite() && f.is_finite();
            let distance = match rule {
                _ if !finite => f64::INFINITY,
                Rule::Equal => 1.0,
                // A float output of integer arithmetic has no codes: it is held to units in the last place.
                Rule::Codes(_) | Rule::Ulp(_) if dtype.is_float() => ulps(e as f32, f as f32),
                Rule::Codes(_) | Rule::Ulp(_) => (e - f).abs(),
                Rule::Nmse(most) => {
                    let allowed = largest.max(f64::from(f32::MIN_POSITIVE)) * (100.0 * most).sqrt();
                    if (e - f).abs() > allowed { f64::INFINITY } else { 0.0 }
                }
                Rule::Decibels(_) => 0.0,
            };
            if distance > far || worst.is_none() {
                far = distance.max(far);
                worst = Some(Worst { output, element, expected: e, found: f, different: 0 });
            }
            match rule {
                Rule::Equal => value += 1.0,
                _ => value = value.max(distance),
            }
        }
        if let Rule::Nmse(_) = rule {
            let floor = f64::from(f32::MIN_POSITIVE);
            value = value.max(own_noise / own_signal.max(floor));
        }
        signal += own_signal;
        noise += own_noise;
    }
    let (unit, bound) = match rule {
        Rule::Equal => ("unequal elements", 0.0),
        Rule::Codes(most) => ("codes", most),
        Rule::Ulp(most) => ("ulp", most),
        Rule::Nmse(most) => ("nmse", most),
        Rule::Decibels(least) => {
            // What is not finite on one side only is as bad as can be; 300 dB stand for no noise at all.
            let ratio = if noise == 0.0 { 300.0 } else { 10.0 * (signal / noise).log10() };
            value = if far.is_infinite() { -300.0 } else { ratio.clamp(-300.0, 300.0) };
            ("dB", least)
        }
    };
    // JSON has no infinity.
    let value = if value.is_finite() { value } else { f64::MAX };
    if let Some(worst) = &mut worst {
        worst.different = different;
    }
    Comparison { measure: Measure { value, unit: unit.to_owned(), bound }, worst }
}

/// Steps between two finite floats; what is below the smallest normal number counts as one step from zero.
fn ulps(a: f32, b: f32) -> f64 {
    let place = |x: f32| -> i64 {
        let bits = i64::from(x.abs().to_bits());
        let least = i64::from(f32::MIN_POSITIVE.to_bits());
        let steps = if x == 0.0 { 0 } else { (bits - least).max(0) + 1 };
        if x.is_sign_negative() { -steps } else { steps }
    };
    (place(a) - place(b)).abs() as f64
}

/// Whether expected outputs say too little: nearly all elements equal, as zeros and saturated ones are.
pub(crate) fn is_uniform(expected: &[Tensor]) -> bool {
    let mut all: Vec<u64> = expected.iter().flat_map(Tensor::to_f64_vec).map(f64::to_bits).collect();
    if all.len() < 8 {
        return false;
    }
    all.sort_unstable();
    let most = all.chunk_by(|a, b| a == b).map(<[u64]>::len).max().unwrap_or(0);
    most as f64 > TOO_UNIFORM * all.len() as f64
}

/// The share of changes of one element that the comparison notices: by one code of integers, by a thousandth of the
/// tensor's largest element of floats.
pub(crate) fn power(expected: &[Tensor], how: Compare, numerics: Numerics) -> Option<f64> {
    let (mut tried, mut noticed) = (0usize, 0usize);
    for (output, tensor) in expected.iter().enumerate() {
        let values = tensor.to_f64_vec();
        let count = values.len().min(MUTATIONS);
        let largest = values.iter().filter(|x| x.is_finite()).fold(0f64, |most, x| most.max(x.abs()));
        for index in 0..count {
            let at = index * values.len() / count;
            let mut changed = values.clone();
            let (low, high) = tensor.dtype().integer_range().unwrap_or((0, 1));
            let step = if tensor.dtype().is_float() { (largest * 1e-3).max(1e-6) } else { 1.0 };
            let down = !tensor.dtype().is_float() && changed[at] >= high as f64 && high > low;
            changed[at] += if down { -step } else { step };
            let Ok(mutated) = Tensor::from_f64(tensor.dtype(), tensor.extents(), &changed) else { continue };
            if mutated == *tensor {
                continue;
            }
            let mut outputs = expected.to_vec();
            outputs[output] = mutated;
            tried += 1;
            noticed += usize::from(!compare(expected, &outputs, how, numerics).measure.holds());
        }
    }
    (tried > 0).then(|| noticed as f64 / tried as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use fewbit_core::ir::DType;

    fn floats(values: &[f32]) -> Vec<Tensor> {
        vec![Tensor::from_slice(&[values.len()], values).unwrap()]
    }

    fn codes(values: &[i64]) -> Vec<Tensor> {
        vec![Tensor::from_i64(DType::U8, &[values.len()], values).unwrap()]
    }

    #[test]
    fn declared_numerics_decide_what_integers_may_differ_by() {
        let (expected, near, far) = (codes(&[1, 2, 3]), codes(&[1, 3, 3]), codes(&[1, 9, 3]));
        let holds = |found: &[Tensor], numerics| {
            compare(&expected, found, Compare::Declared, numerics).measure.holds()
        };
        assert!(holds(&expected, Numerics::Exact));
        assert!(!holds(&near, Numerics::Exact));
        assert!(holds(&near, Numerics::OffByOne));
        assert!(!holds(&far, Numerics::OffByOne));
        assert!(!holds(&far, Numerics::Tolerance));
        let worst = compare(&expected, &far, Compare::Declared, Numerics::Exact).worst.unwrap();
        assert_eq!((worst.element, worst.expected, worst.found, worst.different), (1, 2.0, 9.0, 1));
    }

    #[test]
    fn steps_between_floats_cross_zero() {
        assert_eq!(ulps(1.0, 1.0f32.next_up()), 1.0);
        assert_eq!(ulps(0.0, -0.0), 0.0);
        assert_eq!(ulps(f32::MIN_POSITIVE, -f32::MIN_POSITIVE), 2.0);
        assert_eq!(ulps(1e-40, 0.0), 1.0, "numbers below the smallest normal one may be flushed");
    }

    #[test]
    fn nan_where_a_number_is_expected_never_holds() {
        for how in [Compare::Exact, Compare::Ulp(9), Compare::Nmse(1.0), Compare::Model] {
            let wrong = compare(&floats(&[1.0, 2.0]), &floats(&[1.0, f32::NAN]), how, Numerics::OffByOne);
            assert!(!wrong.measure.holds(), "{how:?}: {wrong:?}");
        }
        let same = floats(&[f32::NAN, f32::INFINITY, -0.0]);
        assert!(
            compare(&same, &floats(&[f32::NAN, f32::INFINITY, 0.0]), Compare::Exact, Numerics::Exact)
                .measure
                .holds()
        );
    }

    #[test]
    fn a_single_wrong_element_in_many_is_noticed_by_mean_squares_too() {
        let mut values = vec![1.0f32; 100_000];
        let expected = floats(&values);
        values[777] = 1.5;
        assert!(!compare(&expected, &floats(&values), Compare::Nmse(1e-8), Numerics::Exact).measure.holds());
    }

    #[test]
    fn uniform_outputs_are_known_and_power_is_counted() {
        assert!(is_uniform(&codes(&[0; 64])));
        let spread: Vec<i64> = (0..64).collect();
        assert!(!is_uniform(&codes(&spread)));
        assert_eq!(power(&codes(&spread), Compare::Declared, Numerics::Exact), Some(1.0));
        assert_eq!(power(&codes(&spread), Compare::Declared, Numerics::OffByOne), Some(0.0));
    }
}
