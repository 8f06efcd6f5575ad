//! The folder in which measurements wait for the next command: `FEWBIT_CACHE`, or the user's cache folder.
//!
//! What lies there can always be measured again: a file that cannot be read or written is no error.

use std::path::PathBuf;

use sha2::{Digest, Sha256};

/// The file for what follows from `parts`, named after their hash; `None` where there is no folder for it.
pub(crate) fn file(kind: &str, parts: &[&str]) -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let folder = variable("FEWBIT_CACHE")
        .or_else(|| Some(variable("XDG_CACHE_HOME")?.join("fewbit")))
        .or_else(|| Some(variable("HOME")?.join(".cache").join("fewbit")))?;
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join(format!("{kind}-{}.json", &hash(parts)[..24])))
}

/// The SHA-256 of `parts`, each with its length, as hexadecimal digits.
pub(crate) fn hash(parts: &[&str]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part.as_bytes());
    }
    digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What tells this build of the program from another: kernels may be faster in the next one.
pub(crate) fn build() -> String {
    let file = std::env::current_exe().and_then(std::fs::metadata).ok();
    let size = file.as_ref().map_or(0, std::fs::Metadata::len);
    let modified = file
        .and_then(|file| file.modified().ok())
        .and_then(|time| time.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |time| time.as_secs());
    format!("{} {size} {modified}", env!("CARGO_PKG_VERSION"))
}
