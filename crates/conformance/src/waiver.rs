//! Waivers: known failures, excused with a reason until a date.
//!
//! A waivers file has one block per waiver:
//!
//! ```text
//! case    op_int/conv/depthwise/**
//! reason  the depthwise unit saturates sums of two products
//! issue   https://example.org/issues/7
//! expires 2030-12-31
//! ```

use serde::{Deserialize, Serialize};

use crate::case::Status;
use crate::error::{KitError, KitErrorKind, Result};
use crate::pattern::Pattern;
use crate::run::CaseResult;

/// One excused failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Waiver {
    /// The pattern of ids it excuses.
    pub(crate) case: Pattern,
    /// Why the cases fail.
    pub reason: String,
    /// Where the failure is followed up.
    pub issue: String,
    /// The last day it holds, `2030-12-31`.
    pub expires: String,
}

/// All waivers of a run.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Waivers(pub(crate) Vec<Waiver>);

impl Waivers {
    /// Reads a waivers file.
    ///
    /// # Errors
    /// [`KitErrorKind::Waiver`] naming the line that is of no known form or the waiver that lacks a part.
    pub fn parse(text: &str, place: &str) -> Result<Self> {
        let fail = |line: usize, message: String| {
            KitError::new(KitErrorKind::Waiver, message).at(format!("{place}:{}", line + 1))
        };
        let mut waivers: Vec<(usize, [Option<String>; 4])> = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
            let at = ["case", "reason", "issue", "expires"]
                .iter()
                .position(|known| *known == key)
                .ok_or_else(|| {
                    fail(number, format!("expected `case`, `reason`, `issue` or `expires`, found `{key}`"))
                })?;
            if at == 0 {
                waivers.push((number, Default::default()));
            }
            let Some((_, parts)) = waivers.last_mut() else {
                return Err(fail(number, "expected a waiver to begin with `case`".to_owned()));
            };
            if parts[at].replace(value.trim().to_owned()).is_some() {
                return Err(fail(number, format!("expected one `{key}` per waiver, found two")));
            }
        }
        let complete = |(line, parts): (usize, [Option<String>; 4])| {
            let mut parts = parts.into_iter().map(|part| part.filter(|text| !text.is_empty()));
            let mut next = |key: &str| {
                parts.next().flatten().ok_or_else(|| fail(line, format!("expected a waiver with `{key}`")))
            };
            let waiver = Waiver {
                case: Pattern(next("case")?),
                reason: next("reason")?,
                issue: next("issue")?,
                expires: next("expires")?,
            };
            if !is_date(&waiver.expires) {
                let message = format!("expected a date such as 2030-12-31, found `{}`", waiver.expires);
                return Err(fail(line, message));
            }
            Ok(waiver)
        };
        waivers.into_iter().map(complete).collect::<Result<_>>().map(Waivers)
    }

    /// The waiver of a case that has not expired on `today`.
    pub(crate) fn of(&self, id: &str, today: &str) -> Option<&Waiver> {
        // Dates of this form sort as texts.
        self.0.iter().find(|waiver| waiver.case.matches(id) && waiver.expires.as_str() >= today)
    }

    /// Turns a waived failure into [`Status::Waived`], and a pass that is waived into [`Status::UnexpectedPass`].
    pub(crate) fn apply(&self, result: &mut CaseResult, today: &str) {
        let Some(waiver) = self.of(&result.id, today) else { return };
        if result.status.is_failure() {
            result.message =
                format!("{} ({}): {} {}", waiver.reason, waiver.issue, result.status.name(), result.message);
            result.status = Status::Waived;
        } else if result.status == Status::Passed {
            result.message = format!("waived until {} for: {}", waiver.expires, waiver.reason);
            result.status = Status::UnexpectedPass;
        }
    }
}

/// Whether a text is a date of the form `2030-12-31`.
pub(crate) fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let number =
        |part: &str, length: usize| (part.len() == length).then(|| part.parse::<u32>().ok()).flatten();
    number(year, 4).is_some()
        && number(month, 2).is_some_and(|month| (1..=12).contains(&month))
        && number(day, 2).is_some_and(|day| (1..=31).contains(&day))
}

/// Today in UTC, as waivers write dates (the civil calendar from days since 1970, by Hinnant's algorithm).
pub fn today() -> String {
    let seconds = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs());
    date_of((seconds / 86_400) as i64)
}

fn date_of(days: i64) -> String {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "# known\ncase op_int/conv/**\nreason it saturates\nissue #7\nexpires 2030-12-31\n";

    #[test]
    fn a_waiver_has_all_its_parts() {
        let waivers = Waivers::parse(GOOD, "w").unwrap();
        assert!(waivers.of("op_int/conv/k3/seed1", "2030-12-31").is_some());
        assert!(waivers.of("op_int/conv/k3/seed1", "2031-01-01").is_none(), "it expired");
        assert!(waivers.of("op_int/add/seed1", "2030-01-01").is_none());
        for (bad, expected) in [
            (GOOD.replace("issue #7\n", ""), "expected a waiver with `issue`"),
            (GOOD.replace("2030-12-31", "soon"), "expected a date"),
            (GOOD.replace("reason", "because"), "expected `case`"),
            (GOOD.replace("case op_int/conv/**\n", ""), "expected a waiver to begin with `case`"),
        ] {
            let error = Waivers::parse(&bad, "w").unwrap_err();
            assert!(error.to_string().contains(expected), "{error}");
            assert_eq!(error.code(), "KIT-WAIVER");
        }
    }

    #[test]
    fn days_are_dates() {
        // From `date -u -d @N +%F`.
        assert_eq!(date_of(0), "1970-01-01");
        assert_eq!(date_of(19_782), "2024-02-29");
        assert_eq!(date_of(20_453), "2025-12-31");
        assert!(is_date(&today()));
    }
}
