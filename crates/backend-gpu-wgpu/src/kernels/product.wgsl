// A tile of output positions by quads of output channels. Neighbouring invocations have neighbouring positions and the
// same weights.

$params$

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<$IN$>;
@group(0) @binding(2) var<storage, read> weights: array<$WEIGHTS$>;
@group(0) @binding(3) var<storage, read> tail: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<$OUT$>;

fn finished(sum: $SUM$, at: u32) -> $OUT$ {
  $FINISH$
}

@compute @workgroup_size($LANES_X$, $LANES_Y$)
fn main(@builtin(local_invocation_id) lane: vec3<u32>, @builtin(workgroup_id) tile: vec3<u32>) {
  let first = tile.x * ($LANES_X$ * $TILE$) + lane.x;
  let block = tile.y * $LANES_Y$ + lane.y;
  if block >= g.blocks * g.groups {
    return;
  }
  let group = block / g.blocks;
  let base = group * g.depth_quads;
  let quad = (block % g.blocks) * $BLOCK$;
  let out = group * g.width_quads + quad;
$SUMS$
$STARTS$
  var at = block * g.kernel_h * g.kernel_w * g.depth_quads * $STEP$;
  for (var tap_y = 0u; tap_y < g.kernel_h; tap_y++) {
    for (var tap_x = 0u; tap_x < g.kernel_w; tap_x++) {
$PLACES$
      for (var k = 0u; k < g.depth_quads; k++) {
$TAIL$
$LOADS$
$PRODUCTS$
        at += $STEP$;
      }
    }
  }
$STORES$
}
