//! The numbers of the header, in Rust and in C.

use std::fmt::Write;

use fewbit_abi as abi;

macro_rules! numbers {
    ($($c:ident $rust:ident)*) => {
        const NAMES: &[&str] = &[$(stringify!($c)),*];

        fn mirror() -> String {
            let mut text = String::new();
            $(writeln!(text, "{} {}", stringify!($c), i64::from(abi::$rust)).unwrap();)*
            text
        }
    };
}

numbers! {
    FEWBIT_ABI_MAJOR ABI_MAJOR
    FEWBIT_ABI_MINOR ABI_MINOR
    FEWBIT_MAGIC MAGIC
    FEWBIT_ABSENT ABSENT
    FEWBIT_OK OK
    FEWBIT_INVALID_ARGUMENT INVALID_ARGUMENT
    FEWBIT_UNSUPPORTED UNSUPPORTED
    FEWBIT_OUT_OF_MEMORY OUT_OF_MEMORY
    FEWBIT_INCOMPATIBLE INCOMPATIBLE
    FEWBIT_DEVICE_LOST DEVICE_LOST
    FEWBIT_CANCELLED CANCELLED
    FEWBIT_INTERNAL INTERNAL
    FEWBIT_WHY_OP WHY_OP
    FEWBIT_WHY_DTYPE WHY_DTYPE
    FEWBIT_WHY_SCHEME WHY_SCHEME
    FEWBIT_WHY_GRANULARITY WHY_GRANULARITY
    FEWBIT_WHY_RANK WHY_RANK
    FEWBIT_WHY_SHAPE WHY_SHAPE
    FEWBIT_WHY_ATTRIBUTE WHY_ATTRIBUTE
    FEWBIT_WHY_ALIGNMENT WHY_ALIGNMENT
    FEWBIT_WHY_MEMORY WHY_MEMORY
    FEWBIT_WHY_DRIVER WHY_DRIVER
    FEWBIT_WHY_DEPENDENCY WHY_DEPENDENCY
    FEWBIT_WHY_LICENSE WHY_LICENSE
    FEWBIT_ERROR LOG_ERROR
    FEWBIT_WARN LOG_WARN
    FEWBIT_INFO LOG_INFO
    FEWBIT_DEBUG LOG_DEBUG
    FEWBIT_TRACE LOG_TRACE
    FEWBIT_INT CODE_INT
    FEWBIT_UINT CODE_UINT
    FEWBIT_FLOAT CODE_FLOAT
    FEWBIT_BFLOAT CODE_BFLOAT
    FEWBIT_BOOL CODE_BOOL
    FEWBIT_Q_AFFINE Q_AFFINE
    FEWBIT_Q_SYMMETRIC Q_SYMMETRIC
    FEWBIT_Q_POW2 Q_POW2
    FEWBIT_Q_MX Q_MX
    FEWBIT_G_TENSOR G_TENSOR
    FEWBIT_G_CHANNEL G_CHANNEL
    FEWBIT_G_BLOCK G_BLOCK
    FEWBIT_V_INPUT V_INPUT
    FEWBIT_V_OUTPUT V_OUTPUT
    FEWBIT_V_CONST V_CONST
    FEWBIT_V_PACKED V_PACKED
    FEWBIT_A_INT A_INT
    FEWBIT_A_FLOAT A_FLOAT
    FEWBIT_A_STR A_STR
    FEWBIT_A_INTS A_INTS
    FEWBIT_A_FLOATS A_FLOATS
    FEWBIT_BLOB_OPTIMAL BLOB_OPTIMAL
    FEWBIT_BLOB_RECOMPILE_ADVISED BLOB_RECOMPILE_ADVISED
    FEWBIT_BLOB_REFUSED BLOB_REFUSED
}

#[test]
fn the_mirror_has_the_numbers_of_the_header() {
    let mut program = String::from("#include <fewbit/ext.h>\n#include <stdio.h>\nint main(void) {\n");
    for name in NAMES {
        writeln!(program, "  printf(\"{name} %lld\\n\", (long long){name});").unwrap();
    }
    program.push_str("  return 0;\n}\n");
    if let Some(printed) = crate::printed_by_c("constants", &program) {
        assert_eq!(printed, mirror());
    }
}

#[test]
fn every_number_of_the_header_is_listed() {
    for line in abi::PLUGIN_H.lines() {
        let Some((name, _)) = line.split_once(" = ") else { continue };
        let name = name.rsplit([' ', '{']).next().unwrap_or_default();
        if name.starts_with("FEWBIT_") {
            assert!(NAMES.contains(&name), "{name} is not in the constants test");
        }
    }
}

#[test]
fn extensions_have_the_ids_of_the_header() {
    for (name, id) in [
        ("FEWBIT_EXT_HOST_PARALLEL", abi::EXT_HOST_PARALLEL),
        ("FEWBIT_EXT_COST", abi::EXT_COST),
        ("FEWBIT_EXT_PROFILE", abi::EXT_PROFILE),
    ] {
        let line = format!("#define {name} \"{}\"", id.to_str().unwrap());
        assert!(abi::EXT_H.contains(&line), "{line}");
    }
}
