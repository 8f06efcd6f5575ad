# What every backend shows, whatever it computes.
profile  core
suite    1
summary  the life of objects, robustness, threads: what every backend shows
must     lifecycle/**
must     robust/**
must     concurrency/**
may      speed/**
