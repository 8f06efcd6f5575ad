// Convolutions and products of matrices: of each output position the sums over taps and input channels, for VEC output
// channels at once. Activations are N H W C; a matrix is an image of height 1.
//
// Integer products come in two ways. In floats: |x - z| <= 255 and |w| <= 127, so 518 products add up to less than
// 2^24, exactly in any order; every 512 the sum moves on to an integer. With DOT: packed products of four bytes of x and
// w; the sum of z * w is part of the bias, and padding is the byte of the zero point.

// Geometry of a product.
enum {
  G_POSITIONS, G_HEIGHT, G_WIDTH, G_CHANNELS, G_OUT_HEIGHT, G_OUT_WIDTH, G_OUT_CHANNELS, G_KERNEL_H, G_KERNEL_W,
  G_STRIDE_H, G_STRIDE_W, G_DILATION_H, G_DILATION_W, G_PAD_H, G_PAD_W, G_DEPTH, G_PANELS, G_WIDTH_OF_GROUP,
  G_FLIP, G_ZERO, G_OUT_FLIP, G_OUT_ZERO, G_OUT_LOW, G_OUT_HIGH, G_OUT_KIND, G_HAS_ADDEND
};
// Of the output: codes, or floats.
#define OUT_CODES 0
#define BLOCK 16
#define EXACT_PRODUCTS 512

// What a work item computes of a product: ROWS output positions from `first` on, and of them the `n` channels of one
// panel from `channel` on. `base` is the group's first input channel, `taps` the number of taps.
typedef struct {
  int panel, first, base, channel, n, taps;
} Tile;

// The tile of this work item; false where there is none.
inline bool tile_of(Tile *tile, __constant int *g) {
  const int panels = g[G_PANELS], width = g[G_WIDTH_OF_GROUP];
  tile->panel = get_global_id(0);
  tile->first = get_global_id(1) * ROWS;
  if (tile->panel >= panels * (g[G_OUT_CHANNELS] / width) || tile->first >= g[G_POSITIONS]) return false;
  const int group = tile->panel / panels, inner = tile->panel % panels * VEC;
  tile->base = group * g[G_DEPTH];
  tile->channel = group * width + inner;
  tile->n = min(VEC, width - inner);
  tile->taps = g[G_KERNEL_H] * g[G_KERNEL_W];
  return true;
}

// The positions of a tile that there are: the last tile may reach past the end.
inline int rows_of(const Tile *tile, __constant int *g) { return min(ROWS, g[G_POSITIONS] - tile->first); }

// Where the channels of a tile's row lie in the output.
inline int row_at(const Tile *tile, int row, __constant int *g) {
  return (tile->first + row) * g[G_OUT_CHANNELS] + tile->channel;
}

// The places of a tile's output positions in the input, for one tap; -1 in the padding.
inline void places(int *at, int first, int tap_y, int tap_x, __constant int *g) {
  for (int r = 0; r < ROWS; r++) {
    int position = min(first + r, g[G_POSITIONS] - 1);
    int out_x = position % g[G_OUT_WIDTH], rest = position / g[G_OUT_WIDTH];
    int out_y = rest % g[G_OUT_HEIGHT], image = rest / g[G_OUT_HEIGHT];
    int iy = out_y * g[G_STRIDE_H] - g[G_PAD_H] + tap_y * g[G_DILATION_H];
    int ix = out_x * g[G_STRIDE_W] - g[G_PAD_W] + tap_x * g[G_DILATION_W];
    bool inside = iy >= 0 && iy < g[G_HEIGHT] && ix >= 0 && ix < g[G_WIDTH];
    at[r] = inside ? ((image * g[G_HEIGHT] + iy) * g[G_WIDTH] + ix) * g[G_CHANNELS] : -1;
  }
}

// From sums to the output: `y` at `at`, `n` channels of a panel.
inline void finish(vint sum, vfloat multiplier, vfloat addend, __global void *y, int at, int n, float clamp_low,
                   float clamp_high, __constant int *g) {
  vfloat real = TO_VFLOAT(sum) * multiplier;
  if (g[G_OUT_KIND] == OUT_CODES) {
    float zero = (float)g[G_OUT_ZERO];
    vint code = nearest_vector(real, (float)g[G_OUT_LOW] - zero, (float)g[G_OUT_HIGH] - zero) + g[G_OUT_ZERO];
    store_bytes(TO_VUCHAR(code) ^ (vuchar)((uchar)g[G_OUT_FLIP]), (__global uchar *)y + at, n);
  } else {
    if (g[G_HAS_ADDEND]) real = real + addend;
    store_floats(bounded(real, clamp_low, clamp_high), (__global float *)y + at, n);
  }
}

__kernel void product_codes(__global const uchar *restrict x, __global const char *restrict w,
                            __global const int *restrict bias, __global const float *restrict multipliers,
                            __global const float *restrict addends, __global void *restrict y, float clamp_low,
                            float clamp_high, __constant int *g) {
  Tile tile;
  if (!tile_of(&tile, g)) return;
  const int depth = g[G_DEPTH];
  const uchar flip = (uchar)g[G_FLIP];
  const float zero = (float)g[G_ZERO];
  __global const char *weights = w + (size_t)tile.panel * tile.taps * depth * VEC;
  vfloat part[ROWS];
  vint sum[ROWS];
  const vint start = VLOAD(tile.panel, bias);
  for (int r = 0; r < ROWS; r++) {
    part[r] = (vfloat)(0.0f);
    sum[r] = start;
  }
  int room = EXACT_PRODUCTS;
  for (int tap_y = 0; tap_y < g[G_KERNEL_H]; tap_y++) {
    for (int tap_x = 0; tap_x < g[G_KERNEL_W]; tap_x++) {
      int at[ROWS];
      places(at, tile.first, tap_y, tap_x, g);
      for (int k = 0; k < depth; k += BLOCK) {
        if (room < BLOCK) {
          for (int r = 0; r < ROWS; r++) {
            sum[r] += TO_VINT(part[r]);
            part[r] = (vfloat)(0.0f);
          }
          room = EXACT_PRODUCTS;
        }
        room -= BLOCK;
        float values[ROWS][BLOCK];
        const int n = min(BLOCK, depth - k);
        if (n == BLOCK) {
          for (int r = 0; r < ROWS; r++) {
            float16 block = (float16)(0.0f);
            if (at[r] >= 0) {
              block = convert_float16(vload16(0, x + at[r] + tile.base + k) ^ (uchar16)(flip)) - zero;
            }
            vstore16(block, 0, values[r]);
          }
          #pragma unroll
          for (int j = 0; j < BLOCK; j++) {
            const vfloat weight = TO_VFLOAT(VLOAD(j, weights));
            #pragma unroll
            for (int r = 0; r < ROWS; r++) part[r] = fma((vfloat)(values[r][j]), weight, part[r]);
          }
        } else {
          for (int j = 0; j < n; j++) {
            const vfloat weight = TO_VFLOAT(VLOAD(j, weights));
            #pragma unroll
            for (int r = 0; r < ROWS; r++) {
              const float value = at[r] >= 0 ? (float)(x[at[r] + tile.base + k + j] ^ flip) - zero : 0.0f;
              part[r] = fma((vfloat)(value), weight, part[r]);
            }
          }
        }
        weights += n * VEC;
      }
    }
  }
  const vfloat multiplier = VLOAD(tile.panel, multipliers), addend = VLOAD(tile.panel, addends);
  for (int r = 0; r < rows_of(&tile, g); r++) {
    finish(sum[r] + TO_VINT(part[r]), multiplier, addend, y, row_at(&tile, r, g), tile.n, clamp_low, clamp_high, g);
  }
}

#if DOT
// As above with packed products: input channels come in fours, and weights as words of four.
__kernel void product_packed(__global const uchar *restrict x, __global const uint *restrict w,
                             __global const int *restrict bias, __global const float *restrict multipliers,
                             __global const float *restrict addends, __global void *restrict y, float clamp_low,
                             float clamp_high, __constant int *g) {
  Tile tile;
  if (!tile_of(&tile, g)) return;
  const int depth = g[G_DEPTH];
  const uint flip = (uint)g[G_FLIP] * 0x01010101u, zero = (uint)g[G_ZERO] * 0x01010101u;
  __global const uint *weights = w + (size_t)tile.panel * tile.taps * (depth / 4) * VEC;
  int sum[ROWS][VEC];
  for (int r = 0; r < ROWS; r++) {
    for (int c = 0; c < VEC; c++) sum[r][c] = bias[tile.panel * VEC + c];
  }
  for (int tap_y = 0; tap_y < g[G_KERNEL_H]; tap_y++) {
    for (int tap_x = 0; tap_x < g[G_KERNEL_W]; tap_x++) {
      int at[ROWS];
      places(at, tile.first, tap_y, tap_x, g);
      for (int k = 0; k < depth; k += 4) {
        uint weight[VEC];
        VSTORE(VLOAD(0, weights), 0, weight);
        #pragma unroll
        for (int r = 0; r < ROWS; r++) {
          const uint word = at[r] >= 0 ? *(__global const uint *)(x + at[r] + tile.base + k) ^ flip : zero;
          #pragma unroll
          for (int c = 0; c < VEC; c++) sum[r][c] += dot_4x8packed_us_int(word, weight[c]);
        }
        weights += VEC;
      }
    }
  }
  const vfloat multiplier = VLOAD(tile.panel, multipliers), addend = VLOAD(tile.panel, addends);
  for (int r = 0; r < rows_of(&tile, g); r++) {
    finish(VLOAD(0, sum[r]), multiplier, addend, y, row_at(&tile, r, g), tile.n, clamp_low, clamp_high, g);
  }
}
#endif

// What a work item computes with one filter per channel: the `n` channels from `channel` on of one output position. `y`
// and `x` are where the first tap lies in the image.
typedef struct {
  int channel, n, position, image, y, x;
} Spot;

// The spot of this work item; false where there is none.
inline bool spot_of(Spot *spot, __constant int *g) {
  spot->channel = get_global_id(0) * VEC;
  spot->position = get_global_id(1);
  if (spot->channel >= g[G_CHANNELS] || spot->position >= g[G_POSITIONS]) return false;
  spot->n = min(VEC, g[G_CHANNELS] - spot->channel);
  const int rest = spot->position / g[G_OUT_WIDTH];
  spot->image = rest / g[G_OUT_HEIGHT];
  spot->y = rest % g[G_OUT_HEIGHT] * g[G_STRIDE_H] - g[G_PAD_H];
  spot->x = spot->position % g[G_OUT_WIDTH] * g[G_STRIDE_W] - g[G_PAD_W];
  return true;
}

// Where the channels of a spot lie in the input under a tap; -1 in the padding.
inline int tap_of(const Spot *spot, int tap_y, int tap_x, __constant int *g) {
  const int iy = spot->y + tap_y * g[G_DILATION_H], ix = spot->x + tap_x * g[G_DILATION_W];
  if (iy < 0 || iy >= g[G_HEIGHT] || ix < 0 || ix >= g[G_WIDTH]) return -1;
  return ((spot->image * g[G_HEIGHT] + iy) * g[G_WIDTH] + ix) * g[G_CHANNELS] + spot->channel;
}

// Where the weights of a spot's channels lie for a tap.
inline int weights_of(const Spot *spot, int tap_y, int tap_x, __constant int *g) {
  return (tap_y * g[G_KERNEL_W] + tap_x) * g[G_PANELS] * VEC + spot->channel;
}

// One filter per channel: VEC channels of one output position.
__kernel void depthwise_codes(__global const uchar *restrict x, __global const char *restrict w,
                              __global const int *restrict bias, __global const float *restrict multipliers,
                              __global const float *restrict addends, __global void *restrict y, float clamp_low,
                              float clamp_high, __constant int *g) {
  Spot spot;
  if (!spot_of(&spot, g)) return;
  const int channel = spot.channel, n = spot.n;
  const uchar flip = (uchar)g[G_FLIP];
  const float zero = (float)g[G_ZERO];
  vfloat part = (vfloat)(0.0f);
  vint sum = VLOAD(0, bias + channel);
  int room = EXACT_PRODUCTS;
  for (int tap_y = 0; tap_y < g[G_KERNEL_H]; tap_y++) {
    for (int tap_x = 0; tap_x < g[G_KERNEL_W]; tap_x++) {
      const int at = tap_of(&spot, tap_y, tap_x, g);
      if (at < 0) continue;
      const vfloat value = TO_VFLOAT(load_bytes(x + at, n) ^ (vuchar)(flip)) - zero;
      const vfloat weight = TO_VFLOAT(VLOAD(0, w + weights_of(&spot, tap_y, tap_x, g)));
      part = fma(value, weight, part);
      if (--room == 0) {
        sum += TO_VINT(part);
        part = (vfloat)(0.0f);
        room = EXACT_PRODUCTS;
      }
    }
  }
  finish(sum + TO_VINT(part), VLOAD(0, multipliers + channel), VLOAD(0, addends + channel), y,
         spot.position * g[G_CHANNELS] + channel, n, clamp_low, clamp_high, g);
}

// The same in floats: weights are packed alike, and the bias is the addend.
__kernel void product_floats(__global const float *restrict x, __global const float *restrict w,
                             __global const float *restrict addends, __global float *restrict y, float clamp_low,
                             float clamp_high, __constant int *g) {
  Tile tile;
  if (!tile_of(&tile, g)) return;
  const int depth = g[G_DEPTH];
  __global const float *weights = w + (size_t)tile.panel * tile.taps * depth * VEC;
  vfloat sum[ROWS];
  for (int r = 0; r < ROWS; r++) sum[r] = (vfloat)(0.0f);
  for (int tap_y = 0; tap_y < g[G_KERNEL_H]; tap_y++) {
    for (int tap_x = 0; tap_x < g[G_KERNEL_W]; tap_x++) {
      int at[ROWS];
      places(at, tile.first, tap_y, tap_x, g);
      // Blocks of their own keep rounding errors from growing with the depth.
      for (int k = 0; k < depth; k += BLOCK) {
        vfloat part[ROWS];
        for (int r = 0; r < ROWS; r++) part[r] = (vfloat)(0.0f);
        const int n = min(BLOCK, depth - k);
        for (int j = 0; j < n; j++) {
          const vfloat weight = VLOAD(j, weights);
          #pragma unroll
          for (int r = 0; r < ROWS; r++) {
            const float value = at[r] >= 0 ? x[at[r] + tile.base + k + j] : 0.0f;
            part[r] = fma((vfloat)(value), weight, part[r]);
          }
        }
        for (int r = 0; r < ROWS; r++) sum[r] += part[r];
        weights += n * VEC;
      }
    }
  }
  const vfloat addend = VLOAD(tile.panel, addends);
  for (int r = 0; r < rows_of(&tile, g); r++) {
    const vfloat real = g[G_HAS_ADDEND] ? sum[r] + addend : sum[r];
    store_floats(bounded(real, clamp_low, clamp_high), y + row_at(&tile, r, g), tile.n);
  }
}

__kernel void depthwise_floats(__global const float *restrict x, __global const float *restrict w,
                               __global const float *restrict addends, __global float *restrict y, float clamp_low,
                               float clamp_high, __constant int *g) {
  Spot spot;
  if (!spot_of(&spot, g)) return;
  const int channel = spot.channel, n = spot.n;
  vfloat sum = (vfloat)(0.0f);
  for (int tap_y = 0; tap_y < g[G_KERNEL_H]; tap_y++) {
    for (int tap_x = 0; tap_x < g[G_KERNEL_W]; tap_x++) {
      const int at = tap_of(&spot, tap_y, tap_x, g);
      if (at < 0) continue;
      sum = fma(load_floats(x + at, n), VLOAD(0, w + weights_of(&spot, tap_y, tap_x, g)), sum);
    }
  }
  if (g[G_HAS_ADDEND]) sum += VLOAD(0, addends + channel);
  store_floats(bounded(sum, clamp_low, clamp_high), y + spot.position * g[G_CHANNELS] + channel, n);
}

// Products of matrices neither of which is packed: y[b] = a[b] * c[b], row-major, ROWS x VEC elements a work item.
enum { M_ROWS, M_DEPTH, M_COLUMNS, M_BATCHES, M_OFFSETS };

__kernel void matrices_floats(__global const float *restrict a, __global const float *restrict c,
                              __global float *restrict y, __global const int *restrict g) {
  const int column = get_global_id(0) * VEC, first = get_global_id(1) * ROWS, batch = get_global_id(2);
  const int rows = g[M_ROWS], depth = g[M_DEPTH], columns = g[M_COLUMNS];
  if (column >= columns || first >= rows || batch >= g[M_BATCHES]) return;
  const int n = min(VEC, columns - column);
  __global const float *left = a + g[M_OFFSETS + 2 * batch];
  __global const float *right = c + g[M_OFFSETS + 2 * batch + 1] + column;
  vfloat sum[ROWS];
  for (int r = 0; r < ROWS; r++) sum[r] = (vfloat)(0.0f);
  for (int k = 0; k < depth; k += BLOCK) {
    vfloat part[ROWS];
    for (int r = 0; r < ROWS; r++) part[r] = (vfloat)(0.0f);
    const int end = min(k + BLOCK, depth);
    for (int j = k; j < end; j++) {
      const vfloat values = load_floats(right + j * columns, n);
      #pragma unroll
      for (int r = 0; r < ROWS; r++) {
        part[r] = fma((vfloat)(left[min(first + r, rows - 1) * depth + j]), values, part[r]);
      }
    }
    for (int r = 0; r < ROWS; r++) sum[r] += part[r];
  }
  for (int r = 0; r < ROWS && first + r < rows; r++) {
    store_floats(sum[r], y + (batch * rows + first + r) * columns + column, n);
  }
}
