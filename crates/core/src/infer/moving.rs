//! Operators that move, choose or repeat elements.

use super::dims::{self, unify};
use super::site::{Inferred, Number, Operand, Site};
use crate::error::Result;
use crate::ir::{DType, Dim, PadMode, ResizeAttributes, Shape};

/// Wraps what a moving operator makes of its input's dimensions; without them nothing is known.
fn moved(
    site: &Site,
    dims: impl FnOnce(&Operand, &[Dim]) -> Result<Option<Vec<Dim>>>,
) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    let Some(input) = x.dims() else { return Ok(vec![Inferred::unranked(x.dtype)]) };
    Ok(vec![Inferred { dtype: x.dtype, shape: dims(x, input)?.map(Shape) }])
}

/// An operand that must hold integers: a list, or a scalar where one is enough.
pub(super) fn check_integers(site: &Site, operand: &Operand) -> Result<()> {
    if let Some(dtype) = operand.dtype.filter(|dtype| !dtype.is_integer()) {
        return Err(site.error(format!("expected integers in `{}`, found {dtype}", operand.name)));
    }
    if let Some(dims) = operand.dims().filter(|dims| dims.len() > 1) {
        return Err(site.error(format!(
            "expected a list in `{}`, found a tensor of shape {}",
            operand.name,
            Shape(dims.to_vec())
        )));
    }
    Ok(())
}

/// The dimensions that a list of numbers asks for.
fn target(site: &Site, numbers: &[Number]) -> Result<Vec<Dim>> {
    numbers
        .iter()
        .map(|number| match number {
            Number::Symbol(name) => Ok(Dim::Symbol(name.clone())),
            Number::Known(extent) => {
                site.dim(dims::fixed(i128::from(*extent)), &format!("an extent ({extent})"))
            }
        })
        .collect()
}

pub(super) fn reshape(site: &Site, allow_zero: bool) -> Result<Vec<Inferred>> {
    let shape = site.required(1)?;
    check_integers(site, shape)?;
    let x = site.required(0)?;
    let dims = match shape.numbers() {
        Some(numbers) => reshaped(site, x.dims(), &numbers, allow_zero)?,
        None => shape.length().map(|rank| site.unknowns(rank)).transpose()?,
    };
    Ok(vec![Inferred { dtype: x.dtype, shape: dims.map(Shape) }])
}

fn reshaped(
    site: &Site,
    input: Option<&[Dim]>,
    numbers: &[Number],
    allow_zero: bool,
) -> Result<Option<Vec<Dim>>> {
    let mut output = Vec::with_capacity(numbers.len());
    let mut inferred = None;
    for (axis, number) in numbers.iter().enumerate() {
        output.push(match number {
            Number::Symbol(name) => Dim::Symbol(name.clone()),
            Number::Known(-1) if inferred.is_some() => {
                return Err(site.error("expected at most one extent of -1, found two"));
            }
            Number::Known(-1) => {
                inferred = Some(axis);
                site.unknown(0, axis)
            }
            Number::Known(0) if !allow_zero => match input {
                Some(input) => input.get(axis).cloned().ok_or_else(|| {
                    site.error(format!("expected an input axis {axis} to keep, found none"))
                })?,
                None => site.unknown(0, axis),
            },
            Number::Known(extent) => {
                site.dim(dims::fixed(i128::from(*extent)), &format!("an extent ({extent})"))?
            }
        });
    }
    let Some(input) = input else { return Ok(Some(output)) };
    let mismatch = |output: &[Dim]| {
        site.error(format!(
            "expected a shape of as many elements as {}, found {}",
            Shape(input.to_vec()),
            Shape(output.to_vec())
        ))
    };
    // Symbols on both sides cancel; what is left decides.
    let mut left: Vec<Dim> = input.to_vec();
    let mut right: Vec<Dim> = Vec::new();
    for (axis, dim) in output.iter().enumerate() {
        if Some(axis) == inferred {
            continue;
        }
        match left.iter().position(|other| matches!(dim, Dim::Symbol(_)) && other == dim) {
            Some(at) => drop(left.swap_remove(at)),
            None => right.push(dim.clone()),
        }
    }
    let whole = site.dim(dims::product(&left), "a number of elements")?;
    let part = site.dim(dims::product(&right), "a number of elements")?;
    let Some(axis) = inferred else {
        return if let (Dim::Fixed(whole), Dim::Fixed(part)) = (&whole, &part)
            && whole != part
        {
            Err(mismatch(&output))
        } else {
            Ok(Some(output))
        };
    };
    match part {
        Dim::Fixed(0) => return Err(site.error("expected extents other than 0 beside -1, found 0")),
        Dim::Fixed(part) => {
            let factor = |dim: &Dim| dim.fixed().unwrap_or(1);
            // The product of extents, checked above not to overflow unless one of them is zero.
            let known: usize =
                if left.contains(&Dim::Fixed(0)) { 0 } else { left.iter().map(factor).product() };
            if known.is_multiple_of(part) {
                let mut rest: Vec<Dim> = left.into_iter().filter(|dim| dim.fixed().is_none()).collect();
                rest.push(Dim::Fixed(known / part));
                output[axis] = site.dim(dims::product(&rest), "an extent")?;
            } else if let Dim::Fixed(_) = whole {
                return Err(mismatch(&output));
            } else {
                output[axis] = site.dim(dims::floor_div(&whole, part), "an extent")?;
            }
        }
        Dim::Symbol(_) => {}
    }
    Ok(Some(output))
}

pub(super) fn flatten(site: &Site, axis: usize) -> Result<Vec<Inferred>> {
    moved(site, |_, input| {
        if axis > input.len() {
            return Err(site.error(format!("expected an axis of at most {}, found {axis}", input.len())));
        }
        let side = |dims: &[Dim]| site.dim(dims::product(dims), "a number of elements");
        Ok(Some(vec![side(&input[..axis])?, side(&input[axis..])?]))
    })
}

pub(super) fn transpose(site: &Site, perm: &[usize]) -> Result<Vec<Inferred>> {
    moved(site, |_, input| {
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..input.len()) {
            return Err(site.error(format!("expected a permutation of {} axes, found {perm:?}", input.len())));
        }
        Ok(Some(perm.iter().map(|&axis| input[axis].clone()).collect()))
    })
}

pub(super) fn squeeze(site: &Site, axes: &[usize]) -> Result<Vec<Inferred>> {
    moved(site, |_, input| {
        if axes.is_empty() {
            // An unknown extent may turn out as 1: the rank is unknown with it.
            let known = input.iter().all(|dim| dim.fixed().is_some());
            return Ok(known.then(|| input.iter().filter(|dim| **dim != Dim::Fixed(1)).cloned().collect()));
        }
        for &axis in axes {
            if unify(&input[site.axis(axis, input.len())?], &Dim::Fixed(1)).is_none() {
                return Err(site.error(format!("expected extent 1 at axis {axis}, found {}", input[axis])));
            }
        }
        let kept = input.iter().enumerate().filter(|(axis, _)| !axes.contains(axis));
        Ok(Some(kept.map(|(_, dim)| dim.clone()).collect()))
    })
}

pub(super) fn unsqueeze(site: &Site, axes: &[usize]) -> Result<Vec<Inferred>> {
    moved(site, |_, input| {
        let rank = input.len() + axes.len();
        let mut sorted = axes.to_vec();
        sorted.sort_unstable();
        sorted.dedup();
        if sorted.len() != axes.len() || sorted.last().is_some_and(|&axis| axis >= rank) {
            return Err(site.error(format!("expected distinct axes below {rank}, found {axes:?}")));
        }
        let mut kept = input.iter().cloned();
        let at = |axis: usize| if axes.contains(&axis) { Some(Dim::Fixed(1)) } else { kept.next() };
        Ok(Some((0..rank).filter_map(at).collect()))
    })
}

pub(super) fn concat(site: &Site, axis: usize) -> Result<Vec<Inferred>> {
    site.required(0)?;
    let any_quantized = site.inputs.iter().flatten().any(|input| input.quantized);
    let natural = site.common_dtype(0..site.inputs.len())?;
    let dtype = site.result_dtype(natural.filter(|dtype| !any_quantized || dtype.is_float()))?;
    let mut output: Option<Vec<Dim>> = None;
    let mut lengths = Vec::with_capacity(site.inputs.len());
    for index in 0..site.inputs.len() {
        let operand = site.required(index)?;
        let Some(dims) = operand.dims() else { return Ok(vec![Inferred::unranked(dtype)]) };
        lengths.push(dims[site.axis(axis, dims.len())?].clone());
        let Some(before) = &mut output else {
            output = Some(dims.to_vec());
            continue;
        };
        let mismatch = |before: &[Dim]| {
            site.error(format!(
                "expected shapes equal but for axis {axis}, found {} and {}",
                Shape(before.to_vec()),
                Shape(dims.to_vec())
            ))
        };
        if before.len() != dims.len() {
            return Err(mismatch(before));
        }
        for at in (0..dims.len()).filter(|&at| at != axis) {
            before[at] = unify(&before[at], &dims[at]).ok_or_else(|| mismatch(before))?;
        }
    }
    if let Some(output) = &mut output {
        output[axis] = site.dim(dims::sum(&lengths), "a sum of extents")?;
    }
    Ok(vec![Inferred { dtype, shape: output.map(Shape) }])
}

pub(super) fn split(site: &Site, axis: usize, sizes: &[usize]) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    let pieces = site.node.outputs.len();
    if !sizes.is_empty() && sizes.len() != pieces {
        return Err(site.error(format!("expected {pieces} sizes, one per output, found {}", sizes.len())));
    }
    let Some(input) = x.dims() else { return Ok(vec![Inferred::unranked(x.dtype); pieces]) };
    let whole = &input[site.axis(axis, input.len())?];
    let lengths: Vec<Dim> = match whole {
        Dim::Fixed(extent) => split_sizes(*extent, sizes, pieces)
            .ok_or_else(|| {
                site.error(format!(
                    "expected sizes whose sum is the extent {extent} of axis {axis}, found {sizes:?}"
                ))
            })?
            .into_iter()
            .map(Dim::Fixed)
            .collect(),
        Dim::Symbol(_) if !sizes.is_empty() => sizes.iter().map(|&size| Dim::Fixed(size)).collect(),
        Dim::Symbol(_) => (0..pieces).map(|piece| site.unknown(piece, axis)).collect(),
    };
    let piece = |length: Dim| {
        let mut dims = input.to_vec();
        dims[axis] = length;
        Inferred::of(x.dtype, dims)
    };
    Ok(lengths.into_iter().map(piece).collect())
}

/// The extents of `pieces` pieces of `extent`; `None` where the sizes asked for do not add up.
fn split_sizes(extent: usize, sizes: &[usize], pieces: usize) -> Option<Vec<usize>> {
    if !sizes.is_empty() {
        let total = sizes.iter().try_fold(0usize, |total, &size| total.checked_add(size))?;
        return (total == extent).then(|| sizes.to_vec());
    }
    let size = extent.div_ceil(pieces.max(1));
    Some((0..pieces).map(|piece| extent.saturating_sub(piece.saturating_mul(size)).min(size)).collect())
}

/// Where a slice starts in `extent` and how many elements it takes, by ONNX's clamping.
pub(crate) fn slice_range(extent: usize, start: i64, end: i64, step: i64) -> (i64, usize) {
    let extent = extent as i128;
    let absolute = |at: i64| if at < 0 { i128::from(at) + extent } else { i128::from(at) };
    let (start, end) = if step > 0 {
        (absolute(start).clamp(0, extent), absolute(end).clamp(0, extent))
    } else {
        (absolute(start).clamp(0, (extent - 1).max(0)), absolute(end).clamp(-1, extent - 1))
    };
    let step = i128::from(step);
    let way = if step > 0 { end - start } else { start - end };
    if way <= 0 || step == 0 || extent == 0 {
        return (start as i64, 0);
    }
    (start as i64, ((way - 1) / step.abs() + 1) as usize)
}

/// The axes a slice or padding speaks of: those listed, or the first `count`; `None` while they are unknown.
pub(crate) fn listed_axes(
    site: &Site,
    operand: Option<&Operand>,
    count: usize,
    rank: usize,
) -> Result<Option<Vec<usize>>> {
    let axes = match operand {
        None if count <= rank => (0..count).collect(),
        None => return Err(site.error(format!("expected at most {rank} axes, found {count}"))),
        Some(operand) => {
            check_integers(site, operand)?;
            let Some(axes) = operand.integers() else { return Ok(None) };
            axes.into_iter().map(|axis| site.signed_axis(axis, rank)).collect::<Result<Vec<_>>>()?
        }
    };
    if axes.len() != count || axes.iter().enumerate().any(|(at, axis)| axes[..at].contains(axis)) {
        return Err(site.error(format!("expected {count} distinct axes, found {axes:?}")));
    }
    Ok(Some(axes))
}

/// The bounds of a slice: one `(axis, start, end, step)` per sliced axis.
pub(crate) struct Bounds {
    /// The axis.
    pub axis: usize,
    /// The first element, negative counting from the end.
    pub start: i64,
    /// The element behind the last.
    pub end: i64,
    /// The step, not 0.
    pub step: i64,
}

/// The bounds of a slice of a tensor of `rank` axes; `None` while they are not all known.
pub(crate) fn slice_bounds(site: &Site, rank: usize) -> Result<Option<Vec<Bounds>>> {
    let (starts, ends) = (site.required(1)?, site.required(2)?);
    for operand in [Some(starts), Some(ends), site.optional(4)].into_iter().flatten() {
        check_integers(site, operand)?;
    }
    let (Some(starts), Some(ends)) = (starts.integers(), ends.integers()) else { return Ok(None) };
    let Some(axes) = listed_axes(site, site.optional(3), starts.len(), rank)? else { return Ok(None) };
    let steps = match site.optional(4) {
        None => vec![1; starts.len()],
        Some(steps) => match steps.integers() {
            Some(steps) => steps,
            None => return Ok(None),
        },
    };
    if ends.len() != starts.len() || steps.len() != starts.len() || steps.contains(&0) {
        return Err(site.error(format!(
            "expected as many ends and steps as starts and no step of 0, found starts {starts:?}, ends {ends:?}, \
             steps {steps:?}"
        )));
    }
    let bounds = axes.into_iter().zip(starts).zip(ends.into_iter().zip(steps));
    Ok(Some(bounds.map(|((axis, start), (end, step))| Bounds { axis, start, end, step }).collect()))
}

pub(super) fn slice(site: &Site) -> Result<Vec<Inferred>> {
    moved(site, |_, input| {
        let mut output = input.to_vec();
        let Some(bounds) = slice_bounds(site, input.len())? else {
            let count = site.required(1)?.length();
            let axes = match count {
                Some(count) => listed_axes(site, site.optional(3), count, input.len())?,
                None => None,
            };
            for axis in axes.unwrap_or_else(|| (0..input.len()).collect()) {
                output[axis] = site.unknown(0, axis);
            }
            return Ok(Some(output));
        };
        for Bounds { axis, start, end, step } in bounds {
            // Bounds beyond 2^31 stand for "to the end" in every exporter.
            let whole = (start == 0 && step == 1 && end >= i64::from(i32::MAX))
                || (start == -1 && step == -1 && end <= i64::from(i32::MIN));
            output[axis] = match &input[axis] {
                Dim::Fixed(extent) => Dim::Fixed(slice_range(*extent, start, end, step).1),
                Dim::Symbol(_) if whole => continue,
                Dim::Symbol(_) => site.unknown(0, axis),
            };
        }
        Ok(Some(output))
    })
}

pub(super) fn gather(site: &Site, axis: usize) -> Result<Vec<Inferred>> {
    let indices = site.required(1)?;
    if let Some(dtype) = indices.dtype.filter(|dtype| !matches!(dtype, DType::I32 | DType::I64)) {
        return Err(site.error(format!("expected indices of type i32 or i64, found {dtype}")));
    }
    moved(site, |_, input| {
        site.axis(axis, input.len())?;
        let Some(indices) = indices.dims() else { return Ok(None) };
        Ok(Some([&input[..axis], indices, &input[axis + 1..]].concat()))
    })
}

pub(super) fn expand(site: &Site) -> Result<Vec<Inferred>> {
    let shape = site.required(1)?;
    check_integers(site, shape)?;
    moved(site, |_, input| {
        let Some(numbers) = shape.numbers() else {
            return shape.length().map(|length| site.unknowns(length.max(input.len()))).transpose();
        };
        let asked = target(site, &numbers)?;
        let output = dims::broadcast_all(input, &asked);
        output.map(Some).ok_or_else(|| {
            site.error(format!("expected {} to broadcast to {}", Shape(input.to_vec()), Shape(asked.clone())))
        })
    })
}

pub(super) fn tile(site: &Site) -> Result<Vec<Inferred>> {
    let repeats = site.required(1)?;
    check_integers(site, repeats)?;
    moved(site, |_, input| {
        let Some(repeats) = repeats.integers() else { return site.unknowns(input.len()).map(Some) };
        if repeats.len() != input.len() {
            return Err(site.error(format!(
                "expected one repeat per axis ({}), found {}",
                input.len(),
                repeats.len()
            )));
        }
        let tiled = input.iter().zip(repeats).map(|(dim, repeat)| {
            let times = dims::fixed(i128::from(repeat));
            site.dim(times.and_then(|times| dims::product(&[dim.clone(), times])), "an extent")
        });
        tiled.collect::<Result<Vec<_>>>().map(Some)
    })
}

/// Padding in front of and behind every axis, negative where it crops; `None` while it is unknown.
pub(crate) fn pad_amounts(site: &Site, rank: usize) -> Result<Option<Vec<(i64, i64)>>> {
    let pads = site.required(1)?;
    check_integers(site, pads)?;
    let Some(pads) = pads.integers() else { return Ok(None) };
    if pads.len() % 2 != 0 {
        return Err(site.error(format!("expected two pads per axis, found {} pads", pads.len())));
    }
    let count = pads.len() / 2;
    let Some(axes) = listed_axes(site, site.optional(3), count, rank)? else { return Ok(None) };
    if site.optional(3).is_none() && count != rank {
        return Err(site.error(format!("expected pads for {rank} axes, found {count}")));
    }
    let mut amounts = vec![(0, 0); rank];
    for (at, axis) in axes.into_iter().enumerate() {
        amounts[axis] = (pads[at], pads[count + at]);
    }
    Ok(Some(amounts))
}

pub(super) fn pad(site: &Site, mode: PadMode) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    if let Some(value) = site.optional(2) {
        if value.shape.as_ref().and_then(Shape::elements).is_some_and(|elements| elements != 1) {
            return Err(
                site.error(format!("expected one padding value, found `{}` of another size", value.name))
            );
        }
        if !x.quantized {
            site.common_dtype([0, 2])?;
        }
    }
    let dtype = if x.quantized { site.result_dtype(None)? } else { x.dtype };
    let inferred = moved(site, |_, input| {
        let Some(amounts) = pad_amounts(site, input.len())? else {
            return site.unknowns(input.len()).map(Some);
        };
        let padded = input.iter().zip(amounts).enumerate().map(|(axis, (dim, (before, after)))| {
            if mode != PadMode::Constant && *dim == Dim::Fixed(0) && (before > 0 || after > 0) {
                return Err(
                    site.error(format!("expected elements to pad with along axis {axis}, found none"))
                );
            }
            let by = i128::from(before) + i128::from(after);
            site.dim(
                dims::offset(dim, by),
                &format!("a padded extent ({dim} padded by {before} and {after})"),
            )
        });
        padded.collect::<Result<Vec<_>>>().map(Some)
    })?;
    Ok(inferred.into_iter().map(|inferred| Inferred { dtype, ..inferred }).collect())
}

/// The extent that a scale makes of `extent`, in f32 as runtimes compute it.
pub(crate) fn scaled_extent(extent: usize, scale: f32) -> Option<usize> {
    let scaled = (extent as f32 * scale).floor();
    // f32 holds 2^53 exactly, far beyond any real extent.
    (scale.is_finite() && scale > 0.0 && scaled < 9_007_199_254_740_992.0).then_some(scaled as usize)
}

/// The scales or sizes of a resize, whichever is given; an empty list counts as absent.
pub(crate) fn resize_operands<'s, 'a>(
    site: &'s Site<'a>,
) -> (Option<&'s Operand<'a>>, Option<&'s Operand<'a>>) {
    let given = |index| site.optional(index).filter(|operand: &&Operand| operand.length() != Some(0));
    (given(2), given(3))
}

pub(super) fn resize(site: &Site, _attributes: ResizeAttributes) -> Result<Vec<Inferred>> {
    let (scales, sizes) = resize_operands(site);
    let inferred = moved(site, |_, input| {
        let rank = input.len();
        let per_axis = |operand: &Operand, count: usize| {
            if count == rank {
                return Ok(());
            }
            Err(site.error(format!(
                "expected {rank} elements in `{}`, one per axis, found {count}",
                operand.name
            )))
        };
        match (scales, sizes) {
            (Some(scales), None) => {
                let Some(tensor) = scales.tensor else { return site.unknowns(rank).map(Some) };
                let factors = tensor.to_f32_vec();
                per_axis(scales, factors.len())?;
                let resized = input.iter().zip(factors).enumerate().map(|(axis, (dim, factor))| match dim {
                    Dim::Fixed(extent) => scaled_extent(*extent, factor).map(Dim::Fixed).ok_or_else(|| {
                        site.error(format!("expected a positive scale at axis {axis}, found {factor}"))
                    }),
                    Dim::Symbol(_) if factor > 0.0 && factor.fract() == 0.0 && factor < 65536.0 => {
                        site.dim(dims::product(&[dim.clone(), Dim::Fixed(factor as usize)]), "an extent")
                    }
                    Dim::Symbol(_) => Ok(site.unknown(0, axis)),
                });
                resized.collect::<Result<Vec<_>>>().map(Some)
            }
            (None, Some(sizes)) => {
                check_integers(site, sizes)?;
                let Some(numbers) = sizes.numbers() else { return site.unknowns(rank).map(Some) };
                per_axis(sizes, numbers.len())?;
                target(site, &numbers).map(Some)
            }
            _ => Err(site.error("expected either scales or sizes, found both or neither")),
        }
    })?;
    let x = site.required(0)?;
    let dtype = if x.quantized { site.result_dtype(None)? } else { x.dtype };
    let resized = inferred.into_iter().map(|inferred| Inferred { dtype, ..inferred }).collect::<Vec<_>>();
    if let (Some(input), Some(output)) = (&x.shape, resized.first().and_then(|first| first.shape.as_ref()))
        && let Some(axis) = (0..input.rank()).find(|&axis| {
            input.0[axis] == Dim::Fixed(0) && output.0[axis].fixed().is_some_and(|extent| extent > 0)
        })
    {
        return Err(site.error(format!("expected samples along axis {axis}, found extent 0")));
    }
    Ok(resized)
}

/// The four dimensions of an image batch, and the block, which must not be zero.
fn image<'o>(site: &Site, x: &'o Operand, block: usize) -> Result<Option<&'o [Dim]>> {
    if block == 0 || block.checked_mul(block).is_none() {
        return Err(site.error(format!("expected a small block of at least 1, found {block}")));
    }
    site.dims_of_rank(x, 4, "an input")
}

fn divided(site: &Site, dim: &Dim, by: usize, what: &str) -> Result<Dim> {
    if let Dim::Fixed(extent) = dim
        && extent % by != 0
    {
        return Err(site.error(format!("expected {what} divisible by {by}, found {extent}")));
    }
    site.dim(dims::floor_div(dim, by), "an extent")
}

fn multiplied(site: &Site, dim: &Dim, by: usize) -> Result<Dim> {
    site.dim(dims::product(&[dim.clone(), Dim::Fixed(by)]), "an extent")
}

pub(super) fn depth_to_space(site: &Site, block: usize) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    let Some([n, c, h, w]) = image(site, x, block)? else { return Ok(vec![Inferred::unranked(x.dtype)]) };
    let output = vec![
        n.clone(),
        divided(site, c, block * block, "channels")?,
        multiplied(site, h, block)?,
        multiplied(site, w, block)?,
    ];
    Ok(vec![Inferred::of(x.dtype, output)])
}

pub(super) fn space_to_depth(site: &Site, block: usize) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    let Some([n, c, h, w]) = image(site, x, block)? else { return Ok(vec![Inferred::unranked(x.dtype)]) };
    let output = vec![
        n.clone(),
        multiplied(site, c, block * block)?,
        divided(site, h, block, "a height")?,
        divided(site, w, block, "a width")?,
    ];
    Ok(vec![Inferred::of(x.dtype, output)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_clamp_as_onnx_says() {
        // The examples of ONNX's Slice: x of extents [2, 4].
        assert_eq!(slice_range(2, 1, 2, 1), (1, 1));
        assert_eq!(slice_range(4, 0, 3, 2), (0, 2));
        assert_eq!(slice_range(2, 0, -1, 1), (0, 1));
        assert_eq!(slice_range(4, 1, 1000, 1), (1, 3));
        // Backwards to and including the first element.
        assert_eq!(slice_range(4, -1, i64::MIN, -1), (3, 4));
        assert_eq!(slice_range(4, 20, 0, -2), (3, 2));
        assert_eq!(slice_range(0, 0, 5, 1), (0, 0));
        assert_eq!(slice_range(0, -1, i64::MIN, -1).1, 0);
    }

    #[test]
    fn equal_pieces_leave_the_last_smaller() {
        assert_eq!(split_sizes(7, &[], 3), Some(vec![3, 3, 1]));
        assert_eq!(split_sizes(3, &[], 5), Some(vec![1, 1, 1, 0, 0]));
        assert_eq!(split_sizes(7, &[3, 3], 2), None);
        assert_eq!(split_sizes(usize::MAX, &[usize::MAX, 1], 2), None);
    }
}
