//! From a model, a target and ranges to a plan: what check, plan and quantize share.

use anyhow::{Context, Result};
use fewbit_calibrate::observe::{CalibrationStats, Method};
use fewbit_core::backend::Device;
use fewbit_core::capability::{Capability, Reason, Support, reasons};
use fewbit_core::lower::lower;
use fewbit_core::plan::{Plan, Precision, Strategy};
use fewbit_core::planner::{self, Island, Request, plan};
use fewbit_core::quant::weights::WeightRule;
use fewbit_core::quant::{Ranges, Scheme};
use fewbit_core::{CoreError, CoreErrorKind, target};
use std::sync::Arc;

use crate::args::DeviceArguments;
use crate::config::Config;
use crate::devices;
use crate::figures::{Latencies, Measured};
use crate::model::Model;

/// A target, with the device itself where it is attached.
pub(crate) struct Target {
    pub(crate) capability: Capability,
    pub(crate) device: Option<Arc<dyn Device>>,
}

impl Target {
    /// The target of that name: an attached backend's device, a built-in description, or a file. Without a name, the
    /// device that models run on here.
    pub(crate) fn open(name: Option<&str>, config: &Config) -> Result<Self> {
        let attached = |device: Arc<dyn Device>| -> Result<Self> {
            Ok(Self { capability: device.capabilities()?, device: Some(device) })
        };
        let Some(name) = name else {
            return attached(devices::open(&DeviceArguments { backend: None, threads: None }, config)?);
        };
        if let Some(device) = devices::attached(name, config)? {
            return attached(device);
        }
        Ok(Self { capability: target::open(name)?, device: None })
    }
}

/// Ranges as calibration saw them, by one method.
pub(crate) struct Observed<'a> {
    pub(crate) stats: &'a CalibrationStats,
    pub(crate) method: Method,
}

impl Ranges for Observed<'_> {
    fn range(&self, value: &str, scheme: Scheme) -> fewbit_core::error::Result<Option<(f32, f32)>> {
        let Some(observer) = self.stats.values.get(value) else { return Ok(None) };
        let range = self
            .method
            .range(observer, scheme)
            .map_err(|error| CoreError::new(CoreErrorKind::Quantization, error.to_string()).at(value))?;
        Ok(Some(range))
    }

    fn channel_means(&self, value: &str) -> Option<Vec<f32>> {
        self.stats.values.get(value)?.channel_means()
    }

    fn origin(&self) -> String {
        format!("{} over {} samples", self.method, self.stats.samples)
    }
}

/// Ranges that stand for any: enough to ask a device about the forms of a program.
struct AnyRange;

impl Ranges for AnyRange {
    fn range(&self, _: &str, _: Scheme) -> fewbit_core::error::Result<Option<(f32, f32)>> {
        Ok(Some((-1.0, 1.0)))
    }

    fn channel_means(&self, _: &str) -> Option<Vec<f32>> {
        None
    }

    fn origin(&self) -> String {
        "any".to_owned()
    }
}

/// What is asked of a plan.
#[derive(Clone, Copy)]
pub(crate) struct Wish<'a> {
    pub(crate) strategy: Strategy,
    pub(crate) pins: &'a [(String, Precision)],
}

/// The planner's request for a wish, without a goal.
pub(crate) fn request<'a>(
    model: &'a Model,
    target: &'a Capability,
    wish: &Wish<'a>,
    ranges: Option<&'a dyn Ranges>,
) -> Request<'a> {
    Request {
        graph: &model.graph,
        hash: &model.hash,
        target,
        strategy: wish.strategy,
        pins: wish.pins,
        ranges,
        goal: None,
        figures: None,
        also: &[],
        // At 8 bits the largest magnitude is as good as the least error (EfficientNet-Lite0: 23.3 dB either way), and is
        // what other runtimes expect.
        weight_rule: WeightRule::AbsMax,
        bias_correction: true,
    }
}

/// Makes the plan, and checks it before anyone relies on it.
pub(crate) fn make(
    model: &Model,
    target: &Capability,
    wish: &Wish<'_>,
    ranges: Option<&dyn Ranges>,
) -> Result<Plan> {
    let plan = plan(&request(model, target, wish, ranges))?;
    fewbit_core::plan::verify(&plan, &model.graph, &model.hash, target)
        .context("the planner made a plan that its own check refuses")?;
    Ok(plan)
}

/// What check says of a plan beside its nodes.
pub(crate) struct Prediction {
    pub(crate) plan: Plan,
    /// Connected groups of integer nodes, each against float.
    pub(crate) islands: Vec<Island>,
}

/// The plan with its latency measured node by node where the target is attached, else modelled.
pub(crate) fn predict(model: &Model, target: &Target, wish: &Wish<'_>, threads: usize) -> Result<Prediction> {
    let plan = make(model, &target.capability, wish, None)?;
    let mut measured = None;
    if let Some(device) = target.device.as_ref().filter(|_| plan.deployable && model.is_float()) {
        let base = make(model, &target.capability, wish, Some(&AnyRange))?.choices();
        let allowed = planner::allowed(&request(model, &target.capability, wish, Some(&AnyRange)))?;
        let latencies = Latencies::measure(model, device.as_ref(), threads, &base, &allowed)?;
        measured = Some(Measured::new(Some(latencies), None, &base));
    }
    let mut request = request(model, &target.capability, wish, None);
    request.figures = measured.as_ref().map(|measured| measured as &dyn planner::Figures);
    let plan = if measured.is_some() { planner::plan(&request)? } else { plan };
    let islands = planner::islands(&request, &plan);
    Ok(Prediction { plan, islands })
}

/// Nodes that the attached device runs worse than its document says, with why: the document and the device must agree,
/// and where they do not, the device is right.
pub(crate) fn disagreements(
    model: &Model,
    target: &Target,
    wish: &Wish<'_>,
) -> Result<Vec<(String, Support, Reason)>> {
    let Some(device) = &target.device else { return Ok(Vec::new()) };
    if !model.is_float() {
        return judge(&model.graph, device.as_ref(), |_| Some(Support::Native));
    }
    let plan = make(model, &target.capability, wish, Some(&AnyRange))?;
    if !plan.deployable {
        return Ok(Vec::new());
    }
    let program = lower(&model.graph, &plan.choices())?;
    judge(&program, device.as_ref(), |node| plan.assignment(node).map(|assignment| assignment.support))
}

/// Asks the device about every node of `program` of which `promised` knows a better verdict.
fn judge(
    program: &fewbit_core::ir::Graph,
    device: &dyn Device,
    promised: impl Fn(&str) -> Option<Support>,
) -> Result<Vec<(String, Support, Reason)>> {
    let verdicts = device.supports(program)?;
    Ok(program
        .nodes()
        .zip(verdicts)
        .filter_map(|((_, node), verdict)| {
            let promised = promised(&node.name)?;
            if verdict.support >= promised {
                return None;
            }
            let why: Vec<String> = verdict.reasons.iter().map(|reason| reason.message.clone()).collect();
            let reason = Reason {
                code: reasons::LIVE.into(),
                rule: verdict.rule.clone(),
                message: why.join("; "),
                fix: None,
            };
            Some((node.name.clone(), verdict.support, reason))
        })
        .collect())
}
