//! The signal-to-quantization-noise ratio of each value of a quantized program: where accuracy is lost.

use fewbit_core::backend::Device;
use fewbit_core::ir::{DType, Graph};
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::Result;
use crate::runner::Runner;

/// What is reported where there is no noise at all, in decibels.
const NOISELESS_DB: f64 = 200.0;

/// Energy of the signal over that of the noise, in decibels, at most 200.
pub fn decibels(signal: f64, noise: f64) -> f64 {
    if noise <= 0.0 {
        NOISELESS_DB
    } else {
        (10.0 * (signal / noise).log10()).clamp(-NOISELESS_DB, NOISELESS_DB)
    }
}

/// The ratio of one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerSqnr {
    /// The value's name, in the float graph and in the program.
    pub value: String,
    /// The ratio in decibels.
    pub sqnr_db: f64,
}

/// Runs the float graph and the program made from it side by side and compares each value that both have by name.
///
/// Noise accumulates from layer to layer, as it does on the device.
///
/// # Errors
/// A sample that cannot be read or a run that fails.
pub fn per_layer(
    float: &Graph,
    program: &Graph,
    device: &dyn Device,
    threads: usize,
    dataset: &Dataset,
    limit: usize,
) -> Result<Vec<LayerSqnr>> {
    let (mut float, mut program) = (float.clone(), program.clone());
    let mut left = Vec::new();
    let mut right = Vec::new();
    for (_, node) in float.nodes() {
        for &id in &node.outputs {
            let value = float.value(id);
            if value.dtype != Some(DType::F32) {
                continue;
            }
            if let Some(other) = program.find_value(&value.name)
                && program.value(other).constant.is_none()
                && !program.inputs.contains(&other)
            {
                left.push(id);
                right.push(other);
            }
        }
    }
    float.outputs = left;
    program.outputs = right;
    let mut float = Runner::new(&float, device, threads)?;
    let mut program = Runner::new(&program, device, threads)?;
    let names: Vec<String> = float.output_specs().iter().map(|spec| spec.name.clone()).collect();
    let mut energy = vec![(0.0, 0.0); names.len()];
    for index in 0..dataset.len().min(limit) {
        let sample = dataset.sample(index)?;
        float.run(&sample.inputs)?;
        program.run(&sample.inputs)?;
        for (at, (signal, noise)) in energy.iter_mut().enumerate() {
            for (x, y) in float.real_output(at).into_iter().zip(program.real_output(at)) {
                *signal += f64::from(x) * f64::from(x);
                *noise += (f64::from(x) - f64::from(y)).powi(2);
            }
        }
    }
    Ok(names
        .into_iter()
        .zip(energy)
        .map(|(value, (signal, noise))| LayerSqnr { value, sqnr_db: decibels(signal, noise) })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratios_are_decibels_and_bounded() {
        assert!((decibels(100.0, 1.0) - 20.0).abs() < 1e-12);
        assert_eq!(decibels(1.0, 0.0), NOISELESS_DB);
        assert_eq!(decibels(0.0, 1.0), -NOISELESS_DB);
    }
}
