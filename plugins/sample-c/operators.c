/* Which nodes are supported, and how each becomes a step.
 *
 * Refusals name a reason (FEWBIT_WHY_*) and say what was expected: a planner
 * shows both to people. What is not known is refused, never ignored: an
 * operator, an attribute, a type, a form of scales. */
#include "sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* The node at hand. */
struct query {
  const struct program *program;
  const fewbit_node *node;
  uint32_t index;
  struct step *step;
  fewbit_error *error;
};

#define NO(query, why, ...) \
  refuse((query)->error, FEWBIT_UNSUPPORTED, (why), (query)->index, __VA_ARGS__)

/* Leaves the function unless the expression is FEWBIT_OK. */
#define TRY(expression)                        \
  do {                                         \
    fewbit_status status_ = (expression);      \
    if (status_ != FEWBIT_OK) return status_;  \
  } while (0)

static const struct tensor *value(const struct query *query, uint32_t index) {
  return index == FEWBIT_ABSENT ? NULL : &query->program->values[index];
}

static uint32_t input(const struct query *query, uint32_t index) {
  return index < query->node->n_inputs ? query->node->inputs[index] : FEWBIT_ABSENT;
}

/* Between `fewest` and `most` inputs, the first ones there, and one output, all
 * of extents that are known. */
static fewbit_status operands(const struct query *query, uint32_t fewest, uint32_t most) {
  uint32_t i;
  if (query->node->n_inputs > most || query->node->n_outputs != 1)
    return NO(query, FEWBIT_WHY_OP, "expected at most %lu inputs and one output", (unsigned long)most);
  for (i = 0; i < fewest; i++) {
    if (input(query, i) == FEWBIT_ABSENT)
      return NO(query, FEWBIT_WHY_OP, "expected an input %lu", (unsigned long)i);
  }
  query->step->x = input(query, 0);
  query->step->w = FEWBIT_ABSENT;
  query->step->bias = FEWBIT_ABSENT;
  query->step->y = query->node->outputs[0];
  return FEWBIT_OK;
}

static fewbit_status sound(const struct query *query, const struct tensor *tensor, const char *what) {
  if (tensor->trouble == 0) return FEWBIT_OK;
  return NO(query, tensor->trouble, "%s has a type, extents or scales that are not supported", what);
}

/* An activation of 8 bits: one scale, any zero point. */
static fewbit_status codes(const struct query *query, const struct tensor *tensor, const char *what) {
  TRY(sound(query, tensor, what));
  if (tensor->type != T_U8 && tensor->type != T_I8)
    return NO(query, FEWBIT_WHY_DTYPE, "%s: expected u8 or i8", what);
  if (!tensor->quantized) return NO(query, FEWBIT_WHY_SCHEME, "%s: expected a scale", what);
  if (tensor->per_channel)
    return NO(query, FEWBIT_WHY_GRANULARITY, "%s: expected one scale for the tensor", what);
  return FEWBIT_OK;
}

static fewbit_status reals(const struct query *query, const struct tensor *tensor, const char *what) {
  TRY(sound(query, tensor, what));
  if (tensor->type != T_F32 || tensor->quantized)
    return NO(query, FEWBIT_WHY_DTYPE, "%s: expected f32", what);
  return FEWBIT_OK;
}

static fewbit_status same_extents(const struct query *query) {
  const struct tensor *x = value(query, query->step->x), *y = value(query, query->step->y);
  if (x->rank != y->rank || memcmp(x->dims, y->dims, x->rank * sizeof x->dims[0]) != 0)
    return NO(query, FEWBIT_WHY_SHAPE, "expected an output of the input's extents");
  return FEWBIT_OK;
}

/* ------------------------------------------------------------- attributes */

/* Only these attributes, which end with NULL. `precision` may be there too
 * where it says what the types say already. */
static fewbit_status only(const struct query *query, const char *const *names) {
  uint32_t i;
  for (i = 0; i < query->node->n_attrs; i++) {
    const fewbit_attr *attr = query->node->attrs[i];
    const char *const *name = names;
    fewbit_str text;
    while (*name != NULL && !is_text(attr->name, *name)) name++;
    text.ptr = attr->items;
    text.len = attr->n_items;
    if (*name == NULL && is_text(attr->name, "precision") && attr->kind == FEWBIT_A_STR &&
        (is_text(text, "w8a8") || is_text(text, "f32")))
      continue;
    if (*name == NULL)
      return NO(query, FEWBIT_WHY_ATTRIBUTE, "attribute `%.*s` is not known", (int)attr->name.len,
                attr->name.ptr);
  }
  return FEWBIT_OK;
}

/* A whole number between the bounds. */
static fewbit_status whole(const struct query *query, const char *name, int64_t low, int64_t high,
                           int64_t *out) {
  const fewbit_attr *attr = attribute(query->node, name);
  if (attr == NULL || attr->kind != FEWBIT_A_INT)
    return NO(query, FEWBIT_WHY_ATTRIBUTE, "expected attribute `%s` as a whole number", name);
  *out = *(const int64_t *)attr->items;
  if (*out < low || *out > high)
    return NO(query, FEWBIT_WHY_ATTRIBUTE, "`%s` is %lld, out of range", name, (long long)*out);
  return FEWBIT_OK;
}

/* Exactly n whole numbers of at least `low`, and small enough to multiply. */
static fewbit_status wholes(const struct query *query, const char *name, size_t n, int64_t low,
                            int64_t *out) {
  const fewbit_attr *attr = attribute(query->node, name);
  size_t i;
  if (attr == NULL || attr->kind != FEWBIT_A_INTS || attr->n_items != n)
    return NO(query, FEWBIT_WHY_ATTRIBUTE, "expected attribute `%s` as %lu whole numbers", name,
              (unsigned long)n);
  for (i = 0; i < n; i++) {
    out[i] = ((const int64_t *)attr->items)[i];
    if (out[i] < low || out[i] > 0x7fffffff)
      return NO(query, FEWBIT_WHY_ATTRIBUTE, "`%s` holds %lld, out of range", name, (long long)out[i]);
  }
  return FEWBIT_OK;
}

static fewbit_status real(const struct query *query, const char *name, float *out) {
  const fewbit_attr *attr = attribute(query->node, name);
  if (attr == NULL || attr->kind != FEWBIT_A_FLOAT)
    return NO(query, FEWBIT_WHY_ATTRIBUTE, "expected attribute `%s` as a real number", name);
  *out = (float)*(const double *)attr->items;
  return FEWBIT_OK;
}

/* ---------------------------------------------------------------- clamps */

static void all_codes(struct step *step, const struct tensor *y) {
  step->low = y->type == T_U8 ? 0 : -128;
  step->high = y->type == T_U8 ? 255 : 127;
}

/* The fused clamp, as codes and as real numbers; infinite bounds leave all
 * codes of the type. */
static fewbit_status clamp(const struct query *query, const struct tensor *y) {
  struct step *step = query->step;
  int32_t low, high;
  TRY(real(query, "clamp_min", &step->real_low));
  TRY(real(query, "clamp_max", &step->real_high));
  if (!(step->real_low <= step->real_high))
    return NO(query, FEWBIT_WHY_ATTRIBUTE, "clamp_min is above clamp_max");
  all_codes(step, y);
  low = step->low;
  high = step->high;
  if (y->type == T_F32) return FEWBIT_OK;
  if (!isinf(step->real_low))
    step->low = quantize_code(step->real_low, y->scale, y->zero_point, low, high);
  if (!isinf(step->real_high))
    step->high = quantize_code(step->real_high, y->scale, y->zero_point, low, high);
  return FEWBIT_OK;
}

/* -------------------------------------------------------------- products */

/* Types of a product: codes times constant i8 weights with a scale each or one
 * per slice of `axis` (below 0: one only), to codes or to f32. */
static fewbit_status product_types(const struct query *query, int32_t axis) {
  struct step *step = query->step;
  const struct tensor *x = value(query, step->x), *y = value(query, step->y), *w;
  step->w = input(query, 1);
  w = value(query, step->w);
  TRY(codes(query, x, "input"));
  TRY(sound(query, w, "weights"));
  if (w->type != T_I8) return NO(query, FEWBIT_WHY_DTYPE, "weights: expected i8");
  if (w->constant == NULL) return NO(query, FEWBIT_WHY_OP, "weights: expected a constant");
  if (!w->quantized || w->zero_point != 0)
    return NO(query, FEWBIT_WHY_SCHEME, "weights: expected scales and no zero point");
  if (w->per_channel && w->axis != axis)
    return NO(query, FEWBIT_WHY_GRANULARITY, "weights: expected scales per output channel");
  TRY(sound(query, y, "output"));
  if (y->type == T_F32 && !y->quantized) return FEWBIT_OK;
  return codes(query, y, "output");
}

/* The addend is i32 at the accumulator's scale, or f32 where the output is. */
static fewbit_status addend(const struct query *query, uint32_t index) {
  const struct tensor *y = value(query, query->step->y), *bias;
  query->step->bias = input(query, index);
  bias = value(query, query->step->bias);
  if (bias == NULL) return FEWBIT_OK;
  if (bias->type != T_I32 && !(bias->type == T_F32 && y->type == T_F32 && !bias->quantized))
    return NO(query, FEWBIT_WHY_DTYPE, "bias: expected i32, or f32 where the output is f32");
  /* Its scales are those of the product, whatever form they are written in. */
  if ((bias->trouble & ~(uint32_t)(FEWBIT_WHY_SCHEME | FEWBIT_WHY_GRANULARITY)) != 0)
    return NO(query, bias->trouble, "bias: type or extents are not supported");
  if (bias->constant == NULL) return NO(query, FEWBIT_WHY_OP, "bias: expected a constant");
  return FEWBIT_OK;
}

/* One multiplier per channel: (s_x * s_w) / s_y, or s_x * s_w to f32. */
static fewbit_status multipliers(const struct query *query, size_t channels) {
  struct step *step = query->step;
  const struct tensor *x = value(query, step->x), *w = value(query, step->w);
  const struct tensor *y = value(query, step->y);
  size_t i;
  step->channels = channels;
  if (w->per_channel && w->n_scales != channels)
    return NO(query, FEWBIT_WHY_GRANULARITY, "weights: expected as many scales as output channels");
  step->multipliers = malloc((channels + 1) * sizeof *step->multipliers);
  if (step->multipliers == NULL)
    return refuse(query->error, FEWBIT_OUT_OF_MEMORY, FEWBIT_WHY_MEMORY, query->index, "no memory");
  for (i = 0; i < channels; i++) {
    float scale = x->scale * w->scales[w->per_channel ? i : 0];
    step->multipliers[i] = y->type == T_F32 ? scale : scale / y->scale;
  }
  return FEWBIT_OK;
}

static fewbit_status conv(const struct query *query) {
  static const char *const NAMES[] = {"kernel_shape", "strides",   "dilations", "pads",
                                      "group",        "clamp_min", "clamp_max", NULL};
  struct step *step = query->step;
  const struct tensor *x, *w, *y, *bias;
  int64_t kernel[2], strides[2], dilations[2], pads[4];
  int i;
  step->kind = K_CONV;
  TRY(operands(query, 2, 3));
  TRY(only(query, NAMES));
  TRY(product_types(query, 0));
  TRY(addend(query, 2));
  x = value(query, step->x), w = value(query, step->w), y = value(query, step->y);
  bias = value(query, step->bias);
  if (x->rank != 4 || w->rank != 4 || y->rank != 4)
    return NO(query, FEWBIT_WHY_RANK, "expected images of 4 dimensions");
  TRY(wholes(query, "kernel_shape", 2, 1, kernel));
  TRY(wholes(query, "strides", 2, 1, strides));
  TRY(wholes(query, "dilations", 2, 1, dilations));
  TRY(wholes(query, "pads", 4, 0, pads));
  TRY(whole(query, "group", 1, 0x7fffffff, &step->groups));
  TRY(clamp(query, y));
  step->batch = x->dims[0];
  step->group_in = w->dims[1];
  step->group_out = w->dims[0] / step->groups;
  if (x->dims[1] != step->group_in * step->groups || w->dims[0] != step->group_out * step->groups ||
      y->dims[0] != x->dims[0] || y->dims[1] != w->dims[0])
    return NO(query, FEWBIT_WHY_SHAPE, "batch, channels and groups do not fit together");
  if (bias != NULL && (bias->rank != 1 || bias->dims[0] != w->dims[0]))
    return NO(query, FEWBIT_WHY_SHAPE, "expected one bias per output channel");
  for (i = 0; i < 2; i++) {
    struct window *window = &step->window[i];
    int64_t room = x->dims[2 + i] + pads[i] + pads[2 + i] - (dilations[i] * (kernel[i] - 1) + 1);
    window->x = x->dims[2 + i];
    window->y = y->dims[2 + i];
    window->kernel = kernel[i];
    window->stride = strides[i];
    window->dilation = dilations[i];
    window->pad = pads[i];
    if (kernel[i] != w->dims[2 + i] || room < 0 || window->y != room / strides[i] + 1)
      return NO(query, FEWBIT_WHY_SHAPE, "kernel and extents do not fit together");
  }
  return multipliers(query, (size_t)w->dims[0]);
}

/* How far apart the elements of `tensor` are along each of the first `rank`
 * axes of y, when it is broadcast and its own last `own` axes are left aside;
 * 0 along axes that it does not have. */
static int broadcast(const struct tensor *tensor, uint32_t own, const struct tensor *y, uint32_t rank,
                     size_t *steps) {
  uint32_t axes = tensor->rank - own, i;
  size_t step = 1;
  if (axes > rank) return 0;
  for (i = 0; i < own; i++) step *= (size_t)tensor->dims[tensor->rank - 1 - i];
  for (i = 0; i < rank; i++) {
    uint32_t to = rank - 1 - i;
    int64_t extent = i < axes ? tensor->dims[axes - 1 - i] : 1;
    if (extent != 1 && extent != y->dims[to]) return 0;
    steps[to] = extent == 1 ? 0 : step;
    step *= (size_t)extent;
  }
  return 1;
}

static fewbit_status matmul(const struct query *query) {
  static const char *const NAMES[] = {NULL};
  struct step *step = query->step;
  const struct tensor *x, *w, *y;
  uint32_t matrix_y, i;
  step->kind = K_MATMUL;
  TRY(operands(query, 2, 2));
  TRY(only(query, NAMES));
  w = value(query, input(query, 1));
  /* A vector has no output channels. */
  TRY(product_types(query, w->rank > 1 ? (int32_t)w->rank - 1 : -1));
  x = value(query, step->x), y = value(query, step->y);
  if (x->rank < 1 || w->rank < 1) return NO(query, FEWBIT_WHY_RANK, "expected at least 1 dimension");
  /* A vector on the left is one row, one on the right one column; neither is
   * an axis of the output. */
  matrix_y = (x->rank > 1) + (w->rank > 1);
  if (y->rank < matrix_y) return NO(query, FEWBIT_WHY_RANK, "the output has too few dimensions");
  step->batch_rank = y->rank - matrix_y;
  step->m = x->rank > 1 ? (size_t)x->dims[x->rank - 2] : 1;
  step->k = (size_t)x->dims[x->rank - 1];
  step->n = w->rank > 1 ? (size_t)w->dims[w->rank - 1] : 1;
  step->x_m = step->k;
  step->x_k = 1;
  step->w_k = step->n;
  step->w_n = 1;
  if (step->k != (size_t)w->dims[w->rank > 1 ? w->rank - 2 : 0] ||
      (x->rank > 1 && step->m != (size_t)y->dims[step->batch_rank]) ||
      (w->rank > 1 && step->n != (size_t)y->dims[y->rank - 1]) ||
      !broadcast(x, x->rank > 1 ? 2 : 1, y, step->batch_rank, step->x_batch) ||
      !broadcast(w, w->rank > 1 ? 2 : 1, y, step->batch_rank, step->w_batch))
    return NO(query, FEWBIT_WHY_SHAPE, "the extents of the product do not fit together");
  step->n_batches = 1;
  for (i = 0; i < step->batch_rank; i++) {
    step->batch_dims[i] = (size_t)y->dims[i];
    step->n_batches *= (size_t)y->dims[i];
  }
  step->real_low = -HUGE_VALF;
  step->real_high = HUGE_VALF;
  all_codes(step, y);
  return multipliers(query, step->n);
}

static fewbit_status gemm(const struct query *query) {
  static const char *const NAMES[] = {"alpha",     "beta",      "transA", "transB",
                                      "clamp_min", "clamp_max", NULL};
  struct step *step = query->step;
  const struct tensor *x, *w, *y, *bias;
  int64_t trans_a, trans_b;
  float alpha, beta;
  size_t steps[2];
  step->kind = K_MATMUL;
  TRY(operands(query, 2, 3));
  TRY(only(query, NAMES));
  TRY(whole(query, "transA", 0, 1, &trans_a));
  TRY(whole(query, "transB", 0, 1, &trans_b));
  TRY(real(query, "alpha", &alpha));
  TRY(real(query, "beta", &beta));
  TRY(product_types(query, trans_b ? 0 : 1));
  TRY(addend(query, 2));
  x = value(query, step->x), w = value(query, step->w), y = value(query, step->y);
  bias = value(query, step->bias);
  if (alpha != 1 || (bias != NULL && beta != 1))
    return NO(query, FEWBIT_WHY_ATTRIBUTE, "expected alpha and beta of 1");
  if (x->rank != 2 || w->rank != 2 || y->rank != 2)
    return NO(query, FEWBIT_WHY_RANK, "expected matrices");
  TRY(clamp(query, y));
  step->m = (size_t)x->dims[trans_a ? 1 : 0];
  step->k = (size_t)x->dims[trans_a ? 0 : 1];
  step->n = (size_t)w->dims[trans_b ? 0 : 1];
  step->x_m = trans_a ? 1 : step->k;
  step->x_k = trans_a ? step->m : 1;
  step->w_k = trans_b ? 1 : step->n;
  step->w_n = trans_b ? step->k : 1;
  step->n_batches = 1;
  if (step->k != (size_t)w->dims[trans_b ? 1 : 0] || step->m != (size_t)y->dims[0] ||
      step->n != (size_t)y->dims[1])
    return NO(query, FEWBIT_WHY_SHAPE, "the extents of the product do not fit together");
  if (bias != NULL) {
    if (bias->rank > 2 || !broadcast(bias, 0, y, 2, steps))
      return NO(query, FEWBIT_WHY_SHAPE, "the addend does not broadcast to the output");
    step->bias_m = steps[0];
    step->bias_n = steps[1];
  }
  return multipliers(query, step->n);
}

/* -------------------------------------------------- element by element */

static fewbit_status add(const struct query *query) {
  static const char *const NAMES[] = {"clamp_min", "clamp_max", NULL};
  struct step *step = query->step;
  const struct tensor *a, *b, *y;
  step->kind = K_ADD;
  TRY(operands(query, 2, 2));
  TRY(only(query, NAMES));
  step->w = input(query, 1);
  a = value(query, step->x), b = value(query, step->w), y = value(query, step->y);
  TRY(codes(query, a, "input 0"));
  TRY(codes(query, b, "input 1"));
  TRY(codes(query, y, "output"));
  TRY(clamp(query, y));
  if (!broadcast(a, 0, y, y->rank, step->x_step) || !broadcast(b, 0, y, y->rank, step->w_step))
    return NO(query, FEWBIT_WHY_SHAPE, "the inputs do not broadcast to the output");
  step->ratio_x = a->scale / y->scale;
  step->ratio_w = b->scale / y->scale;
  return FEWBIT_OK;
}

static fewbit_status table(const struct query *query) {
  static const char *const NAMES[] = {"function", NULL};
  struct step *step = query->step;
  const struct tensor *y, *w;
  step->kind = K_TABLE;
  TRY(operands(query, 2, 2));
  TRY(only(query, NAMES)); /* whatever the function is: the table has its values */
  step->w = input(query, 1);
  y = value(query, step->y), w = value(query, step->w);
  TRY(codes(query, value(query, step->x), "input"));
  TRY(codes(query, y, "output"));
  TRY(same_extents(query));
  if (w->type != y->type || w->constant == NULL || w->rank != 1 || w->dims[0] != 256)
    return NO(query, FEWBIT_WHY_SHAPE, "expected a constant table of 256 codes of the output");
  return FEWBIT_OK;
}

static fewbit_status relu(const struct query *query) {
  static const char *const NAMES[] = {NULL};
  query->step->kind = K_RELU;
  TRY(operands(query, 1, 1));
  TRY(only(query, NAMES));
  TRY(reals(query, value(query, query->step->x), "input"));
  TRY(reals(query, value(query, query->step->y), "output"));
  return same_extents(query);
}

/* Reshape, Flatten, Identity: the same elements in the same order. */
static fewbit_status copy(const struct query *query, const char *const *names) {
  struct step *step = query->step;
  const struct tensor *x, *y, *shape;
  step->kind = K_COPY;
  TRY(operands(query, 1, 2));
  TRY(only(query, names));
  x = value(query, step->x), y = value(query, step->y);
  shape = value(query, input(query, 1));
  if (shape != NULL && shape->constant == NULL)
    return NO(query, FEWBIT_WHY_SHAPE, "expected a constant shape");
  if (x->quantized || y->quantized) {
    TRY(codes(query, x, "input"));
    TRY(codes(query, y, "output"));
    if (x->type != y->type || x->scale != y->scale || x->zero_point != y->zero_point)
      return NO(query, FEWBIT_WHY_SCHEME, "expected an output of the input's type and scale");
  } else {
    TRY(reals(query, x, "input"));
    TRY(reals(query, y, "output"));
  }
  if (x->elements != y->elements)
    return NO(query, FEWBIT_WHY_SHAPE, "expected as many elements behind the node as before");
  return FEWBIT_OK;
}

static fewbit_status convert(const struct query *query, enum kind kind) {
  static const char *const NAMES[] = {NULL};
  struct step *step = query->step;
  const struct tensor *x, *y;
  step->kind = kind;
  TRY(operands(query, 1, 1));
  TRY(only(query, NAMES));
  x = value(query, step->x), y = value(query, step->y);
  TRY((kind == K_QUANTIZE ? reals : codes)(query, x, "input"));
  TRY((kind == K_DEQUANTIZE ? reals : codes)(query, y, "output"));
  TRY(same_extents(query));
  all_codes(step, y);
  if (kind == K_REQUANTIZE) step->ratio_x = x->scale / y->scale;
  return FEWBIT_OK;
}

fewbit_status step_of(const struct program *program, uint32_t index, struct step *step,
                      fewbit_error *error) {
  static const char *const NONE[] = {NULL};
  static const char *const FLATTEN[] = {"axis", NULL};
  static const char *const RESHAPE[] = {"allowzero", NULL};
  const fewbit_node *node = program->raw->nodes[index];
  struct query query;
  memset(step, 0, sizeof *step);
  query.program = program;
  query.node = node;
  query.index = index;
  query.step = step;
  query.error = error;
  if (node->op_version != 1)
    return NO(&query, FEWBIT_WHY_OP, "expected operators of version 1, found %lu",
              (unsigned long)node->op_version);
  if (is_text(node->domain, "")) {
    if (is_text(node->op_type, "Conv")) return conv(&query);
    if (is_text(node->op_type, "MatMul")) return matmul(&query);
    if (is_text(node->op_type, "Gemm")) return gemm(&query);
    if (is_text(node->op_type, "Add")) return add(&query);
    if (is_text(node->op_type, "Relu")) return relu(&query);
    if (is_text(node->op_type, "Identity")) return copy(&query, NONE);
    if (is_text(node->op_type, "Flatten")) return copy(&query, FLATTEN);
    if (is_text(node->op_type, "Reshape")) return copy(&query, RESHAPE);
  }
  if (is_text(node->domain, "fewbit")) {
    if (is_text(node->op_type, "Table")) return table(&query);
    if (is_text(node->op_type, "Quantize")) return convert(&query, K_QUANTIZE);
    if (is_text(node->op_type, "Dequantize")) return convert(&query, K_DEQUANTIZE);
    if (is_text(node->op_type, "Requantize")) return convert(&query, K_REQUANTIZE);
  }
  return NO(&query, FEWBIT_WHY_OP, "operator `%.*s` is not known", (int)node->op_type.len,
            node->op_type.ptr);
}
