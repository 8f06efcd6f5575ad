// (x - mean) / sqrt(variance + epsilon) * scale + bias of rows of `n` elements; one row an invocation.

struct Params {
  rows: u32,
  n: u32,
  epsilon: f32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> scale: array<f32>;
$BIAS$
@group(0) @binding($LAST$) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let row = quad_of(id);
  if row >= g.rows {
    return;
  }
  let base = row * g.n;
  var sum = 0.0;
  for (var first = 0u; first < g.n; first += 64u) {
    var part = 0.0;
    let end = min(first + 64u, g.n);
    for (var k = first; k < end; k++) {
      part += x[base + k];
    }
    sum += part;
  }
  let mean = sum / f32(g.n);
  sum = 0.0;
  for (var first = 0u; first < g.n; first += 64u) {
    var part = 0.0;
    let end = min(first + 64u, g.n);
    for (var k = first; k < end; k++) {
      let away = x[base + k] - mean;
      part += away * away;
    }
    sum += part;
  }
  let root = sqrt(sum / f32(g.n) + g.epsilon);
  for (var k = 0u; k < g.n; k++) {
    y[base + k] = (x[base + k] - mean) / root * scale[k]$ADD$;
  }
}
