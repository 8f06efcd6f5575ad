//! Verdicts on nodes: how a device would run them, or why not.

use serde::{Deserialize, Serialize};

use crate::error::CoreError;

/// How a device runs a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Support {
    /// Not at all.
    Unsupported,
    /// Correctly, but not by hardware or kernels made for it.
    Emulated,
    /// By hardware or kernels made for it.
    Native,
}

/// Why a rule refuses a node, and what would have to change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable code, such as `CAP-STRIDE`; `fewbit explain` knows it.
    pub code: String,
    /// The rule that refuses, by its id; `None` where no rule covers the operator at all.
    pub rule: Option<String>,
    /// What was found and what the rule allows, in one sentence without a final full stop.
    pub message: String,
    /// The smallest change that would pass, where there is one.
    pub fix: Option<String>,
}

impl Reason {
    /// The reason of a node that no device runs, since this build has no meaning for it (see [`Node::unsupported`]).
    ///
    /// [`Node::unsupported`]: crate::ir::Node::unsupported
    pub fn unsupported(error: &CoreError) -> Self {
        Self {
            code: error.code().to_owned(),
            rule: None,
            message: error.to_string(),
            fix: error.remedy().map(str::to_owned),
        }
    }
}

/// How a device would run one node, with the rule that allows it or the reasons against it.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// How it would run.
    pub support: Support,
    /// The rule that allows it, by its id.
    pub rule: Option<String>,
    /// Why not, or why not better; empty on a native verdict.
    pub reasons: Vec<Reason>,
}

impl Verdict {
    /// Allowed by `rule` on hardware or kernels made for it.
    pub fn native(rule: impl Into<String>) -> Self {
        Self { support: Support::Native, rule: Some(rule.into()), reasons: Vec::new() }
    }

    /// Allowed by `rule`, but slowly, for `reasons`.
    pub fn emulated(rule: impl Into<String>, reasons: Vec<Reason>) -> Self {
        Self { support: Support::Emulated, rule: Some(rule.into()), reasons }
    }

    /// Refused for `reasons`.
    pub fn refused(reasons: Vec<Reason>) -> Self {
        Self { support: Support::Unsupported, rule: None, reasons }
    }

    /// Whether the node runs at all.
    pub fn is_supported(&self) -> bool {
        self.support != Support::Unsupported
    }
}
