//! Datasets: folders of images, `.npz` archives and `.npy` files, one sample at a time.
//!
//! Owns finding and reading samples; [`Preprocess`] owns turning a picture into the model's input. Images are
//! decoded when they are asked for and not kept.

mod images;
mod npy;
mod preprocess;

use std::path::{Path, PathBuf};

use fewbit_core::ir::{DType, Tensor};
use sha2::{Digest, Sha256};

pub use npy::{encode_npy, read_npy};
pub use preprocess::{Channels, Layout, Preprocess};

use crate::error::{CalibrateError, CalibrateErrorKind, Result};

/// An input of the model that samples are made for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputSpec {
    /// The input's name.
    pub name: String,
    /// Its element type.
    pub dtype: DType,
    /// Its extents, batch included.
    pub extents: Vec<usize>,
}

/// One sample: the model's inputs in order, and the label where there is one.
#[derive(Debug, Clone)]
pub struct Sample {
    /// One tensor per input of the model.
    pub inputs: Vec<Tensor>,
    /// The class that a person gave it.
    pub label: Option<i64>,
    /// What to call it in messages: a file's name or an index.
    pub name: String,
}

/// Where samples come from.
#[derive(Debug)]
enum Source {
    /// Files of one folder, each an image.
    Images { folder: PathBuf, files: Vec<String> },
    /// One array of pictures, first axis the samples.
    Pictures(Tensor),
    /// One array per input, first axis the samples.
    Arrays(Vec<Tensor>),
}

/// Samples for one model.
#[derive(Debug)]
pub struct Dataset {
    source: Source,
    labels: Option<Vec<i64>>,
    inputs: Vec<InputSpec>,
    preprocess: Preprocess,
    len: usize,
}

impl Dataset {
    /// Opens `path` for a model with `inputs`.
    ///
    /// `path` is a folder of images (PNG, JPEG) with or without a `labels.csv` (`file,label`); a folder of `.npy`
    /// files named after the inputs; an `.npz` with `images` (and `labels`); an `.npz` with one array per input
    /// (and `labels`); or one `.npy` for a model with a single input. Arrays that carry one sample per index of
    /// their first axis are cut along it, into pieces of the batch that the input asks for.
    ///
    /// # Errors
    /// [`CalibrateErrorKind::Read`] or [`CalibrateErrorKind::Format`] for files that cannot be read;
    /// [`CalibrateErrorKind::Dataset`] when there is no sample or they do not fit the inputs.
    pub fn open(path: &Path, inputs: &[InputSpec], preprocess: Preprocess) -> Result<Self> {
        let metadata = std::fs::metadata(path).map_err(|error| read_error(path, &error))?;
        let (source, labels) = if metadata.is_dir() {
            open_folder(path, inputs)?
        } else {
            match extension(path).as_deref() {
                Some("npz") => open_npz(path, inputs)?,
                Some("npy") => {
                    if inputs.len() != 1 {
                        return Err(mismatch(format!(
                            "expected one array for each of {} inputs, found a single .npy",
                            inputs.len()
                        ))
                        .in_file(path)
                        .help("give an .npz or a folder with one array per input, named after it"));
                    }
                    (Source::Arrays(vec![npy::read_npy(path)?]), None)
                }
                _ => {
                    return Err(CalibrateError::new(
                        CalibrateErrorKind::Format,
                        "expected a folder, an .npz or an .npy",
                    )
                    .in_file(path)
                    .help(
                        "give a folder of images, an .npz with `images`, or arrays named after the inputs",
                    ));
                }
            }
        };
        let len = match &source {
            Source::Images { files, .. } => files.len(),
            Source::Pictures(pictures) => pictures.extents().first().copied().unwrap_or(0),
            Source::Arrays(arrays) => count_samples(arrays, inputs).map_err(|error| error.in_file(path))?,
        };
        if len == 0 {
            return Err(mismatch("expected at least one sample, found none".to_owned())
                .in_file(path)
                .help("put images (.png, .jpg) or arrays there, or give another --data"));
        }
        if let Some(labels) = &labels
            && labels.len() != len
        {
            return Err(mismatch(format!("expected {len} labels, found {}", labels.len())).in_file(path));
        }
        if matches!(source, Source::Images { .. } | Source::Pictures(_)) {
            preprocess.check(inputs).map_err(|error| error.in_file(path))?;
        }
        Ok(Self { source, labels, inputs: inputs.to_vec(), preprocess, len })
    }

    /// The number of samples.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there is no sample; never true of an opened dataset.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether every sample has a label.
    pub fn has_labels(&self) -> bool {
        self.labels.is_some()
    }

    /// Whether samples are pictures, so that the doctor's looks at pictures make sense.
    pub fn is_pictures(&self) -> bool {
        !matches!(self.source, Source::Arrays(_))
    }

    /// SHA-256 of the first `limit` samples as the model gets them and of their labels, as hexadecimal digits: what was
    /// measured on them holds for the same hash alone.
    ///
    /// # Errors
    /// As [`Dataset::sample`].
    pub fn content_hash(&self, limit: usize) -> Result<String> {
        let mut digest = Sha256::new();
        for index in 0..self.len().min(limit) {
            let sample = self.sample(index)?;
            for tensor in &sample.inputs {
                digest.update(format!("{}{:?}", tensor.dtype(), tensor.extents()));
                digest.update(tensor.bytes());
            }
            digest.update(format!("{:?}", sample.label));
        }
        Ok(digest.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// Reads sample `index`.
    ///
    /// # Errors
    /// [`CalibrateErrorKind::Read`] or [`CalibrateErrorKind::Format`] naming the file that cannot be used.
    pub fn sample(&self, index: usize) -> Result<Sample> {
        let label = self.labels.as_ref().and_then(|labels| labels.get(index)).copied();
        match &self.source {
            Source::Images { folder, files } => {
                let name = files.get(index).cloned().unwrap_or_default();
                let picture = images::decode(&folder.join(&name))?;
                let input = self.preprocess.apply(&picture, &self.inputs[0]).map_err(|e| e.at(&name))?;
                Ok(Sample { inputs: vec![input], label, name })
            }
            Source::Pictures(pictures) => {
                let name = format!("image {index}");
                let picture = images::from_array(pictures, index)?;
                let input = self.preprocess.apply(&picture, &self.inputs[0]).map_err(|e| e.at(&name))?;
                Ok(Sample { inputs: vec![input], label, name })
            }
            Source::Arrays(arrays) => {
                let inputs = arrays
                    .iter()
                    .zip(&self.inputs)
                    .map(|(array, spec)| cut(array, spec, index))
                    .collect::<Result<_>>()?;
                Ok(Sample { inputs, label, name: format!("sample {index}") })
            }
        }
    }
}

fn read_error(path: &Path, error: &std::io::Error) -> CalibrateError {
    CalibrateError::new(CalibrateErrorKind::Read, format!("cannot be read: {error}"))
        .in_file(path)
        .help("give a folder of images, an .npz, or .npy files named after the inputs")
}

fn mismatch(message: String) -> CalibrateError {
    CalibrateError::new(CalibrateErrorKind::Dataset, message)
}

fn extension(path: &Path) -> Option<String> {
    Some(path.extension()?.to_str()?.to_ascii_lowercase())
}

fn open_folder(path: &Path, inputs: &[InputSpec]) -> Result<(Source, Option<Vec<i64>>)> {
    let arrays: Option<Vec<PathBuf>> = inputs
        .iter()
        .map(|input| {
            Some(path.join(format!("{}.npy", plain_name(&input.name)?))).filter(|file| file.is_file())
        })
        .collect();
    if let Some(files) = arrays.filter(|files| !files.is_empty()) {
        let arrays = files.iter().map(|file| npy::read_npy(file)).collect::<Result<_>>()?;
        return Ok((Source::Arrays(arrays), None));
    }
    let (files, labels) = images::list(path)?;
    Ok((Source::Images { folder: path.to_owned(), files }, labels))
}

/// A value name that is safe as a file name, so that a hostile model cannot make us read elsewhere.
fn plain_name(name: &str) -> Option<&str> {
    let plain = !name.is_empty() && name != ".." && !name.contains(['/', '\\', ':', '\0']);
    plain.then_some(name)
}

fn open_npz(path: &Path, inputs: &[InputSpec]) -> Result<(Source, Option<Vec<i64>>)> {
    let mut archive = npy::Archive::open(path)?;
    let labels = archive.read("labels")?.map(|labels| labels.to_i64_vec());
    let named: Option<Vec<Tensor>> = inputs
        .iter()
        .map(|input| archive.read(&input.name).transpose())
        .collect::<Option<Result<_>>>()
        .transpose()?;
    if let Some(arrays) = named {
        return Ok((Source::Arrays(arrays), labels));
    }
    if let Some(pictures) = archive.read("images")? {
        return Ok((Source::Pictures(pictures), labels));
    }
    let wanted: Vec<&str> = inputs.iter().map(|input| input.name.as_str()).collect();
    Err(mismatch(format!(
        "expected an array `images` or arrays named {}, found {}",
        wanted.join(", "),
        archive.names().join(", ")
    ))
    .in_file(path)
    .help("name the arrays after the model's inputs (see `fewbit inspect`)"))
}

/// Whether `array` is one sample of `spec` (`None`), or holds several: how many samples along the first axis.
fn samples_in(array: &Tensor, spec: &InputSpec) -> Result<usize> {
    let (found, want) = (array.extents(), spec.extents.as_slice());
    let batch = want.first().copied().unwrap_or(1).max(1);
    if found.len() == want.len() && found.iter().skip(1).eq(want.iter().skip(1)) {
        let rows = found.first().copied().unwrap_or(1);
        if rows % batch != 0 {
            return Err(mismatch(format!(
                "expected a multiple of the batch {batch} for input `{}`, found {rows}",
                spec.name
            )));
        }
        return Ok(rows / batch);
    }
    if found.len() == want.len() + 1 && found[1..] == *want {
        return Ok(found[0]);
    }
    Err(mismatch(format!(
        "expected an array of extents {want:?} (or more along the first axis) for input `{}`, found {found:?}",
        spec.name
    )))
}

fn count_samples(arrays: &[Tensor], inputs: &[InputSpec]) -> Result<usize> {
    let mut len = None;
    for (array, spec) in arrays.iter().zip(inputs) {
        let count = samples_in(array, spec)?;
        if *len.get_or_insert(count) != count {
            return Err(mismatch(format!(
                "expected as many samples for every input, found {count} for `{}`",
                spec.name
            )));
        }
    }
    Ok(len.unwrap_or(0))
}

/// Sample `index` of an array, converted to the input's element type.
fn cut(array: &Tensor, spec: &InputSpec, index: usize) -> Result<Tensor> {
    let elements: usize = spec.extents.iter().product();
    let bytes = array.dtype().byte_len(elements).unwrap_or(usize::MAX);
    let piece = array
        .bytes()
        .get(index.saturating_mul(bytes)..index.saturating_add(1).saturating_mul(bytes))
        .ok_or_else(|| mismatch(format!("expected sample {index} of input `{}`, found fewer", spec.name)))?;
    let piece = Tensor::from_bytes(array.dtype(), &spec.extents, piece)?;
    if piece.dtype() == spec.dtype {
        return Ok(piece);
    }
    Ok(Tensor::from_f64(spec.dtype, &spec.extents, &piece.to_f64_vec())?)
}

#[cfg(test)]
mod tests;
