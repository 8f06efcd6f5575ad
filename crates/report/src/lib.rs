//! Reports: tables and texts made of the documents of the other crates.
//!
//! Every function here turns a document into text and prints nothing. JSON is the documents themselves.

use comfy_table::presets::UTF8_HORIZONTAL_ONLY;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use fewbit_calibrate::doctor::Finding;
use fewbit_calibrate::evaluate::Evaluation;

mod capability;
mod checked;
mod compare;
mod html;
mod junit;
mod markup;
mod plan;
mod sarif;

pub use capability::capability;
pub use checked::{CheckReport, NodeReport, TargetReport};
pub use compare::{Comparison, LayerRow, PlanRow, StrategyRow, comparison};
pub use html::html;
pub use junit::junit;
pub use plan::{explained, explained_node, front, hindrances, plan, plan_diff, shared, why};
pub use sarif::sarif;

/// A table with `headings`; columns whose cells are all numbers are aligned to the right.
pub fn table(headings: &[&str], rows: impl IntoIterator<Item = Vec<String>>) -> String {
    let rows: Vec<Vec<String>> = rows.into_iter().collect();
    let mut table = Table::new();
    table.load_style(UTF8_HORIZONTAL_ONLY).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(headings);
    let numeric: Vec<bool> = (0..headings.len())
        .map(|column| {
            !rows.is_empty()
                && rows.iter().filter_map(|row| row.get(column)).all(|cell| {
                    cell.is_empty()
                        || cell == "exact"
                        || cell.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '+')
                })
        })
        .collect();
    for row in rows {
        table.add_row(row);
    }
    for (column, numeric) in table.column_iter_mut().zip(numeric) {
        if numeric {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table.to_string()
}

/// An evaluation, one line per figure.
pub fn evaluation(result: &Evaluation) -> String {
    let mut rows = vec![vec!["samples".to_owned(), result.n.to_string()]];
    let mut add = |name: &str, value: Option<f64>, unit: &str| {
        if let Some(value) = value {
            rows.push(vec![name.to_owned(), format!("{value:.2} {unit}")]);
        }
    };
    add("top-1", result.top1, "%");
    add("top-1 of the reference", result.top1_reference, "%");
    add("agreement with the reference", result.agreement, "%");
    add("SQNR of the output", result.sqnr_db, "dB");
    if let Some((low, high)) = result.drop_interval {
        rows.push(vec![
            "change of top-1, 95 % interval".to_owned(),
            format!("{low:+.2} to {high:+.2} points"),
        ]);
    }
    table(&["figure", "value"], rows)
}

/// What the calibration doctor found, one paragraph each; empty when all is well.
pub fn findings(findings: &[Finding]) -> String {
    findings
        .iter()
        .map(|finding| {
            format!("warning[{}]: {}\n  help: {}\n", finding.code, finding.message, finding.advice)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_aligned_to_the_right() {
        let text = table(
            &["name", "ms"],
            [vec!["a".to_owned(), "1.5".to_owned()], vec!["b".to_owned(), "10.25".to_owned()]],
        );
        insta::assert_snapshot!(text);
    }

    #[test]
    fn an_evaluation_shows_only_what_was_measured() {
        let result = Evaluation {
            n: 900,
            top1: Some(88.8),
            top1_reference: None,
            drop_interval: None,
            agreement: None,
            sqnr_db: None,
        };
        let text = evaluation(&result);
        assert!(text.contains("88.80 %") && !text.contains("agreement"));
    }
}
