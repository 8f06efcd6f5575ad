//! Steps: one kernel each, with everything resolved but the addresses.

use std::ops::Range;

use fewbit_core::ir::{DType, Tensor};
use fewbit_core::quant::convert;
use fewbit_core::reference;
use fewbit_core::{CoreError, CoreErrorKind};
use fewbit_kernels as kernels;
use fewbit_kernels::{
    AddU8, BinaryF32, Codes, ConvF32, ConvInt8, Dequantize, Epilogue, GemmF32, KernelError, LinearTap, MulU8,
    OutSlice, PoolShape, Requantize, ResizeShape, Scratch, TierToken, Transpose, UnaryF32,
};

use crate::buffer::{Buffer, Place, Slot};
use crate::compile::{Emulated, OPEN};
use crate::threads::Threads;

/// What a convolution writes.
#[derive(Debug)]
pub(crate) enum ConvOutput {
    /// Codes.
    Codes(Requantize),
    /// Real numbers: one factor per channel or one for all, the bounds of the fused clamp.
    Real { scale: Vec<f32>, min: f32, max: f32 },
}

/// How an operand of an element-wise step is repeated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Blocks {
    /// Elements of the output that one block covers.
    pub(crate) len: usize,
    /// Elements that the first and second operand have for a block, repeated within it.
    pub(crate) a: usize,
    pub(crate) b: usize,
    /// Elements by which the operands move on from block to block.
    pub(crate) a_step: usize,
    pub(crate) b_step: usize,
}

/// A kernel and its parameters.
pub(crate) enum Work {
    ConvInt8 {
        conv: ConvInt8,
        x_zero: u8,
        output: ConvOutput,
    },
    ConvF32(ConvF32),
    /// The input's range is found, the input quantized into the second output, then multiplied.
    Dynamic {
        conv: ConvInt8,
        weight_scales: Vec<f32>,
        bias: Option<Vec<f32>>,
        min: f32,
        max: f32,
    },
    /// The second matrix is packed into the second output, then multiplied; a step of 0 repeats a matrix.
    GemmF32 {
        gemm: GemmF32,
        batch: usize,
        rows: usize,
        a_step: usize,
        b_step: usize,
    },
    AddU8 {
        parameters: AddU8,
        blocks: Blocks,
    },
    MulU8 {
        parameters: MulU8,
        blocks: Blocks,
    },
    BinaryF32 {
        op: BinaryF32,
        bounds: (f32, f32),
        blocks: Blocks,
    },
    Table(Box<[u8; 256]>),
    UnaryF32(UnaryF32),
    MaxPool(PoolShape),
    AveragePoolU8 {
        shape: PoolShape,
        x_zero: u8,
        multiplier: Vec<f32>,
        codes: Codes,
    },
    AveragePoolF32(PoolShape),
    GlobalAverageU8 {
        channels: usize,
        batch: usize,
        x_zero: u8,
        multiplier: f32,
        codes: Codes,
    },
    GlobalAverageF32 {
        channels: usize,
        batch: usize,
    },
    ResizeNearest {
        shape: ResizeShape,
        rows: Vec<u32>,
        columns: Vec<u32>,
    },
    ResizeLinearU8 {
        shape: ResizeShape,
        rows: Vec<LinearTap<u16>>,
        columns: Vec<LinearTap<u16>>,
    },
    ResizeLinearF32 {
        shape: ResizeShape,
        rows: Vec<LinearTap<f32>>,
        columns: Vec<LinearTap<f32>>,
    },
    /// Operands side by side: each fills `width` of every `out_width` elements, through a table where one is given.
    Concat {
        widths: Vec<usize>,
        tables: Vec<Option<Box<[u8; 256]>>>,
        out_width: usize,
    },
    Quantize {
        scale: f32,
        codes: Codes,
    },
    Dequantize {
        scale: f32,
        zero: u8,
    },
    Softmax {
        width: usize,
        log: bool,
    },
    LayerNorm {
        scale: Vec<f32>,
        bias: Option<Vec<f32>>,
        epsilon: f32,
    },
    /// Elements in another order, 1, 4 or 8 bytes each.
    Transpose(Transpose),
    /// The elements as they are, or with 128 added to each (i8 to u8 and back).
    Copy {
        flip: bool,
    },
    /// The reference interpreter.
    Emulated(Box<Emulated>),
}

/// One step of an executable.
pub(crate) struct Step {
    /// The node that it belongs to.
    pub(crate) node: String,
    /// The kernel's name, for profiles.
    pub(crate) kernel: String,
    pub(crate) inputs: Vec<Slot>,
    pub(crate) outputs: Vec<Slot>,
    pub(crate) work: Work,
    /// Operations, to decide whether threads pay.
    pub(crate) operations: u64,
}

/// What steps read from.
pub(crate) struct Sources<'a> {
    pub(crate) buffers: &'a [Buffer],
    pub(crate) constants: &'a [Buffer],
    pub(crate) inputs: &'a [Tensor],
}

impl Sources<'_> {
    pub(crate) fn bytes(&self, slot: &Slot) -> &[u8] {
        match slot.place {
            Place::Buffer(id) => self.buffers[id].slice(slot.bytes()),
            Place::Constant(id) => self.constants[id].slice(slot.bytes()),
            Place::Input(id) => self.inputs[id].bytes(),
        }
    }

    pub(crate) fn floats(&self, slot: &Slot) -> &[f32] {
        bytemuck::cast_slice(self.bytes(slot))
    }
}

impl Step {
    /// Computes the outputs, which were taken out of the context's buffers.
    pub(crate) fn run(
        &self,
        token: TierToken,
        sources: &Sources,
        outputs: &mut [Buffer],
        threads: &Threads,
        scratch: &mut [Scratch],
    ) -> Result<(), CoreError> {
        if let Work::Emulated(emulated) = &self.work {
            return emulated.run(&self.inputs, &self.outputs, sources, outputs);
        }
        self.kernel(token, sources, outputs, threads, scratch).map_err(|error| {
            CoreError::new(CoreErrorKind::Backend, format!("kernel {}: {error}", self.kernel)).at(&self.node)
        })
    }

    fn kernel(
        &self,
        token: TierToken,
        sources: &Sources,
        outputs: &mut [Buffer],
        threads: &Threads,
        scratch: &mut [Scratch],
    ) -> Result<(), KernelError> {
        let (y, rest) = outputs.split_first_mut().expect("every step has an output");
        let n = self.outputs[0].elements;
        let u8s = |index: usize| sources.bytes(&self.inputs[index]);
        let f32s = |index: usize| sources.floats(&self.inputs[index]);
        let flat = |units: Range<usize>| units;
        let ops = self.operations;
        match &self.work {
            Work::ConvInt8 { conv, x_zero, output } => {
                let x = u8s(0);
                let units = conv.units();
                let range = |units: Range<usize>| conv.unit_range(units);
                match output {
                    ConvOutput::Codes(requantize) => threads.split(
                        units,
                        ops,
                        range,
                        y.slice_mut::<u8>(n),
                        scratch,
                        |units, out, scratch| {
                            conv.run(x, *x_zero, units, &Epilogue::U8(requantize), OutSlice::U8(out), scratch)
                        },
                    ),
                    ConvOutput::Real { scale, min, max } => {
                        let epilogue = Epilogue::F32(Dequantize::new(scale, None, *min, *max)?);
                        threads.split(
                            units,
                            ops,
                            range,
                            y.slice_mut::<f32>(n),
                            scratch,
                            |units, out, scratch| {
                                conv.run(x, *x_zero, units, &epilogue, OutSlice::F32(out), scratch)
                            },
                        )
                    }
                }
            }
            Work::ConvF32(conv) => {
                let x = f32s(0);
                let range = |units: Range<usize>| conv.unit_range(units);
                threads.split(
                    conv.units(),
                    ops,
                    range,
                    y.slice_mut::<f32>(n),
                    scratch,
                    |units, out, scratch| conv.run(x, units, out, scratch),
                )
            }
            Work::Dynamic { conv, weight_scales, bias, min, max } => {
                let x = f32s(0);
                let (scale, zero) = convert::dynamic_parameters(x);
                let codes = rest[0].slice_mut::<u8>(x.len());
                let zero = zero as u8;
                kernels::quantize_f32(token, x, &[scale], &[Codes::full(zero)], codes)?;
                let factors: Vec<f32> = weight_scales.iter().map(|w| scale * w).collect();
                let epilogue = Epilogue::F32(Dequantize::new(&factors, bias.as_deref(), *min, *max)?);
                let range = |units: Range<usize>| conv.unit_range(units);
                let codes = &*codes;
                threads.split(
                    conv.units(),
                    ops,
                    range,
                    y.slice_mut::<f32>(n),
                    scratch,
                    |units, out, scratch| {
                        conv.run(codes, zero, units, &epilogue, OutSlice::F32(out), scratch)
                    },
                )
            }
            Work::GemmF32 { gemm, batch, rows, a_step, b_step } => {
                let (a, b) = (f32s(0), f32s(1));
                let packed = rest[0].slice_mut::<f32>(gemm.packed_len());
                let columns = n / (batch * rows);
                let (a_len, b_len) = (
                    a.len() / if *a_step == 0 { 1 } else { *batch },
                    b.len() / if *b_step == 0 { 1 } else { *batch },
                );
                let depth = a_len / rows;
                for (index, out) in y.slice_mut::<f32>(n).chunks_exact_mut(rows * columns).enumerate() {
                    if index == 0 || *b_step > 0 {
                        gemm.pack(&b[index * b_step..][..b_len], false, None, packed)?;
                    }
                    let a = &a[index * a_step..][..a_len];
                    let packed = &*packed;
                    let range = |rows: Range<usize>| rows.start * columns..rows.end * columns;
                    threads.split(*rows, ops / *batch as u64, range, out, scratch, |rows, out, _| {
                        gemm.run(&a[rows.start * depth..rows.end * depth], packed, OPEN, out)
                    })?;
                }
                Ok(())
            }
            Work::AddU8 { parameters, blocks } => {
                let (a, b) = (u8s(0), u8s(1));
                blocks.each(threads, ops, a, b, y.slice_mut::<u8>(n), scratch, |a, b, out| {
                    kernels::add_u8(token, a, b, parameters, out)
                })
            }
            Work::MulU8 { parameters, blocks } => {
                let (a, b) = (u8s(0), u8s(1));
                blocks.each(threads, ops, a, b, y.slice_mut::<u8>(n), scratch, |a, b, out| {
                    kernels::mul_u8(token, a, b, parameters, out)
                })
            }
            Work::BinaryF32 { op, bounds, blocks } => {
                let (a, b) = (f32s(0), f32s(1));
                blocks.each(threads, ops, a, b, y.slice_mut::<f32>(n), scratch, |a, b, out| {
                    kernels::binary_f32(token, *op, a, b, *bounds, out)
                })
            }
            Work::Table(table) => {
                let x = u8s(0);
                threads.split(n, ops, flat, y.slice_mut::<u8>(n), scratch, |range, out, _| {
                    kernels::table_u8(token, table, &x[range], out)
                })
            }
            Work::UnaryF32(op) => {
                let x = f32s(0);
                threads.split(n, ops, flat, y.slice_mut::<f32>(n), scratch, |range, out, _| {
                    kernels::unary_f32(token, *op, &x[range], out)
                })
            }
            Work::MaxPool(shape) => {
                let range = |rows: Range<usize>| rows.start * shape.row_len()..rows.end * shape.row_len();
                if self.outputs[0].dtype == DType::F32 {
                    let x = f32s(0);
                    threads.split(shape.rows(), ops, range, y.slice_mut::<f32>(n), scratch, |rows, out, _| {
                        kernels::max_pool_f32(token, shape, x, rows, out)
                    })
                } else {
                    let x = u8s(0);
                    threads.split(shape.rows(), ops, range, y.slice_mut::<u8>(n), scratch, |rows, out, _| {
                        kernels::max_pool_u8(token, shape, x, rows, out)
                    })
                }
            }
            Work::AveragePoolU8 { shape, x_zero, multiplier, codes } => {
                let x = u8s(0);
                let range = |rows: Range<usize>| rows.start * shape.row_len()..rows.end * shape.row_len();
                threads.split(shape.rows(), ops, range, y.slice_mut::<u8>(n), scratch, |rows, out, _| {
                    kernels::average_pool_u8(token, shape, x, *x_zero, multiplier, *codes, rows, out)
                })
            }
            Work::AveragePoolF32(shape) => {
                let x = f32s(0);
                let range = |rows: Range<usize>| rows.start * shape.row_len()..rows.end * shape.row_len();
                threads.split(shape.rows(), ops, range, y.slice_mut::<f32>(n), scratch, |rows, out, _| {
                    kernels::average_pool_f32(token, shape, x, rows, out)
                })
            }
            Work::GlobalAverageU8 { channels, batch, x_zero, multiplier, codes } => {
                let x = u8s(0);
                let image = x.len() / batch;
                for (x, out) in x.chunks_exact(image).zip(y.slice_mut::<u8>(n).chunks_exact_mut(*channels)) {
                    threads.split(*channels, ops, flat, out, scratch, |range, out, _| {
                        kernels::global_average_u8(
                            token,
                            x,
                            *channels,
                            *x_zero,
                            *multiplier,
                            *codes,
                            range,
                            out,
                        )
                    })?;
                }
                Ok(())
            }
            Work::GlobalAverageF32 { channels, batch } => {
                let x = f32s(0);
                let image = x.len() / batch;
                for (x, out) in x.chunks_exact(image).zip(y.slice_mut::<f32>(n).chunks_exact_mut(*channels)) {
                    threads.split(*channels, ops, flat, out, scratch, |range, out, _| {
                        kernels::global_average_f32(token, x, *channels, range, out)
                    })?;
                }
                Ok(())
            }
            Work::ResizeNearest { shape, rows, columns } => {
                let width = columns.len() * shape.channels;
                let count = rows.len() * shape.batch;
                let range = |units: Range<usize>| units.start * width..units.end * width;
                if self.outputs[0].dtype == DType::F32 {
                    let x = f32s(0);
                    threads.split(count, ops, range, y.slice_mut::<f32>(n), scratch, |units, out, _| {
                        kernels::resize_nearest(shape, x, rows, columns, units, out)
                    })
                } else {
                    let x = u8s(0);
                    threads.split(count, ops, range, y.slice_mut::<u8>(n), scratch, |units, out, _| {
                        kernels::resize_nearest(shape, x, rows, columns, units, out)
                    })
                }
            }
            Work::ResizeLinearU8 { shape, rows, columns } => {
                let x = u8s(0);
                let width = columns.len() * shape.channels;
                let range = |units: Range<usize>| units.start * width..units.end * width;
                threads.split(
                    rows.len() * shape.batch,
                    ops,
                    range,
                    y.slice_mut::<u8>(n),
                    scratch,
                    |units, out, _| kernels::resize_linear_u8(token, shape, x, rows, columns, units, out),
                )
            }
            Work::ResizeLinearF32 { shape, rows, columns } => {
                let x = f32s(0);
                let width = columns.len() * shape.channels;
                let range = |units: Range<usize>| units.start * width..units.end * width;
                threads.split(
                    rows.len() * shape.batch,
                    ops,
                    range,
                    y.slice_mut::<f32>(n),
                    scratch,
                    |units, out, _| kernels::resize_linear_f32(token, shape, x, rows, columns, units, out),
                )
            }
            Work::Concat { widths, tables, out_width } => {
                let size = self.outputs[0].dtype.bits() / 8;
                let out = y.slice_mut::<u8>(n * size);
                let mut offset = 0;
                for (index, (&width, table)) in widths.iter().zip(tables).enumerate() {
                    let x = u8s(index);
                    match table {
                        Some(table) => {
                            kernels::place_channels_table(token, table, x, width, out, *out_width, offset)?;
                        }
                        None => {
                            kernels::place_channels(x, width * size, out, out_width * size, offset * size)?;
                        }
                    }
                    offset += width;
                }
                Ok(())
            }
            Work::Quantize { scale, codes } => {
                let x = f32s(0);
                threads.split(n, ops, flat, y.slice_mut::<u8>(n), scratch, |range, out, _| {
                    kernels::quantize_f32(token, &x[range], &[*scale], &[*codes], out)
                })
            }
            Work::Dequantize { scale, zero } => {
                let x = u8s(0);
                threads.split(n, ops, flat, y.slice_mut::<f32>(n), scratch, |range, out, _| {
                    kernels::dequantize_u8(token, &x[range], &[*scale], &[*zero], out)
                })
            }
            Work::Softmax { width, log } => {
                kernels::softmax_f32(token, f32s(0), *width, *log, y.slice_mut::<f32>(n))
            }
            Work::LayerNorm { scale, bias, epsilon } => kernels::layer_norm_f32(
                token,
                f32s(0),
                scale,
                bias.as_deref(),
                *epsilon,
                y.slice_mut::<f32>(n),
            ),
            Work::Transpose(transpose) => {
                let range = |units: Range<usize>| transpose.unit_range(units);
                let units = transpose.units();
                match self.outputs[0].dtype.bits() {
                    8 => {
                        let x = u8s(0);
                        threads.split(units, ops, range, y.slice_mut::<u8>(n), scratch, |units, out, _| {
                            transpose.run(x, units, out)
                        })
                    }
                    64 => transpose.run(
                        bytemuck::cast_slice::<u8, u64>(u8s(0)),
                        0..units,
                        y.slice_mut::<u64>(n),
                    ),
                    _ => {
                        let x = f32s(0);
                        threads.split(units, ops, range, y.slice_mut::<f32>(n), scratch, |units, out, _| {
                            transpose.run(x, units, out)
                        })
                    }
                }
            }
            Work::Copy { flip } => {
                let x = u8s(0);
                let out = y.slice_mut::<u8>(x.len());
                out.copy_from_slice(x);
                if *flip {
                    flip_sign(out);
                }
                Ok(())
            }
            Work::Emulated(_) => Ok(()),
        }
    }
}

/// Adds 128 to every element: i8 codes to u8 codes and back.
pub(crate) fn flip_sign(bytes: &mut [u8]) {
    for byte in bytes {
        *byte ^= 0x80;
    }
}

impl Blocks {
    /// Operands of the output's own extents.
    pub(crate) fn whole(n: usize) -> Self {
        Self { len: n, a: n, b: n, a_step: 0, b_step: 0 }
    }

    /// Runs `work` on each block of the output with the operands' parts.
    fn each<T: Copy + Sync, Y: Send>(
        &self,
        threads: &Threads,
        operations: u64,
        a: &[T],
        b: &[T],
        out: &mut [Y],
        scratch: &mut [Scratch],
        work: impl Fn(&[T], &[T], &mut [Y]) -> Result<(), KernelError> + Sync,
    ) -> Result<(), KernelError> {
        if out.is_empty() {
            return Ok(());
        }
        if self.len == out.len() && (self.a, self.b) == (self.len, self.len) {
            return threads.split(
                self.len,
                operations,
                |range| range,
                out,
                scratch,
                |range, out, _| work(&a[range.clone()], &b[range], out),
            );
        }
        for (index, out) in out.chunks_exact_mut(self.len).enumerate() {
            let a = &a[index * self.a_step..][..self.a];
            let b = &b[index * self.b_step..][..self.b];
            work(a, b, out)?;
        }
        Ok(())
    }
}

/// The name of a function of one element, and the kernel's form of it where it has one.
pub(crate) fn unary_kernel(op: fewbit_core::ir::UnaryOp) -> Option<UnaryF32> {
    use fewbit_core::ir::UnaryOp;
    Some(match op {
        UnaryOp::Relu => UnaryF32::Relu,
        UnaryOp::LeakyRelu { alpha } => UnaryF32::LeakyRelu { alpha },
        UnaryOp::Elu { alpha } => UnaryF32::Elu { alpha },
        UnaryOp::Clip { min, max } => UnaryF32::Clip { min, max },
        UnaryOp::Sigmoid => UnaryF32::Sigmoid,
        UnaryOp::HardSigmoid { alpha, beta } => UnaryF32::HardSigmoid { alpha, beta },
        UnaryOp::HardSwish => UnaryF32::HardSwish,
        UnaryOp::Silu => UnaryF32::Silu,
        UnaryOp::Gelu { tanh: false } => UnaryF32::Gelu,
        UnaryOp::Gelu { tanh: true } => UnaryF32::GeluTanh,
        UnaryOp::Mish => UnaryF32::Mish,
        UnaryOp::Softplus => UnaryF32::Softplus,
        UnaryOp::Tanh => UnaryF32::Tanh,
        UnaryOp::Erf => UnaryF32::Erf,
        UnaryOp::Exp => UnaryF32::Exp,
        UnaryOp::Log => UnaryF32::Log,
        UnaryOp::Sqrt => UnaryF32::Sqrt,
        UnaryOp::Reciprocal => UnaryF32::Reciprocal,
        UnaryOp::Abs => UnaryF32::Abs,
        UnaryOp::Neg => UnaryF32::Neg,
        UnaryOp::Sign => UnaryF32::Sign,
        UnaryOp::Floor => UnaryF32::Floor,
        UnaryOp::Ceil => UnaryF32::Ceil,
        UnaryOp::Round => UnaryF32::Round,
        UnaryOp::Sin => UnaryF32::Sin,
        UnaryOp::Cos => UnaryF32::Cos,
        _ => return None,
    })
}

/// The table of a function of one 8-bit element, over codes as they are stored here.
pub(crate) fn unary_table(
    op: fewbit_core::ir::UnaryOp,
    x: (f32, i32, DType),
    y: (f32, i32, DType),
    range: convert::CodeRange,
) -> Box<[u8; 256]> {
    let codes = if x.2 == DType::I8 { convert::CodeRange::I8 } else { convert::CodeRange::U8 };
    let table = convert::table(codes, x.0, x.1, |real| reference::unary_function(op, real), y.0, y.1, range);
    let mut bytes = Box::new([0u8; 256]);
    for (code, &result) in table.iter().enumerate() {
        // Tables of the reference are indexed by the code's bits; i8 codes are stored with 128 added.
        let at = if x.2 == DType::I8 { code ^ 0x80 } else { code };
        bytes[at] = (result + if y.2 == DType::I8 { 128 } else { 0 }) as u8;
    }
    bytes
}
