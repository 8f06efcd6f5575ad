//! Inference over graphs: symbols, shape arithmetic, contradictions, fixing, and agreement with execution.

use fewbit_core::CoreErrorKind;
use fewbit_core::infer::{
    fix_batch, fix_input, free_dimensions, infer, infer_node, known_tensors, require_fixed,
    require_fixed_where_known,
};
use fewbit_core::ir::{
    Activation, BinaryOp, ConvAttributes, CoordinateMode, DType, Dim, Graph, NearestMode, Node, Op, PadMode,
    PoolAttributes, ReduceOp, ResizeAttributes, ResizeMode, Shape, Tensor, UnaryOp, ValueId,
};
use fewbit_core::reference::Interpreter;
use fewbit_testing::{ModelBuilder, Random};
use proptest::prelude::*;

use crate::support::{floats, list};

fn symbols(dims: &[&str]) -> Shape {
    Shape(
        dims.iter()
            .map(|dim| dim.parse().map_or_else(|_| Dim::Symbol((*dim).to_owned()), Dim::Fixed))
            .collect(),
    )
}

fn shape_of(graph: &Graph, id: ValueId) -> String {
    graph.value(id).shape.as_ref().map_or_else(|| "?".to_owned(), Shape::to_string)
}

fn conv(pads: usize, stride: usize) -> Op {
    let mut conv = ConvAttributes::unit(&[3, 3]);
    conv.pads = vec![pads; 4];
    conv.strides = vec![stride; 2];
    Op::Conv { conv, activation: Activation::None }
}

const ADD: Op = Op::Binary { op: BinaryOp::Add, activation: Activation::None };

#[test]
fn symbols_flow_through_convolutions_and_residual_sums() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", DType::F32, symbols(&["N", "3", "H", "W"]));
    let w = graph.add_constant("w", Tensor::zeros(DType::F32, &[3, 3, 3, 3]).unwrap());
    let same = graph.add_op("same", conv(1, 1), &[x, w]);
    let sum = graph.add_op("sum", ADD, &[x, same]);
    let down = graph.add_op("down", conv(1, 2), &[sum, w]);
    let other = graph.add_op("other", conv(1, 2), &[x, w]);
    let joined = graph.add_op("joined", ADD, &[down, other]);
    let pooled = graph.add_op("pooled", Op::GlobalAveragePool, &[joined]);
    let flat = graph.add_op("flat", Op::Flatten { axis: 1 }, &[pooled]);
    graph.outputs = vec![flat];
    infer(&mut graph).unwrap();
    assert_eq!(shape_of(&graph, sum), "[N, 3, H, W]");
    assert_eq!(shape_of(&graph, joined), "[N, 3, (H+1)/2, (W+1)/2]");
    assert_eq!(shape_of(&graph, flat), "[N, 3]");
    fix_input(&mut graph, "x", &[2, 3, 9, 8]).unwrap();
    assert_eq!(shape_of(&graph, joined), "[2, 3, 5, 4]");
    require_fixed(&graph).unwrap();
}

#[test]
fn shape_arithmetic_keeps_symbols() {
    // The flattening that exporters write: Shape, Gather of the batch, Concat with -1, Reshape.
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", DType::F32, symbols(&["N", "8", "7", "7"]));
    let shape = graph.add_op("shape", Op::Shape { start: 0, end: None }, &[x]);
    let zero = graph.add_constant("zero", Tensor::scalar(0i64));
    let batch = graph.add_op("batch", Op::Gather { axis: 0 }, &[shape, zero]);
    let batch = graph.add_op("unsqueezed", Op::Unsqueeze { axes: vec![0] }, &[batch]);
    let rest = graph.add_constant("rest", list(&[-1]));
    let target = graph.add_op("target", Op::Concat { axis: 0 }, &[batch, rest]);
    let flat = graph.add_op("flat", Op::Reshape { allow_zero: false }, &[x, target]);
    // The channels do not depend on the batch, and are known as a tensor.
    let one = graph.add_constant("one", Tensor::scalar(1i64));
    let channels = graph.add_op("channels", Op::Gather { axis: 0 }, &[shape, one]);
    let twice = graph.add_op("twice", ADD, &[channels, channels]);
    // Half the height, as a resize's size.
    graph.outputs = vec![flat];
    infer(&mut graph).unwrap();
    assert_eq!(shape_of(&graph, flat), "[N, 392]");
    let known = known_tensors(&graph).unwrap();
    assert_eq!(known[twice.index()].as_ref().unwrap().to_i64_vec(), [16]);
    assert!(known[target.index()].is_none());
    fix_batch(&mut graph, 4).unwrap();
    assert_eq!(shape_of(&graph, flat), "[4, 392]");
    assert_eq!(known_tensors(&graph).unwrap()[target.index()].as_ref().unwrap().to_i64_vec(), [4, -1]);
}

#[test]
fn reshapes_cancel_symbols() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", DType::F32, symbols(&["N", "T", "64"]));
    let reshape = |graph: &mut Graph, name: &str, shape: &[i64]| {
        let target = graph.add_constant(format!("{name}.shape"), list(shape));
        graph.add_op(name, Op::Reshape { allow_zero: false }, &[x, target])
    };
    let heads = reshape(&mut graph, "heads", &[0, 0, 4, 16]);
    let inferred = reshape(&mut graph, "inferred", &[0, -1, 8, 8]);
    let rows = reshape(&mut graph, "rows", &[-1, 64]);
    infer(&mut graph).unwrap();
    assert_eq!(shape_of(&graph, heads), "[N, T, 4, 16]");
    assert_eq!(shape_of(&graph, inferred), "[N, T, 8, 8]");
    assert_eq!(shape_of(&graph, rows), "[N*T, 64]");
}

#[test]
fn contradictions_name_the_node() {
    let refused = |build: &dyn Fn(&mut Graph), needle: &str| {
        let mut graph = Graph::new("g");
        build(&mut graph);
        let error = infer(&mut graph).unwrap_err();
        assert_eq!(error.kind(), CoreErrorKind::Shape, "{error}");
        assert_eq!(error.place(), Some("bad"), "{error}");
        assert!(error.to_string().contains(needle), "{error}");
    };
    let input =
        |graph: &mut Graph, extents: &[usize]| graph.add_input("x", DType::F32, Shape::fixed(extents));
    refused(
        &|graph| {
            let x = input(graph, &[1, 4, 8, 8]);
            let w = graph.add_constant("w", Tensor::zeros(DType::F32, &[8, 3, 3, 3]).unwrap());
            graph.add_op("bad", conv(0, 1), &[x, w]);
        },
        "expected 3 input channels",
    );
    refused(
        &|graph| {
            let x = input(graph, &[1, 3, 2, 8]);
            let w = graph.add_constant("w", Tensor::zeros(DType::F32, &[8, 3, 3, 3]).unwrap());
            graph.add_op("bad", conv(0, 1), &[x, w]);
        },
        "spatial axis 0",
    );
    refused(
        &|graph| {
            let x = input(graph, &[2, 3]);
            let y = graph.add_op("bad", Op::Unary(UnaryOp::Relu), &[x]);
            graph.value_mut(y).shape = Some(Shape::fixed(&[2, 4]));
        },
        "expected shape [2, 3] for `bad`, found [2, 4] declared",
    );
    refused(
        &|graph| {
            let x = input(graph, &[2, 3]);
            let y = graph.add_op("bad", Op::Cast { to: DType::I32 }, &[x]);
            graph.value_mut(y).dtype = Some(DType::I64);
        },
        "expected elements of type i32",
    );
    refused(
        &|graph| {
            let x = input(graph, &[2, 3]);
            let y = graph.add_input("y", DType::F32, Shape::fixed(&[4, 5]));
            graph.add_op("bad", Op::MatMul, &[x, y]);
        },
        "inner extents",
    );
    refused(
        &|graph| {
            let x = input(graph, &[1 << 40]);
            let repeats = graph.add_constant("r", list(&[1 << 40]));
            graph.add_op("bad", Op::Tile, &[x, repeats]);
        },
        "an extent",
    );
    refused(
        &|graph| {
            let x = input(graph, &[1, 3, 8, 8]);
            let mut attributes = ConvAttributes::unit(&[3, 3]);
            attributes.strides = vec![0, 1];
            let w = graph.add_constant("w", Tensor::zeros(DType::F32, &[8, 3, 3, 3]).unwrap());
            graph.add_op("bad", Op::Conv { conv: attributes, activation: Activation::None }, &[x, w]);
        },
        "strides of at least 1",
    );
}

#[test]
fn structure_errors_are_not_shape_errors() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", DType::F32, Shape::fixed(&[1]));
    let missing = graph.add_value("missing", None, None);
    graph.add_node(Node {
        name: "lonely".to_owned(),
        op: ADD,
        inputs: vec![Some(x)],
        outputs: vec![missing],
        precision: None,
    });
    assert_eq!(infer(&mut graph).unwrap_err().kind(), CoreErrorKind::Structure);
    // Read before it is produced.
    let mut graph = Graph::new("g");
    let late = graph.add_value("late", None, None);
    graph.add_op("early", Op::Unary(UnaryOp::Relu), &[late]);
    graph.add_node(Node {
        name: "producer".to_owned(),
        op: Op::Unary(UnaryOp::Relu),
        inputs: vec![None],
        outputs: vec![late],
        precision: None,
    });
    assert_eq!(infer(&mut graph).unwrap_err().kind(), CoreErrorKind::Structure);
    assert_eq!(Interpreter::new(&graph).unwrap_err().kind(), CoreErrorKind::Structure);
}

#[test]
fn opaque_operators_leave_their_outputs_unknown() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", DType::F32, Shape::fixed(&[2, 3]));
    let op = Op::Opaque {
        domain: String::new(),
        op_type: "TopK".to_owned(),
        attributes: indexmap::IndexMap::new(),
        lack: Box::default(),
    };
    let y = graph.add_op("opaque", op, &[x]);
    let z = graph.add_op("relu", Op::Unary(UnaryOp::Relu), &[y]);
    let sum = graph.add_op("sum", ADD, &[x, z]);
    graph.outputs = vec![sum];
    infer(&mut graph).unwrap();
    assert_eq!(shape_of(&graph, z), "?");
    let error = require_fixed(&graph).unwrap_err();
    assert_eq!((error.kind(), error.place()), (CoreErrorKind::Unsupported, Some("opaque")));
    require_fixed_where_known(&graph).unwrap();
    assert_eq!(Interpreter::new(&graph).unwrap_err().kind(), CoreErrorKind::Unsupported);
    let (_, node) = graph.nodes().last().unwrap();
    assert_eq!(infer_node(&graph, node).unwrap_err().kind(), CoreErrorKind::Dynamic);
}

#[test]
fn free_dimensions_are_listed_with_a_remedy() {
    let mut graph = Graph::new("g");
    graph.add_input("image", DType::F32, symbols(&["batch", "3", "H", "W"]));
    graph.add_input("mask", DType::F32, symbols(&["batch", "1"]));
    let free = free_dimensions(&graph);
    assert_eq!(free.len(), 4);
    assert_eq!((free[3].input.as_str(), free[3].axis, free[3].symbol.as_str()), ("mask", 0, "batch"));
    let error = require_fixed(&graph).unwrap_err();
    assert_eq!(error.kind(), CoreErrorKind::Dynamic);
    assert!(error.remedy().unwrap().contains("--shape image=1,3,224,224"), "{:?}", error.remedy());
    // A shared symbol is fixed everywhere.
    let before = graph.clone();
    fix_input(&mut graph, "image", &[4, 3, 32, 32]).unwrap();
    assert!(free_dimensions(&graph).is_empty());
    assert_eq!(shape_of(&graph, graph.inputs[1]), "[4, 1]");
    let mut graph = before;
    for extents in [&[1, 4, 32, 32][..], &[1, 3, 32], &[]] {
        assert_eq!(fix_input(&mut graph, "image", extents).unwrap_err().kind(), CoreErrorKind::Shape);
    }
    assert_eq!(fix_input(&mut graph, "imago", &[1]).unwrap_err().kind(), CoreErrorKind::Shape);
    assert_eq!(free_dimensions(&graph).len(), 4, "a refused shape changes nothing");
    fix_batch(&mut graph, 1).unwrap();
    assert_eq!(shape_of(&graph, graph.inputs[0]), "[1, 3, H, W]");
}

#[test]
fn fixing_to_what_the_model_contradicts_changes_nothing() {
    let mut graph = Graph::new("g");
    let x = graph.add_input("x", DType::F32, symbols(&["N", "H"]));
    let target = graph.add_constant("target", list(&[2, 6]));
    graph.add_op("reshape", Op::Reshape { allow_zero: false }, &[x, target]);
    infer(&mut graph).unwrap();
    assert_eq!(fix_input(&mut graph, "x", &[5, 5]).unwrap_err().kind(), CoreErrorKind::Shape);
    assert_eq!(shape_of(&graph, x), "[N, H]");
    fix_input(&mut graph, "x", &[4, 3]).unwrap();
}

#[test]
fn running_checks_inputs_and_shows_every_value() {
    let graph = ModelBuilder::classifier(1);
    let interpreter = Interpreter::new(&graph).unwrap();
    let mut seen = Vec::new();
    let image = Random::new(1).floats(&[1, 3, 16, 16]);
    interpreter.run_observed(&[image], &mut |id, tensor| seen.push((id, tensor.shape()))).unwrap();
    assert_eq!(seen.len(), 1 + graph.node_count());
    for (id, shape) in seen {
        assert_eq!(graph.value(id).shape.as_ref(), Some(&shape), "{}", graph.value(id).name);
    }
    for wrong in
        [vec![], vec![floats(&[1], &[0.0])], vec![Tensor::zeros(DType::U8, &[1, 3, 16, 16]).unwrap()]]
    {
        assert_eq!(interpreter.run(&wrong).unwrap_err().kind(), CoreErrorKind::Tensor);
    }
}

/// A random operator that reads `x`, with the constants it needs.
fn random_op(
    graph: &mut Graph,
    random: &mut Random,
    x: ValueId,
    extents: &[usize],
    name: &str,
) -> Option<ValueId> {
    let rank = extents.len();
    let axis = random.below(rank.max(1)).min(rank.saturating_sub(1));
    let mut constant = |tensor: Tensor| {
        let name = graph.fresh_value_name("constant");
        graph.add_constant(name, tensor)
    };
    let window = |random: &mut Random| PoolAttributes {
        kernel: (0..rank - 2).map(|_| 1 + random.below(3)).collect(),
        strides: (0..rank - 2).map(|_| 1 + random.below(3)).collect(),
        dilations: (0..rank - 2).map(|_| 1 + random.below(2)).collect(),
        pads: vec![0; 2 * (rank - 2)],
        ceil: random.below(2) == 1,
        count_include_pad: random.below(2) == 1,
    };
    let (op, inputs) = match random.below(24) {
        0 => (Op::Unary(*random.choose(&[UnaryOp::Relu, UnaryOp::Silu, UnaryOp::Erf])), vec![x]),
        1 => {
            let other: Vec<usize> =
                extents.iter().map(|&extent| if random.below(2) == 0 { 1 } else { extent }).collect();
            (ADD, vec![x, constant(random.floats(&other))])
        }
        2 if rank == 4 => {
            let groups = if extents[1].is_multiple_of(2) { 1 + random.below(2) } else { 1 };
            let kernel = [1 + random.below(3), 1 + random.below(3)];
            let outs = groups * (1 + random.below(3));
            let weight = constant(random.floats(&[outs, extents[1] / groups, kernel[0], kernel[1]]));
            let conv = ConvAttributes {
                kernel: kernel.to_vec(),
                strides: vec![1 + random.below(3), 1 + random.below(3)],
                dilations: vec![1 + random.below(2), 1],
                pads: (0..4).map(|_| random.below(3)).collect(),
                groups,
            };
            if random.below(3) == 0 {
                let weight = constant(random.floats(&[extents[1], 2, kernel[0], kernel[1]]));
                let conv = ConvAttributes { groups: 1, pads: vec![0; 4], ..conv };
                (
                    Op::ConvTranspose { conv, output_padding: vec![0, 1], activation: Activation::None },
                    vec![x, weight],
                )
            } else {
                (Op::Conv { conv, activation: Activation::Relu }, vec![x, weight])
            }
        }
        3 if rank > 2 => (Op::MaxPool(window(random)), vec![x]),
        4 if rank > 2 => (Op::AveragePool(window(random)), vec![x]),
        5 if rank > 2 => (Op::GlobalAveragePool, vec![x]),
        6 => {
            let perm = if random.below(2) == 0 {
                (0..rank).rev().collect()
            } else {
                (0..rank).map(|at| (at + 1) % rank).collect()
            };
            (Op::Transpose { perm }, vec![x])
        }
        7 => (Op::Flatten { axis: random.below(rank + 1) }, vec![x]),
        8 => (Op::Reshape { allow_zero: false }, vec![x, constant(list(&[0, -1]))]),
        9 => (Op::Unsqueeze { axes: vec![random.below(rank + 1)] }, vec![x]),
        10 => (Op::Squeeze { axes: Vec::new() }, vec![x]),
        11 => (Op::Concat { axis }, vec![x, x]),
        12 => {
            let bounds = |random: &mut Random| list(&[random.integer(-9, 9)]);
            let (starts, ends) = (constant(bounds(random)), constant(bounds(random)));
            let step = *random.choose(&[-3, -1, 1, 2]);
            (Op::Slice, vec![x, starts, ends, constant(list(&[axis as i64])), constant(list(&[step]))])
        }
        13 => {
            let high = extents[axis] as i64;
            let indices = [random.integer(-high, high - 1), random.integer(-high, high - 1)];
            (Op::Gather { axis }, vec![x, constant(list(&indices))])
        }
        14 => {
            let repeats: Vec<i64> = (0..rank).map(|_| random.integer(1, 2)).collect();
            (Op::Tile, vec![x, constant(list(&repeats))])
        }
        15 => {
            let pads: Vec<i64> = (0..2 * rank).map(|_| random.integer(-1, 2)).collect();
            let mode = *random.choose(&[PadMode::Constant, PadMode::Edge, PadMode::Reflect, PadMode::Wrap]);
            (Op::Pad { mode }, vec![x, constant(list(&pads))])
        }
        16 => {
            let attributes = ResizeAttributes {
                mode: *random.choose(&[ResizeMode::Nearest, ResizeMode::Linear, ResizeMode::Cubic]),
                coordinates: *random.choose(&[
                    CoordinateMode::HalfPixel,
                    CoordinateMode::AlignCorners,
                    CoordinateMode::Asymmetric,
                ]),
                nearest: *random.choose(&[
                    NearestMode::Floor,
                    NearestMode::Ceil,
                    NearestMode::RoundPreferCeil,
                ]),
                cubic: -0.75,
                exclude_outside: random.below(2) == 1,
            };
            let scales: Vec<f32> = (0..rank).map(|_| *random.choose(&[1.0, 0.5, 2.0, 1.3])).collect();
            let empty = constant(floats(&[0], &[]));
            (Op::Resize(attributes), vec![x, empty, constant(floats(&[rank], &scales))])
        }
        17 => {
            let op = *random.choose(&[ReduceOp::Mean, ReduceOp::Max, ReduceOp::L2]);
            (Op::Reduce { op, axes: vec![axis], keep_dims: random.below(2) == 1 }, vec![x])
        }
        18 => (Op::Softmax { axis, log: random.below(2) == 1 }, vec![x]),
        19 if rank == 4 => (Op::SpaceToDepth { block: 2 }, vec![x]),
        20 if rank == 4 => (Op::DepthToSpace { block: 2, crd: random.below(2) == 1 }, vec![x]),
        21 => {
            let columns = 1 + random.below(3);
            (Op::MatMul, vec![x, constant(random.floats(&[extents[rank - 1], columns]))])
        }
        22 => {
            let shape: Vec<i64> = std::iter::once(2).chain(extents.iter().map(|_| 1)).collect();
            (Op::Expand, vec![x, constant(list(&shape))])
        }
        23 => (Op::LayerNorm { axis, epsilon: 1e-5 }, vec![x, constant(floats(&[1], &[2.0]))]),
        _ => return None,
    };
    Some(graph.add_op(name, op, &inputs))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// What inference says of a graph with fixed extents is what running it gives; what it says of the same graph
    /// with symbols does not contradict it, and becomes equal once they are fixed.
    #[test]
    fn inferred_shapes_are_those_of_execution(seed in any::<u64>()) {
        let mut random = Random::new(seed);
        let rank = 1 + random.below(4);
        let extents: Vec<usize> = (0..rank).map(|_| 1 + random.below(6)).collect();
        let mut graph = Graph::new("g");
        let mut value = graph.add_input("x", DType::F32, Shape::fixed(&extents));
        for step in 0..4 {
            let now = graph.value(value).extents().unwrap();
            if now.is_empty() || now.contains(&0) || now.iter().product::<usize>() > 4096 {
                break;
            }
            let before = graph.clone();
            let name = format!("step{step}");
            let Some(next) = random_op(&mut graph, &mut random, value, &now, &name) else { continue };
            if infer(&mut graph).is_err() {
                // An operator whose window does not fit, say: refused in both worlds.
                graph.outputs = vec![next];
                let input = random.floats(&extents);
                prop_assert!(Interpreter::new(&graph).unwrap().run(&[input]).is_err());
                graph = before;
                continue;
            }
            value = next;
        }
        graph.outputs = vec![value];
        let input = random.floats(&extents);
        let mut run = Vec::new();
        Interpreter::new(&graph).unwrap()
            .run_observed(std::slice::from_ref(&input), &mut |id, tensor| run.push((id, tensor.dtype(), tensor.shape())))
            .unwrap();
        for (id, dtype, shape) in &run {
            prop_assert_eq!(graph.value(*id).dtype, Some(*dtype));
            prop_assert_eq!(graph.value(*id).shape.as_ref(), Some(shape));
        }
        // The same nodes over an input of unknown extents.
        let mut symbolic = graph.clone();
        for id in symbolic.value_ids() {
            if symbolic.value(id).constant.is_none() {
                symbolic.value_mut(id).shape = None;
            }
        }
        let names = ["A", "B", "C", "D"];
        let free: Vec<&str> = (0..rank).map(|axis| names[axis]).collect();
        symbolic.value_mut(symbolic.inputs[0]).shape = Some(symbols(&free));
        infer(&mut symbolic).unwrap();
        for (id, _, shape) in &run {
            if let Some(inferred) = &symbolic.value(*id).shape {
                prop_assert_eq!(inferred.rank(), shape.rank(), "{}", symbolic.value(*id).name);
                for (inferred, found) in inferred.dims().iter().zip(shape.dims()) {
                    prop_assert!(inferred.fixed().is_none_or(|extent| Some(extent) == found.fixed()));
                }
            }
        }
        fix_input(&mut symbolic, "x", &extents).unwrap();
        for (id, _, shape) in &run {
            prop_assert_eq!(symbolic.value(*id).shape.as_ref(), Some(shape));
        }
    }
}
