//! Discovery: which manifests there are.
//!
//! Order: what the caller names, then folders the caller names, then `FEWBIT_PLUGIN_PATH` (never for a process with
//! more rights than its user), then the user's data folder, then the system's. Never the current folder and never
//! the program's. Within a folder by name.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use crate::error::{PluginError, PluginErrorKind, Result};
use crate::manifest::{Manifest, SUFFIX};

/// The environment variable that lists folders.
pub const PATH_VARIABLE: &str = "FEWBIT_PLUGIN_PATH";
/// How many manifests one search takes.
const MOST: usize = 1024;

/// Where to look.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Search {
    /// Manifests by path.
    pub manifests: Vec<PathBuf>,
    /// Folders that hold manifests.
    pub folders: Vec<PathBuf>,
}

impl Search {
    /// Only these manifests and folders.
    pub fn only(manifests: Vec<PathBuf>, folders: Vec<PathBuf>) -> Self {
        Self { manifests, folders }
    }

    /// The folders of this user and system behind those of the caller.
    #[must_use]
    pub fn with_system(mut self) -> Self {
        if !is_privileged() {
            self.folders.extend(listed(std::env::var_os(PATH_VARIABLE).as_deref()));
            let home = std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share"));
            let data = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).or(home);
            self.folders
                .extend(data.filter(|path| path.is_absolute()).map(|path| path.join("fewbit/plugins")));
        }
        self.folders.extend(["/usr/local/lib/fewbit/plugins", "/usr/lib/fewbit/plugins"].map(PathBuf::from));
        self
    }

    /// The manifests and, each attached to its own file, what is wrong with others.
    ///
    /// A folder that does not exist holds none. Two manifests of one id are both problems.
    pub fn run(&self) -> Found {
        let mut found = Found::default();
        let mut paths: Vec<PathBuf> = self.manifests.clone();
        for folder in &self.folders {
            match manifests_in(folder) {
                Ok(list) => paths.extend(list),
                Err(problem) => found.problems.push(problem),
            }
        }
        let mut seen: Vec<PathBuf> = Vec::new();
        for path in paths {
            // One file that is reached by two ways is one plugin.
            let real = path.canonicalize().unwrap_or_else(|_| path.clone());
            if seen.contains(&real) {
                continue;
            }
            seen.push(real);
            if seen.len() > MOST {
                let message = format!("expected at most {MOST} manifests, found more");
                found.problems.push(PluginError::new(PluginErrorKind::Manifest, message).at_file(&path));
                break;
            }
            match Manifest::read(&path) {
                Ok(manifest) => found.manifests.push(manifest),
                Err(problem) => found.problems.push(problem),
            }
        }
        found.remove_duplicates();
        found
    }
}

/// What a search found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Found {
    /// Manifests that make sense, in the order of discovery.
    pub manifests: Vec<Manifest>,
    /// What is wrong with others.
    pub problems: Vec<PluginError>,
}

impl Found {
    fn remove_duplicates(&mut self) {
        let ids: Vec<String> = self.manifests.iter().map(|manifest| manifest.id.clone()).collect();
        let is_double = |id: &String| ids.iter().filter(|other| *other == id).count() > 1;
        let (double, single): (Vec<Manifest>, Vec<Manifest>) =
            std::mem::take(&mut self.manifests).into_iter().partition(|manifest| is_double(&manifest.id));
        self.manifests = single;
        for manifest in &double {
            let others: Vec<String> = double
                .iter()
                .filter(|other| other.id == manifest.id && other.path() != manifest.path())
                .map(|other| other.path().display().to_string())
                .collect();
            let message =
                format!("expected one plugin of id {}, found another at {}", manifest.id, others.join(", "));
            self.problems.push(manifest.refused(PluginErrorKind::Duplicate, message));
        }
    }
}

fn manifests_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => {
            let message = format!("cannot list the folder: {error}");
            return Err(PluginError::new(PluginErrorKind::Manifest, message).at_file(folder));
        }
    };
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(SUFFIX)))
        .take(MOST + 1)
        .collect();
    paths.sort();
    Ok(paths)
}

/// The absolute folders of a list like `PATH`.
fn listed(variable: Option<&OsStr>) -> Vec<PathBuf> {
    let folders = variable.into_iter().flat_map(std::env::split_paths);
    folders.filter(|folder| folder.is_absolute()).collect()
}

/// Whether the process has rights that its user has not, so that the environment must not decide what it loads.
fn is_privileged() -> bool {
    use rustix::process::{getegid, geteuid, getgid, getuid};
    getuid() != geteuid() || getgid() != getegid()
}

#[cfg(test)]
mod tests;
