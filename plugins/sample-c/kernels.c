/* The arithmetic of docs/vendor/operators.md, exactly: integers wrap at 32 bits,
 * each float operation rounds by itself (compile with -ffp-contract=off), and
 * ties go to the even code. Plain loops; a real plugin replaces these. */
#include "sample.h"

#include <math.h>
#include <string.h>

/* clamp(rhe(real) + zero_point): the last step of every rule. NaN counts as 0. */
static int32_t round_to_code(float real, int32_t zero_point, int32_t low, int32_t high) {
  /* Far beyond every code and within int32_t: the sum cannot overflow. */
  const float far = 1e9f;
  float rounded = nearbyintf(real); /* half to even, in the mode that programs start in */
  int32_t code;
  if (isnan(rounded)) rounded = 0;
  if (rounded < -far) rounded = -far;
  if (rounded > far) rounded = far;
  code = (int32_t)rounded + zero_point;
  if (code < low) return low;
  if (code > high) return high;
  return code;
}

int32_t quantize_code(float real, float scale, int32_t zero_point, int32_t low, int32_t high) {
  return round_to_code(real / scale, zero_point, low, high); /* a division, no reciprocal */
}

/* A code of either 8-bit type. */
static int32_t load(const void *data, enum type type, size_t at) {
  return type == T_U8 ? ((const uint8_t *)data)[at] : ((const int8_t *)data)[at];
}

static void store(void *data, enum type type, size_t at, int32_t code) {
  if (type == T_U8) ((uint8_t *)data)[at] = (uint8_t)code;
  else ((int8_t *)data)[at] = (int8_t)code;
}

/* Codes without their zero point: both 8-bit types fit, and padding is 0. */
static void widen(const struct tensor *x, const void *data, int16_t *wide) {
  size_t i;
  for (i = 0; i < x->elements; i++) wide[i] = (int16_t)(load(data, x->type, i) - x->zero_point);
}

/* From accumulator to output. Sums are kept unsigned because they may wrap. */
static void finish(const struct step *step, const struct tensor *y, void *data, size_t at,
                   uint32_t sum, size_t channel, const float *real_bias) {
  float multiplier = step->multipliers[channel];
  float real = (float)(int32_t)sum * multiplier;
  if (y->type != T_F32) {
    store(data, y->type, at, round_to_code(real, y->zero_point, step->low, step->high));
    return;
  }
  if (real_bias != NULL) real = real + *real_bias;
  if (real < step->real_low) real = step->real_low;
  if (real > step->real_high) real = step->real_high;
  ((float *)data)[at] = real;
}

/* The addend of an accumulator, and the one of a real result. */
static uint32_t code_bias(const struct tensor *bias, const void *data, size_t at) {
  return bias != NULL && bias->type == T_I32 ? (uint32_t)((const int32_t *)data)[at] : 0;
}

static const float *real_bias(const struct tensor *bias, const void *data, size_t at) {
  return bias != NULL && bias->type == T_F32 ? (const float *)data + at : NULL;
}

/* The outputs whose sample lies inside the image, for one tap of the kernel:
 * [*first, *last). */
static void inside(const struct window *window, int64_t tap, int64_t *first, int64_t *last) {
  int64_t offset = tap * window->dilation - window->pad;
  *first = offset >= 0 ? 0 : (-offset + window->stride - 1) / window->stride;
  *last = window->x - offset <= 0 ? 0 : (window->x - offset + window->stride - 1) / window->stride;
  if (*last > window->y) *last = window->y;
}

/* One row of sums: every input channel of the group and every tap of the kernel. */
static void conv_row(const struct step *step, const int16_t *image, const int8_t *w, int64_t row,
                     uint32_t *sums) {
  const struct window *v = &step->window[0], *h = &step->window[1];
  int64_t channel, i, j, at;
  for (channel = 0; channel < step->group_in; channel++) {
    const int16_t *plane = image + channel * v->x * h->x;
    for (i = 0; i < v->kernel; i++) {
      int64_t from = row * v->stride + i * v->dilation - v->pad;
      if (from < 0 || from >= v->x) continue;
      for (j = 0; j < h->kernel; j++) {
        const int16_t *line = plane + from * h->x;
        int32_t weight = w[(channel * v->kernel + i) * h->kernel + j];
        int64_t shift = j * h->dilation - h->pad;
        int64_t first, last;
        inside(h, j, &first, &last);
        for (at = first; at < last; at++)
          sums[at] += (uint32_t)(line[at * h->stride + shift] * weight);
      }
    }
  }
}

static void conv(const struct step *step, const struct tensor *y, const int16_t *x, const int8_t *w,
                 const struct tensor *bias, const void *bias_data, void *out, uint32_t *sums) {
  const struct window *v = &step->window[0], *h = &step->window[1];
  const int64_t plane = v->x * h->x, taps = step->group_in * v->kernel * h->kernel;
  int64_t image, channel, row, at;
  for (image = 0; image < step->batch; image++) {
    for (channel = 0; channel < step->groups * step->group_out; channel++) {
      int64_t group = channel / step->group_out;
      const int16_t *from = x + (image * step->groups + group) * step->group_in * plane;
      const float *real = real_bias(bias, bias_data, (size_t)channel);
      for (row = 0; row < v->y; row++) {
        size_t to = (size_t)(((image * (int64_t)step->channels + channel) * v->y + row) * h->y);
        for (at = 0; at < h->y; at++) sums[at] = code_bias(bias, bias_data, (size_t)channel);
        conv_row(step, from, w + channel * taps, row, sums);
        for (at = 0; at < h->y; at++)
          finish(step, y, out, to + (size_t)at, sums[at], (size_t)channel, real);
      }
    }
  }
}

static void product(const struct step *step, const struct tensor *y, const int16_t *x,
                    const int8_t *w, const struct tensor *bias, const void *bias_data, void *out,
                    size_t to, uint32_t *sums) {
  size_t i, j, k;
  for (i = 0; i < step->m; i++) {
    for (j = 0; j < step->n; j++)
      sums[j] = code_bias(bias, bias_data, i * step->bias_m + j * step->bias_n);
    for (k = 0; k < step->k; k++) {
      int32_t left = x[i * step->x_m + k * step->x_k];
      for (j = 0; j < step->n; j++)
        sums[j] += (uint32_t)(left * w[k * step->w_k + j * step->w_n]);
    }
    for (j = 0; j < step->n; j++)
      finish(step, y, out, to + i * step->n + j, sums[j], j,
             real_bias(bias, bias_data, i * step->bias_m + j * step->bias_n));
  }
}

static void matmul(const struct step *step, const struct tensor *y, const int16_t *x,
                   const int8_t *w, const struct tensor *bias, const void *bias_data, void *out,
                   uint32_t *sums) {
  size_t batch;
  for (batch = 0; batch < step->n_batches; batch++) {
    size_t rest = batch, x_at = 0, w_at = 0;
    uint32_t axis;
    for (axis = step->batch_rank; axis-- > 0;) {
      x_at += rest % step->batch_dims[axis] * step->x_batch[axis];
      w_at += rest % step->batch_dims[axis] * step->w_batch[axis];
      rest /= step->batch_dims[axis];
    }
    product(step, y, x + x_at, w + w_at, bias, bias_data, out, batch * step->m * step->n, sums);
  }
}

/* rhe((a - z_a) * r_a + (b - z_b) * r_b) + z_y, each side broadcast to y. */
static void add(const struct step *step, const struct tensor *a, const struct tensor *b,
                const struct tensor *y, const void *left, const void *right, void *out) {
  size_t i;
  for (i = 0; i < y->elements; i++) {
    size_t rest = i, a_at = 0, b_at = 0;
    uint32_t axis;
    float one, other;
    for (axis = y->rank; axis-- > 0;) {
      a_at += rest % (size_t)y->dims[axis] * step->x_step[axis];
      b_at += rest % (size_t)y->dims[axis] * step->w_step[axis];
      rest /= (size_t)y->dims[axis];
    }
    one = (float)(load(left, a->type, a_at) - a->zero_point) * step->ratio_x;
    other = (float)(load(right, b->type, b_at) - b->zero_point) * step->ratio_w;
    store(out, y->type, i, round_to_code(one + other, y->zero_point, step->low, step->high));
  }
}

static void table(const struct tensor *x, const void *data, const uint8_t *codes, uint8_t *out) {
  size_t i;
  /* By the bits of the code: -1 is entry 255. */
  for (i = 0; i < x->elements; i++) out[i] = codes[((const uint8_t *)data)[i]];
}

static void relu(const float *x, float *y, size_t n) {
  size_t i;
  for (i = 0; i < n; i++) y[i] = x[i] > 0 || isnan(x[i]) ? x[i] : 0;
}

static void convert(const struct step *step, const struct tensor *x, const struct tensor *y,
                    const void *in, void *out) {
  size_t i;
  for (i = 0; i < y->elements; i++) {
    if (step->kind == K_QUANTIZE) {
      float real = ((const float *)in)[i];
      store(out, y->type, i, quantize_code(real, y->scale, y->zero_point, step->low, step->high));
    } else if (step->kind == K_DEQUANTIZE) {
      ((float *)out)[i] = (float)(load(in, x->type, i) - x->zero_point) * x->scale;
    } else {
      float real = (float)(load(in, x->type, i) - x->zero_point) * step->ratio_x;
      store(out, y->type, i, round_to_code(real, y->zero_point, step->low, step->high));
    }
  }
}

/* Where the codes without zero point end and the sums begin. */
static size_t sums_offset(const struct tensor *x) { return (x->elements * 2 + 63) / 64 * 64; }

size_t scratch_of(const struct step *step, const struct tensor *values) {
  size_t row = step->kind == K_CONV ? (size_t)step->window[1].y : step->n;
  if (step->kind != K_CONV && step->kind != K_MATMUL) return 0;
  return sums_offset(&values[step->x]) + row * sizeof(uint32_t);
}

void run_step(const struct step *step, const struct tensor *values, const void *x, const void *w,
              const void *bias, void *y, void *scratch) {
  const struct tensor *from = &values[step->x], *to = &values[step->y];
  const struct tensor *addend = step->bias == FEWBIT_ABSENT ? NULL : &values[step->bias];
  int16_t *wide = scratch;
  uint32_t *sums;
  switch (step->kind) {
    case K_CONV:
    case K_MATMUL:
      sums = (uint32_t *)(void *)((char *)scratch + sums_offset(from));
      widen(from, x, wide);
      if (step->kind == K_CONV) conv(step, to, wide, w, addend, bias, y, sums);
      else matmul(step, to, wide, w, addend, bias, y, sums);
      break;
    case K_ADD: add(step, from, &values[step->w], to, x, w, y); break;
    case K_TABLE: table(from, x, w, y); break;
    case K_RELU: relu(x, y, to->elements); break;
    case K_COPY: if (to->bytes > 0) memcpy(y, x, to->bytes); break;
    case K_QUANTIZE:
    case K_DEQUANTIZE:
    case K_REQUANTIZE: convert(step, from, to, x, y); break;
  }
}
