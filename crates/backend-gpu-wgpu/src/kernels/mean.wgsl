// Mean over all positions of an image: a quad of channels.

struct Params {
  // Of the output, and of a pixel.
  quads: u32,
  pixel: u32,
  count: u32,
  flip: u32,
  out_flip: u32,
  zero: i32,
  out_zero: i32,
  low: i32,
  high: i32,
  ratio: f32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<$ELEMENT$>;
@group(0) @binding(2) var<storage, read_write> y: array<$ELEMENT$>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = quad_of(id);
  if quad >= g.quads {
    return;
  }
  let base = quad / g.pixel * g.count * g.pixel + quad % g.pixel;
  var sum = $SUM$();
  // Sums of rows of their own keep rounding errors from growing with the image.
  for (var first = 0u; first < g.count; first += 64u) {
    var part = $SUM$();
    let end = min(first + 64u, g.count);
    for (var position = first; position < end; position++) {
      let at = base + position * g.pixel;
      part += $LOAD$;
    }
    sum += part;
  }
  $END$
}
