//! `fewbit run`: a model on given inputs.

use std::path::Path;

use anyhow::Result;
use fewbit_calibrate::Runner;
use fewbit_calibrate::dataset::{encode_npy, read_npy};
use serde::Serialize;

use crate::args::{Format, Run};
use crate::config::Config;
use crate::failure::{Refused, Usage};
use crate::model::Model;
use crate::{Answer, devices, files, output};

#[derive(Serialize)]
struct Written {
    name: String,
    dtype: String,
    shape: Vec<usize>,
    file: String,
}

pub(crate) fn run(arguments: &Run, format: Format, config: &Config) -> Result<Answer> {
    let model = Model::load_to_run(&arguments.model.model, &arguments.model.shapes, config)?;
    let device = match &arguments.plan {
        Some(plan) => devices::following(&arguments.device, config, &super::plan::read(plan)?)?,
        None => devices::open(&arguments.device, config)?,
    };
    let mut runner = Runner::new(&model.graph, device.as_ref(), devices::threads(&arguments.device, config))?;
    let mut given = Vec::new();
    for text in &arguments.input {
        let (name, file) = text.split_once('=').ok_or_else(|| {
            Usage::new(format!("expected --input NAME=FILE.npy, found `{text}`"))
                .help("the input's name is in `fewbit inspect`")
        })?;
        given.push((name, read_npy(Path::new(file))?));
    }
    let mut inputs = Vec::new();
    for spec in runner.input_specs() {
        let tensor = given.iter().find(|(name, _)| *name == spec.name).map(|(_, tensor)| tensor.clone());
        let tensor = tensor.ok_or_else(|| {
            Usage::new(format!(
                "expected an array for input `{}` ({}{:?})",
                spec.name, spec.dtype, spec.extents
            ))
            .help(format!("give --input {}=FILE.npy", spec.name))
        })?;
        inputs.push(tensor);
    }
    if let Some((name, _)) =
        given.iter().find(|(name, _)| !runner.input_specs().iter().any(|spec| spec.name == *name))
    {
        return Err(Usage::new(format!("the model has no input `{name}`"))
            .help("see `fewbit inspect`")
            .into());
    }
    let names: Vec<String> = runner.output_specs().iter().map(|spec| spec.name.clone()).collect();
    let outputs = runner.run(&inputs)?;
    let mut written = Vec::new();
    let mut arrays = Vec::new();
    for (index, (name, tensor)) in names.iter().zip(outputs).enumerate() {
        // A model may call its outputs what it likes; a file's name must stay inside the folder.
        let safe: String =
            name.chars().map(|c| if c.is_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
        let safe = if safe.trim_matches('.').is_empty() { format!("output_{index}") } else { safe };
        let file = arguments.output.join(format!("{safe}.npy"));
        written.push(Written {
            name: name.clone(),
            dtype: tensor.dtype().to_string(),
            shape: tensor.extents().to_vec(),
            file: file.display().to_string(),
        });
        arrays.push((file, encode_npy(tensor)?));
    }
    std::fs::create_dir_all(&arguments.output)
        .map_err(|error| Refused::new(&arguments.output, format!("cannot be made: {error}")))?;
    files::write_all(&arrays)?;
    output::print(format, &serde_json::json!({ "outputs": written }), || {
        written
            .iter()
            .map(|out| format!("{}: {}{:?} in {}\n", out.name, out.dtype, out.shape, out.file))
            .collect()
    })?;
    Ok(Answer::Yes)
}
