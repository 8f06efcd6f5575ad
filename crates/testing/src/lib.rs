//! Graph builders, tolerances and fixtures for tests.
//!
//! For development only: no crate that is shipped depends on it. Owns seeded randomness ([`Random`]), small models
//! ([`ModelBuilder`]), comparison of floats ([`assert_close`], [`sqnr_db`]), what tests of a device do
//! with it ([`device`]), building the plugins of this repository ([`plugin`]) and the folder of files that tests share
//! but the repository does not carry ([`shared_dir`], [`skip!`]).

pub mod device;
mod model;
mod plugins;
mod random;

use std::path::PathBuf;

pub use model::{ConvOptions, ModelBuilder};
pub use plugins::{faults, mutations, plugin, program};
pub use random::Random;

/// Panics unless every element of `actual` is within `relative` of its element in `expected`.
///
/// The bound is `relative` times the larger of the expected element's size and the mean size of all expected
/// elements, so that elements near zero are held to the tensor's own scale. NaN equals NaN, infinities themselves.
///
/// # Panics
/// When lengths differ or an element is off; the message names the worst element.
#[track_caller]
pub fn assert_close(actual: &[f32], expected: &[f32], relative: f64) {
    assert_eq!(actual.len(), expected.len(), "as many elements as expected");
    let finite = expected.iter().filter(|x| x.is_finite()).map(|&x| f64::from(x.abs()));
    let mean = finite.sum::<f64>() / expected.len().max(1) as f64;
    let mut worst: Option<(usize, f64)> = None;
    for (at, (&a, &e)) in actual.iter().zip(expected).enumerate() {
        if a == e || (a.is_nan() && e.is_nan()) {
            continue;
        }
        let error = (f64::from(a) - f64::from(e)).abs() / f64::from(e.abs()).max(mean).max(f64::MIN_POSITIVE);
        // NaN on one side only is as wrong as can be.
        let error = if error.is_nan() { f64::INFINITY } else { error };
        if worst.is_none_or(|(_, most)| error > most) {
            worst = Some((at, error));
        }
    }
    if let Some((at, error)) = worst.filter(|(_, error)| *error > relative) {
        panic!(
            "element {at} of {}: expected {} within {relative:e}, found {} (off by {error:e})",
            expected.len(),
            expected[at],
            actual[at]
        );
    }
}

/// Signal to quantization noise in dB: `10 log10(Σ e² / Σ (a - e)²)`; infinite where nothing differs.
///
/// # Panics
/// When lengths differ.
#[track_caller]
pub fn sqnr_db(actual: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(actual.len(), expected.len(), "as many elements as expected");
    let square = |x: f64| x * x;
    let signal: f64 = expected.iter().map(|&e| square(f64::from(e))).sum();
    let noise: f64 = actual.iter().zip(expected).map(|(&a, &e)| square(f64::from(a) - f64::from(e))).sum();
    10.0 * (signal / noise).log10()
}

/// The folder of models and data that the repository does not carry: `FEWBIT_SHARED`, or `shared` beside the
/// workspace; `None` where it does not exist.
pub fn shared_dir() -> Option<PathBuf> {
    let folder = match std::env::var_os("FEWBIT_SHARED") {
        Some(folder) => PathBuf::from(folder),
        None => PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
    };
    folder.is_dir().then_some(folder)
}

/// The file at `path` in [`shared_dir`]; `None`, said on stderr in a line that starts with `SKIPPED:`, where it is
/// absent.
pub fn shared_file(path: &str) -> Option<PathBuf> {
    let file = shared_dir().map(|folder| folder.join(path)).filter(|file| file.exists());
    if file.is_none() {
        report_skip(&format!("{path} is not in the shared folder (set FEWBIT_SHARED)"));
    }
    file
}

/// Prints why a test does not run, as [`skip!`] does.
#[expect(clippy::print_stderr, reason = "a skipped test must be visible in the test's output")]
pub fn report_skip(reason: &str) {
    eprintln!("SKIPPED: {reason}");
}

/// Leaves the test, saying why in a line that starts with `SKIPPED:`. Takes what `format!` takes.
#[macro_export]
macro_rules! skip {
    ($($reason:tt)*) => {{
        $crate::report_skip(&format!($($reason)*));
        return;
    }};
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closeness_is_relative_to_the_tensor() {
        assert_close(&[100.0, 1e-9], &[100.001, 0.0], 1e-4);
        assert_close(&[f32::NAN, f32::INFINITY], &[f32::NAN, f32::INFINITY], 0.0);
        for wrong in [[100.0, 0.1], [f32::NAN, 0.0], [101.0, 0.0]] {
            let caught = std::panic::catch_unwind(|| assert_close(&wrong, &[100.0, 0.0], 1e-4));
            assert!(caught.is_err(), "{wrong:?} is not close");
        }
    }

    #[test]
    fn sqnr_counts_decibels() {
        assert!((sqnr_db(&[1.1, 1.0], &[1.0, 1.0]) - 23.01).abs() < 0.01);
        assert_eq!(sqnr_db(&[1.0], &[1.0]), f64::INFINITY);
    }
}
