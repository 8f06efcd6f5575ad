//! Operator sets before 7: operands that broadcast only where an attribute says so, and along the axis that it names.

use fewbit_core::ir::Op;

use super::Site;
use crate::error::Result;

impl Site<'_, '_> {
    /// Brings the inputs into the form of set 7.
    pub(super) fn align_old(&mut self, op_type: &str) -> Result<()> {
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
            "BatchNormalization" if !a.flag("spatial", true) => {
                return Err(a.lacks("spatial 0; statistics per channel, spatial 1, are supported"));
            }
            "Reshape" if opset < 5 => match a.ints("shape") {
                Some(shape) => self.push_ints("shape", shape)?,
                None => return Err(a.fail("expects a shape, found none")),
            },
            "Tile" if opset < 6 => {
                return Err(
                    a.lacks("tiles along one axis; repeats of every axis, from set 6 on, are supported")
                );
            }
            "Cast" if opset < 6 => {
                return Err(a.lacks("a type by its name; types by number, from set 6 on, are supported"));
            }
            "Concat" if opset < 4 && !a.has("axis") => {
                return Err(a.lacks("no axis; a given axis is supported"));
            }
            "Pad" if opset < 2 => {
                return Err(a.lacks("the attribute paddings; pads, from set 2 on, are supported"));
            }
            "Upsample" => return Err(a.lacks("a scale per axis name; scales, from set 7 on, are supported")),
            _ => {}
        }
        Ok(())
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
