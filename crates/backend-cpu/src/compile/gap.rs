//! Why no kernel covers a node: the one answer that both `supports` and compilation use.

use fewbit_core::ir::{Activation, BinaryOp, DType, Graph, Node, Op, ReduceOp, ResizeMode, Value};
use fewbit_core::plan::Precision;
use fewbit_kernels::PoolShape;

use super::Q8;
use super::broadcast;
use super::products::{channel_axis, conv_shape, int8_weights, kept_codes};
use super::shapes::{pool_shape, resize_scales};

/// What a value is to kernels.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Kind {
    F32,
    Q8(Q8),
    Other,
}

fn kind(value: &Value) -> Kind {
    match (value.dtype, &value.quant) {
        (Some(DType::F32), None) => Kind::F32,
        _ => Q8::of(value).map_or(Kind::Other, Kind::Q8),
    }
}

/// Why no kernel covers the node; `None` where one does.
pub(crate) fn gap(graph: &Graph, node: &Node) -> Option<String> {
    reason(graph, node).err()
}

/// Why a product that a kernel covers is no faster for its small weights; `None` where it computes at the precision it
/// is stored in.
pub(crate) fn widened(graph: &Graph, node: &Node) -> Option<String> {
    let is_float = node.input(0).is_some_and(|id| kind(graph.value(id)) == Kind::F32);
    let weights = node.input(1).map(|id| graph.value(id)).filter(|_| node.op.has_weights() && is_float)?;
    let dtype = weights.constant.as_ref()?.dtype();
    let dynamic = node.precision == Some(Precision::W8A8Dynamic);
    (dtype != DType::F32 && !dynamic && kept_codes(node, weights).is_none())
        .then(|| format!("weights in {dtype} are decoded to f32 when the model is loaded"))
}

fn reason(graph: &Graph, node: &Node) -> Result<(), String> {
    if let Some(error) = node.unsupported() {
        return Err(error.message().to_owned());
    }
    let values = node.inputs.iter().flatten().chain(&node.outputs).map(|&id| graph.value(id));
    for value in values {
        match value.extents() {
            None => return Err(format!("the shape of `{}` is not fixed", value.name)),
            Some(extents) if extents.contains(&0) => return Err(format!("`{}` is empty", value.name)),
            Some(_) => {}
        }
    }
    let input = |index: usize| node.input(index).map(|id| graph.value(id));
    let (Some(x), Some(&y)) = (input(0), node.outputs.first()) else {
        return Err("no kernel makes values out of nothing".to_owned());
    };
    let y = graph.value(y);
    let rank = x.extents().map_or(0, |extents| extents.len());
    let same = kind(x) == kind(y) && kind(x) != Kind::Other;
    let elements = "kernels take f32, and 8-bit codes with one scale";
    let require = |condition: bool, reason: &str| if condition { Ok(()) } else { Err(reason.to_owned()) };
    match &node.op {
        Op::Conv { .. } | Op::Gemm { .. } | Op::MatMul => product(graph, node, x, y),
        Op::Binary { op, activation } => {
            let Some(b) = input(1) else { return Err("an operand is missing".to_owned()) };
            match (kind(x), kind(b), kind(y)) {
                (Kind::Q8(_), Kind::Q8(_), Kind::Q8(_)) => require(
                    matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul),
                    "8-bit kernels add, subtract and multiply",
                )?,
                (Kind::F32, Kind::F32, Kind::F32) => {
                    require(broadcast::float_kernel(*op).is_some(), "no kernel computes this function")?;
                    require(
                        *activation == Activation::None
                            || matches!(op, BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul),
                        "only sums and products take a fused clamp",
                    )?;
                }
                _ => return Err(elements.to_owned()),
            }
            let extents = broadcast::operand_extents(graph, node).ok_or("the shapes are not fixed")?;
            require(
                broadcast::choose(&extents.0, &extents.1, &extents.2, crate::buffer::Layout::Plain).is_some(),
                "kernels repeat one operand over one run of axes",
            )
        }
        Op::Unary(op) => match (kind(x), kind(y)) {
            (Kind::Q8(_), Kind::Q8(_)) => Ok(()),
            (Kind::F32, Kind::F32) => {
                require(crate::step::unary_kernel(*op).is_some(), "no kernel computes this function")
            }
            _ => Err(elements.to_owned()),
        },
        Op::MaxPool(pool) => {
            require(same, elements)?;
            pool_fits(pool_shape_of(pool, x, y))
        }
        Op::AveragePool(pool) => {
            require(
                matches!((kind(x), kind(y)), (Kind::F32, Kind::F32) | (Kind::Q8(_), Kind::Q8(_))),
                elements,
            )?;
            pool_fits(pool_shape_of(pool, x, y))
        }
        Op::GlobalAveragePool => {
            require(
                matches!((kind(x), kind(y)), (Kind::F32, Kind::F32) | (Kind::Q8(_), Kind::Q8(_))),
                elements,
            )?;
            require(rank >= 3, "kernels average over at least one spatial axis")
        }
        Op::Reduce { op, axes, .. } => {
            require(*op == ReduceOp::Mean, "kernels reduce by the mean")?;
            require(
                matches!((kind(x), kind(y)), (Kind::F32, Kind::F32) | (Kind::Q8(_), Kind::Q8(_))),
                elements,
            )?;
            require(rank >= 3 && axes.iter().copied().eq(2..rank), "kernels average over all spatial axes")
        }
        Op::Concat { .. } => {
            let kinds: Vec<Kind> = node.inputs.iter().flatten().map(|&id| kind(graph.value(id))).collect();
            let all_floats = kind(y) == Kind::F32 && kinds.iter().all(|&kind| kind == Kind::F32);
            let all_codes =
                matches!(kind(y), Kind::Q8(_)) && kinds.iter().all(|kind| matches!(kind, Kind::Q8(_)));
            require(all_floats || all_codes, elements)
        }
        Op::Resize(attributes) => {
            require(same, elements)?;
            require(
                attributes.mode != ResizeMode::Cubic,
                "kernels resize by the nearest sample or linearly",
            )?;
            require(!attributes.exclude_outside, "kernels weigh samples at the edge as they are")?;
            require(
                resize_scales(graph, node).is_some(),
                "kernels resize two spatial axes by constant scales or sizes",
            )
        }
        Op::Softmax { axis, .. } => {
            require(kind(x) == Kind::F32 && kind(y) == Kind::F32, "the kernel takes f32")?;
            let extents = x.extents().unwrap_or_default();
            require(extents[axis + 1..].iter().all(|&extent| extent == 1), "the kernel takes the last axis")
        }
        Op::LayerNorm { axis, .. } => {
            require(kind(x) == Kind::F32 && kind(y) == Kind::F32, "the kernel takes f32")?;
            let width: usize = x.extents().unwrap_or_default()[*axis..].iter().product();
            let constant = |index: usize| match input(index) {
                None => index == 2,
                Some(value) => value.constant.as_ref().is_some_and(|tensor| tensor.elements() == width),
            };
            require(constant(1) && constant(2), "the kernel takes constant scales and biases")
        }
        Op::Transpose { .. } => {
            let bits = x.dtype.map_or(0, DType::bits);
            require(rank >= 1 && matches!(bits, 8 | 32 | 64), "the kernel moves elements of 1, 4 or 8 bytes")
        }
        Op::Identity
        | Op::Reshape { .. }
        | Op::Flatten { .. }
        | Op::Squeeze { .. }
        | Op::Unsqueeze { .. } => {
            require(x.dtype == y.dtype && x.quant == y.quant, "elements keep their type and parameters")
        }
        Op::Quantize => require(kind(x) == Kind::F32 && matches!(kind(y), Kind::Q8(_)), elements),
        Op::Dequantize => require(matches!(kind(x), Kind::Q8(_)) && kind(y) == Kind::F32, elements),
        Op::Requantize => {
            require(matches!((kind(x), kind(y)), (Kind::Q8(_), Kind::Q8(_))), "the kernel takes 8-bit codes")
        }
        op => Err(format!("no kernel computes {}", op.kind())),
    }
}

fn pool_shape_of(pool: &fewbit_core::ir::PoolAttributes, x: &Value, y: &Value) -> Option<PoolShape> {
    pool_shape(pool, &x.extents()?, &y.extents()?)
}

fn pool_fits(shape: Option<PoolShape>) -> Result<(), String> {
    let shape = shape.ok_or("kernels pool over one or two spatial axes")?;
    shape.validate().map_err(|error| error.to_string())
}

fn product(graph: &Graph, node: &Node, x: &Value, y: &Value) -> Result<(), String> {
    let require = |condition: bool, reason: &str| if condition { Ok(()) } else { Err(reason.to_owned()) };
    let w = node.input(1).map(|id| graph.value(id)).ok_or("the weights are missing")?;
    let bias = node.input(2).map(|id| graph.value(id));
    let (xe, ye) = (x.extents().unwrap_or_default(), y.extents().unwrap_or_default());
    if let Op::Conv { conv, .. } = &node.op {
        let shape = conv_shape(conv, &xe, &ye).ok_or("kernels convolve over one or two spatial axes")?;
        shape.validate().map_err(|error| error.to_string())?;
    }
    if let Op::Gemm { trans_a, .. } = node.op {
        require(!trans_a, "kernels take the first matrix as it is")?;
    }
    let Some(constant) = &w.constant else {
        require(node.op == Op::MatMul, "kernels take constant weights")?;
        require(
            kind(x) == Kind::F32 && kind(w) == Kind::F32 && kind(y) == Kind::F32 && node.precision.is_none(),
            "the kernel of two run-time matrices takes f32",
        )?;
        let we = w.extents().unwrap_or_default();
        let batch = |extents: &[usize]| extents.len().checked_sub(2).map(|at| extents[..at].to_vec());
        let (a, b, c) = (batch(&xe), batch(&we), batch(&ye));
        let (Some(a), Some(b), Some(c)) = (a, b, c) else {
            return Err("the kernel of two run-time matrices takes matrices".to_owned());
        };
        let fits = |batch: &[usize]| batch == c || batch.iter().product::<usize>() == 1;
        return require(
            fits(&a) && fits(&b),
            "the kernel repeats a matrix over the whole batch or not at all",
        );
    };
    if node.op == Op::MatMul {
        require(constant.extents().len() == 2 && xe.len() >= 2, "kernels take a constant matrix as weights")?;
    }
    let channels = if let Op::Conv { .. } = node.op { ye.get(1) } else { ye.last() }.copied().unwrap_or(0);
    let bias_fits = |value: &Value, dtype: DType| {
        value.constant.as_ref().is_some_and(|tensor| tensor.dtype() == dtype && tensor.elements() == channels)
    };
    let unit = !matches!(node.op, Op::Gemm { alpha, beta, .. } if alpha != 1.0 || beta != 1.0);
    let integer_weights = || int8_weights(w, channel_axis(&node.op)).is_some();
    match kind(x) {
        Kind::Q8(_) => {
            require(
                integer_weights(),
                "8-bit products take 8-bit constant weights, per tensor or output channel",
            )?;
            require(unit, "8-bit products have no further factors")?;
            require(
                bias.is_none_or(|bias| bias_fits(bias, DType::I32)),
                "8-bit products take a 32-bit integer bias",
            )?;
            require(matches!(kind(y), Kind::F32 | Kind::Q8(_)), "8-bit products give 8-bit codes or f32")
        }
        Kind::F32 if node.precision == Some(Precision::W8A8Dynamic) => {
            require(
                integer_weights(),
                "dynamic products take 8-bit constant weights, per tensor or output channel",
            )?;
            require(unit, "dynamic products have no further factors")?;
            require(
                bias.is_none_or(|bias| bias_fits(bias, DType::F32)),
                "dynamic products take an f32 bias",
            )?;
            require(kind(y) == Kind::F32, "dynamic products give f32")
        }
        Kind::F32 => {
            require(kind(y) == Kind::F32, "float products give f32")?;
            let scalar = |value: &Value| value.constant.as_ref().is_some_and(|tensor| tensor.elements() == 1);
            require(
                bias.is_none_or(|bias| {
                    bias_fits(bias, DType::F32) || (scalar(bias) && bias.dtype == Some(DType::F32))
                }),
                "float products take a constant bias per output channel",
            )
        }
        Kind::Other => Err("kernels take f32, and 8-bit codes with one scale".to_owned()),
    }
}
