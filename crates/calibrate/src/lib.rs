//! Datasets, streaming observers, ranges, sensitivity and the calibration doctor.
