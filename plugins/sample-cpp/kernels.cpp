// The arithmetic of docs/vendor/operators.md, exactly: each float operation
// rounds by itself (compile with -ffp-contract=off), ties go to the even code.
// Plain loops; a real plugin replaces these.
#include <cmath>

#include "sample.hpp"

namespace {

// clamp(rhe(real) + zero_point): the last step of every rule. NaN counts as 0.
int32_t round_to_code(float real, int32_t zero_point, int32_t low, int32_t high) {
  const float far = 1e9f;  // beyond every code; the sum cannot overflow
  float rounded = std::nearbyint(real);
  if (std::isnan(rounded)) rounded = 0;
  if (rounded < -far) rounded = -far;
  if (rounded > far) rounded = far;
  const int32_t code = static_cast<int32_t>(rounded) + zero_point;
  return code < low ? low : code > high ? high : code;
}

// A code without its zero point.
int32_t difference(const void *data, size_t at, const codes &c) {
  const int32_t code = c.is_signed ? static_cast<const int8_t *>(data)[at]
                                   : static_cast<const uint8_t *>(data)[at];
  return code - c.zero_point;
}

void store(void *data, size_t at, int32_t code) {
  static_cast<uint8_t *>(data)[at] = static_cast<uint8_t>(code);  // the same bits for i8
}

// Where the element of a side lies that belongs to element `index` of the output.
size_t place(const step &s, int side, size_t index) {
  size_t at = 0;
  for (size_t axis = s.dims.size(); axis-- > 0;) {
    at += index % s.dims[axis] * s.steps[side][axis];
    index /= s.dims[axis];
  }
  return at;
}

void matmul(const step &s, const void *x, const int8_t *w, void *y, size_t elements) {
  for (size_t i = 0; i < elements; i++) {
    const size_t row = i / s.n, column = i % s.n;
    uint32_t sum = 0;  // unsigned, because it may wrap
    for (size_t k = 0; k < s.k; k++)
      sum += static_cast<uint32_t>(difference(x, row * s.k + k, s.x) * w[k * s.n + column]);
    const float real = static_cast<float>(static_cast<int32_t>(sum)) * s.multipliers[column];
    if (s.to_float) static_cast<float *>(y)[i] = real;
    else store(y, i, round_to_code(real, s.y.zero_point, s.y.lowest(), s.y.highest()));
  }
}

void matmul_f32(const step &s, const float *x, const float *w, float *y, size_t elements) {
  for (size_t i = 0; i < elements; i++) {
    const size_t row = i / s.n, column = i % s.n;
    float sum = 0;
    for (size_t k = 0; k < s.k; k++) sum += x[row * s.k + k] * w[k * s.n + column];
    y[i] = sum;
  }
}

void add(const step &s, const void *a, const void *b, void *y, size_t elements) {
  const float ratio_a = s.x.scale / s.y.scale, ratio_b = s.w.scale / s.y.scale;
  for (size_t i = 0; i < elements; i++) {
    const float one = static_cast<float>(difference(a, place(s, 0, i), s.x)) * ratio_a;
    const float other = static_cast<float>(difference(b, place(s, 1, i), s.w)) * ratio_b;
    store(y, i, round_to_code(one + other, s.y.zero_point, s.low, s.high));
  }
}

void add_f32(const step &s, const float *a, const float *b, float *y, size_t elements) {
  for (size_t i = 0; i < elements; i++) {
    float sum = a[place(s, 0, i)] + b[place(s, 1, i)];
    if (sum < s.real_low) sum = s.real_low;
    if (sum > s.real_high) sum = s.real_high;
    y[i] = sum;
  }
}

}  // namespace

int32_t quantize_code(float real, const codes &to, int32_t low, int32_t high) {
  return round_to_code(real / to.scale, to.zero_point, low, high);  // a division, no reciprocal
}

void run_step(const step &s, const void *const *in, void *y, size_t elements) {
  const void *x = in[0];
  const float *reals = static_cast<const float *>(x);
  float *to_reals = static_cast<float *>(y);
  switch (s.kind) {
    case op::matmul: return matmul(s, x, static_cast<const int8_t *>(in[1]), y, elements);
    case op::matmul_f32:
      return matmul_f32(s, reals, static_cast<const float *>(in[1]), to_reals, elements);
    case op::add: return add(s, x, in[1], y, elements);
    case op::add_f32: return add_f32(s, reals, static_cast<const float *>(in[1]), to_reals, elements);
    case op::table:
      for (size_t i = 0; i < elements; i++)  // by the bits of the code: -1 is entry 255
        store(y, i, static_cast<const uint8_t *>(in[1])[static_cast<const uint8_t *>(x)[i]]);
      return;
    case op::relu:
      for (size_t i = 0; i < elements; i++) to_reals[i] = reals[i] <= 0 ? 0 : reals[i];
      return;
    case op::quantize:
      for (size_t i = 0; i < elements; i++)
        store(y, i, quantize_code(reals[i], s.y, s.y.lowest(), s.y.highest()));
      return;
    case op::dequantize:
      for (size_t i = 0; i < elements; i++)
        to_reals[i] = static_cast<float>(difference(x, i, s.x)) * s.x.scale;
      return;
    case op::requantize:
      for (size_t i = 0; i < elements; i++) {
        const float real = static_cast<float>(difference(x, i, s.x)) * (s.x.scale / s.y.scale);
        store(y, i, round_to_code(real, s.y.zero_point, s.y.lowest(), s.y.highest()));
      }
      return;
  }
}
