//! Mixed plans: the best of all that could be, within limits, with pins, for several targets, and refused with the reason
//! where there is none.

use fewbit_core::capability::Capability;
use fewbit_core::ir::{DType, Graph, UnaryOp, hash};
use fewbit_core::plan::{self, Axis, BoundaryKind, Goal, Plan, Precision, Strategy};
use fewbit_core::planner::{self, Figures, Request};
use fewbit_core::quant::weights::WeightRule;
use fewbit_core::{CoreError, CoreErrorKind};
use fewbit_testing::{ConvOptions, ModelBuilder};
use indexmap::IndexMap;

use crate::planner::RANGES;

const CANDIDATES: [Precision; 3] = [Precision::W8A8, Precision::W4A8, Precision::F32];

/// The pair of the planner's tests, whose accelerator takes 4-bit weights too.
fn target() -> Capability {
    four_bits(|text| text)
}

fn four_bits(edit: impl Fn(String) -> String) -> Capability {
    let text = include_str!("planner/target.toml")
        .replace(
            r#"precisions = ["w8a8", "w8a8-dynamic"]"#,
            r#"precisions = ["w8a8", "w8a8-dynamic", "w4a8"]"#,
        )
        .replace("source = \"npu\"", "rate_unknown = [\"w4a8\"]\nsource = \"npu\"")
        .replace(r#"weights = { dtypes = ["i8"]"#, r#"weights = { dtypes = ["i8", "i4"]"#);
    Capability::from_toml(&edit(text), "target.toml").unwrap()
}

/// Figures that differ from node to node, so that every choice matters.
struct Invented;

impl Invented {
    /// A number of its own for each node, from 1 to 2.
    fn own(node: &str) -> f64 {
        let sum: u32 = node.bytes().map(u32::from).sum();
        1.0 + f64::from(sum * 37 % 101) / 101.0
    }
}

impl Figures for Invented {
    fn latency_us(&self, _: &str, node: &str, precision: Precision) -> Option<f64> {
        let factor = match precision {
            Precision::W8A8 => 10.0,
            Precision::W4A8 => 13.0,
            _ => 31.0,
        };
        Some(factor * Self::own(node))
    }

    fn boundary_us(&self, _: &str, kind: BoundaryKind, _: DType, _: usize) -> Option<f64> {
        Some(if kind == BoundaryKind::Copy { 1.0 } else { 4.0 })
    }

    fn noise(&self, node: &str, precision: Precision) -> Option<f64> {
        Some(match precision {
            Precision::W8A8 => 1e-3 * Self::own(node),
            Precision::W4A8 => 2e-2 * Self::own(node).powi(4),
            _ => 0.0,
        })
    }

    fn origin(&self) -> String {
        "invented".to_owned()
    }
}

/// Four products in a row, the second one beside an activation that only floats compute.
fn graph() -> Graph {
    let mut model = ModelBuilder::new("m", 3);
    let x = model.input("x", &[1, 4, 12, 12]);
    let a = model.conv(x, 8, ConvOptions::same(3));
    let b = model.conv(a, 16, ConvOptions::same(3).stride(2));
    let c = model.unary(b, UnaryOp::Exp);
    let d = model.conv(c, 8, ConvOptions::same(1));
    let e = model.global_average_pool(d);
    let f = model.flatten(e);
    let y = model.gemm(f, 5);
    model.finish(&[y])
}

fn goal(minimize: Axis, limits: &[(Axis, f64)]) -> Goal {
    Goal { minimize, limits: limits.iter().copied().collect(), precisions: CANDIDATES.to_vec() }
}

/// Asks `how` about the graph with `goal`.
fn ask<T>(
    graph: &Graph,
    target: &Capability,
    goal: &Goal,
    pins: &[(String, Precision)],
    also: &[Capability],
    how: impl FnOnce(&Request<'_>) -> Result<T, CoreError>,
) -> Result<T, CoreError> {
    let hash = hash::hash(graph);
    how(&Request {
        graph,
        hash: &hash,
        target,
        strategy: Strategy::Mixed,
        pins,
        ranges: Some(&RANGES),
        goal: Some(goal),
        figures: Some(&Invented),
        also,
        weight_rule: WeightRule::AbsMax,
        bias_correction: false,
    })
}

fn best(graph: &Graph, goal: &Goal, pins: &[(String, Precision)]) -> Result<Plan, CoreError> {
    let (target, hash) = (target(), hash::hash(graph));
    let plan = ask(graph, &target, goal, pins, &[], planner::plan)?;
    plan::verify(&plan, graph, &hash, &target).unwrap();
    Ok(plan)
}

fn weighted(graph: &Graph) -> Vec<String> {
    graph.nodes().filter(|(_, node)| node.op.has_weights()).map(|(_, node)| node.name.clone()).collect()
}

fn keeps(plan: &Plan, goal: &Goal) -> bool {
    goal.limits.iter().all(|(axis, limit)| plan.totals.value(*axis).unwrap() <= limit * (1.0 + 1e-9))
}

#[test]
fn the_plan_is_the_best_of_all_combinations() {
    let graph = graph();
    let nodes = weighted(&graph);
    assert_eq!(nodes.len(), 4);
    let free = |minimize| best(&graph, &goal(minimize, &[]), &[]).unwrap().totals;
    let (small, fast, exact) = (free(Axis::Size), free(Axis::Latency), free(Axis::Error));
    let middle = |low: f64, high: f64| low + 0.4 * (high - low);
    let size = middle(small.weight_bytes as f64, exact.weight_bytes as f64);
    let latency = middle(fast.latency_ms.unwrap(), exact.latency_ms.unwrap());
    let noise = middle(exact.noise.unwrap(), small.noise.unwrap());
    let goals = [
        goal(Axis::Latency, &[]),
        goal(Axis::Size, &[]),
        goal(Axis::Error, &[(Axis::Size, size)]),
        goal(Axis::Error, &[(Axis::Latency, latency)]),
        goal(Axis::Size, &[(Axis::Error, noise)]),
        goal(Axis::Latency, &[(Axis::Error, noise)]),
        goal(Axis::Size, &[(Axis::Error, noise), (Axis::Latency, latency)]),
        goal(Axis::Error, &[(Axis::Size, size), (Axis::Latency, latency)]),
    ];
    // Every combination of precisions, pinned; nodes without weights are left to follow.
    let mut all = Vec::new();
    for code in 0..CANDIDATES.len().pow(nodes.len() as u32) {
        let mut rest = code;
        let mut pins = Vec::new();
        for node in &nodes {
            pins.push((node.clone(), CANDIDATES[rest % CANDIDATES.len()]));
            rest /= CANDIDATES.len();
        }
        all.push(pins);
    }
    for goal in &goals {
        let found = best(&graph, goal, &[]);
        let each: Vec<Plan> = all.iter().filter_map(|pins| best(&graph, goal, pins).ok()).collect();
        assert!(each.iter().all(|plan| keeps(plan, goal)), "{goal:?}");
        let value = |plan: &Plan| plan.totals.value(goal.minimize).unwrap();
        let least = each.iter().map(value).reduce(f64::min);
        let found = found.ok();
        match (&found, least) {
            (Some(found), Some(least)) => {
                assert!(keeps(found, goal), "{goal:?}");
                assert!((value(found) - least).abs() <= 1e-9 * least.abs(), "{goal:?}: {least}");
                let optimality = found.optimality.as_ref().unwrap();
                assert!(optimality.lower_bound <= least * (1.0 + 1e-9), "{goal:?}: {optimality:?}");
                assert!(optimality.gap() < 1e-3, "{optimality:?}");
            }
            (found, least) => panic!("{goal:?}: {found:?}, but the best of all is {least:?}"),
        }
    }
}

#[test]
fn limits_that_nothing_keeps_are_named() {
    let graph = graph();
    let least = best(&graph, &goal(Axis::Size, &[]), &[]).unwrap().totals.weight_bytes as f64;
    let too_small = goal(Axis::Latency, &[(Axis::Size, least - 1.0), (Axis::Error, 1.0)]);
    let error = best(&graph, &too_small, &[]).unwrap_err();
    assert_eq!(error.kind(), CoreErrorKind::Infeasible);
    let text = error.to_string();
    assert!(text.contains("size") && text.contains(&format!("{least:.0} bytes")), "{text}");
    assert!(!text.contains("noise"), "only what binds is named: {text}");
    // Each can be kept alone, both together cannot.
    let exact = best(&graph, &goal(Axis::Error, &[]), &[]).unwrap().totals.noise.unwrap();
    let both = goal(Axis::Latency, &[(Axis::Size, least), (Axis::Error, exact)]);
    let error = best(&graph, &both, &[]).unwrap_err();
    assert_eq!(error.kind(), CoreErrorKind::Infeasible);
    assert!(error.to_string().contains("size") && error.to_string().contains("error"), "{error}");
}

#[test]
fn pins_are_kept_or_refused_by_name() {
    let graph = graph();
    let node = weighted(&graph)[0].clone();
    let small = goal(Axis::Size, &[]);
    let plan = best(&graph, &small, &[(node.clone(), Precision::F32)]).unwrap();
    let assignment = plan.assignment(&node).unwrap();
    assert!(assignment.pinned && assignment.precision == Precision::F32);
    let error = best(&graph, &small, &[(node.clone(), Precision::Bf16)]).unwrap_err();
    assert_eq!(error.kind(), CoreErrorKind::Plan);
    assert!(error.to_string().contains(&node) && error.to_string().contains("bf16"), "{error}");
    let near = format!("{node}x");
    let error = best(&graph, &small, &[(near, Precision::W8A8)]).unwrap_err();
    assert!(error.remedy().is_some_and(|help| help.contains(&node)), "{error:?}");
}

#[test]
fn other_plans_differ_and_come_best_first() {
    let graph = graph();
    let target = target();
    let wanted = goal(Axis::Error, &[(Axis::Size, 1500.0)]);
    let plans = ask(&graph, &target, &wanted, &[], &[], |request| planner::diverse(request, 4, 1)).unwrap();
    assert!(plans.len() >= 2, "{}", plans.len());
    let choices = |plan: &Plan| -> Vec<Precision> { plan.nodes.iter().map(|node| node.precision).collect() };
    for (at, plan) in plans.iter().enumerate() {
        assert!(keeps(plan, &wanted));
        assert!(plans[..at].iter().all(|other| choices(other) != choices(plan)));
    }
    let noise: Vec<f64> = plans.iter().map(|plan| plan.totals.noise.unwrap()).collect();
    assert!(noise.is_sorted(), "{noise:?}");
    let single = best(&graph, &wanted, &[]).unwrap();
    assert_eq!(noise[0], single.totals.noise.unwrap());
}

#[test]
fn a_front_trades_one_axis_for_the_other() {
    let graph = graph();
    let target = target();
    let wanted = goal(Axis::Error, &[]);
    let front =
        ask(&graph, &target, &wanted, &[], &[], |request| planner::front(request, Axis::Size, 6)).unwrap();
    assert!(front.len() >= 3, "{}", front.len());
    for pair in front.windows(2) {
        assert!(pair[0].totals.weight_bytes < pair[1].totals.weight_bytes);
        assert!(pair[0].totals.noise > pair[1].totals.noise);
    }
    let smallest = best(&graph, &goal(Axis::Size, &[]), &[]).unwrap().totals.weight_bytes;
    assert_eq!(front[0].totals.weight_bytes, smallest, "the front begins at the smallest");
    let least = best(&graph, &wanted, &[]).unwrap().totals.noise;
    assert_eq!(front.last().unwrap().totals.noise, least, "and ends at the most accurate");
}

#[test]
fn a_plan_for_two_targets_uses_what_both_run() {
    let graph = graph();
    let both = target();
    let eight_only = four_bits(|text| {
        text.replace(
            r#"precisions = ["w8a8", "w8a8-dynamic", "w4a8"]"#,
            r#"precisions = ["w8a8", "w8a8-dynamic"]"#,
        )
        .replace("rate_unknown = [\"w4a8\"]\n", "")
        .replace("name = \"pair\"", "name = \"eight\"")
    });
    let small = goal(Axis::Size, &[]);
    let uses = |plan: &Plan, precision| plan.nodes.iter().any(|node| node.precision == precision);
    let alone = ask(&graph, &both, &small, &[], &[], planner::plan).unwrap();
    assert!(uses(&alone, Precision::W4A8));
    let common = ask(&graph, &both, &small, &[], &[eight_only], planner::plan).unwrap();
    assert!(!uses(&common, Precision::W4A8) && uses(&common, Precision::W8A8));
    assert!(common.totals.weight_bytes > alone.totals.weight_bytes);
}

#[test]
fn the_same_question_has_the_same_answer() {
    let graph = graph();
    let wanted = goal(Axis::Error, &[(Axis::Size, 1500.0)]);
    let [a, b] = [(); 2].map(|()| best(&graph, &wanted, &[]).unwrap());
    assert_eq!(a.to_json(), b.to_json());
    assert_eq!(Plan::from_json(&a.to_json(), "plan").unwrap(), a);
}

#[test]
fn every_runner_up_is_another_choice_and_says_what_it_would_change() {
    let graph = graph();
    let plan = best(&graph, &goal(Axis::Error, &[(Axis::Size, 1500.0)]), &[]).unwrap();
    let mut seen = 0;
    for node in &plan.nodes {
        let Some(other) = &node.runner_up else { continue };
        seen += 1;
        assert!(
            other.precision != node.precision || Some(&other.processor) != node.processor.as_ref(),
            "{node:?}"
        );
        assert!(!other.difference.is_empty(), "{node:?}");
    }
    assert!(seen >= weighted(&graph).len(), "{seen}");
}

#[test]
fn an_island_that_is_slower_than_float_is_found() {
    /// A device whose integers are fast and whose conversions cost `edge`.
    struct Edges {
        edge: f64,
    }
    impl Figures for Edges {
        fn latency_us(&self, _: &str, _: &str, precision: Precision) -> Option<f64> {
            Some(if precision == Precision::F32 { 30.0 } else { 10.0 })
        }
        fn boundary_us(&self, _: &str, _: BoundaryKind, _: DType, _: usize) -> Option<f64> {
            Some(self.edge)
        }
        fn noise(&self, _: &str, _: Precision) -> Option<f64> {
            None
        }
        fn origin(&self) -> String {
            "invented".to_owned()
        }
    }
    let mut model = ModelBuilder::new("m", 3);
    let x = model.input("x", &[1, 4, 12, 12]);
    let a = model.unary(x, UnaryOp::Exp);
    let b = model.conv(a, 8, ConvOptions::same(3));
    let c = model.unary(b, UnaryOp::Exp);
    let graph = model.finish(&[c]);
    let (target, hash) = (target(), hash::hash(&graph));
    for (edge, slower) in [(1.0, false), (40.0, true)] {
        let figures = Edges { edge };
        let request = Request {
            graph: &graph,
            hash: &hash,
            target: &target,
            strategy: Strategy::W8A8,
            pins: &[],
            ranges: Some(&RANGES),
            goal: None,
            figures: Some(&figures),
            also: &[],
            weight_rule: WeightRule::AbsMax,
            bias_correction: false,
        };
        let plan = planner::plan(&request).unwrap();
        let islands = planner::islands(&request, &plan);
        assert_eq!(islands.len(), 1, "{islands:?}");
        assert_eq!(islands[0].nodes, ["conv"]);
        assert_eq!(islands[0].is_slower(), slower, "{islands:?}");
        assert_eq!(islands[0].float_us, Some(30.0));
    }
}

#[test]
fn limits_are_part_of_the_plan_document() {
    let graph = graph();
    let limits = IndexMap::from([(Axis::Size, 1500.0)]);
    let plan = best(&graph, &goal(Axis::Error, &[(Axis::Size, 1500.0)]), &[]).unwrap();
    let optimality = plan.optimality.as_ref().unwrap();
    assert_eq!(optimality.goal.limits, limits);
    assert_eq!(optimality.figures, "invented");
}
