//! What `fewbit check` found, in the form that [`sarif`](crate::sarif) and [`junit`](crate::junit) render.

use fewbit_core::capability::{Reason, Support};

/// What was found about one model on every target that was asked for.
#[derive(Debug, Clone)]
pub struct CheckReport {
    /// Path of the model's file, as the person gave it.
    pub model: String,
    /// One for each target.
    pub targets: Vec<TargetReport>,
}

/// What was found on one target.
#[derive(Debug, Clone)]
pub struct TargetReport {
    /// Name of the target.
    pub target: String,
    /// What the target is, in words.
    pub title: String,
    /// What hinders beside nodes: memory, for example.
    pub problems: Vec<Reason>,
    /// Every node, in the order of execution.
    pub nodes: Vec<NodeReport>,
}

/// What was found about one node.
#[derive(Debug, Clone)]
pub struct NodeReport {
    /// Its name.
    pub name: String,
    /// Its operator.
    pub op: String,
    /// How it runs.
    pub support: Support,
    /// How it runs, in words that follow its name: `runs natively at w8a8 on cpu`.
    pub runs: String,
    /// Whether it runs natively, on the first processor, at the precision that was asked for.
    pub as_asked: bool,
    /// Why it does not run as it was asked for.
    pub reasons: Vec<Reason>,
}

/// A reason as one sentence, with its fix where there is one.
pub(crate) fn sentence(reason: &Reason) -> String {
    match &reason.fix {
        Some(fix) => format!("{}. Fix: {fix}.", reason.message),
        None => format!("{}.", reason.message),
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Every case: native as asked, native elsewhere, emulated, unsupported with and without a reason, a problem,
    /// an unknown code, texts that must be escaped, a path that must be percent-encoded.
    pub(crate) fn report() -> CheckReport {
        let reason = |code: &str, message: &str, fix: Option<&str>| Reason {
            code: code.to_owned(),
            rule: None,
            message: message.to_owned(),
            fix: fix.map(str::to_owned),
        };
        let node = |name: &str, support, runs: &str, as_asked, reasons| NodeReport {
            name: name.to_owned(),
            op: "Conv".to_owned(),
            support,
            runs: runs.to_owned(),
            as_asked,
            reasons,
        };
        let stride = reason("CAP-STRIDE", "stride 5 is more than <4> & \"so on\"", Some("use 4"));
        CheckReport {
            model: "models/my net#1.onnx".to_owned(),
            targets: vec![
                TargetReport {
                    target: "tiny".to_owned(),
                    title: "A <tiny> device".to_owned(),
                    problems: vec![reason("CAP-MEMORY", "9 MB do not fit in 2 MB", None)],
                    nodes: vec![
                        node("fine", Support::Native, "runs natively at w8a8 on npu", true, Vec::new()),
                        node(
                            "elsewhere",
                            Support::Native,
                            "runs natively at f32 on host",
                            false,
                            vec![reason(
                                "CAP-PRECISION",
                                "npu runs Conv at w8a8 only",
                                Some("run it at w8a8"),
                            )],
                        ),
                        node(
                            "slow/\u{1b}[0m",
                            Support::Emulated,
                            "is emulated at f16 on host",
                            false,
                            vec![reason("CAP-EMULATED", "computed in f32", None)],
                        ),
                        node(
                            "refused",
                            Support::Unsupported,
                            "does not run",
                            false,
                            vec![stride.clone(), stride],
                        ),
                        node("unexplained", Support::Unsupported, "does not run", false, Vec::new()),
                        node(
                            "vendor",
                            Support::Emulated,
                            "is emulated at w8a8 on npu",
                            false,
                            vec![reason("ACME-WIDTH", "wider than the bus", None)],
                        ),
                    ],
                },
                TargetReport {
                    target: "big".to_owned(),
                    title: "A big device".to_owned(),
                    problems: Vec::new(),
                    nodes: vec![node(
                        "fine",
                        Support::Native,
                        "runs natively at w8a8 on cpu",
                        true,
                        Vec::new(),
                    )],
                },
            ],
        }
    }
}
