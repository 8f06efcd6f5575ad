// Codes to codes by a table of 256, indexed by the code's bits.

struct Params {
  quads: u32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<u32>;

fn entry(code: u32) -> u32 {
  return extractBits(table[code / 4u], 8u * (code % 4u), 8u);
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = quad_of(id);
  if quad >= g.quads {
    return;
  }
  let word = x[quad];
  y[quad] = entry(word & 0xffu) | (entry((word >> 8u) & 0xffu) << 8u) | (entry((word >> 16u) & 0xffu) << 16u)
    | (entry(word >> 24u) << 24u);
}
