use fewbit_core::ir::{Activation, ConvAttributes, Shape};

use super::*;

/// A quantized convolution, a sigmoid and a softmax in float, with a node that cannot cross behind them.
fn graph() -> Graph {
    let mut graph = Graph::new("small");
    let x = graph.add_input("x", DType::U8, Shape::fixed(&[1, 2, 4, 4]));
    graph.value_mut(x).quant = Some(QuantParams::per_tensor(0.5, 3));
    let weights =
        graph.add_constant("w", Tensor::from_slice(&[3, 2, 1, 1], &[1i8, -2, 3, -4, 5, -6]).unwrap());
    graph.value_mut(weights).quant = Some(QuantParams {
        granularity: Granularity::PerChannel { axis: 0 },
        scales: vec![0.1, 0.2, 0.3],
        zero_points: vec![0; 3],
    });
    let quantized = |graph: &mut Graph, name: &str, scale: f32, zero: i32| {
        let id = graph.add_value(name, Some(DType::I8), Some(Shape::fixed(&[1, 3, 4, 4])));
        graph.value_mut(id).quant = Some(QuantParams::per_tensor(scale, zero));
        id
    };
    let add = |graph: &mut Graph, name: &str, op: Op, inputs: &[ValueId], output: ValueId| {
        graph.add_node(IrNode {
            name: name.to_owned(),
            op,
            inputs: inputs.iter().copied().map(Some).collect(),
            outputs: vec![output],
            precision: None,
        });
    };
    let y = quantized(&mut graph, "y", 0.25, -7);
    let conv = Op::Conv { conv: ConvAttributes::unit(&[1, 1]), activation: Activation::Relu };
    add(&mut graph, "conv", conv, &[x, weights], y);
    let s = quantized(&mut graph, "s", 1.0 / 256.0, -128);
    add(&mut graph, "sigmoid", Op::Unary(UnaryOp::Sigmoid), &[y], s);
    let f = graph.add_value("f", Some(DType::F32), Some(Shape::fixed(&[1, 3, 4, 4])));
    add(&mut graph, "dequantize", Op::Dequantize, &[s], f);
    let p = graph.add_value("p", Some(DType::F32), Some(Shape::fixed(&[1, 3, 4, 4])));
    add(&mut graph, "softmax", Op::Softmax { axis: 1, log: false }, &[f], p);
    let o = graph.add_value("o", Some(DType::F32), Some(Shape::fixed(&[1, 3, 4, 4])));
    let opaque = Op::Opaque {
        domain: "x".to_owned(),
        op_type: "Y".to_owned(),
        attributes: indexmap::IndexMap::default(),
        lack: Box::default(),
    };
    add(&mut graph, "opaque", opaque, &[p], o);
    graph.outputs.push(o);
    graph
}

/// One line per value and node.
fn text(program: &Program) -> String {
    let mut lines =
        vec![format!("inputs {:?}, outputs {:?}, {:?}", program.inputs, program.outputs, program.options)];
    for (number, value) in program.values.iter().enumerate() {
        let Value { name, flags, dims, code, bits, quant, constant } = value;
        lines.push(format!(
            "value {number} {name}: flags {flags}, type {code}/{bits}, {dims:?}, {constant:?}"
        ));
        lines.extend(quant.iter().map(|quant| format!("  {quant:?}")));
    }
    for Node { name, domain, op_type, inputs, outputs, attributes } in &program.nodes {
        lines.push(format!("node {name}: `{domain}` {op_type} {inputs:?} -> {outputs:?}"));
        lines.extend(attributes.iter().map(|Attribute { name, value }| format!("  {name} = {value:?}")));
    }
    lines.join("\n")
}

#[test]
fn a_program_is_spelled_out_as_vendors_read_it() {
    let translated = Translated::of(&graph(), &CompileOptions::threads(2)).unwrap();
    assert_eq!(translated.places, [Some(0), Some(1), Some(2), Some(3), None]);
    insta::assert_snapshot!(text(&translated.program));
}

#[test]
fn what_a_node_that_stays_would_produce_becomes_an_input() {
    let program = Translated::of(&graph(), &CompileOptions::threads(1)).unwrap().program;
    let names: Vec<&str> =
        program.inputs.iter().map(|&at| program.values[at as usize].name.as_str()).collect();
    assert_eq!(names, ["x", "o"]);
}

#[test]
fn the_table_of_a_function_is_indexed_by_the_bits_of_the_code() {
    let translated = Translated::of(&graph(), &CompileOptions::threads(1)).unwrap();
    let value = translated.program.values.iter().find(|value| value.name == "sigmoid.table").unwrap();
    let table = translated.constants.at(value.constant.unwrap()).unwrap();
    // Code -7 is 0.0, whose sigmoid 0.5 is code 0; code -128 is -30.25, whose sigmoid is next to nothing.
    assert_eq!(table[(-7i8) as u8 as usize] as i8, 0);
    assert_eq!(table[(-128i8) as u8 as usize] as i8, -128);
    assert_eq!(table[127] as i8, 127);
}

#[test]
fn constants_do_not_overlap_and_are_aligned() {
    let translated = Translated::of(&graph(), &CompileOptions::threads(1)).unwrap();
    let mut end = 0;
    for value in &translated.program.values {
        if let Some(span) = value.constant {
            assert!(span.offset >= end && span.offset % 64 == 0);
            end = span.offset + span.len;
        }
    }
    let mut memory = vec![0; translated.constants.bytes];
    translated.constants.copy_into(&mut memory);
    assert_eq!(memory[..6], [1u8, 254, 3, 252, 5, 250]);
}
