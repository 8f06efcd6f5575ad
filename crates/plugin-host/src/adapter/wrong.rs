//! Calls that break the header's rules, made to see that a plugin answers them as the header says.

use std::ffi::CStr;

use fewbit_abi::{self as abi, Status};

use super::{Api, ContextHandle, DeviceHandle};
use crate::program::{Program, Span};
use crate::view::View;

impl Api {
    /// Whether the query function gives the same table again, and nothing for a major version that there is not.
    pub(crate) fn query_is_pure(&self) -> bool {
        // SAFETY: the function may be called at any time with any numbers.
        let ask = |major, minor| unsafe { (self.query)(major, minor) };
        let first = ask(abi::ABI_MAJOR, abi::ABI_MINOR);
        (0..100).all(|_| ask(abi::ABI_MAJOR, abi::ABI_MINOR) == first)
            && ask(abi::ABI_MAJOR, 0) == first
            && ask(0, 0).is_null()
            && ask(u32::MAX, 0).is_null()
    }

    /// Whether an extension that nobody knows is absent.
    pub(crate) fn refuses_unknown_extensions(&self) -> bool {
        let Some(get) = self.table.get_extension else { return true };
        // SAFETY: the id ends with NUL and is borrowed for the call.
        unsafe { get(c"fewbit.nobody-has-this/1".as_ptr()).is_null() }
    }

    /// Frees that are given null, which every plugin must allow.
    pub(crate) fn free_nothing(&self) {
        // SAFETY: the ABI allows null in every one of these.
        unsafe {
            required!(self, device_close)(std::ptr::null_mut());
            required!(self, executable_free)(std::ptr::null_mut());
            required!(self, context_free)(std::ptr::null_mut());
        }
    }
}

/// Makes a call that must fail, and says what is wrong with its answer.
fn refused(what: &str, call: impl FnOnce(*mut abi::Error) -> Status) -> Result<(), String> {
    let mut error = abi::Error::clear();
    let status = call(&raw mut error);
    if status == abi::OK {
        return Err(format!("expected {what} to be refused, found success"));
    }
    let bytes = error.message.map(|c| c as u8);
    let Ok(message) = CStr::from_bytes_until_nul(&bytes) else {
        return Err(format!(
            "expected the message about {what} to end with NUL, found none in {} bytes",
            bytes.len()
        ));
    };
    match message.to_str() {
        Err(_) => Err(format!("expected a message of UTF-8 about {what}, found other bytes")),
        Ok(text) if text.trim().is_empty() => Err(format!("expected a message about {what}, found none")),
        Ok(_) if status == abi::UNSUPPORTED && error.why == 0 => {
            Err(format!("expected a reason (FEWBIT_WHY_*) for refusing {what}, found none"))
        }
        Ok(_) => Ok(()),
    }
}

impl DeviceHandle {
    /// What is wrong with the answers to NULL in place of a program.
    pub(crate) fn without_program(&self) -> Result<(), String> {
        let mut verdict = abi::Verdict { supported: 0, why: 0 };
        // SAFETY: verdict and error live during the call; a plugin that follows NULL costs the worker, which is what
        // the caller wants to see.
        refused("NULL as a program of `supports`", |error| unsafe {
            required!(self.api, supports)(self.raw.as_ptr(), std::ptr::null(), &raw mut verdict, error)
        })?;
        self.refuses_to_compile("NULL as a program of `compile`", std::ptr::null())
    }

    /// What is wrong with the answer to a program that the device cannot compile.
    pub(crate) fn refuses<'p>(
        &self,
        program: &'p Program,
        constant: &dyn Fn(Span) -> Option<&'p [u8]>,
    ) -> Result<(), String> {
        self.refuses_to_compile("a node that there is not", View::new(program, constant).as_ptr())
    }

    fn refuses_to_compile(&self, what: &str, program: *const abi::Program) -> Result<(), String> {
        let mut executable = std::ptr::null_mut();
        // SAFETY: program (or NULL, as above), out pointer and error live during the call.
        let answer = refused(what, |error| unsafe {
            required!(self.api, compile)(self.raw.as_ptr(), program, &raw mut executable, error)
        });
        if !executable.is_null() {
            // SAFETY: the plugin made it, and nobody else knows of it.
            unsafe { required!(self.api, executable_free)(executable) }
        }
        answer
    }
}

impl ContextHandle {
    /// What is wrong with the answers to buffers that are said to be a byte too short, one at a time.
    pub(crate) fn refuses_short_buffers(
        &mut self,
        inputs: &[Vec<u8>],
        outputs: &mut [Vec<u8>],
    ) -> Result<(), String> {
        for short in 0..inputs.len() + outputs.len() {
            let before = outputs.to_vec();
            let ran = self.run_described(
                inputs.iter().map(Vec::as_slice),
                outputs.iter_mut().map(Vec::as_mut_slice),
                |at, tensor| {
                    if at == short {
                        tensor.byte_len = tensor.byte_len.saturating_sub(1);
                    }
                },
            );
            let what = match short.checked_sub(inputs.len()) {
                None => format!("input {short}"),
                Some(output) => format!("output {output}"),
            };
            if ran.is_ok() {
                return Err(format!("expected {what} of a byte too few to be refused, found a run"));
            }
            if outputs != before {
                return Err(format!(
                    "expected untouched outputs where {what} is too short, found them written"
                ));
            }
        }
        Ok(())
    }
}
