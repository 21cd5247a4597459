//! One-minute rollups of samples.
