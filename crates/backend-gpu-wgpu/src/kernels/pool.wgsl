// Maximum or mean of windows: a quad of channels at one output position.

struct Params {
  positions: u32,
  height: u32,
  width: u32,
  quads: u32,
  out_height: u32,
  out_width: u32,
  kernel_h: u32,
  kernel_w: u32,
  stride_h: u32,
  stride_w: u32,
  dilation_h: u32,
  dilation_w: u32,
  pad_h: u32,
  pad_w: u32,
  pad_below: u32,
  pad_right: u32,
  include_pad: u32,
  flip: u32,
  out_flip: u32,
  zero: i32,
  out_zero: i32,
  low: i32,
  high: i32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<$ELEMENT$>;
// By the number of samples of a window: so the division by it is the host's.
@group(0) @binding(2) var<storage, read> multipliers: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<$ELEMENT$>;

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let index = quad_of(id);
  if index >= g.positions * g.quads {
    return;
  }
  let quad = index % g.quads;
  let position = index / g.quads;
  let image = position / (g.out_width * g.out_height);
  let top = i32(((position / g.out_width) % g.out_height) * g.stride_h) - i32(g.pad_h);
  let left = i32((position % g.out_width) * g.stride_w) - i32(g.pad_w);
  var result = $START$;
  var inside = 0u;
  var padded = 0u;
  for (var tap_y = 0u; tap_y < g.kernel_h; tap_y++) {
    let row = top + i32(tap_y * g.dilation_h);
    if row >= i32(g.height + g.pad_below) {
      break;
    }
    for (var tap_x = 0u; tap_x < g.kernel_w; tap_x++) {
      let column = left + i32(tap_x * g.dilation_w);
      if column >= i32(g.width + g.pad_right) {
        break;
      }
      padded += 1u;
      if u32(row) >= g.height || u32(column) >= g.width {
        continue;
      }
      inside += 1u;
      let at = ((image * g.height + u32(row)) * g.width + u32(column)) * g.quads + quad;
      $SAMPLE$
    }
  }
  let counted = select(inside, padded, g.include_pad == 1u);
  $END$
}
