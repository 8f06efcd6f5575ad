// One filter per channel: a quad of channels at several output positions.

$params$

const KERNEL_H: u32 = $KERNEL_H$;
const KERNEL_W: u32 = $KERNEL_W$;

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<$IN$>;
@group(0) @binding(2) var<storage, read> weights: array<$IN$>;
@group(0) @binding(3) var<storage, read> tail: array<vec4<u32>>;
@group(0) @binding(4) var<storage, read_write> y: array<$OUT$>;

fn finished(sum: $SUM$, at: u32) -> $OUT$ {
  $FINISH$
}

@compute @workgroup_size($LANES_X$, $LANES_Y$)
fn main(@builtin(local_invocation_id) lane: vec3<u32>, @builtin(workgroup_id) tile: vec3<u32>) {
  let first = tile.x * ($LANES_X$ * $TILE$) + lane.x;
  let quad = tile.y * $LANES_Y$ + lane.y;
  if quad >= g.out_quads {
    return;
  }
  let at = quad * KERNEL_H * KERNEL_W;
  for (var p = 0u; p < $TILE$; p++) {
    let position = first + p * $LANES_X$;
    if position >= g.positions {
      return;
    }
    let corner = corner_of(position);
    var sum = $SUM$();
    for (var tap_y = 0u; tap_y < KERNEL_H; tap_y++) {
      for (var tap_x = 0u; tap_x < KERNEL_W; tap_x++) {
        let tap = tap_of(corner, tap_y, tap_x);
        $PRODUCT$
      }
    }
    y[position * g.out_quads + quad] = finished(sum, quad * $TAIL_STRIDE$);
  }
}
