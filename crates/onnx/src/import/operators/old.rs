//! Operator sets before 7: operands that broadcast only where an attribute says so, and along the axis that it names.

use fewbit_core::ir::Op;

use super::Site;
use crate::error::Result;

impl Site<'_, '_> {
    /// Brings the inputs into the form of set 7; `false` where the old form is none that is read.
    pub(super) fn align_old(&mut self, op_type: &str) -> Result<bool> {
        let (a, opset) = (self.attributes, self.importer.opset);
        match op_type {
            "Add" | "Sub" | "Mul" | "Div" | "Pow" | "And" | "Or" | "Xor" | "Equal" | "Greater" | "Less"
                if a.flag("broadcast", false) && a.has("axis") =>
            {
                let axis = self.axis(a.int("axis", 0))?;
                self.align(axis)?;
            }
            // A slope per channel.
            "PRelu" if self.importer.rank(self.input(1))? == 1 && self.importer.rank(self.input(0))? > 2 => {
                self.align(1)?;
            }
            "BatchNormalization" if !a.flag("spatial", true) => return Ok(false),
            "Reshape" if opset < 5 => match a.ints("shape") {
                Some(shape) => self.push_ints("shape", shape)?,
                None => return Ok(false),
            },
            "Tile" | "Cast" if opset < 6 => return Ok(false),
            "Concat" if opset < 4 && !a.has("axis") => return Ok(false),
            "Pad" if opset < 2 => return Ok(false),
            "Upsample" => return Ok(false),
            _ => {}
        }
        Ok(true)
    }

    /// Puts the second operand's axes at those of the first that begin with `axis`.
    fn align(&mut self, axis: usize) -> Result<()> {
        let (wide, narrow) = (self.importer.rank(self.input(0))?, self.importer.rank(self.input(1))?);
        let behind = axis.saturating_add(narrow);
        let Some(second) = self.input(1) else { return Ok(()) };
        if behind < wide {
            let axes = (narrow..narrow + (wide - behind)).collect();
            let aligned = self.then(Op::Unsqueeze { axes }, &[second]);
            self.inputs[1] = Some(aligned);
        }
        Ok(())
    }
}
