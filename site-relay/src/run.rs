//! Builds the parts of the relay and joins them.
