//! Targets: descriptions of devices that need not be attached.
//!
//! Owns finding a description by name or file, and the ones that are built in (the files of `targets/`). What a
//! description says is a [`Capability`] document.

use std::path::Path;

use crate::capability::Capability;
use crate::diag::nearest;
use crate::error::{CoreError, CoreErrorKind, Result};

/// Name and text of the built-in descriptions, sorted by name.
const BUILTIN: &[(&str, &str)] = &include!(concat!(env!("OUT_DIR"), "/targets.rs"));

/// The largest description that is read; real ones have some ten thousand bytes.
const LARGEST: u64 = 4 << 20;

/// The names of the built-in targets, sorted.
pub fn names() -> impl Iterator<Item = &'static str> {
    BUILTIN.iter().map(|(name, _)| *name)
}

/// A built-in target.
///
/// # Errors
/// [`CoreErrorKind::Capability`] when there is none of that name; the remedy names the nearest one.
pub fn builtin(name: &str) -> Result<Capability> {
    let Some((_, text)) = BUILTIN.iter().find(|(known, _)| *known == name) else {
        let help = match nearest(name, names()) {
            Some(near) => {
                format!("did you mean `{near}`? `fewbit targets` lists all; a file needs its .toml")
            }
            None => "`fewbit targets` lists all; a file needs its .toml".to_owned(),
        };
        return Err(CoreError::new(
            CoreErrorKind::Capability,
            format!("expected the name or the file of a target, found `{name}`"),
        )
        .help(help));
    };
    Capability::from_toml(text, &format!("targets/{name}.toml"))
}

/// A target by its built-in name, or from a file (a path that ends in `.toml`, or in `.json` as a backend writes it).
///
/// # Errors
/// [`CoreErrorKind::Capability`] when there is no such target, the file cannot be read or is not a description.
pub fn open(name_or_path: &str) -> Result<Capability> {
    let path = Path::new(name_or_path);
    let extension = path.extension().and_then(|extension| extension.to_str());
    if !matches!(extension, Some("toml" | "json")) {
        return builtin(name_or_path);
    }
    let fail = |what: String| CoreError::new(CoreErrorKind::Capability, what).at(name_or_path);
    let unreadable = |error: std::io::Error| {
        fail(format!("expected a target's description, cannot read it: {error}"))
            .help("`fewbit targets` lists the built-in ones")
    };
    let length = std::fs::metadata(path).map_err(unreadable)?.len();
    if length > LARGEST {
        return Err(fail(format!("expected a description of at most {LARGEST} bytes, found {length}")));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    if extension == Some("json") {
        Capability::from_json(&text, name_or_path)
    } else {
        Capability::from_toml(&text, name_or_path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_builtin_target_is_valid_and_named_after_its_file() {
        for name in names() {
            let target = builtin(name).unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(target.name, name);
            let json = Capability::from_json(&target.to_json(), "its JSON").unwrap();
            assert_eq!(json, target, "a document is the same through JSON");
        }
    }

    #[test]
    fn a_misspelt_name_is_answered_with_the_nearest() {
        assert!(builtin("etos-u65-256").unwrap_err().remedy().unwrap().contains("`ethos-u65-256`"));
        assert!(builtin("no-such-device").unwrap_err().remedy().unwrap().contains("fewbit targets"));
        assert_eq!(open("missing.toml").unwrap_err().place(), Some("missing.toml"));
    }
}
