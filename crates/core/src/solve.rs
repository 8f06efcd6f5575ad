//! The exact solver behind mixed plans: decisions with options, costs of pairs of options, limits on sums.
//!
//! Knows nothing of graphs and devices. Three ideas, each in its module. Neighbours in a neural network form nearly a
//! chain, so without limits the best choices are found exactly by eliminating one decision after the other
//! (module `eliminate`; Bertelè and Brioschi 1972, Dechter 1999). Limits get prices (Lagrangian relaxation, Geoffrion 1974;
//! `dual`): every price gives a bound below which no solution lies, and choices that are repaired into a solution
//! (`repair`). What is left between the two is closed by branching on decisions about which the prices disagree
//! (`search`). Everything is deterministic: the same problem gives the same answer.

mod dual;
mod eliminate;
mod repair;
mod search;
#[cfg(test)]
mod tests;

pub use search::{diverse, solve};

/// One decision: for each option its value on each axis, finite and not negative.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Variable {
    /// `options[option][axis]`.
    pub options: Vec<Vec<f64>>,
}

/// What the options of two decisions cost together.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The place of one decision.
    pub first: usize,
    /// The place of the other.
    pub second: usize,
    /// `costs[option of first][option of second]`: values on each axis, or `None` where the two must not be chosen
    /// together.
    pub costs: Vec<Vec<Option<Vec<f64>>>>,
}

/// A problem: one option for every decision, such that the sum on one axis is least and those on others keep limits.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Problem {
    /// The number of axes.
    pub axes: usize,
    /// The decisions.
    pub variables: Vec<Variable>,
    /// Costs of pairs; at most one entry for two decisions.
    pub pairs: Vec<Pair>,
    /// The axis whose sum is minimised.
    pub minimize: usize,
    /// For each axis the largest sum, where there is one.
    pub limits: Vec<Option<f64>>,
}

/// How far to go.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Options {
    /// The relative gap between solution and bound at which the search ends; 0 proves the optimum.
    pub gap: f64,
    /// Eliminations at most. A count and not a time, so that answers do not depend on the machine.
    pub nodes: usize,
}

/// A solution and what is known of the best one.
#[derive(Debug, Clone, PartialEq)]
pub struct Solution {
    /// The chosen option of each decision.
    pub choices: Vec<usize>,
    /// The sum on each axis.
    pub totals: Vec<f64>,
    /// No solution has less on the axis that is minimised.
    pub lower_bound: f64,
}

/// The answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// A solution, the best one up to the gap or up to what the work allowed.
    Solved(Solution),
    /// There is no solution.
    Infeasible {
        /// The axis whose limit cannot be kept; `None` where options exclude each other whatever the limits.
        axis: Option<usize>,
        /// The least sum on that axis: with the other limits kept where they can be, else without them.
        least: f64,
    },
    /// The work ended before a solution was found or ruled out.
    Unknown,
}

/// The problem is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SolveError(String);

impl Problem {
    /// The sums of `choices` on each axis; `None` where a pair of them is excluded.
    pub fn totals(&self, choices: &[usize]) -> Option<Vec<f64>> {
        let mut totals = vec![0.0; self.axes];
        let mut add = |values: &[f64]| totals.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        for (variable, &choice) in self.variables.iter().zip(choices) {
            add(&variable.options[choice]);
        }
        for pair in &self.pairs {
            add(pair.costs[choices[pair.first]][choices[pair.second]].as_deref()?);
        }
        Some(totals)
    }

    /// Whether sums keep every limit, up to rounding.
    pub fn keeps(&self, totals: &[f64]) -> bool {
        self.limits.iter().zip(totals).all(|(limit, total)| {
            limit.is_none_or(|limit| *total <= limit + limit.abs() * TOLERANCE + f64::MIN_POSITIVE)
        })
    }

    fn check(&self) -> Result<(), SolveError> {
        let fail = |message: String| Err(SolveError(message));
        if self.minimize >= self.axes || self.limits.len() != self.axes {
            return fail(format!("expected {} limits and an axis to minimise among them", self.axes));
        }
        let fits = |values: &[f64]| {
            values.len() == self.axes && values.iter().all(|value| value.is_finite() && *value >= 0.0)
        };
        for (place, variable) in self.variables.iter().enumerate() {
            if variable.options.is_empty() {
                return fail(format!("expected options for decision {place}, found none"));
            }
            if !variable.options.iter().all(|values| fits(values)) {
                return fail(format!(
                    "expected {} finite values of 0 or more at decision {place}",
                    self.axes
                ));
            }
        }
        if self.limits.iter().flatten().any(|limit| limit.is_nan()) {
            return fail("expected limits that are numbers".to_owned());
        }
        for pair in &self.pairs {
            let sizes =
                [pair.first, pair.second].map(|place| self.variables.get(place).map(|v| v.options.len()));
            let [Some(rows), Some(columns)] = sizes else {
                return fail(format!(
                    "expected a pair of decisions, found {} and {}",
                    pair.first, pair.second
                ));
            };
            let shaped = pair.first != pair.second
                && pair.costs.len() == rows
                && pair
                    .costs
                    .iter()
                    .all(|row| row.len() == columns && row.iter().flatten().all(|values| fits(values)));
            if !shaped {
                return fail(format!(
                    "expected {rows}x{columns} costs of {} finite values between decisions {} and {}",
                    self.axes, pair.first, pair.second
                ));
            }
        }
        Ok(())
    }
}

/// Rounding that sums may have, relative to a limit.
const TOLERANCE: f64 = 1e-9;
