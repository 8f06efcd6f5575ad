//! From choices that exceed limits to a solution near them, and from a solution to a better one nearby.

use super::Problem;

/// A change: what it is worth, the decisions with their new options, and the sums after it.
type Move = (f64, Vec<(usize, usize)>, Vec<f64>);

/// Which pairs a decision takes part in.
pub(super) struct Neighbours {
    of: Vec<Vec<usize>>,
}

impl Neighbours {
    pub(super) fn new(problem: &Problem) -> Self {
        let mut of = vec![Vec::new(); problem.variables.len()];
        for (index, pair) in problem.pairs.iter().enumerate() {
            of[pair.first].push(index);
            of[pair.second].push(index);
        }
        Self { of }
    }

    /// What changes on each axis when `variable` takes `option`; `None` where a neighbour excludes it. Neighbours that
    /// are excluded by it take the option that goes with all of theirs and costs least, and are listed in `moved`.
    fn change(
        &self,
        problem: &Problem,
        choices: &mut [usize],
        variable: usize,
        option: usize,
        moved: &mut Vec<(usize, usize)>,
    ) -> bool {
        moved.push((variable, choices[variable]));
        choices[variable] = option;
        for &pair in &self.of[variable] {
            let pair = &problem.pairs[pair];
            if pair.costs[choices[pair.first]][choices[pair.second]].is_some() {
                continue;
            }
            let other = if pair.first == variable { pair.second } else { pair.first };
            let old = choices[other];
            let fitting = (0..problem.variables[other].options.len()).filter_map(|option| {
                choices[other] = option;
                let mut cost = problem.variables[other].options[option][problem.minimize];
                for &near in &self.of[other] {
                    let near = &problem.pairs[near];
                    cost += near.costs[choices[near.first]][choices[near.second]].as_ref()?[problem.minimize];
                }
                Some((option, cost))
            });
            let best = fitting.min_by(|a, b| a.1.total_cmp(&b.1));
            choices[other] = old;
            let Some((option, _)) = best else { return false };
            moved.push((other, old));
            choices[other] = option;
        }
        true
    }

    /// The sums of everything that depends on the decisions in `moved`.
    fn local(
        &self,
        problem: &Problem,
        choices: &[usize],
        moved: &[(usize, usize)],
        sums: &mut [f64],
    ) -> bool {
        sums.fill(0.0);
        let mut add = |values: &[f64]| sums.iter_mut().zip(values).for_each(|(sum, value)| *sum += value);
        let mut seen: Vec<usize> = Vec::new();
        for (place, &(variable, _)) in moved.iter().enumerate() {
            if moved[..place].iter().any(|(earlier, _)| *earlier == variable) {
                continue;
            }
            add(&problem.variables[variable].options[choices[variable]]);
            for &pair in &self.of[variable] {
                if seen.contains(&pair) {
                    continue;
                }
                seen.push(pair);
                let pair = &problem.pairs[pair];
                match &pair.costs[choices[pair.first]][choices[pair.second]] {
                    Some(values) => add(values),
                    None => return false,
                }
            }
        }
        true
    }

    /// Changes decisions one by one while that takes excess away at the least cost, then while it takes cost away within
    /// the limits. `None` where the limits cannot be kept this way.
    pub(super) fn repaired(&self, problem: &Problem, start: &[usize]) -> Option<(Vec<usize>, Vec<f64>)> {
        let mut choices = start.to_vec();
        let mut totals = problem.totals(&choices)?;
        let (mut before, mut after) = (vec![0.0; problem.axes], vec![0.0; problem.axes]);
        for _ in 0..4 * choices.len() + 8 {
            let excess = excess(problem, &totals);
            let mut best: Option<Move> = None;
            for variable in 0..choices.len() {
                for option in 0..problem.variables[variable].options.len() {
                    if option == choices[variable] {
                        continue;
                    }
                    let mut moved = Vec::new();
                    let mut trial = choices.clone();
                    if !self.change(problem, &mut trial, variable, option, &mut moved)
                        || !self.local(problem, &choices, &moved, &mut before)
                        || !self.local(problem, &trial, &moved, &mut after)
                    {
                        continue;
                    }
                    let sums: Vec<f64> = totals
                        .iter()
                        .zip(before.iter().zip(&after))
                        .map(|(total, (before, after))| total - before + after)
                        .collect();
                    let gain = excess - self::excess(problem, &sums);
                    let cost = sums[problem.minimize] - totals[problem.minimize];
                    let worth = if excess > 0.0 {
                        if gain <= 0.0 {
                            continue;
                        }
                        // What costs nothing comes first, and of that what gains most.
                        if cost <= 0.0 { 1e30 + gain } else { gain / cost }
                    } else {
                        if cost >= -1e-12 * totals[problem.minimize].abs() || gain < 0.0 {
                            continue;
                        }
                        -cost
                    };
                    if best.as_ref().is_none_or(|(known, ..)| worth > *known) {
                        let to = moved.iter().map(|&(place, _)| (place, trial[place])).collect();
                        best = Some((worth, to, sums));
                    }
                }
            }
            let Some((_, moves, sums)) = best else { break };
            for (place, option) in moves {
                choices[place] = option;
            }
            totals = sums;
        }
        // Sums that were changed step by step have gathered rounding.
        let totals = problem.totals(&choices)?;
        problem.keeps(&totals).then_some((choices, totals))
    }
}

/// The sum of what exceeds limits, in shares of them.
fn excess(problem: &Problem, totals: &[f64]) -> f64 {
    let of = |(limit, total): (&Option<f64>, &f64)| match limit {
        Some(limit) => {
            let over = total - limit - limit.abs() * super::TOLERANCE;
            if over > 0.0 { over / limit.abs().max(1e-300) } else { 0.0 }
        }
        None => 0.0,
    };
    problem.limits.iter().zip(totals).map(of).sum()
}
