//! Strategies side by side: the document, and its text.

use serde::{Deserialize, Serialize};

use crate::table;

/// A model on a target at every strategy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Comparison {
    /// The model's file.
    pub model: String,
    /// The target's name.
    pub target: String,
    /// The device that measured, or that none did.
    pub device: String,
    /// Samples on which accuracy was measured.
    pub samples: usize,
    /// Threads of one inference.
    pub threads: usize,
    /// The strategies.
    pub rows: Vec<StrategyRow>,
    /// What each node costs and adds in noise at the base's precision.
    pub layers: Vec<LayerRow>,
    /// The plan that is shown node by node: the last mixed one.
    pub plan: Vec<PlanRow>,
    /// What a reader should know.
    pub notes: Vec<String>,
}

/// One strategy.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct StrategyRow {
    /// What people call it: `w8a8, static, per channel`.
    pub name: String,
    /// Bytes of constants.
    pub weight_bytes: u64,
    /// Bytes of the exported model; the float model's own for f32.
    pub file_bytes: u64,
    /// Milliseconds measured; `None` where no device is attached.
    pub latency_ms: Option<f64>,
    /// Milliseconds predicted before.
    pub predicted_ms: Option<f64>,
    /// Millijoules by the target's figures.
    pub energy_mj: Option<f64>,
    /// Bytes that the device holds: packed weights, activations, scratch.
    pub memory_bytes: Option<u64>,
    /// Top-1 accuracy in percent.
    pub top1: Option<f64>,
    /// Share of the float model's predictions, in percent.
    pub agreement: Option<f64>,
    /// Signal to noise at the first output, in decibels.
    pub sqnr_db: Option<f64>,
    /// Whether no other strategy is smaller and more accurate.
    pub pareto: bool,
    /// Why there is nothing else in the row.
    pub refused: Option<String>,
}

/// One node at the base's precision.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LayerRow {
    /// The node's name.
    pub node: String,
    /// The base's precision.
    pub precision: String,
    /// Noise that it adds to the outputs, as a share of the signal's energy.
    pub noise: f64,
    /// Microseconds it takes.
    pub us: Option<f64>,
    /// Bytes of its constants.
    pub weight_bytes: u64,
}

/// One node of the plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRow {
    /// The node's name.
    pub node: String,
    /// Its operator.
    pub op: String,
    /// Its precision.
    pub precision: String,
    /// The processor that runs it.
    pub processor: String,
    /// Microseconds predicted.
    pub us: Option<f64>,
    /// Bytes of its constants.
    pub weight_bytes: u64,
    /// Why: the rule, and what the next best choice would change.
    pub reason: String,
}

impl Comparison {
    /// Marks the strategies that no other beats in both size and accuracy (agreement where there are no labels, and
    /// signal to noise between equals).
    pub fn mark_front(&mut self) {
        let worth =
            |row: &StrategyRow| (row.top1.or(row.agreement).unwrap_or(0.0), row.sqnr_db.unwrap_or(0.0));
        let rows = self.rows.clone();
        for row in &mut self.rows {
            let beaten = |other: &StrategyRow| {
                other.refused.is_none()
                    && other.weight_bytes <= row.weight_bytes
                    && worth(other) >= worth(row)
                    && (other.weight_bytes, worth(other)) != (row.weight_bytes, worth(row))
            };
            row.pareto = row.refused.is_none() && !rows.iter().any(beaten);
        }
    }
}

/// The strategies as a table.
pub fn comparison(comparison: &Comparison) -> String {
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let rows = comparison.rows.iter().map(|row| match &row.refused {
        // The reason stands below: here it would widen a column of figures.
        Some(_) => {
            let mut cells = vec![format!("{} (refused)", row.name)];
            cells.resize(9, "-".to_owned());
            cells
        }
        None => vec![
            format!("{}{}", row.name, if row.pareto { " *" } else { "" }),
            format!("{:.3}", row.weight_bytes as f64 / 1e6),
            number(row.latency_ms, 3),
            number(row.predicted_ms, 3),
            number(row.energy_mj, 3),
            number(row.memory_bytes.map(|bytes| bytes as f64 / 1e6), 2),
            number(row.top1, 2),
            number(row.agreement, 2),
            decibels(row.sqnr_db),
        ],
    });
    let mut text = format!(
        "{} on {} ({}, {} thread{})\n",
        comparison.model,
        comparison.target,
        comparison.device,
        comparison.threads,
        if comparison.threads == 1 { "" } else { "s" }
    );
    text.push_str(&table(
        &["strategy", "weights MB", "ms", "pred. ms", "mJ", "memory MB", "top-1 %", "agreement %", "dB"],
        rows,
    ));
    text.push_str(&format!(
        "\n* no other is smaller and more accurate; accuracy over {} samples\n",
        comparison.samples
    ));
    text.push_str(
        "ms, memory and accuracy are measured; pred. ms is the sum over the nodes, each measured alone where the device is \
         attached; mJ by the target's figures\n",
    );
    for row in &comparison.rows {
        if let Some(why) = &row.refused {
            text.push_str(&format!("{} refused: {why}\n", row.name));
        }
    }
    for note in &comparison.notes {
        text.push_str(&format!("note: {note}\n"));
    }
    text
}

/// Decibels as people read them; `exact` where nothing differs, which measuring caps at 200.
pub(crate) fn decibels(value: Option<f64>) -> String {
    match value {
        None => "-".to_owned(),
        Some(value) if value >= 200.0 => "exact".to_owned(),
        Some(value) => format!("{value:.1}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(name: &str, weight_bytes: u64, top1: f64) -> StrategyRow {
        StrategyRow { name: name.into(), weight_bytes, top1: Some(top1), ..StrategyRow::default() }
    }

    #[test]
    fn the_front_is_what_nothing_beats_in_both() {
        let rows = [("f32", 400, 80.0), ("w8a8", 100, 79.0), ("bad", 120, 78.0), ("w4", 60, 50.0)]
            .map(|(name, kilobytes, top1)| row(name, 1000 * kilobytes, top1));
        let mut comparison = Comparison {
            model: "a.onnx".into(),
            target: "cpu".into(),
            device: "a processor".into(),
            threads: 1,
            samples: 400,
            rows: rows.into(),
            ..Comparison::default()
        };
        comparison.rows.push(StrategyRow { refused: Some("no rule".into()), ..row("f16", 1, 99.0) });
        comparison.mark_front();
        let marked: Vec<bool> = comparison.rows.iter().map(|row| row.pareto).collect();
        assert_eq!(marked, [true, true, false, true, false]);
        let text = super::comparison(&comparison);
        assert!(text.contains("w8a8 *") && text.contains("f16 refused: no rule"), "{text}");
        assert!(!text.contains("bad *"), "{text}");
        let width = text.lines().map(|line| line.chars().count()).max();
        comparison.rows[4].refused = Some("a reason far longer than any figure ".repeat(3));
        let table = super::comparison(&comparison).lines().nth(1).map(|line| line.chars().count());
        assert!(table <= width, "a reason widens the table");
        insta::assert_snapshot!(text);
    }
}
