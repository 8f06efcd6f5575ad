//! Constant and run-time tensors: an element type, extents and packed row-major bytes.

use std::fmt;
use std::sync::Arc;

use bytemuck::Pod;
use half::{bf16, f16};

use super::{DType, Shape};
use crate::error::{CoreError, CoreErrorKind, Result};

/// A Rust type that stores one element of a [`DType`].
pub trait Element: Pod {
    /// The element type that this Rust type stores.
    const DTYPE: DType;
}

macro_rules! element {
    ($($rust:ty => $dtype:ident),* $(,)?) => { $(impl Element for $rust { const DTYPE: DType = DType::$dtype; })* };
}

element! {
    f32 => F32, f16 => F16, bf16 => Bf16, f64 => F64, i8 => I8, u8 => U8, i16 => I16, u16 => U16,
    i32 => I32, u32 => U32, i64 => I64, u64 => U64,
}

/// A dense row-major tensor whose bytes are shared by its clones.
///
/// Elements are little-endian (fewbit runs on little-endian machines only) and start at an 8-byte boundary.
/// 4-bit elements are packed two to a byte, low bits first; the last byte of an odd count is padded with zeros.
#[derive(Clone, PartialEq)]
pub struct Tensor {
    dtype: DType,
    extents: Vec<usize>,
    /// The packed bytes, rounded up to whole words so that every element type is aligned.
    words: Arc<Vec<u64>>,
    byte_len: usize,
}

const _: () = assert!(cfg!(target_endian = "little"), "fewbit needs a little-endian machine");

impl Tensor {
    /// A tensor of `dtype` and `extents` over a copy of `bytes`.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when the number of bytes is not what type and extents need, or overflows.
    pub fn from_bytes(dtype: DType, extents: &[usize], bytes: &[u8]) -> Result<Self> {
        let expected = packed_len(dtype, extents)?;
        if bytes.len() != expected {
            return Err(CoreError::new(
                CoreErrorKind::Tensor,
                format!("expected {expected} bytes for {dtype}{extents:?}, found {}", bytes.len()),
            ));
        }
        let mut words = vec![0u64; expected.div_ceil(8)];
        bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..expected].copy_from_slice(bytes);
        Ok(Self { dtype, extents: extents.to_vec(), words: Arc::new(words), byte_len: expected })
    }

    /// A tensor of `dtype` and `extents` over the next `length` bytes of `reader`, read into the tensor's own memory.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when `length` is not what type and extents need, or the reader ends before it.
    pub fn from_reader(
        dtype: DType,
        extents: &[usize],
        length: u64,
        reader: &mut dyn std::io::Read,
    ) -> Result<Self> {
        let expected = packed_len(dtype, extents)?;
        if length != expected as u64 {
            return Err(CoreError::new(
                CoreErrorKind::Tensor,
                format!("expected {expected} bytes for {dtype}{extents:?}, found {length}"),
            ));
        }
        let mut words = vec![0u64; expected.div_ceil(8)];
        reader.read_exact(&mut bytemuck::cast_slice_mut::<u64, u8>(&mut words)[..expected]).map_err(
            |error| CoreError::new(CoreErrorKind::Tensor, format!("cannot read {expected} bytes: {error}")),
        )?;
        Ok(Self { dtype, extents: extents.to_vec(), words: Arc::new(words), byte_len: expected })
    }

    /// A tensor over the elements of `values`.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when the number of elements is not the product of `extents`.
    pub fn from_slice<T: Element>(extents: &[usize], values: &[T]) -> Result<Self> {
        Self::from_bytes(T::DTYPE, extents, bytemuck::cast_slice(values))
    }

    /// A tensor of truth values.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when the number of elements is not the product of `extents`.
    pub fn from_bools(extents: &[usize], values: &[bool]) -> Result<Self> {
        let bytes: Vec<u8> = values.iter().map(|&value| u8::from(value)).collect();
        Self::from_bytes(DType::Bool, extents, &bytes)
    }

    /// A tensor without dimensions.
    pub fn scalar<T: Element>(value: T) -> Self {
        Self::from_slice(&[], &[value]).expect("a scalar has exactly one element")
    }

    /// A tensor of zeros.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when the size overflows.
    pub fn zeros(dtype: DType, extents: &[usize]) -> Result<Self> {
        let byte_len = packed_len(dtype, extents)?;
        let words = vec![0u64; byte_len.div_ceil(8)];
        Ok(Self { dtype, extents: extents.to_vec(), words: Arc::new(words), byte_len })
    }

    /// The element type.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The extents, outermost first.
    pub fn extents(&self) -> &[usize] {
        &self.extents
    }

    /// The shape.
    pub fn shape(&self) -> Shape {
        Shape::fixed(&self.extents)
    }

    /// The number of elements.
    pub fn elements(&self) -> usize {
        self.extents.iter().product()
    }

    /// The packed bytes.
    pub fn bytes(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.words)[..self.byte_len]
    }

    /// The elements, when `T` is how they are stored.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when the tensor's element type is another one.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        if self.dtype != T::DTYPE {
            return Err(CoreError::new(
                CoreErrorKind::Tensor,
                format!("expected elements of type {}, found {}", T::DTYPE, self.dtype),
            ));
        }
        Ok(bytemuck::cast_slice(self.bytes()))
    }

    /// The elements to write to; copied first when other clones share them.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when the tensor's element type is another one.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        self.as_slice::<T>()?;
        Ok(bytemuck::cast_slice_mut(self.bytes_mut()))
    }

    /// The packed bytes to write to; copied first when other clones share them.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        let byte_len = self.byte_len;
        &mut bytemuck::cast_slice_mut(Arc::make_mut(&mut self.words).as_mut_slice())[..byte_len]
    }

    /// The same elements under other extents.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when the extents hold another number of elements.
    pub fn reshaped(&self, extents: &[usize]) -> Result<Self> {
        if packed_len(self.dtype, extents)? != self.byte_len
            || extents.iter().product::<usize>() != self.elements()
        {
            return Err(CoreError::new(
                CoreErrorKind::Tensor,
                format!("expected extents of {} elements, found {extents:?}", self.elements()),
            ));
        }
        Ok(Self { extents: extents.to_vec(), ..self.clone() })
    }

    /// Every element as `f64`; exact but for 64-bit integers beyond 2^53.
    pub fn to_f64_vec(&self) -> Vec<f64> {
        let bytes = self.bytes();
        match self.dtype {
            DType::F32 => bytemuck::cast_slice::<u8, f32>(bytes).iter().map(|&x| f64::from(x)).collect(),
            DType::F16 => bytemuck::cast_slice::<u8, f16>(bytes).iter().map(|x| x.to_f64()).collect(),
            DType::Bf16 => bytemuck::cast_slice::<u8, bf16>(bytes).iter().map(|x| x.to_f64()).collect(),
            DType::F64 => bytemuck::cast_slice::<u8, f64>(bytes).to_vec(),
            _ => self.to_i64_vec().into_iter().map(|x| x as f64).collect(),
        }
    }

    /// Every element as `f32`, rounded to nearest even where it must be.
    pub fn to_f32_vec(&self) -> Vec<f32> {
        match self.dtype {
            DType::F32 => bytemuck::cast_slice::<u8, f32>(self.bytes()).to_vec(),
            _ => self.to_f64_vec().into_iter().map(|x| x as f32).collect(),
        }
    }

    /// Every element as `i64`; floats are truncated towards zero and saturate, NaN gives 0.
    pub fn to_i64_vec(&self) -> Vec<i64> {
        let bytes = self.bytes();
        match self.dtype {
            DType::I8 => bytes.iter().map(|&x| i64::from(x as i8)).collect(),
            DType::U8 | DType::Bool => bytes.iter().map(|&x| i64::from(x)).collect(),
            DType::I16 => bytemuck::cast_slice::<u8, i16>(bytes).iter().map(|&x| i64::from(x)).collect(),
            DType::U16 => bytemuck::cast_slice::<u8, u16>(bytes).iter().map(|&x| i64::from(x)).collect(),
            DType::I32 => bytemuck::cast_slice::<u8, i32>(bytes).iter().map(|&x| i64::from(x)).collect(),
            DType::U32 => bytemuck::cast_slice::<u8, u32>(bytes).iter().map(|&x| i64::from(x)).collect(),
            DType::I64 => bytemuck::cast_slice::<u8, i64>(bytes).to_vec(),
            DType::U64 => bytemuck::cast_slice::<u8, u64>(bytes).iter().map(|&x| x as i64).collect(),
            DType::U4 => {
                (0..self.elements()).map(|i| i64::from(bytes[i / 2] >> (4 * (i % 2)) & 15)).collect()
            }
            DType::I4 => (0..self.elements())
                .map(|i| i64::from((bytes[i / 2] >> (4 * (i % 2)) << 4) as i8 >> 4))
                .collect(),
            DType::F32 | DType::F16 | DType::Bf16 | DType::F64 => {
                self.to_f64_vec().into_iter().map(|x| x as i64).collect()
            }
        }
    }

    /// A tensor of `dtype` from `f64` values, each rounded to the type's nearest (even on ties) and saturated.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when the number of elements is not the product of `extents`.
    pub fn from_f64(dtype: DType, extents: &[usize], values: &[f64]) -> Result<Self> {
        match dtype {
            DType::F32 => Self::from_slice(extents, &values.iter().map(|&x| x as f32).collect::<Vec<_>>()),
            DType::F16 => {
                Self::from_slice(extents, &values.iter().map(|&x| f16::from_f64(x)).collect::<Vec<_>>())
            }
            DType::Bf16 => {
                Self::from_slice(extents, &values.iter().map(|&x| bf16::from_f64(x)).collect::<Vec<_>>())
            }
            DType::F64 => Self::from_slice(extents, values),
            _ => Self::from_i64(
                dtype,
                extents,
                &values.iter().map(|&x| x.round_ties_even() as i64).collect::<Vec<_>>(),
            ),
        }
    }

    /// A tensor of an integer `dtype` (or of truth values) from `i64` values, saturated to the type's range.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when the number of elements is not the product of `extents`.
    pub fn from_i64(dtype: DType, extents: &[usize], values: &[i64]) -> Result<Self> {
        fn convert<T: Element + TryFrom<i64>>(values: &[i64], dtype: DType) -> Vec<T> {
            let (low, high) = dtype.integer_range().unwrap_or((i64::MIN, i64::MAX));
            values.iter().map(|&x| T::try_from(x.clamp(low, high)).unwrap_or_else(|_| T::zeroed())).collect()
        }
        match dtype {
            DType::I8 => Self::from_slice(extents, &convert::<i8>(values, dtype)),
            DType::U8 => Self::from_slice(extents, &convert::<u8>(values, dtype)),
            DType::I16 => Self::from_slice(extents, &convert::<i16>(values, dtype)),
            DType::U16 => Self::from_slice(extents, &convert::<u16>(values, dtype)),
            DType::I32 => Self::from_slice(extents, &convert::<i32>(values, dtype)),
            DType::U32 => Self::from_slice(extents, &convert::<u32>(values, dtype)),
            DType::I64 => Self::from_slice(extents, values),
            DType::U64 => {
                Self::from_slice(extents, &values.iter().map(|&x| x.max(0) as u64).collect::<Vec<_>>())
            }
            DType::Bool => Self::from_bools(extents, &values.iter().map(|&x| x != 0).collect::<Vec<_>>()),
            DType::I4 | DType::U4 => {
                let (low, high) = dtype.integer_range().unwrap_or((0, 15));
                let mut bytes = vec![0u8; values.len().div_ceil(2)];
                for (index, &value) in values.iter().enumerate() {
                    bytes[index / 2] |= (value.clamp(low, high) as u8 & 15) << (4 * (index % 2));
                }
                Self::from_bytes(dtype, extents, &bytes)
            }
            DType::F32 | DType::F16 | DType::Bf16 | DType::F64 => {
                Self::from_f64(dtype, extents, &values.iter().map(|&x| x as f64).collect::<Vec<_>>())
            }
        }
    }
}

/// Bytes that `dtype` and `extents` need; an error when that overflows.
fn packed_len(dtype: DType, extents: &[usize]) -> Result<usize> {
    extents
        .iter()
        .try_fold(1usize, |product, &extent| product.checked_mul(extent))
        .and_then(|elements| dtype.byte_len(elements))
        .filter(|&bytes| bytes <= isize::MAX as usize - 8)
        .ok_or_else(|| {
            CoreError::new(
                CoreErrorKind::Tensor,
                format!("expected extents whose bytes fit the address space, found {dtype}{extents:?}"),
            )
        })
}

impl fmt::Debug for Tensor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}{:?})", self.dtype, self.extents)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_must_fit_type_and_extents() {
        assert!(Tensor::from_bytes(DType::F32, &[2, 2], &[0; 16]).is_ok());
        let error = Tensor::from_bytes(DType::F32, &[2, 2], &[0; 15]).unwrap_err();
        assert_eq!(error.kind(), CoreErrorKind::Tensor);
        assert!(Tensor::zeros(DType::F64, &[usize::MAX, 2]).is_err());
    }

    #[test]
    fn four_bit_elements_pack_low_bits_first_and_saturate() {
        let tensor = Tensor::from_i64(DType::I4, &[3], &[-8, 7, 100]).unwrap();
        assert_eq!(tensor.bytes(), &[0x78, 0x07]);
        assert_eq!(tensor.to_i64_vec(), vec![-8, 7, 7]);
        let tensor = Tensor::from_i64(DType::U4, &[3], &[-1, 9, 15]).unwrap();
        assert_eq!(tensor.to_i64_vec(), vec![0, 9, 15]);
    }

    #[test]
    fn writing_to_a_clone_leaves_the_original() {
        let original = Tensor::from_slice(&[2], &[1.0f32, 2.0]).unwrap();
        let mut copy = original.clone();
        copy.as_mut_slice::<f32>().unwrap()[0] = 5.0;
        assert_eq!(original.as_slice::<f32>().unwrap(), &[1.0, 2.0]);
        assert!(copy.as_slice::<i32>().is_err());
    }

    #[test]
    fn integers_round_half_to_even_from_floats() {
        let tensor = Tensor::from_f64(DType::I8, &[4], &[0.5, 1.5, -2.5, 300.0]).unwrap();
        assert_eq!(tensor.to_i64_vec(), vec![0, 2, -2, 127]);
    }
}
