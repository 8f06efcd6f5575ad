//! Rows of floats: softmax and layer normalisation.

use fewbit_core::capability::reasons;
use fewbit_core::ir::Node;

use super::{Params, linear, shader};
use crate::lower::{Layout, Lowering, Result, expect_shape, extents_of, refused, require_real};

const SOFTMAX: &str = include_str!("softmax.wgsl");
const LAYER_NORM: &str = include_str!("layer_norm.wgsl");

impl<'g> Lowering<'g> {
    pub(crate) fn softmax(&mut self, node: &'g Node, axis: usize, log: bool) -> Result<()> {
        let ((id, x), (_, y)) = (self.input(node, 0)?, self.out(node)?);
        require_real(x)?;
        require_real(y)?;
        let shape = extents_of(x)?;
        expect_shape(y, &shape)?;
        if axis >= shape.len() {
            return refused(reasons::AXIS, format!("axis {axis} of {} dimensions", shape.len()));
        }
        let (n, step): (usize, usize) = (shape[axis], shape[axis + 1..].iter().product());
        let rows = shape.iter().product::<usize>() / n;
        let from = self.want(id, Layout::Rows)?;
        let to = self.output(node, Layout::Rows)?;
        let end = if log { "value - log(sum)" } else { "exp(value) / sum" };
        let name = if log { "log_softmax" } else { "softmax" };
        let shader = shader(name, SOFTMAX, &[("END", end)]);
        self.launch(shader, vec![from], to, Params::new().u(&[rows, n, step]).done(), linear(rows));
        Ok(())
    }

    pub(crate) fn layer_norm(&mut self, node: &'g Node, axis: usize, epsilon: f32) -> Result<()> {
        let ((id, x), (scale_id, scale), (_, y)) =
            (self.input(node, 0)?, self.input(node, 1)?, self.out(node)?);
        let shape = extents_of(x)?;
        expect_shape(y, &shape)?;
        if axis >= shape.len() {
            return refused(reasons::AXIS, format!("axis {axis} of {} dimensions", shape.len()));
        }
        let n: usize = shape[axis..].iter().product();
        let bias = node.input(2);
        for value in
            [Some(x), Some(scale), bias.map(|id| self.graph.value(id)), Some(y)].into_iter().flatten()
        {
            require_real(value)?;
        }
        for value in [Some(scale_id), bias].into_iter().flatten().map(|id| self.graph.value(id)) {
            let own = extents_of(value)?;
            if own.iter().product::<usize>() != n {
                return refused(
                    reasons::DIM,
                    format!("expected {n} elements of `{}`, found {own:?}", value.name),
                );
            }
        }
        let rows = shape.iter().product::<usize>() / n;
        let from = self.want(id, Layout::Rows)?;
        let mut reads = vec![from, self.want(scale_id, Layout::Rows)?];
        let (binding, add) = match bias {
            Some(bias) => {
                reads.push(self.want(bias, Layout::Rows)?);
                ("@group(0) @binding(3) var<storage, read> bias: array<f32>;", " + bias[k]")
            }
            None => ("", ""),
        };
        let to = self.output(node, Layout::Rows)?;
        let last = (reads.len() + 1).to_string();
        let values = [("BIAS", binding), ("ADD", add), ("LAST", last.as_str())];
        let shader = shader("layer_norm", LAYER_NORM, &values);
        let params = Params::new().u(&[rows, n]).f(&[epsilon]).done();
        self.launch(shader, reads, to, params, linear(rows));
        Ok(())
    }
}
