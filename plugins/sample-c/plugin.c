/* The table of functions, and the objects behind its handles.
 *
 * Objects: the device (there is one, and it holds nothing), executables (a
 * compiled program: never changed after compile, so contexts share it freely)
 * and contexts (scratch of one run at a time). */
#include "sample.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The header leaves these types to the plugin. */
struct fewbit_device {
  int nothing;
};

struct fewbit_executable {
  struct program program; /* `raw` is gone after compile; the values stay */
  struct step *steps;
  uint32_t n_values, n_steps, n_inputs, n_outputs;
  uint32_t *inputs, *outputs; /* values */
  char *constants;
  size_t constant_bytes, value_bytes, kernel_bytes;
};

struct fewbit_context {
  const fewbit_executable *executable;
  const void **places; /* of each value in this run */
  char *values;        /* of those that are neither input, output nor constant */
  char *kernel;        /* what a kernel needs beside its operands */
};

fewbit_status refuse(fewbit_error *error, fewbit_status status, uint32_t why, uint32_t node,
                     const char *format, ...) {
  va_list arguments;
  if (error == NULL) return status;
  error->vendor_code = 0;
  error->why = why;
  error->node = node;
  va_start(arguments, format);
  vsnprintf(error->message, sizeof error->message, format, arguments);
  va_end(arguments);
  return status;
}

/* The host broke a rule of the header. */
static fewbit_status invalid(fewbit_error *error, const char *message) {
  return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, FEWBIT_ABSENT, "%s", message);
}

static fewbit_status no_memory(fewbit_error *error) {
  return refuse(error, FEWBIT_OUT_OF_MEMORY, FEWBIT_WHY_MEMORY, FEWBIT_ABSENT, "no memory");
}

/* Everything begins at a multiple of a cache line. */
static size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }

/* ------------------------------------------------------ plugin and device */

static fewbit_device the_device;

static fewbit_status init(const fewbit_host *host, fewbit_error *error) {
  if (host == NULL || !FEWBIT_KNOWS(fewbit_host, host, abi_major))
    return invalid(error, "expected a host");
  /* A plugin that logs, or uses the host's threads, keeps `host` until deinit.
   * Touch a field only after FEWBIT_HAS: an older host's struct ends earlier. */
  return FEWBIT_OK;
}

static void deinit(void) {}

static fewbit_status device_count(uint32_t *out, fewbit_error *error) {
  if (out == NULL) return invalid(error, "expected a place for the count");
  *out = 1;
  return FEWBIT_OK;
}

static fewbit_status device_open(uint32_t index, fewbit_device **out, fewbit_error *error) {
  if (out == NULL) return invalid(error, "expected a place for the device");
  if (index != 0) return invalid(error, "there is only device 0");
  *out = &the_device;
  return FEWBIT_OK;
}

static void device_close(fewbit_device *device) { (void)device; }

static fewbit_status capabilities(fewbit_device *device, const fewbit_sink *sink,
                                  fewbit_error *error) {
  if (device == NULL || sink == NULL || sink->write == NULL)
    return invalid(error, "expected a device and a sink");
  /* What the sink answers is what we answer: it may want no more. */
  return sink->write(sink->ctx, CAPABILITY_DOCUMENT, CAPABILITY_DOCUMENT_LENGTH);
}

static fewbit_status supports(fewbit_device *device, const fewbit_program *raw,
                              fewbit_verdict *per_node, fewbit_error *error) {
  struct program program;
  fewbit_status status;
  uint32_t i;
  if (device == NULL || (per_node == NULL && raw != NULL && raw->n_nodes > 0))
    return invalid(error, "expected a device and a place for verdicts");
  status = program_read(raw, &program, error);
  if (status != FEWBIT_OK) return status;
  for (i = 0; i < raw->n_nodes; i++) {
    fewbit_error reason;
    struct step step;
    memset(&reason, 0, sizeof reason);
    status = step_of(&program, i, &step, &reason);
    free(step.multipliers);
    per_node[i].supported = status == FEWBIT_OK;
    per_node[i].why = status == FEWBIT_OK ? 0 : reason.why;
  }
  program_free(&program);
  return FEWBIT_OK;
}

/* ------------------------------------------------------------ executables */

static void executable_free(fewbit_executable *executable) {
  uint32_t i;
  if (executable == NULL) return;
  for (i = 0; i < executable->n_steps; i++) free(executable->steps[i].multipliers);
  program_free(&executable->program);
  free(executable->steps);
  free(executable->inputs);
  free(executable->outputs);
  free(executable->constants);
  free(executable);
}

static uint32_t *copied(const uint32_t *list, uint32_t n) {
  uint32_t *copy = malloc(((size_t)n + 1) * sizeof *copy);
  if (copy != NULL && n > 0) memcpy(copy, list, n * sizeof *copy);
  return copy;
}

/* The places of what a step reads or writes. */
static void mark(struct tensor *values, uint32_t index) {
  if (index == FEWBIT_ABSENT || values[index].place != P_NOWHERE) return;
  values[index].place = values[index].constant != NULL ? P_CONSTANT : P_SCRATCH;
}

/* Decides where each value lives, and copies the constants that steps read:
 * the host's are gone when compile returns. */
static fewbit_status place_values(fewbit_executable *executable, fewbit_error *error) {
  struct tensor *values = executable->program.values;
  const uint32_t n_values = executable->n_values;
  uint32_t i;
  for (i = 0; i < executable->n_inputs; i++) {
    values[executable->inputs[i]].place = P_INPUT;
    values[executable->inputs[i]].at = i;
  }
  for (i = 0; i < executable->n_outputs; i++) {
    struct tensor *value = &values[executable->outputs[i]];
    /* An output that is an input or a constant too, or is listed twice, is
     * copied at the end of a run. */
    if (value->place == P_NOWHERE && value->constant == NULL) {
      value->place = P_OUTPUT;
      value->at = i;
    }
    mark(values, executable->outputs[i]);
  }
  for (i = 0; i < executable->n_steps; i++) {
    const struct step *step = &executable->steps[i];
    size_t scratch = scratch_of(step, values);
    if (scratch > executable->kernel_bytes) executable->kernel_bytes = scratch;
    mark(values, step->x);
    mark(values, step->w);
    mark(values, step->bias);
    mark(values, step->y);
  }
  for (i = 0; i < n_values; i++) {
    size_t *end = values[i].place == P_CONSTANT ? &executable->constant_bytes : &executable->value_bytes;
    if (values[i].place != P_CONSTANT && values[i].place != P_SCRATCH) continue;
    values[i].at = *end;
    *end += aligned(values[i].bytes);
    if (*end > (size_t)PTRDIFF_MAX / 2) return no_memory(error);
  }
  executable->constants = malloc(executable->constant_bytes + 1);
  if (executable->constants == NULL) return no_memory(error);
  for (i = 0; i < n_values; i++) {
    if (values[i].place == P_CONSTANT && values[i].bytes > 0)
      memcpy(executable->constants + values[i].at, values[i].constant, values[i].bytes);
  }
  return FEWBIT_OK;
}

/* An output that no step produces is copied from an input or constant, whose
 * length must be known for that. (Inputs that no step reads may be anything.) */
static fewbit_status check_output(const struct program *program, uint32_t index,
                                  fewbit_error *error) {
  const struct tensor *value = &program->values[index];
  if (value->size > 0 && (value->trouble & (FEWBIT_WHY_RANK | FEWBIT_WHY_SHAPE)) == 0)
    return FEWBIT_OK;
  return refuse(error, FEWBIT_UNSUPPORTED, value->trouble, FEWBIT_ABSENT,
                "output %lu is of a type or extents that are not supported", (unsigned long)index);
}

static fewbit_status build(fewbit_executable *executable, const fewbit_program *raw,
                           fewbit_error *error) {
  fewbit_status status = program_read(raw, &executable->program, error);
  uint32_t i;
  if (status != FEWBIT_OK) return status;
  executable->n_values = raw->n_values;
  executable->n_inputs = raw->n_inputs;
  executable->n_outputs = raw->n_outputs;
  executable->inputs = copied(raw->inputs, raw->n_inputs);
  executable->outputs = copied(raw->outputs, raw->n_outputs);
  executable->steps = calloc((size_t)raw->n_nodes + 1, sizeof *executable->steps);
  if (executable->inputs == NULL || executable->outputs == NULL || executable->steps == NULL)
    return no_memory(error);
  for (i = 0; i < raw->n_nodes; i++) {
    executable->n_steps = i + 1;
    status = step_of(&executable->program, i, &executable->steps[i], error);
    if (status != FEWBIT_OK) return status;
  }
  for (i = 0; i < raw->n_outputs && status == FEWBIT_OK; i++)
    status = check_output(&executable->program, raw->outputs[i], error);
  if (status == FEWBIT_OK) status = place_values(executable, error);
  return status;
}

static fewbit_status compile(fewbit_device *device, const fewbit_program *raw,
                             fewbit_executable **out, fewbit_error *error) {
  fewbit_executable *executable;
  fewbit_status status;
  if (device == NULL || out == NULL) return invalid(error, "expected a device and a place for the answer");
  executable = calloc(1, sizeof *executable);
  if (executable == NULL) return no_memory(error);
  status = build(executable, raw, error);
  if (status != FEWBIT_OK) {
    executable_free(executable);
    return status;
  }
  /* Nothing of the host's is kept. */
  executable->program.raw = NULL;
  *out = executable;
  return FEWBIT_OK;
}

static fewbit_status footprint(fewbit_executable *executable, fewbit_footprint *out,
                               fewbit_error *error) {
  if (executable == NULL || out == NULL)
    return invalid(error, "expected an executable and a place for the answer");
  out->weights = executable->constant_bytes;
  out->activations = executable->value_bytes;
  out->scratch = executable->kernel_bytes;
  return FEWBIT_OK;
}

/* --------------------------------------------------------------- contexts */

static void context_free(fewbit_context *context) {
  if (context == NULL) return;
  free(context->places);
  free(context->values);
  free(context->kernel);
  free(context);
}

static fewbit_status context_new(fewbit_executable *executable, fewbit_context **out,
                                 fewbit_error *error) {
  fewbit_context *context;
  if (executable == NULL || out == NULL)
    return invalid(error, "expected an executable and a place for the answer");
  context = calloc(1, sizeof *context);
  if (context == NULL) return no_memory(error);
  context->executable = executable;
  context->places = calloc((size_t)executable->n_values + 1, sizeof *context->places);
  context->values = malloc(executable->value_bytes + 1);
  context->kernel = malloc(executable->kernel_bytes + 1);
  if (context->places == NULL || context->values == NULL || context->kernel == NULL) {
    context_free(context);
    return no_memory(error);
  }
  *out = context;
  return FEWBIT_OK;
}

/* A tensor of the host against the value it stands for. */
static fewbit_status check_tensor(const fewbit_tensor *tensor, const struct tensor *value,
                                  uint32_t index, fewbit_error *error) {
  int64_t dense = (int64_t)value->size;
  uint32_t i;
  if (tensor == NULL || !FEWBIT_KNOWS(fewbit_tensor, tensor, memory) || tensor->value != index)
    return invalid(error, "a tensor is not whole, or stands for another value");
  if ((value->trouble & (FEWBIT_WHY_RANK | FEWBIT_WHY_SHAPE)) != 0 || value->size == 0)
    return FEWBIT_OK; /* an input that nothing reads */
  if (tensor->memory != 0)
    return refuse(error, FEWBIT_UNSUPPORTED, FEWBIT_WHY_MEMORY, FEWBIT_ABSENT,
                  "value %lu: expected the host's memory", (unsigned long)index);
  if (tensor->rank != value->rank || (tensor->rank > 0 && tensor->dims == NULL))
    return refuse(error, FEWBIT_INVALID_ARGUMENT, FEWBIT_WHY_RANK, FEWBIT_ABSENT,
                  "value %lu: expected %lu dimensions", (unsigned long)index,
                  (unsigned long)value->rank);
  if (value->bytes > 0 && (uintptr_t)tensor->data % (uintptr_t)dense != 0)
    return refuse(error, FEWBIT_UNSUPPORTED, FEWBIT_WHY_ALIGNMENT, FEWBIT_ABSENT,
                  "value %lu lies at an odd address", (unsigned long)index);
  for (i = tensor->rank; i-- > 0;) {
    if (tensor->dims[i] != value->dims[i])
      return refuse(error, FEWBIT_INVALID_ARGUMENT, FEWBIT_WHY_SHAPE, FEWBIT_ABSENT,
                    "value %lu: expected extent %lld of dimension %lu, found %lld",
                    (unsigned long)index, (long long)value->dims[i], (unsigned long)i,
                    (long long)tensor->dims[i]);
    if (tensor->byte_strides != NULL && value->elements > 0 && value->dims[i] > 1 &&
        tensor->byte_strides[i] != dense)
      return refuse(error, FEWBIT_UNSUPPORTED, FEWBIT_WHY_ALIGNMENT, FEWBIT_ABSENT,
                    "value %lu: expected a dense tensor", (unsigned long)index);
    if (value->elements > 0) dense *= value->dims[i];
  }
  if (tensor->byte_len < value->bytes || (tensor->data == NULL && value->bytes > 0))
    return refuse(error, FEWBIT_INVALID_ARGUMENT, FEWBIT_WHY_SHAPE, FEWBIT_ABSENT,
                  "value %lu: expected %lu bytes, found %lu", (unsigned long)index,
                  (unsigned long)value->bytes, (unsigned long)tensor->byte_len);
  return FEWBIT_OK;
}

static fewbit_status check_tensors(const fewbit_executable *executable, const fewbit_tensor *const *in,
                                   uint32_t n_in, fewbit_tensor *const *out, uint32_t n_out,
                                   fewbit_error *error) {
  fewbit_status status = FEWBIT_OK;
  uint32_t i;
  if (n_in != executable->n_inputs || n_out != executable->n_outputs || (in == NULL && n_in > 0) ||
      (out == NULL && n_out > 0))
    return invalid(error, "expected as many tensors as the program has inputs and outputs");
  for (i = 0; i < n_in && status == FEWBIT_OK; i++) {
    uint32_t index = executable->inputs[i];
    status = check_tensor(in[i], &executable->program.values[index], index, error);
  }
  for (i = 0; i < n_out && status == FEWBIT_OK; i++) {
    uint32_t index = executable->outputs[i];
    status = check_tensor(out[i], &executable->program.values[index], index, error);
  }
  return status;
}

static fewbit_status run(fewbit_context *context, const fewbit_tensor *const *in, uint32_t n_in,
                         fewbit_tensor *const *out, uint32_t n_out, fewbit_error *error) {
  const fewbit_executable *executable;
  const struct tensor *values;
  fewbit_status status;
  uint32_t i;
  if (context == NULL) return invalid(error, "expected a context");
  executable = context->executable;
  values = executable->program.values;
  status = check_tensors(executable, in, n_in, out, n_out, error);
  if (status != FEWBIT_OK) return status;
  for (i = 0; i < executable->n_values; i++) {
    const struct tensor *value = &values[i];
    switch (value->place) {
      case P_INPUT: context->places[i] = in[value->at]->data; break;
      case P_OUTPUT: context->places[i] = out[value->at]->data; break;
      case P_CONSTANT: context->places[i] = executable->constants + value->at; break;
      case P_SCRATCH: context->places[i] = context->values + value->at; break;
      case P_NOWHERE: break;
    }
  }
  for (i = 0; i < executable->n_steps; i++) {
    const struct step *step = &executable->steps[i];
    const void *w = step->w == FEWBIT_ABSENT ? NULL : context->places[step->w];
    const void *bias = step->bias == FEWBIT_ABSENT ? NULL : context->places[step->bias];
    run_step(step, values, context->places[step->x], w, bias, (void *)context->places[step->y],
             context->kernel);
  }
  for (i = 0; i < n_out; i++) {
    const struct tensor *value = &values[executable->outputs[i]];
    const void *from = context->places[executable->outputs[i]];
    if (from != out[i]->data && value->bytes > 0) memcpy(out[i]->data, from, value->bytes);
  }
  return FEWBIT_OK;
}

/* -------------------------------------------------------------- the table */

#define TEXT(literal) {literal, sizeof literal - 1}

static const fewbit_plugin TABLE = {
    FEWBIT_MAGIC,
    sizeof(fewbit_plugin),
    FEWBIT_ABI_MAJOR,
    FEWBIT_ABI_MINOR,
    0,
    TEXT("org.fewbit.sample-c"), /* id and version: those of the manifest */
    TEXT("fewbit"),
    TEXT(PLUGIN_VERSION),
    TEXT("plain C99"),
    init,
    deinit,
    NULL, /* get_extension: no optional family */
    device_count,
    device_open,
    device_close,
    capabilities,
    supports,
    compile,
    NULL, /* blob_save, blob_load, blob_check: compiling takes no time here */
    NULL,
    NULL,
    executable_free,
    context_new,
    run,
    context_free,
    footprint};

FEWBIT_EXPORT const fewbit_plugin *fewbit_plugin_query(uint32_t host_major, uint32_t host_minor) {
  (void)host_minor; /* what we have beyond the host's minor version it ignores */
  return host_major == FEWBIT_ABI_MAJOR ? &TABLE : NULL;
}
