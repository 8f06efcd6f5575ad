//! The commands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use fewbit_conformance::run::{self, CaseResult, RunOptions};
use fewbit_conformance::{Duty, KitError, Profile, Status, Subject, Waivers, devices, report, suites, today};

use fewbit_conformance::devices::PluginOptions;
use fewbit_plugin_host::WorkerOptions;

use crate::args::{Arguments, Command, How, One, Run, What};
use crate::{Answer, print};

pub(crate) fn run(arguments: Arguments) -> Result<Answer, KitError> {
    match arguments.command {
        Command::Run(arguments) => run_profile(&arguments),
        Command::Case(arguments) => run_one(&arguments),
        Command::Compare { old, new } => compare(&old, &new),
        Command::Verify { folder, library } => verify(&folder, library.as_deref()),
        Command::List { profile } => list(profile.as_deref()),
        // `main` does not come here with it.
        Command::Worker => Ok(Answer::Yes),
    }
}

/// The subject; a plugin's calls may take `limit` each.
fn open(what: &What, how: How, limit: Duration) -> Result<Subject, KitError> {
    let Some(manifest) = &what.manifest else {
        return devices::builtin(what.builtin.as_deref().unwrap_or("cpu"));
    };
    let program = std::env::current_exe().map_err(|error| devices::no_worker(&error))?;
    let worker = WorkerOptions::new(program, ["worker".into()]).with_timeout(limit);
    let options = PluginOptions { worker, in_process: how.in_process, skip_hash: how.dev };
    devices::plugin(manifest, &options)
}

fn read(path: &Path) -> Result<String, KitError> {
    report::read_text(path)
}

fn run_profile(arguments: &Run) -> Result<Answer, KitError> {
    let profile = if Profile::names().any(|name| name == arguments.profile)
        || !arguments.profile.contains(['/', '.'])
    {
        Profile::named(&arguments.profile)?
    } else {
        Profile::parse(&read(Path::new(&arguments.profile))?, &arguments.profile)?
    };
    let waivers = match &arguments.waivers {
        Some(path) => Waivers::parse(&read(path)?, &path.display().to_string())?,
        None => Waivers::default(),
    };
    let subject = Arc::new(open(&arguments.what, arguments.how, Duration::from_secs(arguments.limit))?);
    let mut options = RunOptions::on(today());
    options.limit = patience(arguments.limit);
    options.filter.clone_from(&arguments.filter);
    let mut progress = |case: &CaseResult| {
        let calm = matches!(case.status, Status::Passed | Status::NotApplicable | Status::Refused);
        if arguments.verbose || !calm {
            print::case(case);
        }
    };
    let report = run::run(&subject, &profile, &waivers, &options, &mut progress)?;
    if let Some(out) = &arguments.out {
        report::write(&report, &subject, arguments.what.manifest.as_deref(), out)?;
        print::note(&format!("report in {}", out.display()));
    }
    print::summary(&report);
    Ok(if report.verdict.conforms { Answer::Yes } else { Answer::No })
}

fn run_one(arguments: &One) -> Result<Answer, KitError> {
    let subject = Arc::new(open(&arguments.what, arguments.how, Duration::from_secs(arguments.limit))?);
    let case = suites::find(&subject.capability, &arguments.id)?;
    let mut options = RunOptions::on(today());
    options.limit = patience(arguments.limit);
    let result = run::run_case(&subject, case, Duty::Must, &Waivers::default(), &options);
    print::case(&result);
    Ok(if result.status.is_failure() { Answer::No } else { Answer::Yes })
}

fn compare(old: &Path, new: &Path) -> Result<Answer, KitError> {
    let (before, after) = (report::read(old)?, report::read(new)?);
    let changes = report::compare(&before, &after);
    let name = |status: Option<Status>| status.map_or("-", Status::name);
    for change in &changes {
        let mark = if change.is_regression() { "worse " } else { "      " };
        print::line(&format!("{mark}{}: {} -> {}", change.id, name(change.before), name(change.after)));
    }
    let worse = changes.iter().filter(|change| change.is_regression()).count();
    print::line(&format!("{} changes, {worse} for the worse", changes.len()));
    Ok(if worse == 0 { Answer::Yes } else { Answer::No })
}

fn verify(folder: &Path, library: Option<&Path>) -> Result<Answer, KitError> {
    let claim = report::verify(folder, library, &today())?;
    let answer = if claim.conforms { "conforms" } else { "does not conform" };
    print::line(&format!("the report holds: {} {answer} to {}", claim.subject, claim.profile));
    for reason in claim.reasons.iter().take(10) {
        print::line(&format!("  {reason}"));
    }
    Ok(if claim.conforms { Answer::Yes } else { Answer::No })
}

fn list(profile: Option<&str>) -> Result<Answer, KitError> {
    let Some(name) = profile else {
        for name in Profile::names() {
            print::line(&format!("{name:<12} {}", Profile::named(name)?.summary));
        }
        return Ok(Answer::Yes);
    };
    let profile = Profile::named(name)?;
    // The document only decides which cases of suite `capability` there are.
    let document = devices::builtin("cpu")?.capability;
    for case in suites::all(&document) {
        if let Some(duty) = profile.duty(&case.id) {
            let duty = if duty == Duty::Must { "must" } else { "may " };
            print::line(&format!("{duty} {}", case.id));
        }
    }
    Ok(Answer::Yes)
}

/// How long a case may take: a call of a plugin that takes too long is then known by its name.
fn patience(limit: u64) -> Duration {
    Duration::from_secs(limit + 5)
}
