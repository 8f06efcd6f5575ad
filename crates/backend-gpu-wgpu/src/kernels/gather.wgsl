// Elements by index along one dimension; indices were checked by the host.

struct Params {
  quads: u32,
  count: u32,
  // Elements behind the dimension, indices, and the dimension's extent.
  inner: u32,
  picks: u32,
  extent: u32,
  // Words of an index.
  words: u32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> indices: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<$QUAD$>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = quad_of(id);
  if quad >= g.quads {
    return;
  }
  var result = $START$;
  for (var lane = 0u; lane < 4u; lane++) {
    let element = quad * 4u + lane;
    if element < g.count {
      let row = element / g.inner;
      // The low word tells: indices are from -extent to below extent.
      let index = bitcast<i32>(indices[(row % g.picks) * g.words]);
      let pick = u32(select(index, index + i32(g.extent), index < 0));
      let at = (row / g.picks * g.extent + pick) * g.inner + element % g.inner;
      $PICK$
    }
  }
  y[quad] = result;
}
