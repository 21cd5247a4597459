//! Admin listener: metrics and health.
