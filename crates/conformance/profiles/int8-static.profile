# Networks of 8-bit weights and activations with fixed scales: what convolutional and fully connected models need.
profile  int8-static
suite    1
summary  8-bit convolutions, products, sums and conversions, to the bit
numerics exact off-by-one
include  core
must     op_int/conv/pointwise/**
must     op_int/conv/k3/**
must     op_int/conv/pads/**
must     op_int/conv/zero/**
must     op_int/conv/ties/**
must     op_int/conv/saturate/**
must     op_int/conv/nobias/**
must     op_int/matmul/matrix/**
must     op_int/matmul/ties/**
must     op_int/matmul/zero/**
must     op_int/add/same/**
must     op_int/add/pairs/**
must     op_int/add/zero/**
must     op_int/relu/**
must     op_int/quantize/**
must     op_int/dequantize/**
must     op_int/requantize/**
may      op_int/**
must     model/plain/int8/**
must     model/residual/int8/**
must     model/perceptron/int8/**
may      model/*/int8/**
# What it computes in float beside its codes must be right too.
may      op_float/**
