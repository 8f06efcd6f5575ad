//! Prices on limits: bounds below which no solution lies.
//!
//! A limit's price is paid per unit of its axis beyond the limit, and paid back below it. Whatever the prices (not
//! negative), the least cost with them is a lower bound on every solution; the best prices are found exactly for one
//! limit (walking along the hull of cost against excess) and by subgradient steps for several (Polyak's step length).

use super::Problem;
use super::eliminate::{Best, Costs, Eliminator};

/// Steps of the subgradient method.
const STEPS: usize = 60;
/// Steps that may fail to improve the bound before they are made half as long.
const PATIENCE: usize = 5;
/// Steps in search of a contradiction between limits.
const CONTRADICTION_STEPS: u32 = 40;
/// Relative change of the bound that counts.
const CLOSE: f64 = 1e-10;

/// Which options of each decision are still allowed.
pub(super) type Domains = Vec<Vec<bool>>;

/// The problem as the dual sees it.
pub(super) struct Relaxation<'a> {
    pub(super) problem: &'a Problem,
    eliminator: Eliminator,
    /// Axes with limits: the axis, its limit, and what excess is divided by so that prices are in units of cost.
    limited: Vec<(usize, f64, f64)>,
    /// No choices cost more than this.
    most: f64,
    /// Eliminations so far.
    pub(super) work: usize,
}

/// Choices that some prices lead to.
#[derive(Debug, Clone)]
pub(super) struct Point {
    pub(super) choices: Vec<usize>,
    /// Sum on the axis that is minimised.
    cost: f64,
    /// Excess over each limit, in shares of it.
    excess: Vec<f64>,
}

/// What the ascent found.
pub(super) struct Ascent {
    /// No solution within the domains costs less; infinite where there is none.
    pub(super) bound: f64,
    /// The prices of that bound.
    pub(super) prices: Vec<f64>,
    /// Choices met on the way, the last ones nearest to the best prices.
    pub(super) points: Vec<Point>,
}

impl<'a> Relaxation<'a> {
    pub(super) fn new(problem: &'a Problem) -> Self {
        let limited = problem
            .limits
            .iter()
            .enumerate()
            .filter_map(|(axis, limit)| Some((axis, (*limit)?)))
            .filter(|(_, limit)| limit.is_finite())
            .map(|(axis, limit)| (axis, limit, if limit.abs() > 1e-300 { limit.abs() } else { 1.0 }))
            .collect();
        let largest = |values: &mut dyn Iterator<Item = f64>| values.fold(0.0, f64::max);
        let own: f64 = problem
            .variables
            .iter()
            .map(|variable| largest(&mut variable.options.iter().map(|values| values[problem.minimize])))
            .sum();
        let pairs: f64 = problem
            .pairs
            .iter()
            .map(|pair| {
                largest(&mut pair.costs.iter().flatten().flatten().map(|values| values[problem.minimize]))
            })
            .sum();
        Self { problem, eliminator: Eliminator::new(problem), limited, most: own + pairs, work: 0 }
    }

    /// Every option allowed.
    pub(super) fn everything(&self) -> Domains {
        self.problem.variables.iter().map(|variable| vec![true; variable.options.len()]).collect()
    }

    /// The number of limits.
    pub(super) fn limits(&self) -> usize {
        self.limited.len()
    }

    /// The least of cost (times `weight`) and prices times sums, without what limits pay back.
    fn least(&mut self, weight: f64, prices: &[f64], domains: &Domains) -> Best {
        self.work += 1;
        let mut factors = vec![0.0; self.problem.axes];
        factors[self.problem.minimize] = weight;
        for ((axis, _, scale), price) in self.limited.iter().zip(prices) {
            factors[*axis] += price / scale;
        }
        let priced = |values: &[f64]| -> f64 {
            values.iter().zip(&factors).map(|(value, factor)| value * factor).sum()
        };
        let own = self
            .problem
            .variables
            .iter()
            .zip(domains)
            .map(|(variable, domain)| {
                let options = variable.options.iter().zip(domain);
                options
                    .map(|(values, allowed)| if *allowed { priced(values) } else { f64::INFINITY })
                    .collect()
            })
            .collect();
        let pairs = self
            .problem
            .pairs
            .iter()
            .map(|pair| {
                let cells = pair.costs.iter().flatten();
                cells.map(|values| values.as_ref().map_or(f64::INFINITY, |values| priced(values))).collect()
            })
            .collect();
        self.eliminator.run(&Costs { own, pairs })
    }

    /// The bound of some prices, and the choices that they lead to unless those exclude each other.
    fn evaluate(&mut self, prices: &[f64], domains: &Domains) -> (f64, Option<Point>) {
        let best = self.least(1.0, prices, domains);
        let paid_back: f64 =
            self.limited.iter().zip(prices).map(|((_, limit, scale), price)| price * limit / scale).sum();
        let point = self.problem.totals(&best.choices).map(|totals| Point {
            cost: totals[self.problem.minimize],
            excess: self.limited.iter().map(|(axis, limit, scale)| (totals[*axis] - limit) / scale).collect(),
            choices: best.choices,
        });
        (best.bound - paid_back, point)
    }

    /// The least sum on one axis within the domains, limits left aside; infinite where all is excluded.
    pub(super) fn least_on(&mut self, axis: usize, domains: &Domains) -> f64 {
        match self.limited.iter().position(|(limited, ..)| *limited == axis) {
            Some(at) => {
                let mut prices = vec![0.0; self.limited.len()];
                prices[at] = self.limited[at].2;
                self.least(0.0, &prices, domains).bound
            }
            None => f64::INFINITY,
        }
    }

    /// The best bound within the domains that starts from `prices`; stops early where it exceeds `enough`.
    pub(super) fn ascend(&mut self, prices: &[f64], domains: &Domains, enough: f64, steps: usize) -> Ascent {
        let ascent = match self.limited.len() {
            0 => {
                let (bound, point) = self.evaluate(&[], domains);
                Ascent { bound, prices: Vec::new(), points: point.into_iter().collect() }
            }
            1 => self.walk(prices[0], domains, enough),
            _ => self.climb(prices, domains, enough, steps),
        };
        if enough.is_infinite() && self.limited.len() > 1 && self.contradicts(domains) {
            return Ascent { bound: f64::INFINITY, ..ascent };
        }
        // Every solution costs at most `most`: a bound above that says that there is none.
        if ascent.bound > self.most * (1.0 + 1e-6) + 1e-9 {
            return Ascent { bound: f64::INFINITY, ..ascent };
        }
        ascent
    }

    /// One limit: between a point that exceeds it and one that keeps it, the price at which both are worth the same
    /// either leads to a better point or is the best.
    fn walk(&mut self, start: f64, domains: &Domains, enough: f64) -> Ascent {
        let (bound, point) = self.evaluate(&[0.0], domains);
        let Some(mut low) = point else {
            return Ascent { bound, prices: vec![0.0], points: Vec::new() };
        };
        let mut best = Ascent { bound, prices: vec![0.0], points: vec![low.clone()] };
        if low.excess[0] <= super::TOLERANCE || bound >= enough || bound.is_infinite() {
            return best;
        }
        let take = |best: &mut Ascent, price: f64, bound: f64, point: &Point| {
            if bound > best.bound {
                (best.bound, best.prices) = (bound, vec![price]);
            }
            best.points.push(point.clone());
        };
        // A price at which the limit is kept.
        let mut price = if start > 0.0 { start } else { low.cost.abs().max(1e-9) };
        let mut high = None;
        for _ in 0..24 {
            let (bound, Some(point)) = self.evaluate(&[price], domains) else { break };
            take(&mut best, price, bound, &point);
            if best.bound >= enough || best.bound > self.most * (1.0 + 1e-6) + 1e-9 {
                return best;
            }
            if point.excess[0] <= super::TOLERANCE {
                high = Some(point);
                break;
            }
            low = point;
            price *= 16.0;
        }
        let Some(mut high) = high else {
            // Not even at any price: what is least on the axis says whether there is a solution at all.
            let (axis, limit, _) = self.limited[0];
            if self.least_on(axis, domains) > limit + limit.abs() * super::TOLERANCE {
                best.bound = f64::INFINITY;
            }
            return best;
        };
        loop {
            let price = (high.cost - low.cost) / (low.excess[0] - high.excess[0]);
            if price.is_nan() || price <= 0.0 {
                return best;
            }
            let line = low.cost + price * low.excess[0];
            let (bound, Some(point)) = self.evaluate(&[price], domains) else { return best };
            let better = bound < line - line.abs() * CLOSE - 1e-15;
            let moved = point.choices != low.choices && point.choices != high.choices;
            take(&mut best, price, bound, &point);
            if !better || !moved || best.bound >= enough {
                // The two ends are what the best price cannot tell apart.
                best.points.push(low);
                best.points.push(high);
                return best;
            }
            if point.excess[0] > 0.0 {
                low = point;
            } else {
                high = point;
            }
        }
    }

    /// Whether the limits contradict each other within the domains: some weights of them for which even the least
    /// weighted sum of excesses is above zero. That no weights are found proves nothing.
    fn contradicts(&mut self, domains: &Domains) -> bool {
        let mut weights = vec![1.0 / self.limited.len() as f64; self.limited.len()];
        for step in 1..=CONTRADICTION_STEPS {
            let best = self.least(0.0, &weights, domains);
            let kept: f64 = self
                .limited
                .iter()
                .zip(&weights)
                .map(|((_, limit, scale), weight)| weight * (limit + limit.abs() * super::TOLERANCE) / scale)
                .sum();
            if best.bound > kept + kept.abs() * super::TOLERANCE {
                return true;
            }
            let Some(totals) = self.problem.totals(&best.choices) else { return false };
            let excess: Vec<f64> =
                self.limited.iter().map(|(axis, limit, scale)| (totals[*axis] - limit) / scale).collect();
            if excess.iter().all(|excess| *excess <= super::TOLERANCE) {
                return false;
            }
            // Weight moves to the limits that are exceeded.
            let largest = excess.iter().fold(0.0f64, |largest, excess| largest.max(excess.abs()));
            for (weight, excess) in weights.iter_mut().zip(&excess) {
                *weight *= (excess / largest / f64::from(step).sqrt()).exp();
            }
            let sum: f64 = weights.iter().sum();
            for weight in &mut weights {
                *weight /= sum;
            }
        }
        false
    }

    /// Several limits.
    fn climb(&mut self, start: &[f64], domains: &Domains, enough: f64, steps: usize) -> Ascent {
        let mut prices = start.to_vec();
        let mut best = Ascent { bound: f64::NEG_INFINITY, prices: prices.clone(), points: Vec::new() };
        let mut length = 1.0;
        let mut failed = 0;
        for _ in 0..steps.min(STEPS) {
            let (bound, point) = self.evaluate(&prices, domains);
            let improves = bound > best.bound + best.bound.abs().min(f64::MAX) * CLOSE;
            if improves || best.bound == f64::NEG_INFINITY {
                (best.bound, best.prices) = (bound, prices.clone());
                failed = 0;
            } else {
                failed += 1;
                if failed >= PATIENCE {
                    (failed, length) = (0, length / 2.0);
                    prices.clone_from(&best.prices);
                }
            }
            let Some(point) = point else { return best };
            let kept = point.excess.iter().all(|excess| *excess <= super::TOLERANCE);
            let paid = prices.iter().zip(&point.excess).all(|(price, excess)| price * excess.abs() <= 1e-12);
            let norm: f64 = prices
                .iter()
                .zip(&point.excess)
                .map(|(price, excess)| if *price > 0.0 || *excess > 0.0 { excess * excess } else { 0.0 })
                .sum();
            best.points.push(point.clone());
            if (kept && paid) || norm == 0.0 || best.bound >= enough || length < 1e-4 {
                return best;
            }
            let hoped = if enough.is_finite() {
                enough - bound
            } else {
                // Without a solution the target is a little above what is known.
                0.05 * best.bound.abs().max(point.cost.abs()).max(1e-12) + (best.bound - bound)
            };
            let step = length * hoped.max(1e-15) / norm;
            for (price, excess) in prices.iter_mut().zip(&point.excess) {
                *price = (*price + step * excess).max(0.0);
            }
        }
        best
    }
}
