//! Where Linux shows energy and power, and how the files are read.

use std::fs;
use std::path::{Path, PathBuf};

/// A counter of energy in µJ.
#[derive(Debug)]
pub(super) struct Accumulator {
    pub(super) label: String,
    pub(super) file: PathBuf,
    /// The largest value, after which the counter starts anew at 0; `None` where the system does not tell.
    pub(super) range: Option<u64>,
}

/// A sensor of power.
#[derive(Debug)]
pub(super) struct Rail {
    pub(super) label: String,
    file: PathBuf,
}

impl Rail {
    pub(super) fn microwatts(&self) -> Result<u64, String> {
        number(&self.file)
    }
}

/// The whole number that a file holds.
pub(super) fn number(file: &Path) -> Result<u64, String> {
    let text = fs::read_to_string(file).map_err(|error| {
        let help = if error.kind() == std::io::ErrorKind::PermissionDenied {
            " (run as root, or let your user read it)"
        } else {
            ""
        };
        format!("{} cannot be read: {error}{help}", file.display())
    })?;
    let text = text.trim();
    text.parse().map_err(|_| {
        format!("{} holds {:?}, not a number", file.display(), text.chars().take(20).collect::<String>())
    })
}

/// The folders under `folder`, sorted by name; none if it is absent.
fn folders(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    // In sysfs the entries are links, so what they lead to counts.
    let mut folders: Vec<PathBuf> =
        entries.filter_map(Result::ok).map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    folders.sort();
    folders
}

fn label(file: &Path) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    let text: String = text.trim().chars().filter(|c| !c.is_control()).take(40).collect();
    (!text.is_empty()).then_some(text)
}

/// The packages that powercap counts. Zones within a package (`intel-rapl:0:1`) are part of it and left out, and so is
/// the platform zone (`psys`), which contains the packages, unless it is all there is.
pub(super) fn powercap(root: &Path, hindrances: &mut Vec<String>) -> Vec<Accumulator> {
    let mut seen = Vec::new();
    let mut zones = Vec::new();
    for folder in folders(&root.join("class/powercap")) {
        let file = folder.join("energy_uj");
        let name = folder.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // The same counters appear again through a memory-mapped interface.
        let is_copy = name.starts_with("intel-rapl-mmio");
        if !file.exists() || is_copy || name.matches(':').count() > 1 {
            continue;
        }
        let label = label(&folder.join("name")).unwrap_or(name);
        if seen.contains(&label) {
            continue;
        }
        match number(&file) {
            Ok(_) => {
                seen.push(label.clone());
                let range = number(&folder.join("max_energy_range_uj")).ok();
                zones.push(Accumulator { label, file, range });
            }
            Err(hindrance) => hindrances.push(hindrance),
        }
    }
    let is_platform = |zone: &Accumulator| zone.label.starts_with("psys");
    if !zones.iter().all(is_platform) {
        zones.retain(|zone| !is_platform(zone));
    }
    zones
}

/// The counters and the sensors of power that hwmon shows.
///
/// Where a sensor measures several rails, all are taken; one labelled as the sum of the others, such as `VDD_IN` on
/// Jetson boards, is taken alone.
pub(super) fn hwmon(root: &Path, hindrances: &mut Vec<String>) -> (Vec<Accumulator>, Vec<Rail>) {
    let mut energies = Vec::new();
    let mut rails = Vec::new();
    for folder in folders(&root.join("class/hwmon")) {
        let chip = label(&folder.join("name")).unwrap_or_else(|| "sensor".to_owned());
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        let mut names: Vec<String> = entries
            .filter_map(Result::ok)
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        for name in names {
            let Some(channel) = name.strip_suffix("_input") else { continue };
            let is = |kind: &str| {
                channel.strip_prefix(kind).is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_digit()))
            };
            let (energy, power) = (is("energy"), is("power"));
            if !energy && !power {
                continue;
            }
            let file = folder.join(&name);
            if let Err(hindrance) = number(&file) {
                hindrances.push(hindrance);
                continue;
            }
            let what = label(&folder.join(format!("{channel}_label"))).unwrap_or_else(|| channel.to_owned());
            let label = format!("{chip} {what}");
            if energy {
                energies.push(Accumulator { label, file, range: None });
            } else {
                rails.push(Rail { label, file });
            }
        }
    }
    if let Some(total) = rails.iter().position(|rail| rail.label.ends_with("VDD_IN")) {
        rails = vec![rails.swap_remove(total)];
    }
    (energies, rails)
}
