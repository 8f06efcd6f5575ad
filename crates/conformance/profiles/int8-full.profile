# Every operator that has an integer rule.
profile  int8-full
suite    1
summary  every 8-bit operator of the plugin ABI, to the bit
numerics exact
include  int8-static
must     op_int/**
