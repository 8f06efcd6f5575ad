// Where an element of the output lies in up to two operands: `kernels::Walk` on the device.
struct Walk {
  quads: u32,
  rank: u32,
  // The innermost extent without padding.
  inner: u32,
  count: u32,
  extents: array<vec4<u32>, 2>,
  first: array<vec4<i32>, 2>,
  second: array<vec4<i32>, 2>,
}

struct Place {
  // Whether the element is one, not padding, and its index along `axis` is in [low, high).
  inside: bool,
  first: i32,
  second: i32,
}

fn place_of(element: u32, axis: u32, low: u32, high: u32) -> Place {
  var place = Place(element < g.walk.count, 0, 0);
  var rest = element;
  for (var back = 0u; back < g.walk.rank; back++) {
    let at = g.walk.rank - 1u - back;
    let extent = g.walk.extents[at / 4u][at % 4u];
    let index = rest % extent;
    rest = rest / extent;
    place.first += i32(index) * g.walk.first[at / 4u][at % 4u];
    place.second += i32(index) * g.walk.second[at / 4u][at % 4u];
    place.inside = place.inside && (back != 0u || index < g.walk.inner);
    place.inside = place.inside && (at != axis || (index >= low && index < high));
  }
  return place;
}
