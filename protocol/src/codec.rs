//! CBOR in and out, with a limit on every read.
//!
//! Structures travel with named fields; readers ignore unknown fields and
//! default the missing ones, so that two versions can talk.

use crate::ProtocolError;
use serde::{Serialize, de::DeserializeOwned};

/// Largest message on any wire, in bytes. libp2p's request-response codec
/// fails opaquely above 1 MiB, so everything stays well under.
pub const MAX_MESSAGE: usize = 512 * 1024;

/// Encodes a value as CBOR.
///
/// # Errors
/// [`ProtocolError::Malformed`] when the value has no CBOR form, which for the
/// types of this crate means that memory ran out.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, ProtocolError> {
    cbor4ii::serde::to_vec(Vec::with_capacity(128), value)
        .map_err(|e| ProtocolError::Malformed(e.to_string()))
}

/// Decodes CBOR of at most [`MAX_MESSAGE`] bytes.
///
/// # Errors
/// [`ProtocolError::TooLarge`] or [`ProtocolError::Malformed`].
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, ProtocolError> {
    decode_within(bytes, MAX_MESSAGE)
}

/// Decodes CBOR of at most `limit` bytes.
///
/// # Errors
/// [`ProtocolError::TooLarge`] or [`ProtocolError::Malformed`].
pub fn decode_within<T: DeserializeOwned>(bytes: &[u8], limit: usize) -> Result<T, ProtocolError> {
    if bytes.len() > limit {
        return Err(ProtocolError::TooLarge { actual: bytes.len(), limit });
    }
    cbor4ii::serde::from_slice(bytes).map_err(|e| ProtocolError::Malformed(e.to_string()))
}
