// The device, its executables and their contexts. plugin.hpp makes the table of
// functions of them, owns what crosses the boundary, and lets no exception out.
#include "sample.hpp"

namespace {

[[noreturn]] void invalid(uint32_t why, const std::string &message) {
  throw fewbit::refusal(FEWBIT_INVALID_ARGUMENT, why, message);
}

// What contexts share; it never changes after compile.
struct compiled {
  std::vector<value> values;
  std::vector<step> steps;
  std::vector<uint32_t> inputs, outputs;
  std::vector<std::vector<char>> constants;  // of each value; empty where it is none
};

// A tensor of the host against the value it stands for.
void check(const fewbit_tensor *tensor, const value &v, uint32_t index) {
  const std::string name = "value " + std::to_string(index);
  if (tensor == nullptr || !FEWBIT_KNOWS(fewbit_tensor, tensor, memory) || tensor->value != index)
    invalid(0, name + ": the tensor is not whole, or stands for another value");
  if (!v.fixed || v.element_bytes == 0) return;  // an input that no step reads
  if (tensor->memory != 0)
    throw fewbit::refusal(FEWBIT_UNSUPPORTED, FEWBIT_WHY_MEMORY, name + ": expected the host's memory");
  if (tensor->rank != v.dims.size() || (tensor->rank > 0 && tensor->dims == nullptr))
    invalid(FEWBIT_WHY_RANK, name + ": another number of dimensions");
  int64_t dense = static_cast<int64_t>(v.element_bytes);
  if (v.bytes() > 0 && reinterpret_cast<uintptr_t>(tensor->data) % v.element_bytes != 0)
    throw fewbit::refusal(FEWBIT_UNSUPPORTED, FEWBIT_WHY_ALIGNMENT, name + " lies at an odd address");
  for (size_t i = v.dims.size(); i-- > 0;) {
    if (tensor->dims[i] != v.dims[i]) invalid(FEWBIT_WHY_SHAPE, name + ": other extents");
    if (tensor->byte_strides != nullptr && v.bytes() > 0 && v.dims[i] > 1 &&
        tensor->byte_strides[i] != dense)
      throw fewbit::refusal(FEWBIT_UNSUPPORTED, FEWBIT_WHY_ALIGNMENT, name + " is not dense");
    if (v.bytes() > 0) dense *= v.dims[i];
  }
  if (tensor->byte_len < v.bytes() || (tensor->data == nullptr && v.bytes() > 0))
    invalid(FEWBIT_WHY_SHAPE, name + ": expected " + std::to_string(v.bytes()) + " bytes, found " +
                                  std::to_string(tensor->byte_len));
}

class context : public fewbit::context {
 public:
  explicit context(std::shared_ptr<const compiled> program)
      : program_(std::move(program)), buffers_(program_->values.size()) {
    for (const step &s : program_->steps) buffers_[s.output].resize(program_->values[s.output].bytes());
  }

  void run(const fewbit_tensor *const *in, uint32_t n_in, fewbit_tensor *const *out,
           uint32_t n_out) override {
    const compiled &p = *program_;
    if (n_in != p.inputs.size() || n_out != p.outputs.size() || (in == nullptr && n_in > 0) ||
        (out == nullptr && n_out > 0))
      invalid(0, "expected as many tensors as the program has inputs and outputs");
    for (uint32_t i = 0; i < n_in; i++) check(in[i], p.values[p.inputs[i]], p.inputs[i]);
    for (uint32_t i = 0; i < n_out; i++) check(out[i], p.values[p.outputs[i]], p.outputs[i]);
    std::vector<const void *> places(p.values.size());
    for (size_t i = 0; i < places.size(); i++)
      places[i] = p.values[i].constant ? p.constants[i].data() : buffers_[i].data();
    for (uint32_t i = 0; i < n_in; i++) places[p.inputs[i]] = in[i]->data;
    for (const step &s : p.steps) {
      std::vector<const void *> operands;
      for (uint32_t index : s.inputs) operands.push_back(places[index]);
      run_step(s, operands.data(), buffers_[s.output].data(), p.values[s.output].elements());
    }
    for (uint32_t i = 0; i < n_out; i++) {
      const size_t bytes = p.values[p.outputs[i]].bytes();
      if (bytes > 0) std::memcpy(out[i]->data, places[p.outputs[i]], bytes);
    }
  }

 private:
  std::shared_ptr<const compiled> program_;
  std::vector<std::vector<char>> buffers_;  // of each value that a step writes
};

class executable : public fewbit::executable {
 public:
  explicit executable(std::shared_ptr<const compiled> program) : program_(std::move(program)) {}

  std::unique_ptr<fewbit::context> new_context() override {
    return std::unique_ptr<fewbit::context>(new context(program_));
  }

 private:
  std::shared_ptr<const compiled> program_;
};

class device : public fewbit::device {
 public:
  std::string capabilities() override { return CAPABILITIES; }

  void supports(const fewbit_program &program, fewbit_verdict *per_node) override {
    const std::vector<value> values = read_values(program);
    for (uint32_t i = 0; i < program.n_nodes; i++) {
      per_node[i] = fewbit_verdict{1, 0};
      try {
        step_of(program, values, i);
      } catch (const fewbit::refusal &refused) {
        per_node[i] = fewbit_verdict{0, refused.why};
      }
    }
  }

  std::unique_ptr<fewbit::executable> compile(const fewbit_program &program) override {
    std::shared_ptr<compiled> result(new compiled);
    result->values = read_values(program);
    for (uint32_t i = 0; i < program.n_nodes; i++)
      result->steps.push_back(step_of(program, result->values, i));
    result->inputs.assign(program.inputs, program.inputs + program.n_inputs);
    result->outputs.assign(program.outputs, program.outputs + program.n_outputs);
    for (uint32_t index : result->outputs) {
      const value &v = result->values[index];
      if (!v.fixed || v.element_bytes == 0)
        throw fewbit::refusal(FEWBIT_UNSUPPORTED, FEWBIT_WHY_SHAPE,
                              "an output has a type or extents that are not supported");
    }
    // The host's constants are gone when this returns.
    result->constants.resize(result->values.size());
    for (size_t i = 0; i < result->values.size(); i++) {
      value &v = result->values[i];
      const char *data = static_cast<const char *>(v.data);
      if (v.constant && v.fixed && v.bytes() > 0) result->constants[i].assign(data, data + v.bytes());
      v.data = nullptr;
    }
    return std::unique_ptr<fewbit::executable>(new executable(result));
  }
};

struct sample {
  // A plugin that logs keeps `host`, and touches a field only after FEWBIT_HAS.
  static void init(const fewbit_host *) {}
  static uint32_t device_count() { return 1; }
  static std::unique_ptr<fewbit::device> open(uint32_t) {
    return std::unique_ptr<fewbit::device>(new device);
  }
};

}  // namespace

FEWBIT_PLUGIN(sample, "org.fewbit.sample-cpp", "fewbit", PLUGIN_VERSION, "plain C++11")
