//! CPU microkernels over slices: int8, f32, bf16, each tier behind a feature check.
