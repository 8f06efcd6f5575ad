//! Tiles, and the text of kernels by their class.

use super::geometry::Geometry;
use super::{DENSE, DEPTHWISE, PARAMS, shader};
use crate::adapter::GROUP;
use crate::lower::Tuning;
use crate::plan::Shader;

/// Output positions of a row that an invocation of a depthwise convolution computes at most.
const RUN_MAX: usize = 7;
/// The tile of an invocation whose lanes share weights: found by running others on lavapipe.
const SHARED_POSITIONS: usize = 4;
const SHARED_CHANNELS: usize = 32;

/// The tile of an invocation, and how invocations lie in a workgroup.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tile {
    /// Output positions.
    pub(super) positions: usize,
    /// Quads of output channels.
    pub(super) quads: usize,
    /// Invocations of a workgroup along positions and along blocks of channels.
    pub(super) lanes: [usize; 2],
    /// The size of the subgroups whose lanes share their weights, where they do.
    pub(super) shared: Option<usize>,
}

impl Tile {
    pub(super) fn new(geometry: &Geometry, tuning: Tuning) -> Tile {
        let positions = geometry.positions();
        let width = geometry.width().div_ceil(4);
        if geometry.is_depthwise() {
            let run = run_of(geometry.output[1]);
            // Neighbouring invocations have neighbouring channels, or the same ones where they share weights.
            let lanes = tuning.subgroup.map_or([4, GROUP as usize / 4], |subgroup| [subgroup, 1]);
            return Tile { positions: run, quads: 1, lanes, shared: tuning.subgroup };
        }
        if let Some(lanes) = tuning.subgroup
            && positions > lanes
        {
            let quads = (SHARED_CHANNELS / 4).min(width.next_multiple_of(lanes / 4));
            let tiles = positions.div_ceil(lanes).div_ceil(SHARED_POSITIONS);
            let tall = positions.div_ceil(lanes).div_ceil(tiles);
            return Tile { positions: tall, quads, lanes: [lanes, 1], shared: Some(lanes) };
        }
        let across = match positions {
            0..=3 => 1,
            4..=31 => 4,
            32..=127 => 16,
            _ if tuning.software => 64,
            _ => 16,
        };
        let tall = if positions >= 4 * across { 4 } else { 1 };
        let quads = if width >= 2 { 2 } else { 1 };
        Tile { positions: tall, quads, lanes: [across, GROUP as usize / across], shared: None }
    }

    /// Workgroups for a product.
    pub(super) fn groups(&self, geometry: &Geometry, blocks: usize) -> [u32; 3] {
        let [x, y] = self.lanes;
        let tiles = if geometry.is_depthwise() {
            geometry.images * geometry.output[0] * geometry.output[1].div_ceil(self.positions)
        } else {
            geometry.positions().div_ceil(self.positions)
        };
        [tiles.div_ceil(x) as u32, blocks.div_ceil(y) as u32, 1]
    }
}

/// What a product multiplies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Codes by codes, exactly.
    Codes,
    /// Floats.
    Reals,
    /// Floats rounded to 16 bits; weights are stored so.
    Halves,
    /// Floats by 8-bit weights, whose scale is the sum's.
    Weights,
}

impl Kind {
    /// The type of a quad of activations.
    pub(super) fn input(self) -> &'static str {
        if self == Kind::Codes { "u32" } else { "vec4<f32>" }
    }

    /// The type of a quad of weights as they are stored.
    pub(super) fn weights(self) -> &'static str {
        match self {
            Kind::Codes | Kind::Weights => "u32",
            Kind::Reals => "vec4<f32>",
            Kind::Halves => "vec2<u32>",
        }
    }

    /// A quad of stored weights as floats.
    pub(super) fn decoded(self, quad: &str) -> String {
        match self {
            Kind::Codes | Kind::Weights => format!("vec4<f32>(codes_of({quad}, 0u))"),
            Kind::Reals => quad.to_owned(),
            Kind::Halves => format!("halves_of({quad})"),
        }
    }

    /// A quad of activations as it is multiplied, of a quad that was read.
    pub(super) fn rounded(self) -> &'static str {
        if self == Kind::Halves { "quantizeToF16($WORD)" } else { "$WORD" }
    }

    /// What names of kernels say.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Codes => "codes",
            Kind::Reals => "f32",
            Kind::Halves => "f16",
            Kind::Weights => "w8f32",
        }
    }
}

/// The last step of a product.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Finish {
    Codes,
    Reals,
    RealsAndAddend,
}

/// The function that ends a product, from a quad of sums to a quad of the output.
pub(super) fn finish(kind: Kind, finish: Finish) -> (&'static str, &'static str, usize) {
    match (kind == Kind::Codes, finish) {
        (true, Finish::Codes) => (
            "u32",
            "let real = vec4<f32>(sum + bitcast<vec4<i32>>(tail[at])) * bitcast<vec4<f32>>(tail[at + 1u]);
  return word_of(nearest(real, g.low, g.high) + vec4(g.out_zero), g.out_flip);",
            2,
        ),
        (true, Finish::Reals) => (
            "vec4<f32>",
            "let real = vec4<f32>(sum + bitcast<vec4<i32>>(tail[at])) * bitcast<vec4<f32>>(tail[at + 1u]);
  return bounded(real, g.clamp_low, g.clamp_high);",
            2,
        ),
        (true, Finish::RealsAndAddend) => (
            "vec4<f32>",
            "let real = vec4<f32>(sum + bitcast<vec4<i32>>(tail[at])) * bitcast<vec4<f32>>(tail[at + 1u]);
  return bounded(kept(real, g.none) + bitcast<vec4<f32>>(tail[at + 2u]), g.clamp_low, g.clamp_high);",
            3,
        ),
        (false, _) if kind == Kind::Weights => (
            "vec4<f32>",
            "let real = sum * bitcast<vec4<f32>>(tail[at + 1u]) + bitcast<vec4<f32>>(tail[at]);
  return bounded(real, g.clamp_low, g.clamp_high);",
            2,
        ),
        (false, _) => {
            ("vec4<f32>", "return bounded(sum + bitcast<vec4<f32>>(tail[at]), g.clamp_low, g.clamp_high);", 1)
        }
    }
}

/// Of the last quad of a depth that does not fill it, only lanes that are channels count.
pub(super) const TAIL: &str = "        let left = select(4u, g.depth_tail, k + 1u == g.depth_quads);
        let lanes = vec4(0u, 1u, 2u, 3u) < vec4(left);";

/// Lines, one for each position of the tile.
fn each(tile: &Tile, line: impl Fn(usize) -> String) -> String {
    (0..tile.positions).map(line).collect::<Vec<_>>().join("\n")
}

/// The positions of a tile.
pub(super) fn starts(geometry: &Geometry, tile: &Tile) -> String {
    let corner = |p: usize| {
        if geometry.is_pointwise() {
            String::new()
        } else {
            format!("\n  let corner{p} = corner_of(clamped{p});")
        }
    };
    each(tile, |p| {
        let away = p * tile.lanes[0];
        format!(
            "  let position{p} = first + {away}u;\n  let clamped{p} = min(position{p}, g.positions - 1u);{}",
            corner(p)
        )
    })
}

/// Where a tap's first quad lies for each position.
pub(super) fn places(geometry: &Geometry, tile: &Tile) -> String {
    each(tile, |p| {
        if geometry.is_pointwise() {
            format!("      let at{p} = clamped{p} * g.in_quads + base;")
        } else {
            format!(
                "      let tap{p} = tap_of(corner{p}, tap_y, tap_x);\n      let at{p} = tap{p}.at + base;"
            )
        }
    })
}

/// The quad of each position; `as_read` says what of `$WORD` is kept.
pub(super) fn loads(geometry: &Geometry, tile: &Tile, kind: Kind, tailed: bool, as_read: &str) -> String {
    each(tile, |p| {
        let load = match (kind, tailed) {
            (Kind::Codes, _) => format!("x[at{p} + k] ^ g.flip"),
            (_, false) => format!("x[at{p} + k]"),
            (_, true) => format!("select(vec4(0.0), x[at{p} + k], lanes)"),
        };
        let outside = if kind == Kind::Codes { "g.zero_word" } else { "vec4(0.0)" };
        let word =
            if geometry.is_pointwise() { load } else { format!("select({outside}, {load}, tap{p}.inside)") };
        format!("        let x{p} = {};", as_read.replace("$WORD", &word))
    })
}

/// What writes the tile; `sum` is the sum of a position and a quad of channels, `stride` the vectors of a quad's end.
pub(super) fn stores(tile: &Tile, stride: usize, sum: &dyn Fn(usize, usize) -> String) -> String {
    each(tile, |p| {
        let quads = (0..tile.quads).map(|o| {
            format!(
                "  if position{p} < g.positions && quad + {o}u < g.width_quads {{\n    y[position{p} * g.out_quads + \
                 out + {o}u] = finished({}, (block * {}u + {o}u) * {stride}u);\n  }}",
                sum(p, o),
                tile.quads
            )
        });
        quads.collect::<Vec<_>>().join("\n")
    })
}

/// The kernel of a class of products.
pub(super) fn product_shader(geometry: &Geometry, tile: &Tile, kind: Kind, end: Finish) -> Shader {
    match tile.shared {
        _ if geometry.is_depthwise() => depthwise_shader(geometry, tile, kind, end),
        Some(subgroup) => super::shared::shared_shader(geometry, tile, subgroup, kind, end),
        None => dense_shader(geometry, tile, kind, end),
    }
}

fn dense_shader(geometry: &Geometry, tile: &Tile, kind: Kind, end: Finish) -> Shader {
    let integer = kind == Kind::Codes;
    let tailed = !integer && !geometry.depth().is_multiple_of(4);
    let (out, body, stride) = finish(kind, end);
    let sum = if integer { "vec4<i32>" } else { "vec4<f32>" };
    let quads = || 0..tile.quads;
    let sums =
        each(tile, |p| quads().map(|o| format!("  var s{p}_{o} = {sum}();")).collect::<Vec<_>>().join("\n"));
    let mut products = String::new();
    for o in quads() {
        if integer {
            products += &format!("        let w{o} = weights[at + {o}u];\n");
            products += &each(tile, |p| {
                let lanes = ["x", "y", "z", "w"].map(|lane| format!("dot4I8Packed(x{p}, w{o}.{lane})"));
                format!("        s{p}_{o} += vec4({});\n", lanes.join(", "))
            });
            continue;
        }
        for (lane, component) in ["x", "y", "z", "w"].into_iter().enumerate() {
            let weight = kind.decoded(&format!("weights[at + {}u]", 4 * o + lane));
            products += &format!("        let w{o}_{lane} = {weight};\n");
            products += &each(tile, |p| {
                format!("        s{p}_{o} = fma(vec4(x{p}.{component}), w{o}_{lane}, s{p}_{o});\n")
            });
        }
    }
    let [lanes_x, lanes_y] = tile.lanes.map(|lanes| format!("{lanes}u"));
    let values = [
        ("params", PARAMS),
        ("IN", kind.input()),
        ("WEIGHTS", if integer { "vec4<u32>" } else { kind.weights() }),
        ("SUM", sum),
        ("OUT", out),
        ("FINISH", body),
        ("LANES_X", &lanes_x),
        ("LANES_Y", &lanes_y),
        ("TILE", &format!("{}u", tile.positions)),
        ("BLOCK", &format!("{}u", tile.quads)),
        ("STEP", &format!("{}u", tile.quads * if integer { 1 } else { 4 })),
        ("TAIL", if tailed { TAIL } else { "" }),
        ("SUMS", &sums),
        ("STARTS", &starts(geometry, tile)),
        ("PLACES", &places(geometry, tile)),
        ("LOADS", &loads(geometry, tile, kind, tailed, kind.rounded())),
        ("PRODUCTS", &products),
        ("STORES", &stores(tile, stride, &|p, o| format!("s{p}_{o}"))),
    ];
    let form = if geometry.is_pointwise() { "pointwise" } else { "conv" };
    let input = kind.name();
    let output = if integer && end != Finish::Codes { "_reals" } else { "" };
    shader(&format!("{form}_{input}{output}_{}x{}", tile.positions, 4 * tile.quads), DENSE, &values)
}

/// Output positions of one row that an invocation of a depthwise convolution computes.
fn run_of(out_width: usize) -> usize {
    let runs = out_width.div_ceil(RUN_MAX);
    out_width.div_ceil(runs)
}

fn depthwise_shader(geometry: &Geometry, tile: &Tile, kind: Kind, end: Finish) -> Shader {
    let integer = kind == Kind::Codes;
    let (out, body, stride) = finish(kind, end);
    let [lanes_x, lanes_y] = tile.lanes.map(|lanes| format!("{lanes}u"));
    let [kernel_h, kernel_w] = geometry.kernel;
    let (step, dilation) = (geometry.strides[1], geometry.dilations[1]);
    let outputs = || 0..tile.positions;
    let lines = |lines: Vec<String>| lines.join("\n");
    // Every column of the input that some output's tap reads, once.
    let mut columns: Vec<usize> =
        outputs().flat_map(|p| (0..kernel_w).map(move |tap| p * step + tap * dilation)).collect();
    columns.sort_unstable();
    columns.dedup();
    let shared = tile.shared.is_some_and(|subgroup| kernel_w <= subgroup);
    let weights = if shared {
        let load =
            "    let lane_filter = weight_of(weights[filter_at + min(own, KERNEL_W - 1u)]);\n".to_owned();
        load + &lines(
            (0..kernel_w)
                .map(|tap| format!("    let w{tap} = subgroupBroadcast(lane_filter, {tap}u);"))
                .collect(),
        )
    } else {
        lines(
            (0..kernel_w)
                .map(|tap| format!("    let w{tap} = weight_of(weights[filter_at + {tap}u]);"))
                .collect(),
        )
    };
    let (word, zero) = match kind {
        Kind::Codes => ("real_of($ ^ g.flip)", "real_of(g.zero_word)"),
        Kind::Halves => ("quantizeToF16($)", "vec4(0.0)"),
        Kind::Reals | Kind::Weights => ("$", "vec4(0.0)"),
    };
    let loads = columns.iter().map(|column| {
        let load = word.replace('$', &format!("x[(line_at + at{column}) * g.in_quads + at]"));
        format!(
            "    let column{column} = u32(left + {column}i);\n    let inside{column} = line_inside && column{column} < \
             g.width;\n    let at{column} = select(0u, column{column}, inside{column});\n    let x{column} = \
             select({zero}, {load}, inside{column});"
        )
    });
    let products = outputs().flat_map(|p| {
        (0..kernel_w).map(move |tap| {
            let column = p * step + tap * dilation;
            format!("    s{p} = fma(x{column}, w{tap}, s{p});")
        })
    });
    let stores = outputs().map(|p| {
        let sum = if integer { format!("vec4<i32>(s{p})") } else { format!("s{p}") };
        let store = format!("y[out + {p}u * g.out_quads] = finished({sum}, quad * {stride}u);");
        if p == 0 {
            format!("  {store}")
        } else {
            format!("  if first + {p}u < g.out_width {{\n    {store}\n  }}")
        }
    });
    let values = [
        ("params", PARAMS),
        ("IN", kind.input()),
        ("WEIGHTS_IN", kind.weights()),
        ("WEIGHT", &kind.decoded("quad")),
        ("REAL", if integer { "vec4<f32>(codes_of(quad, 0u))" } else { "quad" }),
        ("SUM", if integer { "vec4<i32>" } else { "vec4<f32>" }),
        ("OUT", out),
        ("FINISH", body),
        ("OWN", if shared { "@builtin(subgroup_invocation_id) own: u32," } else { "" }),
        ("QUAD", if tile.lanes[1] == 1 { "tile.y" } else { "tile.y * $LANES_Y$ + lane.y" }),
        ("LANES_X", &lanes_x),
        ("LANES_Y", &lanes_y),
        ("RUN", &format!("{}u", tile.positions)),
        ("KERNEL_H", &format!("{kernel_h}u")),
        ("KERNEL_W", &format!("{kernel_w}u")),
        ("SUMS", &lines(outputs().map(|p| format!("  var s{p} = vec4<f32>();")).collect())),
        ("WEIGHTS", &weights),
        ("COLUMNS", &lines(loads.collect())),
        ("PRODUCTS", &lines(products.collect())),
        ("STORES", &lines(stores.collect())),
    ];
    let input = kind.name();
    let output = if integer && end != Finish::Codes { "_reals" } else { "" };
    let name = format!("depthwise{kernel_h}x{kernel_w}s{step}_{input}{output}_x{}", tile.positions);
    shader(&name, DEPTHWISE, &values)
}
