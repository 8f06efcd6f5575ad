//! What a run reads and writes.

#![expect(unsafe_code, reason = "turns the host's buffers into slices")]

use fewbit_abi as abi;

use crate::error::{Error, Result, Why};
use crate::program::{DType, Program, elements};
use crate::raw;

mod sealed {
    pub trait Sealed {}
}

/// A Rust type of elements; every pattern of its bits is a value.
pub trait Element: sealed::Sealed + Copy + 'static {
    /// The same in a program.
    const DTYPE: DType;
}

macro_rules! elements {
    ($($rust:ty, $dtype:ident;)*) => {
        $(
            impl sealed::Sealed for $rust {}
            impl Element for $rust {
                const DTYPE: DType = DType::$dtype;
            }
        )*
    };
}

elements! {
    i8, I8; u8, U8; i16, I16; u16, U16; i32, I32; i64, I64; f32, F32; f64, F64;
}

/// A tensor that `run` is given.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    value: u32,
    dtype: DType,
    dims: &'a [i64],
    data: &'a [u8],
}

/// A tensor that `run` must fill, every byte of it.
#[derive(Debug)]
pub struct Output<'a> {
    value: u32,
    dtype: DType,
    dims: &'a [i64],
    data: &'a mut [u8],
}

macro_rules! shared_accessors {
    () => {
        /// Which value of the program this is.
        pub fn value(&self) -> u32 {
            self.value
        }

        /// Type in storage.
        pub fn dtype(&self) -> DType {
            self.dtype
        }

        /// Extents, outermost first; all are known now.
        pub fn dims(&self) -> &[i64] {
            self.dims
        }
    };
}

/// What a cast of a buffer to elements may fail for.
fn castable<T: Element>(dtype: DType, address: *const u8) -> Result<()> {
    if dtype != T::DTYPE {
        return Err(Error::internal(format!("the tensor holds {dtype}, not {}", T::DTYPE)));
    }
    if !address.cast::<T>().is_aligned() {
        return Err(Error::unsupported(
            Why::ALIGNMENT,
            format!("a tensor of {dtype} does not lie at a multiple of {} bytes", align_of::<T>()),
        ));
    }
    Ok(())
}

impl<'a> Input<'a> {
    shared_accessors!();

    /// Its bytes: dense, row-major, exactly as many as type and extents say.
    pub fn bytes(&self) -> &'a [u8] {
        self.data
    }

    /// Its elements.
    ///
    /// # Errors
    /// Where it holds another type, or lies at an odd address.
    pub fn as_slice<T: Element>(&self) -> Result<&'a [T]> {
        castable::<T>(self.dtype, self.data.as_ptr())?;
        // SAFETY: aligned, as long as before, and every pattern of bits is a `T`.
        Ok(unsafe { std::slice::from_raw_parts(self.data.as_ptr().cast(), self.data.len() / size_of::<T>()) })
    }
}

impl Output<'_> {
    shared_accessors!();

    /// Its bytes, as for [`Input::bytes`].
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        self.data
    }

    /// Its elements.
    ///
    /// # Errors
    /// As [`Input::as_slice`].
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        castable::<T>(self.dtype, self.data.as_ptr())?;
        // SAFETY: aligned, as long as before, borrowed mutably, and every pattern of bits is a `T` and may be one.
        Ok(unsafe {
            std::slice::from_raw_parts_mut(self.data.as_mut_ptr().cast(), self.data.len() / size_of::<T>())
        })
    }
}

/// What `run` must be given: the program's inputs and outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Signature {
    pub(crate) inputs: Vec<Port>,
    pub(crate) outputs: Vec<Port>,
}

/// One input or output of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Port {
    pub(crate) value: u32,
    pub(crate) dtype: DType,
    pub(crate) dims: Vec<i64>,
}

impl Signature {
    pub(crate) fn of(program: &Program<'_>) -> Signature {
        let port = |&index: &u32| {
            let value = program.value(index);
            Port { value: index, dtype: value.dtype, dims: value.dims.to_vec() }
        };
        Signature {
            inputs: program.inputs().iter().map(port).collect(),
            outputs: program.outputs().iter().map(port).collect(),
        }
    }

    /// The tensors of a call, checked against the program and each other.
    ///
    /// # Safety
    /// Both lists are null or point to that many pointers, each null or to a tensor as the header describes it; the
    /// buffers stay valid for `'a`, and nothing else writes the inputs or touches the outputs meanwhile.
    pub(crate) unsafe fn tensors<'a>(
        &self,
        inputs: *const *const abi::Tensor,
        n_inputs: u32,
        outputs: *const *mut abi::Tensor,
        n_outputs: u32,
    ) -> Result<(Vec<Input<'a>>, Vec<Output<'a>>)> {
        for (what, found, expected) in
            [("inputs", n_inputs, self.inputs.len()), ("outputs", n_outputs, self.outputs.len())]
        {
            if found as usize != expected {
                return Err(Error::invalid(format!("expected {expected} {what}, found {found}")));
            }
        }
        // SAFETY: the caller's promise, here and below.
        let inputs = unsafe { raw::slice(inputs, n_inputs as usize, "inputs")? };
        // SAFETY: as above.
        let outputs = unsafe { raw::slice(outputs, n_outputs as usize, "outputs")? };
        let inputs: Vec<Buffer<'a>> = inputs
            .iter()
            .zip(&self.inputs)
            .enumerate()
            // SAFETY: as above.
            .map(|(index, (&tensor, port))| unsafe { buffer(tensor, port, &format!("input {index}")) })
            .collect::<Result<_>>()?;
        let outputs: Vec<Buffer<'a>> = outputs
            .iter()
            .zip(&self.outputs)
            .enumerate()
            // SAFETY: as above.
            .map(|(index, (&tensor, port))| unsafe { buffer(tensor, port, &format!("output {index}")) })
            .collect::<Result<_>>()?;
        for (index, output) in outputs.iter().enumerate() {
            let others = inputs.iter().chain(&outputs[..index]);
            if others.into_iter().any(|other| other.overlaps(output)) {
                return Err(
                    Error::invalid(format!("output {index} overlaps another tensor")).because(Why::MEMORY)
                );
            }
        }
        let inputs = inputs
            .into_iter()
            .map(|Buffer { port: (value, dtype), dims, data, len }| {
                // SAFETY: `buffer` checked null and length; nothing writes it during the call.
                let data = unsafe { bytes(data, len) };
                Input { value, dtype, dims, data }
            })
            .collect();
        let outputs = outputs
            .into_iter()
            .map(|Buffer { port: (value, dtype), dims, data, len }| {
                // SAFETY: as above, and it overlaps no other tensor of the call.
                let data = unsafe { bytes_mut(data, len) };
                Output { value, dtype, dims, data }
            })
            .collect();
        Ok((inputs, outputs))
    }
}

/// # Safety
/// `data` points to `len` bytes that nothing writes for `'a`; null is allowed where `len` is 0.
unsafe fn bytes<'a>(data: *const u8, len: usize) -> &'a [u8] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(data, len) }
}

/// # Safety
/// `data` points to `len` bytes that nothing else touches for `'a`; null is allowed where `len` is 0.
unsafe fn bytes_mut<'a>(data: *mut u8, len: usize) -> &'a mut [u8] {
    if len == 0 {
        return &mut [];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts_mut(data, len) }
}

/// A checked tensor before it is known whether it may be written.
struct Buffer<'a> {
    port: (u32, DType),
    dims: &'a [i64],
    data: *mut u8,
    len: usize,
}

impl Buffer<'_> {
    fn overlaps(&self, other: &Buffer<'_>) -> bool {
        let (a, b) = (self.data.addr(), other.data.addr());
        self.len > 0 && other.len > 0 && a < b.saturating_add(other.len) && b < a.saturating_add(self.len)
    }
}

/// # Safety
/// As [`Signature::tensors`].
unsafe fn buffer<'a>(tensor: *const abi::Tensor, port: &Port, what: &str) -> Result<Buffer<'a>> {
    // SAFETY: the caller's promise, here and below.
    let raw = unsafe { raw::complete(tensor, what)? };
    if raw.value != port.value {
        return Err(Error::invalid(format!("{what}: expected value {}, found {}", port.value, raw.value)));
    }
    if raw.memory != 0 {
        return Err(Error::unsupported(
            Why::MEMORY,
            format!("{what} lies in memory {}, not the host's", raw.memory),
        ));
    }
    // SAFETY: as above.
    let dims = unsafe { raw::slice(raw.dims, raw.rank as usize, what)? };
    let same = dims.len() == port.dims.len()
        && dims
            .iter()
            .zip(&port.dims)
            .all(|(&dim, &expected)| dim >= 0 && (expected == -1 || dim == expected));
    if !same {
        let why = if dims.len() == port.dims.len() { Why::SHAPE } else { Why::RANK };
        return Err(
            Error::invalid(format!("{what}: expected extents {:?}, found {dims:?}", port.dims)).because(why)
        );
    }
    let dtype = port.dtype;
    let Some(len) = elements(dims).and_then(|elements| dtype.bytes(elements)) else {
        return Err(Error::invalid(format!("{what}: extents {dims:?} fit no memory")).because(Why::SHAPE));
    };
    if !raw.byte_strides.is_null() {
        // SAFETY: as above; there are as many strides as extents.
        let strides = unsafe { raw::slice(raw.byte_strides, dims.len(), what)? };
        let mut dense = i64::from(dtype.bits() / 8);
        let is_dense = len == 0
            || dims.iter().zip(strides).rev().all(|(&dim, &stride)| {
                let fits = dim == 1 || stride == dense;
                dense *= dim;
                fits
            });
        if !is_dense {
            return Err(Error::unsupported(Why::ALIGNMENT, format!("{what} is not dense")));
        }
    }
    if raw.byte_len < len {
        return Err(Error::invalid(format!("{what}: expected {len} bytes, found {}", raw.byte_len))
            .because(Why::SHAPE));
    }
    if raw.data.is_null() && len > 0 {
        return Err(Error::invalid(format!("{what}: expected data, found NULL")));
    }
    Ok(Buffer { port: (port.value, dtype), dims, data: raw.data.cast(), len })
}
