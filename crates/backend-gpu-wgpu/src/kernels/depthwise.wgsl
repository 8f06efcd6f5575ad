// One filter per channel: a quad of channels at a run of output positions of one row, which share the columns they read.
//
// Codes are multiplied as floats: up to 1024 products of 8-bit codes add up to at most 2^24, exactly.

$params$

const KERNEL_H: u32 = $KERNEL_H$;
const KERNEL_W: u32 = $KERNEL_W$;
// Output positions of an invocation.
const RUN: u32 = $RUN$;

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<$IN$>;
@group(0) @binding(2) var<storage, read> weights: array<$WEIGHTS_IN$>;
@group(0) @binding(3) var<storage, read> tail: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<$OUT$>;

fn finished(sum: $SUM$, at: u32) -> $OUT$ {
  $FINISH$
}

fn real_of(quad: $IN$) -> vec4<f32> {
  return $REAL$;
}

fn weight_of(quad: $WEIGHTS_IN$) -> vec4<f32> {
  return $WEIGHT$;
}

@compute @workgroup_size($LANES_X$, $LANES_Y$)
fn main(
  @builtin(local_invocation_id) lane: vec3<u32>,
  @builtin(workgroup_id) tile: vec3<u32>,
  $OWN$
) {
  let runs_of_row = (g.out_width + RUN - 1u) / RUN;
  let runs = g.positions / g.out_width * runs_of_row;
  let index = tile.x * $LANES_X$ + lane.x;
  let quad = $QUAD$;
  let run = min(index, runs - 1u);
  let first = (run % runs_of_row) * RUN;
  let row = run / runs_of_row;
  let image = row / g.out_height;
  let top = i32((row % g.out_height) * g.stride_h) - i32(g.pad_h);
  let left = i32(first * g.stride_w) - i32(g.pad_w);
  let at = min(quad, g.out_quads - 1u);
$SUMS$
  for (var tap_y = 0u; tap_y < KERNEL_H; tap_y++) {
    let line = u32(top + i32(tap_y * g.dilation_h));
    let line_inside = line < g.height;
    let line_at = (image * g.height + select(0u, line, line_inside)) * g.width;
    let filter_at = (at * KERNEL_H + tap_y) * KERNEL_W;
$WEIGHTS$
$COLUMNS$
$PRODUCTS$
  }
  if index >= runs || quad >= g.out_quads {
    return;
  }
  let out = (row * g.out_width + first) * g.out_quads + quad;
$STORES$
}
