//! Folders of images: listing, labels and decoding.

use std::io::Read;
use std::path::Path;

use fewbit_core::ir::{DType, Tensor};
use image::{DynamicImage, GrayImage, RgbImage};
use jpeg_decoder::PixelFormat;

use super::{extension, mismatch, read_error};
use crate::error::{CalibrateError, CalibrateErrorKind, Result};

/// The largest picture that is decoded, in pixels along one side.
const MAX_SIDE: u32 = 16_384;
/// The memory that a decoder may take.
const MAX_BYTES: u64 = 512 << 20;

/// The images of a folder in the order of `labels.csv`, or by name without one.
pub(super) fn list(folder: &Path) -> Result<(Vec<String>, Option<Vec<i64>>)> {
    let table = folder.join("labels.csv");
    if table.is_file() {
        let text = std::fs::read_to_string(&table).map_err(|error| read_error(&table, &error))?;
        return parse_labels(&text)
            .map(|(files, labels)| (files, Some(labels)))
            .map_err(|error| error.in_file(&table));
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(|error| read_error(folder, &error))? {
        let entry = entry.map_err(|error| read_error(folder, &error))?;
        let path = entry.path();
        if matches!(extension(&path).as_deref(), Some("png" | "jpg" | "jpeg"))
            && let Ok(name) = entry.file_name().into_string()
        {
            files.push(name);
        }
    }
    files.sort_unstable();
    Ok((files, None))
}

/// Reads `file,label` lines; the header is optional.
fn parse_labels(text: &str) -> Result<(Vec<String>, Vec<i64>)> {
    let mut files = Vec::new();
    let mut labels = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || (number == 0 && line.eq_ignore_ascii_case("file,label")) {
            continue;
        }
        let fail = |found: &str| {
            CalibrateError::new(
                CalibrateErrorKind::Format,
                format!("line {}: expected `file,label` with a whole number, found `{found}`", number + 1),
            )
        };
        let (file, label) = line.rsplit_once(',').ok_or_else(|| fail(line))?;
        let (file, label) = (file.trim(), label.trim());
        let inside = !file.is_empty()
            && Path::new(file).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if !inside {
            return Err(CalibrateError::new(
                CalibrateErrorKind::Format,
                format!("line {}: expected a file inside the folder, found `{file}`", number + 1),
            ));
        }
        labels.push(label.parse().map_err(|_| fail(line))?);
        files.push(file.to_owned());
    }
    Ok((files, labels))
}

/// Decodes an image file under limits on its size.
pub(super) fn decode(path: &Path) -> Result<DynamicImage> {
    let open = || {
        image::ImageReader::open(path)
            .and_then(image::ImageReader::with_guessed_format)
            .map_err(|error| read_error(path, &error))
    };
    let mut reader = open()?;
    let unfit = |error: String| {
        CalibrateError::new(CalibrateErrorKind::Format, format!("expected a PNG or JPEG image: {error}"))
            .in_file(path)
            .help("remove or replace the file")
    };
    if reader.format() == Some(image::ImageFormat::Jpeg) {
        let picture = decode_jpeg(reader.into_inner()).map_err(|error| unfit(error.to_string()))?;
        if let Some(picture) = picture {
            return Ok(picture);
        }
        reader = open()?;
    }
    let mut limits = image::Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_BYTES);
    reader.limits(limits);
    reader.decode().map_err(|error| unfit(error.to_string()))
}

/// Decodes a JPEG of one or three channels of 8 bits; `None` for the rarer kinds.
///
/// People compare accuracies with pipelines that decode with libjpeg, and decoders round differently. This one lies
/// nearer to libjpeg-turbo than `image`'s own does: 0.10 against 0.23 codes apart on average over photographs of
/// 256×256, which is the difference between one and two of 380 predictions of EfficientNet-Lite0 that differ.
fn decode_jpeg(reader: impl Read) -> std::result::Result<Option<DynamicImage>, jpeg_decoder::Error> {
    let mut decoder = jpeg_decoder::Decoder::new(reader);
    decoder.set_max_decoding_buffer_size(MAX_BYTES as usize);
    decoder.read_info()?;
    let Some(info) = decoder.info() else { return Ok(None) };
    if u32::from(info.width.max(info.height)) > MAX_SIDE {
        return Ok(None);
    }
    let (width, height) = (u32::from(info.width), u32::from(info.height));
    Ok(match info.pixel_format {
        PixelFormat::L8 => {
            GrayImage::from_raw(width, height, decoder.decode()?).map(DynamicImage::ImageLuma8)
        }
        PixelFormat::RGB24 => {
            RgbImage::from_raw(width, height, decoder.decode()?).map(DynamicImage::ImageRgb8)
        }
        PixelFormat::L16 | PixelFormat::CMYK32 => None,
    })
}

/// Picture `index` of an array `[N, H, W]`, `[N, H, W, 1]` or `[N, H, W, 3]` of bytes.
pub(super) fn from_array(pictures: &Tensor, index: usize) -> Result<DynamicImage> {
    let unfit = || {
        mismatch(format!(
            "expected `images` as u8 [N, H, W, 1 or 3], found {}{:?}",
            pictures.dtype(),
            pictures.extents()
        ))
    };
    let (height, width, channels) = match *pictures.extents() {
        [_, h, w] => (h, w, 1),
        [_, h, w, c @ (1 | 3)] => (h, w, c),
        _ => return Err(unfit()),
    };
    if pictures.dtype() != DType::U8 {
        return Err(unfit());
    }
    let size = height.checked_mul(width).and_then(|area| area.checked_mul(channels)).ok_or_else(unfit)?;
    let bytes = pictures
        .bytes()
        .get(index.saturating_mul(size)..index.saturating_add(1).saturating_mul(size))
        .ok_or_else(unfit)?
        .to_vec();
    let (width, height) =
        (u32::try_from(width).map_err(|_| unfit())?, u32::try_from(height).map_err(|_| unfit())?);
    let picture = if channels == 1 {
        GrayImage::from_raw(width, height, bytes).map(DynamicImage::ImageLuma8)
    } else {
        RgbImage::from_raw(width, height, bytes).map(DynamicImage::ImageRgb8)
    };
    picture.ok_or_else(unfit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_keep_their_order_and_may_lack_a_header() {
        let (files, labels) = parse_labels("file,label\nb.png,3\na.png,-1\n").unwrap();
        assert_eq!(files, ["b.png", "a.png"]);
        assert_eq!(labels, [3, -1]);
        assert_eq!(parse_labels("a,b.png,7").unwrap().0, ["a,b.png"]);
    }

    #[test]
    fn labels_cannot_name_files_outside_the_folder() {
        for bad in ["../a.png,1", "/etc/passwd,1", "x/../../a,1", ",1", "a.png", "a.png,x"] {
            assert!(parse_labels(bad).is_err(), "{bad}");
        }
    }
}
