// Which nodes are supported, and how each becomes a step. What is not known is
// refused with a reason, never ignored.
#include <cmath>

#include "sample.hpp"

namespace {

class query {
 public:
  query(const fewbit_program &program, const std::vector<value> &values, uint32_t index)
      : node_(*program.nodes[index]), values_(values), index_(index) {}

  step build() {
    if (node_.op_version != 1) no(FEWBIT_WHY_OP, "expected operators of version 1");
    if (is("", "MatMul")) return matmul();
    if (is("", "Add")) return add();
    if (is("", "Relu")) return one(op::relu, type::f32, type::f32);
    if (is("fewbit", "Table")) return table();
    if (is("fewbit", "Quantize")) return one(op::quantize, type::f32, type::u8);
    if (is("fewbit", "Dequantize")) return one(op::dequantize, type::u8, type::f32);
    if (is("fewbit", "Requantize")) return one(op::requantize, type::u8, type::u8);
    no(FEWBIT_WHY_OP, "operator `" + std::string(node_.op_type.ptr, node_.op_type.len) + "` is not known");
  }

 private:
  [[noreturn]] void no(uint32_t why, const std::string &message) const {
    throw fewbit::refusal(FEWBIT_UNSUPPORTED, why, message, index_);
  }

  bool is(const char *domain, const char *name) const {
    return fewbit::equal(node_.domain, domain) && fewbit::equal(node_.op_type, name);
  }

  // Exactly n inputs and one output of known extents.
  step operands(uint32_t n) const {
    step s;
    if (node_.n_inputs != n || node_.n_outputs != 1)
      no(FEWBIT_WHY_OP, "expected " + std::to_string(n) + " inputs and one output");
    for (uint32_t i = 0; i < n; i++) {
      if (node_.inputs[i] == FEWBIT_ABSENT) no(FEWBIT_WHY_OP, "expected all inputs");
      s.inputs.push_back(node_.inputs[i]);
    }
    s.output = node_.outputs[0];
    for (uint32_t i : s.inputs)
      if (!values_[i].fixed) no(FEWBIT_WHY_SHAPE, "expected fixed extents");
    if (!values_[s.output].fixed) no(FEWBIT_WHY_SHAPE, "expected fixed extents");
    return s;
  }

  // No attribute but these; `precision` may be there where it says what the
  // types say already.
  void only(std::initializer_list<const char *> names) const {
    for (uint32_t i = 0; i < node_.n_attrs; i++) {
      const fewbit_attr &attr = *node_.attrs[i];
      const fewbit_str text = {static_cast<const char *>(attr.items), attr.n_items};
      bool known = fewbit::equal(attr.name, "precision") && attr.kind == FEWBIT_A_STR &&
                   (fewbit::equal(text, "w8a8") || fewbit::equal(text, "f32"));
      for (const char *name : names) known = known || fewbit::equal(attr.name, name);
      if (!known)
        no(FEWBIT_WHY_ATTRIBUTE,
           "attribute `" + std::string(attr.name.ptr, attr.name.len) + "` is not known");
    }
  }

  float real(const char *name) const {
    for (uint32_t i = 0; i < node_.n_attrs; i++) {
      const fewbit_attr &attr = *node_.attrs[i];
      if (fewbit::equal(attr.name, name) && attr.kind == FEWBIT_A_FLOAT)
        return static_cast<float>(*static_cast<const double *>(attr.items));
    }
    no(FEWBIT_WHY_ATTRIBUTE, std::string("expected attribute `") + name + "` as a real number");
  }

  // An activation of 8 bits: one scale, any zero point.
  codes eight_bits(uint32_t index) const {
    const value &v = values_[index];
    codes c;
    if (v.kind != type::u8 && v.kind != type::i8) no(FEWBIT_WHY_DTYPE, "expected u8 or i8");
    if (!v.quantized || !v.scales_are_sound) no(FEWBIT_WHY_SCHEME, "expected scales");
    if (v.granularity != FEWBIT_G_TENSOR || v.scales.size() != 1)
      no(FEWBIT_WHY_GRANULARITY, "expected one scale for the tensor");
    c.is_signed = v.kind == type::i8;
    c.scale = v.scales[0];
    c.zero_point = v.zero_points.empty() ? 0 : v.zero_points[0];
    if (c.zero_point < c.lowest() || c.zero_point > c.highest())
      no(FEWBIT_WHY_SCHEME, "the zero point is no code");
    return c;
  }

  bool is_real(uint32_t index) const {
    return values_[index].kind == type::f32 && !values_[index].quantized;
  }

  void reals(uint32_t index) const {
    if (!is_real(index)) no(FEWBIT_WHY_DTYPE, "expected f32");
  }

  step one(op kind, type from, type to) const {
    step s = operands(1);
    only({});
    s.kind = kind;
    if (from == type::f32) reals(s.inputs[0]);
    else s.x = eight_bits(s.inputs[0]);
    if (to == type::f32) reals(s.output);
    else s.y = eight_bits(s.output);
    same_extents(s);
    return s;
  }

  void same_extents(const step &s) const {
    if (values_[s.inputs[0]].dims != values_[s.output].dims)
      no(FEWBIT_WHY_SHAPE, "expected an output of the input's extents");
  }

  step table() const {
    step s = operands(2);
    only({"function"});  // whatever it is: the table has its values
    s.kind = op::table;
    s.x = eight_bits(s.inputs[0]);
    s.y = eight_bits(s.output);
    same_extents(s);
    const value &entries = values_[s.inputs[1]];
    if (entries.kind != values_[s.output].kind || !entries.constant || entries.elements() != 256)
      no(FEWBIT_WHY_SHAPE, "expected a constant table of 256 codes of the output");
    return s;
  }

  step add() const {
    step s = operands(2);
    only({"clamp_min", "clamp_max"});
    s.real_low = real("clamp_min");
    s.real_high = real("clamp_max");
    if (!(s.real_low <= s.real_high)) no(FEWBIT_WHY_ATTRIBUTE, "clamp_min is above clamp_max");
    if (is_real(s.inputs[0])) {
      s.kind = op::add_f32;
      reals(s.inputs[1]);
      reals(s.output);
    } else {
      s.kind = op::add;
      s.x = eight_bits(s.inputs[0]);
      s.w = eight_bits(s.inputs[1]);
      s.y = eight_bits(s.output);
      // Infinite bounds leave all codes of the type.
      const int32_t low = s.y.lowest(), high = s.y.highest();
      s.low = std::isinf(s.real_low) ? low : quantize_code(s.real_low, s.y, low, high);
      s.high = std::isinf(s.real_high) ? high : quantize_code(s.real_high, s.y, low, high);
    }
    const std::vector<int64_t> &to = values_[s.output].dims;
    s.dims.assign(to.begin(), to.end());
    for (int side = 0; side < 2; side++) {
      const std::vector<int64_t> &from = values_[s.inputs[side]].dims;
      size_t apart = 1;
      if (from.size() > to.size()) no(FEWBIT_WHY_SHAPE, "an input does not broadcast to the output");
      s.steps[side].assign(to.size(), 0);
      for (size_t i = from.size(); i-- > 0;) {
        const size_t axis = to.size() - from.size() + i;
        if (from[i] != 1 && from[i] != to[axis])
          no(FEWBIT_WHY_SHAPE, "an input does not broadcast to the output");
        if (from[i] != 1) s.steps[side][axis] = apart;
        apart *= static_cast<size_t>(from[i]);
      }
    }
    return s;
  }

  step matmul() const {
    step s = operands(2);
    only({});
    const value &x = values_[s.inputs[0]], &w = values_[s.inputs[1]], &y = values_[s.output];
    // A vector on the right is one column, and no axis of the output.
    if (x.dims.size() != 2 || w.dims.size() < 1 || w.dims.size() > 2)
      no(FEWBIT_WHY_RANK, "expected matrices");
    std::vector<int64_t> expected(1, x.dims[0]);
    if (w.dims.size() == 2) expected.push_back(w.dims[1]);
    if (x.dims[1] != w.dims[0] || y.dims != expected)
      no(FEWBIT_WHY_SHAPE, "the extents of the product do not fit together");
    s.k = static_cast<size_t>(x.dims[1]);
    s.n = w.dims.size() == 2 ? static_cast<size_t>(w.dims[1]) : 1;
    if (is_real(s.inputs[0])) {
      s.kind = op::matmul_f32;
      reals(s.inputs[1]);
      reals(s.output);
      return s;
    }
    s.kind = op::matmul;
    s.x = eight_bits(s.inputs[0]);
    s.to_float = is_real(s.output);
    if (!s.to_float) s.y = eight_bits(s.output);
    if (w.kind != type::i8) no(FEWBIT_WHY_DTYPE, "weights: expected i8");
    if (!w.constant) no(FEWBIT_WHY_OP, "weights: expected a constant");
    if (!w.quantized || !w.scales_are_sound) no(FEWBIT_WHY_SCHEME, "weights: expected scales");
    for (int32_t zero : w.zero_points)
      if (zero != 0) no(FEWBIT_WHY_SCHEME, "weights: expected no zero point");
    const bool per_column = w.granularity == FEWBIT_G_CHANNEL && w.dims.size() == 2 && w.axis == 1 &&
                            w.scales.size() == s.n;
    if (!per_column && (w.granularity != FEWBIT_G_TENSOR || w.scales.size() != 1))
      no(FEWBIT_WHY_GRANULARITY, "weights: expected scales per column");
    for (size_t column = 0; column < s.n; column++) {
      const float product = s.x.scale * w.scales[per_column ? column : 0];
      s.multipliers.push_back(s.to_float ? product : product / s.y.scale);
    }
    return s;
  }

  const fewbit_node &node_;
  const std::vector<value> &values_;
  uint32_t index_;
};

}  // namespace

step step_of(const fewbit_program &program, const std::vector<value> &values, uint32_t node) {
  return query(program, values, node).build();
}
