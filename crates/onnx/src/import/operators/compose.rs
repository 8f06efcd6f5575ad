//! Operators that are exactly a composition of operators of the IR.

use fewbit_core::ir::{Activation, BinaryOp, CompareOp, DType, IndexOp, Op, Tensor, UnaryOp, ValueId};

use super::Site;
use crate::error::{OnnxError, OnnxErrorKind, Result};

/// A function of two elements without a clamp.
fn binary(op: BinaryOp) -> Op {
    Op::Binary { op, activation: Activation::None }
}

impl Site<'_, '_> {
    /// The last operator of the composition, whose inputs take the place of the node's.
    pub(super) fn composed(&mut self, op_type: &str) -> Result<Option<Op>> {
        match op_type {
            "Min" => Ok(self.fold(BinaryOp::Min)),
            "Max" => Ok(self.fold(BinaryOp::Max)),
            "Sum" => Ok(self.fold(BinaryOp::Add)),
            "Mean" => self.mean(),
            "IsNaN" => self.is_nan(),
            "IsInf" => self.is_inf(),
            "BitwiseNot" => self.bitwise_not(),
            "EyeLike" => self.eye_like(),
            "Hardmax" => self.hardmax(),
            "CenterCropPad" => self.center_crop_pad(),
            _ => self.normalised(op_type),
        }
    }

    /// An operator of the composition behind which others follow.
    pub(super) fn then(&mut self, op: Op, inputs: &[ValueId]) -> ValueId {
        let inputs = inputs.iter().copied().map(Some).collect();
        self.importer.emit(self.attributes.name(), op, inputs)
    }

    /// Leaves `inputs` to the last operator of the composition.
    pub(super) fn last(&mut self, op: Op, inputs: &[ValueId]) -> Op {
        self.inputs = inputs.iter().copied().map(Some).collect();
        op
    }

    /// A constant of the composition.
    pub(super) fn number(&mut self, dtype: DType, extents: &[usize], values: &[f64]) -> Result<ValueId> {
        let tensor = Tensor::from_f64(dtype, extents, values)
            .map_err(|error| OnnxError::core(OnnxErrorKind::Attribute, error))?;
        let base = format!("{}/constant", self.attributes.name());
        Ok(self.importer.new_constant(&base, tensor))
    }

    pub(super) fn x(&self) -> Result<ValueId> {
        self.input(0).ok_or_else(|| self.attributes.fail("expects an input, found none"))
    }

    /// The element type of the first input.
    pub(super) fn element_type(&self) -> Result<DType> {
        self.importer.graph.value(self.x()?).dtype.ok_or_else(|| {
            self.attributes.fail("expects an input of a known element type, found an unknown one")
        })
    }

    /// All inputs but the last folded by a function; the last application is the node's own.
    fn fold(&mut self, op: BinaryOp) -> Option<Op> {
        let inputs: Vec<ValueId> = self.inputs.iter().copied().flatten().collect();
        let (first, rest) = inputs.split_first()?;
        let Some((last, middle)) = rest.split_last() else { return Some(Op::Identity) };
        let mut so_far = *first;
        for &next in middle {
            so_far = self.then(binary(op), &[so_far, next]);
        }
        Some(self.last(binary(op), &[so_far, *last]))
    }

    /// A clamp whose bounds are computed: the larger of the two first, the upper bound last.
    pub(super) fn computed_clip(&mut self) -> Option<Op> {
        let mut so_far = self.input(0)?;
        let bounds = [(BinaryOp::Max, self.input(1)), (BinaryOp::Min, self.input(2))];
        let mut given = bounds.into_iter().filter_map(|(op, bound)| Some((op, bound?))).peekable();
        while let Some((op, bound)) = given.next() {
            if given.peek().is_none() {
                return Some(self.last(binary(op), &[so_far, bound]));
            }
            so_far = self.then(binary(op), &[so_far, bound]);
        }
        None
    }

    fn mean(&mut self) -> Result<Option<Op>> {
        let inputs: Vec<ValueId> = self.inputs.iter().copied().flatten().collect();
        let [first, rest @ ..] = inputs.as_slice() else { return Ok(None) };
        if rest.is_empty() {
            return Ok(Some(Op::Identity));
        }
        let count = self.number(self.element_type()?, &[], &[inputs.len() as f64])?;
        let sum = rest.iter().fold(*first, |sum, &next| self.then(binary(BinaryOp::Add), &[sum, next]));
        Ok(Some(self.last(binary(BinaryOp::Div), &[sum, count])))
    }

    /// Only NaN differs from itself.
    fn is_nan(&mut self) -> Result<Option<Op>> {
        let x = self.x()?;
        let same = self.then(Op::Compare(CompareOp::Equal), &[x, x]);
        Ok(Some(self.last(Op::Unary(UnaryOp::Not), &[same])))
    }

    fn is_inf(&mut self) -> Result<Option<Op>> {
        let a = self.attributes;
        let (dtype, x) = (self.element_type()?, self.x()?);
        let (x, infinity) = match (a.flag("detect_negative", true), a.flag("detect_positive", true)) {
            (true, true) => (self.then(Op::Unary(UnaryOp::Abs), &[x]), f64::INFINITY),
            (false, true) => (x, f64::INFINITY),
            (true, false) => (x, f64::NEG_INFINITY),
            (false, false) => {
                // Nothing is looked for: no element is less than itself.
                return Ok(Some(self.last(Op::Compare(CompareOp::Less), &[x, x])));
            }
        };
        let infinity = self.number(dtype, &[], &[infinity])?;
        Ok(Some(self.last(Op::Compare(CompareOp::Equal), &[x, infinity])))
    }

    /// Exclusive or with all bits set.
    fn bitwise_not(&mut self) -> Result<Option<Op>> {
        let (dtype, x) = (self.element_type()?, self.x()?);
        let ones = match dtype {
            dtype if dtype.is_signed_integer() => Tensor::from_i64(dtype, &[], &[-1]),
            DType::U64 => Ok(Tensor::scalar(u64::MAX)),
            dtype => match dtype.integer_range() {
                Some((_, high)) => Tensor::from_i64(dtype, &[], &[high]),
                None => return Err(self.attributes.fail(format!("expects integers, found {dtype}"))),
            },
        };
        let ones = ones.map_err(|error| OnnxError::core(OnnxErrorKind::Attribute, error))?;
        let ones = self.importer.new_constant(&format!("{}/ones", self.attributes.name()), ones);
        Ok(Some(self.last(binary(BinaryOp::BitXor), &[x, ones])))
    }

    /// Ones, of which the parts above and below the diagonal are cut off.
    fn eye_like(&mut self) -> Result<Option<Op>> {
        let (a, x) = (self.attributes, self.x()?);
        let dtype = match a.int("dtype", 0) {
            0 => self.element_type()?,
            number => match i32::try_from(number)
                .map_err(|_| ())
                .and_then(|n| crate::tensor::dtype(n).map_err(|_| ()))
            {
                Ok(dtype) => dtype,
                Err(()) => return Ok(None),
            },
        };
        let one = Tensor::from_f64(dtype, &[1], &[1.0])
            .map_err(|error| OnnxError::core(OnnxErrorKind::Attribute, error))?;
        let shape = self.then(Op::Shape { start: 0, end: None }, &[x]);
        let ones = self.then(Op::ConstantOfShape { value: one }, &[shape]);
        let diagonal = Tensor::scalar(a.int("k", 0));
        let diagonal = self.importer.new_constant(&format!("{}/diagonal", a.name()), diagonal);
        let upper = self.then(Op::Index(IndexOp::Trilu { upper: true }), &[ones, diagonal]);
        Ok(Some(self.last(Op::Index(IndexOp::Trilu { upper: false }), &[upper, diagonal])))
    }

    /// One where the first of the largest is, zero elsewhere.
    fn hardmax(&mut self) -> Result<Option<Op>> {
        let a = self.attributes;
        let (dtype, x) = (self.element_type()?, self.x()?);
        let values = self.number(dtype, &[2], &[0.0, 1.0])?;
        let hot = |this: &mut Self, x: ValueId, axis: usize| {
            let best = this.then(Op::ArgMax { axis, keep_dims: false, last: false, min: false }, &[x]);
            let depth = this.then(Op::Shape { start: axis, end: Some(axis + 1) }, &[x]);
            [best, depth, values]
        };
        if self.importer.opset >= 13 {
            let axis = self.axis(a.int("axis", -1))?;
            let inputs = hot(self, x, axis);
            return Ok(Some(self.last(Op::Index(IndexOp::OneHot { axis }), &inputs)));
        }
        // Before set 13 the axes from `axis` on count as one.
        let axis = self.axis(a.int("axis", 1))?;
        let flat = self.then(Op::Flatten { axis }, &[x]);
        let inputs = hot(self, flat, 1);
        let found = self.then(Op::Index(IndexOp::OneHot { axis: 1 }), &inputs);
        let shape = self.then(Op::Shape { start: 0, end: None }, &[x]);
        Ok(Some(self.last(Op::Reshape { allow_zero: true }, &[found, shape])))
    }
}
