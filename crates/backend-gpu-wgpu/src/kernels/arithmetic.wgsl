// The operations that exact codes rest on; see `arithmetic.rs`.

struct Params {
  count: u32,
  none: u32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> cases: array<vec4<u32>>;
@group(0) @binding(2) var<storage, read_write> results: array<vec4<u32>>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let at = quad_of(id);
  if at >= g.count {
    return;
  }
  let operands = cases[at];
  let acc = vec4(bitcast<i32>(operands.x));
  let other = vec4(bitcast<i32>(operands.z));
  let product = vec4<f32>(acc) * bitcast<f32>(operands.y);
  let first = kept(product, g.none);
  let sum = first + kept(vec4<f32>(other) * bitcast<f32>(operands.w), g.none);
  let code = nearest(product, -128, 127);
  let half = nearest(vec4<f32>(acc) * 0.5, -128, 127);
  results[at] = vec4(bitcast<u32>(product.x), bitcast<u32>(sum.x), bitcast<u32>(code.x), bitcast<u32>(half.x));
}
