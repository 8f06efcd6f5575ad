//! NumPy's `.npy` and `.npz`: format version 1 to 3, C or Fortran order, little-endian or single-byte elements.
//!
//! Follows the format's description in NumPy's documentation (`numpy.lib.format`). Allocation is bounded by the
//! bytes that the file really holds.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use fewbit_core::ir::{DType, Tensor};

use super::{mismatch, read_error};
use crate::error::{CalibrateError, CalibrateErrorKind, Result};

/// The most bytes that one array inside an archive may unpack to.
const MAX_UNPACKED: u64 = 4 << 30;

fn malformed(message: impl Into<String>) -> CalibrateError {
    CalibrateError::new(CalibrateErrorKind::Format, message)
}

/// Reads a `.npy` file.
///
/// # Errors
/// [`CalibrateErrorKind::Read`] when the file cannot be read, [`CalibrateErrorKind::Format`] when it is not an array
/// of a type that tensors have.
pub fn read_npy(path: &Path) -> Result<Tensor> {
    let bytes = std::fs::read(path).map_err(|error| read_error(path, &error))?;
    parse(&bytes).map_err(|error| error.in_file(path))
}

/// A tensor in the form of a `.npy` file, version 1.0, C order; bf16 and 4-bit tensors are widened to f32 and i8.
///
/// # Errors
/// [`CalibrateErrorKind::Format`] for a rank so high that the header does not fit.
pub fn encode_npy(tensor: &Tensor) -> Result<Vec<u8>> {
    let widened;
    let (tensor, descr) = match tensor.dtype() {
        DType::F32 => (tensor, "<f4"),
        DType::F64 => (tensor, "<f8"),
        DType::F16 => (tensor, "<f2"),
        DType::I8 => (tensor, "|i1"),
        DType::U8 => (tensor, "|u1"),
        DType::I16 => (tensor, "<i2"),
        DType::U16 => (tensor, "<u2"),
        DType::I32 => (tensor, "<i4"),
        DType::U32 => (tensor, "<u4"),
        DType::I64 => (tensor, "<i8"),
        DType::U64 => (tensor, "<u8"),
        DType::Bool => (tensor, "|b1"),
        DType::I4 | DType::U4 => {
            widened = Tensor::from_i64(DType::I8, tensor.extents(), &tensor.to_i64_vec())?;
            (&widened, "|i1")
        }
        _ => {
            widened = Tensor::from_slice(tensor.extents(), &tensor.to_f32_vec())?;
            (&widened, "<f4")
        }
    };
    let extents: Vec<String> = tensor.extents().iter().map(|extent| format!("{extent},")).collect();
    let mut header =
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({}), }}", extents.join(" "));
    let padding = 64 - (10 + header.len() + 1) % 64;
    header.extend(std::iter::repeat_n(' ', padding % 64));
    header.push('\n');
    let length = u16::try_from(header.len())
        .map_err(|_| malformed("expected a shape whose header fits 65,535 bytes"))?;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.extend_from_slice(tensor.bytes());
    Ok(bytes)
}

/// An `.npz`: a ZIP archive of `.npy` files.
pub(super) struct Archive {
    zip: zip::ZipArchive<BufReader<File>>,
    place: String,
}

impl Archive {
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| read_error(path, &error))?;
        let zip = zip::ZipArchive::new(BufReader::new(file))
            .map_err(|error| malformed(format!("expected an .npz (a ZIP archive): {error}")).in_file(path))?;
        Ok(Self { zip, place: path.display().to_string() })
    }

    /// Names of the arrays.
    pub(super) fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = (0..self.zip.len())
            .filter_map(|index| self.zip.name_for_index(index)?.ok())
            .map(|name| name.strip_suffix(".npy").unwrap_or(&name).to_owned())
            .collect();
        names.sort_unstable();
        names
    }

    /// The array of that name, or `None` where there is none.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Tensor>> {
        let place = format!("{}:{name}", self.place);
        let file = match self.zip.by_name(&format!("{name}.npy")) {
            Ok(file) => file,
            Err(zip::result::ZipError::FileNotFound) => return Ok(None),
            Err(error) => return Err(malformed(format!("cannot be unpacked: {error}")).at(place)),
        };
        let mut bytes = Vec::new();
        file.take(MAX_UNPACKED + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| malformed(format!("cannot be unpacked: {error}")).at(place.as_str()))?;
        if bytes.len() as u64 > MAX_UNPACKED {
            return Err(
                mismatch(format!("expected at most {MAX_UNPACKED} bytes unpacked, found more")).at(place)
            );
        }
        parse(&bytes).map(Some).map_err(|error| error.at(place))
    }
}

/// Parses the bytes of a `.npy` file.
fn parse(bytes: &[u8]) -> Result<Tensor> {
    let header_start = match bytes {
        [0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, ..] => 10,
        [0x93, b'N', b'U', b'M', b'P', b'Y', 2 | 3, _, ..] => 12,
        _ => return Err(malformed("expected NumPy's magic bytes and version 1 to 3")),
    };
    let truncated = || malformed("expected a whole NumPy header, found the end of the file");
    let length = bytes.get(8..header_start).ok_or_else(truncated)?;
    let length = length.iter().rev().fold(0usize, |sum, &byte| sum << 8 | usize::from(byte));
    let data_start = header_start.checked_add(length).ok_or_else(truncated)?;
    let header = bytes.get(header_start..data_start).ok_or_else(truncated)?;
    let header = std::str::from_utf8(header).map_err(|_| malformed("expected a text header"))?;

    let descr = field(header, "descr").ok_or_else(|| malformed("expected `descr` in the header"))?;
    let descr = descr.trim_start().trim_start_matches(['\'', '"']);
    let descr = descr.split(['\'', '"']).next().unwrap_or_default();
    let dtype = match descr {
        "<f4" => DType::F32,
        "<f8" => DType::F64,
        "<f2" => DType::F16,
        "|i1" => DType::I8,
        "|u1" => DType::U8,
        "<i2" => DType::I16,
        "<u2" => DType::U16,
        "<i4" => DType::I32,
        "<u4" => DType::U32,
        "<i8" => DType::I64,
        "<u8" => DType::U64,
        "|b1" => DType::Bool,
        _ => {
            return Err(malformed(format!(
                "expected little-endian numbers or truth values, found `{descr}`"
            ))
            .help("save the array with astype('<f4'), '<i8' or '|u1'"));
        }
    };
    let fortran = field(header, "fortran_order").is_some_and(|text| text.trim_start().starts_with("True"));
    let shape = field(header, "shape").ok_or_else(|| malformed("expected `shape` in the header"))?;
    let shape = shape
        .trim_start()
        .strip_prefix('(')
        .and_then(|text| text.split(')').next())
        .ok_or_else(|| malformed("expected `shape` as a tuple"))?;
    let mut extents = Vec::new();
    for part in shape.split(',').map(str::trim).filter(|part| !part.is_empty()) {
        let part = part.trim_end_matches('L');
        extents.push(
            part.parse::<usize>()
                .map_err(|_| malformed(format!("expected whole extents, found `{part}`")))?,
        );
    }
    let data = &bytes[data_start..];
    let tensor = Tensor::from_bytes(dtype, &extents, data).map_err(|error| malformed(error.to_string()))?;
    if fortran && extents.len() > 1 { transpose(&tensor) } else { Ok(tensor) }
}

/// What stands behind `'name':` in the header.
fn field<'a>(header: &'a str, name: &str) -> Option<&'a str> {
    let at = header.find(&format!("'{name}'"))?;
    header[at + name.len() + 2..].trim_start().strip_prefix(':')
}

/// Row-major elements of a tensor that was stored column-major.
fn transpose(tensor: &Tensor) -> Result<Tensor> {
    let extents = tensor.extents();
    let size = tensor.dtype().bits() / 8;
    let source = tensor.bytes();
    let mut target = vec![0u8; source.len()];
    let mut index = vec![0usize; extents.len()];
    for row in target.chunks_exact_mut(size) {
        let mut at = 0;
        for (&i, &extent) in index.iter().zip(extents).rev() {
            at = at * extent + i;
        }
        row.copy_from_slice(&source[at * size..(at + 1) * size]);
        for (i, &extent) in index.iter_mut().zip(extents).rev() {
            *i += 1;
            if *i < extent {
                break;
            }
            *i = 0;
        }
    }
    Ok(Tensor::from_bytes(tensor.dtype(), extents, &target)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    #[test]
    fn fortran_order_is_turned_to_rows() {
        let header = "{'descr': '|u1', 'fortran_order': True, 'shape': (2, 3), }";
        let tensor = parse(&file(header, &[1, 4, 2, 5, 3, 6])).unwrap();
        assert_eq!(tensor.bytes(), &[1, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn hostile_headers_are_refused_without_allocation() {
        for (header, data) in [
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (4000000000, 4000000000), }", &[][..]),
            ("{'descr': '<f4', 'fortran_order': False, 'shape': (18446744073709551616,), }", &[]),
            ("{'descr': '>f4', 'fortran_order': False, 'shape': (1,), }", &[0; 4]),
            ("{'descr': '<f4', 'shape': 3}", &[0; 4]),
            ("{'descr': '|O', 'shape': (1,)}", &[0; 8]),
            ("", &[]),
        ] {
            assert!(parse(&file(header, data)).is_err(), "{header}");
        }
        assert!(parse(b"\x93NUMPY\x01\x00\xff\xff{").is_err());
        assert!(parse(b"PK").is_err());
    }

    #[test]
    fn written_files_read_back() {
        let folder = std::env::temp_dir().join(format!("fewbit-npy-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("x.npy");
        for tensor in [
            Tensor::from_slice(&[2, 1, 3], &[1f32, 2.0, 3.0, 4.0, 5.0, 6.0]).unwrap(),
            Tensor::scalar(7i64),
            Tensor::from_slice(&[0, 3], &[0u8; 0]).unwrap(),
        ] {
            std::fs::write(&path, encode_npy(&tensor).unwrap()).unwrap();
            assert_eq!(read_npy(&path).unwrap(), tensor);
            assert_eq!(std::fs::read(&path).unwrap().len() % 64, tensor.bytes().len() % 64);
        }
        std::fs::remove_dir_all(folder).unwrap();
    }
}
