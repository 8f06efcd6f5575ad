//! Energy counters of the operating system: what there is, and how much a span of time cost.
//!
//! Owns the reading of Linux's `sysfs`: the powercap framework (RAPL counters of x86 packages), and hwmon (`energy*_input`
//! counters, and `power*_input` of sensors such as INA226 and INA3221 on boards, which are sampled and integrated).
//! Counters that accumulate are preferred to sampled power, and the package to the board's rails. Everything read is of
//! the whole package or rail, whatever else ran meanwhile. Other systems, and NVIDIA's NVML, are not read.

mod sysfs;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sysfs::{Accumulator, Rail};

/// How often sensors of power are read; INA sensors convert about as often.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);
/// How often a counter is read between start and end: often enough that it wraps at most once in between, since the
/// smallest range in use (2³² units of 15.3 µJ, 65 kJ) lasts two minutes at 500 W.
const FOLLOW_EVERY: Duration = Duration::from_millis(500);

/// Why no energy can be told; the text says it in a sentence without a full stop.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct NoMeter(String);

#[derive(Debug)]
enum Source {
    /// Counters of energy, one for each package or sensor.
    Counters(Vec<Accumulator>),
    /// Sensors of power, one for each rail.
    Rails(Vec<Rail>),
}

/// What measures energy on this machine.
#[derive(Debug)]
pub struct Meter {
    source: Arc<Source>,
    description: String,
}

impl Meter {
    /// The best counter of this machine, or why there is none.
    pub fn open() -> Result<Self, NoMeter> {
        if cfg!(target_os = "linux") {
            Self::open_under(Path::new("/sys"))
        } else {
            Err(NoMeter("energy is read from Linux's sysfs only, and this is another system".to_owned()))
        }
    }

    /// As [`Meter::open`], with the tree of `sysfs` at `root`.
    pub fn open_under(root: &Path) -> Result<Self, NoMeter> {
        let mut hindrances = Vec::new();
        let packages = sysfs::powercap(root, &mut hindrances);
        let (energies, rails) = sysfs::hwmon(root, &mut hindrances);
        let names = |labels: Vec<&str>| labels.join(", ");
        let (source, description) = if !packages.is_empty() {
            let names = names(packages.iter().map(|counter| counter.label.as_str()).collect());
            (Source::Counters(packages), format!("powercap counter of {names} (whole processor package)"))
        } else if !energies.is_empty() {
            let names = names(energies.iter().map(|counter| counter.label.as_str()).collect());
            (Source::Counters(energies), format!("hwmon energy counter of {names}"))
        } else if !rails.is_empty() {
            let names = names(rails.iter().map(|rail| rail.label.as_str()).collect());
            let every = SAMPLE_EVERY.as_millis();
            (Source::Rails(rails), format!("hwmon power of {names} (board rail, sampled every {every} ms)"))
        } else if hindrances.is_empty() {
            return Err(NoMeter(
                "the system has neither powercap counters nor hwmon sensors of energy or power".to_owned(),
            ));
        } else {
            return Err(NoMeter(hindrances.join("; ")));
        };
        Ok(Self { source: Arc::new(source), description })
    }

    /// What is measured, in words: which counter, and of what.
    pub fn description(&self) -> &str {
        &self.description
    }

    /// Starts measuring, with a thread that follows the counters.
    pub fn start(&self) -> Result<Measurement, NoMeter> {
        let state = Arc::new(Mutex::new(Reading::first(&self.source)?));
        let stop = Arc::new(AtomicBool::new(false));
        let (source, shared, stopped) = (Arc::clone(&self.source), Arc::clone(&state), Arc::clone(&stop));
        let every = match *self.source {
            Source::Counters(_) => FOLLOW_EVERY,
            Source::Rails(_) => SAMPLE_EVERY,
        };
        let follower = std::thread::Builder::new()
            .name("fewbit-energy".to_owned())
            .spawn(move || {
                loop {
                    std::thread::park_timeout(every);
                    if stopped.load(Ordering::Acquire) {
                        return;
                    }
                    shared.lock().unwrap_or_else(PoisonError::into_inner).advance(&source);
                }
            })
            .map_err(|error| NoMeter(format!("no thread can be started to follow the counters: {error}")))?;
        Ok(Measurement { source: Arc::clone(&self.source), state, stop, follower: Some(follower) })
    }
}

/// A measurement under way. Dropping it ends it.
#[derive(Debug)]
pub struct Measurement {
    source: Arc<Source>,
    state: Arc<Mutex<Reading>>,
    stop: Arc<AtomicBool>,
    follower: Option<JoinHandle<()>>,
}

impl Measurement {
    /// Joules since the start.
    pub fn joules(&self) -> Result<f64, NoMeter> {
        let mut reading = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        reading.advance(&self.source);
        match &reading.failed {
            Some(failed) => Err(failed.clone()),
            None => Ok(reading.microjoules / 1e6),
        }
    }
}

impl Drop for Measurement {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(follower) = self.follower.take() {
            follower.thread().unpark();
            // A follower that panicked has nothing more to tell.
            drop(follower.join());
        }
    }
}

/// What was read last, and the sum so far.
#[derive(Debug)]
struct Reading {
    at: Instant,
    /// µJ for counters, µW for rails.
    last: Vec<u64>,
    microjoules: f64,
    failed: Option<NoMeter>,
}

impl Reading {
    fn first(source: &Source) -> Result<Self, NoMeter> {
        Ok(Self { at: Instant::now(), last: read(source)?, microjoules: 0.0, failed: None })
    }

    /// Adds what was spent since the last reading. After a failure, nothing more is added.
    fn advance(&mut self, source: &Source) {
        if self.failed.is_some() {
            return;
        }
        match read(source) {
            Ok(now) => self.take(source, now, Instant::now()),
            Err(failed) => self.failed = Some(failed),
        }
    }

    fn take(&mut self, source: &Source, now: Vec<u64>, at: Instant) {
        let seconds = at.saturating_duration_since(self.at).as_secs_f64();
        for (index, (&before, &after)) in self.last.iter().zip(&now).enumerate() {
            match source {
                Source::Counters(counters) => {
                    match spent(before, after, counters.get(index).and_then(|counter| counter.range)) {
                        Some(microjoules) => self.microjoules += microjoules as f64,
                        None => {
                            self.failed =
                                Some(NoMeter(format!("a counter went back from {before} to {after} µJ")));
                        }
                    }
                }
                // The mean of both ends, as power changes little between two samples.
                Source::Rails(_) => self.microjoules += f64::midpoint(before as f64, after as f64) * seconds,
            }
        }
        self.last = now;
        self.at = at;
    }
}

fn read(source: &Source) -> Result<Vec<u64>, NoMeter> {
    match source {
        Source::Counters(counters) => {
            counters.iter().map(|counter| sysfs::number(&counter.file).map_err(NoMeter)).collect()
        }
        Source::Rails(rails) => rails.iter().map(|rail| rail.microwatts().map_err(NoMeter)).collect(),
    }
}

/// Microjoules between two readings of a counter that starts anew after `range`; `None` if it went back for no reason.
fn spent(before: u64, after: u64, range: Option<u64>) -> Option<u64> {
    match after.checked_sub(before) {
        Some(spent) => Some(spent),
        None => range?.checked_sub(before)?.checked_add(after),
    }
}

#[cfg(test)]
mod tests;
