//! A comparison as one HTML page: no network, no script, light and dark.

use std::fmt::Write as _;

use crate::compare::{Comparison, LayerRow, PlanRow, StrategyRow};
use crate::markup::escape;

/// Layers with the most noise that are drawn; the table of the plan lists all.
const LAYERS: usize = 30;

/// The page.
pub fn html(comparison: &Comparison) -> String {
    let mut page = String::new();
    let title = format!("{} on {}", comparison.model, comparison.target);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <title>{0}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{0}</h1>\n",
        escape(&title)
    );
    let _ = writeln!(
        page,
        "<p class=\"sub\">Measured on {}, {} thread{}; accuracy over {} samples.</p>",
        escape(&comparison.device),
        comparison.threads,
        if comparison.threads == 1 { "" } else { "s" },
        comparison.samples
    );
    for note in &comparison.notes {
        let _ = writeln!(page, "<p class=\"note\">{}</p>", escape(note));
    }
    strategies(&mut page, &comparison.rows);
    let accuracy = |row: &StrategyRow| row.top1.or(row.agreement);
    let what = if comparison.rows.iter().any(|row| row.top1.is_some()) {
        "top-1 accuracy, %"
    } else {
        "agreement with float, %"
    };
    page.push_str("<div class=\"plots\">\n");
    scatter(&mut page, "Size against accuracy", "weights, MB", what, &comparison.rows, &|row| {
        Some((row.weight_bytes as f64 / 1e6, accuracy(row)?))
    });
    scatter(
        &mut page,
        "Latency against signal to noise",
        "latency, ms",
        "signal to noise, dB",
        &comparison.rows,
        &|row| {
            // Without noise there is no ratio to draw.
            Some((row.latency_ms.or(row.predicted_ms)?, row.sqnr_db.filter(|db| *db < 120.0)?))
        },
    );
    page.push_str("</div>\n");
    layers(&mut page, &comparison.layers);
    plan(&mut page, &comparison.plan);
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn strategies(page: &mut String, rows: &[StrategyRow]) {
    page.push_str(
        "<h2>Strategies</h2>\n<div class=\"wide\"><table>\n<thead><tr><th>strategy</th><th>weights MB</th>\
         <th>file MB</th><th>ms</th><th>predicted ms</th><th>mJ</th><th>memory MB</th><th>top-1 %</th>\
         <th>agreement %</th><th>dB</th></tr></thead>\n<tbody>\n",
    );
    let number = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "–".to_owned(), |value| format!("{value:.digits$}"))
    };
    for (index, row) in rows.iter().enumerate() {
        let name = format!("<span class=\"key k{}\"></span>{}", index % COLOURS, escape(&row.name));
        if let Some(why) = &row.refused {
            let _ = writeln!(
                page,
                "<tr class=\"refused\"><th scope=\"row\">{name}</th><td colspan=\"9\">{}</td></tr>",
                escape(why)
            );
            continue;
        }
        let front = if row.pareto { " <span class=\"tag\">front</span>" } else { "" };
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{name}{front}</th><td>{:.3}</td><td>{:.3}</td><td>{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            row.weight_bytes as f64 / 1e6,
            row.file_bytes as f64 / 1e6,
            number(row.latency_ms, 3),
            number(row.predicted_ms, 3),
            number(row.energy_mj, 3),
            number(row.memory_bytes.map(|bytes| bytes as f64 / 1e6), 2),
            number(row.top1, 2),
            number(row.agreement, 2),
            crate::compare::decibels(row.sqnr_db),
        );
    }
    page.push_str("</tbody></table></div>\n<p class=\"sub\">“front”: no other strategy is smaller and more accurate. \
         Time (ms), memory and accuracy are measured; predicted ms is the sum over the nodes, each measured alone where the \
         device is attached; mJ by the target’s figures.</p>\n");
}

const WIDTH: f64 = 520.0;
const HEIGHT: f64 = 320.0;
const LEFT: f64 = 56.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 44.0;

/// Points with their names, which step aside where they would overlap.
fn scatter(
    page: &mut String,
    title: &str,
    x_title: &str,
    y_title: &str,
    rows: &[StrategyRow],
    point: &dyn Fn(&StrategyRow) -> Option<(f64, f64)>,
) {
    let points: Vec<(usize, &StrategyRow, f64, f64)> = rows
        .iter()
        .enumerate()
        .filter(|(_, row)| row.refused.is_none())
        .filter_map(|(index, row)| point(row).map(|(x, y)| (index, row, x, y)))
        .collect();
    if points.len() < 2 {
        return;
    }
    let xs = ticks(points.iter().map(|point| point.2).chain([0.0]));
    let ys = ticks(points.iter().map(|point| point.3));
    let place = |value: f64, ticks: &[f64], from: f64, to: f64| {
        let (low, high) = (ticks[0], ticks[ticks.len() - 1]);
        from + (value - low) / (high - low).max(f64::MIN_POSITIVE) * (to - from)
    };
    let x_of = |x: f64| place(x, &xs, LEFT, WIDTH - RIGHT);
    let y_of = |y: f64| place(y, &ys, HEIGHT - BOTTOM, TOP);
    let _ = write!(
        page,
        "<figure><figcaption>{}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{0}\">",
        escape(title)
    );
    for &x in &xs {
        let at = x_of(x);
        let _ = write!(
            page,
            "<line class=\"grid\" x1=\"{at:.1}\" x2=\"{at:.1}\" y1=\"{TOP}\" y2=\"{:.1}\"/>\
             <text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            HEIGHT - BOTTOM,
            HEIGHT - BOTTOM + 16.0,
            label(x, &xs)
        );
    }
    for &y in &ys {
        let at = y_of(y);
        let _ = write!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{at:.1}\" y2=\"{at:.1}\"/>\
             <text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            at + 4.0,
            label(y, &ys)
        );
    }
    let _ = write!(
        page,
        "<text class=\"axis\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>\
         <text class=\"axis\" transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 8.0,
        escape(x_title),
        f64::midpoint(TOP, HEIGHT - BOTTOM),
        escape(y_title)
    );
    // Labels from the top down, each below the last one that it would cover.
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|&a, &b| y_of(points[a].3).total_cmp(&y_of(points[b].3)));
    // No label covers a dot either.
    let mut taken: Vec<(f64, f64, f64)> =
        points.iter().map(|&(_, _, x, y)| (x_of(x) - 6.0, 12.0, y_of(y) + 4.0)).collect();
    let mut texts = String::new();
    for index in order {
        let (number, row, x, y) = points[index];
        let (cx, cy) = (x_of(x), y_of(y));
        let width = 6.4 * row.name.chars().count() as f64;
        let right = cx + 10.0 + width < WIDTH;
        let start = if right { cx + 9.0 } else { cx - 9.0 - width };
        let mut at = cy + 4.0;
        while taken.iter().any(|&(s, w, y)| (y - at).abs() < 13.0 && start < s + w && s < start + width) {
            at += 2.0;
        }
        taken.push((start, width, at));
        if (at - cy - 4.0).abs() > 8.0 {
            let end = if right { start } else { start + width };
            let _ = write!(
                texts,
                "<line class=\"lead\" x1=\"{cx:.1}\" y1=\"{cy:.1}\" x2=\"{end:.1}\" y2=\"{:.1}\"/>",
                at - 4.0
            );
        }
        let _ = write!(
            texts,
            "<circle class=\"dot k{}{}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"5\"><title>{}: {x:.4}, {y:.3}</title></circle>\
             <text class=\"name\" x=\"{start:.1}\" y=\"{at:.1}\">{}</text>",
            number % COLOURS,
            if row.pareto { " front" } else { "" },
            escape(&row.name),
            escape(&row.name)
        );
    }
    page.push_str(&texts);
    page.push_str("</svg></figure>\n");
}

/// Round numbers that enclose the values, about five.
fn ticks(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let (low, high) =
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), x| (low.min(x), high.max(x)));
    let span = if high > low { high - low } else { high.abs().max(1.0) * 0.1 };
    let raw = span / 4.0;
    let power = 10f64.powf(raw.log10().floor());
    let step =
        [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|m| m * power).find(|step| *step >= raw).unwrap_or(raw);
    let first = (low / step).floor();
    let last = (high / step).ceil().max(first + 1.0);
    (0..=(last - first) as usize).map(|index| (first + index as f64) * step).collect()
}

/// A tick's number with as many digits as its step needs.
fn label(value: f64, ticks: &[f64]) -> String {
    let step = ticks[1] - ticks[0];
    let digits = (0..6).find(|&digits| {
        let scaled = step * 10f64.powi(digits);
        (scaled - scaled.round()).abs() < 1e-6 * scaled.max(1.0)
    });
    format!("{value:.*}", digits.unwrap_or(2) as usize)
}

fn layers(page: &mut String, layers: &[LayerRow]) {
    let mut sorted: Vec<&LayerRow> = layers.iter().collect();
    sorted.sort_by(|a, b| b.noise.total_cmp(&a.noise));
    let most_noise = sorted.first().map_or(0.0, |layer| layer.noise);
    if most_noise <= 0.0 {
        return;
    }
    let most_time = sorted.iter().filter_map(|layer| layer.us).fold(0.0, f64::max);
    let _ = write!(
        page,
        "<h2>Where noise and time come from</h2>\n<p class=\"sub\">Each node at w8a8: noise that it adds to the outputs (share of \
         the signal’s energy) and time that it takes; the {} with the most noise.</p>\n<div class=\"wide\"><table class=\"nodes\">\n\
         <thead><tr><th>node</th><th>noise</th><th></th><th>µs</th><th></th><th>weights kB</th></tr></thead>\n<tbody>\n",
        sorted.len().min(LAYERS)
    );
    for layer in sorted.into_iter().take(LAYERS) {
        let bar = |share: f64, class: &str| {
            format!(
                "<span class=\"bar {class}\" style=\"width:{:.1}%\"></span>",
                100.0 * share.clamp(0.0, 1.0)
            )
        };
        let time = layer.us.unwrap_or(0.0);
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td>{}</td><td class=\"cell\">{}</td><td>{}</td><td class=\"cell\">{}</td>\
             <td>{:.1}</td></tr>",
            escape(&layer.node),
            if layer.noise > 0.0 { format!("{:.2e}", layer.noise) } else { "0".to_owned() },
            bar(layer.noise / most_noise, "noise"),
            layer.us.map_or_else(|| "–".to_owned(), |us| format!("{us:.1}")),
            bar(time / most_time.max(f64::MIN_POSITIVE), "time"),
            layer.weight_bytes as f64 / 1e3
        );
    }
    page.push_str("</tbody></table></div>\n");
}

fn plan(page: &mut String, rows: &[PlanRow]) {
    if rows.is_empty() {
        return;
    }
    let mut precisions: Vec<&str> = Vec::new();
    for row in rows {
        if !precisions.contains(&row.precision.as_str()) {
            precisions.push(&row.precision);
        }
    }
    let colour =
        |precision: &str| precisions.iter().position(|known| *known == precision).unwrap_or(0) % COLOURS;
    page.push_str("<h2>The mixed plan</h2>\n<p class=\"legend\">");
    for precision in &precisions {
        let count = rows.iter().filter(|row| row.precision == *precision).count();
        let _ = write!(
            page,
            "<span><span class=\"key k{}\"></span>{} ({count})</span> ",
            colour(precision),
            escape(precision)
        );
    }
    page.push_str("</p>\n<p class=\"strip\" aria-hidden=\"true\">");
    for row in rows {
        let _ = write!(
            page,
            "<span class=\"k{}\" title=\"{}: {}\"></span>",
            colour(&row.precision),
            escape(&row.node),
            escape(&row.precision)
        );
    }
    page.push_str(
        "</p>\n<div class=\"wide\"><table class=\"nodes\">\n<thead><tr><th>node</th><th class=\"word\">operator</th><th class=\"word\">precision</th>\
         <th class=\"word\">runs on</th><th>µs</th><th>weights kB</th><th class=\"why\">why</th></tr></thead>\n<tbody>\n",
    );
    for row in rows {
        let _ = writeln!(
            page,
            "<tr><th scope=\"row\">{}</th><td class=\"word\">{}</td><td class=\"word\"><span class=\"key k{}\"></span>{}</td>\
             <td class=\"word\">{}</td><td>{}</td><td>{:.1}</td><td class=\"why\">{}</td></tr>",
            escape(&row.node),
            escape(&row.op),
            colour(&row.precision),
            escape(&row.precision),
            escape(&row.processor),
            row.us.map_or_else(|| "–".to_owned(), |us| format!("{us:.1}")),
            row.weight_bytes as f64 / 1e3,
            escape(&row.reason)
        );
    }
    page.push_str("</tbody></table></div>\n");
}

/// Colours that keys, dots and strips share; told apart by people with any colour vision (after Okabe and Ito, 2008), and
/// never the only sign.
const COLOURS: usize = 8;

const STYLE: &str = "
:root { --ink: #1c2430; --soft: #5a6675; --paper: #ffffff; --line: #dfe4ea; --fill: #f4f6f8;
  --c0: #0072b2; --c1: #d55e00; --c2: #009e73; --c3: #cc79a7; --c4: #b58900; --c5: #56b4e9; --c6: #7a5195; --c7: #6b7280; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa6b5; --paper: #14181e; --line: #2c343f; --fill: #1c222b;
  --c0: #4ea5dd; --c1: #ef8a47; --c2: #2fc79a; --c3: #e2a1c6; --c4: #e0b93f; --c5: #8fd0f5; --c6: #ab86c9; --c7: #a3adba; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.5rem; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 36px 0 8px; }
.sub { color: var(--soft); margin: 0 0 12px; }
.note { border-left: 3px solid var(--c1); padding: 4px 12px; background: var(--fill); margin: 8px 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 7px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; }
th:first-child, .word, .why { text-align: left; }
td.why { white-space: normal; min-width: 220px; color: var(--soft); }
thead th { color: var(--soft); font-weight: 600; border-bottom: 2px solid var(--line); }
tbody th { font-weight: 500; white-space: normal; overflow-wrap: anywhere; min-width: 150px; }
@media (min-width: 900px) { tbody th { white-space: nowrap; } .nodes tbody th { white-space: normal; min-width: 400px; } }
tr.refused td { text-align: left; color: var(--soft); white-space: normal; }
.tag { border: 1px solid var(--c2); color: var(--c2); border-radius: 9px; padding: 0 7px; font-size: 0.75rem; }
.key { display: inline-block; width: 11px; height: 11px; border-radius: 3px; margin-right: 7px; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 460px), 1fr)); gap: 20px; margin-top: 20px; }
figure { margin: 0; border: 1px solid var(--line); border-radius: 8px; padding: 12px; min-width: 0; overflow-x: auto; }
figcaption { font-weight: 600; margin-bottom: 6px; }
svg { display: block; width: 100%; min-width: 460px; height: auto; }
svg text { fill: var(--ink); font: 11px system-ui, sans-serif; }
svg .tick, svg .axis { fill: var(--soft); }
svg .grid { stroke: var(--line); }
svg .lead { stroke: var(--soft); stroke-width: 0.75; }
.dot { stroke: var(--paper); stroke-width: 1.5; }
.dot.front { stroke: var(--ink); stroke-width: 2; }
.cell { width: 18%; min-width: 110px; }
.nodes tbody th { font-size: 13px; }
.bar { display: block; height: 10px; border-radius: 2px; }
.bar.noise { background: var(--c1); } .bar.time { background: var(--c0); }
.legend span { margin-right: 14px; white-space: nowrap; }
.strip { display: flex; height: 22px; gap: 1px; margin: 4px 0 12px; }
.strip span { flex: 1; border-radius: 2px; }
.k0 { background: var(--c0); fill: var(--c0); } .k1 { background: var(--c1); fill: var(--c1); }
.k2 { background: var(--c2); fill: var(--c2); } .k3 { background: var(--c3); fill: var(--c3); }
.k4 { background: var(--c4); fill: var(--c4); } .k5 { background: var(--c5); fill: var(--c5); }
.k6 { background: var(--c6); fill: var(--c6); } .k7 { background: var(--c7); fill: var(--c7); }
";

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Comparison {
        let row = |name: &str, weight_bytes, latency, top1, db| StrategyRow {
            name: name.into(),
            weight_bytes,
            file_bytes: weight_bytes + 100,
            latency_ms: Some(latency),
            top1: Some(top1),
            sqnr_db: Some(db),
            pareto: name != "w8a8",
            ..StrategyRow::default()
        };
        Comparison {
            model: "a<b>.onnx".into(),
            target: "cpu".into(),
            device: "a \"fast\" processor".into(),
            samples: 3,
            threads: 1,
            rows: vec![
                row("f32", 4_000_000, 6.8, 87.5, 200.0),
                row("w8a8", 1_000_000, 2.4, 87.1, 23.3),
                row("mixed", 700_000, 2.5, 86.9, 15.0),
                StrategyRow {
                    name: "f16".into(),
                    refused: Some("no rule & no kernel".into()),
                    ..Default::default()
                },
            ],
            layers: vec![LayerRow {
                node: "/conv".into(),
                precision: "w8a8".into(),
                noise: 0.01,
                us: Some(12.0),
                weight_bytes: 4000,
            }],
            plan: vec![PlanRow {
                node: "/conv".into(),
                op: "Conv".into(),
                precision: "w4a8".into(),
                processor: "cpu".into(),
                us: Some(11.0),
                weight_bytes: 2000,
                reason: "rule cpu-conv-w4".into(),
            }],
            notes: vec!["a note".into()],
        }
    }

    #[test]
    fn the_page_stands_alone_and_escapes_what_it_shows() {
        let page = html(&sample());
        for outside in ["http:", "https:", "<script", "src=", "href=", "@import", "url("] {
            assert!(!page.contains(outside), "{outside} in the page");
        }
        assert!(page.contains("a&lt;b&gt;.onnx") && !page.contains("a<b>"));
        assert!(page.contains("no rule &amp; no kernel") && page.contains("&quot;fast&quot;"));
        let count = |tag: &str| page.matches(tag).count();
        for tag in ["table", "figure", "svg", "div", "tr"] {
            assert_eq!(count(&format!("<{tag}")), count(&format!("</{tag}>")), "{tag}");
        }
        // Every strategy that ran is a point of the first plot; f32 has no noise and is left out of the second.
        assert_eq!(count("<circle"), 5);
    }

    #[test]
    fn ticks_are_round_and_enclose() {
        let ticks = ticks([0.3, 9.7].into_iter());
        assert!(ticks[0] <= 0.3 && *ticks.last().unwrap() >= 9.7 && ticks.len() <= 7, "{ticks:?}");
        assert_eq!(label(2.5, &[0.0, 2.5, 5.0]), "2.5");
        assert_eq!(label(20.0, &[0.0, 20.0]), "20");
        assert!(super::ticks([5.0, 5.0].into_iter()).len() >= 2);
    }
}
