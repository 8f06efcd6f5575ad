// A function of two elements, of codes or of floats, either operand broadcast.

struct Params {
  walk: Walk,
  clamp_low: f32,
  clamp_high: f32,
  ratio_a: f32,
  ratio_b: f32,
  zero_a: i32,
  zero_b: i32,
  zero: i32,
  low: i32,
  high: i32,
  flip_a: u32,
  flip_b: u32,
  flip: u32,
  // Always 0.
  none: u32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<$OPERAND$>;
@group(0) @binding(2) var<storage, read> z: array<$OPERAND$>;
@group(0) @binding(3) var<storage, read_write> y: array<$QUAD$>;

$walk$

// The signed code at an element's place in its word.
fn code_of(word: u32, at: u32, flip: u32) -> i32 {
  return extractBits(i32(word ^ flip), 8u * (at % 4u), 8u);
}

fn or_nan(a: vec4<f32>, b: vec4<f32>, otherwise: vec4<f32>) -> vec4<f32> {
  let of_a = (bitcast<vec4<u32>>(a) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
  let of_b = (bitcast<vec4<u32>>(b) & vec4(0x7fffffffu)) > vec4(0x7f800000u);
  return select(select(otherwise, b, of_b), a, of_a);
}

fn computed(a: $VECTOR$, b: $VECTOR$) -> $QUAD$ {
  $BODY$
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = quad_of(id);
  if quad >= g.walk.quads {
    return;
  }
  $LOAD$
  y[quad] = computed(a, b);
}
