//! The error of this crate: what was expected, what was found, where, and what to do.

use std::fmt;

/// What went wrong, for programs that decide by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CoreErrorKind {
    /// A tensor's bytes, element type and shape do not fit together.
    Tensor,
    /// The graph's structure is broken: a missing value, a cycle, two nodes with one name.
    Structure,
    /// Shapes or element types contradict each other or the operator's definition.
    Shape,
    /// A shape that must be known is not: a free dimension is left.
    Dynamic,
    /// An operator this build cannot infer, run or lower.
    Unsupported,
    /// Quantization parameters or a scheme that cannot be.
    Quantization,
    /// A capability document or target description that contradicts itself or its schema.
    Capability,
    /// A plan that does not fit its graph, target or itself.
    Plan,
    /// No plan meets all bounds.
    Infeasible,
    /// A backend failed while compiling or running.
    Backend,
}

crate::kinds_with_codes! { CoreErrorKind {
    Tensor = "TENSOR", "a tensor that contradicts itself",
        "The bytes, the element type and the shape of a tensor do not fit together, or elements were asked for as \
         another type than they have.",
        "Write the model or the array again: one of its parts was changed without the others.";
    Structure = "GRAPH", "a broken graph",
        "The structure of the graph is no computation: a value that nothing makes, a cycle, a name used twice.",
        "Export the model again from the framework it was trained in.";
    Shape = "SHAPE", "contradictory shapes or types",
        "What a node reads cannot be combined, or what the file declares is not what the operator computes from its \
         inputs. The message names the node and both shapes.",
        "Check the extents given with --shape first; if none were given, the model is inconsistent: export it again.";
    Dynamic = "DYN", "a dimension is free",
        "Planning and running need every extent, and this one is known only by name.",
        "Fix it: --shape INPUT=1,3,224,224. `fewbit inspect` lists the inputs.";
    Unsupported = "OP", "an operator without a meaning here",
        "The model holds an operator, or a form of one, that this build can neither infer, run nor quantize. `fewbit \
         check` lists every such node.",
        "Export the model without the operator, or compute that part outside the model.";
    Quantization = "QUANT", "impossible quantization parameters",
        "A scale, a zero point, a range or an element type cannot describe a quantized tensor: a scale that is not \
         positive, for example, or a zero point outside the type.",
        "Calibrate again with data that reaches the value, or choose another method with --ranges.";
    Capability = "CAP", "a faulty description of a target",
        "There is no target of that name, or a capability document contradicts itself or its form; the message names \
         the key. Codes that begin with CAP- are something else: reasons why a sound document refuses a node.",
        "Take a name from `fewbit targets`, or correct the key in the file.";
    Plan = "PLAN", "a plan that does not fit",
        "The plan is of another model, another target or another version, was changed by hand, or asks for a node \
         that is not there.",
        "Make the plan again with `fewbit plan`, and keep nodes at a precision with --pin.";
    Infeasible = "INFEASIBLE", "bounds that no plan meets",
        "No choice of precisions and processors keeps every limit that was given. The message names the limit that binds \
         and the least that can be had with the others.",
        "Loosen the limit that is named, or another one, or allow more precisions with --candidates.";
    Backend = "BACKEND", "a backend failed",
        "The device could not compile or run the program, for a reason of its own that the message repeats.",
        "Look at `fewbit backends`, give the device more memory or fewer threads, or use another one with --backend.";
} }

/// An error of the core: kind, place, message and remedy.
///
/// Messages are lower-case, without a final full stop, and name what was expected and what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct CoreError {
    kind: CoreErrorKind,
    message: String,
    place: Option<String>,
    help: Option<String>,
}

impl CoreError {
    /// An error of `kind` with `message`, without a place and a remedy so far.
    pub fn new(kind: CoreErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), place: None, help: None }
    }

    /// The same error at `place` (a node's or value's name, a file and line), unless it has one already.
    #[must_use]
    pub fn at(mut self, place: impl Into<String>) -> Self {
        self.place.get_or_insert_with(|| place.into());
        self
    }

    /// The same error with what to do about it, unless it has a remedy already.
    #[must_use]
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help.get_or_insert_with(|| help.into());
        self
    }

    /// What went wrong.
    pub fn kind(&self) -> CoreErrorKind {
        self.kind
    }

    /// The stable code, which `fewbit explain` understands.
    pub fn code(&self) -> &'static str {
        self.kind.entry().code
    }

    /// The message without the place.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Where it went wrong, where that is known.
    pub fn place(&self) -> Option<&str> {
        self.place.as_deref()
    }

    /// What to do about it, where there is an answer.
    pub fn remedy(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl fmt::Display for CoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{place}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// The result of this crate's fallible functions.
pub type Result<T, E = CoreError> = std::result::Result<T, E>;
