//! Lowering: from a float graph and the choices of a plan to the program that devices compile.
//!
//! Owns where quantized and float values meet. A node whose choice has integer activations reads and writes quantized
//! values; conversions are inserted exactly where a reader needs the other form, one per value. The program keeps
//! the graph's float inputs and outputs, its node names, and the names of its values: a value keeps its name in the
//! form in which it is produced, and a graph output keeps its name in float.

mod weighted;

pub use weighted::weight_scheme;

use indexmap::IndexMap;

use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::{BinaryOp, DType, Graph, Node, Op, Value, ValueId};
use crate::plan::Precision;
use crate::quant::weights::{WeightRule, quantize_operand};
use crate::quant::{QuantParams, Scheme};

/// What a plan decides about a graph.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Choices {
    /// The precision of each node by name; a node that is not listed stays in float.
    pub precisions: IndexMap<String, Precision>,
    /// Element type and parameters of each quantized activation by the value's name.
    pub activations: IndexMap<String, (DType, QuantParams)>,
    /// Form of weights by node name, with the axis of the weight tensor; per output channel where not listed.
    pub weights: IndexMap<String, Scheme>,
    /// How scales of weights are chosen.
    pub weight_rule: WeightRule,
    /// Mean of each channel (axis 1) of an activation by the value's name: where it is known, the mean error that
    /// rounding the weights causes is taken out of the bias (bias correction, Nagel et al. 2019).
    pub channel_means: IndexMap<String, Vec<f32>>,
}

/// Lowers `graph` by `choices`.
///
/// # Errors
/// [`CoreErrorKind::Plan`] when the choices do not fit the graph, naming the node;
/// [`CoreErrorKind::Quantization`] when weights or biases cannot be quantized.
pub fn lower(graph: &Graph, choices: &Choices) -> Result<Graph> {
    let mut lowering = Lowering::new(graph, choices);
    for (_, node) in graph.nodes() {
        lowering.node(node).map_err(|error| error.at(&node.name))?;
    }
    lowering.finish()
}

/// The two forms of one value of the float graph.
#[derive(Debug, Clone, Copy, Default)]
struct Forms {
    float: Option<ValueId>,
    quantized: Option<ValueId>,
}

struct Lowering<'a> {
    graph: &'a Graph,
    choices: &'a Choices,
    program: Graph,
    forms: Vec<Forms>,
}

impl<'a> Lowering<'a> {
    fn new(graph: &'a Graph, choices: &'a Choices) -> Self {
        let mut program = Graph::new(graph.name.clone());
        program.metadata.clone_from(&graph.metadata);
        let mut forms = vec![Forms::default(); graph.value_ids().len()];
        for &id in &graph.inputs {
            let copy = program.push_value(graph.value(id).clone());
            program.inputs.push(copy);
            forms[id.index()] = if graph.value(id).quant.is_some() {
                Forms { quantized: Some(copy), float: None }
            } else {
                Forms { float: Some(copy), quantized: None }
            };
        }
        Self { graph, choices, program, forms }
    }

    fn node(&mut self, node: &Node) -> Result<()> {
        let precision = self.choices.precisions.get(&node.name).copied().unwrap_or(Precision::F32);
        if precision.has_integer_activations() {
            if node.op.has_weights() { self.weighted(node, precision) } else { self.element_wise(node) }
        } else if precision.has_integer_weights() && node.op.has_weights() {
            self.integer_weights(node, precision)
        } else {
            self.float(node, precision)
        }
    }

    /// A node that reads and writes real values.
    fn float(&mut self, node: &Node, precision: Precision) -> Result<()> {
        let half = match precision {
            Precision::F16 => Some(DType::F16),
            Precision::Bf16 => Some(DType::Bf16),
            _ => None,
        }
        .filter(|_| node.op.has_weights());
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (index, input) in node.inputs.iter().enumerate() {
            inputs.push(match (*input, half) {
                (Some(id), Some(dtype)) if index == 1 && self.graph.value(id).constant.is_some() => {
                    Some(self.half_constant(id, dtype)?)
                }
                (Some(id), _) => Some(self.as_float(id)?),
                (None, _) => None,
            });
        }
        self.emit(node, inputs, half.map(|_| precision), |_| None)
    }

    /// A node without weights on quantized values.
    fn element_wise(&mut self, node: &Node) -> Result<()> {
        let mut inputs = Vec::with_capacity(node.inputs.len());
        for (index, input) in node.inputs.iter().enumerate() {
            inputs.push(match *input {
                Some(id) if self.is_operand(node, index, id) => Some(self.quantized_operand(node, id)?),
                Some(id) => Some(self.as_float(id)?),
                None => None,
            });
        }
        if keeps_parameters(&node.op)
            && let Some(source) = inputs.first().copied().flatten()
        {
            return self.moved(node, inputs, source);
        }
        let choices = self.choices;
        self.emit(node, inputs, None, |name| choices.activations.get(name).cloned())
    }

    /// Whether input `index` holds elements that the node computes with, rather than shapes, axes or indices.
    fn is_operand(&self, node: &Node, index: usize, id: ValueId) -> bool {
        let value = self.graph.value(id);
        let float = value.dtype.is_none_or(DType::is_float) || value.quant.is_some();
        float
            && match node.op {
                Op::Resize(_)
                | Op::Slice
                | Op::Gather { .. }
                | Op::Index(_)
                | Op::Expand
                | Op::Tile
                | Op::Reshape { .. } => index == 0,
                _ => true,
            }
    }

    /// A node whose outputs keep its input's parameters; they are requantized where the plan gives the output others.
    fn moved(&mut self, node: &Node, inputs: Vec<Option<ValueId>>, source: ValueId) -> Result<()> {
        let (Some(dtype), Some(params)) =
            (self.program.value(source).dtype, self.program.value(source).quant.clone())
        else {
            return Err(plan_error("expected a quantized input"));
        };
        let planned: Vec<Option<(DType, QuantParams)>> = node
            .outputs
            .iter()
            .map(|&output| self.choices.activations.get(&self.graph.value(output).name).cloned())
            .collect();
        self.emit(node, inputs, None, |_| Some((dtype, params.clone())))?;
        for (&output, planned) in node.outputs.iter().zip(planned) {
            let Some((to, wanted)) = planned else { continue };
            if (to, &wanted) == (dtype, &params) {
                continue;
            }
            let Some(moved) = self.forms[output.index()].quantized else { continue };
            let name = self.graph.value(output).name.clone();
            let value = self.converted(&name, "requantized", output, to, Some(wanted));
            self.convert(&name, Op::Requantize, moved, value);
            self.forms[output.index()].quantized = Some(value);
        }
        Ok(())
    }

    /// Adds `node` over `inputs`; `quantized` tells the parameters of an output by name, `None` for float.
    fn emit(
        &mut self,
        node: &Node,
        inputs: Vec<Option<ValueId>>,
        precision: Option<Precision>,
        quantized: impl Fn(&str) -> Option<(DType, QuantParams)>,
    ) -> Result<()> {
        let mut outputs = Vec::with_capacity(node.outputs.len());
        for &output in &node.outputs {
            let value = self.graph.value(output);
            let copy = if let Some((dtype, params)) = quantized(&value.name) {
                let extents = value.extents().ok_or_else(|| plan_error("expected fixed shapes"))?;
                params.validate(dtype, &extents).map_err(|error| error.at(&value.name))?;
                let id = if self.graph.is_output(output) {
                    self.converted(&value.name, "quantized", output, dtype, Some(params))
                } else {
                    self.program.push_value(Value {
                        dtype: Some(dtype),
                        quant: Some(params),
                        ..value.clone()
                    })
                };
                self.forms[output.index()] = Forms { quantized: Some(id), float: None };
                id
            } else {
                let id = self.program.push_value(value.clone());
                self.forms[output.index()] = if value.quant.is_some() {
                    Forms { quantized: Some(id), float: None }
                } else {
                    Forms { float: Some(id), quantized: None }
                };
                id
            };
            outputs.push(copy);
        }
        self.program.add_node(Node {
            name: node.name.clone(),
            op: node.op.clone(),
            inputs,
            outputs,
            precision: precision.or(node.precision),
        });
        Ok(())
    }

    /// A new value for a converted form of `source`, under a name of its own.
    fn converted(
        &mut self,
        name: &str,
        form: &str,
        source: ValueId,
        dtype: DType,
        quant: Option<QuantParams>,
    ) -> ValueId {
        let name = self.program.fresh_value_name(&format!("{name}_{form}"));
        let shape = self.graph.value(source).shape.clone();
        self.program.push_value(Value { name, dtype: Some(dtype), shape, quant, constant: None })
    }

    fn convert(&mut self, name: &str, op: Op, from: ValueId, to: ValueId) {
        let name = self.program.fresh_node_name(&format!("{name}_{}", op.kind().as_str().to_lowercase()));
        self.program.add_node(Node {
            name,
            op,
            inputs: vec![Some(from)],
            outputs: vec![to],
            precision: None,
        });
    }

    /// The float form of a value (or its only form, for shapes and indices).
    fn as_float(&mut self, id: ValueId) -> Result<ValueId> {
        let forms = self.forms[id.index()];
        if let Some(float) = forms.float {
            return Ok(float);
        }
        let value = self.graph.value(id);
        let float = if let Some(quantized) = forms.quantized {
            if self.graph.inputs.contains(&id) || value.quant.is_some() {
                // Quantized in the graph itself: that is the form its readers know.
                return Ok(quantized);
            }
            let float = if self.graph.is_output(id) {
                self.program.push_value(value.clone())
            } else {
                self.converted(&value.name, "dequantized", id, DType::F32, None)
            };
            self.convert(&value.name, Op::Dequantize, quantized, float);
            float
        } else if value.constant.is_some() {
            self.program.push_value(value.clone())
        } else {
            return Err(plan_error(format!("expected `{}` to be produced before it is read", value.name)));
        };
        self.forms[id.index()].float = Some(float);
        Ok(float)
    }

    /// The quantized form of an operand of `node`. A float constant gets the parameters of its own range, in the element
    /// type in which the plan stores what the node gives.
    fn quantized_operand(&mut self, node: &Node, id: ValueId) -> Result<ValueId> {
        let value = self.graph.value(id);
        let planned =
            |id: ValueId| self.choices.activations.get(&self.graph.value(id).name).map(|(dtype, _)| *dtype);
        let Some(constant) = value.constant.as_ref().filter(|_| value.quant.is_none()) else {
            return self.as_quantized(id);
        };
        let dtype = node.outputs.first().copied().and_then(planned).unwrap_or(DType::U8);
        let operand = quantize_operand(constant, dtype).map_err(|error| error.at(&value.name))?;
        let name = self.program.fresh_value_name(&value.name);
        Ok(self.program.push_value(Value {
            name,
            dtype: Some(dtype),
            shape: value.shape.clone(),
            quant: Some(operand.params),
            constant: Some(operand.tensor),
        }))
    }

    /// The quantized form of a value, as the plan says; a constant that came quantized is its own.
    fn as_quantized(&mut self, id: ValueId) -> Result<ValueId> {
        let forms = self.forms[id.index()];
        if let Some(quantized) = forms.quantized {
            return Ok(quantized);
        }
        let value = self.graph.value(id);
        if value.constant.is_some() && value.quant.is_some() {
            let quantized = self.program.push_value(value.clone());
            self.forms[id.index()].quantized = Some(quantized);
            return Ok(quantized);
        }
        let Some((dtype, params)) = self.choices.activations.get(&value.name).cloned() else {
            return Err(plan_error(format!(
                "expected quantization parameters for `{}`, found none",
                value.name
            ))
            .help("calibrate again, or plan this node in float"));
        };
        let float = self.as_float(id)?;
        let quantized = self.converted(&value.name, "quantized", id, dtype, Some(params));
        self.convert(&value.name, Op::Quantize, float, quantized);
        self.forms[id.index()].quantized = Some(quantized);
        Ok(quantized)
    }

    /// A constant stored in half precision.
    fn half_constant(&mut self, id: ValueId, dtype: DType) -> Result<ValueId> {
        let value = self.graph.value(id);
        let Some(constant) = &value.constant else { return self.as_float(id) };
        let tensor = crate::ir::Tensor::from_f64(dtype, constant.extents(), &constant.to_f64_vec())?;
        let name = self.program.fresh_value_name(&value.name);
        Ok(self.program.add_constant(name, tensor))
    }

    fn finish(mut self) -> Result<Graph> {
        for &id in &self.graph.outputs {
            let output = self.as_float(id)?;
            self.program.outputs.push(output);
        }
        self.program.compact()?;
        Ok(self.program)
    }
}

fn plan_error(message: impl Into<String>) -> CoreError {
    CoreError::new(CoreErrorKind::Plan, message)
}

/// Whether the integer rule of an operator leaves the parameters of its input as they are: outputs are elements of the
/// input, or lie between them.
pub fn keeps_parameters(op: &Op) -> bool {
    op.moves_elements()
        || matches!(op, Op::Resize(attributes) if attributes.mode == crate::ir::ResizeMode::Linear)
}

/// Whether integer arithmetic has a rule for this operator (see [`crate::quant::convert`]).
pub fn has_integer_form(op: &Op) -> bool {
    op.has_weights()
        || keeps_parameters(op)
        || matches!(
            op,
            Op::AveragePool(_)
                | Op::GlobalAveragePool
                | Op::Unary(_)
                | Op::Concat { .. }
                | Op::Reduce { op: crate::ir::ReduceOp::Mean, .. }
                | Op::Binary { op: BinaryOp::Add | BinaryOp::Sub | BinaryOp::Mul, .. }
        )
}
