//! What the relay knows of each device.
