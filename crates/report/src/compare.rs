//! The comparison of strategies for one model and target: the document, and its table.
//!
//! [`Comparison`] is what `fewbit compare` fills and prints as JSON; [`text`] makes tables of it. Every figure that was not determined is `None` and shown as a dash; whether a
//! latency or an energy was measured or modelled is said beside it.

use serde::{Deserialize, Deserializer, Serialize};

use crate::table;

/// Every strategy side by side for one model, target and device.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Comparison {
    /// The model, as the person named it.
    pub model: String,
    /// Target that the plans are made for.
    pub target: String,
    /// Device that measured, in words.
    pub device: String,
    /// Samples that accuracy and agreement come from.
    pub samples: usize,
    /// Threads of one inference.
    pub threads: usize,
    /// One row a strategy.
    pub rows: Vec<StrategyRow>,
    /// How much error each node causes and what it costs.
    pub sensitivity: Vec<LayerRow>,
    /// The plan that the comparison recommends, in the order of execution.
    pub plan: Vec<PlanRow>,
    /// What a reader has to know beside the figures.
    pub notes: Vec<String>,
}

/// What one strategy gives.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct StrategyRow {
    /// For example `w8a8, static, per channel`.
    pub name: String,
    /// Bytes of the weights as the device holds them.
    pub weight_bytes: u64,
    /// Bytes of the model's file.
    pub file_bytes: u64,
    /// Milliseconds of one inference.
    pub latency_ms: Option<f64>,
    /// Whether `latency_ms` was measured; otherwise it is modelled.
    pub latency_measured: bool,
    /// Milliseconds of one inference as the plan predicted them.
    pub predicted_ms: Option<f64>,
    /// Millijoules of one inference.
    pub energy_mj: Option<f64>,
    /// Whether `energy_mj` was measured; otherwise it is modelled.
    pub energy_measured: bool,
    /// Most bytes needed at once: weights, activations and scratch.
    pub peak_memory_bytes: u64,
    /// Accuracy in percent, where the data has labels.
    pub top1: Option<f64>,
    /// Samples, in percent, whose answer is that of the float model.
    pub agreement: Option<f64>,
    /// Signal to quantization noise of the output in decibels; infinite values are written as none.
    pub sqnr_db: Option<f64>,
    /// Whether no other strategy is better in one respect and as good in the others.
    pub pareto: bool,
    /// Why the strategy was refused; its figures then mean nothing and are not shown.
    pub error: Option<String>,
}

/// How one node fares.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LayerRow {
    /// Name of the node.
    pub node: String,
    /// Precision that it was tried at.
    pub precision: String,
    /// Signal to noise of the output with only this node quantized, in decibels: the lower, the more sensitive.
    /// Infinite where nothing changed; JSON, which has no infinity, holds `null` for that.
    #[serde(deserialize_with = "null_is_infinite")]
    pub sqnr_db: f64,
    /// Microseconds of the node.
    pub us: Option<f64>,
    /// Bytes of its weights.
    pub weight_bytes: u64,
}

/// What one node is planned as.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct PlanRow {
    /// Name of the node.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Its precision.
    pub precision: String,
    /// The processor that runs it.
    pub processor: String,
    /// Names of the nodes that produce its inputs.
    pub inputs: Vec<String>,
    /// Microseconds of the node.
    pub us: Option<f64>,
    /// Why this precision on this processor.
    pub reason: String,
}

fn null_is_infinite<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or(f64::INFINITY))
}

/// What is shown where a figure was not determined.
pub(crate) const UNKNOWN: &str = "-";

/// `value` with `decimals` decimals; a dash for none and for what is no number.
pub(crate) fn number(value: Option<f64>, decimals: usize) -> String {
    match value {
        Some(value) if value.is_finite() => format!("{value:.decimals$}"),
        Some(value) if value == f64::INFINITY => "exact".to_owned(),
        _ => UNKNOWN.to_owned(),
    }
}

/// Milliseconds or millijoules; three significant digits below one.
pub(crate) fn small(value: Option<f64>) -> String {
    let decimals = match value {
        Some(value) if value.abs() >= 100.0 => 1,
        Some(value) if value.abs() >= 1.0 => 2,
        Some(value) if value.abs() >= 0.1 => 3,
        _ => 4,
    };
    number(value, decimals)
}

/// Bytes in the unit that reads best: decimal kB and MB.
pub(crate) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        _ => format!("{:.2} MB", count as f64 / 1e6),
    }
}

/// The comparison as tables: strategies, then the ten most sensitive nodes, then how often each precision was planned.
pub fn text(comparison: &Comparison) -> String {
    let Comparison { model, target, device, samples, threads, .. } = comparison;
    let mut text =
        format!("{model} on {target}\nmeasured on {device}, {threads} thread(s), {samples} samples\n\n");
    let marked = |value: Option<f64>, measured: bool| {
        let figure = small(value);
        if measured || figure == UNKNOWN { figure } else { format!("{figure} (est.)") }
    };
    let megabytes = |count: u64| format!("{:.3}", count as f64 / 1e6);
    let rows = comparison.rows.iter().map(|row| {
        let mark = if row.pareto { "*" } else { "" };
        if row.error.is_some() {
            let mut cells = vec![row.name.clone()];
            cells.resize(10, UNKNOWN.to_owned());
            cells.push("refused".to_owned());
            return cells;
        }
        vec![
            row.name.clone(),
            megabytes(row.weight_bytes),
            megabytes(row.file_bytes),
            megabytes(row.peak_memory_bytes),
            marked(row.latency_ms, row.latency_measured),
            small(row.predicted_ms),
            marked(row.energy_mj, row.energy_measured),
            number(row.top1, 2),
            number(row.agreement, 2),
            number(row.sqnr_db, 2),
            mark.to_owned(),
        ]
    });
    text.push_str(&table(
        &[
            "strategy",
            "weights MB",
            "file MB",
            "peak MB",
            "ms",
            "predicted ms",
            "mJ",
            "top-1 %",
            "agreement %",
            "SQNR dB",
            "front",
        ],
        rows,
    ));
    text.push('\n');
    for row in &comparison.rows {
        if let Some(error) = &row.error {
            text.push_str(&format!("\n{} refused: {error}\n", row.name));
        }
    }
    if !comparison.sensitivity.is_empty() {
        let mut layers: Vec<&LayerRow> = comparison.sensitivity.iter().collect();
        layers.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
        text.push_str(&format!("\nmost sensitive of {} nodes\n", layers.len()));
        let rows = layers.iter().take(10).map(|layer| {
            vec![
                layer.node.clone(),
                layer.precision.clone(),
                number(Some(layer.sqnr_db), 2),
                number(layer.us, 1),
                bytes(layer.weight_bytes),
            ]
        });
        text.push_str(&table(&["node", "precision", "SQNR dB", "µs", "weights"], rows));
        text.push('\n');
    }
    if !comparison.plan.is_empty() {
        let counts: Vec<String> = precisions(&comparison.plan)
            .into_iter()
            .map(|(precision, count)| format!("{count} × {precision}"))
            .collect();
        text.push_str(&format!("\nplan: {}\n", counts.join(", ")));
    }
    for note in &comparison.notes {
        text.push_str(&format!("\nnote: {note}\n"));
    }
    text
}

/// How often each precision is planned, in the order in which they first appear.
pub(crate) fn precisions(plan: &[PlanRow]) -> Vec<(&str, usize)> {
    let mut counts: Vec<(&str, usize)> = Vec::new();
    for row in plan {
        match counts.iter_mut().find(|(precision, _)| *precision == row.precision) {
            Some((_, count)) => *count += 1,
            None => counts.push((&row.precision, 1)),
        }
    }
    counts
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    fn row(name: &str, bytes: u64, ms: f64, top1: f64, pareto: bool) -> StrategyRow {
        StrategyRow {
            name: name.to_owned(),
            weight_bytes: bytes,
            file_bytes: bytes + 20_000,
            latency_ms: Some(ms),
            latency_measured: true,
            predicted_ms: Some(ms * 1.05),
            energy_mj: Some(ms * 4.0),
            energy_measured: false,
            peak_memory_bytes: bytes + 600_000,
            top1: Some(top1),
            agreement: Some(top1 + 5.0),
            sqnr_db: Some(top1 / 4.0),
            pareto,
            error: None,
        }
    }

    /// A small comparison with every case: refused, unknown, infinite, text that must be escaped.
    pub(crate) fn small_comparison() -> Comparison {
        let mut float = row("f32", 312_000, 1.9, 87.1, true);
        float.sqnr_db = Some(f64::INFINITY);
        float.energy_mj = None;
        let mut refused = row("f16", 0, 0.0, 0.0, false);
        refused.error = Some("CAP-PRECISION: `cpu` runs nothing at f16 & <less>".to_owned());
        let layer = |node: &str, sqnr_db: f64, us: f64, weight_bytes: u64| LayerRow {
            node: node.to_owned(),
            precision: "w8a8".to_owned(),
            sqnr_db,
            us: Some(us),
            weight_bytes,
        };
        let plan = |node: &str, op: &str, precision: &str, inputs: &[&str]| PlanRow {
            node: node.to_owned(),
            op: op.to_owned(),
            precision: precision.to_owned(),
            processor: "cpu".to_owned(),
            inputs: inputs.iter().map(|&input| input.to_owned()).collect(),
            us: Some(12.5),
            reason: "fastest that the rule allows".to_owned(),
        };
        Comparison {
            model: "res<net>&8.onnx".to_owned(),
            target: "cpu".to_owned(),
            device: "CPU \"avx2\"".to_owned(),
            samples: 200,
            threads: 1,
            rows: vec![
                float,
                refused,
                row("w8a8, dynamic", 80_000, 1.1, 86.5, false),
                row("w8a8, static, per channel", 79_000, 0.42, 86.6, true),
                row("mixed, 60 % of the bytes", 47_400, 0.45, 86.2, true),
            ],
            sensitivity: vec![
                layer("conv1", 38.2, 12.0, 432),
                layer("block1/<conv>", 24.9, 80.5, 9_216),
                layer("softmax", f64::INFINITY, 1.0, 0),
            ],
            plan: vec![
                plan("conv1", "Conv", "w8a8", &[]),
                plan("block1/<conv>", "Conv", "w4a8", &["conv1"]),
                plan("softmax", "Softmax", "f32", &["block1/<conv>"]),
            ],
            notes: vec!["energy: no counter was found".to_owned()],
        }
    }

    #[test]
    fn the_tables_show_every_strategy() {
        insta::assert_snapshot!(text(&small_comparison()));
    }

    #[test]
    fn a_refused_strategy_shows_its_reason_and_no_figure() {
        let text = text(&small_comparison());
        assert!(text.contains("f16 refused: CAP-PRECISION"));
        let line = text.lines().find(|line| line.trim_start().starts_with("f16 ")).unwrap();
        assert!(!line.contains("0.0"), "{line}");
    }

    #[test]
    fn json_is_read_back() {
        let comparison = small_comparison();
        let json = serde_json::to_string(&comparison).unwrap();
        let back: Comparison = serde_json::from_str(&json).unwrap();
        assert_eq!(back.sensitivity[2].sqnr_db, f64::INFINITY);
        assert_eq!(serde_json::to_string(&back).unwrap(), json);
    }

    #[test]
    fn bytes_take_the_unit_that_reads_best() {
        assert_eq!([bytes(999), bytes(1_000), bytes(2_500_000)], ["999 B", "1.0 kB", "2.50 MB"]);
    }
}
