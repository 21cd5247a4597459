//! The gateway, met by a relay that speaks the real protocol.
