//! What changed between two reports.

use std::collections::BTreeMap;

use super::Report;
use crate::case::Status;

/// A case that ended otherwise than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The case.
    pub id: String,
    /// How it ended before; `None` where it is new.
    pub before: Option<Status>,
    /// How it ends now; `None` where it is gone.
    pub after: Option<Status>,
}

impl Change {
    /// Whether it is worse than before: it passed, and does not now.
    pub fn is_regression(&self) -> bool {
        self.before == Some(Status::Passed)
            && !matches!(self.after, Some(Status::Passed | Status::Mistrusted | Status::Waived))
    }
}

/// The cases that end otherwise in `new` than in `old`, by id.
pub fn compare(old: &Report, new: &Report) -> Vec<Change> {
    let statuses = |report: &Report| -> BTreeMap<String, Status> {
        report.cases.iter().map(|case| (case.id.clone(), case.status)).collect()
    };
    let (before, after) = (statuses(old), statuses(new));
    let mut ids: Vec<&String> = before.keys().chain(after.keys()).collect();
    ids.sort_unstable();
    ids.dedup();
    ids.into_iter()
        .map(|id| Change { id: id.clone(), before: before.get(id).copied(), after: after.get(id).copied() })
        .filter(|change| change.before != change.after)
        .collect()
}
