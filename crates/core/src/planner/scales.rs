//! Which quantized values share scale and zero point, and which have them fixed.

use super::Planner;
use crate::capability::{FixedScale, Processor, operands};
use crate::ir::ValueId;
use crate::lower::keeps_parameters;

/// Classes of values with one scale, for the choices of a round.
pub(super) struct Classes {
    /// For each value, the smallest value of its class.
    roots: Vec<u32>,
    /// For each value, the device's parameters for it where it fixes them.
    pub(super) fixed: Vec<Option<FixedScale>>,
    /// Places of nodes that bind values whose parameters cannot be one.
    pub(super) conflicts: Vec<usize>,
}

impl Classes {
    /// The value that stands for the class of `value`.
    pub(super) fn root(&self, value: ValueId) -> usize {
        let mut at = value.index();
        while self.roots[at] as usize != at {
            at = self.roots[at] as usize;
        }
        at
    }

    fn join(&mut self, a: ValueId, b: ValueId) {
        let (a, b) = (self.root(a), self.root(b));
        let (low, high) = (a.min(b), a.max(b));
        self.roots[high] = low as u32;
    }
}

impl Planner<'_> {
    /// Processors of the other targets that must run the same artifact.
    fn others(&self) -> impl Iterator<Item = &Processor> {
        self.request.also.iter().flat_map(|target| &target.processors)
    }

    /// The classes of this round: operators that only move elements keep the scale of what they read, and the device
    /// may bind others.
    pub(super) fn classes(&self) -> Classes {
        let graph = self.request.graph;
        let count = graph.value_ids().len();
        let mut classes =
            Classes { roots: (0..count as u32).collect(), fixed: vec![None; count], conflicts: Vec::new() };
        for planned in &self.nodes {
            let Some(candidate) = planned.candidate().filter(|_| planned.is_integer()) else { continue };
            let processor = &self.request.target.processors[candidate.processor];
            let kind = planned.node.op.kind();
            let op = kind.as_str();
            if let (Some(scheme), false) = (self.activation, keeps_parameters(&planned.node.op))
                && let Some(fixed) = std::iter::once(processor)
                    .chain(self.others())
                    .find_map(|processor| processor.fixed_scale(op, scheme.dtype))
            {
                for output in &planned.node.outputs {
                    classes.fixed[output.index()] = Some(fixed.clone());
                }
            }
        }
        for (place, planned) in self.nodes.iter().enumerate() {
            let Some(candidate) = planned.candidate().filter(|_| planned.is_integer()) else { continue };
            let processor = &self.request.target.processors[candidate.processor];
            let kind = planned.node.op.kind();
            let binds = keeps_parameters(&planned.node.op)
                || std::iter::once(processor)
                    .chain(self.others())
                    .any(|processor| processor.shares_scale(kind.as_str()));
            if !binds {
                continue;
            }
            let data = operands(graph, planned.node);
            let mut bound: Vec<ValueId> =
                data.into_iter().filter(|&id| graph.value(id).constant.is_none()).collect();
            bound.extend(&planned.node.outputs);
            if contradict(&classes, &bound) {
                classes.conflicts.push(place);
                continue;
            }
            for pair in bound.windows(2) {
                let fixed = classes.fixed[classes.root(pair[0])]
                    .clone()
                    .or(classes.fixed[classes.root(pair[1])].clone());
                classes.join(pair[0], pair[1]);
                let root = classes.root(pair[0]);
                classes.fixed[root] = fixed;
            }
        }
        classes
    }
}

/// Whether the device fixes the parameters of one of these values and the others do not have the same.
///
/// An operator that only moves elements takes fixed parameters along.
fn contradict(classes: &Classes, bound: &[ValueId]) -> bool {
    let fixed: Vec<Option<&FixedScale>> =
        bound.iter().map(|&id| classes.fixed[classes.root(id)].as_ref()).collect();
    let Some(first) = fixed.iter().flatten().next() else { return false };
    let inputs = bound.len().saturating_sub(1);
    // The outputs come last and have no parameters of their own yet.
    fixed.iter().take(inputs.max(1)).any(|other| {
        other.is_none_or(|other| (other.scale, other.zero_point) != (first.scale, first.zero_point))
    })
}
