# Networks in single precision.
profile  float32
suite    1
summary  float operators within bounds of units in the last place or mean squares
include  core
must     op_float/conv/**
must     op_float/gemm/**
must     op_float/matmul/**
must     op_float/add/**
must     op_float/mul/**
must     op_float/relu/**
must     op_float/maxpool/**
may      op_float/**
may      model/*/float/**
