//! Functions of elements: conversions, tables, sums and products, functions of one float.

use fewbit_core::capability::reasons;
use fewbit_core::ir::{Activation, BinaryOp, Node, UnaryOp};
use fewbit_core::quant::convert;
use fewbit_core::reference::unary_function;

use super::{Params, Walk, shader};
use crate::lower::{
    Codes, Layout, Lowering, Result, expect_shape, extents_of, is_real, ratio, refused, require_real, usable,
};
use crate::plan::{Arg, Shader};

const TABLE: &str = include_str!("table.wgsl");
const CONVERT: &str = include_str!("convert.wgsl");
const UNARY: &str = include_str!("unary.wgsl");
const BINARY: &str = include_str!("binary.wgsl");

/// The body of a function of a vector of floats `x` with the parameters `g.p` and `g.q`, and their values.
fn function(op: UnaryOp) -> Option<(&'static str, [f32; 2])> {
    let none = [0.0; 2];
    Some(match op {
        UnaryOp::Relu => ("select(x, vec4(0.0), x < vec4(0.0))", none),
        UnaryOp::LeakyRelu { alpha } => ("select(x, x * g.p, x < vec4(0.0))", [alpha, 0.0]),
        UnaryOp::Elu { alpha } => ("select(x, g.p * expm1(x), x < vec4(0.0))", [alpha, 0.0]),
        UnaryOp::Clip { min, max } => ("bounded(x, g.p, g.q)", [min, max]),
        UnaryOp::Sigmoid => ("sigmoid(x)", none),
        UnaryOp::HardSigmoid { alpha, beta } => ("bounded(g.p * x + g.q, 0.0, 1.0)", [alpha, beta]),
        UnaryOp::HardSwish => ("x * bounded(x / 6.0 + 0.5, 0.0, 1.0)", none),
        UnaryOp::Silu => ("x * sigmoid(x)", none),
        UnaryOp::Gelu { tanh: false } => ("0.5 * x * erfc(x * -0.70710678)", none),
        UnaryOp::Gelu { tanh: true } => ("x * sigmoid(1.5957691 * (x + 0.044715 * x * x * x))", none),
        UnaryOp::Mish => ("x * hyperbolic(softplus(x))", none),
        UnaryOp::Softplus => ("softplus(x)", none),
        UnaryOp::Tanh => ("hyperbolic(x)", none),
        UnaryOp::Erf => ("erf(x)", none),
        UnaryOp::Exp => ("exp(x)", none),
        UnaryOp::Log => ("log(x)", none),
        UnaryOp::Sqrt => ("sqrt(x)", none),
        UnaryOp::Reciprocal => ("1.0 / x", none),
        UnaryOp::Abs => ("abs(x)", none),
        UnaryOp::Neg => ("-x", none),
        UnaryOp::Floor => ("floor(x)", none),
        UnaryOp::Ceil => ("ceil(x)", none),
        UnaryOp::Round => ("round(x)", none),
        _ => return None,
    })
}

/// The function of two floats, and whether it takes a fused clamp.
fn of_two(op: BinaryOp) -> Option<&'static str> {
    Some(match op {
        BinaryOp::Add => "a + b",
        BinaryOp::Sub => "a - b",
        BinaryOp::Mul => "a * b",
        BinaryOp::Div => "a / b",
        BinaryOp::Min => "or_nan(a, b, min(a, b))",
        BinaryOp::Max => "or_nan(a, b, max(a, b))",
        BinaryOp::PRelu => "select(a, a * b, a < vec4(0.0))",
        _ => return None,
    })
}

impl<'g> Lowering<'g> {
    /// Launches a kernel that computes each quad of the output from the same one of the input, in its layout.
    fn each(
        &mut self,
        node: &'g Node,
        more: Vec<Arg>,
        shader: Shader,
        rest: impl FnOnce(Params) -> Params,
    ) -> Result<()> {
        let (id, x) = self.input(node, 0)?;
        let (_, y) = self.out(node)?;
        let shape = extents_of(x)?;
        expect_shape(y, &shape)?;
        let (layout, from) = self.any(id)?;
        let quads = layout.quads(&shape);
        let to = self.output(node, layout)?;
        let reads = [vec![from], more].concat();
        self.launch_quads(shader, reads, to, rest(Params::new().u(&[quads])).done(), quads);
        Ok(())
    }

    pub(crate) fn quantize(&mut self, node: &'g Node) -> Result<()> {
        let (_, x) = self.input(node, 0)?;
        let (_, y) = self.out(node)?;
        require_real(x)?;
        let codes = self.codes(y)?;
        let values = [
            ("FROM", "vec4<f32>"),
            ("TO", "u32"),
            ("BODY", "return word_of(vec4(code_of(x.x), code_of(x.y), code_of(x.z), code_of(x.w)), g.flip);"),
        ];
        self.each(node, Vec::new(), shader("quantize", CONVERT, &values), |params| {
            params.bits(&[codes.flip()]).f(&[codes.scale]).i(&[codes.zero()])
        })
    }

    pub(crate) fn dequantize(&mut self, node: &'g Node) -> Result<()> {
        let (_, x) = self.input(node, 0)?;
        let (_, y) = self.out(node)?;
        require_real(y)?;
        let codes = self.codes(x)?;
        let body = "return vec4<f32>(codes_of(x, g.flip) - vec4(g.zero)) * g.scale;";
        let values = [("FROM", "u32"), ("TO", "vec4<f32>"), ("BODY", body)];
        self.each(node, Vec::new(), shader("dequantize", CONVERT, &values), |params| {
            params.bits(&[codes.flip()]).f(&[codes.scale]).i(&[codes.zero()])
        })
    }

    pub(crate) fn requantize(&mut self, node: &'g Node) -> Result<()> {
        let (id, x) = self.input(node, 0)?;
        let (_, y) = self.out(node)?;
        let (from, to) = (self.codes(x)?, self.codes(y)?);
        usable(ratio(from, to))?;
        let shape = extents_of(x)?;
        expect_shape(y, &shape)?;
        let (layout, place) = self.any(id)?;
        let quads = layout.quads(&shape);
        let tensor = self.output(node, layout)?;
        self.runs(place, tensor, (quads, quads, quads, 0), 1, Some((from, to)));
        Ok(())
    }

    pub(crate) fn unary(&mut self, node: &'g Node, op: UnaryOp) -> Result<()> {
        let (_, x) = self.input(node, 0)?;
        let (_, y) = self.out(node)?;
        if is_real(x) {
            require_real(y)?;
            let Some((body, [p, q])) = function(op) else {
                return refused(reasons::OP, format!("no kernel computes {} of floats", op.name()));
            };
            let name = format!("{}_f32", op.name().to_lowercase());
            return self
                .each(node, Vec::new(), shader(&name, UNARY, &[("BODY", body)]), |params| params.f(&[p, q]));
        }
        let (from, to) = (self.codes(x)?, self.codes(y)?);
        let table = self.constant(|| {
            let table = convert::table(
                from.range(),
                from.scale,
                from.own_zero(),
                |real| unary_function(op, real),
                to.scale,
                to.own_zero(),
                to.range(),
            );
            table.iter().map(|&code| code as u8).collect()
        })?;
        self.each(node, vec![table], shader("table", TABLE, &[]), |params| params)
    }

    pub(crate) fn binary(&mut self, node: &'g Node, op: BinaryOp, activation: Activation) -> Result<()> {
        let ((a_id, a), (b_id, b)) = (self.input(node, 0)?, self.input(node, 1)?);
        let (_, y) = self.out(node)?;
        let (left, right, shape) = (extents_of(a)?, extents_of(b)?, extents_of(y)?);
        for (operand, own) in [(a, &left), (b, &right)] {
            let fits = own.len() <= shape.len()
                && own.iter().rev().zip(shape.iter().rev()).all(|(&own, &out)| own == out || own == 1);
            if !fits {
                return refused(reasons::BROADCAST, format!("`{}` does not broadcast", operand.name));
            }
        }
        let function = self.of_two(node, op, activation)?;
        // The layout of an operand that has the output's extents.
        let layout = [(a_id, a, &left), (b_id, b, &right)]
            .into_iter()
            .filter(|(_, value, own)| **own == shape && value.constant.is_none())
            .map(|(id, ..)| self.layout(id))
            .next()
            .unwrap_or(Layout::Rows);
        if left == shape && right == shape {
            let reads = vec![self.want(a_id, layout)?, self.want(b_id, layout)?];
            let quads = layout.quads(&shape);
            let to = self.output(node, layout)?;
            let shader = function.shader(false);
            let params = function.params(Walk::new(Layout::Rows, &[quads * 4], &[&[1], &[1]]).params());
            self.launch_quads(shader, reads, to, params, quads);
            return Ok(());
        }
        let (mut reads, mut strides): (Vec<Arg>, Vec<Vec<i64>>) = (Vec::new(), Vec::new());
        for (id, own) in [(a_id, &left), (b_id, &right)] {
            // Operands of fewer dimensions stay as they are in the program.
            let wanted = if own.len() == shape.len() { layout } else { Layout::Rows };
            reads.push(self.want(id, wanted)?);
            let own_strides = wanted.strides(own);
            let missing = shape.len() - own.len();
            strides.push(
                (0..shape.len())
                    .map(|axis| match axis.checked_sub(missing) {
                        Some(axis) if own[axis] != 1 => own_strides[axis] as i64,
                        _ => 0,
                    })
                    .collect(),
            );
        }
        let to = self.output(node, layout)?;
        let walk = Walk::new(layout, &shape, &[&strides[0], &strides[1]]);
        let shader = function.shader(true);
        self.launch_quads(shader, reads, to, function.params(walk.params()), walk.quads());
        Ok(())
    }

    fn of_two(&self, node: &'g Node, op: BinaryOp, activation: Activation) -> Result<OfTwo> {
        let ((_, a), (_, b)) = (self.input(node, 0)?, self.input(node, 1)?);
        let (_, y) = self.out(node)?;
        let (low, high) = activation.bounds();
        let clamped = matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul);
        if !clamped && activation != Activation::None {
            return refused(reasons::FUSED, "only sums and products take a fused clamp");
        }
        if is_real(a) && is_real(b) && is_real(y) {
            let Some(body) = of_two(op) else {
                return refused(reasons::OP, format!("no kernel computes {} of floats", op.name()));
            };
            let name = op.name().to_lowercase();
            let bounds = if activation == Activation::None { None } else { Some((low, high)) };
            return Ok(OfTwo::Reals { name, body, bounds });
        }
        if !clamped {
            return refused(reasons::TYPE, format!("the kernel of {} takes f32", op.name()));
        }
        let [x, z, out] = [self.codes(a)?, self.codes(b)?, self.codes(y)?];
        let ratios = if op == BinaryOp::Mul {
            [convert::product_multiplier(x.scale, z.scale, out.scale), 0.0]
        } else {
            [ratio(x, out), if op == BinaryOp::Sub { -ratio(z, out) } else { ratio(z, out) }]
        };
        for ratio in ratios {
            usable(ratio)?;
        }
        Ok(OfTwo::Codes {
            product: op == BinaryOp::Mul,
            ratios,
            codes: [x, z, out],
            bounds: out.bounds((low, high)),
        })
    }
}

/// A function of two elements.
enum OfTwo {
    Reals { name: String, body: &'static str, bounds: Option<(f32, f32)> },
    Codes { product: bool, ratios: [f32; 2], codes: [Codes; 3], bounds: (i32, i32) },
}

impl OfTwo {
    /// The kernel; `walks` where an operand is broadcast.
    fn shader(&self, walks: bool) -> Shader {
        let (name, quad, element, whole, part, body) = match self {
            OfTwo::Reals { name, body, bounds } => (
                format!("{name}_f32"),
                "vec4<f32>",
                "f32",
                "x[quad]",
                "x[u32(place.first)]",
                if bounds.is_some() {
                    format!("return bounded({body}, g.clamp_low, g.clamp_high);")
                } else {
                    format!("return {body};")
                },
            ),
            OfTwo::Codes { product, .. } => (
                format!("{}_codes", if *product { "mul" } else { "add" }),
                "u32",
                "i32",
                "codes_of(x[quad], g.flip_a)",
                "code_of(x[u32(place.first) / 4u], u32(place.first), g.flip_a)",
                if *product {
                    "let real = vec4<f32>((a - vec4(g.zero_a)) * (b - vec4(g.zero_b))) * g.ratio_a;
  return word_of(nearest(real, g.low, g.high) + vec4(g.zero), g.flip);"
                        .to_owned()
                } else {
                    "let left = kept(vec4<f32>(a - vec4(g.zero_a)) * g.ratio_a, g.none);
  let right = kept(vec4<f32>(b - vec4(g.zero_b)) * g.ratio_b, g.none);
  return word_of(nearest(left + right, g.low, g.high) + vec4(g.zero), g.flip);"
                        .to_owned()
                },
            ),
        };
        let second = |text: &str| text.replace("x[", "z[").replace("first", "second").replace("_a", "_b");
        let operand = match (walks, element) {
            (false, _) => quad,
            (true, "f32") => "f32",
            (true, _) => "u32",
        };
        let load = if walks {
            let lanes = |load: &str| {
                format!(
                    "vec4({})",
                    ["p0", "p1", "p2", "p3"].map(|lane| load.replace("place", lane)).join(", ")
                )
            };
            format!(
                "{}let a = {};\n  let b = {};",
                (0..4)
                    .map(|lane| format!(
                        "let p{lane} = place_of(quad * 4u + {lane}u, 0u, 0u, 0xffffffffu);\n  "
                    ))
                    .collect::<String>(),
                lanes(part),
                lanes(&second(part))
            )
        } else {
            format!("let a = {whole};\n  let b = {};", second(whole))
        };
        let vector = if element == "f32" { "vec4<f32>" } else { "vec4<i32>" };
        let name = if walks { format!("{name}_broadcast") } else { name };
        let values = [
            ("OPERAND", operand),
            ("QUAD", quad),
            ("VECTOR", vector),
            ("LOAD", load.as_str()),
            ("BODY", body.as_str()),
        ];
        shader(&name, BINARY, &values)
    }

    fn params(&self, walk: Params) -> Vec<u32> {
        match self {
            OfTwo::Reals { bounds, .. } => {
                let (low, high) = bounds.unwrap_or((f32::NEG_INFINITY, f32::INFINITY));
                walk.f(&[low, high]).u(&[0; 11]).done()
            }
            OfTwo::Codes { ratios, codes: [x, z, out], bounds, .. } => walk
                .u(&[0; 2])
                .f(ratios)
                .i(&[x.zero(), z.zero(), out.zero()])
                .i(&[bounds.0 - out.zero(), bounds.1 - out.zero()])
                .bits(&[x.flip(), z.flip(), out.flip(), 0])
                .done(),
        }
    }
}
