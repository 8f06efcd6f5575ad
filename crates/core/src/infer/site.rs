//! What a rule sees of a node: its operator and what is known of its inputs, from a graph or from real tensors.

use crate::error::{CoreError, CoreErrorKind, Result};
use crate::ir::{DType, Dim, Graph, Node, Shape, Tensor};

/// Most axes of a shape that is known only by its number of axes: a file may declare any number.
const MOST_AXES: usize = 64;

/// One integer of a tensor that describes a shape: a number, or an extent not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Number {
    /// A known integer.
    Known(i64),
    /// The extent of that name, not negative.
    Symbol(String),
}

impl Number {
    /// The number that is this extent.
    pub(super) fn of(dim: &Dim) -> Number {
        match dim {
            Dim::Fixed(extent) => Number::Known(i64::try_from(*extent).unwrap_or(i64::MAX)),
            Dim::Symbol(name) => Number::Symbol(name.clone()),
        }
    }

    /// The integer, where it is known.
    pub(super) fn known(&self) -> Option<i64> {
        match self {
            Number::Known(number) => Some(*number),
            Number::Symbol(_) => None,
        }
    }
}

/// What is known of a value's elements.
#[derive(Debug, Clone)]
pub(crate) enum Known {
    /// All of them.
    Tensor(Tensor),
    /// Integers of a scalar or a list, some of which are unknown extents.
    Numbers(Vec<Number>),
}

/// One input of a node.
#[derive(Debug, Clone)]
pub(crate) struct Operand<'a> {
    /// Its name in the graph.
    pub name: &'a str,
    /// Its element type, where known.
    pub dtype: Option<DType>,
    /// Its shape, where known.
    pub shape: Option<Shape>,
    /// Whether its integers stand for real numbers.
    pub quantized: bool,
    /// Its elements, as far as known.
    pub known: Option<&'a Known>,
    /// Its elements, where all are known.
    pub tensor: Option<&'a Tensor>,
}

/// What the graph says about one output of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Declared {
    /// The element type.
    pub dtype: Option<DType>,
    /// Whether its integers stand for real numbers.
    pub quantized: bool,
}

/// A node with what is known around it.
pub(crate) struct Site<'a> {
    /// The node.
    pub node: &'a Node,
    /// Its inputs, in order.
    pub inputs: Vec<Option<Operand<'a>>>,
    /// Its outputs, in order.
    pub outputs: Vec<Declared>,
}

/// What inference finds out about one output.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Inferred {
    /// The element type, where it follows from what is known.
    pub dtype: Option<DType>,
    /// The shape, where its rank follows from what is known.
    pub shape: Option<Shape>,
}

impl Inferred {
    /// A known or unknown type with these dimensions.
    pub(super) fn of(dtype: Option<DType>, dims: Vec<Dim>) -> Self {
        Inferred { dtype, shape: Some(Shape(dims)) }
    }

    /// Neither shape nor rank is known.
    pub(super) fn unranked(dtype: Option<DType>) -> Self {
        Inferred { dtype, shape: None }
    }
}

impl Operand<'_> {
    /// The dimensions, where the rank is known.
    pub(super) fn dims(&self) -> Option<&[Dim]> {
        self.shape.as_ref().map(Shape::dims)
    }

    /// The integers of a scalar or a list, as far as they are known.
    pub(super) fn numbers(&self) -> Option<Vec<Number>> {
        if let Some(tensor) = self.tensor {
            let integral = tensor.dtype().is_integer() && tensor.extents().len() <= 1;
            return integral.then(|| tensor.to_i64_vec().into_iter().map(Number::Known).collect());
        }
        match self.known {
            Some(Known::Numbers(numbers)) => Some(numbers.clone()),
            _ => None,
        }
    }

    /// The integers of a scalar or a list, where all are known.
    pub(super) fn integers(&self) -> Option<Vec<i64>> {
        self.numbers()?.iter().map(Number::known).collect()
    }

    /// The number of elements of a list, where it is known.
    pub(super) fn length(&self) -> Option<usize> {
        match self.dims()? {
            [dim] => dim.fixed(),
            _ => None,
        }
    }
}

impl<'a> Site<'a> {
    /// The node as the graph knows it, with `known` elements per value besides the graph's constants.
    pub(super) fn from_graph(graph: &'a Graph, node: &'a Node, known: &'a [Option<Known>]) -> Self {
        let operand = |id: crate::ir::ValueId| {
            let value = graph.value(id);
            let known = known.get(id.index()).and_then(Option::as_ref);
            let tensor = value.constant.as_ref().or(match known {
                Some(Known::Tensor(tensor)) => Some(tensor),
                _ => None,
            });
            Operand {
                name: &value.name,
                dtype: value.dtype,
                shape: value.shape.clone(),
                quantized: value.quant.is_some(),
                known,
                tensor,
            }
        };
        Site {
            node,
            inputs: node.inputs.iter().map(|input| input.map(operand)).collect(),
            outputs: Self::declared(graph, node),
        }
    }

    /// The node with its inputs at run time.
    pub(crate) fn from_tensors(graph: &'a Graph, node: &'a Node, inputs: &[Option<&'a Tensor>]) -> Self {
        let inputs = node
            .inputs
            .iter()
            .zip(inputs)
            .map(|(id, tensor)| {
                let (id, tensor) = ((*id)?, (*tensor)?);
                Some(Operand {
                    name: &graph.value(id).name,
                    dtype: Some(tensor.dtype()),
                    shape: Some(tensor.shape()),
                    quantized: graph.value(id).quant.is_some(),
                    known: None,
                    tensor: Some(tensor),
                })
            })
            .collect();
        Site { node, inputs, outputs: Self::declared(graph, node) }
    }

    fn declared(graph: &Graph, node: &Node) -> Vec<Declared> {
        node.outputs
            .iter()
            .map(|&id| graph.value(id))
            .map(|value| Declared { dtype: value.dtype, quantized: value.quant.is_some() })
            .collect()
    }

    /// The site as if the input at `index` were absent.
    pub(super) fn without(&self, index: usize) -> Site<'a> {
        let mut inputs = self.inputs.clone();
        if let Some(input) = inputs.get_mut(index) {
            *input = None;
        }
        Site { node: self.node, inputs, outputs: self.outputs.clone() }
    }

    /// The input at `index`.
    pub(super) fn required(&self, index: usize) -> Result<&Operand<'a>> {
        self.optional(index).ok_or_else(|| {
            CoreError::new(
                CoreErrorKind::Structure,
                format!("{} needs input {index}, found none", self.node.op.kind()),
            )
            .at(&self.node.name)
        })
    }

    /// The input at `index`, where present.
    pub(super) fn optional(&self, index: usize) -> Option<&Operand<'a>> {
        self.inputs.get(index).and_then(Option::as_ref)
    }

    /// A contradiction at this node.
    pub(crate) fn error(&self, message: impl AsRef<str>) -> CoreError {
        CoreError::new(CoreErrorKind::Shape, format!("{}: {}", self.node.op.kind(), message.as_ref()))
            .at(&self.node.name)
    }

    /// The dimension, or an error that says what was computed.
    pub(super) fn dim(&self, dim: Option<Dim>, what: &str) -> Result<Dim> {
        dim.ok_or_else(|| self.error(format!("expected {what} that is not negative and fits an address")))
    }

    /// A dimension nothing is known of, named after this node.
    pub(super) fn unknown(&self, output: usize, axis: usize) -> Dim {
        let name = &self.node.name;
        super::dims::symbol(if output == 0 {
            format!("{name}#{axis}")
        } else {
            format!("{name}.{output}#{axis}")
        })
    }

    /// `rank` dimensions nothing is known of.
    pub(super) fn unknowns(&self, rank: usize) -> Result<Vec<Dim>> {
        if rank > MOST_AXES {
            return Err(self.error(format!("expected a shape of at most {MOST_AXES} axes, found {rank}")));
        }
        Ok((0..rank).map(|axis| self.unknown(0, axis)).collect())
    }

    /// The dimensions of the input at `index`, whose rank must be `expected`.
    pub(super) fn dims_of_rank<'o>(
        &self,
        operand: &'o Operand<'_>,
        expected: usize,
        what: &str,
    ) -> Result<Option<&'o [Dim]>> {
        match operand.dims() {
            Some(dims) if dims.len() != expected => Err(self.error(format!(
                "expected {what} of rank {expected}, found {} of rank {}",
                Shape(dims.to_vec()),
                dims.len()
            ))),
            dims => Ok(dims),
        }
    }

    /// The axis, which must be below `rank`.
    pub(super) fn axis(&self, axis: usize, rank: usize) -> Result<usize> {
        if axis < rank {
            return Ok(axis);
        }
        Err(self.error(format!("expected an axis below the rank {rank}, found {axis}")))
    }

    /// The axis that counts from the end where it is negative.
    pub(crate) fn signed_axis(&self, axis: i64, rank: usize) -> Result<usize> {
        let from_end = if axis < 0 { axis.checked_add(rank as i64) } else { Some(axis) };
        from_end
            .and_then(|axis| usize::try_from(axis).ok())
            .filter(|&axis| axis < rank)
            .ok_or_else(|| self.error(format!("expected an axis from -{rank} to below {rank}, found {axis}")))
    }

    /// The element type of a result that is `natural` unless values are quantized.
    ///
    /// A quantized output keeps the type its maker gave it; a float output of quantized inputs is f32 unless its
    /// maker says otherwise.
    pub(super) fn result_dtype(&self, natural: Option<DType>) -> Result<Option<DType>> {
        let declared = self.outputs.first().copied().unwrap_or(Declared { dtype: None, quantized: false });
        if declared.quantized {
            return match declared.dtype {
                Some(dtype) if dtype.is_integer() => Ok(Some(dtype)),
                dtype => Err(self.error(format!(
                    "expected an integer type on the quantized output, found {}",
                    dtype.map_or("none", DType::name)
                ))),
            };
        }
        if self.inputs.iter().flatten().any(|input| input.quantized) && !natural.is_some_and(DType::is_float)
        {
            return Ok(Some(declared.dtype.filter(|dtype| dtype.is_float()).unwrap_or(DType::F32)));
        }
        Ok(natural)
    }

    /// The one element type of these inputs, not looking at quantized ones.
    pub(super) fn common_dtype(&self, indices: impl IntoIterator<Item = usize>) -> Result<Option<DType>> {
        let mut common: Option<(DType, &str)> = None;
        for operand in indices.into_iter().filter_map(|index| self.optional(index)) {
            let Some(dtype) = operand.dtype.filter(|_| !operand.quantized) else { continue };
            match common {
                Some((first, name)) if first != dtype => {
                    return Err(self.error(format!(
                        "expected inputs of one element type, found {first} in `{name}` and {dtype} in `{}`",
                        operand.name
                    )));
                }
                _ => common = Some((dtype, operand.name)),
            }
        }
        Ok(common.map(|(dtype, _)| dtype))
    }
}
