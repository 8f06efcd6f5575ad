//! Against brute force, on every small problem that chance makes.

use proptest::prelude::*;

use super::*;

const EXACT: Options = Options { gap: 0.0, nodes: 1_000_000 };

/// Every solution in the order of its options; `None` where there is none.
fn brute_force(problem: &Problem) -> Vec<(Vec<usize>, Vec<f64>)> {
    let mut choices = vec![0; problem.variables.len()];
    let mut found = Vec::new();
    loop {
        if let Some(totals) = problem.totals(&choices).filter(|totals| problem.keeps(totals)) {
            found.push((choices.clone(), totals));
        }
        let mut at = 0;
        loop {
            let Some(variable) = problem.variables.get(at) else { return found };
            choices[at] += 1;
            if choices[at] < variable.options.len() {
                break;
            }
            choices[at] = 0;
            at += 1;
        }
    }
}

fn least(found: &[(Vec<usize>, Vec<f64>)], axis: usize) -> f64 {
    found.iter().map(|(_, totals)| totals[axis]).fold(f64::INFINITY, f64::min)
}

/// Problems of up to six decisions with whole numbers, so that sums are exact and ties are common.
fn problems() -> impl Strategy<Value = Problem> {
    (1usize..=3, prop::collection::vec(1usize..=4, 1..=6)).prop_flat_map(|(axes, sizes)| {
        let count = sizes.len();
        let values = prop::collection::vec((0u8..20).prop_map(f64::from), axes);
        let variables: Vec<_> = sizes
            .iter()
            .map(|&size| prop::collection::vec(values.clone(), size).prop_map(|options| Variable { options }))
            .collect();
        let all: Vec<(usize, usize)> = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b))).collect();
        let pairs: Vec<_> = all
            .into_iter()
            .map(|(first, second)| {
                let cell = prop::option::weighted(0.85, values.clone());
                let row = prop::collection::vec(cell, sizes[second]);
                let costs = prop::collection::vec(row, sizes[first]);
                prop::option::weighted(0.4, (any::<bool>(), costs)).prop_map(move |pair| {
                    pair.map(|(turned, costs)| {
                        if turned {
                            let columns = costs.first().map_or(0, Vec::len);
                            let costs = (0..columns)
                                .map(|column| costs.iter().map(|row| row[column].clone()).collect())
                                .collect();
                            Pair { first: second, second: first, costs }
                        } else {
                            Pair { first, second, costs }
                        }
                    })
                })
            })
            .collect();
        let limits = prop::collection::vec(prop::option::of((0u8..90).prop_map(f64::from)), axes);
        (variables, pairs, limits, 0..axes).prop_map(move |(variables, pairs, limits, minimize)| Problem {
            axes,
            variables,
            pairs: pairs.into_iter().flatten().collect(),
            minimize,
            limits,
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, ..ProptestConfig::default() })]

    #[test]
    fn solutions_are_those_of_brute_force(problem in problems()) {
        let found = brute_force(&problem);
        match solve(&problem, &EXACT).unwrap() {
            Outcome::Solved(solution) => {
                prop_assert_eq!(problem.totals(&solution.choices), Some(solution.totals.clone()));
                prop_assert!(problem.keeps(&solution.totals));
                let expected = least(&found, problem.minimize);
                prop_assert_eq!(solution.totals[problem.minimize], expected);
                prop_assert!((solution.lower_bound - expected).abs() <= 1e-6 * expected.max(1.0));
            }
            Outcome::Infeasible { axis, least: claimed } => {
                prop_assert!(found.is_empty());
                let free = brute_force(&Problem { limits: vec![None; problem.axes], ..problem.clone() });
                match axis {
                    None => prop_assert!(free.is_empty()),
                    Some(axis) => {
                        let mut limits = problem.limits.clone();
                        limits[axis] = None;
                        let others = least(&brute_force(&Problem { limits, ..problem.clone() }), axis);
                        prop_assert!(claimed == others || claimed == least(&free, axis));
                        prop_assert!(others > problem.limits[axis].unwrap());
                    }
                }
            }
            Outcome::Unknown => prop_assert!(false, "the work ended"),
        }
    }

    #[test]
    fn diverse_solutions_are_the_next_best(problem in problems(), differ in 1usize..3) {
        let found = diverse(&problem, &EXACT, 3, differ, usize::MAX).unwrap();
        let mut earlier: Vec<Vec<usize>> = Vec::new();
        for solution in &found {
            let far = |choices: &[usize]| {
                earlier.iter().all(|known| {
                    known.iter().zip(choices).filter(|(a, b)| a != b).count() >= differ
                })
            };
            prop_assert!(far(&solution.choices));
            let rest = brute_force(&problem).into_iter().filter(|(choices, _)| far(choices)).collect::<Vec<_>>();
            prop_assert_eq!(solution.totals[problem.minimize], least(&rest, problem.minimize));
            earlier.push(solution.choices.clone());
        }
        if found.len() < 3 {
            let far = |choices: &[usize]| {
                earlier.iter().all(|known| known.iter().zip(choices).filter(|(a, b)| a != b).count() >= differ)
            };
            prop_assert!(!brute_force(&problem).iter().any(|(choices, _)| far(choices)));
        }
    }
}

/// A network of `count` nodes in a chain with residual pairs every few nodes; cheaper options have fewer bits and more
/// error.
fn network(count: usize, options: usize) -> Problem {
    let mut state = 7u64;
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
                    vec![latency, size * bits, error * (option as f64).powi(2) * (0.5 + random())]
                })
                .collect();
            Variable { options }
        })
        .collect();
    let mut pairs = Vec::new();
    let mut join = |first: usize, second: usize| {
        let cost = 5.0 * random();
        let cell = |a: usize, b: usize| Some(vec![if a % 2 == b % 2 { 0.0 } else { cost }, 0.0, 0.0]);
        let costs = (0..options).map(|a| (0..options).map(|b| cell(a, b)).collect()).collect();
        pairs.push(Pair { first, second, costs });
    };
    for node in 1..count {
        join(node - 1, node);
        if node % 4 == 3 {
            join(node - 3, node);
        }
    }
    Problem { axes: 3, variables, pairs, minimize: 0, limits: vec![None; 3] }
}

#[test]
fn a_network_of_a_hundred_nodes_is_solved_to_one_percent() {
    let mut problem = network(100, 6);
    let Outcome::Solved(fastest) = solve(&problem, &EXACT).unwrap() else { panic!("expected a solution") };
    // What a plan of one middling option everywhere costs is a pair of limits that can be kept.
    let uniform = problem.totals(&[2; 100]).unwrap();
    problem.limits = vec![None, Some(uniform[1]), Some(uniform[2])];
    let options = Options { gap: 0.01, nodes: 20_000 };
    let Outcome::Solved(solution) = solve(&problem, &options).unwrap() else { panic!("expected a solution") };
    assert!(problem.keeps(&problem.totals(&solution.choices).unwrap()));
    let gap = (solution.totals[0] - solution.lower_bound) / solution.lower_bound;
    assert!(gap <= 0.01, "gap {gap}");
    assert!(solution.totals[0] >= fastest.totals[0] && solution.totals[0] <= uniform[0]);
    assert_eq!(solve(&problem, &options).unwrap(), Outcome::Solved(solution));
}

#[test]
fn what_is_no_problem_is_refused() {
    let of = |options: Vec<Vec<f64>>| Problem {
        axes: 1,
        variables: vec![Variable { options }],
        pairs: Vec::new(),
        minimize: 0,
        limits: vec![None],
    };
    for bad in
        [vec![], vec![vec![f64::NAN]], vec![vec![-1.0]], vec![vec![1.0, 2.0]], vec![vec![f64::INFINITY]]]
    {
        assert!(solve(&of(bad.clone()), &EXACT).is_err(), "{bad:?}");
    }
    let outside = Pair { first: 0, second: 3, costs: vec![] };
    assert!(solve(&Problem { pairs: vec![outside], ..of(vec![vec![1.0]]) }, &EXACT).is_err());
}

#[test]
fn nothing_to_decide_costs_nothing() {
    let empty = Problem { axes: 2, minimize: 1, limits: vec![None; 2], ..Problem::default() };
    let Outcome::Solved(solution) = solve(&empty, &EXACT).unwrap() else { panic!("expected a solution") };
    assert_eq!((solution.choices, solution.totals), (vec![], vec![0.0, 0.0]));
}

#[test]
fn limits_that_contradict_each_other_are_found_out() {
    let mut problem = network(100, 6);
    let uniform = problem.totals(&[2; 100]).unwrap();
    // Each limit alone can be kept; together they ask for fewer bits and for less error.
    problem.limits = vec![None, Some(0.6 * uniform[1]), Some(0.1 * uniform[2])];
    for axis in [1, 2] {
        let mut limits = problem.limits.clone();
        limits[3 - axis] = None;
        let alone =
            solve(&Problem { limits, ..problem.clone() }, &Options { gap: 0.05, nodes: 2_000 }).unwrap();
        assert!(matches!(alone, Outcome::Solved(_)), "limit {axis} alone");
    }
    let Outcome::Infeasible { axis: Some(axis), least } =
        solve(&problem, &Options { gap: 0.05, nodes: 2_000 }).unwrap()
    else {
        panic!("expected a contradiction")
    };
    assert!(least > problem.limits[axis].unwrap());
}
