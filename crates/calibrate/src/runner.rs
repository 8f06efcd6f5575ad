//! One context of one compiled program with its output tensors: what every loop over samples needs.

use fewbit_core::backend::{CompileOptions, Context, Device, TensorSpec};
use fewbit_core::ir::{Graph, Tensor};

use crate::dataset::InputSpec;
use crate::error::Result;

/// A compiled program ready to run one sample at a time.
pub struct Runner {
    context: Box<dyn Context>,
    inputs: Vec<TensorSpec>,
    specs: Vec<TensorSpec>,
    outputs: Vec<Tensor>,
}

impl Runner {
    /// Compiles `program` for `device`.
    ///
    /// # Errors
    /// What the device's compiler says.
    pub fn new(program: &Graph, device: &dyn Device, threads: usize) -> Result<Self> {
        let executable = device.compile(program, &CompileOptions::threads(threads))?;
        let specs = executable.outputs().to_vec();
        let inputs = executable.inputs().to_vec();
        let outputs = specs
            .iter()
            .map(|spec| Tensor::zeros(spec.dtype, &spec.extents))
            .collect::<Result<_, fewbit_core::CoreError>>()?;
        Ok(Self { context: executable.context()?, inputs, specs, outputs })
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

    /// What comes back.
    pub fn output_specs(&self) -> &[TensorSpec] {
        &self.specs
    }

    /// Runs one sample; the outputs stay valid until the next.
    ///
    /// # Errors
    /// What the device says.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<&[Tensor]> {
        self.context.run(inputs, &mut self.outputs)?;
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
