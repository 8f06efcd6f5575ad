struct Params {
  positions: u32,
  height: u32,
  width: u32,
  in_quads: u32,
  out_height: u32,
  out_width: u32,
  out_quads: u32,
  kernel_h: u32,
  kernel_w: u32,
  stride_h: u32,
  stride_w: u32,
  dilation_h: u32,
  dilation_w: u32,
  pad_h: u32,
  pad_w: u32,
  // Quads of input channels of a group, and of output channels.
  depth_quads: u32,
  width_quads: u32,
  blocks: u32,
  groups: u32,
  flip: u32,
  // Four times the zero point.
  zero_word: u32,
  out_flip: u32,
  out_zero: i32,
  low: i32,
  high: i32,
  clamp_low: f32,
  clamp_high: f32,
  // Channels in the last quad of floats, where it is not full.
  depth_tail: u32,
  // Always 0.
  none: u32,
}

// The upper left corner of an output position's window.
struct Corner {
  image: u32,
  y: i32,
  x: i32,
}

// Where a tap lies in the input.
struct Tap {
  inside: bool,
  at: u32,
}

fn corner_of(position: u32) -> Corner {
  let rest = position / g.out_width;
  let y = i32((rest % g.out_height) * g.stride_h) - i32(g.pad_h);
  let x = i32((position % g.out_width) * g.stride_w) - i32(g.pad_w);
  return Corner(rest / g.out_height, y, x);
}

fn tap_of(corner: Corner, tap_y: u32, tap_x: u32) -> Tap {
  let y = u32(corner.y + i32(tap_y * g.dilation_h));
  let x = u32(corner.x + i32(tap_x * g.dilation_w));
  // What lies before 0 is beyond every extent as an unsigned number.
  let inside = y < g.height && x < g.width;
  let at = ((corner.image * g.height + y) * g.width + x) * g.in_quads;
  return Tap(inside, select(0u, at, inside));
}
