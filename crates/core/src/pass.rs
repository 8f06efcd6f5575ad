//! Passes: rewrites of a graph that keep what it computes.
//!
//! Owns the [`Pass`] trait, the [`PassPipeline`] that runs passes to a fixed point with types inferred and the
//! graph verified after each, and the passes themselves, one module each. Passes work on the float graph a model
//! file gives and on models that other tools quantized; they decide nothing about devices.

use crate::error::{CoreError, Result};
use crate::infer::infer;
use crate::ir::Graph;
use crate::ir::verify::verify;

mod absorb_qdq;
mod affine;
mod branches;
mod chains;
mod clamp;
mod dead;
mod decode;
mod dynamic;
mod edit;
mod fold;
mod identity;
mod matcher;
mod pad;
mod patterns;
mod transpose;

#[cfg(test)]
mod tests;

/// One rewrite of graphs.
pub trait Pass: Send + Sync {
    /// Short name in kebab-case, for reports and errors.
    fn name(&self) -> &'static str;

    /// Rewrites `graph` and tells how many changes were made; 0 leaves the graph as it was.
    ///
    /// The graph has inferred types and is verified. New values may be left without types, and removed nodes as
    /// holes: the pipeline compacts and infers after each pass that changed something.
    ///
    /// # Errors
    /// When the graph contradicts itself; the graph is then in no state to be used.
    fn run(&self, graph: &mut Graph) -> Result<usize>;
}

/// Most rounds of a pipeline. Every change removes or merges something, so that real models settle in a few.
const MAX_ROUNDS: usize = 64;

/// Passes in the order they run, again and again until none changes anything.
pub struct PassPipeline {
    passes: Vec<Box<dyn Pass>>,
    /// Those that run only when the others have nothing left to do.
    last: Vec<Box<dyn Pass>>,
}

impl PassPipeline {
    /// A pipeline of `passes` in their order.
    pub fn new(passes: Vec<Box<dyn Pass>>) -> Self {
        Self { passes, last: Vec::new() }
    }

    /// The same pipeline with `passes` that run when none of the others changes anything; the others then run again.
    #[must_use]
    pub fn with_last(mut self, passes: Vec<Box<dyn Pass>>) -> Self {
        self.last = passes;
        self
    }

    /// What every model goes through after import.
    pub fn standard() -> Self {
        Self::new(vec![
            Box::new(dead::DeadCode),
            Box::new(dynamic::AbsorbDynamic),
            Box::new(fold::ConstantFolding),
            Box::new(branches::KnownBranches),
            Box::new(identity::IdentityRemoval),
            Box::new(chains::ReshapeChains),
            Box::new(transpose::Transposes),
            Box::new(pad::PadFusion),
            Box::new(affine::AffineFolding),
            Box::new(patterns::Patterns),
            Box::new(clamp::ClampFusion),
            Box::new(absorb_qdq::AbsorbQdq),
        ])
        .with_last(vec![Box::new(decode::WeightDecoding)])
    }

    /// The names of the passes, in order.
    pub fn names(&self) -> Vec<&'static str> {
        self.passes.iter().chain(&self.last).map(|pass| pass.name()).collect()
    }

    /// Runs the passes until none changes anything; gives the number of changes.
    ///
    /// `observer` is told the pass's name, the graph after it and its number of changes, for each run of a pass.
    ///
    /// # Errors
    /// When inference or verification fails, before the first pass or after one; the error then names the pass.
    pub fn run(&self, graph: &mut Graph, observer: &mut dyn FnMut(&str, &Graph, usize)) -> Result<usize> {
        settle(graph)?;
        let mut total = 0;
        for _ in 0..MAX_ROUNDS {
            let mut round = run_each(&self.passes, graph, observer)?;
            if round == 0 {
                round = run_each(&self.last, graph, observer)?;
            }
            total += round;
            if round == 0 {
                return Ok(total);
            }
        }
        tracing::warn!(rounds = MAX_ROUNDS, "passes still change the graph; the rest is left as it is");
        Ok(total)
    }
}

/// Runs each of `passes` once; gives the number of changes.
fn run_each(
    passes: &[Box<dyn Pass>],
    graph: &mut Graph,
    observer: &mut dyn FnMut(&str, &Graph, usize),
) -> Result<usize> {
    let mut total = 0;
    for pass in passes {
        let changes = pass
            .run(graph)
            .and_then(|changes| {
                if changes > 0 {
                    settle(graph)?;
                }
                Ok(changes)
            })
            .map_err(|error| named(pass.name(), &error))?;
        tracing::debug!(pass = pass.name(), changes, "pass.run");
        observer(pass.name(), graph, changes);
        total += changes;
    }
    Ok(total)
}

/// Runs the standard passes on `graph`; see [`PassPipeline::run`].
///
/// # Errors
/// As [`PassPipeline::run`].
pub fn optimize(graph: &mut Graph, observer: &mut dyn FnMut(&str, &Graph, usize)) -> Result<usize> {
    PassPipeline::standard().run(graph, observer)
}

/// Restores what every pass may rely on: order, types, and the verifier's consent.
fn settle(graph: &mut Graph) -> Result<()> {
    graph.compact()?;
    infer(graph)?;
    verify(graph)
}

fn named(pass: &str, error: &CoreError) -> CoreError {
    let mut text = CoreError::new(error.kind(), format!("pass `{pass}` failed: {error}"));
    if let Some(help) = error.remedy() {
        text = text.help(help);
    }
    text
}
