//! External data: tensors whose bytes lie in another file of the model's folder, or are read from the model's own.

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use fewbit_core::ir::{DType, Tensor};

use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::proto::TensorProto;

/// What stands in place of a location where the elements lie in the model's own file. ONNX has no such key; a file that
/// brings it along reads no more than itself.
pub(crate) const OWN: &str = "fewbit.own";

/// Where external data may come from; nowhere for models that came as bytes.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    /// The model's folder.
    pub(crate) path: Option<PathBuf>,
    /// The model's own file, where tensors lie that [`slim`](crate::slim) left there.
    pub(crate) own: Option<File>,
}

impl Folder {
    /// A tensor stored outside, as its `location`, `offset` and `length` say.
    pub(crate) fn read(&self, proto: &TensorProto, dtype: DType, extents: &[usize]) -> Result<Tensor> {
        let fail = |message: String| OnnxError::new(OnnxErrorKind::External, message);
        let field = |key: &str| {
            proto.external_data.iter().find(|entry| entry.key() == key).map(|entry| entry.value().to_owned())
        };
        let number = |key: &str| -> Result<Option<u64>> {
            field(key)
                .map(|text| {
                    text.parse()
                        .map_err(|_| fail(format!("expected a whole number as {key}, found `{text}`")))
                })
                .transpose()
        };
        let (mut file, location) = if let (Some(own), Some(_)) = (&self.own, field(OWN)) {
            let again =
                own.try_clone().map_err(|error| fail(format!("cannot read the model again: {error}")))?;
            (again, "the model".to_owned())
        } else {
            let location =
                field("location").ok_or_else(|| fail("expected a location, found none".to_owned()))?;
            (self.open(&location)?, location)
        };
        let size = file.metadata().map_err(|error| fail(format!("cannot read `{location}`: {error}")))?.len();
        let offset = number("offset")?.unwrap_or(0);
        let rest = size.checked_sub(offset).ok_or_else(|| {
            fail(format!("expected an offset within the {size} bytes of `{location}`, found {offset}"))
        })?;
        let length = number("length")?.unwrap_or(rest);
        if length > rest {
            return Err(fail(format!(
                "expected at most {rest} bytes behind offset {offset} of `{location}`, found {length}"
            )));
        }
        file.seek(SeekFrom::Start(offset))
            .map_err(|error| fail(format!("cannot read `{location}`: {error}")))?;
        Tensor::from_reader(dtype, extents, length, &mut file)
            .map_err(|error| OnnxError::core(OnnxErrorKind::External, error))
    }

    /// Opens a file of the folder.
    fn open(&self, location: &str) -> Result<File> {
        let fail = |message: String| OnnxError::new(OnnxErrorKind::External, message);
        let folder = self.path.as_ref().ok_or_else(|| {
            fail(format!("the tensor lies in `{location}`, but the model came without a folder"))
                .with_help("open the model by its path")
        })?;
        let path = inside(folder, location)?;
        File::open(&path).map_err(|error| {
            fail(format!("cannot open `{location}`: {error}"))
                .with_help("keep the data file beside the model")
        })
    }
}

/// `location` inside `folder`; refused when it leads outside, by its parts or by a link.
fn inside(folder: &Path, location: &str) -> Result<PathBuf> {
    let refuse = || {
        OnnxError::new(
            OnnxErrorKind::External,
            format!("expected a file inside the model's folder, found `{location}`"),
        )
        .with_help("move the data beside the model and save it again")
    };
    let relative = Path::new(location);
    if location.is_empty()
        || !relative.components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir))
    {
        return Err(refuse());
    }
    let path = folder.join(relative);
    if let (Ok(real), Ok(folder)) = (path.canonicalize(), folder.canonicalize())
        && !real.starts_with(folder)
    {
        return Err(refuse());
    }
    Ok(path)
}
