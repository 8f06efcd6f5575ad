// Runs of whole quads into another tensor's rows, as they are or with other parameters.

struct Params {
  quads: u32,
  run: u32,
  stride: u32,
  offset: u32,
  ratio: f32,
  zero: i32,
  out_zero: i32,
  low: i32,
  high: i32,
  flip: u32,
  out_flip: u32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<$QUAD$>;
@group(0) @binding(2) var<storage, read_write> y: array<$QUAD$>;

fn converted(quad: $QUAD$) -> $QUAD$ {
  $CONVERT$
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = quad_of(id);
  if quad >= g.quads {
    return;
  }
  y[quad / g.run * g.stride + g.offset + quad % g.run] = converted(x[quad]);
}
