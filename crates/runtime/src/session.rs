//! Sessions: a program on a device, ready to be run from several threads.

use std::sync::{Arc, Mutex, PoisonError};

use fewbit_core::backend::{CompileOptions, Context, Device, Executable, TensorSpec};
use fewbit_core::error::Result;
use fewbit_core::ir::{Graph, Tensor};
use fewbit_core::{CoreError, CoreErrorKind};

/// A program compiled for one device.
///
/// Callers on several threads run at once: each takes an idle context or a new one, and gives it back.
pub struct Session {
    executable: Arc<dyn Executable>,
    idle: Mutex<Vec<Box<dyn Context>>>,
}

impl Session {
    /// Compiles `program` for `device`.
    ///
    /// # Errors
    /// What the device's compiler says.
    pub fn new(program: &Graph, device: &dyn Device, options: &CompileOptions) -> Result<Self> {
        Ok(Self { executable: device.compile(program, options)?, idle: Mutex::default() })
    }

    /// What to give, in order.
    pub fn inputs(&self) -> &[TensorSpec] {
        self.executable.inputs()
    }

    /// What comes back, in order.
    pub fn outputs(&self) -> &[TensorSpec] {
        self.executable.outputs()
    }

    /// The executable.
    pub fn executable(&self) -> &Arc<dyn Executable> {
        &self.executable
    }

    /// Runs the program on inputs in order.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when inputs do not fit; what the device says.
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let mut outputs = self
            .outputs()
            .iter()
            .map(|spec| Tensor::zeros(spec.dtype, &spec.extents))
            .collect::<Result<Vec<_>>>()?;
        let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut context = match idle {
            Some(context) => context,
            None => Arc::clone(&self.executable).context()?,
        };
        let result = context.run(inputs, &mut outputs);
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(context);
        result.map(|()| outputs)
    }

    /// Runs the program on inputs by name; gives outputs by name.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] when an input is missing, unknown or does not fit; what the device says.
    pub fn run_named(&self, inputs: &[(&str, Tensor)]) -> Result<Vec<(String, Tensor)>> {
        let fail = |message: String| CoreError::new(CoreErrorKind::Tensor, message);
        if let Some((name, _)) =
            inputs.iter().find(|(name, _)| !self.inputs().iter().any(|spec| spec.name == *name))
        {
            let known: Vec<&str> = self.inputs().iter().map(|spec| spec.name.as_str()).collect();
            return Err(fail(format!("expected inputs {}, found `{name}`", known.join(", "))));
        }
        let ordered = self
            .inputs()
            .iter()
            .map(|spec| {
                inputs
                    .iter()
                    .find(|(name, _)| *name == spec.name)
                    .map(|(_, tensor)| tensor.clone())
                    .ok_or_else(|| fail(format!("expected input `{}`, found none", spec.name)))
            })
            .collect::<Result<Vec<_>>>()?;
        let names = self.outputs().iter().map(|spec| spec.name.clone());
        Ok(names.zip(self.run(&ordered)?).collect())
    }
}
