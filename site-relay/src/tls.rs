//! TLS for the relay's listeners.
