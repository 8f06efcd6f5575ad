/* Reads a program. What comes from the host is checked once, here: behind this
 * file nothing has to ask again whether a pointer is there or an index fits. */
#include "sample.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

int is_text(fewbit_str text, const char *literal) {
  return text.len == strlen(literal) && (text.len == 0 || memcmp(text.ptr, literal, text.len) == 0);
}

const fewbit_attr *attribute(const fewbit_node *node, const char *name) {
  uint32_t i;
  for (i = 0; i < node->n_attrs; i++) {
    if (is_text(node->attrs[i]->name, name)) return node->attrs[i];
  }
  return NULL;
}

/* A struct that is there up to the last field that we read. It may be longer (a
 * newer host); it is never shorter, for these fields were there from the start. */
#define WHOLE(pointer, T, last) ((pointer) != NULL && FEWBIT_KNOWS(T, pointer, last))
#define LIST(pointer, n) ((n) == 0 || (pointer) != NULL)

static int type_of(fewbit_dtype dtype, uint32_t flags, enum type *type, size_t *bytes) {
  *bytes = dtype.bits / 8; /* 0 where several elements share a byte */
  if (dtype.lanes != 1 || (flags & FEWBIT_V_PACKED) != 0) return 0;
  if (dtype.code == FEWBIT_UINT && dtype.bits == 8) *type = T_U8;
  else if (dtype.code == FEWBIT_INT && dtype.bits == 8) *type = T_I8;
  else if (dtype.code == FEWBIT_INT && dtype.bits == 32) *type = T_I32;
  else if (dtype.code == FEWBIT_FLOAT && dtype.bits == 32) *type = T_F32;
  else return 0;
  return 1;
}

static fewbit_status read_extents(const fewbit_value *raw, struct tensor *value,
                                  fewbit_error *error) {
  uint32_t i;
  int empty = 0;
  for (i = 0; i < raw->rank; i++) {
    if (raw->dims[i] < -1)
      return refuse(error, FEWBIT_INVALID_ARGUMENT, FEWBIT_WHY_SHAPE, FEWBIT_ABSENT,
                    "value `%.*s`: extent %lld", (int)raw->name.len, raw->name.ptr,
                    (long long)raw->dims[i]);
    if (raw->dims[i] == -1) value->trouble |= FEWBIT_WHY_SHAPE; /* dynamic_shapes = false */
    if (raw->dims[i] == 0) empty = 1;
  }
  if (raw->rank > MAX_RANK) {
    value->trouble |= FEWBIT_WHY_RANK;
    return FEWBIT_OK;
  }
  value->rank = raw->rank;
  value->elements = empty ? 0 : 1;
  for (i = 0; i < raw->rank; i++) {
    /* A third of the address space: sums of two such sizes cannot overflow. */
    size_t most = (size_t)PTRDIFF_MAX / 3 / (value->size + 1);
    value->dims[i] = raw->dims[i];
    if (raw->dims[i] > 0x7fffffff ||
        (raw->dims[i] > 0 && value->elements > most / (size_t)raw->dims[i])) {
      value->trouble |= FEWBIT_WHY_SHAPE;
      return FEWBIT_OK;
    }
    if (raw->dims[i] > 0) value->elements *= (size_t)raw->dims[i];
  }
  value->bytes = value->elements * value->size;
  return FEWBIT_OK;
}

/* Trouble with scales stops only the nodes that use them: a float operator may
 * stand in the same program. */
static fewbit_status read_quantization(const fewbit_value *raw, struct tensor *value,
                                       fewbit_error *error) {
  const fewbit_quant *quant = raw->quant;
  uint32_t i;
  if (quant == NULL) return FEWBIT_OK;
  if (!WHOLE(quant, fewbit_quant, zero_points) || !LIST(quant->scales, quant->count))
    return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, FEWBIT_ABSENT,
                  "value `%.*s`: broken quantization", (int)raw->name.len, raw->name.ptr);
  value->quantized = 1;
  value->scales = quant->scales;
  value->n_scales = quant->count;
  if (quant->scheme != FEWBIT_Q_AFFINE && quant->scheme != FEWBIT_Q_SYMMETRIC)
    value->trouble |= FEWBIT_WHY_SCHEME;
  if (quant->granularity == FEWBIT_G_CHANNEL && quant->axis >= 0 &&
      (uint32_t)quant->axis < value->rank &&
      (int64_t)quant->count == value->dims[quant->axis]) {
    value->per_channel = 1;
    value->axis = quant->axis;
  } else if (quant->granularity != FEWBIT_G_TENSOR || quant->count != 1) {
    value->trouble |= FEWBIT_WHY_GRANULARITY;
  }
  for (i = 0; i < quant->count; i++) {
    if (!(quant->scales[i] > 0) || isinf(quant->scales[i])) value->trouble |= FEWBIT_WHY_SCHEME;
  }
  value->scale = quant->count > 0 ? quant->scales[0] : 1;
  if (quant->zero_points != NULL) {
    value->zero_point = quant->count > 0 ? quant->zero_points[0] : 0;
    for (i = 0; i < quant->count; i++) {
      int32_t zero = quant->zero_points[i];
      int fits = value->type == T_U8   ? zero >= 0 && zero <= 255
                 : value->type == T_I8 ? zero >= -128 && zero <= 127
                                       : zero == 0;
      if (!fits || (value->per_channel && zero != 0)) value->trouble |= FEWBIT_WHY_SCHEME;
    }
  }
  return FEWBIT_OK;
}

static fewbit_status read_value(const fewbit_value *raw, struct tensor *value, fewbit_error *error) {
  const uint32_t known = FEWBIT_V_INPUT | FEWBIT_V_OUTPUT | FEWBIT_V_CONST | FEWBIT_V_PACKED;
  fewbit_status status;
  memset(value, 0, sizeof *value);
  if (!WHOLE(raw, fewbit_value, data) || !LIST(raw->dims, raw->rank) || !LIST(raw->name.ptr, raw->name.len))
    return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, FEWBIT_ABSENT, "a value is not whole");
  value->flags = raw->flags;
  if ((raw->flags & ~known) != 0 || !type_of(raw->dtype, raw->flags, &value->type, &value->size)) {
    value->type = T_OTHER;
    value->trouble |= FEWBIT_WHY_DTYPE;
  }
  status = read_extents(raw, value, error);
  if (status == FEWBIT_OK) status = read_quantization(raw, value, error);
  if (status != FEWBIT_OK) return status;
  if ((raw->flags & FEWBIT_V_CONST) != 0) {
    if (!LIST(raw->data.ptr, raw->data.len) ||
        (value->trouble == 0 && raw->data.len != value->bytes))
      return refuse(error, FEWBIT_INVALID_ARGUMENT, FEWBIT_WHY_SHAPE, FEWBIT_ABSENT,
                    "constant `%.*s`: expected %lu bytes, found %lu", (int)raw->name.len,
                    raw->name.ptr, (unsigned long)value->bytes, (unsigned long)raw->data.len);
    /* Not null where it is empty, so that `constant` also tells constants apart. */
    value->constant = raw->data.ptr != NULL ? raw->data.ptr : "";
  }
  return FEWBIT_OK;
}

/* Marks a value as produced; a value has one producer. */
static int produce(const fewbit_program *raw, unsigned char *known, uint32_t value) {
  if (value >= raw->n_values || known[value]) return 0;
  known[value] = 1;
  return 1;
}

static fewbit_status read_node(const fewbit_program *raw, uint32_t index, unsigned char *known,
                               fewbit_error *error) {
  const fewbit_node *node = raw->nodes[index];
  uint32_t i;
  if (!WHOLE(node, fewbit_node, n_attrs) || !LIST(node->inputs, node->n_inputs) ||
      !LIST(node->outputs, node->n_outputs) || !LIST(node->attrs, node->n_attrs) ||
      !LIST(node->op_type.ptr, node->op_type.len) || !LIST(node->domain.ptr, node->domain.len) ||
      !LIST(node->name.ptr, node->name.len))
    return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, index, "a node is not whole");
  for (i = 0; i < node->n_inputs; i++) {
    uint32_t input = node->inputs[i];
    if (input != FEWBIT_ABSENT && (input >= raw->n_values || !known[input]))
      return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, index,
                    "value %lu is read before it is there", (unsigned long)input);
  }
  for (i = 0; i < node->n_outputs; i++) {
    if (!produce(raw, known, node->outputs[i]))
      return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, index, "value %lu has two producers or none",
                    (unsigned long)node->outputs[i]);
  }
  for (i = 0; i < node->n_attrs; i++) {
    const fewbit_attr *attr = node->attrs[i];
    if (!WHOLE(attr, fewbit_attr, n_items) || !LIST(attr->items, attr->n_items) ||
        !LIST(attr->name.ptr, attr->name.len) ||
        ((attr->kind == FEWBIT_A_INT || attr->kind == FEWBIT_A_FLOAT) && attr->n_items != 1))
      return refuse(error, FEWBIT_INVALID_ARGUMENT, FEWBIT_WHY_ATTRIBUTE, index,
                    "attribute %lu is not whole", (unsigned long)i);
  }
  return FEWBIT_OK;
}

fewbit_status program_read(const fewbit_program *raw, struct program *program, fewbit_error *error) {
  unsigned char *known = NULL;
  fewbit_status status = FEWBIT_OK;
  uint32_t i;
  program->raw = raw;
  program->values = NULL;
  if (!WHOLE(raw, fewbit_program, n_options) || !LIST(raw->values, raw->n_values) ||
      !LIST(raw->nodes, raw->n_nodes) || !LIST(raw->inputs, raw->n_inputs) ||
      !LIST(raw->outputs, raw->n_outputs))
    return refuse(error, FEWBIT_INVALID_ARGUMENT, 0, FEWBIT_ABSENT, "the program is not whole");
  if (raw->ir_version != 1)
    return refuse(error, FEWBIT_UNSUPPORTED, FEWBIT_WHY_OP, FEWBIT_ABSENT,
                  "expected a program of version 1, found %lu", (unsigned long)raw->ir_version);
  program->values = calloc((size_t)raw->n_values + 1, sizeof *program->values);
  known = calloc((size_t)raw->n_values + 1, 1);
  if (program->values == NULL || known == NULL)
    status = refuse(error, FEWBIT_OUT_OF_MEMORY, FEWBIT_WHY_MEMORY, FEWBIT_ABSENT, "no memory");
  for (i = 0; status == FEWBIT_OK && i < raw->n_values; i++) {
    status = read_value(raw->values[i], &program->values[i], error);
    known[i] = program->values[i].constant != NULL;
  }
  for (i = 0; status == FEWBIT_OK && i < raw->n_inputs; i++) {
    if (!produce(raw, known, raw->inputs[i]))
      status = refuse(error, FEWBIT_INVALID_ARGUMENT, 0, FEWBIT_ABSENT, "input %lu is no value",
                      (unsigned long)i);
  }
  for (i = 0; status == FEWBIT_OK && i < raw->n_nodes; i++) status = read_node(raw, i, known, error);
  for (i = 0; status == FEWBIT_OK && i < raw->n_outputs; i++) {
    if (raw->outputs[i] >= raw->n_values || !known[raw->outputs[i]])
      status = refuse(error, FEWBIT_INVALID_ARGUMENT, 0, FEWBIT_ABSENT, "nothing produces output %lu",
                      (unsigned long)i);
  }
  free(known);
  if (status != FEWBIT_OK) program_free(program);
  return status;
}

void program_free(struct program *program) {
  free(program->values);
  program->values = NULL;
}
