// Elements in other places: layouts, transpositions, pieces, joins. One quad of the output an invocation; each of its
// elements is looked up on its own.

struct Params {
  walk: Walk,
  base: i32,
  // The region along one dimension of the walk.
  axis: u32,
  low: u32,
  high: u32,
  // Of codes that change their parameters.
  ratio: f32,
  zero: i32,
  flip: u32,
  out_zero: i32,
  out_flip: u32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<$QUAD$>;

$walk$

fn converted(code: u32) -> u32 {
  $CONVERT$
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = quad_of(id);
  if quad >= g.walk.quads {
    return;
  }
  var result = $OLD$;
  for (var lane = 0u; lane < 4u; lane++) {
    let place = place_of(quad * 4u + lane, g.axis, g.low, g.high);
    if place.inside {
      let at = u32(place.first + g.base);
      $LOOK_UP$
    }
  }
  y[quad] = result;
}
