# What every backend shows, whatever it computes.
profile  core
suite    1
summary  the boundary, the life of its objects, honesty, robustness and threads
must     abi/**
must     lifecycle/**
must     capability/**
must     robust/**
must     concurrency/**
may      speed/**
