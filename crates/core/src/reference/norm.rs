//! Normalisations and softmax.

use super::Call;
use super::indexing::{broadcast, project};
use crate::error::Result;
use crate::ir::Tensor;

pub(super) fn softmax(call: &Call, axis: usize, log: bool) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let mut values = x.to_f64_vec();
    let groups = project(x.extents(), &[axis]);
    let count = groups.last().map_or(0, |last| last + 1);
    let mut largest = vec![f64::NEG_INFINITY; count];
    for (&value, &group) in values.iter().zip(&groups) {
        largest[group] = largest[group].max(value);
    }
    let mut sums = vec![0f64; count];
    for (value, &group) in values.iter_mut().zip(&groups) {
        *value -= largest[group];
        sums[group] += value.exp();
    }
    for (value, &group) in values.iter_mut().zip(&groups) {
        *value = if log { *value - sums[group].ln() } else { value.exp() / sums[group] };
    }
    call.floats(&values)
}

pub(super) fn batch_norm(call: &Call, epsilon: f32) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let parameter = |index| -> Result<Vec<f64>> { Ok(call.input(index)?.to_f64_vec()) };
    let (scale, bias, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
    let inner: usize = x.extents()[2..].iter().product();
    let channels = x.extents()[1];
    let normal = |(at, value): (usize, f64)| {
        let c = at / inner % channels;
        (value - mean[c]) / (variance[c] + f64::from(epsilon)).sqrt() * scale[c] + bias[c]
    };
    let values: Vec<f64> = x.to_f64_vec().into_iter().enumerate().map(normal).collect();
    call.floats(&values)
}

/// Elements less their group's mean, over the root of its variance.
fn normalized(mut values: Vec<f64>, groups: &[usize], size: usize, epsilon: f32) -> Vec<f64> {
    let count = groups.last().map_or(0, |last| last + 1);
    let mut means = vec![0f64; count];
    for (&value, &group) in values.iter().zip(groups) {
        means[group] += value / size as f64;
    }
    let mut variances = vec![0f64; count];
    for (value, &group) in values.iter_mut().zip(groups) {
        *value -= means[group];
        variances[group] += *value * *value / size as f64;
    }
    for (value, &group) in values.iter_mut().zip(groups) {
        *value /= (variances[group] + f64::from(epsilon)).sqrt();
    }
    values
}

pub(super) fn layer_norm(call: &Call, axis: usize, epsilon: f32) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let axes: Vec<usize> = (axis..x.extents().len()).collect();
    let size = x.extents()[axis..].iter().product();
    let mut values = normalized(x.to_f64_vec(), &project(x.extents(), &axes), size, epsilon);
    let spread = |tensor: &Tensor| -> Vec<f64> {
        let elements = tensor.to_f64_vec();
        broadcast(tensor.extents(), x.extents()).into_iter().map(|at| elements[at]).collect()
    };
    for (value, scale) in values.iter_mut().zip(spread(call.input(1)?)) {
        *value *= scale;
    }
    if let Some(bias) = call.optional(2) {
        for (value, bias) in values.iter_mut().zip(spread(bias)) {
            *value += bias;
        }
    }
    call.floats(&values)
}

pub(super) fn instance_norm(call: &Call, epsilon: f32) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let axes: Vec<usize> = (2..x.extents().len()).collect();
    let inner: usize = x.extents()[2..].iter().product();
    let channels = x.extents()[1];
    let (scale, bias) = (call.input(1)?.to_f64_vec(), call.input(2)?.to_f64_vec());
    let mut values = normalized(x.to_f64_vec(), &project(x.extents(), &axes), inner, epsilon);
    for (at, value) in values.iter_mut().enumerate() {
        let c = at / inner % channels;
        *value = *value * scale[c] + bias[c];
    }
    call.floats(&values)
}
