// A function of each float.

struct Params {
  quads: u32,
  p: f32,
  q: f32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read_write> y: array<vec4<f32>>;

fn sigmoid(x: vec4<f32>) -> vec4<f32> {
  // Of the smaller side, so that nothing overflows.
  let e = exp(-abs(x));
  return select(vec4(1.0), e, x < vec4(0.0)) / (1.0 + e);
}

// exp(x) - 1 of what is not above 0, without cancellation near 0.
fn expm1(x: vec4<f32>) -> vec4<f32> {
  let near = x * (1.0 + x * (0.5 + x * (0.16666667 + x * (0.041666668 + x * (0.008333334 + x * 0.0013888889)))));
  return select(exp(min(x, vec4(0.0))) - 1.0, near, abs(x) < vec4(0.35));
}

fn hyperbolic(x: vec4<f32>) -> vec4<f32> {
  // tanh(|x|) = -expm1(-2 |x|) / (2 + expm1(-2 |x|)).
  let e = expm1(-2.0 * min(abs(x), vec4(20.0)));
  return sign(x) * (-e / (2.0 + e));
}

// ln(1 + exp(x)).
fn softplus(x: vec4<f32>) -> vec4<f32> {
  let e = exp(-abs(x));
  // ln(1 + e) of a small e without losing it in the sum: by u = 1 + e, ln(u) e / (u - 1).
  let u = 1.0 + e;
  let log = select(log(u) * (e / (u - 1.0)), e, u == vec4(1.0));
  return max(x, vec4(0.0)) + log;
}

// The complementary error function: a Chebyshev fit of erfc(z) exp(z^2) in 1 / (1 + z / 2), relative error below 1.2e-7.
fn erfc(x: vec4<f32>) -> vec4<f32> {
  let z = abs(x);
  let t = 1.0 / (1.0 + 0.5 * z);
  var p = vec4(0.17087277);
  p = p * t - 0.82215223;
  p = p * t + 1.48851587;
  p = p * t - 1.13520398;
  p = p * t + 0.27886807;
  p = p * t - 0.18628806;
  p = p * t + 0.09678418;
  p = p * t + 0.37409196;
  p = p * t + 1.00002368;
  p = p * t - 1.26551223;
  let tail = t * exp(p - z * z);
  return select(tail, 2.0 - tail, x < vec4(0.0));
}

// The error function: its series near 0, where 1 - erfc(x) would lose digits.
fn erf(x: vec4<f32>) -> vec4<f32> {
  let s = x * x;
  var p = vec4(-0.000013227513);
  p = p * s + 0.00010683761;
  p = p * s - 0.00075757576;
  p = p * s + 0.0046296296;
  p = p * s - 0.023809524;
  p = p * s + 0.1;
  p = p * s - 0.33333333;
  p = p * s + 1.0;
  return select(1.0 - erfc(x), x * 1.1283792 * p, s < vec4(0.5));
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = quad_of(id);
  if quad >= g.quads {
    return;
  }
  y[quad] = computed(x[quad]);
}

fn computed(x: vec4<f32>) -> vec4<f32> {
  return $BODY$;
}
