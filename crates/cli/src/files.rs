//! Files that commands write: whole or not at all.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::failure::{Refused, Usage};

/// Refuses a place for a result that cannot be written later, before anything is computed: one in a folder that is
/// not there, one that is a folder, one that is a file the command reads.
pub(crate) fn require_place(path: &Path, read: &Path) -> Result<()> {
    if path.file_name().is_none() || path.is_dir() {
        return Err(Usage::of_file(path, "expected the name of a file to write, found a folder")
            .help("give a file's name with --output")
            .into());
    }
    let folder = folder(path);
    if !folder.is_dir() {
        return Err(Refused::new(
            path,
            format!("cannot be written: there is no folder {}", folder.display()),
        )
        .help(format!("make it first: mkdir -p {}", folder.display()))
        .into());
    }
    if let (Ok(output), Ok(input)) = (path.canonicalize(), read.canonicalize())
        && output == input
    {
        return Err(Usage::of_file(
            path,
            "expected a file of its own for the result, found the model itself",
        )
        .help("give another name with --output")
        .into());
    }
    Ok(())
}

/// Writes `bytes` beside `path` and renames, so that a failure leaves what was there.
pub(crate) fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_all(&[(path.to_owned(), bytes.to_owned())])
}

/// Writes several files beside their places, and only when all are whole renames them.
pub(crate) fn write_all(files: &[(PathBuf, Vec<u8>)]) -> Result<()> {
    let mut waiting = Vec::new();
    let mut write = || -> Result<()> {
        for (path, bytes) in files {
            let refuse = |error: std::io::Error| Refused::new(path, format!("cannot be written: {error}"));
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let beside = path.with_file_name(format!(".{name}.{}.part", std::process::id()));
            waiting.push((beside.clone(), path));
            std::fs::File::create(&beside)
                .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
                .map_err(refuse)?;
        }
        for (beside, path) in &waiting {
            std::fs::rename(beside, path)
                .map_err(|error| Refused::new(path, format!("cannot be written: {error}")))?;
        }
        Ok(())
    };
    let written = write();
    if written.is_err() {
        for (beside, _) in &waiting {
            drop(std::fs::remove_file(beside));
        }
    }
    written
}

/// Reads a text file.
pub(crate) fn read_text(path: &Path) -> Result<String> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(String::from_utf8(bytes)
            .map_err(|_| Usage::of_file(path, "expected a text file, found other bytes"))?),
        Err(error) => Err(Refused::new(path, format!("cannot be read: {error}")).into()),
    }
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}
