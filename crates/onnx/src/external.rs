//! External data: tensors whose bytes lie in another file of the model's folder.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

use crate::error::{OnnxError, OnnxErrorKind, Result};
use crate::proto::TensorProto;

/// The folder that external data may come from; `None` for models that came as bytes.
#[derive(Debug, Clone, Default)]
pub(crate) struct Folder(pub(crate) Option<PathBuf>);

impl Folder {
    /// The bytes of a tensor stored outside, as its `location`, `offset` and `length` say.
    pub(crate) fn read(&self, proto: &TensorProto) -> Result<Vec<u8>> {
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
        let location = field("location").ok_or_else(|| fail("expected a location, found none".to_owned()))?;
        let folder = self.0.as_ref().ok_or_else(|| {
            fail(format!("the tensor lies in `{location}`, but the model came without a folder"))
                .with_help("open the model by its path")
        })?;
        let path = inside(folder, &location)?;
        let mut file = File::open(&path).map_err(|error| {
            fail(format!("cannot open `{location}`: {error}"))
                .with_help("keep the data file beside the model")
        })?;
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
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.take(length).read_to_end(&mut bytes))
            .map_err(|error| fail(format!("cannot read `{location}`: {error}")))?;
        if bytes.len() as u64 != length {
            return Err(fail(format!("expected {length} bytes in `{location}`, found {}", bytes.len())));
        }
        Ok(bytes)
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
