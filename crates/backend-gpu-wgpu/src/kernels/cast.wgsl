// Integers to floats.

struct Params {
  quads: u32,
  count: u32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn real_of(at: u32) -> f32 {
  $BODY$
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = quad_of(id);
  if quad >= g.quads {
    return;
  }
  let last = g.count - 1u;
  let at = 4u * quad;
  y[quad] = vec4(real_of(at), real_of(min(at + 1u, last)), real_of(min(at + 2u, last)), real_of(min(at + 3u, last)));
}
