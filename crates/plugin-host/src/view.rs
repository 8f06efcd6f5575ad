//! A program as C structs: pointers into arenas that live as long as the view.
//!
//! Making pointers is safe; only the plugin follows them, and only during the call that it is given the view for.

use std::marker::PhantomData;

use fewbit_abi as abi;

use crate::program::{Attribute, IR_VERSION, Items, OPERATORS_VERSION, Program, Quant, Span};

/// `fewbit_program` over a [`Program`] and its constants.
pub(crate) struct View<'p> {
    program: Box<abi::Program>,
    _arenas: Arenas,
    _borrowed: PhantomData<&'p Program>,
}

fn quantization(quant: &Quant) -> abi::Quant {
    abi::Quant {
        struct_size: size_of::<abi::Quant>() as u32,
        scheme: quant.scheme,
        granularity: quant.granularity,
        axis: quant.axis,
        block_size: quant.block_size,
        count: quant.scales.len() as u32,
        scales: quant.scales.as_ptr(),
        zero_points: if quant.zero_points.is_empty() { std::ptr::null() } else { quant.zero_points.as_ptr() },
    }
}

/// What the pointers of a view lead to; nothing moves once it is filled.
struct Arenas {
    _quants: Vec<Vec<abi::Quant>>,
    _values: Vec<abi::Value>,
    _value_list: Vec<*const abi::Value>,
    _attributes: Vec<Attributes>,
    _nodes: Vec<abi::Node>,
    _node_list: Vec<*const abi::Node>,
}

/// The attributes of one node, or the options of a program.
struct Attributes {
    _items: Vec<abi::Attr>,
    list: Vec<*const abi::Attr>,
}

impl Attributes {
    fn of(attributes: &[Attribute]) -> Self {
        let items: Vec<abi::Attr> = attributes
            .iter()
            .map(|attribute| {
                let (kind, items, n_items) = match &attribute.value {
                    Items::Int(value) => (abi::A_INT, std::ptr::from_ref(value).cast(), 1),
                    Items::Float(value) => (abi::A_FLOAT, std::ptr::from_ref(value).cast(), 1),
                    Items::Text(text) => (abi::A_STR, text.as_ptr().cast(), text.len()),
                    Items::Ints(values) => (abi::A_INTS, values.as_ptr().cast(), values.len()),
                };
                abi::Attr {
                    struct_size: size_of::<abi::Attr>() as u32,
                    kind,
                    name: abi::Str::of(&attribute.name),
                    items,
                    n_items,
                }
            })
            .collect();
        let list = items.iter().map(std::ptr::from_ref).collect();
        Self { _items: items, list }
    }
}

impl<'p> View<'p> {
    /// The view of `program`, whose constants lie where `constant` says.
    pub(crate) fn new(program: &'p Program, constant: &dyn Fn(Span) -> Option<&'p [u8]>) -> Self {
        // A vector of one each, whose content stays where it is.
        let quants: Vec<Vec<abi::Quant>> =
            program.values.iter().map(|value| value.quant.iter().map(quantization).collect()).collect();
        let values: Vec<abi::Value> = program
            .values
            .iter()
            .zip(&quants)
            .map(|(value, quant)| abi::Value {
                struct_size: size_of::<abi::Value>() as u32,
                flags: value.flags,
                name: abi::Str::of(&value.name),
                dims: value.dims.as_ptr(),
                rank: value.dims.len() as u32,
                dtype: abi::DType { code: value.code, bits: value.bits, lanes: 1 },
                quant: quant.first().map_or(std::ptr::null(), std::ptr::from_ref),
                data: value.constant.and_then(constant).map_or(abi::Bytes::EMPTY, abi::Bytes::of),
            })
            .collect();
        let value_list: Vec<*const abi::Value> = values.iter().map(std::ptr::from_ref).collect();
        let mut attributes: Vec<Attributes> =
            program.nodes.iter().map(|node| Attributes::of(&node.attributes)).collect();
        let nodes: Vec<abi::Node> = program
            .nodes
            .iter()
            .zip(&attributes)
            .map(|(node, attributes)| abi::Node {
                struct_size: size_of::<abi::Node>() as u32,
                op_version: OPERATORS_VERSION,
                domain: abi::Str::of(&node.domain),
                op_type: abi::Str::of(&node.op_type),
                name: abi::Str::of(&node.name),
                inputs: node.inputs.as_ptr(),
                outputs: node.outputs.as_ptr(),
                attrs: attributes.list.as_ptr(),
                n_inputs: node.inputs.len() as u32,
                n_outputs: node.outputs.len() as u32,
                n_attrs: attributes.list.len() as u32,
                reserved: 0,
            })
            .collect();
        let node_list: Vec<*const abi::Node> = nodes.iter().map(std::ptr::from_ref).collect();
        let options = Attributes::of(&program.options);
        let c = Box::new(abi::Program {
            struct_size: size_of::<abi::Program>() as u32,
            ir_version: IR_VERSION,
            values: value_list.as_ptr(),
            nodes: node_list.as_ptr(),
            inputs: program.inputs.as_ptr(),
            outputs: program.outputs.as_ptr(),
            options: options.list.as_ptr(),
            n_values: value_list.len() as u32,
            n_nodes: node_list.len() as u32,
            n_inputs: program.inputs.len() as u32,
            n_outputs: program.outputs.len() as u32,
            n_options: options.list.len() as u32,
            reserved: 0,
        });
        attributes.push(options);
        Self {
            program: c,
            _arenas: Arenas {
                _quants: quants,
                _values: values,
                _value_list: value_list,
                _attributes: attributes,
                _nodes: nodes,
                _node_list: node_list,
            },
            _borrowed: PhantomData,
        }
    }

    /// Valid as long as the view.
    pub(crate) fn as_ptr(&self) -> *const abi::Program {
        &raw const *self.program
    }
}
