//! Programs as a host lays them out: i8 tensors of three elements through a chain of nodes.

use std::ptr::null;

use fewbit_abi as abi;

const I8: abi::DType = abi::DType { code: abi::CODE_INT, bits: 8, lanes: 1 };
static DIMS: [i64; 1] = [3];

/// Owns what the pointers of a program point to.
pub(crate) struct Chain {
    pub(crate) values: Vec<abi::Value>,
    pub(crate) nodes: Vec<abi::Node>,
    pub(crate) attr: Box<abi::Attr>,
    pub(crate) raw: abi::Program,
    value_pointers: Vec<*const abi::Value>,
    node_pointers: Vec<*const abi::Node>,
    attr_pointers: Vec<*const abi::Attr>,
    indices: Vec<u32>,
    _step: Box<i64>,
}

pub(crate) fn value(flags: u32) -> abi::Value {
    abi::Value {
        struct_size: size_of::<abi::Value>() as u32,
        flags,
        name: abi::Str::of("v"),
        dims: DIMS.as_ptr(),
        rank: 1,
        dtype: I8,
        quant: null(),
        data: abi::Bytes::EMPTY,
    }
}

/// A chain of `(operator, name)`: value `i` goes into node `i`, value `i + 1` comes out.
pub(crate) fn chain(nodes: &[(&'static str, &'static str)]) -> Box<Chain> {
    let n = nodes.len() as u32;
    let step = Box::new(1i64);
    let attr = abi::Attr {
        struct_size: size_of::<abi::Attr>() as u32,
        kind: abi::A_INT,
        name: abi::Str::of("steps"),
        items: (&raw const *step).cast(),
        n_items: 1,
    };
    let mut chain = Box::new(Chain {
        values: (0..=n)
            .map(|index| {
                let input = if index == 0 { abi::V_INPUT } else { 0 };
                let output = if index == n { abi::V_OUTPUT } else { 0 };
                value(input | output)
            })
            .collect(),
        nodes: Vec::new(),
        attr: Box::new(attr),
        raw: abi::Program {
            struct_size: size_of::<abi::Program>() as u32,
            ir_version: 1,
            values: null(),
            nodes: null(),
            inputs: null(),
            outputs: null(),
            options: null(),
            n_values: n + 1,
            n_nodes: n,
            n_inputs: 1,
            n_outputs: 1,
            n_options: 0,
            reserved: 0,
        },
        value_pointers: Vec::new(),
        node_pointers: Vec::new(),
        attr_pointers: Vec::new(),
        indices: (0..=n).collect(),
        _step: step,
    });
    chain.attr_pointers = vec![&raw const *chain.attr];
    chain.nodes = nodes
        .iter()
        .enumerate()
        .map(|(index, (op, name))| abi::Node {
            struct_size: size_of::<abi::Node>() as u32,
            op_version: 1,
            domain: abi::Str::of(""),
            op_type: abi::Str::of(op),
            name: abi::Str::of(name),
            inputs: &raw const chain.indices[index],
            outputs: &raw const chain.indices[index + 1],
            attrs: chain.attr_pointers.as_ptr(),
            n_inputs: 1,
            n_outputs: 1,
            n_attrs: 1,
            reserved: 0,
        })
        .collect();
    chain.value_pointers = chain.values.iter().map(|value| &raw const *value).collect();
    chain.node_pointers = chain.nodes.iter().map(|node| &raw const *node).collect();
    chain.raw.values = chain.value_pointers.as_ptr();
    chain.raw.nodes = chain.node_pointers.as_ptr();
    chain.raw.inputs = chain.indices.as_ptr();
    chain.raw.outputs = &raw const chain.indices[n as usize];
    chain
}

/// A tensor over `data`.
pub(crate) fn tensor(value: u32, data: &mut [i8]) -> abi::Tensor {
    abi::Tensor {
        struct_size: size_of::<abi::Tensor>() as u32,
        value,
        data: data.as_mut_ptr().cast(),
        byte_len: data.len(),
        dims: DIMS.as_ptr(),
        byte_strides: null(),
        rank: 1,
        memory: 0,
    }
}
