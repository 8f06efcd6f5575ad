//! What only moves elements: other names for the same bytes, other orders, several tensors in one.

use fewbit_plugin_sdk::{Node, Result, Why};

use super::window::alike;
use super::{Arg, Layout, Lowering};

impl<'p> Lowering<'p> {
    /// Operators whose output is the input's bytes: no launch, unless the layout must change.
    pub(super) fn alias(&mut self, node: &Node<'p>) -> Result<()> {
        let names: &[&str] = match node.op_type {
            "Reshape" => &["allowzero"],
            "Flatten" => &["axis"],
            "Squeeze" | "Unsqueeze" => &["axes"],
            _ => &[],
        };
        let least = if node.op_type == "Reshape" { 2 } else { 1 };
        let (inputs, y) = self.operands(node, least, least, names)?;
        let Some(x) = inputs[0] else { return Err(self.refused(Why::OP, "expected an input")) };
        let (input, output) = (self.shape(x)?, self.shape(y)?);
        self.width(x)?;
        if !alike(x, y) {
            return Err(
                self.refused(Why::SCHEME, "expected the output's type and parameters to be the input's")
            );
        }
        if input.iter().product::<usize>() != output.iter().product::<usize>() {
            return Err(self.refused(Why::SHAPE, format!("{input:?} does not give {output:?}")));
        }
        // Equal extents keep every layout.
        let layout = match node.inputs[0] {
            Some(value) if input == output && !x.is_constant() => self.layout(value),
            _ => Layout::Rows,
        };
        let place = self.want_input(node, 0, layout)?;
        self.places.insert((node.outputs[0], layout), place);
        Ok(())
    }

    pub(super) fn transpose(&mut self, node: &Node<'p>) -> Result<()> {
        let (inputs, y) = self.operands(node, 1, 1, &["perm"])?;
        let Some(x) = inputs[0] else { return Err(self.refused(Why::OP, "expected an input")) };
        let shape = self.shape(x)?;
        let perm: Vec<usize> =
            node.ints("perm")?.iter().map(|&axis| usize::try_from(axis).unwrap_or(usize::MAX)).collect();
        let mut sorted = perm.clone();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..shape.len()) {
            return Err(self.refused(Why::ATTRIBUTE, format!("perm {perm:?} of {} dimensions", shape.len())));
        }
        let extents: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
        self.expect_shape(y, &extents)?;
        if !alike(x, y) {
            return Err(
                self.refused(Why::SCHEME, "expected the output's type and parameters to be the input's")
            );
        }
        let width = self.width(x)?;
        // Whatever layout the input has already, one walk reads it.
        let layout = match node.inputs[0] {
            Some(value) if !x.is_constant() => self.layout(value),
            _ => Layout::Rows,
        };
        let own = layout.strides(&shape);
        let strides: Vec<i64> = perm.iter().map(|&axis| own[axis] as i64).collect();
        let from = self.want_input(node, 0, layout)?;
        let to = self.output(node, Layout::Rows)?;
        self.permute(from, to, width, &extents, &strides, 0);
        Ok(())
    }

    /// `DepthToSpace` and `SpaceToDepth`: a transposition of six dimensions.
    pub(super) fn blocks(&mut self, node: &Node<'p>) -> Result<()> {
        let to_space = node.op_type == "DepthToSpace";
        let names = ["blocksize", "mode"];
        let (inputs, y) = self.operands(node, 1, 1, if to_space { &names } else { &names[..1] })?;
        let Some(x) = inputs[0] else { return Err(self.refused(Why::OP, "expected an input")) };
        let (shape, width) = (self.shape(x)?, self.width(x)?);
        let &[n, c, h, w] = &shape[..] else { return Err(self.refused(Why::RANK, "expected 4 dimensions")) };
        let block = usize::try_from(node.int("blocksize")?).unwrap_or(0);
        let fits = if to_space {
            c.checked_rem(block.saturating_mul(block)) == Some(0)
        } else {
            h.checked_rem(block) == Some(0) && w.checked_rem(block) == Some(0)
        };
        if !fits || !alike(x, y) {
            return Err(self.refused(Why::SHAPE, format!("blocks of {block} of {shape:?}")));
        }
        let (six, perm, expected) = if to_space {
            let depth = c / (block * block);
            let expected = [n, depth, h * block, w * block];
            match node.text("mode")? {
                "DCR" => ([n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2], expected),
                "CRD" => ([n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3], expected),
                other => return Err(self.refused(Why::ATTRIBUTE, format!("mode `{other}`"))),
            }
        } else {
            let six = [n, c, h / block, block, w / block, block];
            (six, [0, 3, 5, 1, 2, 4], [n, c * block * block, h / block, w / block])
        };
        self.expect_shape(y, &expected)?;
        let own = Layout::Rows.strides(&six);
        let from = self.want_input(node, 0, Layout::Rows)?;
        let to = self.output(node, Layout::Rows)?;
        self.permute(from, to, width, &perm.map(|axis| six[axis]), &perm.map(|axis| own[axis] as i64), 0);
        Ok(())
    }

    /// Pieces along an axis, each a walk over part of the input.
    pub(super) fn split(&mut self, node: &Node<'p>) -> Result<()> {
        self.attributes(node, &["axis", "split"])?;
        let (program, [Some(index)]) = (self.program, &node.inputs[..]) else {
            return Err(self.refused(Why::OP, "expected one input"));
        };
        let x = program.value(*index);
        let (shape, width) = (self.shape(x)?, self.width(x)?);
        let axis = self.axis(node, shape.len())?;
        let sizes = node.ints("split")?;
        let total: i64 = sizes.iter().sum();
        if sizes.len() != node.outputs.len() || usize::try_from(total) != Ok(shape[axis]) {
            return Err(self.refused(Why::ATTRIBUTE, format!("pieces {sizes:?} of {}", shape[axis])));
        }
        let layout = if x.is_constant() { Layout::Rows } else { self.layout(*index) };
        let own = layout.strides(&shape);
        let from = self.want(*index, layout)?;
        let mut at = 0;
        for (&size, &output) in sizes.iter().zip(node.outputs) {
            let y = program.value(output);
            let mut extents = shape.clone();
            extents[axis] = usize::try_from(size)
                .map_err(|_| self.refused(Why::ATTRIBUTE, format!("a piece of {size}")))?;
            self.expect_shape(y, &extents)?;
            if !alike(x, y) {
                return Err(self.refused(Why::SCHEME, "expected pieces of the input's type and parameters"));
            }
            let count: usize = extents.iter().product();
            let to = Arg::Tensor(self.tensor(count * width));
            let order = layout.order(shape.len());
            let sorted: Vec<usize> = order.iter().map(|&axis| extents[axis]).collect();
            let strides: Vec<i64> = order.iter().map(|&axis| own[axis] as i64).collect();
            self.permute(from, to, width, &sorted, &strides, (at * own[axis]) as i64);
            self.places.insert((output, layout), to);
            at += extents[axis];
        }
        Ok(())
    }

    pub(super) fn concat(&mut self, node: &Node<'p>) -> Result<()> {
        self.attributes(node, &["axis"])?;
        let (program, [output]) = (self.program, node.outputs) else {
            return Err(self.refused(Why::OP, "expected one output"));
        };
        let y = program.value(*output);
        let shape = self.shape(y)?;
        let axis = self.axis(node, shape.len())?;
        let mut total = 0;
        let mut operands = Vec::new();
        for &index in &node.inputs {
            let Some(index) = index else { return Err(self.refused(Why::OP, "an input is left out")) };
            let x = program.value(index);
            let own = self.shape(x)?;
            let fits = own.len() == shape.len()
                && (0..shape.len()).all(|other| other == axis || own[other] == shape[other]);
            if !fits {
                return Err(self.refused(Why::SHAPE, format!("{own:?} does not fit into {shape:?}")));
            }
            if x.quant.is_none() || y.quant.is_none() {
                self.width(x)?;
                if !alike(x, y) {
                    return Err(self.refused(Why::DTYPE, format!("`{}` is not of the output's type", x.name)));
                }
            } else {
                self.codes(x)?;
                self.codes(y)?;
            }
            total += own[axis];
            operands.push((index, x, own));
        }
        if total != shape[axis] {
            return Err(
                self.refused(Why::SHAPE, format!("{total} elements along axis {axis}, not {}", shape[axis]))
            );
        }
        // The layout of the first input that is computed.
        let layout = operands
            .iter()
            .find(|(_, x, _)| !x.is_constant())
            .map_or(Layout::Rows, |&(index, _, _)| self.layout(index));
        let order = layout.order(shape.len());
        let place = order.iter().position(|&other| other == axis).unwrap_or(axis);
        let inner: usize = order[place + 1..].iter().map(|&other| shape[other]).product();
        let places: Vec<Arg> =
            operands.iter().map(|&(index, _, _)| self.want(index, layout)).collect::<Result<_>>()?;
        let to = self.output(node, layout)?;
        let mut offset = 0;
        for ((_, x, own), from) in operands.into_iter().zip(places) {
            let count: usize = own.iter().product();
            let row = own[axis] * inner;
            self.rows(from, x, to, y, (count, row.max(1), shape[axis] * inner, offset))?;
            offset += row;
        }
        Ok(())
    }
}
