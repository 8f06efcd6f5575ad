//! One context of one compiled program with its output tensors: what every loop over samples needs.

use fewbit_core::backend::{CompileOptions, Context, Device, TensorSpec};
use fewbit_core::ir::{Dim, Graph, Tensor};
use fewbit_core::reference::Interpreter;
use fewbit_core::split::{self, Origin, Source, Split};

use crate::dataset::InputSpec;
use crate::error::Result;

/// A compiled program ready to run one sample at a time.
///
/// What has shapes that data decides runs in the reference interpreter, behind what the device computes.
pub struct Runner {
    context: Box<dyn Context>,
    inputs: Vec<TensorSpec>,
    specs: Vec<TensorSpec>,
    outputs: Vec<Tensor>,
    tail: Option<Tail>,
}

/// The part of a program whose shapes data decides.
struct Tail {
    split: Split,
    /// What the device computes.
    head: Vec<Tensor>,
}

impl Runner {
    /// Compiles `program` for `device`.
    ///
    /// # Errors
    /// What the device's compiler says; what the interpreter says of operators whose shapes data decides.
    pub fn new(program: &Graph, device: &dyn Device, threads: usize) -> Result<Self> {
        let split = split::at_data(program)?;
        let head = split.as_ref().map_or(program, |split| &split.head);
        let executable = device.compile(head, &CompileOptions::threads(threads))?;
        let inputs = executable.inputs().to_vec();
        let computed = executable
            .outputs()
            .iter()
            .map(|spec| Tensor::zeros(spec.dtype, &spec.extents))
            .collect::<Result<Vec<_>, fewbit_core::CoreError>>()?;
        let (specs, outputs, tail) = match split {
            None => (executable.outputs().to_vec(), computed, None),
            Some(split) => {
                Interpreter::new(&split.tail)?;
                let specs = specs(program)?;
                let outputs = specs
                    .iter()
                    .map(|spec| Tensor::zeros(spec.dtype, &spec.extents))
                    .collect::<Result<_, fewbit_core::CoreError>>()?;
                (specs, outputs, Some(Tail { split, head: computed }))
            }
        };
        Ok(Self { context: executable.context()?, inputs, specs, outputs, tail })
    }

    /// What a dataset must give.
    pub fn input_specs(&self) -> Vec<InputSpec> {
        self.inputs
            .iter()
            .map(|spec| InputSpec {
                name: spec.name.clone(),
                dtype: spec.dtype,
                extents: spec.extents.clone(),
            })
            .collect()
    }

    /// What comes back; an extent that data decides is 0 here.
    pub fn output_specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// Runs one sample; the outputs stay valid until the next.
    ///
    /// # Errors
    /// What the device says.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<&[Tensor]> {
        match &mut self.tail {
            None => self.context.run(inputs, &mut self.outputs)?,
            Some(Tail { split, head }) => {
                self.context.run(inputs, head)?;
                let given: Vec<Tensor> = split
                    .sources
                    .iter()
                    .map(|source| match *source {
                        Source::Input(at) => inputs[at].clone(),
                        Source::Head(at) => head[at].clone(),
                    })
                    .collect();
                let tail = Interpreter::new(&split.tail)?.run(&given)?;
                let outputs = split.origins.iter().map(|origin| match *origin {
                    Origin::Head(at) => head[at].clone(),
                    Origin::Tail(at) => tail[at].clone(),
                });
                self.outputs = outputs.collect();
            }
        }
        Ok(&self.outputs)
    }

    /// The outputs of the last run.
    pub fn outputs(&self) -> &[Tensor] {
        &self.outputs
    }

    /// Output `index` of the last run as real numbers: quantized outputs are dequantized.
    pub fn real_output(&self, index: usize) -> Vec<f32> {
        let (tensor, spec) = (&self.outputs[index], &self.specs[index]);
        match spec.quant.as_ref().and_then(fewbit_core::quant::QuantParams::tensor_wide) {
            Some((scale, zero_point)) => tensor
                .to_i64_vec()
                .into_iter()
                .map(|q| fewbit_core::quant::convert::dequantize(q as i32, scale, zero_point))
                .collect(),
            None => tensor.to_f32_vec(),
        }
    }
}

/// The outputs of a program some of whose extents data decides.
fn specs(program: &Graph) -> Result<Vec<TensorSpec>> {
    let spec = |&id| {
        let value = program.value(id);
        let untyped = |what: &str| {
            fewbit_core::CoreError::new(
                fewbit_core::CoreErrorKind::Dynamic,
                format!("expected an output of known {what}, found none"),
            )
            .at(&value.name)
        };
        let dtype = value.dtype.ok_or_else(|| untyped("type"))?;
        let shape = value.shape.as_ref().ok_or_else(|| untyped("rank"))?;
        let extents = shape.dims().iter().map(|dim| Dim::fixed(dim).unwrap_or(0)).collect();
        Ok(TensorSpec { name: value.name.clone(), dtype, extents, quant: value.quant.clone() })
    };
    program.outputs.iter().map(spec).collect()
}
