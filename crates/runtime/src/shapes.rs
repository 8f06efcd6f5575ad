//! Models with free dimensions: one compiled form per shape, the latest ones kept.
//!
//! Owns the cache. What a form is made of does not depend on who asked first: each starts from the model as it was given,
//! with the extents of the inputs at hand.

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use fewbit_core::backend::{CompileOptions, Device};
use fewbit_core::error::Result;
use fewbit_core::ir::{Graph, Tensor};
use fewbit_core::{CoreError, CoreErrorKind, infer, pass};
use indexmap::IndexMap;

use crate::Session;

/// The extents of every input, in order.
type Key = Vec<Vec<usize>>;
/// A form that is being compiled or has been.
type Form = Arc<OnceLock<Result<Arc<Session>>>>;

/// A model that is compiled for a device once per shape.
///
/// Callers on several threads run at once; those that need one form that is not there yet wait for each other, those
/// that need different ones do not.
pub struct ShapeSessions {
    model: Graph,
    device: Arc<dyn Device>,
    options: CompileOptions,
    capacity: usize,
    /// The form used longest ago first.
    forms: Mutex<IndexMap<Key, Form>>,
}

impl ShapeSessions {
    /// Keeps at most `capacity` forms (at least 1) of `model`, whose inputs may have free dimensions.
    pub fn new(model: Graph, device: Arc<dyn Device>, options: CompileOptions, capacity: usize) -> Self {
        Self { model, device, options, capacity: capacity.max(1), forms: Mutex::default() }
    }

    /// How many forms are kept now.
    pub fn forms(&self) -> usize {
        self.forms.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The form for inputs of these extents, compiled if it is not kept.
    ///
    /// # Errors
    /// [`CoreErrorKind::Tensor`] for another number of inputs than the model has; [`CoreErrorKind::Shape`] for extents
    /// that do not fit the model's; [`CoreErrorKind::Dynamic`] where a dimension is free all the same; what the device's
    /// compiler says. A form that failed is not kept.
    pub fn session(&self, extents: &[&[usize]]) -> Result<Arc<Session>> {
        if extents.len() != self.model.inputs.len() {
            let message = format!("expected {} inputs, found {}", self.model.inputs.len(), extents.len());
            return Err(CoreError::new(CoreErrorKind::Tensor, message));
        }
        let key: Key = extents.iter().map(|extents| extents.to_vec()).collect();
        let form = self.form(&key);
        let compiled = form.get_or_init(|| self.compile(&key).map(Arc::new)).clone();
        if compiled.is_err() {
            let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
            if forms.get(&key).is_some_and(|other| Arc::ptr_eq(other, &form)) {
                forms.shift_remove(&key);
            }
        }
        compiled
    }

    /// Runs the model on inputs in order, of whatever extents its free dimensions allow.
    ///
    /// # Errors
    /// As [`ShapeSessions::session`] and [`Session::run`].
    pub fn run(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        let extents: Vec<&[usize]> = inputs.iter().map(Tensor::extents).collect();
        self.session(&extents)?.run(inputs)
    }

    /// The entry of a key, now the one used last; the one used longest ago makes room for a new one.
    fn form(&self, key: &Key) -> Form {
        let mut forms = self.forms.lock().unwrap_or_else(PoisonError::into_inner);
        let form = forms.shift_remove(key).unwrap_or_default();
        while forms.len() >= self.capacity {
            forms.shift_remove_index(0);
        }
        forms.insert(key.clone(), Arc::clone(&form));
        form
    }

    fn compile(&self, key: &Key) -> Result<Session> {
        let mut graph = self.model.clone();
        for (&id, extents) in self.model.inputs.iter().zip(key) {
            let name = &self.model.value(id).name;
            infer::fix_input(&mut graph, name, extents)?;
        }
        pass::optimize(&mut graph, &mut |_, _, _| {})?;
        infer::require_fixed(&graph)?;
        Session::new(&graph, self.device.as_ref(), &self.options)
    }
}
