// Floats to codes and codes to floats.

struct Params {
  quads: u32,
  flip: u32,
  scale: f32,
  zero: i32,
}

@group(0) @binding(0) var<uniform> g: Params;
@group(0) @binding(1) var<storage, read> x: array<$FROM$>;
@group(0) @binding(2) var<storage, read_write> y: array<$TO$>;

// clamp(rhe(x / s) + z), with x / s rounded to f32 first as the rule says. WGSL's division may be off by more than the
// last bit, so that the quotient is found by a division of the significands, bit by bit: nothing here depends on how a
// device rounds.
fn code_of(x: f32) -> i32 {
  let bits = bitcast<u32>(x);
  let size = bits & 0x7fffffffu;
  // NaN counts as 0; so does what is far below every scale that is taken.
  if size > 0x7f800000u || size < 0x00800000u {
    return g.zero;
  }
  let scale = bitcast<u32>(g.scale);
  let divisor = (scale & 0x7fffffu) | 0x800000u;
  var rest = (bits & 0x7fffffu) | 0x800000u;
  var exponent = i32(size >> 23u) - i32(scale >> 23u);
  if rest < divisor {
    rest = rest << 1u;
    exponent -= 1;
  }
  // 1 <= rest / divisor < 2: the quotient is that times 2^exponent. Beyond 2^9 every code saturates, infinity too; below
  // 2^-2 every quotient rounds to 0.
  var whole = 0u;
  if exponent > 9 || size == 0x7f800000u {
    whole = 1024u;
  } else if exponent >= -2 {
    // 24 bits of the quotient, and one more to round by.
    var quotient = 0u;
    for (var bit = 0u; bit < 25u; bit++) {
      quotient = quotient << 1u;
      if rest >= divisor {
        rest -= divisor;
        quotient |= 1u;
      }
      rest = rest << 1u;
    }
    // The quotient as f32: halves to even.
    let above = (quotient & 1u) == 1u && (rest != 0u || (quotient & 2u) == 2u);
    let rounded = (quotient >> 1u) + select(0u, 1u, above);
    // Then to a whole number; `rounded` has `drop` bits behind the point.
    let drop = u32(23 - exponent);
    whole = rounded >> drop;
    let part = rounded & ((1u << drop) - 1u);
    let half = 1u << (drop - 1u);
    if part > half || (part == half && (whole & 1u) == 1u) {
      whole += 1u;
    }
  }
  let signed = select(i32(whole), -i32(whole), (bits >> 31u) == 1u);
  return clamp(signed + g.zero, -128, 127);
}

fn converted(x: $FROM$) -> $TO$ {
  $BODY$
}

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = quad_of(id);
  if quad >= g.quads {
    return;
  }
  y[quad] = converted(x[quad]);
}
