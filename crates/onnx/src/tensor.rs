//! Tensors between ONNX's form and ours.

use fewbit_core::ir::{DType, Tensor};

use prost::Message;

use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::external::Folder;
use crate::proto::TensorProto;
use crate::proto::tensor_proto::{DataLocation, DataType};

/// The element type of ONNX's number for it.
pub(crate) fn dtype(number: i32) -> Result<DType> {
    Ok(match DataType::try_from(number) {
        Ok(DataType::Float) => DType::F32,
        Ok(DataType::Float16) => DType::F16,
        Ok(DataType::Bfloat16) => DType::Bf16,
        Ok(DataType::Double) => DType::F64,
        Ok(DataType::Int4) => DType::I4,
        Ok(DataType::Uint4) => DType::U4,
        Ok(DataType::Int8) => DType::I8,
        Ok(DataType::Uint8) => DType::U8,
        Ok(DataType::Int16) => DType::I16,
        Ok(DataType::Uint16) => DType::U16,
        Ok(DataType::Int32) => DType::I32,
        Ok(DataType::Uint32) => DType::U32,
        Ok(DataType::Int64) => DType::I64,
        Ok(DataType::Uint64) => DType::U64,
        Ok(DataType::Bool) => DType::Bool,
        Ok(other) => {
            return Err(OnnxError::new(
                OnnxErrorKind::Tensor,
                format!("expected numbers or truth values, found elements of type {}", other.as_str_name()),
            ));
        }
        Err(_) => {
            return Err(OnnxError::new(
                OnnxErrorKind::Tensor,
                format!("expected an element type of ONNX, found number {number}"),
            ));
        }
    })
}

/// ONNX's number of an element type.
pub(crate) fn data_type(dtype: DType) -> Result<DataType> {
    Ok(match dtype {
        DType::F32 => DataType::Float,
        DType::F16 => DataType::Float16,
        DType::Bf16 => DataType::Bfloat16,
        DType::F64 => DataType::Double,
        DType::I4 => DataType::Int4,
        DType::U4 => DataType::Uint4,
        DType::I8 => DataType::Int8,
        DType::U8 => DataType::Uint8,
        DType::I16 => DataType::Int16,
        DType::U16 => DataType::Uint16,
        DType::I32 => DataType::Int32,
        DType::U32 => DataType::Uint32,
        DType::I64 => DataType::Int64,
        DType::U64 => DataType::Uint64,
        DType::Bool => DataType::Bool,
        other => {
            return Err(OnnxError::new(
                OnnxErrorKind::Export,
                format!("expected an element type that ONNX has, found {other}"),
            ));
        }
    })
}

/// Reads one tensor from a file's bytes (`.pb`), as ONNX's test data and many exporters' samples are kept.
///
/// # Errors
/// An [`OnnxError`] when the bytes are no tensor, when its parts contradict each other, when its element type is one
/// that the IR lacks, or when its elements lie in another file.
pub fn read_tensor(bytes: &[u8]) -> Result<Tensor> {
    let proto = TensorProto::decode(bytes).map_err(|error| {
        OnnxError::new(
            OnnxErrorKind::Malformed,
            format!("expected a tensor of ONNX, found other bytes: {error}"),
        )
    })?;
    read(&proto, &Folder::default())
}

/// Reads a tensor, wherever its elements are.
pub(crate) fn read(proto: &TensorProto, folder: &Folder) -> Result<Tensor> {
    let place = proto.name().to_owned();
    read_unnamed(proto, folder).map_err(|error| if place.is_empty() { error } else { error.at(place) })
}

fn read_unnamed(proto: &TensorProto, folder: &Folder) -> Result<Tensor> {
    let dtype = dtype(proto.data_type())?;
    let fail = |message: String| OnnxError::new(OnnxErrorKind::Tensor, message);
    let extents: Vec<usize> = proto
        .dims
        .iter()
        .map(|&extent| {
            usize::try_from(extent)
                .map_err(|_| fail(format!("expected extents of 0 or more, found {extent}")))
        })
        .collect::<Result<_>>()?;
    let from_core = |error| OnnxError::core(OnnxErrorKind::Tensor, error);
    if proto.data_location() == DataLocation::External {
        return folder.read(proto, dtype, &extents);
    }
    if let Some(raw) = &proto.raw_data {
        return Tensor::from_bytes(dtype, &extents, raw).map_err(from_core);
    }
    match dtype {
        DType::F32 => Tensor::from_slice(&extents, &proto.float_data),
        DType::F64 => Tensor::from_slice(&extents, &proto.double_data),
        DType::I64 => Tensor::from_slice(&extents, &proto.int64_data),
        DType::U64 => Tensor::from_slice(&extents, &proto.uint64_data),
        DType::U32 => {
            let values: Vec<i64> =
                proto.uint64_data.iter().map(|&x| i64::try_from(x).unwrap_or(i64::MAX)).collect();
            Tensor::from_i64(dtype, &extents, &values)
        }
        // Half floats and 4-bit elements travel as their bits, two 4-bit elements to a number.
        DType::F16 | DType::Bf16 => {
            let bytes: Vec<u8> = proto.int32_data.iter().flat_map(|&x| (x as u16).to_le_bytes()).collect();
            Tensor::from_bytes(dtype, &extents, &bytes)
        }
        DType::I4 | DType::U4 => {
            let bytes: Vec<u8> = proto.int32_data.iter().map(|&x| x as u8).collect();
            Tensor::from_bytes(dtype, &extents, &bytes)
        }
        _ => {
            let values: Vec<i64> = proto.int32_data.iter().map(|&x| i64::from(x)).collect();
            Tensor::from_i64(dtype, &extents, &values)
        }
    }
    .map_err(from_core)
}

/// Writes a tensor with its elements as raw bytes.
pub(crate) fn write(name: &str, tensor: &Tensor) -> Result<TensorProto> {
    Ok(TensorProto {
        name: Some(name.to_owned()),
        dims: tensor.extents().iter().map(|&extent| extent as i64).collect(),
        data_type: Some(data_type(tensor.dtype())? as i32),
        raw_data: Some(tensor.bytes().to_vec().into()),
        ..TensorProto::default()
    })
}
