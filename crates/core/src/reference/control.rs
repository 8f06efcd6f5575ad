//! Control flow: bodies run by an interpreter of their own.

use super::{Interpreter, MOST_ELEMENTS};
use crate::error::{CoreError, CoreErrorKind, Result};
use crate::infer::single_integer;
use crate::ir::{Control, DType, Graph, MOST_ROUNDS, Node, ScanAxis, Shape, Tensor, ValueId};

/// Computes the outputs of control flow.
pub(super) fn evaluate(node: &Node, control: &Control, inputs: &[Option<&Tensor>]) -> Result<Vec<Tensor>> {
    let call = Call { node, control, inputs };
    let first = control.first_captured();
    if inputs.len() < first {
        return Err(structure(format!("expected at least {first} inputs, found {}", inputs.len())));
    }
    let captured = call.present(first..inputs.len())?;
    match control {
        Control::If { then_branch, else_branch } => {
            let body = if call.truth(0)?.unwrap_or(false) { then_branch } else { else_branch };
            Interpreter::new(body)?.run(&captured)
        }
        Control::Loop { body, carried } => call.repeat(body, *carried, &captured),
        Control::Scan { body, carried, scanned, collected } => {
            call.scan(body, *carried, scanned, collected, &captured)
        }
    }
}

struct Call<'a> {
    node: &'a Node,
    control: &'a Control,
    inputs: &'a [Option<&'a Tensor>],
}

impl Call<'_> {
    fn error(&self, kind: CoreErrorKind, message: impl AsRef<str>) -> CoreError {
        CoreError::new(kind, format!("{}: {}", self.control.name(), message.as_ref())).at(&self.node.name)
    }

    /// The inputs of that range, all of which must be present.
    fn present(&self, range: std::ops::Range<usize>) -> Result<Vec<Tensor>> {
        range
            .map(|index| {
                self.inputs.get(index).copied().flatten().cloned().ok_or_else(|| {
                    self.error(CoreErrorKind::Structure, format!("expected input {index}, found none"))
                })
            })
            .collect()
    }

    /// The truth value that an input of one element holds, where it is present.
    fn truth(&self, index: usize) -> Result<Option<bool>> {
        self.number(index, DType::Bool).map(|number| number.map(|number| number != 0))
    }

    fn number(&self, index: usize, dtype: DType) -> Result<Option<i64>> {
        let Some(tensor) = self.inputs.get(index).copied().flatten() else { return Ok(None) };
        match single_integer(tensor) {
            Some(number) if tensor.dtype() == dtype => Ok(Some(number)),
            _ => Err(self.error(
                CoreErrorKind::Shape,
                format!(
                    "expected one element of type {dtype} in input {index}, found {}{:?}",
                    tensor.dtype(),
                    tensor.extents()
                ),
            )),
        }
    }

    fn repeat(&self, body: &Graph, carried: usize, captured: &[Tensor]) -> Result<Vec<Tensor>> {
        let trip = self.number(0, DType::I64)?;
        let mut goes_on = self.truth(1)?.unwrap_or(true);
        let mut state = self.present(2..2 + carried)?;
        let interpreter = Interpreter::new(body)?;
        let mut collected: Vec<Vec<Tensor>> =
            vec![Vec::new(); body.outputs.len().saturating_sub(1 + carried)];
        let mut held = 0;
        let mut round = 0i64;
        while goes_on && trip.is_none_or(|trip| round < trip) {
            if round as usize >= MOST_ROUNDS {
                return Err(self.error(
                    CoreErrorKind::Tensor,
                    format!("expected at most {MOST_ROUNDS} rounds, found more"),
                ));
            }
            let mut inputs = vec![Tensor::scalar(round), Tensor::from_bools(&[], &[goes_on])?];
            inputs.append(&mut state);
            inputs.extend_from_slice(captured);
            let mut outputs = interpreter.run(&inputs)?.into_iter();
            let condition = outputs.next().filter(|tensor| tensor.dtype() == DType::Bool);
            goes_on = condition.as_ref().and_then(single_integer).ok_or_else(|| {
                self.error(CoreErrorKind::Shape, "expected a body that gives one truth value first")
            })? != 0;
            state.extend(outputs.by_ref().take(carried));
            for (list, tensor) in collected.iter_mut().zip(outputs) {
                self.hold(&mut held, &tensor)?;
                list.push(tensor);
            }
            round += 1;
        }
        for (at, list) in collected.into_iter().enumerate() {
            let id = body.outputs[1 + carried + at];
            state.push(self.stack(body, id, &list, ScanAxis { axis: 0, reverse: false })?);
        }
        Ok(state)
    }

    fn scan(
        &self,
        body: &Graph,
        carried: usize,
        scanned: &[ScanAxis],
        collected: &[ScanAxis],
        captured: &[Tensor],
    ) -> Result<Vec<Tensor>> {
        let mut state = self.present(0..carried)?;
        let whole = self.present(carried..carried + scanned.len())?;
        let mut count = None;
        for (tensor, along) in whole.iter().zip(scanned) {
            let found = tensor.extents().get(along.axis).copied().ok_or_else(|| {
                self.error(CoreErrorKind::Shape, format!("expected an axis {}, found none", along.axis))
            })?;
            if *count.get_or_insert(found) != found {
                return Err(self.error(
                    CoreErrorKind::Shape,
                    format!("expected slices as many in each input, found {found} and others"),
                ));
            }
        }
        let interpreter = Interpreter::new(body)?;
        let mut lists: Vec<Vec<Tensor>> = vec![Vec::new(); collected.len()];
        let mut held = 0;
        let count = count.unwrap_or(0);
        for round in 0..count {
            let mut inputs = std::mem::take(&mut state);
            for (tensor, along) in whole.iter().zip(scanned) {
                let index = if along.reverse { count - 1 - round } else { round };
                inputs.push(self.slice(tensor, along.axis, index)?);
            }
            inputs.extend_from_slice(captured);
            let mut outputs = interpreter.run(&inputs)?.into_iter();
            state.extend(outputs.by_ref().take(carried));
            for (list, tensor) in lists.iter_mut().zip(outputs) {
                self.hold(&mut held, &tensor)?;
                list.push(tensor);
            }
        }
        for (at, (list, &along)) in lists.iter().zip(collected).enumerate() {
            state.push(self.stack(body, body.outputs[carried + at], list, along)?);
        }
        Ok(state)
    }

    /// Counts what is kept of all rounds, and bounds it.
    fn hold(&self, held: &mut usize, tensor: &Tensor) -> Result<()> {
        *held = held.saturating_add(tensor.elements().max(1));
        if *held > MOST_ELEMENTS {
            return Err(self.error(
                CoreErrorKind::Tensor,
                format!("expected to collect at most {MOST_ELEMENTS} elements, found more"),
            ));
        }
        Ok(())
    }

    /// The bytes of one element; a type of less than a byte cannot be cut.
    fn width(&self, dtype: DType) -> Result<usize> {
        match dtype.bits() {
            bits if bits >= 8 => Ok(bits / 8),
            bits => Err(self.error(
                CoreErrorKind::Unsupported,
                format!("expected elements of whole bytes to cut or stack, found {bits} bits"),
            )),
        }
    }

    fn slice(&self, tensor: &Tensor, axis: usize, index: usize) -> Result<Tensor> {
        let width = self.width(tensor.dtype())?;
        let extents = tensor.extents();
        let outer: usize = extents[..axis].iter().product();
        let inner = extents[axis + 1..].iter().product::<usize>() * width;
        let mut bytes = Vec::with_capacity(outer * inner);
        for row in 0..outer {
            let start = (row * extents[axis] + index) * inner;
            bytes.extend_from_slice(&tensor.bytes()[start..start + inner]);
        }
        let mut rest = extents.to_vec();
        rest.remove(axis);
        Tensor::from_bytes(tensor.dtype(), &rest, &bytes)
    }

    fn stack(&self, body: &Graph, id: ValueId, parts: &[Tensor], along: ScanAxis) -> Result<Tensor> {
        let Some(first) = parts.first() else {
            // No round ran: what is known of the body's output has to do.
            let value = body.value(id);
            let mut extents: Vec<usize> = value
                .shape
                .as_ref()
                .map_or(&[][..], Shape::dims)
                .iter()
                .map(|dim| dim.fixed().unwrap_or(0))
                .collect();
            extents.insert(along.axis.min(extents.len()), 0);
            let dtype = value.dtype.ok_or_else(|| {
                self.error(CoreErrorKind::Shape, "expected a known type of what no round has made")
            })?;
            return Tensor::zeros(dtype, &extents);
        };
        if let Some(other) =
            parts.iter().find(|part| part.extents() != first.extents() || part.dtype() != first.dtype())
        {
            return Err(self.error(
                CoreErrorKind::Shape,
                format!(
                    "expected every round to give {}{:?}, found {}{:?}",
                    first.dtype(),
                    first.extents(),
                    other.dtype(),
                    other.extents()
                ),
            ));
        }
        let axis = along.axis;
        if axis > first.extents().len() {
            return Err(self.error(
                CoreErrorKind::Shape,
                format!("expected to stack along an axis up to {}, found {axis}", first.extents().len()),
            ));
        }
        let width = self.width(first.dtype())?;
        let outer: usize = first.extents()[..axis].iter().product();
        let inner = first.extents()[axis..].iter().product::<usize>() * width;
        let mut bytes = Vec::with_capacity(outer * inner * parts.len());
        for row in 0..outer {
            for at in 0..parts.len() {
                let part = &parts[if along.reverse { parts.len() - 1 - at } else { at }];
                bytes.extend_from_slice(&part.bytes()[row * inner..(row + 1) * inner]);
            }
        }
        let mut extents = first.extents().to_vec();
        extents.insert(axis, parts.len());
        Tensor::from_bytes(first.dtype(), &extents, &bytes)
    }
}

fn structure(message: impl Into<String>) -> CoreError {
    CoreError::new(CoreErrorKind::Structure, message)
}
