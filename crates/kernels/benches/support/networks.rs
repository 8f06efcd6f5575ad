//! The convolutions of real networks, shared by the benches.

use fewbit_kernels::ConvShape;

/// The convolutions of EfficientNet-Lite0 at 224×224 with how often each occurs.
pub(crate) fn efficientnet_lite0() -> Vec<(String, ConvShape, usize)> {
    let mut layers = vec![("stem 3x3s2".to_owned(), conv(224, 3, 32, 3, 2, 1), 1)];
    // (repeats, kernel, stride of the first, expansion, input size, input channels, output channels)
    let stages = [
        (1, 3, 1, 1, 112, 32, 16),
        (2, 3, 2, 6, 112, 16, 24),
        (2, 5, 2, 6, 56, 24, 40),
        (3, 3, 2, 6, 28, 40, 80),
        (3, 5, 1, 6, 14, 80, 112),
        (4, 5, 2, 6, 14, 112, 192),
        (1, 3, 1, 6, 7, 192, 320),
    ];
    for (repeats, kernel, first_stride, expansion, first_size, first_c, out_c) in stages {
        let (mut size, mut in_c, mut stride) = (first_size, first_c, first_stride);
        for _ in 0..repeats {
            let wide = in_c * expansion;
            if expansion > 1 {
                layers.push(("expand".to_owned(), conv(size, in_c, wide, 1, 1, 1), 1));
            }
            layers.push((
                format!("dw {kernel}x{kernel}s{stride}"),
                conv(size, wide, wide, kernel, stride, wide),
                1,
            ));
            size /= stride;
            layers.push(("project".to_owned(), conv(size, wide, out_c, 1, 1, 1), 1));
            (in_c, stride) = (out_c, 1);
        }
    }
    layers.push(("head".to_owned(), conv(7, 320, 1280, 1, 1, 1), 1));
    layers.push(("fc".to_owned(), ConvShape::gemm(1, 1000, 1280), 1));
    let mut distinct: Vec<(String, ConvShape, usize)> = Vec::new();
    for (kind, shape, times) in layers {
        if let Some((_, _, count)) = distinct.iter_mut().find(|(_, other, _)| *other == shape) {
            *count += times;
        } else {
            let name = format!("{kind} {}x{} {}-{}", shape.in_h, shape.in_w, shape.in_c, shape.out_c);
            distinct.push((name, shape, times));
        }
    }
    distinct
}

/// A square convolution padded to `size / stride`, of one image.
pub(crate) fn conv(
    size: usize,
    in_c: usize,
    out_c: usize,
    kernel: usize,
    stride: usize,
    groups: usize,
) -> ConvShape {
    let out = size / stride;
    let pad = ((out - 1) * stride + kernel).saturating_sub(size) / 2;
    ConvShape {
        batch: 1,
        in_h: size,
        in_w: size,
        in_c,
        out_h: out,
        out_w: out,
        out_c,
        kernel_h: kernel,
        kernel_w: kernel,
        stride_h: stride,
        stride_w: stride,
        dilation_h: 1,
        dilation_w: 1,
        pad_top: pad,
        pad_left: pad,
        groups,
    }
}
