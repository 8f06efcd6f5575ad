//! Profiles: the cases that a device must pass to claim one, as committed texts.
//!
//! ```text
//! profile  int8-static
//! suite    1
//! summary  8-bit networks with fixed scales
//! numerics exact off-by-one
//! include  core
//! must     op_int/conv/pointwise/**
//! may      op_int/**
//! ```
//!
//! A `must` line holds when none of its cases fails or is refused and at least one passes; a `may` line allows its
//! cases to be refused where the device does not declare them, and still none may fail. What no line names is not run.

use fewbit_core::capability::Numerics;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{KitError, KitErrorKind, Result};
use crate::pattern::Pattern;

/// What a profile asks of a case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Duty {
    /// It must pass, or not apply.
    Must,
    /// It may be refused where the device does not declare it; it may not fail.
    May,
}

/// A named list of cases.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// Its name: what a vendor claims.
    pub name: String,
    /// The version of the suites it is written for.
    pub suite: u32,
    /// What it is for, in one sentence.
    pub summary: String,
    /// How exact a device may declare its integers; empty allows any.
    pub(crate) numerics: Vec<Numerics>,
    pub(crate) must: Vec<Pattern>,
    pub(crate) may: Vec<Pattern>,
    text: String,
}

const BUILT_IN: &[(&str, &str)] = &[
    ("core", include_str!("../profiles/core.profile")),
    ("int8-static", include_str!("../profiles/int8-static.profile")),
    ("int8-full", include_str!("../profiles/int8-full.profile")),
    ("float32", include_str!("../profiles/float32.profile")),
];

impl Profile {
    /// The names of the built-in profiles.
    pub fn names() -> impl Iterator<Item = &'static str> {
        BUILT_IN.iter().map(|(name, _)| *name)
    }

    /// The built-in profile of that name.
    ///
    /// # Errors
    /// [`KitErrorKind::Profile`] where there is none.
    pub fn named(name: &str) -> Result<Self> {
        let Some((_, text)) = BUILT_IN.iter().find(|(known, _)| *known == name) else {
            let names: Vec<&str> = Self::names().collect();
            return Err(KitError::new(
                KitErrorKind::Profile,
                format!("expected one of the profiles {}, found `{name}`", names.join(", ")),
            ));
        };
        Self::parse(text, name)
    }

    /// The text of a built-in profile, as it is shipped.
    pub fn text_of(name: &str) -> Option<&'static str> {
        BUILT_IN.iter().find(|(known, _)| *known == name).map(|(_, text)| *text)
    }

    /// Reads a profile.
    ///
    /// # Errors
    /// [`KitErrorKind::Profile`] naming the line.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let mut profile = Self {
            name: String::new(),
            suite: 0,
            summary: String::new(),
            numerics: Vec::new(),
            must: Vec::new(),
            may: Vec::new(),
            text: text.to_owned(),
        };
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let fail = |message: String| {
                KitError::new(KitErrorKind::Profile, message).at(format!("{place}:{}", number + 1))
            };
            let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let value = value.trim();
            if value.is_empty() {
                return Err(fail(format!("expected a word behind `{key}`")));
            }
            match key {
                "profile" => value.clone_into(&mut profile.name),
                "suite" => {
                    profile.suite = value
                        .parse()
                        .map_err(|_| fail(format!("expected a suite version, found `{value}`")))?;
                }
                "summary" => value.clone_into(&mut profile.summary),
                "numerics" => {
                    for word in value.split_whitespace() {
                        profile.numerics.push(match word {
                            "exact" => Numerics::Exact,
                            "off-by-one" => Numerics::OffByOne,
                            "tolerance" => Numerics::Tolerance,
                            _ => {
                                return Err(fail(format!(
                                    "expected exact, off-by-one or tolerance, found `{word}`"
                                )));
                            }
                        });
                    }
                }
                "include" => {
                    let other = Self::named(value).map_err(|error| fail(error.to_string()))?;
                    profile.must.extend(other.must);
                    profile.may.extend(other.may);
                    profile.text.push_str(&other.text);
                }
                "must" => profile.must.push(Pattern(value.to_owned())),
                "may" => profile.may.push(Pattern(value.to_owned())),
                _ => {
                    return Err(fail(format!(
                        "expected profile, suite, summary, numerics, include, must or may, found `{key}`"
                    )));
                }
            }
        }
        if profile.name.is_empty() || profile.suite == 0 {
            let message = "expected a profile with `profile NAME` and `suite VERSION`";
            return Err(KitError::new(KitErrorKind::Profile, message).at(place));
        }
        if profile.suite != crate::SUITE_VERSION {
            let message = format!(
                "expected a profile of suite version {}, found {}",
                crate::SUITE_VERSION,
                profile.suite
            );
            return Err(KitError::new(KitErrorKind::Profile, message).at(place));
        }
        Ok(profile)
    }

    /// What it asks of a case; `None` where it does not speak of it.
    pub fn duty(&self, id: &str) -> Option<Duty> {
        let names = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(id));
        if names(&self.must) { Some(Duty::Must) } else { names(&self.may).then_some(Duty::May) }
    }

    /// SHA-256 of its text and of those it includes.
    pub fn digest(&self) -> String {
        hex(&Sha256::digest(self.text.as_bytes()))
    }

    /// The names of [`Numerics`] that it allows.
    pub(crate) fn allows(&self, numerics: Numerics) -> bool {
        self.numerics.is_empty() || self.numerics.contains(&numerics)
    }
}

/// Bytes in hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn built_in_profiles_are_sound_and_each_line_names_cases() {
        let cases = crate::suites::all(&crate::suites::tests::cpu());
        for name in Profile::names() {
            let profile = Profile::named(name).unwrap();
            assert_eq!(profile.name, name);
            for pattern in profile.must.iter().chain(&profile.may) {
                assert!(
                    cases.iter().any(|case| pattern.matches(&case.id)),
                    "{name}: {} names no case",
                    pattern.0
                );
            }
        }
    }

    #[test]
    fn lines_of_no_form_are_named() {
        for (text, expected) in [
            ("profile x\nsuite one\n", "x:2"),
            ("profile x\nsuite 1\nshould y\n", "found `should`"),
            ("suite 1\n", "profile NAME"),
            ("profile x\nsuite 99\n", "suite version"),
            ("profile x\nsuite 1\nnumerics perfect\n", "found `perfect`"),
            ("profile x\nsuite 1\nmust\n", "behind `must`"),
        ] {
            let error = Profile::parse(text, "x").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
