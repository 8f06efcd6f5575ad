//! Pointers from the host, checked before anything is read through them.

#![expect(unsafe_code, reason = "turns the host's pointers into references and slices")]

use fewbit_abi as abi;

use crate::error::{Error, Result, Why};

/// The `struct_size` of a growable struct: its first field.
///
/// # Safety
/// `pointer` is null or points to a struct of the header that begins with `struct_size`.
pub(crate) unsafe fn struct_size<T>(pointer: *const T, what: &str) -> Result<u32> {
    if pointer.is_null() {
        return Err(Error::invalid(format!("expected `{what}`, found NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Error::invalid(format!("`{what}` is not aligned")).because(Why::ALIGNMENT));
    }
    // SAFETY: not null, aligned, and the first field of every growable struct is a `uint32_t`.
    Ok(unsafe { pointer.cast::<u32>().read() })
}

/// A struct all of whose fields of minor version 0 must be there.
///
/// # Safety
/// As [`struct_size`], and the `struct_size` bytes stay unchanged for `'a`.
pub(crate) unsafe fn complete<'a, T>(pointer: *const T, what: &str) -> Result<&'a T> {
    // SAFETY: the caller's promise.
    let size = unsafe { struct_size(pointer, what)? };
    if (size as usize) < size_of::<T>() {
        return Err(Error::invalid(format!(
            "expected `{what}` of at least {} bytes, found struct_size {size}",
            size_of::<T>()
        )));
    }
    // SAFETY: not null, aligned, as long as the type, and unchanged for 'a.
    Ok(unsafe { &*pointer })
}

/// An array of the header: null is allowed where it is empty.
///
/// # Safety
/// `pointer` is null or points to `len` elements that stay unchanged for `'a`.
pub(crate) unsafe fn slice<'a, T>(pointer: *const T, len: usize, what: &str) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    if pointer.is_null() {
        return Err(Error::invalid(format!("expected {len} elements of `{what}`, found NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Error::invalid(format!("`{what}` is not aligned")).because(Why::ALIGNMENT));
    }
    if len.checked_mul(size_of::<T>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(
            Error::invalid(format!("{len} elements of `{what}` do not fit any memory")).because(Why::SHAPE)
        );
    }
    // SAFETY: not null, aligned, within the address space, and unchanged for 'a.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// A text of the header.
///
/// # Safety
/// `text.ptr` is null or points to `text.len` bytes that stay unchanged for `'a`.
pub(crate) unsafe fn text<'a>(text: abi::Str, what: &str) -> Result<&'a str> {
    // SAFETY: the caller's promise.
    let bytes = unsafe { slice(text.ptr.cast::<u8>(), text.len, what)? };
    std::str::from_utf8(bytes).map_err(|_| Error::invalid(format!("`{what}` is not UTF-8")))
}
