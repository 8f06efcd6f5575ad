//! Mixed plans: the choice of every node as one exact problem.
//!
//! A node is a decision among its candidates; what they cost lies on the four axes of [`Axis`]. Where two neighbours
//! store activations differently, the boundary between them costs too: one conversion per value and form, however
//! many nodes read it. [`solve`](crate::solve) finds the best choices and says how far from the best they can be.

use super::Planner;
use crate::capability::operands;
use crate::cost::Estimate;
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::ValueId;
use crate::lower::keeps_parameters;
use crate::plan::{Axis, BoundaryKind, Goal, Optimality, Precision};
use crate::solve::{self, Outcome, Pair, Problem, Variable};

/// The relative gap at which a plan is called the best.
const GAP: f64 = 1e-6;
/// Steps of the solver's work at most; what is found until then stands, with its gap.
const WORK: usize = 20_000;

/// How a candidate stores activations: by which processor, and whether as codes. Inputs of the model have no processor.
type Form = (Option<usize>, bool);

/// The problem with what its decisions mean.
struct Model {
    problem: Problem,
    /// For each node, its decision; `None` where nothing runs it.
    decisions: Vec<Option<usize>>,
    /// For each decision of a node, the candidates that its options stand for.
    options: Vec<Vec<usize>>,
}

/// Choices of one solution, with what is known of it.
pub(super) struct Solved {
    /// For each node, the chosen candidate.
    pub(super) chosen: Vec<Option<usize>>,
    pub(super) optimality: Optimality,
}

impl Planner<'_> {
    /// The best choices under the goal, and up to `count - 1` others that differ from each other in `differ` nodes.
    ///
    /// # Errors
    /// [`CoreErrorKind::Infeasible`] naming the bound that cannot be met; [`CoreErrorKind::Plan`] where a figure that
    /// the goal needs is not known.
    pub(super) fn solve(&self, goal: &Goal, count: usize, differ: usize) -> Result<Vec<Solved>> {
        let model = self.model(goal)?;
        let options = solve::Options { gap: GAP, nodes: WORK };
        let defect = |error: solve::SolveError| CoreError::new(CoreErrorKind::Plan, error.to_string());
        let outcome = solve::solve(&model.problem, &options).map_err(defect)?;
        let best = match outcome {
            Outcome::Solved(solution) => solution,
            Outcome::Infeasible { axis, least } => return Err(infeasible(goal, axis, least)),
            Outcome::Unknown => {
                return Err(CoreError::new(
                    CoreErrorKind::Infeasible,
                    "found no plan within all limits, and could not prove that there is none",
                )
                .help("loosen a limit a little"));
            }
        };
        let counted = model.decisions.iter().flatten().count();
        let mut solutions = vec![best];
        if count > 1 {
            let more = solve::diverse(&model.problem, &options, count, differ, counted).map_err(defect)?;
            let first = solutions[0].choices.clone();
            solutions.extend(more.into_iter().filter(|solution| solution.choices != first));
            solutions.truncate(count);
        }
        let figures = self.request.figures.map_or_else(|| "the target's".to_owned(), super::Figures::origin);
        Ok(solutions
            .into_iter()
            .map(|solution| Solved {
                chosen: model
                    .decisions
                    .iter()
                    .map(|decision| decision.map(|at| model.options[at][solution.choices[at]]))
                    .collect(),
                optimality: Optimality {
                    goal: goal.clone(),
                    objective: solution.totals[place(goal.minimize)],
                    lower_bound: solution.lower_bound,
                    figures: figures.clone(),
                },
            })
            .collect())
    }

    fn model(&self, goal: &Goal) -> Result<Model> {
        let needed = |axis: Axis| goal.minimize == axis || goal.limits.contains_key(&axis);
        let mut variables = Vec::new();
        let mut options = Vec::new();
        let mut decisions = Vec::with_capacity(self.nodes.len());
        for planned in &self.nodes {
            let running: Vec<usize> =
                (0..planned.candidates.len()).filter(|&index| planned.candidates[index].runs()).collect();
            if running.is_empty() {
                decisions.push(None);
                continue;
            }
            let mut rows = Vec::with_capacity(running.len());
            for &index in &running {
                let candidate = &planned.candidates[index];
                let name = &planned.node.name;
                let processor = &self.request.target.processors[candidate.processor].id;
                let values =
                    self.values(name, candidate.precision, candidate.estimate, candidate.cost.weight_bytes);
                for (axis, value) in Axis::ALL.into_iter().zip(values) {
                    if value.is_none() && needed(axis) {
                        return Err(unknown(axis, processor, candidate.precision).at(name));
                    }
                }
                rows.push(values.map(|value| value.unwrap_or(0.0)).to_vec());
            }
            decisions.push(Some(variables.len()));
            variables.push(Variable { options: rows });
            options.push(running);
        }
        let mut limits = vec![None; Axis::ALL.len()];
        for (&axis, &limit) in &goal.limits {
            limits[place(axis)] = Some(limit);
        }
        let problem = Problem {
            axes: Axis::ALL.len(),
            variables,
            pairs: Vec::new(),
            minimize: place(goal.minimize),
            limits,
        };
        let mut model = Model { problem, decisions, options };
        for id in self.request.graph.value_ids() {
            self.value_boundaries(&mut model, id, &needed)?;
        }
        self.movers_follow(&mut model);
        Ok(model)
    }

    /// What a candidate costs on each axis; `None` where it is not known.
    fn values(
        &self,
        node: &str,
        precision: Precision,
        estimate: Estimate,
        weight_bytes: u64,
    ) -> [Option<f64>; 4] {
        [
            estimate.latency_us.map(|us| us / 1e3),
            estimate.energy_uj.map(|uj| uj / 1e3),
            Some(weight_bytes as f64),
            self.noise(node, precision),
        ]
    }

    /// The form in which the candidate of a decision's option leaves its output.
    fn form(&self, place: usize, candidate: usize) -> Form {
        let candidate = &self.nodes[place].candidates[candidate];
        (Some(candidate.processor), candidate.precision.has_integer_activations())
    }

    /// What it costs to have a value in form `to` beside form `from`.
    fn conversion(
        &self,
        id: ValueId,
        from: Form,
        to: Form,
        needed: &dyn Fn(Axis) -> bool,
    ) -> Result<Vec<f64>> {
        let kind = match (from.1, to.1) {
            (false, true) => BoundaryKind::Quantize,
            (true, false) => BoundaryKind::Dequantize,
            _ if from.0.is_some() && to.0.is_some() && from.0 != to.0 => BoundaryKind::Copy,
            _ => return Ok(vec![0.0; Axis::ALL.len()]),
        };
        let precision = if to.1 || from.1 { Precision::W8A8 } else { Precision::F32 };
        let boundary = self.boundary(id, kind, from.0, to.0, precision);
        let processor = &self.request.target.processors[to.0.or(from.0).unwrap_or(0)].id;
        let values = [boundary.estimate.latency_us, boundary.estimate.energy_uj]
            .map(|micro| micro.map(|micro| micro / 1e3));
        for (axis, value) in [Axis::Latency, Axis::Energy].into_iter().zip(values) {
            if value.is_none() && needed(axis) {
                return Err(unknown(axis, processor, precision).at(&self.request.graph.value(id).name));
            }
        }
        Ok(vec![values[0].unwrap_or(0.0), values[1].unwrap_or(0.0), 0.0, 0.0])
    }

    /// Adds what the forms of one value cost between its producer and its readers.
    fn value_boundaries(&self, model: &mut Model, id: ValueId, needed: &dyn Fn(Axis) -> bool) -> Result<()> {
        let graph = self.request.graph;
        let value = graph.value(id);
        if value.constant.is_some() || value.quant.is_some() {
            return Ok(());
        }
        let producer = self.producers[id.index()].filter(|&place| model.decisions[place].is_some());
        if producer.is_none() && self.producers[id.index()].is_some() {
            return Ok(());
        }
        // Readers with the form that each of their options wants the value in.
        let mut readers: Vec<(usize, Vec<Form>)> = Vec::new();
        for &reader in &self.readers[id.index()] {
            let Some(decision) = model.decisions[reader] else { continue };
            if readers.iter().any(|(known, _)| *known == decision) {
                continue;
            }
            let is_data = operands(graph, self.nodes[reader].node).contains(&id);
            let forms = model.options[decision].iter().map(|&candidate| {
                let (processor, codes) = self.form(reader, candidate);
                (processor, codes && is_data)
            });
            readers.push((decision, forms.collect()));
        }
        let produced: Vec<Form> = match producer {
            Some(place) => {
                let decision = model.decisions[place].expect("filtered above");
                model.options[decision].iter().map(|&candidate| self.form(place, candidate)).collect()
            }
            None => vec![(None, false)],
        };
        let of_producer = producer.and_then(|place| model.decisions[place]);
        if graph.is_output(id)
            && let Some(decision) = of_producer
        {
            for (option, &from) in produced.iter().enumerate() {
                let cost = self.conversion(id, from, (None, false), needed)?;
                add(&mut model.problem.variables[decision].options[option], &cost);
            }
        }
        match (of_producer, readers.as_slice()) {
            (_, []) => Ok(()),
            (None, [(decision, forms)]) => {
                for (option, &to) in forms.iter().enumerate() {
                    let cost = self.conversion(id, produced[0], to, needed)?;
                    add(&mut model.problem.variables[*decision].options[option], &cost);
                }
                Ok(())
            }
            (Some(first), [(second, forms)]) => {
                let costs = produced
                    .iter()
                    .map(|&from| {
                        forms.iter().map(|&to| self.conversion(id, from, to, needed).map(Some)).collect()
                    })
                    .collect::<Result<Vec<Vec<_>>>>()?;
                push_pair(&mut model.problem, first, *second, costs);
                Ok(())
            }
            _ => self.shared_boundaries(model, id, of_producer, &produced, &readers, needed),
        }
    }

    /// A value with several readers is converted once for each form that is wanted: a decision of its own says which
    /// forms there are beside the produced one.
    fn shared_boundaries(
        &self,
        model: &mut Model,
        id: ValueId,
        producer: Option<usize>,
        produced: &[Form],
        readers: &[(usize, Vec<Form>)],
        needed: &dyn Fn(Axis) -> bool,
    ) -> Result<()> {
        let mut forms: Vec<Form> = Vec::new();
        for form in readers.iter().flat_map(|(_, forms)| forms).chain(produced) {
            if !forms.contains(form) {
                forms.push(*form);
            }
        }
        // A state: the form that is produced, and a set of the others. Few enough for two processors; beyond that forms
        // that nobody can want are not in the list.
        let mut states: Vec<(Form, u32)> = Vec::new();
        let mut rows = Vec::new();
        let mut sources: Vec<Form> = Vec::new();
        for &from in produced {
            if !sources.contains(&from) {
                sources.push(from);
            }
        }
        for &from in &sources {
            let costs: Vec<Vec<f64>> =
                forms.iter().map(|&to| self.conversion(id, from, to, needed)).collect::<Result<_>>()?;
            for set in 0..1u32 << forms.len().min(MOST_FORMS) {
                let own = forms.iter().position(|&form| form == from).unwrap_or(0);
                if set & (1 << own) == 0 {
                    continue;
                }
                let mut row = vec![0.0; Axis::ALL.len()];
                for (index, cost) in costs.iter().enumerate().filter(|(index, _)| set & (1 << index) != 0) {
                    if index != own {
                        add(&mut row, cost);
                    }
                }
                states.push((from, set));
                rows.push(row);
            }
        }
        let decision = model.problem.variables.len();
        model.problem.variables.push(Variable { options: rows });
        model.options.push(Vec::new());
        let free = || Some(vec![0.0; Axis::ALL.len()]);
        if let Some(producer) = producer {
            let costs = produced
                .iter()
                .map(|form| states.iter().map(|(from, _)| if form == from { free() } else { None }).collect())
                .collect();
            push_pair(&mut model.problem, producer, decision, costs);
        }
        for (reader, wanted) in readers {
            let costs = states
                .iter()
                .map(|(_, set)| {
                    wanted
                        .iter()
                        .map(|form| {
                            let index = forms.iter().position(|known| known == form)?;
                            if set & (1 << index) != 0 { free() } else { None }
                        })
                        .collect()
                })
                .collect();
            push_pair(&mut model.problem, decision, *reader, costs);
        }
        Ok(())
    }

    /// An operator that only moves elements follows the form of what it reads, where it could do either.
    fn movers_follow(&self, model: &mut Model) {
        for (reader, planned) in self.nodes.iter().enumerate() {
            let Some(input) = planned.node.input(0).filter(|_| keeps_parameters(&planned.node.op)) else {
                continue;
            };
            let Some(producer) = self.producers[input.index()] else { continue };
            let (Some(first), Some(second)) = (model.decisions[producer], model.decisions[reader]) else {
                continue;
            };
            let codes = |place: usize, decision: usize| -> Vec<bool> {
                model.options[decision].iter().map(|&candidate| self.form(place, candidate).1).collect()
            };
            let (produced, wanted) = (codes(producer, first), codes(reader, second));
            if wanted.iter().all(|&codes| codes) || first == second {
                continue;
            }
            let costs = produced
                .iter()
                .map(|&from| {
                    let allowed = |to: bool| from || !to;
                    wanted.iter().map(|&to| allowed(to).then(|| vec![0.0; Axis::ALL.len()])).collect()
                })
                .collect();
            push_pair(&mut model.problem, first, second, costs);
        }
    }
}

/// Forms of one value that are told apart; two processors have four.
const MOST_FORMS: usize = 10;

/// The place of an axis among the values of an option.
fn place(axis: Axis) -> usize {
    Axis::ALL.iter().position(|&other| other == axis).unwrap_or(0)
}

fn add(row: &mut [f64], cost: &[f64]) {
    row.iter_mut().zip(cost).for_each(|(row, cost)| *row += cost);
}

/// Adds a pair, to the one that these two decisions have already where there is one.
fn push_pair(problem: &mut Problem, first: usize, second: usize, costs: Vec<Vec<Option<Vec<f64>>>>) {
    let Some(known) = problem.pairs.iter_mut().find(|pair| {
        (pair.first, pair.second) == (first, second) || (pair.first, pair.second) == (second, first)
    }) else {
        problem.pairs.push(Pair { first, second, costs });
        return;
    };
    let turned = known.first != first;
    for (a, row) in costs.into_iter().enumerate() {
        for (b, cost) in row.into_iter().enumerate() {
            let cell = if turned { &mut known.costs[b][a] } else { &mut known.costs[a][b] };
            *cell = match (cell.take(), cost) {
                (Some(mut sum), Some(cost)) => {
                    add(&mut sum, &cost);
                    Some(sum)
                }
                _ => None,
            };
        }
    }
}

fn unknown(axis: Axis, processor: &str, precision: Precision) -> CoreError {
    let help = match axis {
        Axis::Latency => {
            "plan for an attached device, whose latency is measured, or for a target with its rates"
        }
        Axis::Energy => "add energies and their source to the target's description",
        Axis::Error => "give --data, so that it is measured",
        Axis::Size => "plan by another axis",
    };
    CoreError::new(
        CoreErrorKind::Plan,
        format!("expected the {axis} at {precision} on {processor}, found no figure for it"),
    )
    .help(help)
}

fn infeasible(goal: &Goal, axis: Option<usize>, least: f64) -> CoreError {
    let Some(axis) = axis.and_then(|axis| Axis::ALL.get(axis).copied()) else {
        return CoreError::new(
            CoreErrorKind::Infeasible,
            "expected choices that go with each other, found none: pins and rules contradict",
        )
        .help("take a --pin away");
    };
    let limit = goal.limits.get(&axis).copied().unwrap_or(f64::INFINITY);
    let others: Vec<String> = goal
        .limits
        .iter()
        .filter(|(other, _)| **other != axis)
        .map(|(other, limit)| format!("{other} of at most {}", other.show(*limit)))
        .collect();
    let under = if others.is_empty() { String::new() } else { format!(" with {}", others.join(" and ")) };
    let found = if least.is_finite() { axis.show(least) } else { "none".to_owned() };
    CoreError::new(
        CoreErrorKind::Infeasible,
        format!("expected {axis} of at most {}{under}, found no plan below {found}", axis.show(limit)),
    )
    .help(format!("allow {found}, loosen another limit, or add precisions with --candidates"))
}
