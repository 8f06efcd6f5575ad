/* What the files of this plugin share. Read plugin.c first, then operators.c.
 *
 *   plugin.c      the table of functions, the objects behind its handles
 *   capability.c  the capability document
 *   program.c     reads a program: values, attributes, the order of nodes
 *   operators.c   which nodes are supported, and how each becomes a step
 *   kernels.c     the arithmetic
 */
#ifndef SAMPLE_H
#define SAMPLE_H

#include <fewbit/plugin.h>

/* Extents of a tensor, at most: the capability document says so too. */
#define MAX_RANK 8

/* What a value can hold as far as this plugin is concerned. */
enum type { T_U8, T_I8, T_I32, T_F32, T_OTHER };

/* Where the elements of a value are during a run. */
enum place { P_NOWHERE, P_INPUT, P_OUTPUT, P_CONSTANT, P_SCRATCH };

struct tensor {
  enum type type;
  uint32_t flags; /* FEWBIT_V_* */
  uint32_t rank;
  int64_t dims[MAX_RANK];
  size_t size, elements, bytes; /* size: bytes of an element */
  uint32_t trouble;  /* FEWBIT_WHY_*: why no operator takes it; 0 where it is fine */
  int quantized;     /* whether it has scales */
  int per_channel;   /* whether there is one per slice of `axis`, else one for all */
  int32_t axis;
  uint32_t n_scales;
  const float *scales;  /* borrowed from the program; copied into steps */
  float scale;          /* the first one */
  int32_t zero_point;   /* of the whole tensor */
  const void *constant; /* borrowed from the program; copied by compile */
  enum place place;
  size_t at; /* number of the input or output, or offset into constants or scratch */
};

/* A program that has been read: indices are in range, producers come before
 * readers, extents multiply to something that fits into memory. */
struct program {
  const fewbit_program *raw;
  struct tensor *values;
};

enum kind {
  K_CONV, K_MATMUL, K_ADD, K_TABLE, K_RELU, K_COPY, K_QUANTIZE, K_DEQUANTIZE, K_REQUANTIZE
};

/* One axis of a convolution. */
struct window {
  int64_t x, y, kernel, stride, dilation, pad;
};

/* A node with everything that can be known before a run. */
struct step {
  enum kind kind;
  uint32_t x, w, bias, y; /* values; FEWBIT_ABSENT where there is none */
  /* The clamp: as codes of y, and as real numbers where y is f32. */
  int32_t low, high;
  float real_low, real_high;
  /* Products: channels of y, and one multiplier per channel. */
  size_t channels;
  float *multipliers;
  /* Conv: batch, groups, channels per group, and the two axes. */
  int64_t batch, groups, group_in, group_out;
  struct window window[2];
  /* MatMul and Gemm: y[i, j] = sum over k of x[i, k] * w[k, j], so many times.
   * The strides say how far apart the elements are. */
  size_t m, k, n, n_batches;
  size_t x_m, x_k, w_k, w_n;
  uint32_t batch_rank; /* batch axes of y, and of each the step of x and w */
  size_t batch_dims[MAX_RANK], x_batch[MAX_RANK], w_batch[MAX_RANK];
  /* Gemm's addend: how far apart its elements are along both axes of y. */
  size_t bias_m, bias_n;
  /* Add: the two ratios of scales, and per axis of y the step of each side. */
  float ratio_x, ratio_w;
  size_t x_step[MAX_RANK], w_step[MAX_RANK];
};

/* Fills *error, where there is one, and answers `status`. */
fewbit_status refuse(fewbit_error *error, fewbit_status status, uint32_t why, uint32_t node,
                     const char *format, ...);

/* capability.c */
extern const char CAPABILITY_DOCUMENT[];
extern const size_t CAPABILITY_DOCUMENT_LENGTH;

/* program.c */
fewbit_status program_read(const fewbit_program *raw, struct program *program, fewbit_error *error);
void program_free(struct program *program);
/* The attribute of that name, or NULL. */
const fewbit_attr *attribute(const fewbit_node *node, const char *name);
int is_text(fewbit_str text, const char *literal);

/* operators.c: whether a node is supported; where it is, *step describes it.
 * One function answers `supports` and `compile`, so they cannot disagree.
 * step->multipliers points to memory that the caller frees. */
fewbit_status step_of(const struct program *program, uint32_t node, struct step *step,
                      fewbit_error *error);

/* kernels.c: runs a step. `scratch` holds scratch_of(step) bytes. */
size_t scratch_of(const struct step *step, const struct tensor *values);
void run_step(const struct step *step, const struct tensor *values, const void *x, const void *w,
              const void *bias, void *y, void *scratch);
int32_t quantize_code(float real, float scale, int32_t zero_point, int32_t low, int32_t high);

#endif
