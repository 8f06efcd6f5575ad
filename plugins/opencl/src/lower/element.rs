//! Functions of elements: conversions, tables, sums and products, functions of one float.

use fewbit_plugin_sdk::{Node, Result, Value, Why};

use super::{Arg, Layout, Lowering};

/// Elements a work item of most of these kernels computes: `RUN`.
const RUN: usize = 16;

/// The number of a function of one float in the kernel, and the attributes that are its parameters.
pub(super) fn function(name: &str) -> Option<(i32, &'static [&'static str])> {
    Some(match name {
        "Relu" => (0, &[]),
        "LeakyRelu" => (1, &["alpha"]),
        "Elu" => (2, &["alpha"]),
        "Clip" => (3, &["min", "max"]),
        "Sigmoid" => (4, &[]),
        "HardSigmoid" => (5, &["alpha", "beta"]),
        "HardSwish" => (6, &[]),
        "Silu" => (7, &[]),
        "Gelu" => (8, &[]),
        "Mish" => (10, &[]),
        "Softplus" => (11, &[]),
        "Tanh" => (12, &[]),
        "Erf" => (13, &[]),
        "Exp" => (14, &[]),
        "Log" => (15, &[]),
        "Sqrt" => (16, &[]),
        "Reciprocal" => (17, &[]),
        "Abs" => (18, &[]),
        "Neg" => (19, &[]),
        "Floor" => (20, &[]),
        "Ceil" => (21, &[]),
        "Round" => (22, &[]),
        _ => return None,
    })
}

/// The number of an operator of two operands in the kernels.
fn operator(name: &str) -> i32 {
    ["Add", "Sub", "Mul", "Div", "Min", "Max", "Pow", "PRelu"]
        .iter()
        .position(|&known| known == name)
        .map_or(0, |place| place as i32)
}

impl<'p> Lowering<'p> {
    /// Input and output of a function of each element: of the same extents.
    fn elementwise(
        &mut self,
        node: &Node<'p>,
        inputs: usize,
        attributes: &[&str],
    ) -> Result<(&'p Value<'p>, &'p Value<'p>, usize)> {
        let (operands, y) = self.operands(node, inputs, inputs, attributes)?;
        let Some(x) = operands[0] else { return Err(self.refused(Why::OP, "expected an input")) };
        let shape = self.shape(x)?;
        self.expect_shape(y, &shape)?;
        Ok((x, y, shape.iter().product()))
    }

    /// Launches a kernel that reads input 0 and writes the output in the same layout.
    fn in_place_layout(
        &mut self,
        node: &Node<'p>,
        kernel: &'static str,
        count: usize,
        run: usize,
        rest: impl FnOnce(&mut Self, Arg, Arg) -> Result<Vec<Arg>>,
    ) -> Result<()> {
        let layout = node.inputs[0].map_or(Layout::Rows, |value| self.layout(value));
        let x = self.want_input(node, 0, layout)?;
        let y = self.output(node, layout)?;
        let args = rest(self, x, y)?;
        self.launch(kernel, args, [count.div_ceil(run), 1, 1]);
        Ok(())
    }

    pub(super) fn table(&mut self, node: &Node<'p>) -> Result<()> {
        let (x, y, count) = self.elementwise(node, 2, &["function"])?;
        self.codes(x)?;
        self.codes(y)?;
        let table = node.inputs[1].map(|value| self.program.value(value));
        let Some(data) =
            table.filter(|table| table.dtype == y.dtype && table.dims == [256]).and_then(|t| t.data)
        else {
            return Err(self.refused(Why::SHAPE, "expected a constant table of 256 codes of the output"));
        };
        self.in_place_layout(node, "table_codes", count, RUN, |this, x, y| {
            let table = this.constant(|| data.to_vec());
            Ok(vec![x, table, y, Arg::Int(count as i32)])
        })
    }

    pub(super) fn quantize(&mut self, node: &Node<'p>) -> Result<()> {
        let (x, y, count) = self.elementwise(node, 1, &[])?;
        self.reals(x)?;
        let codes = self.codes(y)?;
        self.in_place_layout(node, "quantize", count, RUN, |_, x, y| {
            let (scale, inverse) = (Arg::Float(codes.scale), Arg::Float(1.0 / codes.scale));
            Ok(vec![
                x,
                y,
                Arg::Int(count as i32),
                scale,
                inverse,
                Arg::Int(codes.zero),
                Arg::Uint(codes.flip()),
            ])
        })
    }

    pub(super) fn dequantize(&mut self, node: &Node<'p>) -> Result<()> {
        let (x, y, count) = self.elementwise(node, 1, &[])?;
        self.reals(y)?;
        let codes = self.codes(x)?;
        self.in_place_layout(node, "dequantize", count, RUN, |_, x, y| {
            let parameters = [Arg::Float(codes.scale), Arg::Int(codes.zero), Arg::Uint(codes.flip())];
            Ok([&[x, y, Arg::Int(count as i32)][..], &parameters].concat())
        })
    }

    pub(super) fn requantize(&mut self, node: &Node<'p>) -> Result<()> {
        let (x, y, count) = self.elementwise(node, 1, &[])?;
        self.codes(x)?;
        self.codes(y)?;
        let layout = node.inputs[0].map_or(Layout::Rows, |value| self.layout(value));
        let from = self.want_input(node, 0, layout)?;
        let to = self.output(node, layout)?;
        self.rows(from, x, to, y, (count, count.max(1), count, 0))
    }

    /// Launches what writes the elements of `x` into rows of `y`: `count` elements, `inner` of each `stride`, from
    /// `offset` on, in the parameters of `y`.
    pub(super) fn rows(
        &mut self,
        from: Arg,
        x: &Value<'_>,
        to: Arg,
        y: &Value<'_>,
        (count, inner, stride, offset): (usize, usize, usize, usize),
    ) -> Result<()> {
        let place = [count, inner, stride, offset].map(|number| Arg::Int(number as i32));
        let mut args = vec![from, to];
        args.extend(place);
        let items = [count.div_ceil(RUN), 1, 1];
        if x.quant.is_none() && y.quant.is_none() {
            let kernel = if self.width(x)? == 1 { "copy_rows_1" } else { "copy_rows_4" };
            self.launch(kernel, args, items);
            return Ok(());
        }
        let (codes, out) = (self.codes(x)?, self.codes(y)?);
        if codes == out {
            self.launch("copy_rows_1", args, items);
            return Ok(());
        }
        args.extend([
            Arg::Float(codes.scale / out.scale),
            Arg::Int(codes.zero),
            Arg::Uint(codes.flip()),
            Arg::Int(out.zero),
            Arg::Uint(out.flip()),
        ]);
        self.launch("requantize_rows", args, items);
        Ok(())
    }

    pub(super) fn binary(&mut self, node: &Node<'p>) -> Result<()> {
        let clamped = ["Add", "Sub", "Mul"].contains(&node.op_type);
        let (inputs, y) =
            self.operands(node, 2, 2, if clamped { &["clamp_min", "clamp_max"] } else { &[] })?;
        let (Some(a), Some(b)) = (inputs[0], inputs[1]) else {
            return Err(self.refused(Why::OP, "no inputs"));
        };
        let clamp = if clamped { self.clamp(node)? } else { (f32::NEG_INFINITY, f32::INFINITY) };
        let (left, right, shape) = (self.shape(a)?, self.shape(b)?, self.shape(y)?);
        for (operand, own) in [(a, &left), (b, &right)] {
            let fits = own.len() <= shape.len()
                && own.iter().rev().zip(shape.iter().rev()).all(|(&own, &out)| own == out || own == 1);
            if !fits {
                return Err(self.refused(Why::SHAPE, format!("`{}` does not broadcast", operand.name)));
            }
        }
        // The layout of the operand that has the output's extents.
        let layout = [(0, a, &left), (1, b, &right)]
            .into_iter()
            .filter(|(_, value, own)| **own == shape && !value.is_constant())
            .find_map(|(index, _, _)| Some(self.layout(node.inputs[index]?)))
            .unwrap_or(Layout::Rows);
        let order = layout.order(shape.len());
        let extents: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        let mut places = Vec::new();
        let mut strides: Vec<Vec<i64>> = Vec::new();
        for (index, own) in [(0, &left), (1, &right)] {
            // Operands of fewer dimensions stay row-major.
            let own_layout = if own.len() == shape.len() { layout } else { Layout::Rows };
            places.push(self.want_input(node, index, own_layout)?);
            let own_strides = own_layout.strides(own);
            let missing = shape.len() - own.len();
            strides.push(
                order
                    .iter()
                    .map(|&axis| match axis.checked_sub(missing) {
                        Some(axis) if own[axis] != 1 => own_strides[axis] as i64,
                        _ => 0,
                    })
                    .collect(),
            );
        }
        let count: usize = shape.iter().product();
        let same = left == shape && right == shape;
        let op = operator(node.op_type);
        let walk = self.walk(&extents, &[&strides[0], &strides[1]], 0);
        let head = |to: Arg| {
            vec![places[0], places[1], to, Arg::Int(count as i32), Arg::Int(op), Arg::Int(same.into())]
        };
        let items = [count.div_ceil(RUN), 1, 1];
        if Self::is_real(a) && Self::is_real(b) && Self::is_real(y) {
            let to = self.output(node, layout)?;
            let mut args = head(to);
            args.extend([Arg::Float(clamp.0), Arg::Float(clamp.1), walk]);
            self.launch("binary_floats", args, items);
            return Ok(());
        }
        if !clamped {
            return Err(self.refused(Why::DTYPE, "expected f32"));
        }
        let [x, z, out] = [self.codes(a)?, self.codes(b)?, self.codes(y)?];
        let ratios = if node.op_type == "Mul" {
            [x.scale * z.scale / out.scale, 0.0]
        } else {
            [x.scale / out.scale, z.scale / out.scale]
        };
        let (low, high) = out.bounds(clamp);
        let to = self.output(node, layout)?;
        let mut args = head(to);
        args.extend(ratios.map(Arg::Float));
        args.extend([x.zero, z.zero, out.zero, low, high].map(Arg::Int));
        args.extend([x, z, out].map(|codes| Arg::Uint(codes.flip())));
        args.push(walk);
        self.launch("binary_codes", args, items);
        Ok(())
    }

    pub(super) fn unary(&mut self, node: &Node<'p>) -> Result<()> {
        let Some((mut number, parameters)) = function(node.op_type) else {
            return Err(self.refused(Why::OP, "the function is not known"));
        };
        let gelu = node.op_type == "Gelu";
        let (x, y, count) = self.elementwise(node, 1, if gelu { &["approximate"] } else { parameters })?;
        self.reals(x)?;
        self.reals(y)?;
        if gelu {
            number += match node.text("approximate")? {
                "none" => 0,
                "tanh" => 1,
                other => return Err(self.refused(Why::ATTRIBUTE, format!("approximate is `{other}`"))),
            };
        }
        let mut numbers = [0.0f32; 2];
        for (to, name) in numbers.iter_mut().zip(parameters) {
            *to = node.float(name)? as f32;
        }
        self.in_place_layout(node, "unary_floats", count, 1, |_, x, y| {
            let head = [x, y, Arg::Int(count as i32), Arg::Int(number)];
            Ok([&head[..], &numbers.map(Arg::Float)].concat())
        })
    }
}
