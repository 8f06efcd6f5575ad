//! Recurrent layers, step by step as ONNX writes them down.

use super::{Call, unary_function};
use crate::error::{CoreErrorKind, Result};
use crate::ir::{Cell, Direction, Recurrent, Tensor, UnaryOp};

/// What all steps of one direction share.
struct Weights<'a> {
    layer: &'a Recurrent,
    functions: &'a [UnaryOp],
    /// `[gates × hidden][inputs]`.
    w: &'a [f64],
    /// `[gates × hidden][hidden]`.
    r: &'a [f64],
    /// Biases of `w`, then those of `r`; empty where there are none.
    bias: &'a [f64],
    /// Of the gates `i o f` of an LSTM; empty where there are none.
    peepholes: &'a [f64],
    inputs: usize,
}

/// The state of one sample.
struct State {
    h: Vec<f64>,
    /// Of an LSTM.
    c: Vec<f64>,
}

pub(super) fn evaluate(call: &Call, layer: &Recurrent) -> Result<Vec<Tensor>> {
    let x = call.input(0)?;
    let (steps, batch) = match *x.extents() {
        [batch, steps, _] if layer.batch_first => (steps, batch),
        [steps, batch, _] => (steps, batch),
        _ => return Err(call.error(CoreErrorKind::Shape, "expected an input of rank 3")),
    };
    let inputs = x.extents()[2];
    let (hidden, rows) = (layer.hidden, layer.hidden * layer.cell.gates());
    let directions = layer.direction.count();
    let floats = |index: usize| call.optional(index).map(Tensor::to_f64_vec).unwrap_or_default();
    let x = x.to_f64_vec();
    let [w, r, bias] = [1, 2, 3].map(floats);
    let is_lstm = matches!(layer.cell, Cell::Lstm { .. });
    let initial = [floats(5), if is_lstm { floats(6) } else { Vec::new() }];
    let peepholes = if is_lstm { floats(7) } else { Vec::new() };
    let lengths = lengths(call, batch, steps)?;
    let state_at = |direction: usize, sample: usize| {
        hidden * if layer.batch_first { sample * directions + direction } else { direction * batch + sample }
    };
    let mut all = vec![0.0; steps * directions * batch * hidden];
    let [mut last_h, mut last_c] =
        [vec![0.0; directions * batch * hidden], vec![0.0; directions * batch * hidden]];
    let each = layer.cell.functions().len();
    for direction in 0..directions {
        let part = |values: &'_ [f64], len: usize| -> std::ops::Range<usize> {
            if values.is_empty() { 0..0 } else { direction * len..(direction + 1) * len }
        };
        let weights = Weights {
            layer,
            functions: &layer.functions[direction * each..][..each],
            w: &w[part(&w, rows * inputs)],
            r: &r[part(&r, rows * hidden)],
            bias: &bias[part(&bias, 2 * rows)],
            peepholes: &peepholes[part(&peepholes, 3 * hidden)],
            inputs,
        };
        let backwards = layer.direction == Direction::Reverse || direction == 1;
        for (sample, &length) in lengths.iter().enumerate() {
            let at = state_at(direction, sample);
            let begin = |values: &[f64]| {
                if values.is_empty() { vec![0.0; hidden] } else { values[at..at + hidden].to_vec() }
            };
            let mut state = State { h: begin(&initial[0]), c: begin(&initial[1]) };
            for taken in 0..length {
                let step = if backwards { length - 1 - taken } else { taken };
                let from =
                    inputs * if layer.batch_first { sample * steps + step } else { step * batch + sample };
                weights.step(&x[from..from + inputs], &mut state);
                let to = hidden
                    * if layer.batch_first {
                        (sample * steps + step) * directions + direction
                    } else {
                        (step * directions + direction) * batch + sample
                    };
                all[to..to + hidden].copy_from_slice(&state.h);
            }
            last_h[at..at + hidden].copy_from_slice(&state.h);
            last_c[at..at + hidden].copy_from_slice(&state.c);
        }
    }
    let mut values = vec![all, last_h];
    if is_lstm {
        values.push(last_c);
    }
    call.outputs
        .iter()
        .zip(values)
        .map(|((dtype, extents), values)| Tensor::from_f64(*dtype, extents, &values))
        .collect()
}

/// Steps of each sample.
fn lengths(call: &Call, batch: usize, steps: usize) -> Result<Vec<usize>> {
    let Some(given) = call.optional(4) else { return Ok(vec![steps; batch]) };
    given
        .to_i64_vec()
        .into_iter()
        .map(|length| {
            usize::try_from(length).ok().filter(|&length| length <= steps).ok_or_else(|| {
                call.error(
                    CoreErrorKind::Tensor,
                    format!("expected lengths from 0 to {steps}, found {length}"),
                )
            })
        })
        .collect()
}

impl Weights<'_> {
    fn step(&self, x: &[f64], state: &mut State) {
        match self.layer.cell {
            Cell::Rnn => {
                let sums: Vec<f64> = (0..self.hidden())
                    .map(|row| self.input(row, x) + self.recurrence(row, &state.h))
                    .collect();
                state.h = self.each(0, &sums);
            }
            Cell::Gru { linear_before_reset } => self.gru(linear_before_reset, x, state),
            Cell::Lstm { input_forget } => self.lstm(input_forget, x, state),
        }
    }

    fn gru(&self, linear_before_reset: bool, x: &[f64], state: &mut State) {
        let hidden = self.hidden();
        let sums = |gate: usize, h: &[f64]| -> Vec<f64> {
            (gate * hidden..(gate + 1) * hidden)
                .map(|row| self.input(row, x) + self.recurrence(row, h))
                .collect()
        };
        let z = self.each(0, &sums(0, &state.h));
        let r = self.each(0, &sums(1, &state.h));
        let n: Vec<f64> = if linear_before_reset {
            (0..hidden)
                .map(|i| {
                    let row = 2 * hidden + i;
                    self.input(row, x) + r[i] * self.recurrence(row, &state.h)
                })
                .collect()
        } else {
            let reset: Vec<f64> = r.iter().zip(&state.h).map(|(r, h)| r * h).collect();
            sums(2, &reset)
        };
        let n = self.each(1, &n);
        for ((h, z), n) in state.h.iter_mut().zip(z).zip(n) {
            *h = (1.0 - z) * n + z * *h;
        }
    }

    fn lstm(&self, input_forget: bool, x: &[f64], state: &mut State) {
        let hidden = self.hidden();
        let sums = |gate: usize| -> Vec<f64> {
            let rows = gate * hidden..(gate + 1) * hidden;
            rows.map(|row| self.input(row, x) + self.recurrence(row, &state.h)).collect()
        };
        // Peepholes of the gates i, o and f lie in this order; that of o sees the new cell.
        let peep = |sums: Vec<f64>, place: usize, c: &[f64]| -> Vec<f64> {
            if self.peepholes.is_empty() {
                return sums;
            }
            let own = &self.peepholes[place * hidden..][..hidden];
            sums.iter().zip(own).zip(c).map(|((sum, p), c)| sum + p * c).collect()
        };
        let i = self.each(0, &peep(sums(0), 0, &state.c));
        let f = if input_forget {
            i.iter().map(|i| 1.0 - i).collect()
        } else {
            self.each(0, &peep(sums(2), 2, &state.c))
        };
        let g = self.each(1, &sums(3));
        let c: Vec<f64> = (0..hidden).map(|at| f[at] * state.c[at] + i[at] * g[at]).collect();
        let o = self.each(0, &peep(sums(1), 1, &c));
        let seen = self.each(2, &c);
        state.h = o.iter().zip(seen).map(|(o, seen)| o * seen).collect();
        state.c = c;
    }

    fn hidden(&self) -> usize {
        self.layer.hidden
    }

    /// The input's share of a row, bias included.
    fn input(&self, row: usize, x: &[f64]) -> f64 {
        self.bias.get(row).copied().unwrap_or(0.0) + dot(&self.w[row * self.inputs..][..self.inputs], x)
    }

    /// The state's share of a row, bias included.
    fn recurrence(&self, row: usize, h: &[f64]) -> f64 {
        let rows = self.hidden() * self.layer.cell.gates();
        let bias = self.bias.get(rows + row).copied().unwrap_or(0.0);
        bias + dot(&self.r[row * self.hidden()..][..self.hidden()], h)
    }

    /// A function of each element, clipped before; but the cell of an LSTM is not clipped on its way to the output, which
    /// is how ONNX Runtime reads the definition.
    fn each(&self, function: usize, values: &[f64]) -> Vec<f64> {
        let clip = self.layer.clip.filter(|_| function < 2).map_or(f64::INFINITY, f64::from);
        values
            .iter()
            .map(|&value| unary_function(self.functions[function], value.clamp(-clip, clip)))
            .collect()
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}
