/* The capability document: what the planner believes, and what the conformance
 * kit makes this plugin prove. Every key is explained in capability.md.
 *
 * Three things keep it honest:
 *  - a limit that is left out does not limit: name every one that operators.c has;
 *  - conversions (Quantize, Dequantize, Requantize) are never named, they come
 *    with the precision;
 *  - it is a constant, so it is the same at every call.
 */
#include "sample.h"

#define SOURCE "\"source\": \"operators.c\""
#define ACTIVATIONS "\"activations\": {\"dtypes\": [\"u8\", \"i8\"], \"symmetry\": \"affine\"}"
#define WEIGHTS                                                             \
  "\"weights\": {\"dtypes\": [\"i8\"], \"granularities\": [\"per-channel\"," \
  " \"per-tensor\"], \"symmetry\": \"symmetric\"}"

const char CAPABILITY_DOCUMENT[] =
    "{\"schema\": 1,"
    " \"name\": \"sample-c\","
    " \"title\": \"Sample plugin in C\","
    " \"vendor\": \"fewbit\","
    " \"summary\": \"A plugin to learn from: plain C loops on this machine's processor.\","
    " \"artifact\": {\"format\": \"onnx-qdq\", \"source\": \"it runs what the host compiles\"},"
    " \"processors\": [{"
    "  \"id\": \"sample-c\","
    "  \"kind\": \"cpu\","
    "  \"numerics\": \"exact\","
    "  \"rounding\": \"half-to-even\","
    "  \"saturates_intermediate\": false,"
    "  \"accumulator\": \"i32\","
    "  " ACTIVATIONS ","
    "  \"layouts\": [\"nchw\"],"
    "  \"dynamic_shapes\": false,"
    "  \"single_partition\": false,"
    "  \"rate_unknown\": [\"w8a8\"],"
    "  " SOURCE ","
    "  \"rules\": ["
    "   {\"id\": \"sample-c-conv-int8\", \"ops\": [\"Conv\"], \"precisions\": [\"w8a8\"],"
    "    \"support\": \"native\", " ACTIVATIONS ", " WEIGHTS ", \"float_output\": true,"
    "    \"limits\": {\"rank\": [4], \"constant_weights\": true}, " SOURCE "},"
    "   {\"id\": \"sample-c-product-int8\", \"ops\": [\"Gemm\", \"MatMul\"],"
    "    \"precisions\": [\"w8a8\"], \"support\": \"native\", " ACTIVATIONS ", " WEIGHTS ","
    "    \"float_output\": true,"
    "    \"limits\": {\"rank_max\": 8, \"constant_weights\": true}, " SOURCE "},"
    "   {\"id\": \"sample-c-element-int8\", \"ops\": [\"Add\", \"@table\"],"
    "    \"precisions\": [\"w8a8\"], \"support\": \"native\", " ACTIVATIONS ","
    "    \"limits\": {\"rank_max\": 8}, " SOURCE "},"
    "   {\"id\": \"sample-c-move-int8\", \"ops\": [\"Identity\", \"Flatten\"],"
    "    \"precisions\": [\"w8a8\"], \"support\": \"native\", " ACTIVATIONS ","
    "    \"limits\": {\"rank_max\": 8}, " SOURCE "},"
    "   {\"id\": \"sample-c-reshape-int8\", \"ops\": [\"Reshape\"],"
    "    \"precisions\": [\"w8a8\"], \"support\": \"native\", " ACTIVATIONS ","
    "    \"limits\": {\"rank_max\": 8, \"constant_inputs\": [1]}, " SOURCE "},"
    "   {\"id\": \"sample-c-float\", \"ops\": [\"Relu\", \"Identity\", \"Flatten\"],"
    "    \"precisions\": [\"f32\"], \"support\": \"native\","
    "    \"limits\": {\"rank_max\": 8, \"element_types\": [\"f32\"]}, " SOURCE "},"
    "   {\"id\": \"sample-c-reshape-float\", \"ops\": [\"Reshape\"],"
    "    \"precisions\": [\"f32\"], \"support\": \"native\","
    "    \"limits\": {\"rank_max\": 8, \"constant_inputs\": [1], \"element_types\": [\"f32\"]},"
    "    " SOURCE "}"
    "  ]}]}";

const size_t CAPABILITY_DOCUMENT_LENGTH = sizeof CAPABILITY_DOCUMENT - 1;
