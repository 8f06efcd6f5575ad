// A tile of output positions by output channels, for processors that play a graphics device: there a load takes as long
// as tens of products, so that the lanes of a subgroup load different weights and tell each other.
//
// Codes are multiplied as floats: 1024 products of 8-bit codes add up to at most 2^24, exactly; then the sum moves on
// to an integer.

$params$

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<$IN$>;
// Of one output channel, four input channels.
@group(0) @binding(2) var<storage, read> weights: array<$WEIGHTS$>;
@group(0) @binding(3) var<storage, read> tail: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<$OUT$>;

fn finished(sum: $SUM$, at: u32) -> $OUT$ {
  $FINISH$
}

@compute @workgroup_size($LANES$)
fn main(
  @builtin(local_invocation_id) lane: vec3<u32>,
  @builtin(workgroup_id) tile: vec3<u32>,
  @builtin(subgroup_invocation_id) own: u32,
) {
  let first = tile.x * ($LANES$ * $TILE$) + lane.x;
  let block = tile.y;
  let group = block / g.blocks;
  let base = group * g.depth_quads;
  let quad = (block % g.blocks) * $BLOCK$;
  let out = group * g.width_quads + quad;
$SUMS$
$STARTS$
  var at = block * g.kernel_h * g.kernel_w * g.depth_quads * $STEP$ + own;
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
