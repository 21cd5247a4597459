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

/// Variable-length integers: seven bits a byte, least significant first.
pub(crate) mod varint {
    /// Appends a number.
    pub(crate) fn put(out: &mut Vec<u8>, mut value: u64) {
        while value >= 0x80 {
            out.push(value as u8 | 0x80);
            value >>= 7;
        }
        out.push(value as u8);
    }

    /// Takes a number from the front; `None` when it is cut off or too long.
    pub(crate) fn take(bytes: &mut &[u8]) -> Option<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *bytes.split_off_first()?;
            value |= u64::from(byte & 0x7f).checked_shl(shift)?;
            if byte & 0x80 == 0 {
                return (shift < 63 || byte <= 1).then_some(value);
            }
        }
        None
    }
}
