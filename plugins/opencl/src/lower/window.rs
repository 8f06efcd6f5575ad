//! Windows and rows: pools, means, resizes, softmax, normalisation.

use fewbit_plugin_sdk::{Node, Result, Value, Why};

use super::{Arg, Layout, Lowering, floats};

/// How a resize finds coordinates.
#[derive(Clone, Copy)]
struct Axis<'n> {
    mode: &'n str,
    nearest: &'n str,
    input: usize,
    output: usize,
    scale: f32,
}

impl Axis<'_> {
    /// Where output sample `index` lies in the input; every operation rounds to f32.
    fn coordinate(&self, index: usize) -> Option<f32> {
        let (x, input, output) = (index as f32, self.input as f32, self.output as f32);
        Some(match self.mode {
            "pytorch_half_pixel" | "align_corners" if self.output <= 1 => 0.0,
            "half_pixel" | "pytorch_half_pixel" => (x + 0.5) / self.scale - 0.5,
            "align_corners" => x * (input - 1.0) / (output - 1.0),
            "asymmetric" => x / self.scale,
            "half_pixel_symmetric" => {
                let adjustment = output / (self.scale * input);
                input / 2.0 * (1.0 - adjustment) + (x + 0.5) / self.scale - 0.5
            }
            _ => return None,
        })
    }

    /// The samples that output sample `index` lies between, and the weight of the second.
    fn sample(&self, linear: bool, index: usize) -> Option<(usize, usize, f32)> {
        if self.input == self.output && self.scale == 1.0 {
            return Some((index, index, 0.0));
        }
        let (x, last) = (self.coordinate(index)?, self.input - 1);
        if linear {
            let x = x.clamp(0.0, last as f32);
            let low = (x.floor() as usize).min(last);
            return Some((low, (low + 1).min(last), x - low as f32));
        }
        let nearest = match self.nearest {
            "round_prefer_floor" => (x - 0.5).ceil(),
            "round_prefer_ceil" => (x + 0.5).floor(),
            "floor" => x.floor(),
            "ceil" => x.ceil(),
            _ => return None,
        };
        // The cast saturates below zero.
        let at = (nearest as usize).min(last);
        Some((at, at, 0.0))
    }
}

impl<'p> Lowering<'p> {
    pub(super) fn pool(&mut self, node: &Node<'p>) -> Result<()> {
        let (mean, global) = (node.op_type == "AveragePool", node.op_type == "GlobalMaxPool");
        let names = ["kernel_shape", "strides", "dilations", "pads", "ceil_mode", "count_include_pad"];
        let (inputs, y) = self.operands(
            node,
            1,
            1,
            &names[..if mean {
                6
            } else if global {
                0
            } else {
                5
            }],
        )?;
        let Some(x) = inputs[0] else { return Err(self.refused(Why::OP, "expected an input")) };
        let (input, output) = (self.shape(x)?, self.shape(y)?);
        let rank = input.len();
        if !(3..=4).contains(&rank) || output.len() != rank {
            return Err(self.refused(Why::RANK, format!("expected 3 or 4 dimensions, found {rank}")));
        }
        if input[..2] != output[..2] {
            return Err(self.refused(Why::SHAPE, "batch or channels change"));
        }
        let spatial = rank - 2;
        // Of one spatial dimension, the height is 1.
        let pair = |values: &[i64], fill: usize, least: i64| -> Result<[usize; 2]> {
            let fits = values.len() == spatial && values.iter().all(|value| (least..1 << 20).contains(value));
            if !fits {
                return Err(self.refused(Why::ATTRIBUTE, format!("{values:?} along {spatial} dimensions")));
            }
            let last = values[spatial - 1] as usize;
            Ok(if spatial == 1 { [fill, last] } else { [values[0] as usize, last] })
        };
        let (whole, ones, zeros) = (&x.dims[2..], [1; 2], [0; 4]);
        // A global pool has one window: the image.
        let list = |name: &str| match name {
            _ if !global => node.ints(name),
            "kernel_shape" => Ok(whole),
            "pads" => Ok(&zeros[..2 * spatial]),
            _ => Ok(&ones[..spatial]),
        };
        let [kernel, strides, dilations] = [
            pair(list("kernel_shape")?, 1, 1)?,
            pair(list("strides")?, 1, 1)?,
            pair(list("dilations")?, 1, 1)?,
        ];
        let pads = list("pads")?;
        if pads.len() != 2 * spatial {
            return Err(self.refused(Why::ATTRIBUTE, "expected two pads along each dimension"));
        }
        let (before, after) = (pair(&pads[..spatial], 0, 0)?, pair(&pads[spatial..], 0, 0)?);
        let include = mean && node.int("count_include_pad")? != 0;
        let size = |shape: &[usize]| if spatial == 1 { [1, shape[2]] } else { [shape[2], shape[3]] };
        let ([height, width], [out_height, out_width]) = (size(&input), size(&output));
        let positions = input[0] * out_height * out_width;
        let mut numbers = vec![positions, height, width, input[1], out_height, out_width];
        for pair in [kernel, strides, dilations, before, after] {
            numbers.extend(pair);
        }
        numbers.extend([usize::from(mean), usize::from(include)]);
        let items = [input[1], positions, 1];
        if Self::is_real(x) && Self::is_real(y) {
            let numbers = self.geometry(&numbers);
            let from = self.want_input(node, 0, Layout::Channels)?;
            let to = self.output(node, Layout::Channels)?;
            self.launch("pool_floats", vec![from, to, numbers], items);
            return Ok(());
        }
        let (codes, out) = (self.codes(x)?, self.codes(y)?);
        if !mean && codes != out {
            return Err(self.refused(Why::SCHEME, "expected the output's parameters to be the input's"));
        }
        numbers.extend([codes.flip() as usize, codes.zero as usize, out.flip() as usize, out.zero as usize]);
        let numbers = self.geometry(&numbers);
        // A window without samples sums up to 0, whatever it is multiplied by.
        let most = if mean { kernel[0] * kernel[1] } else { 0 };
        let multipliers = self.constant(|| {
            (0..=most).map(|count| codes.scale / count.max(1) as f32 / out.scale).collect::<Vec<f32>>()
        });
        let from = self.want_input(node, 0, Layout::Channels)?;
        let to = self.output(node, Layout::Channels)?;
        self.launch("pool_codes", vec![from, multipliers, to, numbers], items);
        Ok(())
    }

    /// `GlobalAveragePool` and `ReduceMean`.
    pub(super) fn mean(&mut self, node: &Node<'p>) -> Result<()> {
        let global = node.op_type == "GlobalAveragePool";
        let (inputs, y) = self.operands(node, 1, 1, if global { &[] } else { &["axes", "keepdims"] })?;
        let Some(x) = inputs[0] else { return Err(self.refused(Why::OP, "expected an input")) };
        let shape = self.shape(x)?;
        let rank = shape.len();
        let axes: Vec<usize> = if global {
            (2..rank).collect()
        } else {
            node.ints("axes")?.iter().map(|&axis| usize::try_from(axis).unwrap_or(rank)).collect()
        };
        if axes.iter().any(|&axis| axis >= rank) {
            return Err(self.refused(Why::ATTRIBUTE, format!("axes {axes:?} of {rank} dimensions")));
        }
        let keep = global || node.int("keepdims")? != 0;
        let kept = |axis: &usize| !axes.contains(axis);
        let expected: Vec<usize> = (0..rank)
            .filter(|axis| keep || kept(axis))
            .map(|axis| if kept(&axis) { shape[axis] } else { 1 })
            .collect();
        self.expect_shape(y, &expected)?;
        let n: usize = axes.iter().map(|&axis| shape[axis]).product();
        // The list of offsets is as long as a group.
        if n == 0 || n > 1 << 22 {
            return Err(self.refused(Why::SHAPE, format!("a mean of {n} elements")));
        }
        let layout = node.inputs[0].map_or(Layout::Rows, |value| self.layout(value));
        let strides = layout.strides(&shape);
        let mut offsets = vec![0i32];
        for &axis in &axes {
            offsets = offsets
                .iter()
                .flat_map(|&base| (0..shape[axis]).map(move |at| (base, at)))
                .map(|(base, at)| base + (at * strides[axis]) as i32)
                .collect();
        }
        // With its dimensions kept the output stays in the input's layout; without, it is row-major.
        let out_layout = if keep { layout } else { Layout::Rows };
        let order: Vec<usize> = out_layout.order(rank).into_iter().filter(kept).collect();
        let extents: Vec<usize> = order.iter().map(|&axis| shape[axis]).collect();
        let own: Vec<i64> = order.iter().map(|&axis| strides[axis] as i64).collect();
        let count: usize = extents.iter().product();
        let real = Self::is_real(x) && Self::is_real(y);
        let parameters = if real { None } else { Some((self.codes(x)?, self.codes(y)?)) };
        let walk = self.walk(&extents, &[&own], 0);
        let offsets = self.constant(|| offsets);
        let from = self.want_input(node, 0, layout)?;
        let to = self.output(node, out_layout)?;
        let mut args = vec![from, offsets, to, Arg::Int(count as i32), Arg::Int(n as i32)];
        if let Some((codes, out)) = parameters {
            args.extend([
                Arg::Float(codes.scale / n as f32 / out.scale),
                Arg::Int(codes.zero),
                Arg::Uint(codes.flip()),
                Arg::Int(out.zero),
                Arg::Uint(out.flip()),
            ]);
        }
        args.push(walk);
        self.launch(if real { "mean_floats" } else { "mean_codes" }, args, [count, 1, 1]);
        Ok(())
    }

    pub(super) fn resize(&mut self, node: &Node<'p>) -> Result<()> {
        let names =
            ["mode", "coordinate_transformation_mode", "nearest_mode", "cubic_coeff_a", "exclude_outside"];
        let (inputs, y) = self.operands(node, 1, 4, &names)?;
        let Some(x) = inputs[0] else { return Err(self.refused(Why::OP, "expected an input")) };
        let (input, output) = (self.shape(x)?, self.shape(y)?);
        let ([images, channels, height, width], [_, _, out_height, out_width]) = (&input[..], &output[..])
        else {
            return Err(self.refused(Why::RANK, "expected 4 dimensions"));
        };
        let linear = match node.text("mode")? {
            "nearest" => false,
            "linear" => true,
            other => return Err(self.refused(Why::ATTRIBUTE, format!("mode `{other}`"))),
        };
        let scales: Option<Vec<f32>> = match inputs[2].filter(|value| value.elements() != Some(0)) {
            None => None,
            Some(value) => match value.data {
                Some(data) if Self::is_real(value) && value.dims == [4] => Some(floats(data)),
                _ => return Err(self.refused(Why::OP, "expected constant scales of 4 dimensions")),
            },
        };
        let scale = |axis: usize| match &scales {
            Some(scales) => scales[axis],
            None => output[axis] as f32 / input[axis] as f32,
        };
        if input[..2] != output[..2] || scale(0) != 1.0 || scale(1) != 1.0 || input.contains(&0) {
            return Err(self.refused(Why::SHAPE, "expected batch and channels to stay"));
        }
        let axis = |axis: usize| Axis {
            mode: node.text("coordinate_transformation_mode").unwrap_or_default(),
            nearest: node.text("nearest_mode").unwrap_or_default(),
            input: input[axis],
            output: output[axis],
            scale: scale(axis),
        };
        let samples: Option<Vec<(usize, usize, f32)>> = [2, 3]
            .into_iter()
            .flat_map(|at| {
                let axis = axis(at);
                (0..output[at]).map(move |index| axis.sample(linear, index))
            })
            .collect();
        let Some(samples) = samples else {
            return Err(self.refused(Why::ATTRIBUTE, "the coordinates' mode is not known"));
        };
        let count: usize = output.iter().product();
        let _ = images;
        let real = Self::is_real(x) && Self::is_real(y);
        let flip = if real {
            0
        } else {
            let codes = self.codes(x)?;
            if codes != self.codes(y)? {
                return Err(self.refused(Why::SCHEME, "expected the output's parameters to be the input's"));
            }
            codes.flip() as usize
        };
        let numbers = [*height, *width, *channels, *out_height, *out_width, usize::from(linear), flip];
        let numbers = self.geometry(&numbers);
        let weights: Vec<f32> = samples.iter().map(|&(_, _, weight)| weight).collect();
        let table = self.constant(|| {
            let row = |&(low, high, weight): &(usize, usize, f32)| {
                [low as i32, high as i32, (weight * 2048.0).round_ties_even() as i32]
            };
            samples.iter().flat_map(row).collect()
        });
        let from = self.want_input(node, 0, Layout::Channels)?;
        let mut args = vec![from, table];
        if real {
            args.push(self.constant(|| weights));
        }
        args.extend([self.output(node, Layout::Channels)?, Arg::Int(count as i32), numbers]);
        self.launch(if real { "resize_floats" } else { "resize_codes" }, args, [count, 1, 1]);
        Ok(())
    }

    pub(super) fn softmax(&mut self, node: &Node<'p>) -> Result<()> {
        let (inputs, y) = self.operands(node, 1, 1, &["axis"])?;
        let Some(x) = inputs[0] else { return Err(self.refused(Why::OP, "expected an input")) };
        self.reals(x)?;
        self.reals(y)?;
        let shape = self.shape(x)?;
        self.expect_shape(y, &shape)?;
        let axis = self.axis(node, shape.len())?;
        let (n, step): (usize, usize) = (shape[axis], shape[axis + 1..].iter().product());
        let rows = shape.iter().product::<usize>() / n.max(1);
        let from = self.want_input(node, 0, Layout::Rows)?;
        let to = self.output(node, Layout::Rows)?;
        let numbers = [rows, n, step, usize::from(node.op_type == "LogSoftmax")];
        let mut args = vec![from, to];
        args.extend(numbers.map(|number| Arg::Int(number as i32)));
        self.launch("softmax_floats", args, [rows, 1, 1]);
        Ok(())
    }

    /// The attribute `axis`, of `rank` dimensions.
    pub(super) fn axis(&self, node: &Node<'_>, rank: usize) -> Result<usize> {
        let axis = node.int("axis")?;
        usize::try_from(axis)
            .ok()
            .filter(|&axis| axis < rank)
            .ok_or_else(|| self.refused(Why::ATTRIBUTE, format!("axis {axis} of {rank} dimensions")))
    }

    pub(super) fn layer_norm(&mut self, node: &Node<'p>) -> Result<()> {
        let (inputs, y) = self.operands(node, 2, 3, &["axis", "epsilon"])?;
        let (Some(x), Some(scale)) = (inputs[0], inputs[1]) else {
            return Err(self.refused(Why::OP, "expected an input and a scale"));
        };
        let shape = self.shape(x)?;
        self.expect_shape(y, &shape)?;
        let axis = self.axis(node, shape.len())?;
        let n: usize = shape[axis..].iter().product();
        for value in [Some(x), Some(scale), inputs[2], Some(y)].into_iter().flatten() {
            self.reals(value)?;
        }
        for value in [Some(scale), inputs[2]].into_iter().flatten() {
            if value.elements() != Some(n) {
                return Err(self.refused(Why::SHAPE, format!("expected {n} elements of `{}`", value.name)));
            }
        }
        let rows = shape.iter().product::<usize>() / n.max(1);
        let from = self.want_input(node, 0, Layout::Rows)?;
        let scale = self.want_input(node, 1, Layout::Rows)?;
        let has_bias = inputs[2].is_some();
        let bias = if has_bias { self.want_input(node, 2, Layout::Rows)? } else { scale };
        let to = self.output(node, Layout::Rows)?;
        let epsilon = Arg::Float(node.float("epsilon")? as f32);
        let numbers = [Arg::Int(rows as i32), Arg::Int(n as i32), epsilon, Arg::Int(has_bias.into())];
        self.launch("layer_norm_floats", [&[from, scale, bias, to][..], &numbers].concat(), [rows, 1, 1]);
        Ok(())
    }
}

/// Whether two values have the same type and parameters.
pub(super) fn alike(x: &Value<'_>, y: &Value<'_>) -> bool {
    x.dtype == y.dtype && x.quant == y.quant
}
