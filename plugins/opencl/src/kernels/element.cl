// Elements: conversions, tables, sums and products of two operands, functions of one float.

#define RUN 16

// Codes to codes by a table of 256; `count` elements, RUN a work item.
__kernel void table_codes(__global const uchar *restrict x, __global const uchar *restrict table,
                          __global uchar *restrict y, int count) {
  const int first = get_global_id(0) * RUN, end = min(first + RUN, count);
  for (int i = first; i < end; i++) y[i] = table[x[i]];
}

__kernel void quantize(__global const float *restrict x, __global uchar *restrict y, int count, float scale,
                       float inverse, int zero, uint flip) {
  const int first = get_global_id(0) * RUN, end = min(first + RUN, count);
  for (int i = first; i < end; i++) {
    const float real = quotient(x[i], scale, inverse);
    y[i] = (uchar)(nearest(real, (float)-zero, (float)(255 - zero)) + zero) ^ (uchar)flip;
  }
}

__kernel void dequantize(__global const uchar *restrict x, __global float *restrict y, int count, float scale,
                         int zero, uint flip) {
  const int first = get_global_id(0) * RUN, end = min(first + RUN, count);
  for (int i = first; i < end; i++) y[i] = (float)((x[i] ^ (uchar)flip) - zero) * scale;
}

// Rows of codes into another tensor's rows, with other parameters: `inner` of each `stride` elements, from `offset`.
__kernel void requantize_rows(__global const uchar *restrict x, __global uchar *restrict y, int count, int inner,
                              int stride, int offset, float ratio, int zero, uint flip, int out_zero, uint out_flip) {
  const int first = get_global_id(0) * RUN, end = min(first + RUN, count);
  for (int i = first; i < end; i++) {
    const float real = (float)((x[i] ^ (uchar)flip) - zero) * ratio;
    const int code = nearest(real, (float)-out_zero, (float)(255 - out_zero)) + out_zero;
    y[i / inner * stride + offset + i % inner] = (uchar)code ^ (uchar)out_flip;
  }
}

// The same without arithmetic.
__kernel void copy_rows_1(__global const uchar *restrict x, __global uchar *restrict y, int count, int inner,
                          int stride, int offset) {
  const int first = get_global_id(0) * RUN, end = min(first + RUN, count);
  for (int i = first; i < end; i++) y[i / inner * stride + offset + i % inner] = x[i];
}

__kernel void copy_rows_4(__global const uint *restrict x, __global uint *restrict y, int count, int inner,
                          int stride, int offset) {
  const int first = get_global_id(0) * RUN, end = min(first + RUN, count);
  for (int i = first; i < end; i++) y[i / inner * stride + offset + i % inner] = x[i];
}

// Where an element of up to DIMS dimensions lies in up to two operands.
#define DIMS 8
enum { W_RANK, W_EXTENTS, W_FIRST = W_EXTENTS + DIMS, W_SECOND = W_FIRST + DIMS, W_BASE = W_SECOND + DIMS };

inline int2 walk(int index, __constant int *g) {
  int2 at = (int2)(g[W_BASE], 0);
  for (int axis = g[W_RANK] - 1; axis >= 0; axis--) {
    const int extent = g[W_EXTENTS + axis], place = index % extent;
    index /= extent;
    at += place * (int2)(g[W_FIRST + axis], g[W_SECOND + axis]);
  }
  return at;
}

// Elements in another order.
__kernel void permute_1(__global const uchar *restrict x, __global uchar *restrict y, int count, __constant int *g) {
  const int i = get_global_id(0);
  if (i < count) y[i] = x[walk(i, g).x];
}

__kernel void permute_4(__global const uint *restrict x, __global uint *restrict y, int count, __constant int *g) {
  const int i = get_global_id(0);
  if (i < count) y[i] = x[walk(i, g).x];
}

enum { B_ADD, B_SUB, B_MUL, B_DIV, B_MIN, B_MAX, B_POW, B_PRELU };

// a ± b by their ratios to the output's scale, or a * b by `ratio_a`; `same`: no operand is broadcast.
__kernel void binary_codes(__global const uchar *restrict a, __global const uchar *restrict b,
                           __global uchar *restrict y, int count, int op, int same, float ratio_a, float ratio_b,
                           int zero_a, int zero_b, int zero, int low, int high, uint flip_a, uint flip_b, uint flip,
                           __constant int *g) {
  const int first = get_global_id(0) * RUN, end = min(first + RUN, count);
  if (same && end - first == RUN) {
    const int16 left = convert_int16(vload16(0, a + first) ^ (uchar16)((uchar)flip_a)) - zero_a;
    const int16 right = convert_int16(vload16(0, b + first) ^ (uchar16)((uchar)flip_b)) - zero_b;
    float16 real = convert_float16(op == B_MUL ? left * right : left) * ratio_a;
    if (op != B_MUL) {
      const float16 other = convert_float16(right) * ratio_b;
      real = op == B_ADD ? real + other : real - other;
    }
    real = select(real, (float16)(0.0f), isnan(real));
    real = clamp(real, (float16)((float)(low - zero)), (float16)((float)(high - zero)));
    const uchar16 code = convert_uchar16(convert_int16_rte(real) + zero) ^ (uchar16)((uchar)flip);
    vstore16(code, 0, y + first);
    return;
  }
  for (int i = first; i < end; i++) {
    const int2 at = same ? (int2)(i) : walk(i, g);
    const int left = (a[at.x] ^ (uchar)flip_a) - zero_a, right = (b[at.y] ^ (uchar)flip_b) - zero_b;
    float real;
    if (op == B_MUL) {
      real = (float)(left * right) * ratio_a;
    } else {
      const float x = (float)left * ratio_a, z = (float)right * ratio_b;
      real = op == B_ADD ? x + z : x - z;
    }
    y[i] = (uchar)(nearest(real, (float)(low - zero), (float)(high - zero)) + zero) ^ (uchar)flip;
  }
}

__kernel void binary_floats(__global const float *restrict a, __global const float *restrict b,
                            __global float *restrict y, int count, int op, int same, float low, float high,
                            __constant int *g) {
  const int first = get_global_id(0) * RUN, end = min(first + RUN, count);
  for (int i = first; i < end; i++) {
    const int2 at = same ? (int2)(i) : walk(i, g);
    const float x = a[at.x], z = b[at.y];
    float real;
    switch (op) {
      case B_ADD: real = x + z; break;
      case B_SUB: real = x - z; break;
      case B_MUL: real = x * z; break;
      case B_DIV: real = x / z; break;
      // NaN of either side is the result's.
      case B_MIN: real = isnan(x) ? x : isnan(z) ? z : fmin(x, z); break;
      case B_MAX: real = isnan(x) ? x : isnan(z) ? z : fmax(x, z); break;
      case B_POW: real = pow(x, z); break;
      default: real = x < 0.0f ? x * z : x; break;
    }
    y[i] = isnan(real) ? real : fmin(fmax(real, low), high);
  }
}

enum {
  U_RELU, U_LEAKY_RELU, U_ELU, U_CLIP, U_SIGMOID, U_HARD_SIGMOID, U_HARD_SWISH, U_SILU, U_GELU, U_GELU_TANH, U_MISH,
  U_SOFTPLUS, U_TANH, U_ERF, U_EXP, U_LOG, U_SQRT, U_RECIPROCAL, U_ABS, U_NEG, U_FLOOR, U_CEIL, U_ROUND
};

inline float sigmoid(float x) { return 1.0f / (1.0f + exp(-x)); }

inline float softplus(float x) { return isnan(x) ? x : fmax(x, 0.0f) + log1p(exp(-fabs(x))); }

inline float within(float x, float low, float high) { return isnan(x) ? x : fmin(fmax(x, low), high); }

__kernel void unary_floats(__global const float *restrict in, __global float *restrict y, int count, int op, float p,
                           float q) {
  const int i = get_global_id(0);
  if (i >= count) return;
  const float x = in[i];
  float r;
  switch (op) {
    case U_RELU: r = within(x, 0.0f, INFINITY); break;
    case U_LEAKY_RELU: r = x < 0.0f ? x * p : x; break;
    case U_ELU: r = x < 0.0f ? p * expm1(x) : x; break;
    case U_CLIP: r = within(x, p, q); break;
    case U_SIGMOID: r = sigmoid(x); break;
    case U_HARD_SIGMOID: r = within(p * x + q, 0.0f, 1.0f); break;
    case U_HARD_SWISH: r = x * within(x / 6.0f + 0.5f, 0.0f, 1.0f); break;
    case U_SILU: r = x * sigmoid(x); break;
    case U_GELU: r = 0.5f * x * erfc(-x * M_SQRT1_2_F); break;
    case U_GELU_TANH: r = x * sigmoid(2.0f * 0.7978845608f * (x + 0.044715f * x * x * x)); break;
    case U_MISH: r = x * tanh(softplus(x)); break;
    case U_SOFTPLUS: r = softplus(x); break;
    case U_TANH: r = tanh(x); break;
    case U_ERF: r = erf(x); break;
    case U_EXP: r = exp(x); break;
    case U_LOG: r = log(x); break;
    case U_SQRT: r = sqrt(x); break;
    case U_RECIPROCAL: r = 1.0f / x; break;
    case U_ABS: r = fabs(x); break;
    case U_NEG: r = -x; break;
    case U_FLOOR: r = floor(x); break;
    case U_CEIL: r = ceil(x); break;
    default: r = rint(x); break;
  }
  y[i] = r;
}
