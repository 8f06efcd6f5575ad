//! Functions of elements, clamps, softmax and reductions.

use fewbit_core::ir::{Activation, BinaryOp, DType, Node, Op, ReduceOp, UnaryOp, ValueId};

use super::{Layout, Place, TO_LAST, Writer, codes, lacking};
use crate::error::Result;
use crate::file::{Options, Quantization};

/// How a clamp is said: fused where TFLite has it, the rest by operators behind.
pub(super) struct Clamps {
    pub(super) fused: i8,
    /// Operators with their bounds, and where the last of them writes.
    behind: Vec<(i32, f32)>,
    to: i32,
}

/// The parameters that TFLite fixes for a function's output.
fn fixed(dtype: DType, scale8: f32, zero8: i64, scale16: f32) -> Option<Quantization> {
    match dtype {
        DType::I8 => Some(Quantization { scales: vec![scale8], zero_points: vec![zero8], axis: 0 }),
        DType::I16 => Some(Quantization { scales: vec![scale16], zero_points: vec![0], axis: 0 }),
        _ => None,
    }
}

impl Writer<'_> {
    /// Where a clamped operator writes, and how the clamp is said.
    pub(super) fn clamped(
        &mut self,
        id: ValueId,
        layout: Layout,
        activation: Activation,
    ) -> Result<(i32, Clamps)> {
        let to = self.define(id, layout)?;
        let (low, high) = activation.bounds();
        // What the codes cannot say needs no clamp.
        let (least, most) = match (self.scale_of(to), self.stored(id)?.0.integer_range()) {
            (Some((scale, zero)), Some((from, until))) => {
                ((from - zero) as f32 * scale, (until - zero) as f32 * scale)
            }
            _ => (f32::NEG_INFINITY, f32::INFINITY),
        };
        let (lower, upper) = (low > least, high < most);
        let mut behind = Vec::new();
        let fused = match (low, high) {
            _ if !lower && !upper => codes::CLAMP_NONE,
            (0.0, 6.0) => codes::CLAMP_RELU6,
            (-1.0, 1.0) => codes::CLAMP_RELU_N1_TO_1,
            _ => {
                let relu = lower && low == 0.0;
                if lower && !relu {
                    behind.push((codes::MAXIMUM, low));
                }
                if upper {
                    behind.push((codes::MINIMUM, high));
                }
                if relu { codes::CLAMP_RELU } else { codes::CLAMP_NONE }
            }
        };
        let place = if behind.is_empty() {
            to
        } else {
            let parameters = self.parameters(to);
            self.like(to, "unclamped", parameters)
        };
        Ok((place, Clamps { fused, behind, to }))
    }

    /// The operators behind a clamped one.
    pub(super) fn clamp_behind(&mut self, mut from: i32, clamps: Clamps) -> Result<()> {
        let count = clamps.behind.len();
        for (index, (builtin, bound)) in clamps.behind.into_iter().enumerate() {
            let parameters = self.parameters(from);
            let to = if index + 1 == count { clamps.to } else { self.like(from, "clamped", parameters) };
            let bound = self.number_like(from, bound)?;
            self.emit(builtin, vec![from, bound], vec![to], Options::MaximumMinimum {});
            from = to;
        }
        Ok(())
    }

    /// A constant number with the element type and parameters of a tensor.
    fn number_like(&mut self, tensor: i32, number: f32) -> Result<i32> {
        let parameters = self.parameters(tensor);
        let (dtype, bytes) = match (self.scale_of(tensor), self.graph.tensors[tensor as usize].dtype) {
            (Some((scale, zero)), dtype) if dtype == codes::tensor_type(DType::I8)? => {
                let code = ((number / scale).round_ties_even() as i64).saturating_add(zero).clamp(-128, 127);
                (DType::I8, vec![code as i8 as u8])
            }
            (None, _) => (DType::F32, number.to_le_bytes().to_vec()),
            _ => return Err(lacking("this clamp of 16-bit codes has no form in TFLite")),
        };
        self.push_constant("bound", &[], dtype, parameters, bytes)
    }

    /// An operand of a function of two elements, with as many axes as the result.
    fn operand(&mut self, id: ValueId, layout: Layout, rank: usize) -> Result<i32> {
        let extents = self.extents(id)?;
        match &self.program.value(id).constant {
            // Axes of one element before the operand's own: in another order they can be told apart.
            Some(constant) if layout == Layout::Last && extents.len() < rank => {
                let mut full = vec![1; rank - extents.len()];
                full.extend(&extents);
                let constant = constant.reshaped(&full)?;
                self.constant_tensor(id, &constant, &TO_LAST)
            }
            _ => self.want(id, layout),
        }
    }

    pub(super) fn binary(&mut self, node: &Node, op: BinaryOp, activation: Activation) -> Result<()> {
        let output = node.outputs[0];
        let rank = self.extents(output)?.len();
        let ids = [Self::input(node, 0)?, Self::input(node, 1)?];
        let mut layout = self.common_layout(&ids);
        for id in ids {
            if self.program.value(id).constant.is_none() && self.extents(id)?.len() != rank {
                layout = Layout::Plain;
            }
        }
        let mut inputs = vec![self.operand(ids[0], layout, rank)?, self.operand(ids[1], layout, rank)?];
        let (place, clamps) = self.clamped(output, layout, activation)?;
        let activation = clamps.fused;
        let integer = self.parameters(place).is_some();
        let (builtin, options) = match op {
            BinaryOp::Add => (codes::ADD, Options::Add { activation }),
            BinaryOp::Sub => (codes::SUB, Options::Sub { activation }),
            BinaryOp::Mul => (codes::MUL, Options::Mul { activation }),
            BinaryOp::Div if !integer => (codes::DIV, Options::Div { activation }),
            BinaryOp::Pow if !integer => (codes::POW, Options::Pow {}),
            BinaryOp::PRelu => (codes::PRELU, Options::None),
            BinaryOp::Max | BinaryOp::Min => {
                // The specification: all three have the same parameters.
                let parameters = self.parameters(place);
                for input in &mut inputs {
                    *input = self.requantized(*input, parameters.as_ref());
                }
                let builtin = if op == BinaryOp::Max { codes::MAXIMUM } else { codes::MINIMUM };
                (builtin, Options::MaximumMinimum {})
            }
            _ => {
                return Err(lacking(format!(
                    "{} has no form in TFLite for {}",
                    op.name(),
                    if integer { "codes" } else { "floats" }
                )));
            }
        };
        self.emit(builtin, inputs, vec![place], options);
        self.clamp_behind(place, clamps)
    }

    pub(super) fn unary(&mut self, node: &Node, op: UnaryOp) -> Result<()> {
        let source = Self::input(node, 0)?;
        let output = node.outputs[0];
        let layout = self.layout_of(source);
        let input = self.want(source, layout)?;
        let (dtype, _) = self.stored(output)?;
        let integer = self.parameters(input).is_some();
        let sigmoid = fixed(dtype, 1.0 / 256.0, -128, 1.0 / 32768.0);
        let (builtin, options, required) = match op {
            UnaryOp::Relu => (codes::RELU, Options::None, None),
            UnaryOp::Clip { min: 0.0, max: 6.0 } => (codes::RELU6, Options::None, None),
            UnaryOp::Clip { min: -1.0, max: 1.0 } => (codes::RELU_N1_TO_1, Options::None, None),
            UnaryOp::LeakyRelu { alpha } => (codes::LEAKY_RELU, Options::LeakyRelu { alpha }, None),
            UnaryOp::Sigmoid => (codes::LOGISTIC, Options::None, sigmoid),
            UnaryOp::Tanh => (codes::TANH, Options::None, fixed(dtype, 1.0 / 128.0, 0, 1.0 / 32768.0)),
            UnaryOp::HardSwish => (codes::HARD_SWISH, Options::HardSwish {}, None),
            UnaryOp::Gelu { tanh } => (codes::GELU, Options::Gelu { approximate: tanh }, None),
            UnaryOp::Silu => {
                // x * sigmoid(x), as TFLite's converters write it.
                let gate = self.like(input, "gate", sigmoid);
                self.emit(codes::LOGISTIC, vec![input], vec![gate], Options::None);
                let to = self.define(output, layout)?;
                self.emit(
                    codes::MUL,
                    vec![input, gate],
                    vec![to],
                    Options::Mul { activation: codes::CLAMP_NONE },
                );
                return Ok(());
            }
            UnaryOp::Exp => (codes::EXP, Options::Exp {}, None),
            UnaryOp::Abs => (codes::ABS, Options::Abs {}, None),
            UnaryOp::Neg if !integer => (codes::NEG, Options::Neg {}, None),
            UnaryOp::Log if !integer => (codes::LOG, Options::None, None),
            UnaryOp::Sqrt if !integer => (codes::SQRT, Options::None, None),
            UnaryOp::Elu { alpha: 1.0 } => (codes::ELU, Options::None, None),
            _ => {
                return Err(lacking(format!(
                    "{} has no form in TFLite for {}",
                    op.name(),
                    if integer { "codes" } else { "floats" }
                )));
            }
        };
        let place = self.place(output, layout, required)?;
        self.emit(builtin, vec![input], vec![place.tensor], options);
        self.close(&place);
        Ok(())
    }

    /// Over the last axis of the file's order; others are moved there.
    pub(super) fn softmax(&mut self, node: &Node, axis: usize, log: bool) -> Result<()> {
        let source = Self::input(node, 0)?;
        let output = node.outputs[0];
        let rank = self.extents(source)?.len();
        let layout = match (rank, axis) {
            (4, 1) => Layout::Last,
            (rank, axis) if axis + 1 == rank => Layout::Plain,
            _ => return Err(lacking(format!("a softmax over axis {axis} of {rank} has no form in TFLite"))),
        };
        let input = self.want(source, layout)?;
        let (dtype, _) = self.stored(output)?;
        let (builtin, options, required) = if log {
            (codes::LOG_SOFTMAX, Options::LogSoftmax {}, fixed(dtype, 16.0 / 256.0, 127, 16.0 / 65536.0))
        } else {
            (codes::SOFTMAX, Options::Softmax { beta: 1.0 }, fixed(dtype, 1.0 / 256.0, -128, 1.0 / 32768.0))
        };
        let place = self.place(output, layout, required)?;
        self.emit(builtin, vec![input], vec![place.tensor], options);
        self.close(&place);
        Ok(())
    }

    pub(super) fn reduce(&mut self, node: &Node) -> Result<()> {
        let source = Self::input(node, 0)?;
        let output = node.outputs[0];
        let rank = self.extents(source)?.len();
        let (op, axes, keep_dims) = match &node.op {
            Op::GlobalAveragePool => (ReduceOp::Mean, (2..rank).collect(), true),
            Op::GlobalMaxPool => (ReduceOp::Max, (2..rank).collect(), true),
            Op::Reduce { op, axes, keep_dims } => (*op, axes.clone(), *keep_dims),
            _ => return Err(lacking("expected a reduction")),
        };
        let builtin = match op {
            ReduceOp::Mean => codes::MEAN,
            ReduceOp::Sum => codes::SUM,
            ReduceOp::Max => codes::REDUCE_MAX,
            ReduceOp::Min => codes::REDUCE_MIN,
            other => return Err(lacking(format!("{} has no form in TFLite", other.name()))),
        };
        // Without the axes of the image nothing is left whose order could differ.
        let spatial = axes.contains(&2) && axes.contains(&3);
        let layout = if rank == 4 && (keep_dims || spatial) { self.layout_of(source) } else { Layout::Plain };
        let input = self.want(source, layout)?;
        let numbers: Vec<i32> = axes.iter().map(|&axis| axis_in(layout, axis) as i32).collect();
        let numbers = self.numbers("axes", &[numbers.len()], &numbers)?;
        let required = matches!(op, ReduceOp::Max | ReduceOp::Min).then(|| self.parameters(input)).flatten();
        let place: Place = self.place(output, layout, required)?;
        self.emit(builtin, vec![input, numbers], vec![place.tensor], Options::Reducer { keep_dims });
        self.close(&place);
        Ok(())
    }
}

/// Where an axis of the program lies in the file.
pub(super) fn axis_in(layout: Layout, axis: usize) -> usize {
    match layout {
        Layout::Plain => axis,
        Layout::Last => TO_LAST.iter().position(|&from| from == axis).unwrap_or(axis),
    }
}
