//! Nodes with weights: what happens to weights and biases.

use super::{Lowering, plan_error};
use crate::error::Result;
use crate::ir::{DType, Node, Op, Tensor, Value, ValueId};
use crate::plan::Precision;
use crate::quant::weights::{QuantizedTensor, WeightRule, quantize_bias, quantize_weights, scales_for_bias};
use crate::quant::{Granularity, Scheme, Symmetry};

impl Lowering<'_> {
    /// A node with integer weights and activations.
    pub(super) fn weighted(&mut self, node: &Node, precision: Precision) -> Result<()> {
        let (Some(x), Some(w)) = (node.input(0), node.input(1)) else {
            return Err(plan_error("expected an input and weights"));
        };
        let x_quantized = self.quantized_operand(node, x)?;
        let choices = self.choices;
        let planned = |name: &str| choices.activations.get(name).cloned();
        let weight = self.graph.value(w);
        let (Some(constant), None) = (&weight.constant, &weight.quant) else {
            // A product of two activations, or weights that came quantized: nothing to quantize here.
            let w_quantized = self.quantized_operand(node, w)?;
            let mut inputs = vec![Some(x_quantized), Some(w_quantized)];
            for input in node.inputs.iter().skip(2) {
                inputs.push(match *input {
                    Some(id) => Some(self.as_float(id)?),
                    None => None,
                });
            }
            return self.emit(node, inputs, None, planned);
        };
        let (input_scale, _) = self
            .program
            .value(x_quantized)
            .quant
            .as_ref()
            .and_then(crate::quant::QuantParams::tensor_wide)
            .ok_or_else(|| plan_error("expected an input with one scale"))?;
        let (mut node, constant) = folded_gemm(node, constant)?;
        let bias = self.bias(&node)?;
        unit_beta(&mut node);
        let scheme = self.weight_scheme(&node, &constant, precision);
        let floor = bias.as_deref().map(|bias| {
            let scales = scales_for_bias(bias, input_scale);
            match scheme.granularity {
                Granularity::PerTensor => vec![scales.iter().copied().fold(0f32, f32::max)],
                _ => scales,
            }
        });
        let rule = weight_rule(precision, choices.weight_rule);
        let quantized = quantize_weights(&constant, scheme, rule, floor.as_deref())?;
        let mut bias = bias;
        if let Some(means) = choices.channel_means.get(&self.graph.value(x).name)
            && let Some(shift) = mean_error(&node, &constant, &quantized, means)
        {
            let bias = bias.get_or_insert_with(|| vec![0.0; shift.len()]);
            bias.iter_mut().zip(&shift).for_each(|(bias, shift)| *bias -= shift);
        }
        let mut inputs = vec![Some(x_quantized), Some(self.constant(&weight.name, &quantized))];
        if let Some(bias) = bias {
            let bias = quantize_bias(&bias, input_scale, &quantized.params.scales)?;
            let name = node
                .input(2)
                .map_or_else(|| format!("{}_bias", node.name), |id| self.graph.value(id).name.clone());
            inputs.push(Some(self.constant(&name, &bias)));
        }
        self.emit(&node, inputs, None, planned)
    }

    /// A node with integer weights and float activations: dynamic quantization or weight-only.
    pub(super) fn integer_weights(&mut self, node: &Node, precision: Precision) -> Result<()> {
        let (Some(x), Some(w)) = (node.input(0), node.input(1)) else {
            return Err(plan_error("expected an input and weights"));
        };
        let weight = self.graph.value(w);
        let Some(constant) = &weight.constant else {
            return Err(plan_error(format!("expected constant weights for {precision}")));
        };
        let (mut node, constant) = folded_gemm(node, constant)?;
        let scheme = self.weight_scheme(&node, &constant, precision);
        let rule = weight_rule(precision, self.choices.weight_rule);
        let quantized = quantize_weights(&constant, scheme, rule, None)?;
        let mut inputs = vec![Some(self.as_float(x)?), Some(self.constant(&weight.name, &quantized))];
        let bias = self.bias(&node)?;
        unit_beta(&mut node);
        if let Some(bias) = bias {
            let name = node.input(2).map_or_else(String::new, |id| self.graph.value(id).name.clone());
            let name = self.program.fresh_value_name(&name);
            inputs.push(Some(self.program.add_constant(name, Tensor::from_slice(&[bias.len()], &bias)?)));
        }
        self.emit(&node, inputs, Some(precision), |_| None)
    }

    /// The form of a node's weights: what the plan says, else signed, per output channel.
    fn weight_scheme(&self, node: &Node, weights: &Tensor, precision: Precision) -> Scheme {
        if let Some(&scheme) = self.choices.weights.get(&node.name) {
            return scheme;
        }
        weight_scheme(&node.op, weights, precision)
    }

    /// The constant bias, one value per output channel.
    fn bias(&self, node: &Node) -> Result<Option<Vec<f32>>> {
        let Some(id) = node.input(2) else { return Ok(None) };
        let value = self.graph.value(id);
        let Some(constant) = &value.constant else {
            return Err(plan_error("expected a constant bias").help("plan this node in float"));
        };
        let mut bias = constant.to_f32_vec();
        if let Op::Gemm { beta, .. } = node.op {
            for b in &mut bias {
                *b *= beta;
            }
        }
        let channels = node
            .outputs
            .first()
            .and_then(|&output| self.graph.value(output).extents())
            .and_then(|extents| match node.op {
                Op::Gemm { .. } => extents.last().copied(),
                _ => extents.get(1).copied(),
            })
            .ok_or_else(|| plan_error("expected fixed shapes"))?;
        match bias.len() {
            1 => Ok(Some(vec![bias[0]; channels])),
            len if len == channels => Ok(Some(bias)),
            len => Err(plan_error(format!("expected a bias of 1 or {channels} values, found {len}"))
                .help("plan this node in float")),
        }
    }

    fn constant(&mut self, name: &str, quantized: &QuantizedTensor) -> ValueId {
        let name = self.program.fresh_value_name(name);
        self.program.push_value(Value {
            name,
            dtype: Some(quantized.tensor.dtype()),
            shape: Some(quantized.tensor.shape()),
            quant: Some(quantized.params.clone()),
            constant: Some(quantized.tensor.clone()),
        })
    }
}

/// How scales of weights are chosen: with few codes the largest magnitude is a bad guide (EfficientNet-Lite0 at w4a8
/// loses every prediction by it), so they get those with the least squared error whatever was asked for.
fn weight_rule(precision: Precision, asked: WeightRule) -> WeightRule {
    if precision.weight_bits() <= 4 { WeightRule::LeastSquares } else { asked }
}

/// The form of a node's weights where the plan does not say: signed, symmetric, per output channel.
pub fn weight_scheme(op: &Op, weights: &Tensor, precision: Precision) -> Scheme {
    let dtype = if precision.weight_bits() == 4 { DType::I4 } else { DType::I8 };
    let granularity = match channel_axis(op, weights.extents().len()) {
        Some(axis) => Granularity::PerChannel { axis },
        None => Granularity::PerTensor,
    };
    Scheme { dtype, symmetry: Symmetry::Symmetric, granularity }
}

/// The axis of a weight tensor that output channels lie along; `None` where weights must share one scale.
pub(super) fn channel_axis(op: &Op, rank: usize) -> Option<usize> {
    match op {
        Op::Conv { .. } => Some(0),
        Op::ConvTranspose { conv, .. } if conv.groups == 1 => Some(1),
        Op::Gemm { trans_b, .. } => Some(usize::from(!trans_b)),
        Op::MatMul if rank == 2 => Some(1),
        _ => None,
    }
}

/// A Gemm with its scale folded into the weights; other nodes as they are. `beta` is folded into the bias by
/// [`Lowering::bias`], which reads it from the node.
fn folded_gemm(node: &Node, weights: &Tensor) -> Result<(Node, Tensor)> {
    let mut node = node.clone();
    if let Op::Gemm { alpha, .. } = &mut node.op
        && *alpha != 1.0
    {
        let scaled: Vec<f64> = weights.to_f64_vec().into_iter().map(|x| x * f64::from(*alpha)).collect();
        let weights = Tensor::from_f64(DType::F32, weights.extents(), &scaled)?;
        *alpha = 1.0;
        return Ok((node, weights));
    }
    Ok((node, weights.clone()))
}

/// Marks a Gemm's `beta` as folded into its bias.
fn unit_beta(node: &mut Node) {
    if let Op::Gemm { beta, .. } = &mut node.op {
        *beta = 1.0;
    }
}

/// What rounding the weights adds to each output channel on average, given the mean of each input channel.
fn mean_error(node: &Node, weights: &Tensor, quantized: &QuantizedTensor, means: &[f32]) -> Option<Vec<f32>> {
    let extents = weights.extents();
    let groups = match &node.op {
        Op::Conv { conv, .. } => conv.groups,
        Op::Gemm { .. } => 1,
        _ => return None,
    };
    let (outputs, inputs, taps, transposed) = match (&node.op, extents) {
        (Op::Gemm { trans_b: false, .. }, &[k, n]) => (n, k, 1, true),
        (_, &[o, i, ref rest @ ..]) => (o, i, rest.iter().product::<usize>(), false),
        _ => return None,
    };
    if means.len() != inputs * groups {
        return None;
    }
    let values = weights.to_f32_vec();
    let codes = quantized.tensor.to_i64_vec();
    let scales = &quantized.params.scales;
    let per_group = outputs / groups.max(1);
    Some(
        (0..outputs)
            .map(|output| {
                let scale = f64::from(scales[output.min(scales.len() - 1)]);
                let first = output / per_group.max(1) * inputs;
                (0..inputs)
                    .map(|input| {
                        let error: f64 = (0..taps)
                            .map(|tap| {
                                let at = if transposed {
                                    input * outputs + output
                                } else {
                                    (output * inputs + input) * taps + tap
                                };
                                codes[at] as f64 * scale - f64::from(values[at])
                            })
                            .sum();
                        error * f64::from(means[first + input])
                    })
                    .sum::<f64>() as f32
            })
            .collect(),
    )
}
