//! Normalisations and other functions of whole tensors that are compositions, and outputs beyond the first.

use fewbit_core::ir::{
    Activation, BinaryOp, CompareOp, DType, Op, PoolAttributes, ReduceOp, Tensor, UnaryOp, ValueId,
};

use super::Site;
use crate::error::{OnnxError, OnnxErrorKind, Result};

/// Most groups of a normalisation: more than any model has channels.
const MOST_GROUPS: usize = 1 << 16;

/// A function of two elements without a clamp.
fn binary(op: BinaryOp) -> Op {
    Op::Binary { op, activation: Activation::None }
}

impl Site<'_, '_> {
    pub(super) fn cast_like(&mut self) -> Result<Op> {
        let like = self.importer.graph.value(self.required(1)?);
        let to = like.dtype.ok_or_else(|| {
            self.attributes
                .lacks(format!("`{}` of unknown element type; a known one is supported", like.name))
        })?;
        self.inputs.truncate(1);
        Ok(Op::Cast { to })
    }

    pub(super) fn swish(&mut self) -> Result<Op> {
        let (dtype, x) = (self.element_type()?, self.x()?);
        let alpha = self.number(dtype, &[], &[f64::from(self.attributes.float("alpha", 1.0))])?;
        let scaled = self.then(binary(BinaryOp::Mul), &[x, alpha]);
        let gate = self.then(Op::Unary(UnaryOp::Sigmoid), &[scaled]);
        Ok(self.last(binary(BinaryOp::Mul), &[x, gate]))
    }

    /// The first input's Swish times the second.
    pub(super) fn swi_glu(&mut self) -> Result<Op> {
        let linear = self.required(1)?;
        let op = self.swish()?;
        let inputs: Vec<ValueId> = self.inputs.iter().copied().flatten().collect();
        let gate = self.then(op, &inputs);
        Ok(self.last(binary(BinaryOp::Mul), &[gate, linear]))
    }

    /// The axes from `axis` on.
    fn trailing_axes(&self, default: i64) -> Result<Vec<usize>> {
        let axis = self.axis(self.attributes.int("axis", default))?;
        Ok((axis..self.importer.rank(self.input(0))?).collect())
    }

    /// A value in f32, in which normalisations compute.
    fn in_f32(&mut self, id: ValueId, dtype: DType) -> ValueId {
        if dtype == DType::F32 || dtype == DType::F64 {
            id
        } else {
            self.then(Op::Cast { to: DType::F32 }, &[id])
        }
    }

    pub(super) fn rms_norm(&mut self) -> Result<Op> {
        let (dtype, given) = (self.element_type()?, self.x()?);
        let scale = self.required(1)?;
        let axes = self.trailing_axes(-1)?;
        let x = self.in_f32(given, dtype);
        let inner = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let epsilon = self.number(inner, &[], &[f64::from(self.attributes.float("epsilon", 1e-5))])?;
        let square = self.then(binary(BinaryOp::Mul), &[x, x]);
        let mean = self.then(Op::Reduce { op: ReduceOp::Mean, axes, keep_dims: true }, &[square]);
        let sum = self.then(binary(BinaryOp::Add), &[mean, epsilon]);
        let root = self.then(Op::Unary(UnaryOp::Sqrt), &[sum]);
        let mut y = self.then(binary(BinaryOp::Div), &[x, root]);
        if inner != dtype {
            y = self.then(Op::Cast { to: dtype }, &[y]);
        }
        Ok(self.last(binary(BinaryOp::Mul), &[y, scale]))
    }

    /// Each group of channels of each sample normalised as one; before set 21 scale and bias were per group.
    pub(super) fn group_norm(&mut self) -> Result<Op> {
        let (a, x, dtype) = (self.attributes, self.x()?, self.element_type()?);
        let (scale, bias) = (self.required(1)?, self.required(2)?);
        let groups = usize::try_from(a.int("num_groups", 0)).ok().filter(|&groups| groups > 0);
        let Some(groups) = groups.filter(|&groups| groups <= MOST_GROUPS) else {
            return Err(a.fail(format!("expects num_groups of 1 or more, found {}", a.int("num_groups", 0))));
        };
        let rank = self.importer.rank(Some(x))?;
        let joined = self.number(DType::I64, &[3], &[0.0, groups as f64, -1.0])?;
        let flat = self.then(Op::Reshape { allow_zero: false }, &[x, joined]);
        let one = self.number(dtype, &[groups], &vec![1.0; groups])?;
        let zero = self.number(dtype, &[groups], &vec![0.0; groups])?;
        let normal = self.then(Op::InstanceNorm { epsilon: a.float("epsilon", 1e-5) }, &[flat, one, zero]);
        let shape = self.then(Op::Shape { start: 0, end: None }, &[x]);
        let mut y = self.then(Op::Reshape { allow_zero: true }, &[normal, shape]);
        let mut places = vec![1.0; rank];
        if let Some(channels) = places.get_mut(1) {
            *channels = -1.0;
        }
        let own = |this: &mut Self, mut value: ValueId| -> Result<ValueId> {
            if this.importer.opset < 21 {
                let each = this.extents(x)?.get(1).map_or(0, |channels| channels / groups);
                let column = this.number(DType::I64, &[2], &[groups as f64, 1.0])?;
                let wide = this.number(DType::I64, &[2], &[groups as f64, each as f64])?;
                value = this.then(Op::Reshape { allow_zero: false }, &[value, column]);
                value = this.then(Op::Expand, &[value, wide]);
            }
            let places = this.number(DType::I64, &[rank], &places)?;
            Ok(this.then(Op::Reshape { allow_zero: false }, &[value, places]))
        };
        let (scale, bias) = (own(self, scale)?, own(self, bias)?);
        y = self.then(binary(BinaryOp::Mul), &[y, scale]);
        Ok(self.last(binary(BinaryOp::Add), &[y, bias]))
    }

    /// `a - b cos(2πn/N) + c cos(4πn/N)` for as many `n` as the input says; `N` is one less unless the window is periodic.
    pub(super) fn cosine_window(&mut self, [a, b, c]: [f64; 3]) -> Result<Op> {
        let (integer, size) = (self.element_type()?, self.x()?);
        let to = self.type_by_number("output_datatype", self.attributes.int("output_datatype", 1))?;
        let [zero, one] = [self.number(integer, &[], &[0.0])?, self.number(integer, &[], &[1.0])?];
        let places = self.then(Op::Range, &[zero, size, one]);
        let places = self.then(Op::Cast { to: DType::F64 }, &[places]);
        let mut steps = self.then(Op::Cast { to: DType::F64 }, &[size]);
        let number = |this: &mut Self, value: f64| this.number(DType::F64, &[], &[value]);
        if !self.attributes.flag("periodic", true) {
            let one = number(self, 1.0)?;
            steps = self.then(binary(BinaryOp::Sub), &[steps, one]);
        }
        let share = self.then(binary(BinaryOp::Div), &[places, steps]);
        let mut sum = number(self, a)?;
        for (op, turns, weight) in [(BinaryOp::Sub, 2.0, b), (BinaryOp::Add, 4.0, c)] {
            let turns = number(self, turns * std::f64::consts::PI)?;
            let weight = number(self, weight)?;
            let angle = self.then(binary(BinaryOp::Mul), &[share, turns]);
            let wave = self.then(Op::Unary(UnaryOp::Cos), &[angle]);
            let wave = self.then(binary(BinaryOp::Mul), &[wave, weight]);
            sum = self.then(binary(op), &[sum, wave]);
        }
        Ok(self.last(Op::Cast { to }, &[sum]))
    }

    /// The powers of magnitudes, and what they are raised to.
    fn powers(&mut self) -> Result<(ValueId, f64, DType)> {
        let (dtype, x) = (self.element_type()?, self.x()?);
        let p = self.attributes.int("p", 2);
        if p < 1 {
            return Err(self.attributes.fail(format!("expects p of 1 or more, found {p}")));
        }
        let size = self.then(Op::Unary(UnaryOp::Abs), &[x]);
        let exponent = self.number(dtype, &[], &[p as f64])?;
        Ok((self.then(binary(BinaryOp::Pow), &[size, exponent]), p as f64, dtype))
    }

    /// The root of the sum of powers in each window: their mean, padding included, as often as a window has elements.
    pub(super) fn lp_pool(&mut self) -> Result<Op> {
        let pool = self.pool(true)?;
        let elements: usize = pool.kernel.iter().product();
        let (powers, p, dtype) = self.powers()?;
        let mean = self.then(Op::AveragePool(pool), &[powers]);
        let elements = self.number(dtype, &[], &[elements as f64])?;
        let sum = self.then(binary(BinaryOp::Mul), &[mean, elements]);
        let root = self.number(dtype, &[], &[1.0 / p])?;
        Ok(self.last(binary(BinaryOp::Pow), &[sum, root]))
    }

    pub(super) fn global_lp_pool(&mut self) -> Result<Op> {
        let axes = (2..self.importer.rank(self.input(0))?).collect();
        let (powers, p, dtype) = self.powers()?;
        let sum = self.then(Op::Reduce { op: ReduceOp::Sum, axes, keep_dims: true }, &[powers]);
        let root = self.number(dtype, &[], &[1.0 / p])?;
        Ok(self.last(binary(BinaryOp::Pow), &[sum, root]))
    }

    pub(super) fn lp_norm(&mut self) -> Result<Op> {
        let a = self.attributes;
        let x = self.x()?;
        let op = match a.int("p", 2) {
            1 => ReduceOp::L1,
            2 => ReduceOp::L2,
            other => return Err(a.fail(format!("expects a norm of 1 or 2, found {other}"))),
        };
        let axes = vec![self.axis(a.int("axis", -1))?];
        let norm = self.then(Op::Reduce { op, axes, keep_dims: true }, &[x]);
        // Where the norm is 0, so is every element, and so is the result.
        let zero = self.number(self.element_type()?, &[], &[0.0])?;
        let one = self.number(self.element_type()?, &[], &[1.0])?;
        let none = self.then(Op::Compare(CompareOp::Equal), &[norm, zero]);
        let norm = self.then(Op::Where, &[none, one, norm]);
        Ok(self.last(binary(BinaryOp::Div), &[x, norm]))
    }

    pub(super) fn mean_variance(&mut self) -> Result<Op> {
        let x = self.x()?;
        let rank = self.importer.rank(Some(x))?;
        let axes = self.axes(self.attributes.ints("axes").unwrap_or(&[0, 2, 3]), rank)?;
        let mean = Op::Reduce { op: ReduceOp::Mean, axes, keep_dims: true };
        let center = self.then(mean.clone(), &[x]);
        let apart = self.then(binary(BinaryOp::Sub), &[x, center]);
        let square = self.then(binary(BinaryOp::Mul), &[apart, apart]);
        let variance = self.then(mean, &[square]);
        let deviation = self.then(Op::Unary(UnaryOp::Sqrt), &[variance]);
        // The definition's guard against constant data.
        let least = self.number(self.element_type()?, &[], &[1e-9])?;
        let deviation = self.then(binary(BinaryOp::Add), &[deviation, least]);
        Ok(self.last(binary(BinaryOp::Div), &[apart, deviation]))
    }

    /// The mean of squares over a window of channels is an average pooling of a tensor with one more axis.
    pub(super) fn lrn(&mut self) -> Result<Op> {
        let a = self.attributes;
        let (dtype, x) = (self.element_type()?, self.x()?);
        let rank = self.importer.rank(Some(x))?;
        let size = usize::try_from(a.int("size", 0)).ok().filter(|&size| (1..=1 << 20).contains(&size));
        let size = size.ok_or_else(|| a.fail("expects a size of at least 1"))?;
        if rank < 3 {
            return Err(a.lacks(format!("an input of rank {rank}; 3 axes and more are supported")));
        }
        let spatial = rank - 1;
        let with_first = |first: usize, rest: usize| {
            let mut list = vec![rest; spatial];
            list[0] = first;
            list
        };
        let before = (size - 1) / 2;
        let mut pads = with_first(before, 0);
        pads.extend(with_first(size - 1 - before, 0));
        let pool = PoolAttributes {
            kernel: with_first(size, 1),
            strides: vec![1; spatial],
            dilations: vec![1; spatial],
            pads,
            ceil: false,
            count_include_pad: true,
        };
        let alpha = self.number(dtype, &[], &[f64::from(a.float("alpha", 1e-4))])?;
        let beta = self.number(dtype, &[], &[f64::from(a.float("beta", 0.75))])?;
        let bias = self.number(dtype, &[], &[f64::from(a.float("bias", 1.0))])?;
        let square = self.then(binary(BinaryOp::Mul), &[x, x]);
        let square = self.then(Op::Unsqueeze { axes: vec![1] }, &[square]);
        let mean = self.then(Op::AveragePool(pool), &[square]);
        let mean = self.then(Op::Squeeze { axes: vec![1] }, &[mean]);
        let scaled = self.then(binary(BinaryOp::Mul), &[mean, alpha]);
        let sum = self.then(binary(BinaryOp::Add), &[scaled, bias]);
        let divisor = self.then(binary(BinaryOp::Pow), &[sum, beta]);
        Ok(self.last(binary(BinaryOp::Div), &[x, divisor]))
    }

    pub(super) fn reduce_log_sum(&mut self) -> Result<Op> {
        let sum = self.reduce(ReduceOp::Sum)?;
        let inputs: Vec<ValueId> = self.inputs.iter().copied().flatten().collect();
        let sum = self.then(sum, &inputs);
        Ok(self.last(Op::Unary(UnaryOp::Log), &[sum]))
    }

    /// Lets `values` stand for the outputs behind the first.
    pub(super) fn give(&mut self, values: &[ValueId]) {
        let names = self.outputs.split_off(1);
        for (&id, name) in values.iter().zip(names) {
            if !name.is_empty() {
                self.importer.graph.value_mut(id).name.clone_from(&name);
                self.importer.values.insert(name, id);
            }
        }
    }

    /// The mask of a Dropout that drops nothing.
    pub(super) fn dropout_mask(&mut self) -> Result<()> {
        let x = self.x()?;
        let one = if self.importer.opset >= 10 {
            Tensor::from_bools(&[1], &[true])
        } else {
            Tensor::from_f64(self.element_type()?, &[1], &[1.0])
        };
        let value = one.map_err(|error| OnnxError::core(OnnxErrorKind::Attribute, error))?;
        let shape = self.then(Op::Shape { start: 0, end: None }, &[x]);
        let mask = self.then(Op::ConstantOfShape { value }, &[shape]);
        self.give(&[mask]);
        Ok(())
    }

    /// Mean and inverse deviation of a LayerNormalization, which it may give beside its result.
    pub(super) fn layer_statistics(&mut self, axis: usize, epsilon: f32) -> Result<()> {
        let (dtype, given) = (self.element_type()?, self.x()?);
        let axes = (axis..self.importer.rank(Some(given))?).collect();
        let x = self.in_f32(given, dtype);
        let inner = if dtype == DType::F64 { DType::F64 } else { DType::F32 };
        let reduce = Op::Reduce { op: ReduceOp::Mean, axes, keep_dims: true };
        let mean = self.then(reduce.clone(), &[x]);
        let apart = self.then(binary(BinaryOp::Sub), &[x, mean]);
        let square = self.then(binary(BinaryOp::Mul), &[apart, apart]);
        let variance = self.then(reduce, &[square]);
        let epsilon = self.number(inner, &[], &[f64::from(epsilon)])?;
        let sum = self.then(binary(BinaryOp::Add), &[variance, epsilon]);
        let root = self.then(Op::Unary(UnaryOp::Sqrt), &[sum]);
        let inverse = self.then(Op::Unary(UnaryOp::Reciprocal), &[root]);
        self.give(&[mean, inverse]);
        Ok(())
    }
}
