// What the files of this plugin share. Read plugin.cpp first.
//
//   plugin.cpp      the device, executables and contexts behind plugin.hpp
//   capability.cpp  the capability document
//   program.cpp     reads a program: checks pointers, indices, lengths
//   operators.cpp   which nodes are supported, and how each becomes a step
//   kernels.cpp     the arithmetic
#ifndef SAMPLE_HPP
#define SAMPLE_HPP

#include <cstdint>
#include <string>
#include <vector>

#include <fewbit/plugin.hpp>

extern const char *const CAPABILITIES;

// The types that this plugin computes with.
enum class type { u8, i8, f32, other };

// A value of the program: a copy of all that outlives the host's structs,
// except constants, which `data` points to until compile returns.
struct value {
  type kind = type::other;
  size_t element_bytes = 0;        // 0: elements share bytes
  std::vector<int64_t> dims;       // all known where `fixed`
  bool fixed = true;
  bool quantized = false;
  bool scales_are_sound = true;    // positive, finite, of a known scheme
  uint8_t granularity = FEWBIT_G_TENSOR;
  int32_t axis = 0;
  std::vector<float> scales;
  std::vector<int32_t> zero_points;
  bool constant = false;
  const void *data = nullptr;

  size_t elements() const;
  size_t bytes() const { return elements() * element_bytes; }
};

// 8-bit codes: real = scale * (code - zero_point).
struct codes {
  bool is_signed = false;
  float scale = 1;
  int32_t zero_point = 0;

  int32_t lowest() const { return is_signed ? -128 : 0; }
  int32_t highest() const { return is_signed ? 127 : 255; }
};

enum class op { matmul, matmul_f32, add, add_f32, table, relu, quantize, dequantize, requantize };

// A node with everything that can be known before a run.
struct step {
  op kind = op::relu;
  std::vector<uint32_t> inputs;
  uint32_t output = 0;
  codes x, w, y;  // of the inputs and the output, where they hold codes
  bool to_float = false;
  size_t k = 0, n = 0;                  // MatMul: inner extent, columns
  std::vector<float> multipliers;       // MatMul: one per column
  std::vector<size_t> dims;             // Add: extents of the output,
  std::vector<size_t> steps[2];         // and how far apart each side's elements are
  int32_t low = 0, high = 0;            // Add: the clamp, as codes
  float real_low = 0, real_high = 0;    // and as real numbers
};

// program.cpp: throws fewbit::refusal where the host breaks a rule.
std::vector<value> read_values(const fewbit_program &program);

// operators.cpp: the step of a node; throws fewbit::refusal where it is not
// supported. It answers `supports` and `compile`, so they cannot disagree.
step step_of(const fewbit_program &program, const std::vector<value> &values, uint32_t node);

// kernels.cpp
int32_t quantize_code(float real, const codes &to, int32_t low, int32_t high);
void run_step(const step &step, const void *const *inputs, void *output, size_t elements);

#endif
