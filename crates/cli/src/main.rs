//! The program fewbit.

fn main() {}
