//! Live bytes between cloud and device.
