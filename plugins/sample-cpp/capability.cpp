// The capability document: what the planner believes, and what the conformance
// kit makes this plugin prove. Every limit of operators.cpp is named here.
#include "sample.hpp"

const char *const CAPABILITIES = R"json({
  "schema": 1,
  "name": "sample-cpp",
  "title": "Sample plugin in C++",
  "vendor": "fewbit",
  "summary": "A plugin to learn from: plain C++ loops on this machine's processor.",
  "artifact": { "format": "onnx-qdq", "source": "it runs what the host compiles" },
  "processors": [
    {
      "id": "sample-cpp",
      "kind": "cpu",
      "numerics": "exact",
      "rounding": "half-to-even",
      "saturates_intermediate": false,
      "accumulator": "i32",
      "activations": { "dtypes": ["u8", "i8"], "symmetry": "affine" },
      "layouts": ["nchw"],
      "dynamic_shapes": false,
      "single_partition": false,
      "rate_unknown": ["w8a8", "f32"],
      "source": "operators.cpp",
      "rules": [
        {
          "id": "sample-cpp-matmul-int8",
          "ops": ["MatMul"],
          "precisions": ["w8a8"],
          "support": "native",
          "activations": { "dtypes": ["u8", "i8"], "symmetry": "affine" },
          "weights": { "dtypes": ["i8"], "granularities": ["per-channel", "per-tensor"], "symmetry": "symmetric" },
          "float_output": true,
          "limits": { "rank": [2], "rank_max": 2, "constant_weights": true },
          "source": "operators.cpp"
        },
        {
          "id": "sample-cpp-element-int8",
          "ops": ["Add", "@table"],
          "precisions": ["w8a8"],
          "support": "native",
          "activations": { "dtypes": ["u8", "i8"], "symmetry": "affine" },
          "source": "operators.cpp"
        },
        {
          "id": "sample-cpp-matmul-float",
          "ops": ["MatMul"],
          "precisions": ["f32"],
          "support": "native",
          "limits": { "rank": [2], "rank_max": 2, "element_types": ["f32"] },
          "source": "operators.cpp"
        },
        {
          "id": "sample-cpp-element-float",
          "ops": ["Add", "Relu"],
          "precisions": ["f32"],
          "support": "native",
          "limits": { "element_types": ["f32"] },
          "source": "operators.cpp"
        }
      ]
    }
  ]
}
)json";
