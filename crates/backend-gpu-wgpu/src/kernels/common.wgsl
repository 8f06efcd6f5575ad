// What all kernels share.
//
// Codes are handled as signed: a word of four u8 codes becomes one of four i8 codes, each 128 less, by `flip`
// (0x80808080 for u8, 0 for i8), and zero points and bounds are moved with it. So one kernel serves both types.
//
// Every f32 operation whose last bit matters is alone: no product is followed by a sum that a compiler could contract
// with it, but through `kept`.

const GROUP: u32 = 64u;
// Invocations along the first dimension of a grid.
const ROW: u32 = 262144u;

fn quad_of(id: vec3<u32>) -> u32 {
  return id.y * ROW + id.x;
}

// To the nearest integers, halves to even, within [low, high].
fn nearest(x: vec4<f32>, low: i32, high: i32) -> vec4<i32> {
  return vec4<i32>(round(clamp(x, vec4(f32(low)), vec4(f32(high)))));
}

// The same numbers; a compiler that does not know that `zero` is 0 must round them before it goes on.
fn kept(x: vec4<f32>, zero: u32) -> vec4<f32> {
  return bitcast<vec4<f32>>(bitcast<vec4<u32>>(x) ^ vec4(zero));
}

// The four floats of 16 bits each in two words.
fn halves_of(words: vec2<u32>) -> vec4<f32> {
  return vec4(unpack2x16float(words.x), unpack2x16float(words.y));
}

// The four signed codes of a word, and the word of four signed codes.
fn codes_of(word: u32, flip: u32) -> vec4<i32> {
  return unpack4xI8(word ^ flip);
}

fn word_of(codes: vec4<i32>, flip: u32) -> u32 {
  return pack4xI8(codes) ^ flip;
}

// min(max(x, low), high) that lets NaN through, and infinities where a bound is open.
fn bounded(x: vec4<f32>, low: f32, high: f32) -> vec4<f32> {
  let above = select(x, vec4(low), x < vec4(low));
  return select(above, vec4(high), above > vec4(high));
}
