// y = a * c of each batch: four rows by a quad of columns an invocation.

struct Params {
  rows: u32,
  depth: u32,
  depth_quads: u32,
  column_quads: u32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> a: array<vec4<f32>>;
@group(0) @binding(2) var<storage, read> b: array<vec4<f32>>;
// Of each batch, where its two matrices start.
@group(0) @binding(3) var<storage, read> offsets: array<u32>;
@group(0) @binding(4) var<storage, read_write> y: array<vec4<f32>>;

@compute @workgroup_size($LANES_X$, $LANES_Y$)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = id.x;
  let row = id.y * 4u;
  if column >= g.column_quads || row >= g.rows {
    return;
  }
  let last = g.rows - 1u;
  let first = offsets[2u * id.z];
  let at0 = first + row * g.depth_quads;
  let at1 = first + min(row + 1u, last) * g.depth_quads;
  let at2 = first + min(row + 2u, last) * g.depth_quads;
  let at3 = first + min(row + 3u, last) * g.depth_quads;
  var at = offsets[2u * id.z + 1u] + column;
  var s0 = vec4<f32>();
  var s1 = vec4<f32>();
  var s2 = vec4<f32>();
  var s3 = vec4<f32>();
  for (var q = 0u; q < g.depth_quads; q++) {
    var a0 = a[at0 + q];
    var a1 = a[at1 + q];
    var a2 = a[at2 + q];
    var a3 = a[at3 + q];
    var b0 = b[at];
    var b1 = b[at + g.column_quads];
    var b2 = b[at + 2u * g.column_quads];
    var b3 = b[at + 3u * g.column_quads];
    $TAIL$
    s0 = fma(vec4(a0.x), b0, fma(vec4(a0.y), b1, fma(vec4(a0.z), b2, fma(vec4(a0.w), b3, s0))));
    s1 = fma(vec4(a1.x), b0, fma(vec4(a1.y), b1, fma(vec4(a1.z), b2, fma(vec4(a1.w), b3, s1))));
    s2 = fma(vec4(a2.x), b0, fma(vec4(a2.y), b1, fma(vec4(a2.z), b2, fma(vec4(a2.w), b3, s2))));
    s3 = fma(vec4(a3.x), b0, fma(vec4(a3.y), b1, fma(vec4(a3.z), b2, fma(vec4(a3.w), b3, s3))));
    at += 4u * g.column_quads;
  }
  let out = (id.z * g.rows + row) * g.column_quads + column;
  y[out] = s0;
  if row + 1u < g.rows {
    y[out + g.column_quads] = s1;
  }
  if row + 2u < g.rows {
    y[out + 2u * g.column_quads] = s2;
  }
  if row + 3u < g.rows {
    y[out + 3u * g.column_quads] = s3;
  }
}
