// Mean or sum of the elements at `offsets` from where a walk leads: any axes.

struct Params {
  walk: Walk,
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
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read_write> y: array<$OUT$>;

$walk$

@compute @workgroup_size(GROUP)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let quad = quad_of(id);
  if quad >= g.walk.quads {
    return;
  }
  var sum = $SUM$();
  for (var lane = 0u; lane < 4u; lane++) {
    let place = place_of(quad * 4u + lane, 0u, 0u, 0xffffffffu);
    if place.inside {
      for (var first = 0u; first < g.count; first += 64u) {
        var part = $PART$();
        let end = min(first + 64u, g.count);
        for (var sample = first; sample < end; sample++) {
          let at = u32(place.first) + offsets[sample];
          part += $LOAD$;
        }
        sum[lane] += part;
      }
    }
  }
  $END$
}
