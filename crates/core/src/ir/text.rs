//! The stable text form of graphs: one line per node, to read, diff and snapshot.
//!
//! Owns [`render`] and the canonical form that [`hash`](super::hash) digests. The text depends on names, types,
//! operators and constants, never on ids or the order of maps. It is not meant to be read back.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::{
    Activation, Attribute, BinaryOp, Control, ConvAttributes, Graph, Node, Op, PoolAttributes, ScanAxis,
    Tensor, UnaryOp, Value, ValueId,
};
use crate::quant::{Granularity, QuantParams};

/// Constants of at most this many elements are shown in full.
const SHOWN_ELEMENTS: usize = 8;

/// Characters of a digest in the readable form.
const SHORT_DIGEST: usize = 12;

/// How much of constants, parameters and free text is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Detail {
    /// For people: large constants as short digests, many scales as their range.
    Readable,
    /// For [`hash`](super::hash::hash): every bit of every constant and parameter, no model name, no metadata.
    Canonical,
}

/// The graph as text.
///
/// Inputs, then the constants in the order of their first reader, then one line per node, then the outputs:
///
/// ```text
/// graph "digits"
/// input %x: f32[1, 1, 8, 8]
/// const %w: f32[4, 1, 3, 3] = #0f343b093112
/// %y: f32[1, 4, 6, 6] = Conv(%x, %w) kernel=[3, 3] strides=[1, 1] pads=[0, 0, 0, 0] activation=relu
/// output %y
/// ```
///
/// The bodies of control flow follow their node, indented under their names.
/// A node whose name is not its first output's ends with `name=`. Constants of at most 8 elements are written in
/// full, others by a digest of their bytes; parameters of quantized values follow their type as
/// `q(scale, zero point)`.
pub fn render(graph: &Graph) -> String {
    write(graph, Detail::Readable)
}

/// The graph as text in the given detail.
pub(super) fn write(graph: &Graph, detail: Detail) -> String {
    let mut text = String::new();
    if detail == Detail::Readable {
        writeln!(text, "graph {:?}", graph.name).expect("writing to a string");
        for (key, value) in &graph.metadata {
            writeln!(text, "meta {key:?} = {value:?}").expect("writing to a string");
        }
    }
    write_content(graph, detail, &mut text);
    text
}

/// The lines of inputs, constants, nodes and outputs, behind what `text` holds.
fn write_content(graph: &Graph, detail: Detail, text: &mut String) {
    let mut out = Writer { graph, detail, text: std::mem::take(text) };
    for &id in &graph.inputs {
        let line = format!("input {}", out.typed(id));
        out.line(&line);
    }
    for id in constants(graph) {
        let line = out.constant(id);
        out.line(&line);
    }
    for (_, node) in graph.nodes() {
        let line = out.node(node);
        out.line(&line);
        if let Op::Control(control) = &node.op {
            for (name, body) in control.bodies() {
                out.body(name, body);
            }
        }
    }
    for &id in &graph.outputs {
        let line = format!("output {}", out.name(id));
        out.line(&line);
    }
    *text = out.text;
}

/// The constants that a node reads or the caller gets, in the order of their first use.
fn constants(graph: &Graph) -> Vec<ValueId> {
    let mut seen = vec![false; graph.value_ids().len()];
    let read = graph.nodes().flat_map(|(_, node)| node.inputs.iter().flatten().copied());
    let mut found = Vec::new();
    for id in read.chain(graph.outputs.iter().copied()) {
        if graph.value(id).constant.is_some() && !std::mem::replace(&mut seen[id.index()], true) {
            found.push(id);
        }
    }
    found
}

struct Writer<'a> {
    graph: &'a Graph,
    detail: Detail,
    text: String,
}

impl Writer<'_> {
    /// A body of the node above, indented.
    fn body(&mut self, name: &str, body: &Graph) {
        self.line(&format!("  {name}"));
        let mut text = String::new();
        write_content(body, self.detail, &mut text);
        for line in text.lines() {
            self.line(&format!("    {line}"));
        }
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn name(&self, id: ValueId) -> String {
        format!("%{}", plain(&self.graph.value(id).name))
    }

    /// `%x: u8[1, 3, 8, 8] q(0.5, 128)`.
    fn typed(&self, id: ValueId) -> String {
        let value = self.graph.value(id);
        format!("{}: {}", self.name(id), self.type_of(value))
    }

    fn type_of(&self, value: &Value) -> String {
        let mut text = value.dtype.map_or("?", super::DType::name).to_owned();
        match &value.shape {
            Some(shape) => write!(text, "{shape}").expect("writing to a string"),
            None => text.push_str("[?]"),
        }
        if let Some(quant) = &value.quant {
            write!(text, " {}", self.quant(quant)).expect("writing to a string");
        }
        text
    }

    fn quant(&self, quant: &QuantParams) -> String {
        if let Some((scale, zero)) = quant.tensor_wide() {
            return format!("q({}, {zero})", number(scale));
        }
        let sharing = match quant.granularity {
            Granularity::PerTensor => "tensor".to_owned(),
            Granularity::PerChannel { axis } => format!("axis={axis}"),
            Granularity::PerBlock { axis, size } => format!("axis={axis} block={size}"),
        };
        let zeros = match quant.zero_points.first() {
            Some(first) if quant.zero_points.iter().all(|zero| zero == first) => first.to_string(),
            _ => format!("{:?}", quant.zero_points),
        };
        let scales = if self.detail == Detail::Canonical || quant.scales.len() <= SHOWN_ELEMENTS {
            list(quant.scales.iter().map(|&scale| number(scale)))
        } else {
            let low = quant.scales.iter().copied().fold(f32::INFINITY, f32::min);
            let high = quant.scales.iter().copied().fold(0.0, f32::max);
            format!("{} scales {}..{}", quant.scales.len(), number(low), number(high))
        };
        format!("q({sharing} {scales}, {zeros})")
    }

    fn constant(&self, id: ValueId) -> String {
        let content = self.graph.value(id).constant.as_ref().map(|tensor| self.tensor(tensor));
        format!("const {} = {}", self.typed(id), content.unwrap_or_default())
    }

    fn tensor(&self, tensor: &Tensor) -> String {
        if self.detail == Detail::Readable && tensor.elements() <= SHOWN_ELEMENTS {
            return if tensor.dtype().is_float() {
                list(tensor.to_f64_vec().into_iter().map(double))
            } else {
                list(tensor.to_i64_vec().into_iter().map(|x| x.to_string()))
            };
        }
        let digest = digest(tensor.bytes());
        let length = if self.detail == Detail::Readable { SHORT_DIGEST } else { digest.len() };
        format!("#{}", &digest[..length])
    }

    fn node(&self, node: &Node) -> String {
        let outputs: Vec<String> = node.outputs.iter().map(|&id| self.typed(id)).collect();
        let inputs: Vec<String> =
            node.inputs.iter().map(|input| input.map_or("_".to_owned(), |id| self.name(id))).collect();
        let mut text = format!("{} = {}({})", outputs.join(", "), node.op.kind(), inputs.join(", "));
        for (key, value) in self.attributes(&node.op) {
            write!(text, " {key}={value}").expect("writing to a string");
        }
        if let Some(precision) = node.precision {
            write!(text, " precision={precision}").expect("writing to a string");
        }
        if node.outputs.first().is_none_or(|&id| self.graph.value(id).name != node.name) {
            write!(text, " name={:?}", node.name).expect("writing to a string");
        }
        text
    }

    /// The attributes that say something: those of no effect are left out.
    fn attributes(&self, op: &Op) -> Vec<(String, String)> {
        let mut list = Attributes(Vec::new());
        match op {
            Op::Conv { conv, .. } => list.conv(conv),
            Op::ConvTranspose { conv, output_padding, .. } => {
                list.conv(conv);
                list.push_if(output_padding.iter().any(|&p| p != 0), "output_padding", debug(output_padding));
            }
            Op::Gemm { alpha, beta, trans_a, trans_b, .. } => {
                list.push_if(*alpha != 1.0, "alpha", number(*alpha));
                list.push_if(*beta != 1.0, "beta", number(*beta));
                list.flag("trans_a", *trans_a);
                list.flag("trans_b", *trans_b);
            }
            Op::MaxPool(pool) => list.pool(pool),
            Op::AveragePool(pool) => {
                list.pool(pool);
                list.flag("count_include_pad", pool.count_include_pad);
            }
            Op::Unary(op) => list.unary(*op),
            Op::Softmax { axis, .. } => list.push("axis", axis.to_string()),
            Op::BatchNorm { epsilon } | Op::InstanceNorm { epsilon } => {
                list.push("epsilon", number(*epsilon));
            }
            Op::LayerNorm { axis, epsilon } => {
                list.push("axis", axis.to_string());
                list.push("epsilon", number(*epsilon));
            }
            Op::Reduce { axes, keep_dims, .. } => {
                list.push("axes", debug(axes));
                list.push("keep_dims", keep_dims.to_string());
            }
            Op::ArgMax { axis, keep_dims, last, .. } => {
                list.push("axis", axis.to_string());
                list.push("keep_dims", keep_dims.to_string());
                list.flag("last", *last);
            }
            Op::Reshape { allow_zero } => list.flag("allow_zero", *allow_zero),
            Op::Flatten { axis } | Op::Concat { axis } | Op::Gather { axis } => {
                list.push("axis", axis.to_string());
            }
            Op::Transpose { perm } => list.push("perm", debug(perm)),
            Op::Squeeze { axes } | Op::Unsqueeze { axes } => list.push("axes", debug(axes)),
            Op::Split { axis, sizes } => {
                list.push("axis", axis.to_string());
                list.push_if(!sizes.is_empty(), "sizes", debug(sizes));
            }
            Op::Pad { mode } => list.push("mode", mode.name().to_owned()),
            Op::Resize(resize) => {
                list.push("mode", resize.mode.name().to_owned());
                list.push("coordinates", format!("{:?}", resize.coordinates));
                list.push("nearest", format!("{:?}", resize.nearest));
                list.push("cubic", number(resize.cubic));
                list.flag("exclude_outside", resize.exclude_outside);
            }
            Op::DepthToSpace { block, crd } => {
                list.push("block", block.to_string());
                list.flag("crd", *crd);
            }
            Op::SpaceToDepth { block } => list.push("block", block.to_string()),
            Op::Shape { start, end } => {
                list.push_if(*start != 0, "start", start.to_string());
                if let Some(end) = end {
                    list.push("end", end.to_string());
                }
            }
            Op::ConstantOfShape { value } => {
                list.push("value", format!("{}{}", value.dtype(), self.tensor(value)));
            }
            Op::Cast { to } => list.push("to", to.to_string()),
            Op::QuantizeLinear { axis, block, to } => {
                list.push("axis", axis.to_string());
                list.push_if(*block != 0, "block", block.to_string());
                list.push("to", to.to_string());
            }
            Op::DequantizeLinear { axis, block } => {
                list.push("axis", axis.to_string());
                list.push_if(*block != 0, "block", block.to_string());
            }
            Op::Binary { op, .. } => {
                list.flag("fmod", *op == BinaryOp::Fmod);
                list.flag("left", *op == BinaryOp::ShiftLeft);
            }
            Op::Index(op) => {
                for (key, value) in op.attributes() {
                    list.push(key, value);
                }
            }
            Op::Recurrent(layer) => {
                for (key, value) in layer.attributes() {
                    list.push(key, value);
                }
            }
            Op::Control(control) => list.control(control),
            Op::Opaque { attributes, .. } => {
                let mut sorted: Vec<_> = attributes.iter().collect();
                sorted.sort_by_key(|(key, _)| *key);
                for (key, value) in sorted {
                    list.push(&plain(key), self.attribute(value));
                }
            }
            Op::Identity
            | Op::MatMul
            | Op::GlobalAveragePool
            | Op::GlobalMaxPool
            | Op::Compare(_)
            | Op::Logic(_)
            | Op::Where
            | Op::Slice
            | Op::Expand
            | Op::Tile
            | Op::Size
            | Op::Range
            | Op::Quantize
            | Op::Dequantize
            | Op::Requantize
            | Op::DynamicQuantizeLinear => {}
        }
        match op.activation() {
            Activation::None => {}
            Activation::Relu => list.push("activation", "relu".to_owned()),
            Activation::Clip { min, max } => {
                list.push("activation", format!("clip({}, {})", number(min), number(max)));
            }
        }
        list.0
    }

    fn attribute(&self, attribute: &Attribute) -> String {
        match attribute {
            Attribute::Int(value) => value.to_string(),
            Attribute::Float(value) => number(*value),
            Attribute::Text(value) => format!("{value:?}"),
            Attribute::Ints(values) => debug(values),
            Attribute::Floats(values) => list(values.iter().map(|&value| number(value))),
            Attribute::Texts(values) => format!("{values:?}"),
            Attribute::Tensor(tensor) => {
                format!("{}{}{}", tensor.dtype(), tensor.shape(), self.tensor(tensor))
            }
            Attribute::Other(kind) => format!("<{}>", plain(kind)),
        }
    }
}

/// Attributes in the order they are written.
struct Attributes(Vec<(String, String)>);

impl Attributes {
    fn push(&mut self, key: &str, value: String) {
        self.0.push((key.to_owned(), value));
    }

    fn push_if(&mut self, condition: bool, key: &str, value: String) {
        if condition {
            self.push(key, value);
        }
    }

    fn flag(&mut self, key: &str, set: bool) {
        self.push_if(set, key, set.to_string());
    }

    fn conv(&mut self, conv: &ConvAttributes) {
        self.push("kernel", debug(&conv.kernel));
        self.push("strides", debug(&conv.strides));
        self.push_if(conv.dilations.iter().any(|&d| d != 1), "dilations", debug(&conv.dilations));
        self.push("pads", debug(&conv.pads));
        self.push_if(conv.groups != 1, "groups", conv.groups.to_string());
    }

    fn pool(&mut self, pool: &PoolAttributes) {
        self.push("kernel", debug(&pool.kernel));
        self.push("strides", debug(&pool.strides));
        self.push_if(pool.dilations.iter().any(|&d| d != 1), "dilations", debug(&pool.dilations));
        self.push("pads", debug(&pool.pads));
        self.flag("ceil", pool.ceil);
    }

    fn control(&mut self, control: &Control) {
        let axes = |list: &mut Self, key: &str, axes: &[ScanAxis]| {
            let text =
                |axis: &ScanAxis| format!("{}{}", axis.axis, if axis.reverse { " reverse" } else { "" });
            list.push(key, format!("[{}]", axes.iter().map(text).collect::<Vec<_>>().join(", ")));
        };
        match control {
            Control::If { .. } => {}
            Control::Loop { carried, .. } => self.push("carried", carried.to_string()),
            Control::Scan { carried, scanned, collected, .. } => {
                self.push("carried", carried.to_string());
                axes(self, "scanned", scanned);
                axes(self, "collected", collected);
            }
        }
    }

    fn unary(&mut self, op: UnaryOp) {
        match op {
            UnaryOp::LeakyRelu { alpha }
            | UnaryOp::Elu { alpha }
            | UnaryOp::Celu { alpha }
            | UnaryOp::ThresholdedRelu { alpha } => self.push("alpha", number(alpha)),
            UnaryOp::Selu { alpha, gamma } => {
                self.push("alpha", number(alpha));
                self.push("gamma", number(gamma));
            }
            UnaryOp::Shrink { bias, lambda } => {
                self.push("bias", number(bias));
                self.push("lambda", number(lambda));
            }
            UnaryOp::Clip { min, max } => {
                self.push("min", number(min));
                self.push("max", number(max));
            }
            UnaryOp::HardSigmoid { alpha, beta } => {
                self.push("alpha", number(alpha));
                self.push("beta", number(beta));
            }
            UnaryOp::Gelu { tanh } => self.flag("tanh", tanh),
            _ => {}
        }
    }
}

fn debug(values: &[impl std::fmt::Debug]) -> String {
    format!("{values:?}")
}

fn list(values: impl Iterator<Item = String>) -> String {
    format!("[{}]", values.collect::<Vec<_>>().join(", "))
}

/// The shortest decimal that reads back as the same `f32`, with an exponent where that is shorter to read.
pub(crate) fn number(value: f32) -> String {
    let size = value.abs();
    if size != 0.0 && size.is_finite() && !(1e-5..1e9).contains(&size) {
        format!("{value:e}")
    } else {
        format!("{value}")
    }
}

/// As [`number`], for `f64`; an `f32` widened to `f64` is written as the `f32` it was.
fn double(value: f64) -> String {
    if f64::from(value as f32) == value || value.is_nan() {
        return number(value as f32);
    }
    format!("{value:e}")
}

/// A name as it is where it is made of ordinary characters, else quoted and escaped.
fn plain(name: &str) -> String {
    let ordinary = |c: char| c.is_ascii_alphanumeric() || "_./:-;@#$*+~^&|!<>".contains(c);
    if !name.is_empty() && name.chars().all(ordinary) { name.to_owned() } else { format!("{name:?}") }
}

/// The SHA-256 of `bytes` in lower-case hexadecimal.
pub(super) fn digest(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        write!(text, "{byte:02x}").expect("writing to a string");
    }
    text
}

#[cfg(test)]
mod tests {
    use indexmap::IndexMap;

    use super::*;
    use crate::ir::{DType, PadMode, Shape};
    use crate::plan::Precision;

    fn sample() -> Graph {
        let mut graph = Graph::new("sample");
        graph.metadata.insert("producer".into(), "a test".into());
        let x = graph.add_input(
            "x",
            DType::U8,
            Shape(
                vec!["N".to_owned()]
                    .into_iter()
                    .map(crate::ir::Dim::Symbol)
                    .chain([3.into(), 8.into(), 8.into()])
                    .collect(),
            ),
        );
        graph.value_mut(x).quant = Some(QuantParams::per_tensor(0.0235, 3));
        let weights: Vec<i8> = (0..108).map(|i| i as i8).collect();
        let w = graph.add_constant("w", Tensor::from_slice(&[4, 3, 3, 3], &weights).unwrap());
        graph.value_mut(w).quant = Some(QuantParams::symmetric_per_channel(0, vec![0.1, 0.2, 1e-9, 4.0]));
        let b = graph.add_constant("b", Tensor::from_slice(&[4], &[1i32, -2, 3, 4]).unwrap());
        let mut conv = ConvAttributes::unit(&[3, 3]);
        conv.strides = vec![2, 2];
        let y = graph.add_op(
            "conv",
            Op::Conv { conv, activation: Activation::Clip { min: 0.0, max: 6.0 } },
            &[x, w, b],
        );
        graph.value_mut(y).quant = Some(QuantParams::per_tensor(1.0 / 3.0, 0));
        let shown = graph.add_value("shape of it", None, None);
        let id = graph.producers()[y.index()].unwrap();
        graph.node_mut(id).unwrap().precision = Some(Precision::W8A8);
        graph.add_node(Node {
            name: "odd one".into(),
            op: Op::Opaque {
                domain: "com.example".into(),
                op_type: "Odd".into(),
                attributes: IndexMap::from([
                    ("z".to_owned(), Attribute::Floats(vec![0.5, f32::INFINITY])),
                    ("a".to_owned(), Attribute::Text("b \"c\"".into())),
                    ("t".to_owned(), Attribute::Tensor(Tensor::scalar(2.5f64))),
                ]),
                lack: Box::default(),
            },
            inputs: vec![Some(y), None],
            outputs: vec![shown],
            precision: None,
        });
        let pads = graph.add_constant("pads", Tensor::from_slice(&[2], &[0i64, 1]).unwrap());
        let padded = graph.add_op("pad", Op::Pad { mode: PadMode::Reflect }, &[shown, pads]);
        graph.outputs = vec![padded, y];
        graph
    }

    #[test]
    fn a_graph_is_one_line_per_node() {
        insta::assert_snapshot!(render(&sample()));
    }

    #[test]
    fn numbers_read_back() {
        for value in [0.0f32, -0.5, 1e-7, 6.0, 3.4e38, f32::MIN_POSITIVE, 1.0 / 3.0, f32::NEG_INFINITY] {
            assert_eq!(number(value).parse::<f32>().unwrap(), value);
        }
        assert_eq!(double(0.1), "1e-1");
        assert_eq!(double(f64::from(0.1f32)), "0.1");
    }

    #[test]
    fn names_cannot_break_the_line() {
        assert_eq!(plain("a/b:0"), "a/b:0");
        assert_eq!(plain("a\nb"), "\"a\\nb\"");
        assert_eq!(plain(""), "\"\"");
    }
}
