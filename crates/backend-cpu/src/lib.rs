//! The CPU backend: lowers a program onto the microkernels and runs it.
