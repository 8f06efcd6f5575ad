//! Convolutions and pooling: operators whose output follows from a window sliding over space.

use super::dims::{self, unify};
use super::site::{Inferred, Site};
use crate::error::Result;
use crate::ir::{ConvAttributes, DType, Dim, PoolAttributes, Shape};

/// A window along one axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    kernel: usize,
    stride: usize,
    dilation: usize,
    before: usize,
    after: usize,
}

impl Axis {
    /// The extent the window covers with its dilation.
    fn reach(self) -> i128 {
        (self.kernel as i128 - 1) * self.dilation as i128 + 1
    }

    /// The number of places of the window over `input`; `None` where the window does not fit or numbers overflow.
    fn places(self, input: &Dim, ceil: bool) -> Option<Dim> {
        let stride = self.stride as i128;
        let room = self.before as i128 + self.after as i128 - self.reach();
        let Dim::Fixed(extent) = input else {
            let places = if ceil { room + 2 * stride - 1 } else { room + stride };
            return dims::floor_div(&dims::offset(input, places)?, self.stride);
        };
        let travel = *extent as i128 + room;
        if travel < 0 {
            return None;
        }
        let mut places = travel / stride + 1;
        if ceil && travel % stride != 0 {
            // A window that would start in the padding behind the input does not count.
            let starts_inside = places * stride < *extent as i128 + self.before as i128;
            places += i128::from(starts_inside);
        }
        dims::fixed(places)
    }

    /// The extent that a transposed window makes of `input`, with `extra` at the end.
    fn spread(self, input: &Dim, extra: usize) -> Option<Dim> {
        let edge = self.reach() + extra as i128 - self.before as i128 - self.after as i128;
        match input {
            Dim::Fixed(0) => dims::fixed(0),
            Dim::Fixed(extent) => dims::fixed((*extent as i128 - 1) * self.stride as i128 + edge),
            Dim::Symbol(_) => dims::offset(
                &dims::product(&[input.clone(), Dim::Fixed(self.stride)])?,
                edge - self.stride as i128,
            ),
        }
    }
}

/// The window's axes, whose attributes must be complete and not zero.
fn axes(
    site: &Site,
    kernel: &[usize],
    strides: &[usize],
    dilations: &[usize],
    pads: &[usize],
) -> Result<Vec<Axis>> {
    let rank = kernel.len();
    if rank == 0 || strides.len() != rank || dilations.len() != rank || pads.len() != 2 * rank {
        return Err(site.error(format!(
            "expected a kernel with one stride, one dilation and two pads per spatial axis, found kernel {kernel:?}, \
             strides {strides:?}, dilations {dilations:?}, pads {pads:?}"
        )));
    }
    let zero = |what: &str, list: &[usize]| {
        Err(site.error(format!("expected {what} of at least 1, found {list:?}")))
    };
    for (what, list) in [("kernel extents", kernel), ("strides", strides), ("dilations", dilations)] {
        if list.contains(&0) {
            return zero(what, list);
        }
    }
    // Beyond any real window, and small enough that no product of two overflows.
    let largest = [kernel, strides, dilations, pads].into_iter().flatten().max();
    if let Some(largest) = largest.filter(|&&largest| largest > i32::MAX as usize) {
        return Err(site.error(format!("expected numbers below 2^31 for the window, found {largest}")));
    }
    Ok((0..rank)
        .map(|at| Axis {
            kernel: kernel[at],
            stride: strides[at],
            dilation: dilations[at],
            before: pads[at],
            after: pads[rank + at],
        })
        .collect())
}

fn places(site: &Site, axes: &[Axis], input: &[Dim], ceil: bool) -> Result<Vec<Dim>> {
    axes.iter()
        .zip(input)
        .enumerate()
        .map(|(at, (axis, dim))| {
            axis.places(dim, ceil).ok_or_else(|| {
                site.error(format!(
                    "expected the padded input to hold the window along spatial axis {at}, found extent {dim}, \
                     pads {} and {}, kernel {} with dilation {}",
                    axis.before, axis.after, axis.kernel, axis.dilation
                ))
            })
        })
        .collect()
}

/// The dtype of a product of `x` and weights: that of `x`, whose weights may be quantized on their own.
pub(super) fn product_dtype(site: &Site) -> Result<Option<DType>> {
    let x = site.required(0)?;
    let natural = site.common_dtype([0, 1])?;
    if natural.is_some_and(|dtype| dtype == DType::Bool) {
        return Err(site.error("expected numbers, found truth values"));
    }
    if x.quantized {
        // The bias is an integer whatever the result is.
        return site.result_dtype(None);
    }
    let dtype = site.result_dtype(x.dtype)?;
    Ok(dtype)
}

/// Checks the bias, which must hold one element per output channel.
fn check_bias(site: &Site, channels: &Dim) -> Result<()> {
    let Some(bias) = site.optional(2) else { return Ok(()) };
    match site.dims_of_rank(bias, 1, "a bias")? {
        Some([length]) if unify(length, channels).is_none() => Err(site.error(format!(
            "expected a bias with one element per output channel ({channels}), found {length}"
        ))),
        _ => Ok(()),
    }
}

pub(super) fn conv(site: &Site, conv: &ConvAttributes) -> Result<Vec<Inferred>> {
    let dtype = product_dtype(site)?;
    let (output, channels) = convolved(site, conv, dtype)?;
    check_bias(site, &channels)?;
    Ok(vec![output])
}

/// ConvInteger: 32-bit sums of codes; what stands where a bias would are zero points.
pub(super) fn conv_integer(site: &Site, conv: &ConvAttributes) -> Result<Vec<Inferred>> {
    Ok(vec![convolved(site, conv, Some(DType::I32))?.0])
}

/// The output of a convolution of `dtype`, and its channels.
fn convolved(site: &Site, conv: &ConvAttributes, dtype: Option<DType>) -> Result<(Inferred, Dim)> {
    let (x, weight) = (site.required(0)?, site.required(1)?);
    let axes = axes(site, &conv.kernel, &conv.strides, &conv.dilations, &conv.pads)?;
    let rank = axes.len() + 2;
    let x_dims = site.dims_of_rank(x, rank, "an input")?;
    let channels = match site.dims_of_rank(weight, rank, "weights")? {
        None => site.unknown(0, 1),
        Some(dims) => {
            check_kernel(site, &dims[2..], conv)?;
            if let (Some([_, input, ..]), Dim::Fixed(per_group)) = (x_dims, &dims[1]) {
                let expected = Dim::Fixed(per_group.saturating_mul(conv.groups));
                if unify(input, &expected).is_none() {
                    return Err(site.error(format!(
                        "expected {expected} input channels ({per_group} in each of {} groups), found {input}",
                        conv.groups
                    )));
                }
            }
            dims[0].clone()
        }
    };
    check_groups(site, conv.groups, &channels)?;
    let Some(x_dims) = x_dims else { return Ok((Inferred::unranked(dtype), channels)) };
    let mut output = vec![x_dims[0].clone(), channels.clone()];
    output.extend(places(site, &axes, &x_dims[2..], false)?);
    Ok((Inferred::of(dtype, output), channels))
}

fn check_kernel(site: &Site, weight: &[Dim], conv: &ConvAttributes) -> Result<()> {
    if weight.iter().zip(&conv.kernel).any(|(dim, &kernel)| unify(dim, &Dim::Fixed(kernel)).is_none()) {
        return Err(site.error(format!(
            "expected weights of kernel {:?}, found {}",
            conv.kernel,
            Shape(weight.to_vec())
        )));
    }
    Ok(())
}

fn check_groups(site: &Site, groups: usize, channels: &Dim) -> Result<()> {
    let divides = match channels {
        Dim::Fixed(channels) => groups != 0 && channels % groups == 0,
        Dim::Symbol(_) => groups != 0,
    };
    if divides {
        return Ok(());
    }
    Err(site.error(format!("expected groups that divide {channels} channels, found {groups}")))
}

pub(super) fn conv_transpose(
    site: &Site,
    conv: &ConvAttributes,
    output_padding: &[usize],
) -> Result<Vec<Inferred>> {
    let (x, weight) = (site.required(0)?, site.required(1)?);
    let dtype = product_dtype(site)?;
    let axes = axes(site, &conv.kernel, &conv.strides, &conv.dilations, &conv.pads)?;
    if output_padding.len() != axes.len() || output_padding.iter().any(|&extra| extra > i32::MAX as usize) {
        return Err(site.error(format!(
            "expected one small output padding per spatial axis ({}), found {output_padding:?}",
            axes.len()
        )));
    }
    let rank = axes.len() + 2;
    let x_dims = site.dims_of_rank(x, rank, "an input")?;
    let weight_dims = site.dims_of_rank(weight, rank, "weights")?;
    let channels = match weight_dims {
        None => site.unknown(0, 1),
        Some(dims) => {
            check_kernel(site, &dims[2..], conv)?;
            if let Some([_, input, ..]) = x_dims
                && unify(input, &dims[0]).is_none()
            {
                return Err(site
                    .error(format!("expected {} input channels as in the weights, found {input}", dims[0])));
            }
            check_groups(site, conv.groups, &dims[0])?;
            let channels = dims::product(&[dims[1].clone(), Dim::Fixed(conv.groups)]);
            site.dim(channels, "a number of output channels")?
        }
    };
    check_groups(site, conv.groups, &channels)?;
    check_bias(site, &channels)?;
    let Some(x_dims) = x_dims else { return Ok(vec![Inferred::unranked(dtype)]) };
    let mut output = vec![x_dims[0].clone(), channels];
    for ((axis, dim), &extra) in axes.iter().zip(&x_dims[2..]).zip(output_padding) {
        output.push(site.dim(axis.spread(dim, extra), "an output extent")?);
    }
    Ok(vec![Inferred::of(dtype, output)])
}

/// Maximum (`keeps_codes`) and average pooling.
pub(super) fn pool(site: &Site, pool: &PoolAttributes, keeps_codes: bool) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    let dtype = if keeps_codes { x.dtype } else { site.result_dtype(x.dtype)? };
    let axes = axes(site, &pool.kernel, &pool.strides, &pool.dilations, &pool.pads)?;
    if let Some(axis) =
        axes.iter().find(|axis| axis.before as i128 >= axis.reach() || axis.after as i128 >= axis.reach())
    {
        return Err(site.error(format!(
            "expected padding smaller than the window, found {} and {} around a window of {}",
            axis.before,
            axis.after,
            axis.reach()
        )));
    }
    let Some(dims) = site.dims_of_rank(x, axes.len() + 2, "an input")? else {
        return Ok(vec![Inferred::unranked(dtype)]);
    };
    let mut output = dims[..2].to_vec();
    output.extend(places(site, &axes, &dims[2..], pool.ceil)?);
    Ok(vec![Inferred::of(dtype, output)])
}

/// Pooling over all of space.
pub(super) fn global_pool(site: &Site, keeps_codes: bool) -> Result<Vec<Inferred>> {
    let x = site.required(0)?;
    let dtype = if keeps_codes { x.dtype } else { site.result_dtype(x.dtype)? };
    let Some(dims) = x.dims() else { return Ok(vec![Inferred::unranked(dtype)]) };
    if dims.len() < 2 {
        return Err(site.error(format!("expected a rank of at least 2, found {}", Shape(dims.to_vec()))));
    }
    let output =
        dims.iter().enumerate().map(|(axis, dim)| if axis < 2 { dim.clone() } else { Dim::Fixed(1) });
    Ok(vec![Inferred::of(dtype, output.collect())])
}
