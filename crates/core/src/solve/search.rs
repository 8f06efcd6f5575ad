//! Branch and bound: what prices leave open is tried.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use super::dual::{Domains, Relaxation};
use super::repair::Neighbours;
use super::{Options, Outcome, Problem, Solution, SolveError, Variable};

/// Steps of the ascent below the root, where prices are nearly right already.
const FEW: usize = 12;
/// Steps at the root.
const MANY: usize = 60;
/// Choices of one ascent that are repaired; the last ones are nearest to the best prices.
const REPAIRED: usize = 6;

/// Solves the problem.
///
/// # Errors
/// For a problem that is none: no options, values that are not finite or negative, counts that do not fit.
pub fn solve(problem: &Problem, options: &Options) -> Result<Outcome, SolveError> {
    problem.check()?;
    let mut search = Search::new(problem);
    match search.run(options) {
        Some(lower_bound) => Ok(Outcome::Solved(search.solution(lower_bound))),
        None if search.exhausted => search.infeasible(problem, options),
        None => Ok(Outcome::Unknown),
    }
}

/// Up to `count` solutions, the best first; each differs from those before it in at least `differ` of the first
/// `counted` decisions.
///
/// A solution that is near enough to an earlier one is excluded by a limit on how many choices they share.
///
/// # Errors
/// As [`solve`].
pub fn diverse(
    problem: &Problem,
    options: &Options,
    count: usize,
    differ: usize,
    counted: usize,
) -> Result<Vec<Solution>, SolveError> {
    let mut problem = problem.clone();
    let axes = problem.axes;
    let counted = counted.min(problem.variables.len());
    let mut found: Vec<Solution> = Vec::new();
    while found.len() < count {
        let Outcome::Solved(mut solution) = solve(&problem, options)? else { break };
        if counted < differ {
            // Nothing can differ from it by that much.
            solution.totals.truncate(axes);
            found.push(solution);
            break;
        }
        problem.axes += 1;
        problem.limits.push(Some(counted.saturating_sub(differ) as f64));
        for (place, Variable { options }) in problem.variables.iter_mut().enumerate() {
            for (option, values) in options.iter_mut().enumerate() {
                let shared = place < counted && option == solution.choices[place];
                values.push(f64::from(u8::from(shared)));
            }
        }
        for values in problem.pairs.iter_mut().flat_map(|pair| &mut pair.costs).flatten().flatten() {
            values.push(0.0);
        }
        solution.totals.truncate(axes);
        found.push(solution);
    }
    Ok(found)
}

/// A part of the problem that is still open.
struct Open {
    bound: f64,
    /// Decisions that are made (true) or ruled out (false), with their options.
    made: Vec<(usize, usize, bool)>,
    prices: Vec<f64>,
    /// The order of making, so that equal bounds are taken in a fixed order.
    number: usize,
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open {
    /// The greatest is the one with the lowest bound; of those the deepest, then the latest.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .bound
            .total_cmp(&self.bound)
            .then(self.made.len().cmp(&other.made.len()))
            .then(self.number.cmp(&other.number))
    }
}

struct Search<'a> {
    relaxation: Relaxation<'a>,
    neighbours: Neighbours,
    best: Option<(Vec<usize>, Vec<f64>)>,
    /// Whether everything was searched, so that no solution found means that there is none.
    exhausted: bool,
}

impl<'a> Search<'a> {
    fn new(problem: &'a Problem) -> Self {
        Self {
            relaxation: Relaxation::new(problem),
            neighbours: Neighbours::new(problem),
            best: None,
            exhausted: false,
        }
    }

    fn solution(&self, lower_bound: f64) -> Solution {
        let (choices, totals) = self.best.clone().unwrap_or_default();
        let objective = totals.get(self.relaxation.problem.minimize).copied().unwrap_or(0.0);
        Solution { choices, totals, lower_bound: lower_bound.min(objective) }
    }

    fn objective(&self) -> f64 {
        let minimize = self.relaxation.problem.minimize;
        self.best.as_ref().map_or(f64::INFINITY, |(_, totals)| totals[minimize])
    }

    /// Searches; the lower bound where a solution was found.
    fn run(&mut self, options: &Options) -> Option<f64> {
        let mut heap = BinaryHeap::new();
        let mut number = 0;
        let prices = vec![0.0; self.relaxation.limits()];
        heap.push(Open { bound: f64::NEG_INFINITY, made: Vec::new(), prices, number });
        while let Some(open) = heap.pop() {
            if open.bound >= self.enough(options.gap) {
                // Nothing that is open can be better by more than the gap.
                return Some(open.bound);
            }
            if self.relaxation.work >= options.nodes {
                let bound = open.bound;
                return self.best.is_some().then_some(bound);
            }
            let Some(domains) = self.domains(&open.made) else { continue };
            let steps = if open.made.is_empty() { MANY } else { FEW };
            let enough = self.enough(options.gap);
            let ascent = self.relaxation.ascend(&open.prices, &domains, enough, steps);
            let bound = ascent.bound.max(open.bound);
            if bound == f64::INFINITY {
                continue;
            }
            let points: Vec<Vec<usize>> = ascent.points.into_iter().map(|point| point.choices).collect();
            for choices in &points {
                self.offer(choices);
            }
            if open.made.is_empty() || self.best.is_none() {
                for choices in points.iter().rev().take(REPAIRED) {
                    self.repair(choices);
                }
            }
            if bound >= self.enough(options.gap) {
                heap.push(Open { bound, ..open });
                continue;
            }
            let Some((variable, option)) = self.branch(&points, &domains) else { continue };
            for taken in [true, false] {
                number += 1;
                let mut made = open.made.clone();
                made.push((variable, option, taken));
                heap.push(Open { bound, made, prices: ascent.prices.clone(), number });
            }
        }
        self.exhausted = true;
        self.best.is_some().then(|| self.objective())
    }

    /// The bound at which a part need not be searched.
    fn enough(&self, gap: f64) -> f64 {
        let objective = self.objective();
        if objective.is_finite() { objective - objective.abs() * gap.max(1e-12) } else { objective }
    }

    fn domains(&self, made: &[(usize, usize, bool)]) -> Option<Domains> {
        let mut domains = self.relaxation.everything();
        for &(variable, option, taken) in made {
            if taken {
                for (other, allowed) in domains[variable].iter_mut().enumerate() {
                    *allowed &= other == option;
                }
            } else {
                domains[variable][option] = false;
            }
        }
        domains.iter().all(|domain| domain.contains(&true)).then_some(domains)
    }

    /// Takes choices as the solution if they are one and better.
    fn offer(&mut self, choices: &[usize]) {
        let problem = self.relaxation.problem;
        let Some(totals) = problem.totals(choices) else { return };
        if problem.keeps(&totals) && totals[problem.minimize] < self.objective() {
            self.best = Some((choices.to_vec(), totals));
        }
    }

    fn repair(&mut self, choices: &[usize]) {
        if let Some((choices, _)) = self.neighbours.repaired(self.relaxation.problem, choices) {
            self.offer(&choices);
        }
    }

    /// The decision to branch on, and the option that is taken or ruled out: one about which the choices at the best
    /// prices differ, and of those the one that moves the limited sums most; else any that is open.
    fn branch(&self, points: &[Vec<usize>], domains: &Domains) -> Option<(usize, usize)> {
        let problem = self.relaxation.problem;
        let open = |variable: usize| domains[variable].iter().filter(|allowed| **allowed).count() > 1;
        let weight = |variable: usize, a: usize, b: usize| -> f64 {
            let options = &problem.variables[variable].options;
            let limited = problem.limits.iter().enumerate().filter(|(_, limit)| limit.is_some());
            limited
                .map(|(axis, limit)| {
                    let scale = limit.unwrap_or(1.0).abs().max(1e-300);
                    (options[a][axis] - options[b][axis]).abs() / scale
                })
                .sum()
        };
        if let Some(last) = points.last() {
            for other in points.iter().rev().skip(1) {
                let differing = (0..last.len())
                    .filter(|&variable| {
                        last[variable] != other[variable]
                            && open(variable)
                            && domains[variable][last[variable]]
                    })
                    .max_by(|&a, &b| {
                        let weight = |v: usize| weight(v, last[v], other[v]);
                        weight(a).total_cmp(&weight(b)).then(b.cmp(&a))
                    });
                if let Some(variable) = differing {
                    return Some((variable, last[variable]));
                }
            }
        }
        let variable = (0..domains.len()).find(|&variable| open(variable))?;
        let option = points
            .last()
            .map(|choices| choices[variable])
            .filter(|&option| domains[variable][option])
            .or_else(|| domains[variable].iter().position(|allowed| *allowed))?;
        Some((variable, option))
    }

    /// Which limit cannot be kept: the first whose axis alone exceeds it; else the first without which there is a
    /// solution, and what is least on its axis with the others kept.
    fn infeasible(&mut self, problem: &Problem, options: &Options) -> Result<Outcome, SolveError> {
        let everything = self.relaxation.everything();
        let limited: Vec<(usize, f64)> = problem
            .limits
            .iter()
            .enumerate()
            .filter_map(|(axis, limit)| Some((axis, (*limit)?)))
            .filter(|(_, limit)| limit.is_finite())
            .collect();
        let mut alone = None;
        for &(axis, limit) in &limited {
            let least = self.relaxation.least_on(axis, &everything);
            if least.is_infinite() {
                return Ok(Outcome::Infeasible { axis: None, least });
            }
            alone = alone.or(Some((axis, least)));
            if least > limit + limit.abs() * super::TOLERANCE {
                return Ok(Outcome::Infeasible { axis: Some(axis), least });
            }
        }
        for &(axis, _) in limited.iter().filter(|_| limited.len() > 1) {
            let mut limits = problem.limits.clone();
            limits[axis] = None;
            let without = Problem { minimize: axis, limits, ..problem.clone() };
            if let Outcome::Solved(solution) = solve(&without, options)? {
                return Ok(Outcome::Infeasible { axis: Some(axis), least: solution.totals[axis] });
            }
        }
        let (axis, least) = alone.map_or((None, f64::INFINITY), |(axis, least)| (Some(axis), least));
        Ok(Outcome::Infeasible { axis, least })
    }
}
