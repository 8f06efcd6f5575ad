// Images of another size: a quad of channels at one output position.

struct Params {
  quads: u32,
  // Quads of a pixel.
  pixel: u32,
  height: u32,
  width: u32,
  out_height: u32,
  out_width: u32,
  flip: u32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<$ELEMENT$>;
// Of each output row, then of each output column: two samples and the weight of the second.
@group(0) @binding(2) var<storage, read> samples: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<$ELEMENT$>;

$CODE$

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let index = quad_of(id);
  if index >= g.quads {
    return;
  }
  let quad = index % g.pixel;
  let position = index / g.pixel;
  let row = 3u * ((position / g.out_width) % g.out_height);
  let column = 3u * (g.out_height + position % g.out_width);
  let image = position / (g.out_width * g.out_height) * g.height;
  let top = (image + samples[row]) * g.width;
  let bottom = (image + samples[row + 1u]) * g.width;
  let left = samples[column];
  let right = samples[column + 1u];
  $BODY$
}
