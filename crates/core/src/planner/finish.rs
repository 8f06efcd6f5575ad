//! Writing the plan: parameters of tensors, boundaries, sums, and what does not fit.

use indexmap::IndexMap;

use super::scales::Classes;
use super::{Planned, Planner};
use crate::capability::{Holds, Reason, Support, operands, reasons};
use crate::cost::{self, Cost, Estimate};
use crate::error::Result;
use crate::ir::{DType, ValueId};
use crate::lower::keeps_parameters;
use crate::plan::{
    Assignment, Axis, Boundary, BoundaryKind, Goal, Optimality, Origin, Plan, Precision, Refusal, RunnerUp,
    Subject, TensorPlan, Totals,
};
use crate::quant::{Ranges, Scheme};

impl Planner<'_> {
    pub(super) fn finish(&mut self, optimality: Option<Optimality>) -> Result<Plan> {
        let mut nodes: Vec<Assignment> = self.nodes.iter().map(|planned| self.assignment(planned)).collect();
        if let Some(optimality) = &optimality {
            for (place, node) in nodes.iter_mut().enumerate() {
                node.runner_up = self.second_choice(place, &optimality.goal);
            }
        }
        let request = &self.request;
        let tensors = match (request.ranges, self.activation) {
            (Some(ranges), Some(scheme)) => self.tensors(ranges, scheme)?,
            _ => IndexMap::new(),
        };
        let boundaries = self.boundaries();
        let totals = self.totals(&nodes, &boundaries);
        let problems = self.problems(&nodes, &totals);
        let mut plan = Plan {
            schema: Plan::SCHEMA,
            hash: String::new(),
            model: Subject { name: request.graph.name.clone(), hash: request.hash.to_owned() },
            target: Subject { name: request.target.name.clone(), hash: request.target.hash() },
            strategy: request.strategy,
            optimality,
            calibration: request.ranges.map(Ranges::origin),
            weight_rule: request.weight_rule,
            measured: None,
            deployable: totals.unsupported == 0 && problems.is_empty(),
            problems,
            totals,
            nodes,
            tensors,
            boundaries,
        };
        plan.hash = plan.computed_hash();
        Ok(plan)
    }

    fn processor_id(&self, index: usize) -> String {
        self.request.target.processors[index].id.clone()
    }

    fn assignment(&self, planned: &Planned<'_>) -> Assignment {
        let chosen = planned.candidate();
        // What was preferred and refused stands before the chosen candidate; where none runs, all were refused.
        let before = planned.chosen.unwrap_or(planned.candidates.len());
        let refused = planned.candidates[..before]
            .iter()
            .filter(|candidate| !candidate.runs() || candidate.verdict.support == Support::Emulated)
            .map(|candidate| {
                let mut reasons = candidate.reasons();
                if candidate.runs() {
                    reasons.push(Reason {
                        code: reasons::SLOWER.into(),
                        rule: candidate.verdict.rule.clone(),
                        message: format!(
                            "{} is emulated here, slower than what was chosen",
                            candidate.precision
                        ),
                        fix: None,
                    });
                }
                Refusal {
                    processor: self.processor_id(candidate.processor),
                    precision: candidate.precision,
                    reasons,
                }
            })
            .collect();
        let runner_up = planned
            .candidates
            .iter()
            .enumerate()
            .filter(|(index, candidate)| Some(*index) != planned.chosen && candidate.runs())
            .max_by_key(|(index, candidate)| (candidate.verdict.support, std::cmp::Reverse(*index)))
            .map(|(_, candidate)| RunnerUp {
                processor: self.processor_id(candidate.processor),
                precision: candidate.precision,
                support: candidate.verdict.support,
                estimate: candidate.estimate,
                difference: IndexMap::new(),
                exceeds: None,
            });
        let precision = chosen.map_or_else(
            || planned.candidates.first().map_or(Precision::F32, |candidate| candidate.precision),
            |candidate| candidate.precision,
        );
        Assignment {
            node: planned.node.name.clone(),
            op: planned.node.op.kind().as_str().to_owned(),
            processor: chosen.map(|candidate| self.processor_id(candidate.processor)),
            precision,
            support: chosen.map_or(Support::Unsupported, |candidate| candidate.verdict.support),
            rule: chosen.and_then(|candidate| candidate.verdict.rule.clone()),
            pinned: planned.pinned,
            weights: chosen.and_then(|candidate| candidate.weights),
            cost: chosen.map_or_else(
                || cost::node(self.request.graph, planned.node, precision),
                |candidate| candidate.cost,
            ),
            estimate: chosen.map_or(Estimate::default(), |candidate| candidate.estimate),
            reasons: chosen.map_or_else(Vec::new, |candidate| candidate.verdict.reasons.clone()),
            refused,
            runner_up,
        }
    }

    /// Values that are stored as codes somewhere: what integer nodes read and write.
    fn quantized_values(&self) -> Vec<ValueId> {
        let graph = self.request.graph;
        let mut is_quantized = vec![false; graph.value_ids().len()];
        for planned in self.nodes.iter().filter(|planned| planned.is_integer()) {
            for id in operands(graph, planned.node).iter().chain(&planned.node.outputs) {
                let value = graph.value(*id);
                is_quantized[id.index()] |= value.constant.is_none() && value.quant.is_none();
            }
        }
        graph.value_ids().filter(|id| is_quantized[id.index()]).collect()
    }

    /// The parameters of every quantized value: one class, one scale.
    fn tensors(&self, ranges: &dyn Ranges, scheme: Scheme) -> Result<IndexMap<String, TensorPlan>> {
        let graph = self.request.graph;
        let classes = self.classes();
        let values = self.quantized_values();
        let mut ranges_of: IndexMap<usize, ((f32, f32), Vec<String>)> = IndexMap::new();
        for &id in &values {
            // What only moves lies within the range of what it reads, and does not widen it.
            let moved = self.producers[id.index()].is_some_and(|place| {
                keeps_parameters(&self.nodes[place].node.op) && self.nodes[place].is_integer()
            });
            let name = &graph.value(id).name;
            if moved {
                continue;
            }
            let Some((min, max)) = ranges.range(name, scheme)? else { continue };
            let ((low, high), names) =
                ranges_of.entry(classes.root(id)).or_insert_with(|| ((min, max), Vec::new()));
            (*low, *high) = (low.min(min), high.max(max));
            names.push(name.clone());
        }
        let mut tensors = IndexMap::new();
        for &id in &values {
            let name = &graph.value(id).name;
            let Some((range, sources)) = ranges_of.get(&classes.root(id)) else { continue };
            let (scale, zero_point, origin) = self.parameters(&classes, id, *range, sources, scheme)?;
            let reads_weights = self.readers[id.index()].iter().any(|&place| {
                let planned = &self.nodes[place];
                planned.is_integer() && planned.node.op.has_weights() && planned.node.input(0) == Some(id)
            });
            let channel_means =
                if reads_weights && self.request.bias_correction { ranges.channel_means(name) } else { None };
            let plan =
                TensorPlan { dtype: scheme.dtype, scale, zero_point, range: *range, origin, channel_means };
            tensors.insert(name.clone(), plan);
        }
        Ok(tensors)
    }

    fn parameters(
        &self,
        classes: &Classes,
        id: ValueId,
        range: (f32, f32),
        sources: &[String],
        scheme: Scheme,
    ) -> Result<(f32, i32, Origin)> {
        if let Some(fixed) = &classes.fixed[classes.root(id)] {
            return Ok((fixed.scale, fixed.zero_point, Origin::Fixed));
        }
        let name = &self.request.graph.value(id).name;
        let (scale, zero_point) = scheme.parameters(range.0, range.1).map_err(|error| error.at(name))?;
        let own = sources.len() == 1 && sources[0] == *name;
        Ok((scale, zero_point, if own { Origin::Calibrated } else { Origin::Shared(sources.to_vec()) }))
    }

    /// Where activations change form or processor: one entry per value, kind and processor of the readers.
    fn boundaries(&self) -> Vec<Boundary> {
        let graph = self.request.graph;
        let mut boundaries = Vec::new();
        for id in graph.value_ids().filter(|&id| graph.value(id).constant.is_none()) {
            let producer = self.producers[id.index()].map(|place| &self.nodes[place]);
            let from = producer.and_then(|planned| planned.candidate()).map(|candidate| candidate.processor);
            let stored_as_codes =
                producer.is_some_and(Planned::is_integer) || graph.value(id).quant.is_some();
            let mut found: Vec<(BoundaryKind, Option<usize>, Precision)> = Vec::new();
            let mut add = |kind, to, precision| {
                if !found.iter().any(|(k, t, _)| (*k, *t) == (kind, to)) {
                    found.push((kind, to, precision));
                }
            };
            for &place in &self.readers[id.index()] {
                let reader = &self.nodes[place];
                let Some(candidate) = reader.candidate() else { continue };
                let is_data = operands(graph, reader.node).contains(&id);
                let wants_codes = is_data && (reader.is_integer());
                let to = Some(candidate.processor);
                if graph.value(id).quant.is_none() && wants_codes != stored_as_codes {
                    let kind = if wants_codes { BoundaryKind::Quantize } else { BoundaryKind::Dequantize };
                    add(kind, to, candidate.precision);
                } else if from.is_some() && to != from {
                    add(BoundaryKind::Copy, to, candidate.precision);
                }
            }
            if graph.is_output(id) && stored_as_codes && graph.value(id).quant.is_none() {
                let precision = producer.and_then(Planned::candidate).map_or(Precision::F32, |c| c.precision);
                add(BoundaryKind::Dequantize, None, precision);
            }
            for (kind, to, precision) in found {
                boundaries.push(self.boundary(id, kind, from, to, precision));
            }
        }
        boundaries
    }

    /// The best other choice for one node of a mixed plan with the others as they are: of those that keep the limits the
    /// one that costs least on the axis that is minimised, else the one that exceeds a limit by the smallest share.
    fn second_choice(&mut self, place: usize, goal: &Goal) -> Option<RunnerUp> {
        let chosen = self.nodes[place].chosen?;
        let before = self.axis_totals();
        let mut best: Option<((bool, f64), RunnerUp)> = None;
        for index in 0..self.nodes[place].candidates.len() {
            if index == chosen || !self.nodes[place].candidates[index].runs() {
                continue;
            }
            self.nodes[place].chosen = Some(index);
            let after = self.axis_totals();
            let over = |axis: &Axis, limit: f64| after[axis] / limit.max(f64::MIN_POSITIVE) - 1.0;
            let exceeds = goal
                .limits
                .iter()
                .filter(|(axis, limit)| over(axis, **limit) > 1e-9)
                .max_by(|a, b| over(a.0, *a.1).total_cmp(&over(b.0, *b.1)))
                .map(|(&axis, &limit)| (axis, limit));
            let rank = match exceeds {
                Some((axis, limit)) => (true, over(&axis, limit)),
                None => (false, after[&goal.minimize] - before[&goal.minimize]),
            };
            if best.as_ref().is_none_or(|(known, _)| rank < *known) {
                let candidate = &self.nodes[place].candidates[index];
                let runner_up = RunnerUp {
                    processor: self.processor_id(candidate.processor),
                    precision: candidate.precision,
                    support: candidate.verdict.support,
                    estimate: candidate.estimate,
                    difference: after
                        .iter()
                        .map(|(&axis, value)| (axis, value - before[&axis]))
                        .filter(|(_, difference)| *difference != 0.0)
                        .collect(),
                    exceeds: exceeds.map(|(axis, _)| axis),
                };
                best = Some((rank, runner_up));
            }
        }
        self.nodes[place].chosen = Some(chosen);
        best.map(|(_, runner_up)| runner_up)
    }

    /// The present choices on every axis, what is not known counting nothing.
    fn axis_totals(&self) -> IndexMap<Axis, f64> {
        let mut totals: IndexMap<Axis, f64> = Axis::ALL.into_iter().map(|axis| (axis, 0.0)).collect();
        let mut add = |axis: Axis, value: f64| {
            if let Some(total) = totals.get_mut(&axis) {
                *total += value;
            }
        };
        let mut estimates: Vec<Estimate> = Vec::new();
        for planned in &self.nodes {
            let Some(candidate) = planned.candidate() else { continue };
            add(Axis::Size, candidate.cost.weight_bytes as f64);
            add(Axis::Error, self.noise(&planned.node.name, candidate.precision).unwrap_or(0.0));
            estimates.push(candidate.estimate);
        }
        estimates.extend(self.boundaries().into_iter().map(|boundary| boundary.estimate));
        for estimate in estimates {
            add(Axis::Latency, estimate.latency_us.unwrap_or(0.0) / 1e3);
            add(Axis::Energy, estimate.energy_uj.unwrap_or(0.0) / 1e3);
        }
        totals
    }

    /// The noise that a node at a precision adds to the outputs; `None` where it was not measured.
    pub(super) fn noise(&self, node: &str, precision: Precision) -> Option<f64> {
        match (precision, self.request.figures) {
            (Precision::F32, _) => Some(0.0),
            (_, Some(figures)) => figures.noise(node, precision),
            (_, None) => None,
        }
    }

    pub(super) fn boundary(
        &self,
        id: ValueId,
        kind: BoundaryKind,
        from: Option<usize>,
        to: Option<usize>,
        precision: Precision,
    ) -> Boundary {
        let graph = self.request.graph;
        let codes = cost::value_bytes(graph, id, self.activation.map_or(8, |scheme| scheme.dtype.bits()));
        let reals = cost::value_bytes(graph, id, 32);
        let bytes = match kind {
            BoundaryKind::Copy if self.is_quantized(id) => 2 * codes,
            BoundaryKind::Copy => 2 * reals,
            _ => codes + reals,
        };
        let at = to.or(from).unwrap_or(0);
        let cost = Cost { macs: 0, weight_bytes: 0, activation_bytes: bytes };
        let processor = &self.request.target.processors[at];
        let mut estimate = cost::estimate(processor, precision, &cost);
        let elements = graph.value(id).extents().unwrap_or_default().iter().product();
        let dtype = self.activation.map_or(DType::U8, |scheme| scheme.dtype);
        let measured = self
            .request
            .figures
            .and_then(|figures| figures.boundary_us(&processor.id, kind, dtype, elements));
        if let Some(us) = measured {
            estimate = Estimate { latency_us: Some(us), measured: true, ..estimate };
        }
        Boundary {
            value: graph.value(id).name.clone(),
            kind,
            from: from.map(|index| self.processor_id(index)),
            to: to.map(|index| self.processor_id(index)),
            bytes,
            estimate,
        }
    }

    fn totals(&self, nodes: &[Assignment], boundaries: &[Boundary]) -> Totals {
        let graph = self.request.graph;
        let count = |support| nodes.iter().filter(|node| node.support == support).count();
        let estimates =
            || nodes.iter().map(|node| node.estimate).chain(boundaries.iter().map(|b| b.estimate));
        let sum = |pick: fn(&Estimate) -> Option<f64>| -> Option<f64> {
            estimates().map(|estimate| pick(&estimate)).sum::<Option<f64>>().map(|micro| micro / 1e3)
        };
        let mut precisions: IndexMap<Precision, usize> = IndexMap::new();
        for node in nodes.iter().filter(|node| node.support != Support::Unsupported) {
            *precisions.entry(node.precision).or_default() += 1;
        }
        precisions.sort_keys();
        let activation_bits = self.activation.map_or(8, |scheme| scheme.dtype.bits());
        let bits = |id: ValueId| if self.is_quantized(id) { activation_bits } else { 32 };
        Totals {
            macs: nodes.iter().map(|node| node.cost.macs).sum(),
            weight_bytes: nodes.iter().map(|node| node.cost.weight_bytes).sum(),
            activation_bytes: cost::peak_activation_bytes(graph, |id| cost::value_bytes(graph, id, bits(id))),
            latency_ms: sum(|estimate| estimate.latency_us),
            energy_mj: sum(|estimate| estimate.energy_uj),
            noise: self
                .nodes
                .iter()
                .filter_map(|planned| Some((&planned.node.name, planned.candidate()?.precision)))
                .map(|(node, precision)| self.noise(node, precision))
                .sum(),
            measured: nodes.iter().filter(|node| node.estimate.measured).count(),
            native: count(Support::Native),
            emulated: count(Support::Emulated),
            unsupported: count(Support::Unsupported),
            precisions,
        }
    }

    /// Memories that must hold what they cannot.
    fn problems(&self, nodes: &[Assignment], totals: &Totals) -> Vec<Reason> {
        let mut problems = Vec::new();
        for processor in &self.request.target.processors {
            let weights: u64 = nodes
                .iter()
                .filter(|node| node.processor.as_ref() == Some(&processor.id))
                .map(|node| node.cost.weight_bytes)
                .sum();
            for memory in processor.memories.iter().filter(|memory| memory.must_fit) {
                let needed = |what: Holds, bytes: u64| if memory.holds.contains(&what) { bytes } else { 0 };
                let total =
                    needed(Holds::Weights, weights) + needed(Holds::Activations, totals.activation_bytes);
                let Some(size) = memory.bytes.filter(|&size| total > size) else { continue };
                let what: Vec<&str> = memory
                    .holds
                    .iter()
                    .map(|holds| if *holds == Holds::Weights { "weights" } else { "activations" })
                    .collect();
                problems.push(Reason {
                    code: reasons::MEMORY.into(),
                    rule: None,
                    message: format!(
                        "{} need {total} bytes, {} of {} has {size}",
                        what.join(" and "),
                        memory.name,
                        processor.id
                    ),
                    fix: Some("use a smaller input, a smaller model or fewer bits".into()),
                });
            }
        }
        problems
    }
}
