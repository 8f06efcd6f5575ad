//! What goes wrong on a device, as errors of the core.

use std::sync::{Arc, Mutex, PoisonError};

use fewbit_core::error::{CoreError, CoreErrorKind};

/// What went wrong, by kind: what to do about it depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The driver gave the device up: it hangs, was unplugged, or was reset.
    Lost(String),
    /// A buffer could not be had.
    Memory(String),
    /// The driver or wgpu refused a shader.
    Shader {
        /// The kernel's name.
        kernel: String,
        /// What was said of it.
        message: String,
    },
    /// wgpu refused what this crate asked for.
    Refused(String),
    /// The device did not finish in time.
    Timeout,
}

impl From<Fault> for CoreError {
    fn from(fault: Fault) -> CoreError {
        let (message, help) = match fault {
            Fault::Lost(message) => (
                format!("the graphics device was lost: {message}"),
                "open the device again, or run on another one: --backend cpu",
            ),
            Fault::Memory(message) => (
                format!("the graphics device is out of memory: {message}"),
                "close other programs that use it, run fewer contexts at once, or run on another device",
            ),
            Fault::Shader { kernel, message } => (
                format!("the driver does not compile the kernel {kernel}: {message}"),
                "update the driver, or run on another device: --backend cpu",
            ),
            Fault::Refused(message) => {
                (format!("wgpu refused a command: {message}"), "this is a defect of fewbit: please report it")
            }
            Fault::Timeout => (
                "expected the graphics device to finish within a minute".to_owned(),
                "the device hangs or is much too slow for this model: run on another one",
            ),
        };
        CoreError::new(CoreErrorKind::Backend, message).help(help)
    }
}

/// The first fault that a device reported outside a call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Faults(Arc<Mutex<Option<Fault>>>);

impl Faults {
    pub(crate) fn report(&self, fault: Fault) {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A lost device explains whatever was reported before.
        if first.is_none() || matches!(fault, Fault::Lost(_)) {
            *first = Some(fault);
        }
    }

    /// What a wgpu error is.
    pub(crate) fn report_error(&self, error: &wgpu::Error) {
        self.report(match error {
            wgpu::Error::OutOfMemory { .. } => Fault::Memory(first_line(&error.to_string())),
            _ => Fault::Refused(first_line(&error.to_string())),
        });
    }

    /// Fails where the device is lost.
    pub(crate) fn lost(&self) -> Result<(), Fault> {
        let first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        first.clone().filter(|fault| matches!(fault, Fault::Lost(_))).map_or(Ok(()), Err)
    }

    /// Fails with what was reported. A lost device stays lost; anything else is forgotten with this.
    pub(crate) fn check(&self) -> Result<(), Fault> {
        let mut first = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fault = if matches!(*first, Some(Fault::Lost(_))) { first.clone() } else { first.take() };
        fault.map_or(Ok(()), Err)
    }
}

/// A long message in one line.
pub(crate) fn first_line(message: &str) -> String {
    let joined = message.split_whitespace().collect::<Vec<_>>().join(" ");
    if joined.chars().count() > 400 { joined.chars().take(400).collect::<String>() + "…" } else { joined }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lost_device_stays_lost_and_other_faults_are_told_once() {
        let faults = Faults::default();
        assert_eq!(faults.check(), Ok(()));
        faults.report(Fault::Memory("256 MiB".to_owned()));
        faults.report(Fault::Refused("later".to_owned()));
        assert_eq!(faults.check(), Err(Fault::Memory("256 MiB".to_owned())));
        assert_eq!(faults.check(), Ok(()));
        faults.report(Fault::Timeout);
        faults.report(Fault::Lost("unplugged".to_owned()));
        for _ in 0..2 {
            assert_eq!(faults.check(), Err(Fault::Lost("unplugged".to_owned())));
        }
    }

    #[test]
    fn every_fault_says_what_to_do() {
        let kernel = Fault::Shader { kernel: "product_codes".to_owned(), message: "line 3".to_owned() };
        for fault in [Fault::Lost(String::new()), Fault::Memory(String::new()), kernel, Fault::Timeout] {
            let error = CoreError::from(fault);
            assert_eq!(error.kind(), CoreErrorKind::Backend);
            assert!(error.remedy().is_some(), "{error}");
        }
    }
}
