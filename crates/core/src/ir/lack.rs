//! Operators without a meaning here, and how that is said.

use super::{Node, Op};
use crate::error::{CoreError, CoreErrorKind};

/// What import found lacking of an operator that this build has no meaning for.
///
/// It is for messages only: two graphs that differ in it alone compute the same, and the text form leaves it out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Lack {
    /// The version of its domain's operator set; `None` where the model imports none.
    pub opset: Option<i64>,
    /// What of it has no meaning, where other forms of the operator have one, and which those are: `auto_pad
    /// SAME_UPPER; NOTSET and VALID are supported`.
    pub form: Option<String>,
    /// The nearest operator that has a meaning: `Gelu of ONNX, from operator set 20 on`.
    pub nearest: Option<String>,
    /// What to do about it, where there is no nearest and import knows: a sentence without an end.
    pub remedy: Option<String>,
}

impl Node {
    /// The path and the node of the first operator without a meaning: the node itself, or one inside its bodies, at
    /// any depth. The parts of a path are joined by slashes: node, body, node.
    pub fn opaque(&self) -> Option<(String, &Node)> {
        match &self.op {
            Op::Opaque { .. } => Some((self.name.clone(), self)),
            Op::Control(control) => {
                let (body, path, node) = control.opaque()?;
                Some((format!("{}/{body}/{path}", self.name), node))
            }
            _ => None,
        }
    }

    /// The refusal of a node that has, or whose bodies hold, an operator without a meaning: it names the node by its
    /// path, the operator with its domain and set, what of it is lacking, and the nearest that would do.
    pub fn unsupported(&self) -> Option<CoreError> {
        let (path, node) = self.opaque()?;
        let Op::Opaque { lack, .. } = &node.op else { return None };
        let name = node.op.kind();
        let set = match lack.opset {
            Some(opset) => format!("operator set {opset}"),
            None => "its domain's operator set is not imported".to_owned(),
        };
        let message = match &lack.form {
            Some(form) => format!("expected a form of {name} ({set}) that this build has, found {form}"),
            None => format!("expected an operator that this build has, found {name} ({set})"),
        };
        let help = match (&lack.nearest, &lack.remedy) {
            (Some(nearest), _) => format!("the nearest that this build has is {nearest}"),
            (None, Some(remedy)) => remedy.clone(),
            (None, None) => "replace the operator in the model, or export it without".to_owned(),
        };
        Some(CoreError::new(CoreErrorKind::Unsupported, message).at(path).help(help))
    }
}
