//! Matrix products, in any arithmetic.

use super::Call;
use super::convolution::Mac;
use super::functions::clamp;
use super::indexing;
use crate::error::Result;
use crate::ir::{Activation, Tensor};

/// The matrices of a MatMul: how many, their extents, and where each pair starts.
pub(super) struct Batches {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    /// Per product, the numbers of its left and right matrix.
    pairs: Vec<(usize, usize)>,
}

impl Batches {
    /// The products of a MatMul of tensors of these extents, which inference has found to fit.
    pub(super) fn new(a: &[usize], b: &[usize], y: &[usize]) -> Self {
        let m = if a.len() > 1 { a[a.len() - 2] } else { 1 };
        let n = if b.len() > 1 { b[b.len() - 1] } else { 1 };
        let k = a[a.len() - 1];
        let batch = &y[..y.len() - usize::from(a.len() > 1) - usize::from(b.len() > 1)];
        let left = indexing::broadcast(&a[..a.len().saturating_sub(2)], batch);
        let right = indexing::broadcast(&b[..b.len().saturating_sub(2)], batch);
        Self { m, k, n, pairs: left.into_iter().zip(right).collect() }
    }

    /// The sums of products, one matrix behind the other.
    pub(super) fn product<T: Mac>(&self, a: &[T], b: &[T]) -> Vec<T> {
        let (m, k, n) = (self.m, self.k, self.n);
        let mut result = Vec::with_capacity(self.pairs.len() * m * n);
        for &(left, right) in &self.pairs {
            result.extend(product(m, k, n, &a[left * m * k..][..m * k], &b[right * k * n..][..k * n]));
        }
        result
    }
}

/// `a` (m×k) times `b` (k×n), both row-major.
pub(super) fn product<T: Mac>(m: usize, k: usize, n: usize, a: &[T], b: &[T]) -> Vec<T> {
    let mut result = vec![T::ZERO; m * n];
    for i in 0..m {
        let row = &mut result[i * n..][..n];
        for (l, &factor) in a[i * k..][..k].iter().enumerate() {
            for (sum, &other) in row.iter_mut().zip(&b[l * n..][..n]) {
                *sum = sum.mac(factor, other);
            }
        }
    }
    result
}

/// The matrix (rows×columns in storage) as the product wants it.
pub(super) fn oriented<T: Copy>(values: Vec<T>, extents: &[usize], transposed: bool) -> Vec<T> {
    if !transposed {
        return values;
    }
    let (rows, columns) = (extents[0], extents[1]);
    (0..columns)
        .flat_map(|column| (0..rows).map(move |row| (row, column)))
        .map(|(row, column)| values[row * columns + column])
        .collect()
}

pub(super) fn mat_mul(call: &Call) -> Result<Vec<Tensor>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let batches = Batches::new(a.extents(), b.extents(), call.extents());
    if call.dtype().is_float() {
        return call.floats(&batches.product(&a.to_f64_vec(), &b.to_f64_vec()));
    }
    let sums = batches.product(&a.to_i64_vec(), &b.to_i64_vec());
    let sums: Vec<i128> = sums.into_iter().map(i128::from).collect();
    Ok(vec![indexing::from_integers(call.dtype(), call.extents(), &sums)?])
}

pub(super) fn gemm(
    call: &Call,
    alpha: f32,
    beta: f32,
    (trans_a, trans_b): (bool, bool),
    activation: Activation,
) -> Result<Vec<Tensor>> {
    let (a, b) = (call.input(0)?, call.input(1)?);
    let [m, n] = [call.extents()[0], call.extents()[1]];
    let k = a.extents()[usize::from(!trans_a)];
    let left = oriented(a.to_f64_vec(), a.extents(), trans_a);
    let right = oriented(b.to_f64_vec(), b.extents(), trans_b);
    let mut sums = product(m, k, n, &left, &right);
    let addend = call.optional(2).map(|c| (c.to_f64_vec(), indexing::broadcast(c.extents(), &[m, n])));
    let (low, high) = activation.bounds();
    for (at, sum) in sums.iter_mut().enumerate() {
        *sum *= f64::from(alpha);
        if let Some((values, positions)) = &addend {
            *sum += f64::from(beta) * values[positions[at]];
        }
        *sum = clamp(*sum, f64::from(low), f64::from(high));
    }
    call.floats(&sums)
}
