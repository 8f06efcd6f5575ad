//! Operators that are exactly a composition of operators of the IR.

use fewbit_core::ir::{Activation, BinaryOp, CompareOp, DType, IndexOp, Op, Tensor, UnaryOp, ValueId};

use super::Site;
use crate::error::{OnnxError, OnnxErrorKind, Result};

/// A function of two elements without a clamp.
fn binary(op: BinaryOp) -> Op {
    Op::Binary { op, activation: Activation::None }
}

impl Site<'_, '_> {
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

    /// The input at `index`, which the operator's definition asks for.
    pub(super) fn required(&self, index: usize) -> Result<ValueId> {
        self.input(index).ok_or_else(|| {
            let given = self.inputs.iter().flatten().count();
            self.attributes.fail(format!("expects input {index}, found {given} inputs without it"))
        })
    }

    /// The extents of a value, where the form of what is made of it depends on them.
    pub(super) fn extents(&self, id: ValueId) -> Result<Vec<usize>> {
        let value = self.importer.graph.value(id);
        value.extents().ok_or_else(|| {
            let what = format!("`{}` of unknown extents; known ones are supported", value.name);
            self.attributes.lacks(what).with_help("fix the model's inputs with --shape")
        })
    }

    /// The element type of ONNX's `number`, as attribute `name` gives it.
    pub(super) fn type_by_number(&self, name: &str, number: i64) -> Result<DType> {
        let found = i32::try_from(number).ok().and_then(|number| crate::tensor::dtype(number).ok());
        found.ok_or_else(|| {
            self.attributes
                .lacks(format!("{name} {number}; numbers, booleans and small floats are supported"))
        })
    }

    /// The element type of the first input.
    pub(super) fn element_type(&self) -> Result<DType> {
        self.importer.graph.value(self.x()?).dtype.ok_or_else(|| {
            self.attributes.fail("expects an input of a known element type, found an unknown one")
        })
    }

    /// All inputs but the last folded by a function; the last application is the node's own.
    pub(super) fn fold(&mut self, op: BinaryOp) -> Result<Op> {
        let inputs: Vec<ValueId> = self.inputs.iter().copied().flatten().collect();
        let [first, middle @ .., last] = inputs.as_slice() else {
            return self.x().map(|_| Op::Identity);
        };
        let mut so_far = *first;
        for &next in middle {
            so_far = self.then(binary(op), &[so_far, next]);
        }
        Ok(self.last(binary(op), &[so_far, *last]))
    }

    /// A clamp whose bounds are computed: the larger of the two first, the upper bound last.
    pub(super) fn computed_clip(&mut self) -> Result<Op> {
        let mut so_far = self.x()?;
        let bounds = [(BinaryOp::Max, self.input(1)), (BinaryOp::Min, self.input(2))];
        let mut given = bounds.into_iter().filter_map(|(op, bound)| Some((op, bound?))).peekable();
        while let Some((op, bound)) = given.next() {
            if given.peek().is_none() {
                return Ok(self.last(binary(op), &[so_far, bound]));
            }
            so_far = self.then(binary(op), &[so_far, bound]);
        }
        Ok(self.last(Op::Identity, &[so_far]))
    }

    pub(super) fn mean(&mut self) -> Result<Op> {
        let inputs: Vec<ValueId> = self.inputs.iter().copied().flatten().collect();
        let [first, rest @ ..] = inputs.as_slice() else {
            return Err(self.attributes.fail("expects at least one input, found none"));
        };
        if rest.is_empty() {
            return Ok(Op::Identity);
        }
        let count = self.number(self.element_type()?, &[], &[inputs.len() as f64])?;
        let sum = rest.iter().fold(*first, |sum, &next| self.then(binary(BinaryOp::Add), &[sum, next]));
        Ok(self.last(binary(BinaryOp::Div), &[sum, count]))
    }

    /// Only NaN differs from itself.
    pub(super) fn is_nan(&mut self) -> Result<Op> {
        let x = self.x()?;
        let same = self.then(Op::Compare(CompareOp::Equal), &[x, x]);
        Ok(self.last(Op::Unary(UnaryOp::Not), &[same]))
    }

    pub(super) fn is_inf(&mut self) -> Result<Op> {
        let a = self.attributes;
        let (dtype, x) = (self.element_type()?, self.x()?);
        let (x, infinity) = match (a.flag("detect_negative", true), a.flag("detect_positive", true)) {
            (true, true) => (self.then(Op::Unary(UnaryOp::Abs), &[x]), f64::INFINITY),
            (false, true) => (x, f64::INFINITY),
            (true, false) => (x, f64::NEG_INFINITY),
            (false, false) => {
                // Nothing is looked for: no element is less than itself.
                return Ok(self.last(Op::Compare(CompareOp::Less), &[x, x]));
            }
        };
        let infinity = self.number(dtype, &[], &[infinity])?;
        Ok(self.last(Op::Compare(CompareOp::Equal), &[x, infinity]))
    }

    /// Exclusive or with all bits set.
    pub(super) fn bitwise_not(&mut self) -> Result<Op> {
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
        Ok(self.last(binary(BinaryOp::BitXor), &[x, ones]))
    }

    /// Ones, of which the parts above and below the diagonal are cut off.
    pub(super) fn eye_like(&mut self) -> Result<Op> {
        let (a, x) = (self.attributes, self.x()?);
        let dtype = match a.int("dtype", 0) {
            0 => self.element_type()?,
            number => self.type_by_number("dtype", number)?,
        };
        let one = Tensor::from_f64(dtype, &[1], &[1.0])
            .map_err(|error| OnnxError::core(OnnxErrorKind::Attribute, error))?;
        let shape = self.then(Op::Shape { start: 0, end: None }, &[x]);
        let ones = self.then(Op::ConstantOfShape { value: one }, &[shape]);
        let diagonal = Tensor::scalar(a.int("k", 0));
        let diagonal = self.importer.new_constant(&format!("{}/diagonal", a.name()), diagonal);
        let upper = self.then(Op::Index(IndexOp::Trilu { upper: true }), &[ones, diagonal]);
        Ok(self.last(Op::Index(IndexOp::Trilu { upper: false }), &[upper, diagonal]))
    }

    /// One where the first of the largest is, zero elsewhere.
    pub(super) fn hardmax(&mut self) -> Result<Op> {
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
            return Ok(self.last(Op::Index(IndexOp::OneHot { axis }), &inputs));
        }
        // Before set 13 the axes from `axis` on count as one.
        let axis = self.axis(a.int("axis", 1))?;
        let flat = self.then(Op::Flatten { axis }, &[x]);
        let inputs = hot(self, flat, 1);
        let found = self.then(Op::Index(IndexOp::OneHot { axis: 1 }), &inputs);
        let shape = self.then(Op::Shape { start: 0, end: None }, &[x]);
        Ok(self.last(Op::Reshape { allow_zero: true }, &[found, shape]))
    }
}
