//! How long the planner's solver takes on networks of growing size: 6 options a node, residual edges, limits.
//!
//! `cargo bench -p fewbit-core --bench solve` prints the gap that is proven, and the time.

#![expect(clippy::print_stdout, reason = "a bench reports on stdout")]

use std::time::Instant;

use fewbit_core::solve::{Options, Outcome, Pair, Problem, Variable, solve};

fn main() {
    println!("nodes  limits  gap %   bound       objective   seconds");
    for (nodes, limits) in [(60, 1), (60, 2), (120, 2), (250, 1), (250, 2), (250, 3)] {
        let mut problem = network(nodes, 6);
        let uniform = problem.totals(&vec![2; nodes]).expect("no options exclude each other");
        // Tighter than what one option everywhere costs, by as much as other options can save.
        for (limit, sum) in problem.limits.iter_mut().zip(&uniform).skip(1).take(limits) {
            *limit = Some(0.9 * sum);
        }
        let start = Instant::now();
        let outcome = solve(&problem, &Options { gap: 0.01, nodes: 100_000 }).expect("a sound problem");
        let seconds = start.elapsed().as_secs_f64();
        match outcome {
            Outcome::Solved(solution) => {
                let gap = 100.0 * (solution.totals[0] - solution.lower_bound) / solution.lower_bound;
                let (bound, objective) = (solution.lower_bound, solution.totals[0]);
                println!("{nodes:<7}{limits:<8}{gap:<8.3}{bound:<12.2}{objective:<12.2}{seconds:.2}");
            }
            other => println!("{nodes:<7}{limits:<8}{other:?} {seconds:.2}"),
        }
    }
}

/// A chain of nodes with residual edges; cheaper options have fewer bits and more error, and neighbours of another form
/// pay for a conversion.
fn network(count: usize, options: usize) -> Problem {
    let mut state = 11u64;
    let mut random = move || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 40) as f64 / (1u64 << 24) as f64
    };
    let variables = (0..count)
        .map(|_| {
            let (size, error) = (1.0 + 99.0 * random(), random().powi(3));
            let options = (0..options)
                .map(|option| {
                    let bits = 1.0 / (1.0 + option as f64);
                    let latency = size * bits * (0.7 + 0.6 * random());
                    let energy = size * bits * (0.5 + random());
                    vec![latency, size * bits, error * (option as f64).powi(2) * (0.5 + random()), energy]
                })
                .collect();
            Variable { options }
        })
        .collect();
    let mut pairs = Vec::new();
    let mut join = |first: usize, second: usize| {
        let cost = 5.0 * random();
        let cell = |a: usize, b: usize| Some(vec![if a % 2 == b % 2 { 0.0 } else { cost }, 0.0, 0.0, 0.0]);
        let costs = (0..options).map(|a| (0..options).map(|b| cell(a, b)).collect()).collect();
        pairs.push(Pair { first, second, costs });
    };
    for node in 1..count {
        join(node - 1, node);
        if node % 4 == 3 {
            join(node - 3, node);
        }
    }
    Problem { axes: 4, variables, pairs, minimize: 0, limits: vec![None; 4] }
}
