//! `fewbit inspect`: operators, shapes, sizes and cost.

use std::collections::BTreeMap;

use anyhow::Result;
use fewbit_core::plan::Precision;
use fewbit_core::{cost, ir};
use serde::Serialize;

use crate::args::{Format, Inspect};
use crate::config::Config;
use crate::model::Model;
use crate::{Answer, output};

#[derive(Serialize)]
struct Document {
    model: String,
    hash: String,
    file_bytes: u64,
    constant_bytes: usize,
    macs: u64,
    inputs: Vec<Port>,
    outputs: Vec<Port>,
    operators_in_file: BTreeMap<String, usize>,
    operators: BTreeMap<String, usize>,
    /// Nodes whose operators this build lacks.
    unsupported: Vec<Unsupported>,
    nodes: Vec<Node>,
}

#[derive(Serialize)]
struct Unsupported {
    /// The node's name; of one inside control flow, the path to it.
    node: String,
    op: String,
    /// The version of the operator's set; none where the model imports no set of its domain.
    opset: Option<i64>,
    message: String,
    /// The nearest operator that this build has.
    nearest: Option<String>,
    help: Option<String>,
}

#[derive(Serialize)]
struct Port {
    name: String,
    dtype: String,
    shape: String,
}

#[derive(Serialize)]
struct Node {
    name: String,
    op: String,
    shape: String,
    macs: u64,
    weight_bytes: u64,
}

pub(crate) fn run(arguments: &Inspect, format: Format, config: &Config) -> Result<Answer> {
    let model = Model::load_to_show(&arguments.model.model, &arguments.model.shapes, config)?;
    if arguments.graph && format == Format::Text {
        output::line(ir::text::render(&model.graph).trim_end())?;
        return Ok(Answer::Yes);
    }
    let document = document(&model);
    output::print(format, &document, || render(&document))?;
    Ok(Answer::Yes)
}

fn document(model: &Model) -> Document {
    let graph = &model.graph;
    let shape = |id: ir::ValueId| graph.value(id).shape.as_ref().map(ToString::to_string).unwrap_or_default();
    let port = |&id: &ir::ValueId| {
        let value = graph.value(id);
        Port {
            name: value.name.clone(),
            dtype: value.dtype.map(|d| d.to_string()).unwrap_or_default(),
            shape: shape(id),
        }
    };
    let count = |graph: &ir::Graph| {
        let mut counts = BTreeMap::new();
        for (_, node) in graph.nodes() {
            *counts.entry(node.op.kind().to_string()).or_default() += 1;
        }
        counts
    };
    let nodes: Vec<Node> = graph
        .nodes()
        .map(|(_, node)| Node {
            name: node.name.clone(),
            op: node.op.kind().to_string(),
            shape: node.outputs.first().map(|&id| shape(id)).unwrap_or_default(),
            macs: cost::macs(graph, node),
            weight_bytes: cost::node(graph, node, Precision::F32).weight_bytes,
        })
        .collect();
    // After the passes: what they absorb has a meaning.
    let unsupported = graph.nodes().filter_map(|(_, node)| unsupported(node)).collect();
    Document {
        model: model.path.display().to_string(),
        hash: model.hash.clone(),
        file_bytes: model.file_bytes,
        constant_bytes: model.constant_bytes(),
        macs: nodes.iter().map(|node| node.macs).sum(),
        inputs: graph.inputs.iter().map(port).collect(),
        outputs: graph.outputs.iter().map(port).collect(),
        operators_in_file: count(&model.source),
        operators: count(graph),
        unsupported,
        nodes,
    }
}

fn unsupported(node: &ir::Node) -> Option<Unsupported> {
    let (path, opaque) = node.opaque()?;
    let ir::Op::Opaque { lack, .. } = &opaque.op else { return None };
    let error = node.unsupported()?;
    Some(Unsupported {
        node: path,
        op: opaque.op.kind().to_string(),
        opset: lack.opset,
        message: error.message().to_owned(),
        nearest: lack.nearest.clone(),
        help: error.remedy().map(str::to_owned),
    })
}

fn render(document: &Document) -> String {
    let ports = |ports: &[Port]| {
        ports
            .iter()
            .map(|port| format!("{} {}{}", port.name, port.dtype, port.shape))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let counts = |counts: &BTreeMap<String, usize>| {
        counts.iter().map(|(op, count)| format!("{op} {count}")).collect::<Vec<_>>().join(", ")
    };
    let mut text = format!(
        "{}\n  file       {:.2} MB, constants {:.2} MB, {:.1} M multiply-adds\n  inputs     {}\n  outputs    {}\n  \
         in file    {}\n  after the passes {}\n\n",
        document.model,
        document.file_bytes as f64 / 1e6,
        document.constant_bytes as f64 / 1e6,
        document.macs as f64 / 1e6,
        ports(&document.inputs),
        ports(&document.outputs),
        counts(&document.operators_in_file),
        counts(&document.operators),
    );
    for lack in &document.unsupported {
        text.push_str(&format!("  does not run: {}: {}\n", lack.node, lack.message));
        if let Some(help) = &lack.help {
            text.push_str(&format!("    help: {help}\n"));
        }
    }
    if !document.unsupported.is_empty() {
        text.push('\n');
    }
    let rows = document.nodes.iter().map(|node| {
        vec![
            node.name.clone(),
            node.op.clone(),
            node.shape.clone(),
            format!("{:.3}", node.macs as f64 / 1e6),
            format!("{:.1}", node.weight_bytes as f64 / 1e3),
        ]
    });
    text.push_str(&fewbit_report::table(
        &["node", "operator", "output", "M multiply-adds", "weights kB"],
        rows,
    ));
    text
}
