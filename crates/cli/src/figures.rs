//! What was measured of a model on this machine, as the planner asks for it: latencies from the attached device (cached
//! per device and build), noise from the sensitivity document.

use anyhow::Result;
use fewbit_calibrate::sensitivity::Sensitivity;
use fewbit_core::backend::Device;
use fewbit_core::ir::DType;
use fewbit_core::lower::{Choices, lower};
use fewbit_core::plan::{BoundaryKind, Precision};
use fewbit_core::planner::{Allowed, Figures};
use fewbit_core::quant::QuantParams;
use fewbit_runtime::times::{conversion_times, program_times};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::{cache, progress};

/// Runs of each program that are measured.
const ITERATIONS: usize = 25;

/// Latencies of one model on one device.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Latencies {
    /// The processor that was measured.
    processor: String,
    /// Microseconds of each node at each precision.
    nodes: IndexMap<String, IndexMap<Precision, f64>>,
    /// Microseconds of quantizing and dequantizing, by the number of elements.
    conversions: IndexMap<usize, (f64, f64)>,
}

impl Latencies {
    /// Measures every precision that a node may have, all nodes that may have it together; cached.
    pub(crate) fn measure(
        model: &Model,
        device: &dyn Device,
        threads: usize,
        base: &Choices,
        allowed: &IndexMap<String, Vec<Allowed>>,
    ) -> Result<Self> {
        let info = device.info();
        let processor = info.id.clone();
        let base_json = format!("{:?} {:?}", base.precisions, base.activations);
        let allowed_text = format!("{allowed:?}");
        let parts: [&str; 8] = [
            &cache::build(),
            &info.id,
            &info.title,
            &info.detail,
            &threads.to_string(),
            &model.hash,
            &base_json,
            &allowed_text,
        ];
        let file = cache::file("latency", &parts);
        let cached = file.as_ref().and_then(|file| std::fs::read(file).ok());
        if let Some(known) = cached.and_then(|bytes| serde_json::from_slice(&bytes).ok()) {
            return Ok(known);
        }
        let mut precisions: Vec<Precision> = Vec::new();
        for option in allowed.values().flatten().filter(|option| option.processor == processor) {
            if !precisions.contains(&option.precision) {
                precisions.push(option.precision);
            }
        }
        let mut this = Self { processor, ..Self::default() };
        let bar = progress::bar("latency", precisions.len());
        for precision in precisions {
            let choices = everywhere(model, base, allowed, precision);
            let program = lower(&model.graph, &choices)?;
            let times = program_times(&program, device, threads, ITERATIONS)?;
            // What a run takes beyond its steps is spread over the nodes.
            let share = times.overhead_us() / model.graph.node_count().max(1) as f64;
            for (name, chosen) in &choices.precisions {
                if *chosen == precision {
                    let us = times.node(name).unwrap_or(0.0) + share;
                    this.nodes.entry(name.clone()).or_default().insert(precision, us);
                }
            }
            bar.inc(1);
        }
        bar.finish_and_clear();
        for id in model.graph.value_ids() {
            let value = model.graph.value(id);
            let Some(extents) = value.extents().filter(|_| value.constant.is_none()) else { continue };
            let elements = extents.iter().product();
            if value.dtype == Some(DType::F32) && elements > 0 && !this.conversions.contains_key(&elements) {
                let times = conversion_times(DType::U8, &extents, device, threads, ITERATIONS)?;
                this.conversions.insert(elements, times);
            }
        }
        if let Some(file) = file {
            drop(crate::files::write(&file, &serde_json::to_vec(&this)?));
        }
        Ok(this)
    }
}

/// The base with every node at `precision` that may have it; where activations are float, the others are too.
///
/// The base knows parameters only of values that it quantizes. Times do not depend on them, so here every value has the
/// same.
fn everywhere(
    model: &Model,
    base: &Choices,
    allowed: &IndexMap<String, Vec<Allowed>>,
    precision: Precision,
) -> Choices {
    let mut choices = base.clone();
    let dtype = base.activations.values().next().map_or(DType::U8, |(dtype, _)| *dtype);
    let params = QuantParams::per_tensor(1.0 / 32.0, if dtype == DType::U8 { 128 } else { 0 });
    for id in model.graph.value_ids() {
        let value = model.graph.value(id);
        if value.dtype == Some(DType::F32) && value.constant.is_none() {
            choices.activations.insert(value.name.clone(), (dtype, params.clone()));
        }
    }
    for (name, options) in allowed {
        let chosen = if options.iter().any(|option| option.precision == precision) {
            precision
        } else if precision.has_integer_activations() {
            base.precisions.get(name).copied().unwrap_or(Precision::F32)
        } else {
            Precision::F32
        };
        choices.precisions.insert(name.clone(), chosen);
    }
    choices
}

/// Everything measured, as the planner asks for it.
pub(crate) struct Measured {
    pub(crate) latencies: Option<Latencies>,
    pub(crate) sensitivity: Option<Sensitivity>,
    /// By what the noise of single nodes is multiplied so that the base's adds up to what was measured of the base.
    scale: f64,
}

impl Measured {
    pub(crate) fn new(
        latencies: Option<Latencies>,
        sensitivity: Option<Sensitivity>,
        base: &Choices,
    ) -> Self {
        let scale = sensitivity.as_ref().map_or(1.0, |sensitivity| {
            let noise = |(name, precision): (&String, &Precision)| sensitivity.noise(name, *precision);
            let sum: f64 = base.precisions.iter().filter_map(noise).sum();
            if sum > 0.0 { sensitivity.base.noise / sum } else { 1.0 }
        });
        Self { latencies, sensitivity, scale }
    }
}

impl Figures for Measured {
    fn latency_us(&self, processor: &str, node: &str, precision: Precision) -> Option<f64> {
        let latencies = self.latencies.as_ref().filter(|latencies| latencies.processor == processor)?;
        latencies.nodes.get(node)?.get(&precision).copied()
    }

    fn boundary_us(&self, processor: &str, kind: BoundaryKind, codes: DType, elements: usize) -> Option<f64> {
        let latencies = self.latencies.as_ref().filter(|latencies| latencies.processor == processor)?;
        if codes.bits() != 8 {
            return None;
        }
        let (quantize, dequantize) = latencies.conversions.get(&elements)?;
        match kind {
            BoundaryKind::Quantize => Some(*quantize),
            BoundaryKind::Dequantize => Some(*dequantize),
            BoundaryKind::Copy => None,
        }
    }

    fn noise(&self, node: &str, precision: Precision) -> Option<f64> {
        let noise = self.sensitivity.as_ref()?.noise(node, precision)?;
        Some(noise * self.scale)
    }

    fn origin(&self) -> String {
        let latency = match &self.latencies {
            Some(latencies) => format!("latency measured on {}", latencies.processor),
            None => "latency by the target's figures".to_owned(),
        };
        let noise = match &self.sensitivity {
            Some(sensitivity) if sensitivity.samples > 0 => {
                format!("noise measured over {} samples", sensitivity.samples)
            }
            Some(_) => "noise estimated".to_owned(),
            None => "noise not known".to_owned(),
        };
        format!("{latency}, {noise}")
    }
}
