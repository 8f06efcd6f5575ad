//! Scaled dot-product attention (Vaswani et al. 2017; grouped queries: Ainslie et al. 2023) as a composition.

use fewbit_core::ir::{
    Activation, BinaryOp, CompareOp, DType, LogicOp, Op, PadMode, ReduceOp, Tensor, UnaryOp, ValueId,
};

use super::Site;
use crate::error::{OnnxError, OnnxErrorKind, Result};

/// A function of two elements without a clamp.
fn binary(op: BinaryOp) -> Op {
    Op::Binary { op, activation: Activation::None }
}

/// Extents of the scores of one head, and what comes before the queries.
struct Sizes {
    queries: usize,
    keys: usize,
    past: usize,
}

impl Site<'_, '_> {
    /// The last operator of the composition.
    pub(super) fn attention(&mut self) -> Result<Op> {
        let a = self.attributes;
        let dtype = self.element_type()?;
        let (Some(q), Some(k), Some(v)) = (self.input(0), self.input(1), self.input(2)) else {
            return Err(a.fail("expects queries, keys and values, found fewer"));
        };
        let flat = match self.extents(q)?.len() {
            3 => true,
            4 => false,
            rank => return Err(a.fail(format!("expects queries of rank 3 or 4, found {rank}"))),
        };
        let q = self.heads(q, flat, "q_num_heads")?;
        let k = self.heads(k, flat, "kv_num_heads")?;
        let v = self.heads(v, flat, "kv_num_heads")?;
        let (mut keys, mut values) = (k, v);
        let mut past = 0;
        if let (Some(key), Some(value)) = (self.input(4), self.input(5)) {
            let [_, _, steps, _] = self.of_rank_4(key)?;
            past = steps;
            keys = self.then(Op::Concat { axis: 2 }, &[key, k]);
            values = self.then(Op::Concat { axis: 2 }, &[value, v]);
        }
        let present = [keys, values];
        let (query, key, value) = (self.of_rank_4(q)?, self.of_rank_4(keys)?, self.of_rank_4(values)?);
        let ([_, heads, queries, size], [_, own, total, _]) = (query, key);
        let sizes = Sizes { queries, keys: total, past };
        if own == 0 || heads % own != 0 {
            return Err(
                a.fail(format!("expects query heads in groups of equal size, found {heads} for {own}"))
            );
        }
        if heads != own {
            keys = self.repeated(keys, heads / own, key)?;
            values = self.repeated(values, heads / own, value)?;
        }
        let root = if a.has("scale") { a.float("scale", 1.0) } else { 1.0 / (size as f32).sqrt() }.sqrt();
        let root = self.number(dtype, &[], &[f64::from(root)])?;
        let q = self.then(binary(BinaryOp::Mul), &[q, root]);
        let keys = self.then(binary(BinaryOp::Mul), &[keys, root]);
        let keys = self.then(Op::Transpose { perm: vec![0, 1, 3, 2] }, &[keys]);
        let raw = self.then(Op::MatMul, &[q, keys]);
        let mut capped = raw;
        let cap = a.float("softcap", 0.0);
        if cap != 0.0 {
            let cap = self.number(dtype, &[], &[f64::from(cap)])?;
            let share = self.then(binary(BinaryOp::Div), &[raw, cap]);
            let bent = self.then(Op::Unary(UnaryOp::Tanh), &[share]);
            capped = self.then(binary(BinaryOp::Mul), &[bent, cap]);
        }
        let biased = self.masked(capped, dtype, &sizes)?;
        let shares = self.shares(biased, dtype)?;
        let scores = match a.int("qk_matmul_output_mode", 0) {
            0 => raw,
            1 => capped,
            2 => biased,
            3 => shares,
            other => return Err(a.fail(format!("expects qk_matmul_output_mode 0 to 3, found {other}"))),
        };
        if self.outputs.len() > 1 {
            // Each under a name of its own, whatever else it is.
            let further = [present[0], present[1], scores].map(|id| self.then(Op::Identity, &[id]));
            self.give(&further);
        }
        if !flat {
            return Ok(self.last(Op::MatMul, &[shares, values]));
        }
        let y = self.then(Op::MatMul, &[shares, values]);
        let y = self.then(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[y]);
        let joined = self.number(DType::I64, &[3], &[0.0, 0.0, -1.0])?;
        Ok(self.last(Op::Reshape { allow_zero: false }, &[y, joined]))
    }

    fn of_rank_4(&self, id: ValueId) -> Result<[usize; 4]> {
        <[usize; 4]>::try_from(self.extents(id)?).map_err(|extents| {
            self.attributes.fail(format!("expects queries, keys and values of rank 4, found {extents:?}"))
        })
    }

    /// Samples × heads × steps × elements.
    fn heads(&mut self, id: ValueId, flat: bool, name: &str) -> Result<ValueId> {
        if !flat {
            return Ok(id);
        }
        let heads = self.attributes.int(name, 0);
        if heads <= 0 {
            return Err(self.attributes.fail(format!("expects {name} of 1 or more, found {heads}")));
        }
        let cut = self.number(DType::I64, &[4], &[0.0, 0.0, heads as f64, -1.0])?;
        let cut = self.then(Op::Reshape { allow_zero: false }, &[id, cut]);
        Ok(self.then(Op::Transpose { perm: vec![0, 2, 1, 3] }, &[cut]))
    }

    /// Each head as often as queries share it.
    fn repeated(
        &mut self,
        id: ValueId,
        times: usize,
        [_, heads, steps, size]: [usize; 4],
    ) -> Result<ValueId> {
        let apart = self.then(Op::Unsqueeze { axes: vec![2] }, &[id]);
        let wide = self.number(DType::I64, &[5], &[1.0, 1.0, times as f64, 1.0, 1.0])?;
        let wide = self.then(Op::Expand, &[apart, wide]);
        let joined =
            self.number(DType::I64, &[4], &[0.0, (heads * times) as f64, steps as f64, size as f64])?;
        Ok(self.then(Op::Reshape { allow_zero: false }, &[wide, joined]))
    }

    /// The scores with what masks add, and minus infinity where a key is out of a query's sight.
    fn masked(&mut self, scores: ValueId, dtype: DType, sizes: &Sizes) -> Result<ValueId> {
        let none = self.number(dtype, &[], &[f64::NEG_INFINITY])?;
        let mut scores = scores;
        if let Some(mask) = self.input(3) {
            let extents = self.extents(mask)?;
            let truth = self.importer.graph.value(mask).dtype == Some(DType::Bool);
            let mut mask = mask;
            // A mask may end before the keys do: those behind it are out of sight.
            if let Some(missing) = extents.last().and_then(|&last| sizes.keys.checked_sub(last))
                && missing > 0
                && extents.last() != Some(&1)
            {
                let mut pads = vec![0.0; 2 * extents.len()];
                pads[2 * extents.len() - 1] = missing as f64;
                let pads = self.number(DType::I64, &[2 * extents.len()], &pads)?;
                let fill = if truth { self.truth(false)? } else { none };
                mask = self.then(Op::Pad { mode: PadMode::Constant }, &[mask, pads, fill]);
            }
            scores = if truth {
                self.then(Op::Where, &[mask, scores, none])
            } else {
                self.then(binary(BinaryOp::Add), &[scores, mask])
            };
        }
        let Some(seen) = self.seen(sizes)? else { return Ok(scores) };
        Ok(self.then(Op::Where, &[seen, scores, none]))
    }

    /// Which keys each query sees by its place; `None` where it sees all.
    fn seen(&mut self, sizes: &Sizes) -> Result<Option<ValueId>> {
        let a = self.attributes;
        let (left, right) = (a.int("left_window_size", -1), a.int("right_window_size", -1));
        let causal = a.flag("is_causal", false);
        let valid = self.input(6);
        if !causal && left < 0 && right < 0 && valid.is_none() {
            return Ok(None);
        }
        let count = |n: usize| (0..n).map(|at| at as f64).collect::<Vec<f64>>();
        let keys = self.number(DType::I64, &[sizes.keys], &count(sizes.keys))?;
        let places: Vec<f64> = count(sizes.queries).iter().map(|at| at + sizes.past as f64).collect();
        let mut places = self.number(DType::I64, &[sizes.queries, 1], &places)?;
        let mut rules = Vec::new();
        if let Some(valid) = valid {
            let valid = self.then(Op::Unsqueeze { axes: vec![1, 2, 3] }, &[valid]);
            let own = self.number(DType::I64, &[], &[sizes.queries as f64])?;
            let before = self.then(binary(BinaryOp::Sub), &[valid, own]);
            places = self.then(binary(BinaryOp::Add), &[places, before]);
            rules.push(self.then(Op::Compare(CompareOp::Less), &[keys, valid]));
        }
        if causal {
            rules.push(self.then(Op::Compare(CompareOp::LessOrEqual), &[keys, places]));
        }
        for (size, op, compare) in
            [(left, BinaryOp::Sub, CompareOp::GreaterOrEqual), (right, BinaryOp::Add, CompareOp::LessOrEqual)]
        {
            if size >= 0 {
                let size = self.number(DType::I64, &[], &[size as f64])?;
                let edge = self.then(binary(op), &[places, size]);
                rules.push(self.then(Op::Compare(compare), &[keys, edge]));
            }
        }
        Ok(rules.into_iter().reduce(|all, rule| self.then(Op::Logic(LogicOp::And), &[all, rule])))
    }

    /// What each key contributes to each query: nothing where a query sees no key.
    fn shares(&mut self, scores: ValueId, dtype: DType) -> Result<ValueId> {
        let inner = match self.attributes.int("softmax_precision", 0) {
            0 => dtype,
            number => match i32::try_from(number).ok().and_then(|number| crate::tensor::dtype(number).ok()) {
                Some(inner) if inner.is_float() => inner,
                _ => {
                    return Err(self
                        .attributes
                        .lacks(format!("softmax_precision {number}; numbers of float types are supported")));
                }
            },
        };
        let scores = if inner == dtype { scores } else { self.then(Op::Cast { to: inner }, &[scores]) };
        let shares = self.then(Op::Softmax { axis: 3, log: false }, &[scores]);
        let best = self.then(Op::Reduce { op: ReduceOp::Max, axes: vec![3], keep_dims: true }, &[scores]);
        let none = self.number(inner, &[], &[f64::NEG_INFINITY])?;
        let zero = self.number(inner, &[], &[0.0])?;
        let blind = self.then(Op::Compare(CompareOp::Equal), &[best, none]);
        let shares = self.then(Op::Where, &[blind, zero, shares]);
        Ok(if inner == dtype { shares } else { self.then(Op::Cast { to: dtype }, &[shares]) })
    }

    fn truth(&mut self, value: bool) -> Result<ValueId> {
        let tensor = Tensor::from_bools(&[], &[value])
            .map_err(|error| OnnxError::core(OnnxErrorKind::Attribute, error))?;
        Ok(self.importer.new_constant(&format!("{}/constant", self.attributes.name()), tensor))
    }
}
