//! CBOR in and out, with a limit on every read.
//!
//! Structures travel with named fields; readers ignore unknown fields and
//! default the missing ones, so that two versions can talk.

use crate::ProtocolError;
use cbor4ii::{
    core::{dec::Read, utils::SliceReader},
    serde::Deserializer,
};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::BTreeMap;

/// Largest message on any wire, in bytes. libp2p's request-response codec
/// fails opaquely above 1 MiB, so everything stays well under.
pub const MAX_MESSAGE: usize = 512 * 1024;

/// Values (array, map and their entries, tags, numbers, texts) in one message at
/// most. A value costs its reader memory and time many times its bytes: four
/// million one-byte values would take seconds.
pub const MAX_VALUES: usize = 512 * 1024;

/// What the reading of messages may still cost, in bytes after decompression and
/// in values. It is spent before the cost arises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Budget {
    bytes: usize,
    values: usize,
    exhausted: bool,
}

impl Budget {
    /// A budget of so many bytes and values.
    #[must_use]
    pub const fn new(bytes: usize, values: usize) -> Self {
        Self { bytes, values, exhausted: false }
    }

    /// Bytes left.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Values left.
    #[must_use]
    pub fn values(&self) -> usize {
        self.values
    }

    /// Whether something was refused for want of it.
    #[must_use]
    pub fn exhausted(&self) -> bool {
        self.exhausted
    }

    /// The error for what costs too much.
    pub(crate) fn exceeded(&mut self) -> ProtocolError {
        self.exhausted = true;
        ProtocolError::Invalid("it unfolds to more than is accepted")
    }

    /// Pays for the reading of these bytes.
    ///
    /// # Errors
    /// [`ProtocolError::Invalid`] when they cost more than is left.
    pub(crate) fn spend(&mut self, bytes: &[u8]) -> Result<(), ProtocolError> {
        let Some(values) = values_within(bytes, self.values).filter(|_| bytes.len() <= self.bytes)
        else {
            return Err(self.exceeded());
        };
        self.bytes -= bytes.len();
        self.values -= values;
        Ok(())
    }
}

/// Counts the values in CBOR, without reading them; `None` when there are more
/// than `most`. Bytes that are no CBOR count as far as they make sense: whoever
/// decodes them stops there too.
fn values_within(mut bytes: &[u8], most: usize) -> Option<usize> {
    let mut values = 0usize;
    while let Some((&head, rest)) = bytes.split_first() {
        values += 1;
        if values > most {
            return None;
        }
        let width = match head & 0x1f {
            24 => 1,
            25 => 2,
            26 => 4,
            27 => 8,
            _ => 0,
        };
        let Some((argument, rest)) = rest.split_at_checked(width) else { break };
        bytes = rest;
        // Byte and text strings are stepped over; of all else only the head is.
        if matches!(head >> 5, 2 | 3) && head & 0x1f != 31 {
            let length = match width {
                0 => u64::from(head & 0x1f),
                _ => argument.iter().fold(0, |n, byte| n << 8 | u64::from(*byte)),
            };
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            bytes = bytes.get(length..).unwrap_or_default();
        }
    }
    Some(values)
}

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
    decode_for(bytes, limit, &mut Budget::new(limit, MAX_VALUES.max(limit / 8)))
}

/// Decodes CBOR of at most `limit` bytes, paid for from a budget.
///
/// # Errors
/// [`ProtocolError::TooLarge`], [`ProtocolError::Malformed`], or
/// [`ProtocolError::Invalid`] when it costs more than the budget has.
pub fn decode_for<T: DeserializeOwned>(
    bytes: &[u8],
    limit: usize,
    budget: &mut Budget,
) -> Result<T, ProtocolError> {
    if bytes.len() > limit {
        return Err(ProtocolError::TooLarge { actual: bytes.len(), limit });
    }
    budget.spend(bytes)?;
    let malformed = |e: &dyn std::fmt::Display| ProtocolError::Malformed(e.to_string());
    let mut reader = Deserializer::new(SliceReader::new(bytes));
    let value = T::deserialize(&mut reader).map_err(|e| malformed(&e))?;
    match reader.into_inner().fill(1) {
        Ok(rest) if rest.as_ref().is_empty() => Ok(value),
        _ => Err(malformed(&"bytes follow the message")),
    }
}

/// Reads a list of at most `N` items, for `#[serde(deserialize_with = …)]`: a
/// list of one-byte items would otherwise unfold to many times its message.
pub(crate) fn at_most<'de, const N: usize, T, D>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    T: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    struct Items<const N: usize, T>(std::marker::PhantomData<T>);
    impl<'de, const N: usize, T: serde::Deserialize<'de>> serde::de::Visitor<'de> for Items<N, T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {N} items")
        }
        fn visit_seq<A: serde::de::SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut items = Vec::with_capacity(seq.size_hint().unwrap_or(0).min(N).min(1024));
            while let Some(item) = seq.next_element()? {
                if items.len() == N {
                    return Err(serde::de::Error::invalid_length(N + 1, &self));
                }
                items.push(item);
            }
            Ok(items)
        }
    }
    deserializer.deserialize_seq(Items::<N, T>(std::marker::PhantomData))
}

/// Reads a map of at most `N` entries, as [`at_most`].
pub(crate) fn at_most_map<'de, const N: usize, V, D>(
    deserializer: D,
) -> Result<BTreeMap<String, V>, D::Error>
where
    V: serde::Deserialize<'de>,
    D: serde::Deserializer<'de>,
{
    struct Entries<const N: usize, V>(std::marker::PhantomData<V>);
    impl<'de, const N: usize, V: serde::Deserialize<'de>> serde::de::Visitor<'de> for Entries<N, V> {
        type Value = BTreeMap<String, V>;
        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a map of at most {N} entries")
        }
        fn visit_map<A: serde::de::MapAccess<'de>>(
            self,
            mut map: A,
        ) -> Result<Self::Value, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some((key, value)) = map.next_entry()? {
                if entries.len() == N {
                    return Err(serde::de::Error::invalid_length(N + 1, &self));
                }
                entries.insert(key, value);
            }
            Ok(entries)
        }
    }
    deserializer.deserialize_map(Entries::<N, V>(std::marker::PhantomData))
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
