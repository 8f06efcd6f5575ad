//! Sampling at given places, pooling with indices, and their inverses.

use super::super::dims::{self, unify};
use super::super::site::{Inferred, Operand, Site};
use super::super::{moving, window};
use super::{element_type, indices, shown};
use crate::error::Result;
use crate::ir::{DType, Dim, PoolAttributes, ResampleAttributes, RoiAttributes, Shape};

/// The type of what is interpolated from the first input, whose elements must be floats.
fn interpolated(site: &Site) -> Result<Option<DType>> {
    let x = site.required(0)?;
    if let Some(dtype) = x.dtype.filter(|dtype| !dtype.is_float() && !x.quantized) {
        return Err(site.error(format!("expected floats, found {dtype}")));
    }
    element_type(site)
}

fn check_floats(site: &Site, operand: &Operand) -> Result<()> {
    match operand.dtype {
        Some(dtype) if !dtype.is_float() && !operand.quantized => {
            Err(site.error(format!("expected floats in `{}`, found {dtype}", operand.name)))
        }
        _ => Ok(()),
    }
}

pub(super) fn grid_sample(site: &Site) -> Result<Vec<Inferred>> {
    let dtype = interpolated(site)?;
    let (x, grid) = (site.required(0)?, site.required(1)?);
    check_floats(site, grid)?;
    let (Some(image), Some(places)) = (x.dims(), grid.dims()) else {
        return Ok(vec![Inferred::unranked(dtype)]);
    };
    let spatial = image.len().saturating_sub(2);
    let fits = spatial > 0
        && places.len() == image.len()
        && unify(&places[0], &image[0]).is_some()
        && unify(&places[spatial + 1], &Dim::Fixed(spatial)).is_some();
    if !fits {
        return Err(site.error(format!(
            "expected an image [batch, channels, spatial…] and a grid [batch, spatial…, one number per spatial axis], \
             found {} and {}",
            shown(image),
            shown(places)
        )));
    }
    let batch = unify(&image[0], &places[0]).unwrap_or_else(|| image[0].clone());
    let output: Vec<Dim> = [&[batch, image[1].clone()], &places[1..=spatial]].concat();
    let empty = image[2..].contains(&Dim::Fixed(0)) && !output.contains(&Dim::Fixed(0));
    if empty {
        return Err(site.error(format!("expected an image with samples, found {}", shown(image))));
    }
    Ok(vec![Inferred::of(dtype, output)])
}

pub(super) fn roi_align(site: &Site, roi: &RoiAttributes) -> Result<Vec<Inferred>> {
    let dtype = interpolated(site)?;
    let (x, regions, batches) = (site.required(0)?, site.required(1)?, indices(site, 2)?);
    check_floats(site, regions)?;
    let image = site.dims_of_rank(x, 4, "an image")?;
    let corners = site.dims_of_rank(regions, 2, "regions")?;
    let batches = site.dims_of_rank(batches, 1, "batch indices")?;
    let fits = corners.is_none_or(|dims| unify(&dims[1], &Dim::Fixed(4)).is_some())
        && corners.zip(batches).is_none_or(|(regions, batches)| unify(&regions[0], &batches[0]).is_some());
    if !fits {
        return Err(site.error(format!(
            "expected regions [count, 4] and as many batch indices, found {} and {}",
            shown(corners.unwrap_or_default()),
            shown(batches.unwrap_or_default())
        )));
    }
    if roi.bins.contains(&0) || roi.bins.iter().any(|&bins| bins > i32::MAX as usize) {
        return Err(site.error(format!("expected bins from 1 to 2^31, found {:?}", roi.bins)));
    }
    if let Some(image) = image.filter(|image| image[2..].contains(&Dim::Fixed(0))) {
        return Err(site.error(format!("expected an image with samples, found {}", shown(image))));
    }
    let count = corners.or(batches).map_or_else(|| site.unknown(0, 0), |dims| dims[0].clone());
    let channels = image.map_or_else(|| site.unknown(0, 1), |dims| dims[1].clone());
    let [rows, columns] = roi.bins.map(Dim::Fixed);
    Ok(vec![Inferred::of(dtype, vec![count, channels, rows, columns])])
}

pub(super) fn resample(site: &Site, attributes: ResampleAttributes) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    let (scales, sizes) = moving::resize_operands(site);
    if attributes.crop.is_some() {
        let roi = site.required(1)?;
        check_floats(site, roi)?;
        if let (Some(length), Some(dims)) = (roi.length(), x.dims())
            && length != 2 * dims.len()
        {
            return Err(site.error(format!(
                "expected {} numbers in `{}`, two per axis, found {length}",
                2 * dims.len(),
                roi.name
            )));
        }
    }
    let (Some(scales), Some(_)) = (scales, sizes) else { return moving::resize(site, attributes.resize) };
    if let (Some(tensor), Some(dims)) = (scales.tensor, x.dims()) {
        let factors = tensor.to_f32_vec();
        if factors.len() != dims.len() || factors.iter().any(|factor| !factor.is_finite() || *factor <= 0.0) {
            return Err(site.error(format!(
                "expected {} positive scales in `{}`, found {factors:?}",
                dims.len(),
                scales.name
            )));
        }
    }
    moving::resize(&site.without(2), attributes.resize)
}

/// The largest elements of windows, and their places.
pub(super) fn max_pool_indices(site: &Site, pool: &PoolAttributes) -> Result<Vec<Inferred>> {
    let values = window::pool(site, pool, true)?;
    let shape = values.first().and_then(|values| values.shape.clone());
    let dtype = element_type(site)?;
    Ok(vec![Inferred { dtype, shape: shape.clone() }, Inferred { dtype: Some(DType::I64), shape }])
}

/// The extent of the input along spatial axis `at` that a pooling window made `places` of.
pub(crate) fn unpooled(
    places: usize,
    at: usize,
    kernel: &[usize],
    strides: &[usize],
    pads: &[usize],
) -> i128 {
    (places as i128 - 1) * strides[at] as i128 - pads[at] as i128 - pads[kernel.len() + at] as i128
        + kernel[at] as i128
}

pub(super) fn max_unpool(
    site: &Site,
    (kernel, strides, pads): (&[usize], &[usize], &[usize]),
) -> Result<Vec<Inferred>> {
    let dtype = element_type(site)?;
    let (x, at) = (site.required(0)?, indices(site, 1)?);
    let rank = kernel.len();
    let largest = [kernel, strides, pads].into_iter().flatten().max();
    if rank == 0
        || strides.len() != rank
        || pads.len() != 2 * rank
        || kernel.contains(&0)
        || strides.contains(&0)
        || largest.is_some_and(|&largest| largest > i32::MAX as usize)
    {
        return Err(site.error(format!(
            "expected a kernel with one stride and two pads per spatial axis, found kernel {kernel:?}, strides \
             {strides:?}, pads {pads:?}"
        )));
    }
    let Some(input) = site.dims_of_rank(x, rank + 2, "an input")? else {
        return Ok(vec![Inferred::unranked(dtype)]);
    };
    if let Some(at) = at.dims().filter(|at| {
        at.len() != input.len() || at.iter().zip(input).any(|(at, dim)| unify(at, dim).is_none())
    }) {
        return Err(site.error(format!(
            "expected one index per element of {}, found {}",
            shown(input),
            shown(at)
        )));
    }
    let mut output = input[..2].to_vec();
    for (axis, dim) in input[2..].iter().enumerate() {
        output.push(match dim {
            Dim::Fixed(places) => {
                let extent = dims::fixed(unpooled(*places, axis, kernel, strides, pads));
                site.dim(extent, "an unpooled extent")?
            }
            Dim::Symbol(_) => site.unknown(0, axis + 2),
        });
    }
    let Some(shape) = site.optional(2) else { return Ok(vec![Inferred::of(dtype, output)]) };
    super::check_integers(site, shape)?;
    let Some(numbers) = shape.integers() else {
        return Ok(vec![Inferred { dtype, shape: Some(Shape(site.unknowns(rank + 2)?)) }]);
    };
    let asked = numbers
        .iter()
        .map(|&extent| site.dim(dims::fixed(i128::from(extent)), &format!("an extent ({extent})")))
        .collect::<Result<Vec<Dim>>>()?;
    let holds = |(asked, inferred): (&Dim, &Dim)| !matches!((asked, inferred), (Dim::Fixed(asked), Dim::Fixed(inferred)) if asked < inferred);
    if asked.len() != output.len() || !asked.iter().zip(&output).all(holds) {
        return Err(site.error(format!(
            "expected an output shape of at least {}, found {}",
            shown(&output),
            shown(&asked)
        )));
    }
    Ok(vec![Inferred::of(dtype, asked)])
}

/// The places of a block along spatial axis `at` of an image.
pub(crate) fn blocks(
    image: usize,
    block: usize,
    at: usize,
    (strides, dilations, pads): (&[usize], &[usize], &[usize]),
) -> Option<usize> {
    let reach = (block as i128 - 1) * dilations[at] as i128 + 1;
    let room = image as i128 + pads[at] as i128 + pads[strides.len() + at] as i128 - reach;
    usize::try_from(room).ok().map(|room| room / strides[at] + 1)
}

pub(super) fn col2im(
    site: &Site,
    (strides, dilations, pads): (&[usize], &[usize], &[usize]),
) -> Result<Vec<Inferred>> {
    let dtype = element_type(site)?;
    let (x, image, block) = (site.required(0)?, site.required(1)?, site.required(2)?);
    if x.dtype == Some(DType::Bool) {
        return Err(site.error("expected numbers, found truth values"));
    }
    let columns = site.dims_of_rank(x, 3, "columns")?;
    super::check_integers(site, image)?;
    super::check_integers(site, block)?;
    let (Some(image), Some(block)) = (image.integers(), block.integers()) else {
        return Ok(vec![Inferred::unranked(dtype)]);
    };
    let extents = |list: &[i64]| -> Option<Vec<usize>> {
        list.iter().map(|&extent| usize::try_from(extent).ok().filter(|&extent| extent > 0)).collect()
    };
    let rank = image.len();
    let fits = rank > 0 && block.len() == rank && strides.len() == rank && dilations.len() == rank;
    let small = [strides, dilations, pads].into_iter().flatten().all(|&value| i32::try_from(value).is_ok());
    let (Some(image), Some(block), true) =
        (extents(&image), extents(&block), fits && small && pads.len() == 2 * rank && !strides.contains(&0))
    else {
        return Err(site.error(format!(
            "expected an image and a block with one stride, one dilation and two pads per axis, found image {image:?}, \
             block {block:?}, strides {strides:?}, dilations {dilations:?}, pads {pads:?}"
        )));
    };
    let places: Option<Vec<Dim>> = (0..rank)
        .map(|at| blocks(image[at], block[at], at, (strides, dilations, pads)).map(Dim::Fixed))
        .collect();
    let count = site.dim(places.and_then(|places| dims::product(&places)), "a number of blocks")?;
    let block: Vec<Dim> = block.into_iter().map(Dim::Fixed).collect();
    let size = site.dim(dims::product(&block), "a size of blocks")?;
    let (batch, channels) = match columns {
        Some([batch, rows, columns]) => {
            let whole = match (rows, &size) {
                (Dim::Fixed(rows), Dim::Fixed(size)) => rows % size == 0,
                _ => true,
            };
            if !whole || unify(columns, &count).is_none() {
                return Err(site.error(format!(
                    "expected columns [batch, a multiple of {size}, {count}], found {}",
                    shown(&[batch.clone(), rows.clone(), columns.clone()])
                )));
            }
            let channels = dims::floor_div(rows, size.fixed().unwrap_or(1));
            (batch.clone(), site.dim(channels, "a number of channels")?)
        }
        _ => (site.unknown(0, 0), site.unknown(0, 1)),
    };
    let mut output = vec![batch, channels];
    output.extend(image.into_iter().map(Dim::Fixed));
    Ok(vec![Inferred::of(dtype, output)])
}
