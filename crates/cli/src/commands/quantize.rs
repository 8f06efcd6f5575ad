//! `fewbit quantize`: from a float model to one with integer weights and activations, for a target.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;
use fewbit_calibrate::sqnr::{self, LayerSqnr};
use fewbit_core::capability::ArtifactFormat;
use fewbit_core::lower::lower;
use fewbit_core::plan::{self, Origin, Plan};
use fewbit_core::quant::{Ranges, Scheme};
use fewbit_onnx::ExportOptions;
use fewbit_tflite::Port;
use serde::Serialize;

use crate::args::{Format, Quantize};
use crate::config::Config;
use crate::failure::Usage;
use crate::model::{self, Model};
use crate::planning::{Observed, Target};
use crate::{Answer, devices, files, output};

#[derive(Serialize)]
struct Document {
    output: PathBuf,
    plan: PathBuf,
    plan_hash: String,
    target: String,
    strategy: plan::Strategy,
    float_bytes: u64,
    bytes: usize,
    nodes: usize,
    native: usize,
    emulated: usize,
    seconds: f64,
    peak_memory_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    interface: Option<Interface>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    layers: Vec<LayerSqnr>,
}

/// What a TFLite file takes and gives, which is not what the model does: codes, and channels last.
#[derive(Serialize)]
struct Interface {
    inputs: Vec<Port>,
    outputs: Vec<Port>,
}

pub(crate) fn run(arguments: &Quantize, format: Format, config: &Config) -> Result<Answer> {
    let start = Instant::now();
    files::require_place(&arguments.output, &arguments.model.model)?;
    let model = Model::load(&arguments.model.model, &arguments.model.shapes, config)?;
    model.require_float()?;
    let target = super::plan::open_target(&arguments.wish, config)?;
    let plan = make_plan(arguments, &model, &target, config)?;
    if !plan.deployable {
        eprint!("{}", fewbit_report::hindrances(&plan));
        eprintln!("nothing was written: the model cannot be deployed on {}", plan.target.name);
        return Ok(Answer::No);
    }
    let tflite = arguments.output.extension().is_some_and(|extension| extension == "tflite");
    if !tflite && target.capability.artifact.format == ArtifactFormat::Tflite {
        eprintln!(
            "note: the tools of {} take TFLite: give the output a name that ends with .tflite",
            plan.target.name
        );
    }
    let program = lower(&model.graph, &plan.choices())?;
    let metadata = vec![
        ("fewbit.plan".to_owned(), plan.hash.clone()),
        ("fewbit.target".to_owned(), plan.target.name.clone()),
        ("fewbit.strategy".to_owned(), plan.strategy.to_string()),
        ("fewbit.float_model".to_owned(), model.hash.clone()),
    ];
    let (bytes, ports) = if tflite {
        let options = fewbit_tflite::ExportOptions::with_metadata(metadata);
        let exported = fewbit_tflite::export(&program, &options)?;
        (exported.bytes, Some(Interface { inputs: exported.inputs, outputs: exported.outputs }))
    } else {
        (fewbit_onnx::export(&program, &ExportOptions::with_metadata(metadata))?, None)
    };
    let layers = layers(arguments, &model, &program, config)?;
    let plan_path = arguments.output.with_extension("plan.json");
    let written = bytes.len();
    files::write_all(&[(arguments.output.clone(), bytes), (plan_path.clone(), plan.to_json().into_bytes())])?;
    let document = Document {
        output: arguments.output.clone(),
        plan: plan_path,
        plan_hash: plan.hash.clone(),
        target: plan.target.name.clone(),
        strategy: plan.strategy,
        float_bytes: model.file_bytes,
        bytes: written,
        nodes: plan.nodes.len(),
        native: plan.totals.native,
        emulated: plan.totals.emulated,
        seconds: start.elapsed().as_secs_f64(),
        peak_memory_bytes: fewbit_runtime::peak_memory_bytes(),
        interface: ports,
        layers,
    };
    output::print(format, &document, || render(&plan, &document))?;
    Ok(Answer::Yes)
}

/// The plan that was given, checked against model and target; else a new one.
fn make_plan(arguments: &Quantize, model: &Model, target: &Target, config: &Config) -> Result<Plan> {
    let Some(path) = &arguments.plan_file else {
        let Quantize { wish, ranges, data, device, .. } = arguments;
        return Ok(super::plan::make(model, target, wish, ranges, data, device, config)?.0);
    };
    let plan = Plan::from_json(&files::read_text(path)?, &path.display().to_string())?;
    if !arguments.wish.target.is_empty()
        || target.device.is_some() && plan.target.name == target.capability.name
    {
        plan::verify(&plan, &model.graph, &model.hash, &target.capability)?;
    } else {
        let named = Target::open(Some(&plan.target.name), config)?;
        plan::verify(&plan, &model.graph, &model.hash, &named.capability)?;
    }
    if arguments.ranges.stats.is_some() || arguments.data.data.is_some() {
        let Quantize { ranges, data, device, .. } = arguments;
        let (stats, method) = super::plan::ranges(model, ranges, data, device, config)?;
        require_ranges(&plan, &Observed { stats: &stats, method }, path)?;
    }
    if plan.calibration.is_none() && plan.nodes.iter().any(|node| node.precision.has_integer_activations()) {
        return Err(Usage::of_file(path, "the plan was made without calibration")
            .help("plan again with --data or --stats")
            .into());
    }
    Ok(plan)
}

/// Refuses a plan whose ranges are not those of the calibration that was given.
fn require_ranges(plan: &Plan, ranges: &dyn Ranges, path: &Path) -> Result<()> {
    for (name, tensor) in plan.tensors.iter().filter(|(_, tensor)| tensor.origin == Origin::Calibrated) {
        let scheme = Scheme { dtype: tensor.dtype, ..Scheme::ACTIVATION_U8 };
        let found = ranges.range(name, scheme)?;
        if found == Some(tensor.range) {
            continue;
        }
        let (low, high) = tensor.range;
        let found = found.map_or_else(|| "no values".to_owned(), |(low, high)| format!("{low} to {high}"));
        return Err(Usage::of_file(
            path,
            format!("the plan was made from other calibration data: expected `{name}` within {low} to {high}, found {found}"),
        )
        .help("plan again with this data")
        .into());
    }
    Ok(())
}

/// The noise that quantization adds to each value, if asked for, worst first.
fn layers(
    arguments: &Quantize,
    model: &Model,
    program: &fewbit_core::ir::Graph,
    config: &Config,
) -> Result<Vec<LayerSqnr>> {
    let Some(samples) = arguments.layers else { return Ok(Vec::new()) };
    let device = devices::open(&arguments.device, config)?;
    let threads = devices::threads(&arguments.device, config);
    let dataset = super::dataset(&arguments.data, &model::input_specs(&model.graph), config)?;
    let mut layers = sqnr::per_layer(&model.graph, program, device.as_ref(), threads, &dataset, samples)?;
    layers.sort_by(|a, b| a.sqnr_db.total_cmp(&b.sqnr_db));
    Ok(layers)
}

fn render(plan: &Plan, document: &Document) -> String {
    let mut text = fewbit_report::plan(plan);
    text.push_str(&format!(
        "\n{:.2} MB became {:.2} MB in {:.1} s{}\nwritten to {}, the plan to {}",
        document.float_bytes as f64 / 1e6,
        document.bytes as f64 / 1e6,
        document.seconds,
        document
            .peak_memory_bytes
            .map(|bytes| format!(", peak memory {:.0} MB", bytes as f64 / 1e6))
            .unwrap_or_default(),
        document.output.display(),
        document.plan.display(),
    ));
    if let Some(interface) = &document.interface {
        for (verb, ports) in [("takes", &interface.inputs), ("gives", &interface.outputs)] {
            for port in ports {
                text.push_str(&format!("\n{verb} {}", described(port)));
            }
        }
    }
    if !document.layers.is_empty() {
        let rows =
            document.layers.iter().map(|layer| vec![layer.value.clone(), format!("{:.1}", layer.sqnr_db)]);
        text.push_str("\n\n");
        text.push_str(&fewbit_report::table(&["value", "SQNR dB"], rows));
    }
    text
}

/// An input or output of a TFLite file in words.
fn described(port: &Port) -> String {
    let extents: Vec<String> = port.extents.iter().map(ToString::to_string).collect();
    let mut text = format!("{}: {} [{}]", port.name, port.dtype, extents.join(", "));
    if port.channels_last {
        text.push_str(", channels last");
    }
    if let Some((scale, zero)) = port.quant {
        text.push_str(&format!(", number = {scale} * (code - {zero})"));
    }
    text
}
