//! The envelope around every message: `{v, kind, body}` in CBOR.
//!
//! `kind` is a number that never changes its meaning. A reader that does not
//! know a kind skips and counts it ([`Decoded::Unknown`]), which is what lets
//! an older relay serve a newer agent. Bodies are byte strings, so that a
//! skipped message costs nothing and signatures cover exact bytes.

use crate::{ProtocolError, codec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// Version written by this build.
pub const VERSION: u16 = 1;
/// Oldest version still read. Two versions back stay readable.
pub const OLDEST: u16 = 1;
/// Bodies from this length on are compressed when that makes them smaller.
const COMPRESS_FROM: usize = 512;
/// Limit on a body after decompression, in bytes: a small message may not
/// unfold into a large one.
const MAX_UNFOLDED: usize = 4 * 1024 * 1024;

/// A framed message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// Version of the body's shape.
    pub v: u16,
    /// Which message the body is.
    pub kind: u16,
    /// Whether the body is zstd-compressed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub z: bool,
    /// The message in CBOR.
    #[serde(with = "serde_bytes")]
    pub body: Vec<u8>,
}

/// A message whose kind this build knows, or the number of one that it does not.
#[derive(Debug, Clone, PartialEq)]
pub enum Decoded<T> {
    /// A known message.
    Known(T),
    /// A kind of a later version: skip and count it.
    Unknown(u16),
}

impl Envelope {
    /// Frames a body, compressing it when that pays.
    ///
    /// # Errors
    /// [`ProtocolError::Malformed`] when the body cannot be encoded.
    pub fn pack<T: Serialize>(kind: u16, body: &T) -> Result<Vec<u8>, ProtocolError> {
        let plain = codec::encode(body)?;
        let (z, body) = match compressed(&plain) {
            Some(small) => (true, small),
            None => (false, plain),
        };
        codec::encode(&Self { v: VERSION, kind, z, body })
    }

    /// Reads the frame and checks its version; the body stays unread.
    ///
    /// # Errors
    /// [`ProtocolError`] when too large, malformed or of an unreadable version.
    pub fn unpack(bytes: &[u8]) -> Result<Self, ProtocolError> {
        let envelope: Self = codec::decode(bytes)?;
        if envelope.v < OLDEST || envelope.v > VERSION {
            return Err(ProtocolError::Version {
                found: envelope.v,
                oldest: OLDEST,
                newest: VERSION,
            });
        }
        Ok(envelope)
    }

    /// Reads the body as the type that its kind stands for.
    ///
    /// # Errors
    /// [`ProtocolError`] when the body is damaged or unfolds beyond its bound.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, ProtocolError> {
        if !self.z {
            return codec::decode_within(&self.body, MAX_UNFOLDED);
        }
        let plain = zstd::bulk::decompress(&self.body, MAX_UNFOLDED)
            .map_err(|_| ProtocolError::Malformed("the compressed body is damaged".into()))?;
        codec::decode_within(&plain, MAX_UNFOLDED)
    }
}

fn compressed(plain: &[u8]) -> Option<Vec<u8>> {
    if plain.len() < COMPRESS_FROM {
        return None;
    }
    zstd::bulk::compress(plain, 3).ok().filter(|small| small.len() + 16 < plain.len())
}

/// Declares the enum of all messages that travel in one direction of one wire.
macro_rules! messages {
    ($(#[$doc:meta])* pub enum $name:ident { $($(#[$vdoc:meta])* $kind:literal => $variant:ident($body:ty),)+ }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        pub enum $name { $($(#[$vdoc])* $variant($body),)+ }

        impl $name {
            /// Frames the message in its envelope.
            ///
            /// # Errors
            /// [`ProtocolError`](crate::ProtocolError) when it cannot be encoded.
            pub fn encode(&self) -> Result<Vec<u8>, crate::ProtocolError> {
                match self { $(Self::$variant(body) => crate::envelope::Envelope::pack($kind, body),)+ }
            }

            /// Reads a framed message.
            ///
            /// # Errors
            /// [`ProtocolError`](crate::ProtocolError) when the bytes are not such a message.
            pub fn decode(bytes: &[u8]) -> Result<crate::envelope::Decoded<Self>, crate::ProtocolError> {
                let envelope = crate::envelope::Envelope::unpack(bytes)?;
                Ok(match envelope.kind {
                    $($kind => crate::envelope::Decoded::Known(Self::$variant(envelope.read()?)),)+
                    other => crate::envelope::Decoded::Unknown(other),
                })
            }
        }

        $(impl From<$body> for $name {
            fn from(body: $body) -> Self { Self::$variant(body) }
        })+
    };
}
pub(crate) use messages;
