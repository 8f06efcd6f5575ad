//! Problems without limits, exactly: one decision after the other is eliminated.
//!
//! Eliminating a decision leaves a table over its neighbours: the least cost of everything eliminated so far, whatever
//! they choose. The order keeps tables small (fewest entries first). Where a table would still be too large its
//! functions are split in groups that choose apart from each other (mini-buckets): the result is then a lower bound.

use super::Problem;

/// Entries of the largest table, the eliminated decision included.
const MOST_ENTRIES: usize = 1 << 18;

/// The order of elimination of a problem, and which functions meet where. Costs are given with each run.
#[derive(Debug)]
pub(super) struct Eliminator {
    sizes: Vec<usize>,
    steps: Vec<Step>,
    /// For each pair, its decisions.
    pairs: Vec<(usize, usize)>,
}

/// The elimination of one decision.
#[derive(Debug)]
struct Step {
    variable: usize,
    groups: Vec<Group>,
}

/// Functions that are summed and minimised together into one message.
#[derive(Debug)]
struct Group {
    functions: Vec<Function>,
    /// Neighbours in the message's order, the last running fastest.
    scope: Vec<usize>,
    /// Whether the decision's own costs count here.
    own: bool,
}

/// A function over some decisions, as a table.
#[derive(Debug)]
struct Function {
    source: Source,
    /// Entries from one option of the eliminated decision to the next; 0 where it does not depend on it.
    stride: usize,
    /// The same for each decision of the group's scope.
    strides: Vec<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    /// Costs of a pair: rows by its first decision.
    Pair(usize),
    /// The message of a group, counted over all steps.
    Message(usize),
}

/// A function with the decisions it depends on.
type Scoped = (Source, Vec<usize>);

/// Costs for one run.
pub(super) struct Costs {
    /// For each decision, each option's cost; infinite where it must not be chosen.
    pub(super) own: Vec<Vec<f64>>,
    /// For each pair, the costs row by row.
    pub(super) pairs: Vec<Vec<f64>>,
}

/// The result of one run.
#[derive(Debug, Clone)]
pub(super) struct Best {
    /// No choices cost less; infinite where all are excluded.
    pub(super) bound: f64,
    /// The choices, which cost `bound` unless a bucket was split.
    pub(super) choices: Vec<usize>,
}

impl Eliminator {
    pub(super) fn new(problem: &Problem) -> Self {
        let count = problem.variables.len();
        let sizes: Vec<usize> = problem.variables.iter().map(|variable| variable.options.len()).collect();
        let pairs: Vec<(usize, usize)> = problem.pairs.iter().map(|pair| (pair.first, pair.second)).collect();
        // The functions that are still there, with their scopes.
        let mut alive: Vec<Scoped> = pairs
            .iter()
            .enumerate()
            .map(|(index, &(first, second))| (Source::Pair(index), vec![first, second]))
            .collect();
        let mut left: Vec<bool> = vec![true; count];
        let mut neighbours: Vec<Vec<usize>> = vec![Vec::new(); count];
        let join = |neighbours: &mut Vec<Vec<usize>>, a: usize, b: usize| {
            if !neighbours[a].contains(&b) {
                neighbours[a].push(b);
            }
            if !neighbours[b].contains(&a) {
                neighbours[b].push(a);
            }
        };
        for &(first, second) in &pairs {
            join(&mut neighbours, first, second);
        }
        let mut steps = Vec::with_capacity(count);
        let mut messages = 0;
        for _ in 0..count {
            let entries = |variable: usize| {
                neighbours[variable]
                    .iter()
                    .fold(sizes[variable] as f64, |product, &other| product * sizes[other] as f64)
            };
            let variable = (0..count)
                .filter(|&variable| left[variable])
                .min_by(|&a, &b| entries(a).total_cmp(&entries(b)))
                .expect("one is left for every step");
            left[variable] = false;
            let (mine, others): (Vec<_>, Vec<_>) =
                alive.into_iter().partition(|(_, scope)| scope.contains(&variable));
            alive = others;
            let mut groups: Vec<(Vec<usize>, Vec<Scoped>)> = Vec::new();
            for (source, scope) in mine {
                let united = |known: &[usize]| {
                    let mut union = known.to_vec();
                    union.extend(scope.iter().filter(|&&v| v != variable && !known.contains(&v)));
                    union
                };
                let fits = |known: &[usize]| {
                    let entries = united(known)
                        .iter()
                        .fold(sizes[variable] as f64, |product, &other| product * sizes[other] as f64);
                    entries <= MOST_ENTRIES as f64
                };
                if let Some((known, functions)) = groups.iter_mut().find(|(known, _)| fits(known)) {
                    *known = united(known);
                    functions.push((source, scope));
                } else {
                    groups.push((united(&[]), vec![(source, scope)]));
                }
            }
            if groups.is_empty() {
                groups.push((Vec::new(), Vec::new()));
            }
            let near = std::mem::take(&mut neighbours[variable]);
            for &other in &near {
                neighbours[other].retain(|&v| v != variable);
            }
            let mut step = Step { variable, groups: Vec::new() };
            for (index, (scope, functions)) in groups.into_iter().enumerate() {
                for (at, &a) in scope.iter().enumerate() {
                    for &b in &scope[at + 1..] {
                        join(&mut neighbours, a, b);
                    }
                }
                let functions = functions
                    .into_iter()
                    .map(|(source, of)| {
                        let stride_of = |wanted: usize| match of.iter().position(|&v| v == wanted) {
                            Some(at) => of[at + 1..].iter().map(|&v| sizes[v]).product(),
                            None => 0,
                        };
                        Function {
                            source,
                            stride: stride_of(variable),
                            strides: scope.iter().map(|&v| stride_of(v)).collect(),
                        }
                    })
                    .collect();
                if !scope.is_empty() {
                    alive.push((Source::Message(messages), scope.clone()));
                }
                messages += 1;
                step.groups.push(Group { functions, scope, own: index == 0 });
            }
            steps.push(step);
        }
        Self { sizes, steps, pairs }
    }

    /// The least cost and choices that have it; of equal ones those with the lower options.
    pub(super) fn run(&self, costs: &Costs) -> Best {
        let mut messages: Vec<Vec<f64>> = Vec::new();
        let mut bound = 0.0;
        for step in &self.steps {
            for group in &step.groups {
                let table = self.message(step.variable, group, costs, &messages);
                if group.scope.is_empty() {
                    bound += table[0];
                }
                messages.push(table);
            }
        }
        let mut choices = vec![0; self.sizes.len()];
        for step in self.steps.iter().rev() {
            let variable = step.variable;
            let mut row = costs.own[variable].clone();
            for group in &step.groups {
                for function in &group.functions {
                    let table = self.table(function.source, costs, &messages);
                    let at: usize = group
                        .scope
                        .iter()
                        .zip(&function.strides)
                        .map(|(&v, stride)| choices[v] * stride)
                        .sum();
                    for (option, cost) in row.iter_mut().enumerate() {
                        *cost += table[at + option * function.stride];
                    }
                }
            }
            let mut best = 0;
            for (option, cost) in row.iter().enumerate() {
                if *cost < row[best] {
                    best = option;
                }
            }
            choices[variable] = best;
        }
        Best { bound, choices }
    }

    fn table<'a>(&self, source: Source, costs: &'a Costs, messages: &'a [Vec<f64>]) -> &'a [f64] {
        debug_assert!(self.pairs.len() == costs.pairs.len());
        match source {
            Source::Pair(index) => &costs.pairs[index],
            Source::Message(index) => &messages[index],
        }
    }

    /// The least cost of a group for every choice of its scope.
    fn message(&self, variable: usize, group: &Group, costs: &Costs, messages: &[Vec<f64>]) -> Vec<f64> {
        let tables: Vec<(&[f64], &Function)> = group
            .functions
            .iter()
            .map(|function| (self.table(function.source, costs, messages), function))
            .collect();
        let options = self.sizes[variable];
        let zero = vec![0.0; options];
        let own = if group.own { &costs.own[variable] } else { &zero };
        let entries: usize = group.scope.iter().map(|&v| self.sizes[v]).product();
        let mut message = Vec::with_capacity(entries);
        let mut digits = vec![0usize; group.scope.len()];
        let mut at = vec![0usize; tables.len()];
        let mut row = vec![0.0; options];
        for _ in 0..entries {
            row.copy_from_slice(own);
            for ((table, function), at) in tables.iter().zip(&at) {
                for (option, cost) in row.iter_mut().enumerate() {
                    *cost += table[at + option * function.stride];
                }
            }
            message.push(row.iter().copied().fold(f64::INFINITY, f64::min));
            for place in (0..digits.len()).rev() {
                digits[place] += 1;
                let wrapped = digits[place] == self.sizes[group.scope[place]];
                for ((_, function), at) in tables.iter().zip(&mut at) {
                    if wrapped {
                        *at -= function.strides[place] * (digits[place] - 1);
                    } else {
                        *at += function.strides[place];
                    }
                }
                if !wrapped {
                    break;
                }
                digits[place] = 0;
            }
        }
        message
    }
}
