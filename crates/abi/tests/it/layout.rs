//! Sizes and offsets of every struct, in Rust and in C.

use std::fmt::Write;

use fewbit_abi::*;

/// The structs with their fields: the Rust side's figures, and a C program that prints the header's.
macro_rules! layout {
    ($($c:ident $rust:ident { $($field:ident)* })*) => {
        fn mirror() -> String {
            let mut text = String::new();
            $(
                writeln!(text, "{} size {}", stringify!($c), size_of::<$rust>()).unwrap();
                $(writeln!(text, "  {} {}", stringify!($field), std::mem::offset_of!($rust, $field)).unwrap();)*
            )*
            text
        }

        fn program() -> String {
            let mut text = String::from("#include <fewbit/ext.h>\n#include <stdio.h>\nint main(void) {\n");
            $(
                writeln!(text, "  printf(\"{0} size %zu\\n\", sizeof({0}));", stringify!($c)).unwrap();
                $(
                    writeln!(
                        text,
                        "  printf(\"  {1} %zu\\n\", offsetof({0}, {1}));",
                        stringify!($c),
                        stringify!($field)
                    )
                    .unwrap();
                )*
            )*
            text.push_str("  return 0;\n}\n");
            text
        }
    };
}

layout! {
    fewbit_str Str { ptr len }
    fewbit_bytes Bytes { ptr len }
    fewbit_error Error { vendor_code why node reserved message }
    fewbit_sink Sink { ctx write }
    fewbit_host Host { struct_size abi_major abi_minor ctx log log_max_level get_extension }
    fewbit_dtype DType { code bits lanes }
    fewbit_quant Quant { struct_size scheme granularity axis block_size count scales zero_points }
    fewbit_value Value { struct_size flags name dims rank dtype quant data }
    fewbit_attr Attr { struct_size kind name items n_items }
    fewbit_node Node {
        struct_size op_version domain op_type name inputs outputs attrs n_inputs n_outputs n_attrs reserved
    }
    fewbit_program Program {
        struct_size ir_version values nodes inputs outputs options n_values n_nodes n_inputs n_outputs n_options
        reserved
    }
    fewbit_tensor Tensor { struct_size value data byte_len dims byte_strides rank memory }
    fewbit_verdict Verdict { supported why }
    fewbit_plugin Plugin {
        magic struct_size abi_major abi_minor flags id vendor version build init deinit get_extension device_count
        device_open device_close capabilities supports compile blob_save blob_load blob_check executable_free
        context_new run context_free footprint
    }
    fewbit_ext_host_parallel ExtHostParallel { struct_size threads ctx parallel_for }
    fewbit_cost Cost { nanoseconds nanojoules bytes }
    fewbit_ext_cost ExtCost { struct_size reserved estimate }
    fewbit_ext_profile ExtProfile { struct_size reserved node_times }
    fewbit_footprint Footprint { weights activations scratch }
}

/// A change of what is in the snapshot is a change of the ABI: within major version 1, lines may only be added at the
/// end of a struct that is not frozen, with the minor version counted up.
#[test]
#[cfg(target_pointer_width = "64")]
fn the_layout_is_the_committed_one() {
    insta::assert_snapshot!(mirror());
}

#[test]
fn the_mirror_is_laid_out_as_the_header() {
    if let Some(printed) = crate::printed_by_c("layout", &program()) {
        assert_eq!(printed, mirror());
    }
}

/// The snapshot lists every field of every struct of the headers, so that none can be added unseen.
#[test]
fn every_struct_of_the_headers_is_listed() {
    let listed = program();
    for header in [PLUGIN_H, EXT_H] {
        for line in header.lines().filter(|line| line.starts_with("} fewbit_")) {
            let name = line[2..].split(';').next().unwrap();
            assert!(listed.contains(&format!("sizeof({name})")), "{name} is not in the layout test");
        }
    }
}

/// No padding in the mirror either: a struct is as long as its last field's end.
#[test]
#[cfg(target_pointer_width = "64")]
fn sizes_are_those_that_the_design_tried() {
    assert_eq!(
        [
            size_of::<Error>(),
            size_of::<Sink>(),
            size_of::<Host>(),
            size_of::<DType>(),
            size_of::<Quant>(),
            size_of::<Value>(),
            size_of::<Attr>(),
            size_of::<Node>(),
            size_of::<Program>(),
            size_of::<Tensor>(),
            size_of::<Verdict>(),
        ],
        [512, 16, 40, 4, 32, 64, 40, 96, 72, 48, 8]
    );
}
