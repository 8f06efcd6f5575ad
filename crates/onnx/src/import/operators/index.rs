//! Operators on positions: gathers and scatters by element, ordering, suppression.

use fewbit_core::ir::{IndexOp, Op, ScatterReduction, Tensor};

use super::{Site, from_front};
use crate::error::Result;

impl Site<'_, '_> {
    /// The operator, where it is one on positions.
    pub(super) fn index(&mut self, op_type: &str) -> Result<Option<Op>> {
        let a = self.attributes;
        Ok(Some(Op::Index(match op_type {
            "GatherElements" => IndexOp::GatherElements { axis: self.axis(a.int("axis", 0))? },
            "GatherND" => IndexOp::GatherNd { batch_dims: self.count("batch_dims")? },
            // Scatter is what ScatterElements was called before set 11.
            "ScatterElements" | "Scatter" => IndexOp::ScatterElements {
                axis: self.axis(a.int("axis", 0))?,
                reduction: self.scatter_reduction()?,
            },
            "ScatterND" => IndexOp::ScatterNd { reduction: self.scatter_reduction()? },
            "OneHot" => {
                // The axis is one of the output, which has one more than the indices.
                let axis = a.int("axis", -1);
                let rank = self.importer.rank(self.input(0))? + 1;
                IndexOp::OneHot { axis: from_front(axis, rank).ok_or_else(|| self.bad_axis(rank))? }
            }
            "CumSum" => {
                IndexOp::CumSum { exclusive: a.flag("exclusive", false), reverse: a.flag("reverse", false) }
            }
            "TopK" => {
                if a.has("k") {
                    self.inputs.truncate(1);
                    self.push_ints("k", &[a.int("k", 0)])?;
                }
                IndexOp::TopK { axis: self.axis(a.int("axis", -1))?, largest: a.flag("largest", true) }
            }
            "NonMaxSuppression" => {
                self.drop_empty();
                match a.int("center_point_box", 0) {
                    0 => IndexOp::NonMaxSuppression { center: false },
                    1 => IndexOp::NonMaxSuppression { center: true },
                    other => return Err(a.fail(format!("expects center_point_box 0 or 1, found {other}"))),
                }
            }
            "NonZero" => IndexOp::NonZero,
            "Compress" => {
                let axis = if a.has("axis") { Some(self.axis(a.int("axis", 0))?) } else { None };
                IndexOp::Compress { axis }
            }
            "Trilu" => IndexOp::Trilu { upper: a.flag("upper", true) },
            "ReverseSequence" => {
                let axis = |name: &str, default: i64| match a.int(name, default) {
                    0 => Ok(0),
                    1 => Ok(1),
                    other => Err(a.fail(format!("expects {name} 0 or 1, found {other}"))),
                };
                IndexOp::ReverseSequence {
                    batch_axis: axis("batch_axis", 1)?,
                    time_axis: axis("time_axis", 0)?,
                }
            }
            _ => return Ok(None),
        })))
    }

    /// An attribute that counts something, 0 where absent.
    fn count(&self, name: &str) -> Result<usize> {
        usize::try_from(self.attributes.int(name, 0))
            .map_err(|_| self.attributes.fail(format!("expects {name} of 0 or more")))
    }

    fn scatter_reduction(&self) -> Result<ScatterReduction> {
        Ok(match self.attributes.text("reduction", "none") {
            "none" => ScatterReduction::None,
            "add" => ScatterReduction::Add,
            "mul" => ScatterReduction::Mul,
            "max" => ScatterReduction::Max,
            "min" => ScatterReduction::Min,
            other => return Err(self.attributes.fail(format!("expects a known reduction, found `{other}`"))),
        })
    }

    /// Some exporters give empty tensors for optional numbers they leave out.
    fn drop_empty(&mut self) {
        for index in 2..self.inputs.len() {
            if self.constant(index).is_some_and(|tensor: &Tensor| tensor.elements() == 0) {
                self.inputs[index] = None;
            }
        }
    }
}
