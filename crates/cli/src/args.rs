//! The command line, as clap parses it.

use std::path::PathBuf;

use crate::commands::plugins_new::Language;
use clap::{Args, Parser, Subcommand, ValueEnum};
use fewbit_calibrate::dataset::Preprocess;
use fewbit_calibrate::observe::Method;
use fewbit_core::plan::{Axis, Precision, Strategy};

/// Says what a model will do on a device before deployment, quantizes it for the device, and runs it exactly.
#[derive(Debug, Parser)]
#[command(name = "fewbit", version, arg_required_else_help = true, max_term_width = 100)]
pub(crate) struct Arguments {
    /// Form of the output on stdout.
    #[arg(long, global = true, value_enum, default_value_t = Format::Text)]
    pub(crate) format: Format,
    #[command(flatten)]
    pub(crate) plugins: PluginArguments,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which plugins there are and how they run.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Plugins")]
pub(crate) struct PluginArguments {
    /// Manifest of a backend plugin (NAME.backend.toml). May be repeated.
    #[arg(long, global = true, value_name = "MANIFEST")]
    pub(crate) plugin: Vec<PathBuf>,
    /// Folder of plugins. May be repeated.
    #[arg(long, global = true, value_name = "FOLDER")]
    pub(crate) plugin_dir: Vec<PathBuf>,
    /// Run plugins inside this process instead of one of their own: faster, and as trusted as this program.
    #[arg(long, global = true)]
    pub(crate) in_process: bool,
    /// Load libraries that are not the ones their manifests were written for: while a plugin is developed.
    #[arg(long, global = true)]
    pub(crate) dev: bool,
}

/// Form of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// Tables for people.
    Text,
    /// One JSON object for scripts.
    Json,
    /// SARIF 2.1.0 for code hosts and editors; `check` only.
    Sarif,
    /// JUnit XML for continuous integration; `check` only.
    Junit,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows a model: operators, shapes, sizes and cost.
    Inspect(Inspect),
    /// Lists the device descriptions, or shows one.
    Targets(Targets),
    /// Lists the backends of this machine, and why others are absent.
    Backends,
    /// Lists backend plugins, tries them, and begins new ones.
    #[command(subcommand)]
    Plugins(Plugins),
    /// Says what of a model runs natively on a target, what does not, and why. Exit code 1 if it cannot be deployed.
    Check(Check),
    /// Runs a float model over data and writes what values it saw.
    Calibrate(Calibrate),
    /// Decides the precision of every node for a target, with a reason for each.
    Plan(Plan),
    /// Shows what differs between two plans (also `plan diff`). Exit code 1 if anything does.
    PlanDiff(PlanDiff),
    /// Quantizes a float model for a target.
    Quantize(Quantize),
    /// Runs a model on given inputs.
    Run(Run),
    /// Measures accuracy, and agreement with the float model. Exit code 1 below the threshold.
    Eval(Eval),
    /// Measures the time of one inference; several models are measured in turns, side by side.
    Bench(Bench),
    /// Runs every strategy side by side: size, latency, energy, memory and accuracy; as a table, JSON or a page.
    Compare(Compare),
    /// Explains a code that a message or a reason carries.
    Explain(Explain),
}

/// The model and its shapes.
#[derive(Debug, Clone, Args)]
pub(crate) struct ModelArguments {
    /// ONNX model.
    pub(crate) model: PathBuf,
    #[command(flatten)]
    pub(crate) shapes: ShapeArguments,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ShapeArguments {
    /// Fixes the free dimensions of an input: NAME=1,3,224,224. May be repeated.
    #[arg(long, value_name = "NAME=D,D,…")]
    pub(crate) shape: Vec<String>,
    /// Sets an input to a number, once for all: it becomes a constant. May be repeated.
    #[arg(long, value_name = "NAME=NUMBER")]
    pub(crate) set: Vec<String>,
}

/// The data and what happens to pictures.
#[derive(Debug, Clone, Args)]
pub(crate) struct DataArguments {
    /// Folder of images (with labels.csv), .npz, .npy, or folder of .npy files named after the inputs.
    #[arg(long)]
    pub(crate) data: Option<PathBuf>,
    /// What happens to pictures: resize=256,crop=224,mean=127.5,std=127.5,layout=nchw,channels=rgb.
    #[arg(long, value_name = "KEY=VALUE,…")]
    pub(crate) preprocess: Option<Preprocess>,
    /// Use at most this many samples.
    #[arg(long, value_name = "N")]
    pub(crate) samples: Option<usize>,
}

/// Where to run.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeviceArguments {
    /// Backend that runs the model; several, joined by +, share it: each node runs on the first that has it natively.
    #[arg(long, value_name = "NAME[+NAME…]")]
    pub(crate) backend: Option<String>,
    /// Threads of one run (default: all processors).
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
}

/// How precise the plan may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StrategyArgument {
    F32,
    F16,
    #[value(name = "w8a8-dynamic")]
    W8a8Dynamic,
    W8a8,
    /// Each node its own: see --minimize and the limits.
    Mixed,
}

impl From<StrategyArgument> for Strategy {
    fn from(argument: StrategyArgument) -> Self {
        match argument {
            StrategyArgument::F32 => Strategy::F32,
            StrategyArgument::F16 => Strategy::F16,
            StrategyArgument::W8a8Dynamic => Strategy::W8A8Dynamic,
            StrategyArgument::W8a8 => Strategy::W8A8,
            StrategyArgument::Mixed => Strategy::Mixed,
        }
    }
}

/// What to do about plugins.
#[derive(Debug, Subcommand)]
pub(crate) enum Plugins {
    /// Lists the plugins that are found and what is wrong with others. Exit code 1 if anything is.
    List,
    /// Loads one plugin in a process of its own and shows its devices. Exit code 1 if it cannot be used.
    Probe {
        /// Its id, the last part of it, or a manifest.
        name: String,
    },
    /// Lets a plugin run inside this process from now on, because a report shows that exactly its library conforms.
    Trust {
        /// Its id, the last part of it, or a manifest.
        name: String,
        /// The folder of a passing report of `conformance`, which is verified; a whole profile.
        #[arg(required_unless_present = "forget")]
        report: Option<PathBuf>,
        /// Take the trust back: the plugin runs in a process of its own again.
        #[arg(long, conflicts_with = "report")]
        forget: bool,
    },
    /// Writes a working plugin to start from, with everything that building it needs.
    New {
        /// What it is called: lower-case letters, digits and hyphens.
        name: String,
        /// What it is written in.
        #[arg(long, value_enum)]
        lang: Language,
        /// The folder, which must be empty or not there yet (default: the name).
        #[arg(long, short, value_name = "FOLDER")]
        output: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Inspect {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    /// Show the model as it is after the passes, one line a node.
    #[arg(long)]
    pub(crate) graph: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Targets {
    /// Target to show: a name, or a file.
    pub(crate) name: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Check {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    /// Target: a name (see `fewbit targets` and `fewbit backends`), names joined by +, or a file. May be repeated.
    #[arg(long, short)]
    pub(crate) target: Vec<String>,
    /// Precision to aim for.
    #[arg(long, value_enum, default_value_t = StrategyArgument::W8a8)]
    pub(crate) strategy: StrategyArgument,
    /// Threads of one inference on an attached device, whose latency is measured (default: all processors).
    #[arg(long, value_name = "N")]
    pub(crate) threads: Option<usize>,
    /// List every node, not only those that do not run natively.
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, Args)]
pub(crate) struct Calibrate {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) data: DataArguments,
    #[command(flatten)]
    pub(crate) device: DeviceArguments,
    /// File for the statistics.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
}

/// Where ranges come from.
#[derive(Debug, Clone, Args)]
pub(crate) struct RangeArguments {
    /// Statistics written by `fewbit calibrate`.
    #[arg(long, conflicts_with = "data")]
    pub(crate) stats: Option<PathBuf>,
    /// How ranges follow from what was seen: min-max, moving-average, percentile=99.99, mse or entropy.
    #[arg(long, value_name = "METHOD")]
    pub(crate) ranges: Option<Method>,
}

/// What a plan is asked for.
#[derive(Debug, Clone, Args)]
pub(crate) struct PlanArguments {
    /// Target: a name (see `fewbit targets` and `fewbit backends`), names joined by +, or a file. `plan` takes several.
    #[arg(long, short)]
    pub(crate) target: Vec<String>,
    /// Precision to aim for.
    #[arg(long, value_enum, default_value_t = StrategyArgument::W8a8)]
    pub(crate) strategy: StrategyArgument,
    /// Keeps a node at a precision: NODE=PRECISION. May be repeated.
    #[arg(long, value_name = "NODE=PRECISION", value_parser = pin)]
    pub(crate) pin: Vec<(String, Precision)>,
    #[command(flatten)]
    pub(crate) goal: GoalArguments,
}

/// What a mixed plan is to reach; any of these asks for one.
#[derive(Debug, Clone, Args)]
pub(crate) struct GoalArguments {
    /// What to make as small as it can be: latency, energy, size or error.
    #[arg(long, value_name = "AXIS")]
    pub(crate) minimize: Option<Axis>,
    /// Largest latency of one inference.
    #[arg(long, value_name = "MS")]
    pub(crate) max_latency_ms: Option<f64>,
    /// Largest energy of one inference.
    #[arg(long, value_name = "MJ")]
    pub(crate) max_energy_mj: Option<f64>,
    /// Largest size of the constants: bytes, kB, MB, or a share of the w8a8 model such as 70%.
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<Size>,
    /// Smallest predicted ratio of signal to noise at the outputs.
    #[arg(long, value_name = "DB")]
    pub(crate) min_sqnr_db: Option<f64>,
    /// Largest loss of top-1 accuracy against the float model, in points, measured on --gate-data.
    #[arg(long, value_name = "POINTS")]
    pub(crate) max_drop: Option<f64>,
    /// Smallest agreement with the float model, in percent, measured on --gate-data.
    #[arg(long, value_name = "PERCENT")]
    pub(crate) min_agreement: Option<f64>,
    /// Data on which candidate plans are measured (default: --data); preprocessed as --data is.
    #[arg(long, value_name = "DATA")]
    pub(crate) gate_data: Option<PathBuf>,
    /// Precisions that nodes may have.
    #[arg(long, value_name = "PRECISION,…", value_delimiter = ',')]
    pub(crate) candidates: Vec<Precision>,
    /// Plans that are measured before the best is taken.
    #[arg(long, value_name = "N", default_value_t = PLANS)]
    pub(crate) plans: usize,
    /// Samples on which the sensitivity of nodes is measured; 0 estimates it without running anything.
    #[arg(long, value_name = "N", default_value_t = SENSITIVITY_SAMPLES)]
    pub(crate) sensitivity_samples: usize,
    /// File for the sensitivity of nodes: read if it is there, else written (default: the cache).
    #[arg(long, value_name = "FILE")]
    pub(crate) sensitivity: Option<PathBuf>,
}

impl Default for GoalArguments {
    fn default() -> Self {
        Self {
            minimize: None,
            max_latency_ms: None,
            max_energy_mj: None,
            max_size: None,
            min_sqnr_db: None,
            max_drop: None,
            min_agreement: None,
            gate_data: None,
            candidates: Vec::new(),
            plans: PLANS,
            sensitivity_samples: SENSITIVITY_SAMPLES,
            sensitivity: None,
        }
    }
}

/// Plans that are measured where nobody says how many.
const PLANS: usize = 3;
/// Samples for sensitivity where nobody says how many.
const SENSITIVITY_SAMPLES: usize = 32;

impl GoalArguments {
    /// Whether any of them was given.
    pub(crate) fn asks(&self) -> bool {
        self.minimize.is_some()
            || self.max_latency_ms.is_some()
            || self.max_energy_mj.is_some()
            || self.max_size.is_some()
            || self.min_sqnr_db.is_some()
            || self.max_drop.is_some()
            || self.min_agreement.is_some()
            || !self.candidates.is_empty()
    }
}

/// A size on the command line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Size {
    Bytes(f64),
    /// A share of the w8a8 model's, 0 to 1.
    Share(f64),
}

impl std::str::FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let units = [("%", 0.01), ("kB", 1e3), ("MB", 1e6), ("KiB", 1024.0), ("MiB", 1_048_576.0), ("", 1.0)];
        let read = units.iter().find_map(|&(unit, factor)| {
            let number: f64 = text.strip_suffix(unit)?.trim().parse().ok()?;
            (number.is_finite() && number > 0.0).then_some((unit, number * factor))
        });
        match read {
            Some(("%", share)) => Ok(Size::Share(share)),
            Some((_, bytes)) => Ok(Size::Bytes(bytes)),
            None => Err(format!("expected bytes, 800kB, 2.5MB or 70%, found `{text}`")),
        }
    }
}

fn pin(text: &str) -> Result<(String, Precision), String> {
    let (node, precision) =
        text.rsplit_once('=').ok_or_else(|| format!("expected NODE=PRECISION, found `{text}`"))?;
    Ok((node.to_owned(), precision.parse().map_err(|error| format!("{error}"))?))
}

#[derive(Debug, Args)]
pub(crate) struct PlanDiff {
    /// The older plan.
    pub(crate) old: PathBuf,
    /// The newer plan.
    pub(crate) new: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Plan {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) wish: PlanArguments,
    #[command(flatten)]
    pub(crate) ranges: RangeArguments,
    #[command(flatten)]
    pub(crate) data: DataArguments,
    #[command(flatten)]
    pub(crate) device: DeviceArguments,
    /// The front between what is minimised and this axis; one plan a point, measured where there is data.
    #[arg(long, value_name = "AXIS", num_args = 0..=1, default_missing_value = "size")]
    pub(crate) pareto: Option<Axis>,
    /// Points of the front.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub(crate) steps: usize,
    /// File for the plan; of a front, its points are numbered.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Quantize {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) wish: PlanArguments,
    #[command(flatten)]
    pub(crate) ranges: RangeArguments,
    #[command(flatten)]
    pub(crate) data: DataArguments,
    #[command(flatten)]
    pub(crate) device: DeviceArguments,
    /// Plan written by `fewbit plan`. Data or statistics are not needed then; where they are given, the plan is refused
    /// if its ranges do not follow from them.
    #[arg(long = "plan", conflicts_with = "pin", value_name = "PLAN")]
    pub(crate) plan_file: Option<PathBuf>,
    /// Report the noise that quantization adds to each value, over this many samples.
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "16")]
    pub(crate) layers: Option<usize>,
    /// File for the quantized model (.onnx); the plan is written beside it.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Run {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) device: DeviceArguments,
    /// Plan by which the model was quantized: each node runs on the processor that it names.
    #[arg(long, value_name = "PLAN", requires = "backend")]
    pub(crate) plan: Option<PathBuf>,
    /// Array for an input: NAME=FILE.npy. May be repeated.
    #[arg(long, short, value_name = "NAME=FILE.npy")]
    pub(crate) input: Vec<String>,
    /// Folder for the outputs, one NAME.npy each.
    #[arg(long, short)]
    pub(crate) output: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct Eval {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    #[command(flatten)]
    pub(crate) data: DataArguments,
    #[command(flatten)]
    pub(crate) device: DeviceArguments,
    /// Float model that this one was made from.
    #[arg(long, value_name = "FLOAT_MODEL")]
    pub(crate) reference: Option<PathBuf>,
    /// Largest loss of top-1 accuracy against the reference, in points; above it the exit code is 1.
    #[arg(long, value_name = "POINTS", requires = "reference")]
    pub(crate) max_drop: Option<f64>,
    /// Smallest agreement with the reference, in percent; below it the exit code is 1.
    #[arg(long, value_name = "PERCENT", requires = "reference")]
    pub(crate) min_agreement: Option<f64>,
    /// Writes the first output of every sample, as real numbers, one row each.
    #[arg(long, value_name = "FILE.npy")]
    pub(crate) outputs: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// ONNX models, float or quantized.
    #[arg(required = true)]
    pub(crate) models: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) shapes: ShapeArguments,
    #[command(flatten)]
    pub(crate) device: DeviceArguments,
    /// Time of every node.
    #[arg(long)]
    pub(crate) profile: bool,
    /// Runs of each model that are measured.
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(crate) iterations: usize,
}

#[derive(Debug, Args)]
pub(crate) struct Compare {
    #[command(flatten)]
    pub(crate) model: ModelArguments,
    /// Target: a name (see `fewbit targets`) or a file.
    #[arg(long, short)]
    pub(crate) target: Option<String>,
    #[command(flatten)]
    pub(crate) ranges: RangeArguments,
    #[command(flatten)]
    pub(crate) data: DataArguments,
    #[command(flatten)]
    pub(crate) device: DeviceArguments,
    /// Data on which accuracy is measured (default: --data); preprocessed as --data is.
    #[arg(long, value_name = "DATA")]
    pub(crate) gate_data: Option<PathBuf>,
    /// Sizes of mixed plans, as shares of the w8a8 model's.
    #[arg(long, value_name = "SIZE,…", value_delimiter = ',', default_value = "80%,65%")]
    pub(crate) sizes: Vec<Size>,
    /// Precisions that nodes of mixed plans may have.
    #[arg(long, value_name = "PRECISION,…", value_delimiter = ',')]
    pub(crate) candidates: Vec<Precision>,
    /// Writes the comparison as one HTML page.
    #[arg(long, value_name = "FILE.html")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// Code such as CAP-STRIDE, or a plan's file; without one, all codes are listed.
    pub(crate) code: Option<String>,
    /// Node of the plan; without one, all are explained in a line each.
    #[arg(requires = "code")]
    pub(crate) node: Option<String>,
}
