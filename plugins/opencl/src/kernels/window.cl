// Windows and rows: pools, means, resizes, softmax, normalisation.

// Geometry of a pool over N H W C.
enum {
  P_POSITIONS, P_HEIGHT, P_WIDTH, P_CHANNELS, P_OUT_HEIGHT, P_OUT_WIDTH, P_KERNEL_H, P_KERNEL_W, P_STRIDE_H,
  P_STRIDE_W, P_DILATION_H, P_DILATION_W, P_PAD_H, P_PAD_W, P_PAD_BELOW, P_PAD_RIGHT, P_MEAN, P_INCLUDE_PAD, P_FLIP,
  P_ZERO, P_OUT_FLIP, P_OUT_ZERO
};

// For one element of the output: its image and first tap.
#define WINDOW                                                                                            \
  const int channel = get_global_id(0), position = get_global_id(1), channels = g[P_CHANNELS];            \
  if (channel >= channels || position >= g[P_POSITIONS]) return;                                          \
  const int out_x = position % g[P_OUT_WIDTH], rest = position / g[P_OUT_WIDTH];                          \
  const int out_y = rest % g[P_OUT_HEIGHT], image = rest / g[P_OUT_HEIGHT];                               \
  const int iy0 = out_y * g[P_STRIDE_H] - g[P_PAD_H], ix0 = out_x * g[P_STRIDE_W] - g[P_PAD_W];

// Walks over the samples of the window: `padded` counts those in the padding too, `count` and `at` those inside.
#define FOR_SAMPLES(BODY)                                                                                 \
  int count = 0, padded = 0;                                                                              \
  for (int tap_y = 0; tap_y < g[P_KERNEL_H]; tap_y++) {                                                   \
    const int iy = iy0 + tap_y * g[P_DILATION_H];                                                         \
    if (iy >= g[P_HEIGHT] + g[P_PAD_BELOW]) break;                                                        \
    for (int tap_x = 0; tap_x < g[P_KERNEL_W]; tap_x++) {                                                 \
      const int ix = ix0 + tap_x * g[P_DILATION_W];                                                       \
      if (ix >= g[P_WIDTH] + g[P_PAD_RIGHT]) break;                                                       \
      padded++;                                                                                           \
      if (iy < 0 || iy >= g[P_HEIGHT] || ix < 0 || ix >= g[P_WIDTH]) continue;                            \
      const int at = ((image * g[P_HEIGHT] + iy) * g[P_WIDTH] + ix) * channels + channel;                 \
      BODY;                                                                                               \
      count++;                                                                                            \
    }                                                                                                     \
  }

// `scale` and `out_scale`: the mean's multiplier depends on how many samples a window has, so that the division must
// be correctly rounded here too; `multipliers` holds it for each number.
__kernel void pool_codes(__global const uchar *restrict x, __global const float *restrict multipliers,
                         __global uchar *restrict y, __constant int *g) {
  WINDOW
  const uchar flip = (uchar)g[P_FLIP];
  int largest = 0, sum = 0;
  FOR_SAMPLES(const int code = x[at] ^ flip; largest = max(largest, code); sum += code - g[P_ZERO])
  int code = largest;
  if (g[P_MEAN]) {
    const float real = (float)sum * multipliers[g[P_INCLUDE_PAD] ? padded : count];
    code = nearest(real, (float)-g[P_OUT_ZERO], (float)(255 - g[P_OUT_ZERO])) + g[P_OUT_ZERO];
  }
  y[position * channels + channel] = (uchar)code ^ (uchar)g[P_OUT_FLIP];
}

__kernel void pool_floats(__global const float *restrict x, __global float *restrict y, __constant int *g) {
  WINDOW
  float largest = -INFINITY, sum = 0.0f;
  FOR_SAMPLES(const float value = x[at]; largest = isnan(largest) ? largest : isnan(value) ? value : fmax(largest, value);
              sum += value)
  y[position * channels + channel] = g[P_MEAN] ? sum / (float)(g[P_INCLUDE_PAD] ? padded : count) : largest;
}

// A sum of floats that keeps what each addition loses.
inline void add_exactly(float value, float *sum, float *lost) {
  const float next = value - *lost, total = *sum + next;
  *lost = (total - *sum) - next;
  *sum = total;
}

// The mean of `n` elements at `offsets` from where `walk` leads.
__kernel void mean_codes(__global const uchar *restrict x, __global const int *restrict offsets,
                         __global uchar *restrict y, int count, int n, float multiplier, int zero, uint flip,
                         int out_zero, uint out_flip, __constant int *g) {
  const int i = get_global_id(0);
  if (i >= count) return;
  const int base = walk(i, g).x;
  long sum = 0;
  for (int k = 0; k < n; k++) sum += (x[base + offsets[k]] ^ (uchar)flip) - zero;
  const float real = convert_float_rte(sum) * multiplier;
  y[i] = (uchar)(nearest(real, (float)-out_zero, (float)(255 - out_zero)) + out_zero) ^ (uchar)out_flip;
}

__kernel void mean_floats(__global const float *restrict x, __global const int *restrict offsets,
                          __global float *restrict y, int count, int n, __constant int *g) {
  const int i = get_global_id(0);
  if (i >= count) return;
  const int base = walk(i, g).x;
  float sum = 0.0f, lost = 0.0f;
  for (int k = 0; k < n; k++) add_exactly(x[base + offsets[k]], &sum, &lost);
  y[i] = sum / (float)n;
}

// Resizes of height and width, N H W C: which samples each row and column takes is in `samples`: of each row the upper
// one, the lower one and the weight of the lower one in steps of 2^-11; then of each column.
enum { R_HEIGHT, R_WIDTH, R_CHANNELS, R_OUT_HEIGHT, R_OUT_WIDTH, R_LINEAR, R_FLIP };

#define CORNERS                                                                                           \
  const int i = get_global_id(0);                                                                         \
  if (i >= count) return;                                                                                 \
  const int channels = g[R_CHANNELS], channel = i % channels, place = i / channels;                       \
  const int column = place % g[R_OUT_WIDTH], rest = place / g[R_OUT_WIDTH];                               \
  const int row = rest % g[R_OUT_HEIGHT], image = rest / g[R_OUT_HEIGHT];                                 \
  __global const int *of_row = samples + 3 * row, *of_column = samples + 3 * (g[R_OUT_HEIGHT] + column);  \
  const int top = (image * g[R_HEIGHT] + of_row[0]) * g[R_WIDTH];                                         \
  const int bottom = (image * g[R_HEIGHT] + of_row[1]) * g[R_WIDTH];

__kernel void resize_codes(__global const uchar *restrict x, __global const int *restrict samples,
                           __global uchar *restrict y, int count, __constant int *g) {
  CORNERS
  if (!g[R_LINEAR]) {
    y[i] = x[(top + of_column[0]) * channels + channel];
    return;
  }
  const int one = 1 << 11, down = of_row[2], right = of_column[2];
  // As they are, not unsigned: halves round to even codes.
#define SAMPLE(at) ((int)(x[((at)) * channels + channel] ^ (uchar)g[R_FLIP]) - g[R_FLIP])
  const int upper = SAMPLE(top + of_column[0]) * (one - right) + SAMPLE(top + of_column[1]) * right;
  const int lower = SAMPLE(bottom + of_column[0]) * (one - right) + SAMPLE(bottom + of_column[1]) * right;
  const int sum = upper * (one - down) + lower * down;
  const int whole = sum >> 22, part = sum & ((1 << 22) - 1), half_way = 1 << 21;
  const int code = whole + (part > half_way || (part == half_way && (whole & 1)));
  y[i] = (uchar)(code & 0xff);
}

__kernel void resize_floats(__global const float *restrict x, __global const int *restrict samples,
                            __global const float *restrict weights, __global float *restrict y, int count,
                            __constant int *g) {
  CORNERS
  if (!g[R_LINEAR]) {
    y[i] = x[(top + of_column[0]) * channels + channel];
    return;
  }
  const float down = weights[row], right = weights[g[R_OUT_HEIGHT] + column];
#define REAL(at) x[(at) * channels + channel]
  const float upper = REAL(top + of_column[0]) * (1.0f - right) + REAL(top + of_column[1]) * right;
  const float lower = REAL(bottom + of_column[0]) * (1.0f - right) + REAL(bottom + of_column[1]) * right;
  y[i] = upper * (1.0f - down) + lower * down;
}

// Rows of `n` elements that lie `step` apart.
__kernel void softmax_floats(__global const float *restrict in, __global float *restrict out, int count, int n,
                             int step, int logarithm) {
  const int row = get_global_id(0);
  if (row >= count) return;
  __global const float *x = in + row / step * step * n + row % step;
  __global float *y = out + row / step * step * n + row % step;
  float largest = -INFINITY, sum = 0.0f, lost = 0.0f;
  for (int k = 0; k < n; k++) largest = fmax(largest, x[k * step]);
  for (int k = 0; k < n; k++) add_exactly(exp(x[k * step] - largest), &sum, &lost);
  const float log_sum = log(sum);
  for (int k = 0; k < n; k++) {
    const float value = x[k * step] - largest;
    y[k * step] = logarithm ? value - log_sum : exp(value) / sum;
  }
}

__kernel void layer_norm_floats(__global const float *restrict in, __global const float *restrict scale,
                                __global const float *restrict bias, __global float *restrict out, int count, int n,
                                float epsilon, int has_bias) {
  const int row = get_global_id(0);
  if (row >= count) return;
  __global const float *x = in + row * n;
  float sum = 0.0f, lost = 0.0f;
  for (int k = 0; k < n; k++) add_exactly(x[k], &sum, &lost);
  const float mean = sum / (float)n;
  sum = 0.0f;
  lost = 0.0f;
  for (int k = 0; k < n; k++) add_exactly((x[k] - mean) * (x[k] - mean), &sum, &lost);
  const float root = sqrt(sum / (float)n + epsilon);
  for (int k = 0; k < n; k++) {
    const float value = (x[k] - mean) / root * scale[k];
    out[row * n + k] = has_bias ? value + bias[k] : value;
  }
}
