//! Delivery of commands from the inbox to devices.
