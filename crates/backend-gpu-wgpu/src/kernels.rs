//! Kernels: one file per family, its WGSL beside it.
//!
//! To add a family: write `kernels/NAME.rs` with an `impl Lowering` function per operator that checks the node, asks for
//! its operands with `want` or `any`, makes the output with `output`, and launches; put the WGSL into
//! `kernels/NAME.wgsl`; send the operator there in `Lowering::node`; add the rule to `capability.toml`; and an operator
//! to the random programs in `tests/it`. A template's `$NAME$` are replaced by what [`shader`] is given; the prelude
//! `common.wgsl` is put before it, `walk.wgsl` where the template asks for it with `$walk$`.
//!
//! Bindings of every kernel: 0 the uniform `Params`, then the operands read, then the one written.

mod element;
mod matrices;
mod moving;
mod picking;
mod pool;
mod product;
mod resize;
mod rows;

use crate::adapter::GROUP;
use crate::lower::{DIMS, Layout};
use crate::plan::Shader;

const COMMON: &str = include_str!("kernels/common.wgsl");
const WALK: &str = include_str!("kernels/walk.wgsl");

/// Invocations along the first dimension of a grid that is longer than that: `ROW` of the prelude.
const ROW: usize = 1 << 18;

/// Workgroups for so many invocations, one a quad: what `quad_of` of the prelude numbers.
pub(crate) fn linear(invocations: usize) -> [u32; 3] {
    let x = invocations.min(ROW).div_ceil(GROUP as usize);
    [x as u32, invocations.div_ceil(ROW) as u32, 1]
}

/// The shader of a template with its `$NAME$` replaced.
pub(crate) fn shader(name: &str, template: &str, values: &[(&str, &str)]) -> Shader {
    let mut text = template.replace("$walk$", WALK);
    for (name, value) in values {
        text = text.replace(&format!("${name}$"), value);
    }
    debug_assert!(!text.contains('$'), "{name} has a value for each name: {text}");
    Shader { name: name.to_owned(), source: format!("{COMMON}\n{text}").into() }
}

/// The words of a `Params`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Params(Vec<u32>);

impl Params {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// Counts and extents.
    pub(crate) fn u(mut self, values: &[usize]) -> Self {
        self.0.extend(values.iter().map(|&value| value as u32));
        self
    }

    /// Words as they are.
    pub(crate) fn bits(mut self, values: &[u32]) -> Self {
        self.0.extend(values);
        self
    }

    /// Codes and offsets.
    pub(crate) fn i(mut self, values: &[i32]) -> Self {
        self.0.extend(values.iter().map(|&value| value as u32));
        self
    }

    /// Real numbers.
    pub(crate) fn f(mut self, values: &[f32]) -> Self {
        self.0.extend(values.iter().map(|value| value.to_bits()));
        self
    }

    pub(crate) fn done(self) -> Vec<u32> {
        self.0
    }
}

/// How a kernel finds, for each element of its output, an element of each of up to two operands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Walk {
    /// Of the output, in memory order, padded.
    extents: Vec<usize>,
    /// The innermost extent without padding.
    inner: usize,
    /// Per operand, how far apart its elements are along each of these dimensions.
    strides: Vec<Vec<i64>>,
}

impl Walk {
    /// Over an output of `shape` in `layout`; `strides` of each operand by the output's dimensions.
    pub(crate) fn new(layout: Layout, shape: &[usize], strides: &[&[i64]]) -> Self {
        let mut this = Self::whole(layout, shape, strides);
        this.collapse();
        this
    }

    /// The same with every dimension kept.
    pub(crate) fn whole(layout: Layout, shape: &[usize], strides: &[&[i64]]) -> Self {
        let order = layout.order(shape.len());
        let mut this = Self {
            extents: layout.extents(shape),
            inner: order.last().map_or(1, |&axis| shape[axis]),
            strides: strides.iter().map(|own| order.iter().map(|&axis| own[axis]).collect()).collect(),
        };
        if this.extents.is_empty() {
            this.extents.push(1);
            this.strides.iter_mut().for_each(|own| own.push(0));
        }
        this
    }

    /// Leaves out dimensions of extent 1, and makes neighbours one that every operand crosses in one stride.
    fn collapse(&mut self) {
        let mut at = self.extents.len() - 1;
        while at > 0 {
            let outer = at - 1;
            let padded = at + 1 == self.extents.len() && self.inner != self.extents[at];
            let unit = self.extents[outer] == 1;
            let joins =
                !padded && self.strides.iter().all(|own| own[outer] == own[at] * self.extents[at] as i64);
            if unit || joins {
                if joins {
                    if at + 1 == self.extents.len() {
                        self.inner *= self.extents[outer];
                    }
                    self.extents[at] *= self.extents[outer];
                }
                self.extents.remove(outer);
                for own in &mut self.strides {
                    own.remove(outer);
                }
            }
            at -= 1;
        }
    }

    /// Quads of the output.
    pub(crate) fn quads(&self) -> usize {
        self.extents.iter().product::<usize>().div_ceil(4)
    }

    /// The members of the kernels' `Walk`.
    pub(crate) fn params(&self) -> Params {
        let list = |values: &mut dyn Iterator<Item = i64>| {
            let mut words: Vec<i32> = values.map(|value| value as i32).collect();
            words.resize(DIMS, 0);
            words
        };
        let operand = |at: usize| list(&mut self.strides.get(at).into_iter().flatten().copied());
        Params::new()
            .u(&[self.quads(), self.extents.len(), self.inner, self.extents.iter().product()])
            .i(&list(&mut self.extents.iter().map(|&extent| extent as i64)))
            .i(&operand(0))
            .i(&operand(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_grid_has_an_invocation_for_every_quad() {
        assert_eq!(linear(1), [1, 1, 1]);
        assert_eq!(linear(65), [2, 1, 1]);
        assert_eq!(linear(ROW), [4096, 1, 1]);
        assert_eq!(linear(ROW + 1), [4096, 2, 1]);
    }

    #[test]
    fn walks_join_what_lies_together_but_never_padding() {
        let dense = Walk::new(Layout::Rows, &[2, 3, 4], &[&[12, 4, 1]]);
        assert_eq!((dense.extents, dense.inner), (vec![24], 24));
        let turned = Walk::new(Layout::Rows, &[4, 2, 3], &[&[1, 12, 4]]);
        assert_eq!((turned.extents, turned.strides), (vec![4, 6], vec![vec![1, 4]]));
        let padded = Walk::new(Layout::Padded, &[2, 3], &[&[4, 1]]);
        assert_eq!((padded.extents, padded.inner), (vec![2, 4], 3));
        let unit = Walk::new(Layout::Channels, &[1, 3, 1, 5], &[&[15, 5, 5, 1]]);
        assert_eq!((unit.extents, unit.inner, unit.strides), (vec![5, 4], 3, vec![vec![1, 5]]));
        let scalar = Walk::new(Layout::Rows, &[], &[&[]]);
        assert_eq!((scalar.extents, scalar.inner), (vec![1], 1));
    }
}
