//! Running cases: stages, time limits, crashes, verdicts.

mod program;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use fewbit_core::backend::Device;

use crate::case::{Action, Case, Problem, Stage, Status};
use crate::compare::Measure;
use crate::error::Result;
use crate::profile::{Duty, Profile};
use crate::random::Random;
use crate::report::Report;
use crate::subject::Subject;
use crate::waiver::Waivers;

pub(crate) use program::{compile, refused_or_broken, run_once, run_program, verdict};

/// Cases that may run out of time before the others are left untested.
const PATIENCE: usize = 10;

/// How one attempt at a case ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Outcome {
    pub status: Status,
    pub stage: Stage,
    pub message: String,
    pub measure: Option<Measure>,
    /// Share of single changes of the expected output that the comparison would notice.
    pub power: Option<f64>,
    /// Figures that are reported and never judged, by name.
    pub figures: Vec<(String, f64)>,
    /// Whether the device's document allows what the case asks.
    pub declared: Option<bool>,
}

impl Outcome {
    pub(crate) fn new(status: Status, stage: Stage, message: impl Into<String>) -> Self {
        let message = message.into();
        Self { status, stage, message, measure: None, power: None, figures: Vec::new(), declared: None }
    }

    pub(crate) fn passed() -> Self {
        Self::new(Status::Passed, Stage::Compare, "")
    }

    pub(crate) fn failed(stage: Stage, message: impl Into<String>) -> Self {
        Self::new(Status::Failed, stage, message)
    }

    /// The kit could not make or judge the case.
    pub(crate) fn defect(error: &dyn std::fmt::Display) -> Self {
        Self::new(Status::Untested, Stage::Init, format!("defect of the kit: {error}"))
    }

    pub(crate) fn not_applicable(message: impl Into<String>) -> Self {
        Self::new(Status::NotApplicable, Stage::Supports, message)
    }
}

/// What a probe works with.
pub(crate) struct Probing<'a> {
    pub subject: &'a Subject,
    stage: &'a AtomicU8,
}

/// The program and inputs of a case that has some.
pub(crate) fn program_of(case: &Case, random: &mut Random) -> Option<Result<Problem>> {
    match &case.action {
        Action::Program(generate) => Some(generate(random)),
        Action::Probe(_) => None,
    }
}

impl Probing<'_> {
    /// The device, or why it cannot be had.
    pub(crate) fn device(&self) -> Result<Arc<dyn Device>, Box<Outcome>> {
        self.subject
            .device()
            .map_err(|error| Box::new(Outcome::new(Status::Untested, Stage::Init, error.to_string())))
    }

    /// Says how far the case is, for the case that nothing comes after it.
    pub(crate) fn enter(&self, stage: Stage) {
        self.stage.store(stage as u8, Ordering::SeqCst);
    }
}

/// One case as it is reported.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CaseResult {
    /// The case's id; its last part is the seed.
    pub id: String,
    /// The operator, or the topic.
    pub operator: String,
    /// The form of quantized values, such as `u8-affine-channel`; empty where there are none.
    pub form: String,
    /// What the profile asks of it.
    pub duty: Duty,
    /// How it ended.
    pub status: Status,
    /// How far it came.
    pub stage: Stage,
    /// Why, where it did not simply pass.
    pub message: String,
    /// The measured deviation and its bound.
    pub measure: Option<Measure>,
    /// Share of single changes of the expected output that the comparison would notice.
    pub power: Option<f64>,
    /// Whether the device's document allows what the case asks.
    pub declared: Option<bool>,
    /// Figures that are reported and never judged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub figures: Vec<(String, f64)>,
    /// Microseconds from first to last stage.
    pub micros: u64,
    /// The command that runs it alone.
    pub repro: String,
}

/// How to run.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RunOptions {
    /// The longest a case may take.
    pub limit: Duration,
    /// A pattern of ids: only these cases run, the others stay untested.
    pub filter: Option<String>,
    /// Counts how many changes of expected outputs comparisons would notice.
    pub power: bool,
    /// The day of the run, `2030-12-31`: waivers expire by it.
    pub today: String,
}

impl RunOptions {
    /// With a limit of 60 s on the given day.
    pub fn on(today: impl Into<String>) -> Self {
        Self { limit: Duration::from_mins(1), filter: None, power: true, today: today.into() }
    }
}

/// Runs the cases of `profile` on `subject`; `progress` sees each result as it comes.
///
/// # Errors
/// When a filter is no pattern of any case; the device's own failures are results.
pub fn run(
    subject: &Arc<Subject>,
    profile: &Profile,
    waivers: &Waivers,
    options: &RunOptions,
    progress: &mut dyn FnMut(&CaseResult),
) -> Result<Report> {
    let started = Instant::now();
    let mut results = Vec::new();
    let filter = options.filter.as_ref().map(|text| crate::pattern::Pattern(text.clone()));
    let mut late = 0;
    for case in crate::suites::all(&subject.capability) {
        let Some(duty) = profile.duty(&case.id) else { continue };
        if filter.as_ref().is_some_and(|filter| !filter.matches(&case.id)) {
            continue;
        }
        let result = if late < PATIENCE {
            run_case(subject, case, duty, waivers, options)
        } else {
            let outcome = Outcome::new(Status::Untested, Stage::Init, "given up after too many time-outs");
            reported(subject, &case, duty, outcome, 0)
        };
        late += usize::from(result.status == Status::TimedOut);
        progress(&result);
        results.push(result);
    }
    if results.is_empty() {
        let filter = options.filter.clone().unwrap_or_default();
        return Err(crate::KitError::new(
            crate::KitErrorKind::Case,
            format!("expected a pattern of cases of profile {}, found `{filter}`", profile.name),
        )
        .help("in a pattern `*` is one part of an id and `**` any number of them, as in `abi/**`"));
    }
    Ok(Report::new(subject, profile, waivers, options, results, started.elapsed()))
}

/// Runs one case under a time limit.
pub fn run_case(
    subject: &Arc<Subject>,
    case: Case,
    duty: Duty,
    waivers: &Waivers,
    options: &RunOptions,
) -> CaseResult {
    let started = Instant::now();
    let case = Arc::new(case);
    let outcome = limited(subject, Arc::clone(&case), options);
    let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
    if matches!(outcome.status, Status::Crashed | Status::TimedOut) {
        subject.give_up();
    }
    let mut result = reported(subject, &case, duty, outcome, micros);
    waivers.apply(&mut result, &options.today);
    result
}

/// The result of an outcome.
fn reported(subject: &Subject, case: &Case, duty: Duty, outcome: Outcome, micros: u64) -> CaseResult {
    CaseResult {
        id: case.id.clone(),
        operator: case.operator.clone(),
        form: case.form.map(|form| form.to_string()).unwrap_or_default(),
        duty,
        status: outcome.status,
        stage: outcome.stage,
        message: outcome.message,
        measure: outcome.measure,
        power: outcome.power,
        declared: outcome.declared,
        figures: outcome.figures,
        micros,
        repro: format!("conformance case {} --id {}", subject.selector, case.id),
    }
}

/// The outcome of a case in a thread of its own: a panic is a crash, and who does not answer is left behind.
fn limited(subject: &Arc<Subject>, case: Arc<Case>, options: &RunOptions) -> Outcome {
    let stage = Arc::new(AtomicU8::new(Stage::Init as u8));
    let (sender, receiver) = mpsc::channel();
    let worker = {
        let (subject, stage) = (Arc::clone(subject), Arc::clone(&stage));
        let power = options.power;
        std::thread::Builder::new().name("case".to_owned()).spawn(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| attempt(&subject, &case, &stage, power)));
            // Nobody listens any more where the case ran out of time.
            let _ = sender.send(outcome.map_err(|panic| panic_text(&*panic)));
        })
    };
    let last = || stage_of(stage.load(Ordering::SeqCst));
    let Ok(worker) = worker else {
        return Outcome::new(Status::Untested, Stage::Init, "the system gives no further thread");
    };
    match receiver.recv_timeout(options.limit) {
        Ok(outcome) => {
            // It has sent its outcome; what is left of it cannot fail.
            let _ = worker.join();
            outcome.unwrap_or_else(|text| Outcome::new(Status::Crashed, last(), text))
        }
        Err(mpsc::RecvTimeoutError::Timeout) => {
            let seconds = options.limit.as_secs_f64();
            Outcome::new(Status::TimedOut, last(), format!("no answer within {seconds} s"))
        }
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            Outcome::new(Status::Crashed, last(), "the case ended without an answer")
        }
    }
}

fn attempt(subject: &Subject, case: &Case, stage: &AtomicU8, power: bool) -> Outcome {
    let probing = Probing { subject, stage };
    if let Action::Probe(probe) = &case.action {
        return probe(&probing);
    }
    let problem = program_of(case, &mut Random::of(&case.id));
    match problem {
        Some(Ok(problem)) => run_program(&probing, &problem, case.form, power),
        Some(Err(error)) => Outcome::defect(&error),
        None => Outcome::defect(&"a case without a program"),
    }
}

fn stage_of(number: u8) -> Stage {
    [Stage::Query, Stage::Init, Stage::Supports, Stage::Compile, Stage::Run, Stage::Compare]
        .into_iter()
        .find(|stage| *stage as u8 == number)
        .unwrap_or(Stage::Init)
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
    format!("panic: {}", text.unwrap_or_else(|| "without a text".to_owned()))
}
