//! Presence and checks of devices.
