// Reads a program. What comes from the host is checked once, here.
#include "sample.hpp"

#include <cmath>

namespace {

[[noreturn]] void invalid(const std::string &message, uint32_t why = 0) {
  throw fewbit::refusal(FEWBIT_INVALID_ARGUMENT, why, message);
}

// Lists may be null where they are empty.
void list(const void *pointer, size_t n, const char *what) {
  if (pointer == nullptr && n > 0) invalid(std::string(what) + ": expected a list, found NULL");
}

value read_value(const fewbit_value *raw) {
  // A newer host's structs are longer; the fields up to `data` were there from
  // the start.
  if (raw == nullptr || !FEWBIT_KNOWS(fewbit_value, raw, data)) invalid("a value is not whole");
  list(raw->dims, raw->rank, "dims");
  list(raw->name.ptr, raw->name.len, "name");
  value v;
  const uint32_t known = FEWBIT_V_INPUT | FEWBIT_V_OUTPUT | FEWBIT_V_CONST | FEWBIT_V_PACKED;
  const bool plain = raw->dtype.lanes == 1 && (raw->flags & FEWBIT_V_PACKED) == 0;
  if ((raw->flags & ~known) != 0)
    throw fewbit::refusal(FEWBIT_UNSUPPORTED, FEWBIT_WHY_DTYPE, "a value has unknown flags");
  if (plain) v.element_bytes = raw->dtype.bits / 8;
  if (plain && raw->dtype.code == FEWBIT_UINT && raw->dtype.bits == 8) v.kind = type::u8;
  if (plain && raw->dtype.code == FEWBIT_INT && raw->dtype.bits == 8) v.kind = type::i8;
  if (plain && raw->dtype.code == FEWBIT_FLOAT && raw->dtype.bits == 32) v.kind = type::f32;
  v.dims.assign(raw->dims, raw->dims + raw->rank);
  double size = static_cast<double>(v.element_bytes);
  for (int64_t dim : v.dims) {
    if (dim < -1) invalid("an extent is negative", FEWBIT_WHY_SHAPE);
    if (dim == -1) v.fixed = false;
    size *= static_cast<double>(dim > 0 ? dim : 1);
  }
  // Far below what an index can count: products of extents cannot overflow.
  if (size > 1e15) v.fixed = false;
  if (raw->quant != nullptr) {
    const fewbit_quant &q = *raw->quant;
    if (!FEWBIT_KNOWS(fewbit_quant, &q, zero_points)) invalid("scales are not whole");
    list(q.scales, q.count, "scales");
    v.quantized = true;
    v.granularity = q.granularity;
    v.axis = q.axis;
    v.scales.assign(q.scales, q.scales + q.count);
    if (q.zero_points != nullptr) v.zero_points.assign(q.zero_points, q.zero_points + q.count);
    v.scales_are_sound = q.scheme == FEWBIT_Q_AFFINE || q.scheme == FEWBIT_Q_SYMMETRIC;
    for (float scale : v.scales)
      v.scales_are_sound = v.scales_are_sound && scale > 0 && std::isfinite(scale);
  }
  if ((raw->flags & FEWBIT_V_CONST) != 0) {
    list(raw->data.ptr, raw->data.len, "data");
    if (v.element_bytes > 0 && v.fixed && raw->data.len != v.bytes())
      invalid("a constant has another length than its extents say", FEWBIT_WHY_SHAPE);
    v.constant = true;
    v.data = raw->data.ptr;
  }
  return v;
}

void produce(std::vector<bool> &known, uint32_t index) {
  if (index >= known.size() || known[index]) invalid("a value has two producers, or is none");
  known[index] = true;
}

void need(const std::vector<bool> &known, uint32_t index) {
  if (index >= known.size() || !known[index]) invalid("a value is read before it is there");
}

}  // namespace

size_t value::elements() const {
  size_t product = 1;
  for (int64_t dim : dims) product *= dim < 0 ? 0 : static_cast<size_t>(dim);
  return product;
}

std::vector<value> read_values(const fewbit_program &program) {
  if (!FEWBIT_KNOWS(fewbit_program, &program, n_options)) invalid("the program is not whole");
  if (program.ir_version != 1)
    throw fewbit::refusal(FEWBIT_UNSUPPORTED, FEWBIT_WHY_OP, "expected a program of version 1");
  list(program.values, program.n_values, "values");
  list(program.nodes, program.n_nodes, "nodes");
  list(program.inputs, program.n_inputs, "inputs");
  list(program.outputs, program.n_outputs, "outputs");
  std::vector<value> values;
  std::vector<bool> known;
  for (uint32_t i = 0; i < program.n_values; i++) {
    values.push_back(read_value(program.values[i]));
    known.push_back(values.back().constant);
  }
  for (uint32_t i = 0; i < program.n_inputs; i++) produce(known, program.inputs[i]);
  for (uint32_t i = 0; i < program.n_nodes; i++) {
    const fewbit_node *node = program.nodes[i];
    if (node == nullptr || !FEWBIT_KNOWS(fewbit_node, node, n_attrs)) invalid("a node is not whole");
    list(node->domain.ptr, node->domain.len, "domain");
    list(node->op_type.ptr, node->op_type.len, "op_type");
    list(node->inputs, node->n_inputs, "inputs of a node");
    list(node->outputs, node->n_outputs, "outputs of a node");
    list(node->attrs, node->n_attrs, "attributes");
    for (uint32_t j = 0; j < node->n_attrs; j++) {
      const fewbit_attr *attr = node->attrs[j];
      if (attr == nullptr || !FEWBIT_KNOWS(fewbit_attr, attr, n_items))
        invalid("an attribute is not whole", FEWBIT_WHY_ATTRIBUTE);
      list(attr->name.ptr, attr->name.len, "name of an attribute");
      list(attr->items, attr->n_items, "items of an attribute");
      if ((attr->kind == FEWBIT_A_INT || attr->kind == FEWBIT_A_FLOAT) && attr->n_items != 1)
        invalid("an attribute has several items", FEWBIT_WHY_ATTRIBUTE);
    }
    for (uint32_t j = 0; j < node->n_inputs; j++)
      if (node->inputs[j] != FEWBIT_ABSENT) need(known, node->inputs[j]);
    for (uint32_t j = 0; j < node->n_outputs; j++) produce(known, node->outputs[j]);
  }
  for (uint32_t i = 0; i < program.n_outputs; i++) need(known, program.outputs[i]);
  return values;
}
