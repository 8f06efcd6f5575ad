//! Control flow: operators whose attributes are graphs.
//!
//! Owns [`Control`] with the correspondence between a node's inputs and outputs and those of its bodies. Bodies are
//! *closed*: what they read from outside (the *captured* values) are explicit inputs of the node, given to every
//! body behind the operator's own inputs. So a body is a [`Graph`] like any other, to which inference, the verifier,
//! passes and the interpreter apply as they are.

use super::{Graph, Node};

/// Most control-flow operators inside each other: what recurses over bodies recurses at most so deep.
pub const MOST_NESTING: usize = 8;

/// Most rounds of a loop: a bound on what a model can ask of an interpreter.
pub const MOST_ROUNDS: usize = 1 << 20;

/// An operator over bodies.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Control {
    /// One of two bodies. `[condition bool, captured…]`; each body takes the captured values and gives all outputs.
    If {
        /// Computed where the condition is true.
        then_branch: Graph,
        /// Computed otherwise.
        else_branch: Graph,
    },
    /// A body again and again. `[trip i64?, condition bool?, carried…, captured…]`.
    ///
    /// It runs while fewer than `trip` rounds are done and the condition holds; an absent one does not limit. The body
    /// takes `[round i64, condition bool, carried…, captured…]` and gives `[condition, carried…, collected…]`.
    /// Outputs are the last carried values, then the collected ones of all rounds, stacked along a new first axis.
    Loop {
        /// The body.
        body: Graph,
        /// The number of carried values.
        carried: usize,
    },
    /// A body for each slice of some inputs. `[carried…, scanned…, captured…]`.
    ///
    /// The body takes the carried values, one slice of each scanned input (without the axis), and the captured
    /// values; it gives the carried values and what is collected, stacked along a new axis.
    Scan {
        /// The body.
        body: Graph,
        /// The number of carried values.
        carried: usize,
        /// How each scanned input is cut.
        scanned: Vec<ScanAxis>,
        /// How each collected output is stacked.
        collected: Vec<ScanAxis>,
    },
}

/// An axis along which a Scan cuts or stacks, and in which direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ScanAxis {
    /// The axis of the scanned input or collected output, not negative.
    pub axis: usize,
    /// Whether it goes from the last slice to the first.
    pub reverse: bool,
}

impl Control {
    /// ONNX's name.
    pub fn name(&self) -> &'static str {
        match self {
            Control::If { .. } => "If",
            Control::Loop { .. } => "Loop",
            Control::Scan { .. } => "Scan",
        }
    }

    /// The bodies by the names of ONNX's attributes.
    pub fn bodies(&self) -> Vec<(&'static str, &Graph)> {
        match self {
            Control::If { then_branch, else_branch } => {
                vec![("then_branch", then_branch), ("else_branch", else_branch)]
            }
            Control::Loop { body, .. } | Control::Scan { body, .. } => vec![("body", body)],
        }
    }

    /// The bodies, to change.
    pub fn bodies_mut(&mut self) -> Vec<&mut Graph> {
        match self {
            Control::If { then_branch, else_branch } => vec![then_branch, else_branch],
            Control::Loop { body, .. } | Control::Scan { body, .. } => vec![body],
        }
    }

    /// The index of the first captured input of the node.
    pub fn first_captured(&self) -> usize {
        match self {
            Control::If { .. } => 1,
            Control::Loop { carried, .. } => 2 + carried,
            Control::Scan { carried, scanned, .. } => carried + scanned.len(),
        }
    }

    /// The index among a body's inputs of the first captured value.
    pub fn first_captured_of_body(&self) -> usize {
        match self {
            Control::If { .. } => 0,
            other => other.first_captured(),
        }
    }

    /// The number of outputs of a body that are not the node's: the condition of a loop.
    pub fn own_outputs(&self) -> usize {
        usize::from(matches!(self, Control::Loop { .. }))
    }

    /// The first node inside, at any depth, that this build has no meaning for: its body, its path in there, and it.
    pub(super) fn opaque(&self) -> Option<(&'static str, String, &Node)> {
        self.bodies().into_iter().find_map(|(name, body)| {
            let (path, node) = body.nodes().find_map(|(_, node)| node.opaque())?;
            Some((name, path, node))
        })
    }

    /// The number of nodes in all bodies, at any depth.
    pub fn node_count(&self) -> usize {
        let inside = |body: &Graph| -> usize {
            let nested = body.nodes().map(|(_, node)| match &node.op {
                super::Op::Control(control) => control.node_count(),
                _ => 0,
            });
            body.node_count() + nested.sum::<usize>()
        };
        self.bodies().into_iter().map(|(_, body)| inside(body)).sum()
    }
}
