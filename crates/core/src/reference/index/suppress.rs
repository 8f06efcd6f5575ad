//! Non-maximum suppression.
//!
//! Overlaps are computed in f32 in the order runtimes compute them: which box stays may depend on their rounding.

use super::super::Call;
use crate::error::Result;
use crate::ir::Tensor;

/// A box by its corners, the smaller first.
#[derive(Debug, Clone, Copy)]
struct Rectangle {
    low: [f32; 2],
    high: [f32; 2],
    area: f32,
}

impl Rectangle {
    /// From two opposite corners, or from a centre and extents.
    fn new(numbers: [f32; 4], center: bool) -> Self {
        let [a, b, c, d] = numbers;
        let (low, high) = if center {
            let (width, height) = (c / 2.0, d / 2.0);
            ([b - height, a - width], [b + height, a + width])
        } else {
            ([a.min(c), b.min(d)], [a.max(c), b.max(d)])
        };
        Rectangle { low, high, area: (high[0] - low[0]) * (high[1] - low[1]) }
    }

    /// Whether the intersection is more than `threshold` of the union; never where one has no area.
    fn overlaps(self, other: Self, threshold: f32) -> bool {
        let side = |axis: usize| self.high[axis].min(other.high[axis]) - self.low[axis].max(other.low[axis]);
        let (height, width) = (side(0), side(1));
        if height <= 0.0 || width <= 0.0 || self.area <= 0.0 || other.area <= 0.0 {
            return false;
        }
        let intersection = height * width;
        let union = self.area + other.area - intersection;
        union > 0.0 && intersection / union > threshold
    }
}

pub(super) fn non_max_suppression(call: &Call, center: bool) -> Result<Vec<Tensor>> {
    let (boxes, scores) = (call.input(0)?, call.input(1)?);
    let most = call.optional(2).and_then(|most| most.to_i64_vec().first().copied()).unwrap_or(0);
    let most = usize::try_from(most).unwrap_or(0);
    let number = |index: usize| call.optional(index).and_then(|tensor| tensor.to_f32_vec().first().copied());
    let (overlap, least) = (number(3).unwrap_or(0.0), number(4));
    let (batches, count) = (boxes.extents()[0], boxes.extents()[1]);
    let classes = scores.extents()[1];
    let (corners, scores) = (boxes.to_f32_vec(), scores.to_f32_vec());
    let mut selected: Vec<i64> = Vec::new();
    for batch in 0..batches {
        let rectangles: Vec<Rectangle> = corners[batch * count * 4..(batch + 1) * count * 4]
            .chunks_exact(4)
            .map(|numbers| Rectangle::new([numbers[0], numbers[1], numbers[2], numbers[3]], center))
            .collect();
        for class in 0..classes {
            let first = (batch * classes + class) * count;
            let scores = &scores[first..first + count];
            let mut candidates: Vec<usize> =
                (0..count).filter(|&at| least.is_none_or(|least| scores[at] > least)).collect();
            candidates.sort_by(|&a, &b| {
                scores[b]
                    .partial_cmp(&scores[a])
                    .unwrap_or_else(|| scores[a].is_nan().cmp(&scores[b].is_nan()))
            });
            let mut kept: Vec<usize> = Vec::new();
            for at in candidates {
                if kept.len() >= most {
                    break;
                }
                if kept.iter().all(|&other| !rectangles[at].overlaps(rectangles[other], overlap)) {
                    kept.push(at);
                }
            }
            selected.extend(kept.into_iter().flat_map(|at| [batch as i64, class as i64, at as i64]));
        }
    }
    Ok(vec![Tensor::from_slice(&[selected.len() / 3, 3], &selected)?])
}
