//! Resize and Upsample, of every operator set.

use fewbit_core::ir::{
    CoordinateMode, DType, IndexOp, NearestMode, Op, ResampleAttributes, ResizeAttributes, ResizeMode,
    ScatterReduction, Tensor, ValueId,
};

use super::Site;
use crate::error::{OnnxError, OnnxErrorKind, Result};

/// What to do where sizes ask for another aspect ratio than the input's.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Policy {
    /// Each axis is scaled on its own.
    Stretch,
    /// All by the smallest of their scales.
    NotLarger,
    /// All by the largest of their scales.
    NotSmaller,
}

impl Site<'_, '_> {
    pub(super) fn resize(&mut self, upsample: bool) -> Result<Op> {
        let a = self.attributes;
        let mode = match a.text("mode", "nearest") {
            "bilinear" => ResizeMode::Linear,
            name => ResizeMode::named(name)
                .ok_or_else(|| a.fail(format!("expects a known mode, found `{name}`")))?,
        };
        // Sets before 11 know scales only, and the coordinates of their time.
        let old = upsample || self.importer.opset < 11;
        if old {
            self.old_scales()?;
        }
        // An empty tensor means the same as an absent input.
        for index in 1..self.inputs.len() {
            if self.constant(index).is_some_and(|tensor| tensor.elements() == 0) {
                self.inputs[index] = None;
            }
        }
        let (coordinates, crops) = match a.text("coordinate_transformation_mode", "half_pixel") {
            _ if old => (CoordinateMode::Asymmetric, false),
            "tf_crop_and_resize" => (CoordinateMode::AlignCorners, true),
            name => match CoordinateMode::named(name) {
                Some(mode) => (mode, false),
                None => {
                    return Err(a.lacks(format!(
                        "coordinate_transformation_mode {name}; {} and tf_crop_and_resize are supported",
                        CoordinateMode::NAMES.join(", ")
                    )));
                }
            },
        };
        let nearest = match a.text("nearest_mode", "round_prefer_floor") {
            _ if old => NearestMode::Floor,
            name => NearestMode::named(name).ok_or_else(|| {
                let known = NearestMode::NAMES.join(", ");
                a.lacks(format!("nearest_mode {name}; {known} are supported"))
            })?,
        };
        let resize = ResizeAttributes {
            mode,
            coordinates,
            nearest,
            cubic: a.float("cubic_coeff_a", -0.75),
            exclude_outside: a.flag("exclude_outside", false),
        };
        let policy = match a.text("keep_aspect_ratio_policy", "stretch") {
            "stretch" => Policy::Stretch,
            "not_larger" => Policy::NotLarger,
            "not_smaller" => Policy::NotSmaller,
            other => return Err(a.fail(format!("expects a known policy, found `{other}`"))),
        };
        // The policy is about sizes; it means nothing beside scales.
        let keeps_aspect = policy != Policy::Stretch && self.input(3).is_some();
        if keeps_aspect {
            self.keep_aspect(policy)?;
        }
        if a.has("axes") && !keeps_aspect {
            self.every_axis(2)?;
            self.every_axis(3)?;
        }
        if a.has("axes") && crops {
            self.every_axis(1)?;
        }
        if !crops && let Some(roi) = self.inputs.get_mut(1) {
            *roi = None;
        }
        let antialias = a.flag("antialias", false) && mode != ResizeMode::Nearest;
        if !antialias && !crops && !keeps_aspect {
            return Ok(Op::Resize(resize));
        }
        let crop = crops.then(|| a.float("extrapolation_value", 0.0));
        Ok(Op::Index(IndexOp::Resample(ResampleAttributes { resize, antialias, crop })))
    }

    /// Puts the scales of older sets where newer ones have them.
    fn old_scales(&mut self) -> Result<()> {
        if let Some(scales) = self.attributes.floats("scales") {
            let values: Vec<f64> = scales.iter().map(|&scale| f64::from(scale)).collect();
            let scales = self.number(DType::F32, &[values.len()], &values)?;
            self.inputs.truncate(1);
            self.inputs.push(Some(scales));
        }
        self.inputs.insert(1.min(self.inputs.len()), None);
        Ok(())
    }

    /// The axes that sizes, scales and regions speak of.
    fn resized_axes(&self, rank: usize) -> Result<Vec<usize>> {
        match self.attributes.ints("axes") {
            None => Ok((0..rank).collect()),
            // In the order in which they are given.
            Some(axes) => {
                self.axes(axes, rank)?;
                axes.iter().map(|&axis| self.axis(axis)).collect()
            }
        }
    }

    /// Lets the region, scales or sizes at input `index` speak of every axis instead of those listed.
    fn every_axis(&mut self, index: usize) -> Result<()> {
        let (Some(given), x) = (self.input(index), self.x()?) else { return Ok(()) };
        let rank = self.importer.rank(Some(x))?;
        let axes: Vec<f64> = self.resized_axes(rank)?.into_iter().map(|axis| axis as f64).collect();
        let whole: ValueId = match index {
            1 => {
                let ends = (0..2 * rank).map(|at| f64::from(u8::from(at >= rank)));
                let dtype = self.importer.graph.value(given).dtype.unwrap_or(DType::F32);
                self.number(dtype, &[2 * rank], &ends.collect::<Vec<_>>())?
            }
            2 => self.number(DType::F32, &[rank], &vec![1.0; rank])?,
            _ => self.then(Op::Shape { start: 0, end: None }, &[x]),
        };
        let mut places = axes.clone();
        if index == 1 {
            places.extend(axes.iter().map(|axis| axis + rank as f64));
        }
        let places = self.number(DType::I64, &[places.len()], &places)?;
        let scatter = IndexOp::ScatterElements { axis: 0, reduction: ScatterReduction::None };
        let all = self.then(Op::Index(scatter), &[whole, places, given]);
        self.inputs[index] = Some(all);
        Ok(())
    }

    /// Makes scales and sizes of sizes whose aspect ratio is not to be kept.
    fn keep_aspect(&mut self, policy: Policy) -> Result<()> {
        let x = self.x()?;
        let (Some(extents), Some(sizes)) =
            (self.importer.graph.value(x).extents(), self.constant(3).map(Tensor::to_i64_vec))
        else {
            let rank = self.importer.rank(Some(x))?;
            let axes = self.resized_axes(rank)?;
            self.inputs.resize(4, None);
            return self.keep_aspect_computed(&axes, rank, policy == Policy::NotSmaller);
        };
        let axes = self.resized_axes(extents.len())?;
        if axes.len() != sizes.len() {
            return Err(self
                .attributes
                .fail(format!("expects one size per axis of {axes:?}, found {sizes:?}")));
        }
        let ratios = axes.iter().zip(&sizes).map(|(&axis, &size)| size as f32 / extents[axis] as f32);
        let scale = match policy {
            Policy::NotLarger => ratios.fold(f32::INFINITY, f32::min),
            _ => ratios.fold(0.0, f32::max),
        };
        let mut scales = vec![1.0; extents.len()];
        let mut sizes: Vec<i64> = extents.iter().map(|&extent| extent as i64).collect();
        for axis in axes {
            scales[axis] = f64::from(scale);
            sizes[axis] = (scale * extents[axis] as f32).round() as i64;
        }
        let scales = self.number(DType::F32, &[scales.len()], &scales)?;
        let sizes = Tensor::from_slice(&[sizes.len()], &sizes)
            .map_err(|error| OnnxError::core(OnnxErrorKind::Attribute, error))?;
        let sizes = self.importer.new_constant(&format!("{}/sizes", self.attributes.name()), sizes);
        self.inputs.resize(4, None);
        (self.inputs[2], self.inputs[3]) = (Some(scales), Some(sizes));
        Ok(())
    }
}
