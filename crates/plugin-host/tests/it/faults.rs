//! Plugins with one defect each: the host survives all of them and says what it saw.

use std::collections::BTreeMap;
use std::time::Duration;

use fewbit_core::backend::{Backend, CompileOptions};
use fewbit_core::ir::{Activation, ConvAttributes, DType, Graph, Node, Op, Shape, Tensor};
use fewbit_core::quant::QuantParams;
use fewbit_core::reference::Interpreter;
use fewbit_plugin_host::{Check, Manifest, Observed, PluginBackend, WorkerOptions, observe};
use fewbit_testing::skip;

use crate::isolated;

/// A convolution of codes, 3x3 with padding, 5 channels to 7.
pub(crate) fn convolution() -> Graph {
    let mut graph = Graph::new("convolution");
    let x = graph.add_input("x", DType::U8, Shape::fixed(&[1, 5, 6, 7]));
    graph.value_mut(x).quant = Some(QuantParams::per_tensor(0.02, 131));
    let codes: Vec<i8> = (0..7 * 5 * 9).map(|at| ((at * 37 + 11) % 255 - 127) as i8).collect();
    let weights = graph.add_constant("w", Tensor::from_slice(&[7, 5, 3, 3], &codes).unwrap());
    let scales = (0..7).map(|channel| 0.003 + channel as f32 * 0.001).collect();
    graph.value_mut(weights).quant = Some(QuantParams::symmetric_per_channel(0, scales));
    let bias: Vec<i32> = (0..7).map(|channel| channel * 500 - 900).collect();
    let bias = graph.add_constant("b", Tensor::from_slice(&[7], &bias).unwrap());
    let y = graph.add_value("y", Some(DType::I8), Some(Shape::fixed(&[1, 7, 6, 7])));
    graph.value_mut(y).quant = Some(QuantParams::per_tensor(0.06, -5));
    let conv = ConvAttributes { pads: vec![1; 4], ..ConvAttributes::unit(&[3, 3]) };
    graph.add_node(Node {
        name: "conv".to_owned(),
        op: Op::Conv { conv, activation: Activation::None },
        inputs: vec![Some(x), Some(weights), Some(bias)],
        outputs: vec![y],
        precision: None,
    });
    graph.outputs.push(y);
    graph
}

/// A picture of codes that differ.
pub(crate) fn picture(extents: &[usize]) -> Tensor {
    let codes: Vec<u8> = (0..extents.iter().product::<usize>()).map(|at| (at * 61 % 256) as u8).collect();
    Tensor::from_slice(extents, &codes).unwrap()
}

/// Loads a plugin in a worker, compiles, runs twice and compares: what a person would be told.
fn verdict(manifest: &Manifest) -> String {
    let mut options = isolated();
    options.worker =
        options.worker.map(|worker| WorkerOptions::with_timeout(worker, Duration::from_millis(1500)));
    let backend = match PluginBackend::load(manifest, &options) {
        Ok(backend) => backend,
        Err(error) => {
            let stage = error.stage().map(|stage| format!(" in {stage}")).unwrap_or_default();
            return format!("load: {}{stage}", error.code());
        }
    };
    let code = |text: String| {
        let code =
            text.split(['(', ')', ' ']).find(|word| word.starts_with("PLUG-")).unwrap_or("?").to_owned();
        let stage =
            text.rsplit(" in ").next().and_then(|rest| rest.split(' ').next()).unwrap_or("?").to_owned();
        format!("{code} in {stage}")
    };
    let Some(device) = backend.devices().unwrap().into_iter().next() else { return "no device".to_owned() };
    let graph = convolution();
    let supported = match device.supports(&graph) {
        Ok(verdicts) => verdicts[0].is_supported(),
        Err(error) => return format!("supports: {}", code(error.to_string())),
    };
    if !supported {
        return "refuses".to_owned();
    }
    let executable = match device.compile(&graph, &CompileOptions::threads(1)) {
        Ok(executable) => executable,
        Err(error) => return format!("compile: {}", code(error.to_string())),
    };
    let input = picture(&[1, 5, 6, 7]);
    let expected = Interpreter::new(&graph).unwrap().run(std::slice::from_ref(&input)).unwrap();
    let mut context = executable.context().unwrap();
    let mut outputs = vec![Tensor::zeros(DType::I8, &[1, 7, 6, 7]).unwrap()];
    for _ in 0..6 {
        if let Err(error) = context.run(std::slice::from_ref(&input), &mut outputs) {
            return format!("run: {}", code(error.to_string()));
        }
        if outputs != expected {
            return "runs, another result".to_owned();
        }
    }
    let checks = [
        Check::QueryIsPure,
        Check::StableCapabilities,
        Check::FreeNothing,
        Check::NoProgram,
        Check::Refusal,
        Check::ShortBuffers,
        Check::Environment,
    ];
    let blemish =
        checks.into_iter().find_map(|check| match observe(manifest, &options, check, Some(&graph)) {
            Ok(Observed::Passed | Observed::Absent) => None,
            Ok(Observed::Failed(_)) => Some(format!("runs, but fails {check:?}")),
            Err(error) => Some(format!("runs, but {check:?} ends in {}", error.code())),
        });
    blemish.unwrap_or_else(|| "runs".to_owned())
}

#[test]
fn every_defect_gets_its_verdict_and_the_host_lives_on() {
    let mut verdicts = BTreeMap::new();
    for name in fewbit_testing::faults() {
        let Some(path) = fewbit_testing::plugin(&format!("faulty-{name}")) else { continue };
        verdicts.insert(
            name,
            Manifest::read(&path).map_or_else(|e| format!("manifest: {}", e.code()), |m| verdict(&m)),
        );
    }
    if verdicts.is_empty() {
        skip!("no faulty plugin was built");
    }
    let text: String = verdicts.iter().map(|(name, verdict)| format!("{name:26} {verdict}\n")).collect();
    insta::assert_snapshot!(text);
}
