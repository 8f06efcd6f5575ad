//! Preprocessing: from a picture of any size to the model's input.

use std::fmt;
use std::str::FromStr;

use fewbit_core::ir::Tensor;
use image::DynamicImage;
use image::imageops::FilterType;
use serde::{Deserialize, Serialize};

use super::InputSpec;
use crate::error::{CalibrateError, CalibrateErrorKind, Result};

/// Order of the axes of the model's input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Layout {
    /// Batch, channels, height, width.
    Nchw,
    /// Batch, height, width, channels.
    Nhwc,
}

/// Which channels the model's input has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Channels {
    /// Red, green, blue.
    Rgb,
    /// Blue, green, red.
    Bgr,
    /// Luma only.
    Gray,
}

/// What happens to a picture before the model sees it: `(pixel - mean) / std` after resizing and cropping.
///
/// As text: `resize=256,crop=224,mean=127.5,std=127.5,layout=nchw`; per-channel means and deviations are joined by
/// `:` (`mean=123.675:116.28:103.53`). `resize` sets the shorter side, keeping the aspect (`resize=224x224` sets both);
/// the filter is a triangle over the source, as Pillow's bilinear with antialiasing. What is left out follows from
/// the model's input.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Extent of the shorter side after resizing; `None` keeps the size unless the input asks for another.
    pub resize: Option<u32>,
    /// Height and width after resizing, whatever the aspect.
    pub resize_exact: Option<(u32, u32)>,
    /// Height and width of the centre that is kept.
    pub crop: Option<(u32, u32)>,
    /// Subtracted from each pixel: one value or one per channel, empty for 0.
    pub mean: Vec<f32>,
    /// What the difference is divided by: one value or one per channel, empty for 1.
    pub std: Vec<f32>,
    /// Order of axes; `None` takes the one in which the channel axis of the input has 1 or 3.
    pub layout: Option<Layout>,
    /// Channels; `None` takes RGB or luma by the input's extent.
    pub channels: Option<Channels>,
}

/// What [`Preprocess`] means for one input.
struct Resolved {
    layout: Layout,
    channels: Channels,
    height: usize,
    width: usize,
}

impl Preprocess {
    /// Checks the description against the model's inputs.
    ///
    /// # Errors
    /// [`CalibrateErrorKind::Preprocess`] when the model does not take one picture of 1 or 3 channels.
    pub fn check(&self, inputs: &[InputSpec]) -> Result<()> {
        let [input] = inputs else {
            return Err(unfit(format!(
                "expected a model with one input for pictures, found {}",
                inputs.len()
            ))
            .help("give an .npz or a folder of .npy files named after the inputs"));
        };
        self.resolve(input).map(|_| ())
    }

    fn resolve(&self, input: &InputSpec) -> Result<Resolved> {
        let refuse = || {
            unfit(format!(
                "expected an input of one picture with 1 or 3 channels, found `{}` {:?}",
                input.name, input.extents
            ))
            .help("give layout=nchw or layout=nhwc, or data as .npy arrays named after the inputs")
        };
        let [1, a, b, c] = *input.extents else { return Err(refuse()) };
        let layout = match self.layout {
            Some(layout) => layout,
            None if matches!(a, 1 | 3) => Layout::Nchw,
            None if matches!(c, 1 | 3) => Layout::Nhwc,
            None => return Err(refuse()),
        };
        let (height, width, count) = match layout {
            Layout::Nchw => (b, c, a),
            Layout::Nhwc => (a, b, c),
        };
        let channels = match (self.channels, count) {
            (None, 3) => Channels::Rgb,
            (Some(channels @ (Channels::Rgb | Channels::Bgr)), 3) => channels,
            (None | Some(Channels::Gray), 1) => Channels::Gray,
            _ => return Err(refuse()),
        };
        for (name, values) in [("mean", &self.mean), ("std", &self.std)] {
            if values.len() > 1 && values.len() != count {
                return Err(unfit(format!("expected 1 or {count} values in {name}, found {}", values.len())));
            }
        }
        if let Some((h, w)) = self.crop
            && (h as usize, w as usize) != (height, width)
        {
            return Err(unfit(format!(
                "expected a crop of {height}x{width} as input `{}` has, found {h}x{w}",
                input.name
            ))
            .help(format!("give crop={height}x{width}, or --shape {}=1,…", input.name)));
        }
        Ok(Resolved { layout, channels, height, width })
    }

    /// The model's input made of a picture.
    ///
    /// # Errors
    /// [`CalibrateErrorKind::Preprocess`] when the picture's size after resizing is not the input's.
    pub fn apply(&self, picture: &DynamicImage, input: &InputSpec) -> Result<Tensor> {
        let Resolved { layout, channels, height, width } = self.resolve(input)?;
        let mut pixels = match channels {
            Channels::Gray => DynamicImage::ImageLuma8(picture.to_luma8()),
            Channels::Rgb | Channels::Bgr => DynamicImage::ImageRgb8(picture.to_rgb8()),
        };
        if let Some((h, w)) = self.resize_exact {
            pixels = pixels.resize_exact(w, h, FilterType::Triangle);
        } else if let Some(side) = self.resize {
            let (w, h) = (pixels.width().max(1), pixels.height().max(1));
            let scaled =
                |long: u32, short: u32| (u64::from(long) * u64::from(side) / u64::from(short)) as u32;
            let (w, h) = if w <= h { (side, scaled(h, w)) } else { (scaled(w, h), side) };
            pixels = pixels.resize_exact(w, h, FilterType::Triangle);
        }
        if self.crop.is_some() {
            let (w, h) = (width as u32, height as u32);
            if pixels.width() < w || pixels.height() < h {
                return Err(unfit(format!(
                    "expected a picture of at least {w}x{h} to crop, found {}x{}",
                    pixels.width(),
                    pixels.height()
                ))
                .help("give resize= with at least the crop's extent"));
            }
            let (left, top) = ((pixels.width() - w) / 2, (pixels.height() - h) / 2);
            pixels = pixels.crop_imm(left, top, w, h);
        }
        if (pixels.height() as usize, pixels.width() as usize) != (height, width) {
            return Err(unfit(format!(
                "expected a picture of {width}x{height}, found {}x{}",
                pixels.width(),
                pixels.height()
            ))
            .help("give --preprocess resize=… and crop=…"));
        }
        let count = if channels == Channels::Gray { 1 } else { 3 };
        let pick = |values: &[f32], channel: usize, default: f32| match values {
            [] => default,
            [value] => *value,
            values => values[channel],
        };
        let bytes = pixels.as_bytes();
        let mut data = vec![0f32; height * width * count];
        for channel in 0..count {
            let from = if channels == Channels::Bgr { 2 - channel } else { channel };
            let (mean, std) = (pick(&self.mean, channel, 0.0), pick(&self.std, channel, 1.0));
            for at in 0..height * width {
                let target = match layout {
                    Layout::Nchw => channel * height * width + at,
                    Layout::Nhwc => at * count + channel,
                };
                data[target] = (f32::from(bytes[at * count + from]) - mean) / std;
            }
        }
        let tensor = Tensor::from_slice(&input.extents, &data)?;
        if tensor.dtype() == input.dtype {
            return Ok(tensor);
        }
        Ok(Tensor::from_f64(input.dtype, &input.extents, &tensor.to_f64_vec())?)
    }
}

fn unfit(message: String) -> CalibrateError {
    CalibrateError::new(CalibrateErrorKind::Preprocess, message)
}

impl FromStr for Preprocess {
    type Err = CalibrateError;

    fn from_str(text: &str) -> Result<Self> {
        let mut this = Preprocess::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let fail = || {
                unfit(format!("expected KEY=VALUE with a known key, found `{part}`")).help(
                    "keys are resize, crop, mean, std, layout (nchw, nhwc) and channels (rgb, bgr, gray); \
                     for example resize=256,crop=224,mean=127.5,std=127.5",
                )
            };
            let (key, value) = part.split_once('=').ok_or_else(fail)?;
            match key.trim() {
                "resize" if value.contains('x') => this.resize_exact = Some(size(value).ok_or_else(fail)?),
                "resize" => this.resize = Some(side(value).ok_or_else(fail)?),
                "crop" => this.crop = Some(size(value).ok_or_else(fail)?),
                "mean" => this.mean = numbers(value).ok_or_else(fail)?,
                "std" => {
                    this.std =
                        numbers(value).filter(|list| list.iter().all(|x| *x != 0.0)).ok_or_else(fail)?;
                }
                "layout" => {
                    this.layout = Some(match value.trim() {
                        "nchw" => Layout::Nchw,
                        "nhwc" => Layout::Nhwc,
                        _ => return Err(fail()),
                    });
                }
                "channels" => {
                    this.channels = Some(match value.trim() {
                        "rgb" => Channels::Rgb,
                        "bgr" => Channels::Bgr,
                        "gray" => Channels::Gray,
                        _ => return Err(fail()),
                    });
                }
                _ => return Err(fail()),
            }
        }
        Ok(this)
    }
}

impl fmt::Display for Preprocess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let join = |values: &[f32]| values.iter().map(f32::to_string).collect::<Vec<_>>().join(":");
        let mut parts = Vec::new();
        if let Some((h, w)) = self.resize_exact {
            parts.push(format!("resize={h}x{w}"));
        } else if let Some(side) = self.resize {
            parts.push(format!("resize={side}"));
        }
        if let Some((h, w)) = self.crop {
            parts.push(if h == w { format!("crop={h}") } else { format!("crop={h}x{w}") });
        }
        if !self.mean.is_empty() {
            parts.push(format!("mean={}", join(&self.mean)));
        }
        if !self.std.is_empty() {
            parts.push(format!("std={}", join(&self.std)));
        }
        match self.layout {
            Some(Layout::Nchw) => parts.push("layout=nchw".to_owned()),
            Some(Layout::Nhwc) => parts.push("layout=nhwc".to_owned()),
            None => {}
        }
        match self.channels {
            Some(Channels::Rgb) => parts.push("channels=rgb".to_owned()),
            Some(Channels::Bgr) => parts.push("channels=bgr".to_owned()),
            Some(Channels::Gray) => parts.push("channels=gray".to_owned()),
            None => {}
        }
        f.write_str(&parts.join(","))
    }
}

fn side(text: &str) -> Option<u32> {
    text.trim().parse().ok().filter(|side| (1..=8192).contains(side))
}

/// `224` or `HxW`.
fn size(text: &str) -> Option<(u32, u32)> {
    match text.split_once('x') {
        Some((h, w)) => Some((side(h)?, side(w)?)),
        None => side(text).map(|side| (side, side)),
    }
}

fn numbers(text: &str) -> Option<Vec<f32>> {
    text.split(':').map(|part| part.trim().parse::<f32>().ok().filter(|x| x.is_finite())).collect()
}
