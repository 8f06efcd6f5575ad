//! Geometry of a two-dimensional convolution over NHWC tensors, shared by the integer and the float kernels.

use std::ops::Range;

use crate::error::KernelError;

/// Sizes of one convolution. Input `[batch][in_h][in_w][in_c]`, weights
/// `[out_c][kernel_h][kernel_w][in_c / groups]`, output `[batch][out_h][out_w][out_c]`.
///
/// Output pixel `(oy, ox)` and tap `(ky, kx)` read input pixel
/// `(oy * stride_h + ky * dilation_h - pad_top, ox * stride_w + kx * dilation_w - pad_left)`; a pixel outside the
/// image reads as the real number zero. The padding below and to the right follows from the output size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Input rows.
    pub in_h: usize,
    /// Input columns.
    pub in_w: usize,
    /// Input channels, of all groups together.
    pub in_c: usize,
    /// Output rows.
    pub out_h: usize,
    /// Output columns.
    pub out_w: usize,
    /// Output channels, of all groups together.
    pub out_c: usize,
    /// Rows of taps.
    pub kernel_h: usize,
    /// Columns of taps.
    pub kernel_w: usize,
    /// Input rows from one output row to the next.
    pub stride_h: usize,
    /// Input columns from one output column to the next.
    pub stride_w: usize,
    /// Input rows from one tap to the next.
    pub dilation_h: usize,
    /// Input columns from one tap to the next.
    pub dilation_w: usize,
    /// Rows of zeros above the image.
    pub pad_top: usize,
    /// Columns of zeros to the left of the image.
    pub pad_left: usize,
    /// Groups: output channel `c` reads the input channels of group `c / (out_c / groups)`.
    pub groups: usize,
}

impl ConvShape {
    /// The matrix product `[m][k] × [n][k]ᵀ → [m][n]`: a fully connected layer over `m` rows.
    pub fn gemm(m: usize, n: usize, k: usize) -> Self {
        Self {
            batch: 1,
            in_h: 1,
            in_w: m,
            in_c: k,
            out_h: 1,
            out_w: m,
            out_c: n,
            kernel_h: 1,
            kernel_w: 1,
            stride_h: 1,
            stride_w: 1,
            dilation_h: 1,
            dilation_w: 1,
            pad_top: 0,
            pad_left: 0,
            groups: 1,
        }
    }

    /// Refuses a shape that describes no computation or whose tensors or coordinates cannot be addressed.
    ///
    /// Every size but `in_c` must be at least 1 (`in_c` may be 0: the output is then the bias alone), `groups` must
    /// divide both channel counts, and every tensor must stay under `isize::MAX / 8` elements.
    pub fn validate(&self) -> Result<(), KernelError> {
        let sizes = [
            ("batch", self.batch),
            ("in_h", self.in_h),
            ("in_w", self.in_w),
            ("out_h", self.out_h),
            ("out_w", self.out_w),
            ("out_c", self.out_c),
            ("kernel_h", self.kernel_h),
            ("kernel_w", self.kernel_w),
            ("stride_h", self.stride_h),
            ("stride_w", self.stride_w),
            ("dilation_h", self.dilation_h),
            ("dilation_w", self.dilation_w),
            ("groups", self.groups),
        ];
        if let Some((name, _)) = sizes.into_iter().find(|&(_, size)| size == 0) {
            return Err(KernelError::shape(format!(
                "expected a convolution with {name} at least 1, found 0"
            )));
        }
        if !self.in_c.is_multiple_of(self.groups) || !self.out_c.is_multiple_of(self.groups) {
            return Err(KernelError::shape(format!(
                "expected groups to divide in_c and out_c, found {} groups over {} and {} channels",
                self.groups, self.in_c, self.out_c
            )));
        }
        let tensors = [
            ("input", [self.batch, self.in_h, self.in_w, self.in_c]),
            ("output", [self.batch, self.out_h, self.out_w, self.out_c]),
            ("weights", [self.out_c, self.kernel_h, self.kernel_w, self.in_c / self.groups]),
        ];
        for (name, sizes) in tensors {
            if addressable(&sizes).is_none() {
                return Err(KernelError::shape(format!(
                    "expected {name} of fewer than {LARGEST} elements, found {sizes:?}; split the work"
                )));
            }
        }
        let axes = [
            ("rows", self.out_h, self.stride_h, self.kernel_h, self.dilation_h, self.pad_top),
            ("columns", self.out_w, self.stride_w, self.kernel_w, self.dilation_w, self.pad_left),
        ];
        for (name, out, stride, kernel, dilation, pad) in axes {
            let last = addressable(&[out - 1, stride])
                .zip(addressable(&[kernel - 1, dilation]))
                .map(|(window, tap)| window.saturating_add(tap));
            if pad > LARGEST || last.is_none_or(|last| last > LARGEST) {
                return Err(KernelError::shape(format!(
                    "expected {name} with coordinates below {LARGEST}, found {out} outputs of stride {stride}, \
                     {kernel} taps of dilation {dilation} and padding {pad}"
                )));
            }
        }
        Ok(())
    }

    /// Input elements.
    pub fn input_len(&self) -> usize {
        self.batch * self.in_h * self.in_w * self.in_c
    }

    /// Output elements.
    pub fn output_len(&self) -> usize {
        self.pixels() * self.out_c
    }

    /// Weight elements.
    pub fn weight_len(&self) -> usize {
        self.out_c * self.depth()
    }

    /// Output pixels, of all images together.
    pub fn pixels(&self) -> usize {
        self.batch * self.out_h * self.out_w
    }

    /// Taps per output pixel.
    pub fn taps(&self) -> usize {
        self.kernel_h * self.kernel_w
    }

    /// Products summed into one output element.
    pub fn depth(&self) -> usize {
        self.taps() * (self.in_c / self.groups)
    }

    /// Multiply-accumulate operations of the whole convolution.
    pub fn macs(&self) -> u64 {
        self.output_len() as u64 * self.depth() as u64
    }

    /// Whether output pixel `i` reads exactly input pixel `i`: the convolution is a matrix product over the tensors
    /// as they lie in memory.
    pub fn is_pointwise(&self) -> bool {
        self.taps() == 1
            && self.stride_h == 1
            && self.stride_w == 1
            && self.pad_top == 0
            && self.pad_left == 0
            && (self.out_h, self.out_w) == (self.in_h, self.in_w)
    }

    /// Whether every channel is a group of its own with one output channel.
    pub fn is_depthwise(&self) -> bool {
        self.groups == self.in_c && self.groups == self.out_c && self.groups > 1
    }

    /// Input row that output row `oy` reads at tap row `ky`, or `None` outside the image.
    pub fn in_row(&self, oy: usize, ky: usize) -> Option<usize> {
        (oy * self.stride_h + ky * self.dilation_h).checked_sub(self.pad_top).filter(|&y| y < self.in_h)
    }

    /// Input column that output column `ox` reads at tap column `kx`, or `None` outside the image.
    pub fn in_column(&self, ox: usize, kx: usize) -> Option<usize> {
        (ox * self.stride_w + kx * self.dilation_w).checked_sub(self.pad_left).filter(|&x| x < self.in_w)
    }

    /// Output columns whose taps all lie inside the image horizontally (empty where there are none).
    pub fn inner_columns(&self) -> Range<usize> {
        let first = self.pad_left.div_ceil(self.stride_w).min(self.out_w);
        let reach = (self.kernel_w - 1) * self.dilation_w;
        let end = match (self.in_w + self.pad_left).checked_sub(reach + 1) {
            Some(last_start) => (last_start / self.stride_w + 1).min(self.out_w),
            None => 0,
        };
        first..end.max(first)
    }
}

/// Largest number of elements: eight-byte offsets of them still fit an `isize`.
const LARGEST: usize = isize::MAX as usize / 8;

fn addressable(sizes: &[usize]) -> Option<usize> {
    sizes
        .iter()
        .try_fold(1usize, |product, &size| product.checked_mul(size))
        .filter(|&product| product <= LARGEST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_shapes_are_refused() {
        let good = ConvShape::gemm(2, 3, 4);
        assert!(good.validate().is_ok());
        for bad in [
            ConvShape { batch: 0, ..good },
            ConvShape { stride_w: 0, ..good },
            ConvShape { groups: 3, ..good },
            ConvShape { in_h: usize::MAX, ..good },
            ConvShape { dilation_h: usize::MAX, kernel_h: 2, in_c: 0, ..good },
            ConvShape { pad_left: usize::MAX, ..good },
        ] {
            let error = bad.validate().expect_err("impossible shape");
            assert_eq!(error.code(), "KERN-001", "{error}");
        }
    }

    #[test]
    fn inner_columns_have_every_tap_inside() {
        for (in_w, out_w, kernel_w, stride_w, dilation_w, pad_left) in [
            (7, 7, 3, 1, 1, 1),
            (8, 4, 5, 2, 1, 1),
            (3, 9, 3, 1, 2, 4),
            (1, 1, 7, 1, 1, 3),
            (9, 3, 2, 4, 1, 0),
        ] {
            let shape = ConvShape {
                in_w,
                out_w,
                kernel_w,
                stride_w,
                dilation_w,
                pad_left,
                ..ConvShape::gemm(1, 1, 1)
            };
            let inner = shape.inner_columns();
            for ox in 0..out_w {
                let inside = (0..kernel_w).all(|kx| shape.in_column(ox, kx).is_some());
                assert_eq!(inner.contains(&ox), inside, "{shape:?} column {ox}");
            }
        }
    }
}
