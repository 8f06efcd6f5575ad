//! Models from files to graphs that are ready to plan or run.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use fewbit_core::ir::{DType, Graph};
use fewbit_core::{infer, ir, pass, split};
use fewbit_onnx::ImportOptions;
use indexmap::IndexMap;

use crate::args::ShapeArguments;
use crate::config::Config;
use crate::failure::{Refused, Usage};

/// A model that was read, with its shapes fixed, before and after the passes.
pub(crate) struct Model {
    /// Where it came from.
    pub(crate) path: PathBuf,
    /// Bytes of the file (without external data).
    pub(crate) file_bytes: u64,
    /// As the file says.
    pub(crate) source: Graph,
    /// After the passes.
    pub(crate) graph: Graph,
    /// Hash of [`Model::graph`].
    pub(crate) hash: String,
}

impl Model {
    /// Reads a model, fixes its shapes and runs the passes. A leading dimension that is still free becomes 1.
    pub(crate) fn load(path: &Path, arguments: &ShapeArguments, config: &Config) -> Result<Self> {
        let model = Self::read(path, arguments, config)?;
        infer::require_fixed(&model.graph)?;
        Ok(model)
    }

    /// As [`Model::load`], of a model that is only shown or judged: what depends on operators that this build lacks
    /// stays open.
    pub(crate) fn load_to_show(path: &Path, arguments: &ShapeArguments, config: &Config) -> Result<Self> {
        let model = Self::read(path, arguments, config)?;
        infer::require_fixed_where_known(&model.graph)?;
        Ok(model)
    }

    /// As [`Model::load`], of a model that only runs: extents that data decides stay open.
    pub(crate) fn load_to_run(path: &Path, arguments: &ShapeArguments, config: &Config) -> Result<Self> {
        let model = Self::read(path, arguments, config)?;
        if split::at_data(&model.graph)?.is_none() {
            infer::require_fixed(&model.graph)?;
        }
        Ok(model)
    }

    fn read(path: &Path, arguments: &ShapeArguments, config: &Config) -> Result<Self> {
        let file_bytes = std::fs::metadata(path)
            .map_err(|error| Refused::new(path, format!("cannot be read: {error}")))?
            .len();
        let ShapeArguments { shape, set } = arguments;
        let shapes = config.shape.iter().filter(|_| shape.is_empty()).chain(shape);
        let fixed: IndexMap<_, _> = shapes.map(|shape| parse_shape(shape)).collect::<Result<_>>()?;
        let numbers = config.set.iter().filter(|_| set.is_empty()).chain(set);
        let numbers: IndexMap<_, _> = numbers.map(|number| parse_number(number)).collect::<Result<_>>()?;
        let mut source = if path.extension().is_some_and(|extension| extension == "tflite") {
            if !fixed.is_empty() || !numbers.is_empty() {
                return Err(Usage::of_file(
                    path,
                    "expected no --shape and no --set: the file fixes its inputs",
                )
                .help("leave them out, for TFLite models have no free extents")
                .into());
            }
            let bytes = std::fs::read(path)
                .map_err(|error| Refused::new(path, format!("cannot be read: {error}")))?;
            fewbit_tflite::import(&bytes).map_err(anyhow::Error::from)
        } else {
            fewbit_onnx::open(path, &ImportOptions::fixed(fixed, Some(1)).with_values(numbers))
                .map_err(anyhow::Error::from)
        }
        .with_context(|| format!("cannot import {}", path.display()))?;
        infer::infer(&mut source)?;
        let mut graph = source.clone();
        pass::optimize(&mut graph, &mut |name, graph, changes| {
            tracing::debug!(pass = name, nodes = graph.node_count(), changes, "pass done");
        })?;
        let hash = ir::hash::hash(&graph);
        Ok(Self { path: path.to_owned(), file_bytes, source, graph, hash })
    }

    /// Whether the model computes in float only, so that it can be calibrated and quantized.
    pub(crate) fn is_float(&self) -> bool {
        self.graph.value_ids().all(|id| self.graph.value(id).quant.is_none())
    }

    /// Refuses a model that is quantized already.
    pub(crate) fn require_float(&self) -> Result<()> {
        if self.is_float() {
            return Ok(());
        }
        Err(Usage::of_file(&self.path, "expected a float model, found one that is quantized already")
            .help("give the float model it was made from")
            .into())
    }

    /// Bytes of all constants.
    pub(crate) fn constant_bytes(&self) -> usize {
        constant_bytes(&self.graph)
    }
}

/// Bytes of all constants of a graph.
pub(crate) fn constant_bytes(graph: &Graph) -> usize {
    graph
        .value_ids()
        .filter_map(|id| graph.value(id).constant.as_ref())
        .map(|tensor| tensor.bytes().len())
        .sum()
}

/// The graph's inputs as a dataset must give them.
pub(crate) fn input_specs(graph: &Graph) -> Vec<fewbit_calibrate::dataset::InputSpec> {
    graph
        .inputs
        .iter()
        .map(|&id| {
            let value = graph.value(id);
            fewbit_calibrate::dataset::InputSpec {
                name: value.name.clone(),
                dtype: value.dtype.unwrap_or(DType::F32),
                extents: value.extents().unwrap_or_default(),
            }
        })
        .collect()
}

/// Reads NAME=1,3,224,224.
fn parse_shape(text: &str) -> Result<(String, Vec<usize>)> {
    let parsed = text.rsplit_once('=').and_then(|(name, extents)| {
        let extents: Option<Vec<usize>> = extents
            .split([',', 'x'])
            .map(|part| part.trim().parse().ok().filter(|&extent| extent > 0))
            .collect();
        Some((name.to_owned(), extents?))
    });
    parsed.ok_or_else(|| {
        Usage::new(format!("expected --shape NAME=1,3,224,224, found `{text}`"))
            .help("the input's name and its extents; see `fewbit inspect`")
            .into()
    })
}

/// Reads NAME=16000.
fn parse_number(text: &str) -> Result<(String, f64)> {
    let parsed = text.rsplit_once('=').and_then(|(name, number)| {
        let number: f64 = number.trim().parse().ok().filter(|number: &f64| number.is_finite())?;
        Some((name.to_owned(), number))
    });
    parsed.ok_or_else(|| {
        Usage::new(format!("expected --set NAME=NUMBER, found `{text}`"))
            .help("the input's name and what it always is; see `fewbit inspect`")
            .into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_read_and_nonsense_refused() {
        assert_eq!(parse_shape("a=b=1,3,2").unwrap(), ("a=b".to_owned(), vec![1, 3, 2]));
        for bad in ["x", "x=", "x=1,-3", "x=1,a", "x=0"] {
            assert!(parse_shape(bad).is_err(), "{bad}");
        }
        assert_eq!(parse_number("sr=16000").unwrap(), ("sr".to_owned(), 16000.0));
        for bad in ["x", "x=", "x=a", "x=inf"] {
            assert!(parse_number(bad).is_err(), "{bad}");
        }
    }
}
