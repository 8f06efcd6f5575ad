// exp(x) / sum(exp(x)) of rows of `n` elements that lie `step` apart; one row an invocation.

struct Params {
  rows: u32,
  n: u32,
  step: u32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = quad_of(id);
  if row >= g.rows {
    return;
  }
  let base = row / g.step * g.step * g.n + row % g.step;
  var largest = x[base];
  for (var k = 1u; k < g.n; k++) {
    largest = max(largest, x[base + k * g.step]);
  }
  var sum = 0.0;
  for (var first = 0u; first < g.n; first += 64u) {
    var part = 0.0;
    let end = min(first + 64u, g.n);
    for (var k = first; k < end; k++) {
      part += exp(x[base + k * g.step] - largest);
    }
    sum += part;
  }
  for (var k = 0u; k < g.n; k++) {
    let value = x[base + k * g.step] - largest;
    y[base + k * g.step] = $END$;
  }
}
