//! What only moves elements: other names for the same bytes, other orders, pieces, joins.

use fewbit_core::capability::reasons;
use fewbit_core::ir::{Node, Value, ValueId};

use super::{Params, Walk, shader};
use crate::lower::{
    Codes, Layout, Lowering, Result, alike, expect_shape, extents_of, ratio, refused, usable, width_of,
};
use crate::plan::{Arg, Shader};

const MOVING: &str = include_str!("moving.wgsl");
const RUNS: &str = include_str!("runs.wgsl");

/// Code to code with other parameters: `x` and `y` differ.
const CONVERT: &str = "let signed = extractBits(i32(code ^ (g.flip & 0xffu)), 0u, 8u) - g.zero;
  let real = vec4(f32(signed) * g.ratio);
  let moved = nearest(real, -128 - g.out_zero, 127 - g.out_zero).x + g.out_zero;
  return (u32(moved) ^ g.out_flip) & 0xffu;";

/// The kernel that looks elements up.
fn moving(width: usize, keep: bool, convert: bool) -> Shader {
    let bytes = width == 1;
    let values = [
        ("QUAD", if bytes { "u32" } else { "vec4<u32>" }),
        (
            "OLD",
            match (keep, bytes) {
                (true, _) => "y[quad]",
                (false, true) => "0u",
                (false, false) => "vec4(0u)",
            },
        ),
        ("CONVERT", if convert { CONVERT } else { "return code;" }),
        (
            "LOOK_UP",
            if bytes {
                "let code = extractBits(x[at / 4u], 8u * (at % 4u), 8u);
      result = insertBits(result, converted(code), 8u * lane, 8u);"
            } else {
                "result[lane] = x[at];"
            },
        ),
    ];
    let name = format!(
        "{}_{}",
        match (keep, convert) {
            (false, false) => "move",
            (true, false) => "join",
            (_, true) => "join_requantize",
        },
        8 * width
    );
    shader(&name, MOVING, &values)
}

/// The words behind a walk: the whole output, no conversion.
fn everywhere(walk: &Walk, base: i64) -> Vec<u32> {
    walk.params().i(&[base as i32]).u(&[0, 0, u32::MAX as usize]).u(&[0; 5]).done()
}

impl<'g> Lowering<'g> {
    /// Launches what moves elements of `from` to where a walk over `to` finds them.
    pub(crate) fn launch_move(
        &mut self,
        from: Arg,
        to: usize,
        width: usize,
        walk: &Walk,
        base: i64,
    ) -> Result<()> {
        if width == 8 {
            return refused(reasons::TYPE, "kernels move elements of 1 and 4 bytes");
        }
        self.launch_quads(moving(width, false, false), vec![from], to, everywhere(walk, base), walk.quads());
        Ok(())
    }

    /// Operators whose output is the input's elements in their order: no launch, unless the layout must change.
    pub(crate) fn alias(&mut self, node: &'g Node) -> Result<()> {
        let (id, x) = self.input(node, 0)?;
        let (out, y) = self.out(node)?;
        let (input, output) = (extents_of(x)?, extents_of(y)?);
        width_of(x)?;
        same_values(x, y)?;
        if input.iter().product::<usize>() != output.iter().product::<usize>() {
            return refused(reasons::DIM, format!("{input:?} does not give {output:?}"));
        }
        // Equal extents keep every layout.
        let layout = if input == output && x.constant.is_none() { self.layout(id) } else { Layout::Rows };
        let place = self.want(id, layout)?;
        self.put(out, layout, place);
        Ok(())
    }

    pub(crate) fn transpose(&mut self, node: &'g Node, perm: &[usize]) -> Result<()> {
        let (id, x) = self.input(node, 0)?;
        let (out, y) = self.out(node)?;
        let shape = extents_of(x)?;
        let mut sorted = perm.to_vec();
        sorted.sort_unstable();
        if !sorted.into_iter().eq(0..shape.len()) {
            return refused(reasons::AXIS, format!("perm {perm:?} of {} dimensions", shape.len()));
        }
        let extents: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
        expect_shape(y, &extents)?;
        same_values(x, y)?;
        let width = width_of(x)?;
        // Whatever layout the input has already, one walk reads it.
        let (layout, from) = self.any(id)?;
        let own = layout.strides(&shape);
        let strides: Vec<i64> = perm.iter().map(|&axis| own[axis] as i64).collect();
        // Where nothing moves, as for channels that lie last already, the bytes have another name.
        let target = Layout::Rows.strides(&extents);
        let stays = extents
            .iter()
            .zip(strides.iter().zip(&target))
            .all(|(&extent, (&have, &want))| extent == 1 || have == want as i64);
        if stays {
            self.put(out, Layout::Rows, from);
            return Ok(());
        }
        let to = self.output(node, Layout::Rows)?;
        self.launch_move(from, to, width, &Walk::new(Layout::Rows, &extents, &[&strides]), 0)
    }

    pub(crate) fn depth_to_space(&mut self, node: &'g Node, block: usize, crd: bool) -> Result<()> {
        let (_, x) = self.input(node, 0)?;
        let shape = extents_of(x)?;
        let &[n, c, h, w] = &shape[..] else { return refused(reasons::RANK, "expected 4 dimensions") };
        if block == 0 || !c.is_multiple_of(block * block) {
            return refused(reasons::CHANNELS, format!("blocks of {block} of {c} channels"));
        }
        let depth = c / (block * block);
        let (six, perm) = if crd {
            ([n, depth, block, block, h, w], [0, 1, 4, 2, 5, 3])
        } else {
            ([n, block, block, depth, h, w], [0, 3, 4, 1, 5, 2])
        };
        self.blocks(node, &[n, depth, h * block, w * block], six, perm)
    }

    pub(crate) fn space_to_depth(&mut self, node: &'g Node, block: usize) -> Result<()> {
        let (_, x) = self.input(node, 0)?;
        let shape = extents_of(x)?;
        let &[n, c, h, w] = &shape[..] else { return refused(reasons::RANK, "expected 4 dimensions") };
        if block == 0 || !h.is_multiple_of(block) || !w.is_multiple_of(block) {
            return refused(reasons::DIM, format!("blocks of {block} of {h} by {w}"));
        }
        let six = [n, c, h / block, block, w / block, block];
        self.blocks(node, &[n, c * block * block, h / block, w / block], six, [0, 3, 5, 1, 2, 4])
    }

    /// A transposition of six dimensions.
    fn blocks(
        &mut self,
        node: &'g Node,
        expected: &[usize],
        six: [usize; 6],
        perm: [usize; 6],
    ) -> Result<()> {
        let (id, x) = self.input(node, 0)?;
        let (_, y) = self.out(node)?;
        expect_shape(y, expected)?;
        same_values(x, y)?;
        let width = width_of(x)?;
        let own = Layout::Rows.strides(&six);
        let from = self.want(id, Layout::Rows)?;
        let to = self.output(node, Layout::Rows)?;
        let strides = perm.map(|axis| own[axis] as i64);
        self.launch_move(
            from,
            to,
            width,
            &Walk::new(Layout::Rows, &perm.map(|axis| six[axis]), &[&strides]),
            0,
        )
    }

    /// Pieces along an axis, each a walk over part of the input.
    pub(crate) fn split(&mut self, node: &'g Node, axis: usize) -> Result<()> {
        let (id, x) = self.input(node, 0)?;
        let (shape, width) = (extents_of(x)?, width_of(x)?);
        if axis >= shape.len() {
            return refused(reasons::AXIS, format!("axis {axis} of {} dimensions", shape.len()));
        }
        let (layout, from) = self.any(id)?;
        let own: Vec<i64> = layout.strides(&shape).into_iter().map(|stride| stride as i64).collect();
        let mut at = 0;
        for &output in &node.outputs {
            let y = self.graph.value(output);
            let extents = extents_of(y)?;
            let fits = extents.len() == shape.len()
                && (0..shape.len()).all(|other| other == axis || extents[other] == shape[other])
                && at + extents[axis] <= shape[axis];
            if !fits {
                return refused(reasons::DIM, format!("{extents:?} is no piece of {shape:?}"));
            }
            same_values(x, y)?;
            let to = self.tensor(layout.quads(&extents), width)?;
            self.put(output, layout, Arg::Tensor(to));
            let walk = Walk::new(layout, &extents, &[&own]);
            self.launch_move(from, to, width, &walk, at as i64 * own[axis])?;
            at += extents[axis];
        }
        Ok(())
    }

    pub(crate) fn concat(&mut self, node: &'g Node, axis: usize) -> Result<()> {
        let (_, y) = self.out(node)?;
        let shape = extents_of(y)?;
        if axis >= shape.len() {
            return refused(reasons::AXIS, format!("axis {axis} of {} dimensions", shape.len()));
        }
        let width = width_of(y)?;
        let mut total = 0;
        let mut operands: Vec<(ValueId, &Value, Vec<usize>, Change)> = Vec::new();
        for index in 0..node.inputs.len() {
            let (id, x) = self.input(node, index)?;
            let own = extents_of(x)?;
            let fits = own.len() == shape.len()
                && (0..shape.len()).all(|other| other == axis || own[other] == shape[other]);
            if !fits {
                return refused(reasons::DIM, format!("{own:?} does not fit into {shape:?}"));
            }
            let convert = if alike(x, y) {
                None
            } else {
                let (from, to) = (self.codes(x)?, self.codes(y)?);
                usable(ratio(from, to))?;
                Some((from, to))
            };
            total += own[axis];
            operands.push((id, x, own, convert));
        }
        if total != shape[axis] {
            return refused(reasons::DIM, format!("{total} elements along axis {axis}, not {}", shape[axis]));
        }
        // The layout of the first input that is computed.
        let layout = operands
            .iter()
            .find(|(_, x, ..)| x.constant.is_none())
            .map_or(Layout::Rows, |&(id, ..)| self.layout(id));
        let places: Vec<Arg> =
            operands.iter().map(|&(id, ..)| self.want(id, layout)).collect::<Result<_>>()?;
        let to = self.output(node, layout)?;
        let order = layout.order(shape.len());
        let place = order.iter().position(|&other| other == axis).unwrap_or(axis);
        let mut start = 0;
        for ((_, _, own, convert), from) in operands.into_iter().zip(places) {
            let joined = Join { layout, place, axis, start, width, convert };
            self.join(from, &own, to, &shape, &joined);
            start += own[axis];
        }
        Ok(())
    }

    /// Launches what writes one operand of a concatenation: whole quads where they do not cross its borders.
    fn join(&mut self, from: Arg, own: &[usize], to: usize, shape: &[usize], join: &Join) {
        let (mine, whole) = (join.layout.extents(own), join.layout.extents(shape));
        let inner: usize = whole[join.place + 1..].iter().product();
        let innermost = join.place + 1 == whole.len();
        let unpadded =
            !innermost || (own[join.axis] == mine[join.place] && shape[join.axis] == whole[join.place]);
        let (run, stride, offset) = (mine[join.place] * inner, whole[join.place] * inner, join.start * inner);
        if unpadded && [run, stride, offset].iter().all(|elements| elements.is_multiple_of(4)) {
            let quads = mine.iter().product::<usize>() / 4;
            self.runs(from, to, (quads, run / 4, stride / 4, offset / 4), join.width, join.convert);
            return;
        }
        let strides: Vec<i64> = join.layout.strides(own).into_iter().map(|stride| stride as i64).collect();
        let walk = Walk::whole(join.layout, shape, &[&strides]);
        let mut params = walk.params().i(&[-((join.start * strides[join.axis] as usize) as i32)]).u(&[
            join.place,
            join.start,
            join.start + own[join.axis],
        ]);
        params = match join.convert {
            Some((x, y)) => {
                params.f(&[ratio(x, y)]).i(&[x.zero()]).bits(&[x.flip()]).i(&[y.zero()]).bits(&[y.flip()])
            }
            None => params.u(&[0; 5]),
        };
        let keep = moving(join.width, true, join.convert.is_some());
        self.launch_quads(keep, vec![from], to, params.done(), walk.quads());
    }

    /// Launches what writes runs of quads: `run` of each `stride`, from `offset` on, with the parameters of the second
    /// codes where there are some.
    pub(crate) fn runs(
        &mut self,
        from: Arg,
        to: usize,
        (quads, run, stride, offset): (usize, usize, usize, usize),
        width: usize,
        convert: Change,
    ) {
        let params = Params::new().u(&[quads, run, stride, offset]);
        let convert = convert.filter(|(x, y)| x != y);
        let (params, body) = match convert {
            Some((x, y)) => {
                let low_high = [-128 - y.zero(), 127 - y.zero()];
                let numbers = params.f(&[ratio(x, y)]).i(&[x.zero(), y.zero()]).i(&low_high);
                (
                    numbers.bits(&[x.flip(), y.flip()]),
                    "let real = vec4<f32>(codes_of(quad, g.flip) - vec4(g.zero)) * g.ratio;
  return word_of(nearest(real, g.low, g.high) + vec4(g.out_zero), g.out_flip);",
                )
            }
            None => (params.u(&[0; 7]), "return quad;"),
        };
        let kind = if width == 1 { "u32" } else { "vec4<u32>" };
        let name = if convert.is_some() { "requantize" } else { "copy" };
        let runs = shader(&format!("{name}_{}", 8 * width), RUNS, &[("QUAD", kind), ("CONVERT", body)]);
        self.launch_quads(runs, vec![from], to, params.done(), quads);
    }
}

/// The parameters that codes have and those they get, where they differ.
type Change = Option<(Codes, Codes)>;

/// One operand of a concatenation.
struct Join {
    layout: Layout,
    /// The axis by its place in memory, and in the program.
    place: usize,
    axis: usize,
    /// Where the operand starts along it.
    start: usize,
    width: usize,
    /// The parameters it has and those it gets, where they differ.
    convert: Change,
}

/// Refuses an output of another type or other parameters than the input's.
pub(super) fn same_values(x: &Value, y: &Value) -> Result<()> {
    if alike(x, y) {
        return Ok(());
    }
    refused(reasons::SHARED_SCALE, "elements keep their type and parameters")
}
