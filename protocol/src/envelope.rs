//! The envelope around every message: `{v, kind, body}` in CBOR.
//!
//! `kind` is a number that never changes its meaning. A reader that does not
//! know a kind skips and counts it ([`Decoded::Unknown`]), which is what lets
//! an older relay serve a newer agent. Bodies are byte strings, so that a
//! skipped message costs nothing and signatures cover exact bytes.

use crate::{
    ProtocolError,
    codec::{self, Budget, MAX_MESSAGE, MAX_VALUES},
};
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
/// Values of a frame without its body: four fields, and room for later ones.
const FRAME_VALUES: usize = 1024;

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
        let mut frame = Budget::new(MAX_MESSAGE, FRAME_VALUES);
        let envelope: Self = codec::decode_for(bytes, MAX_MESSAGE, &mut frame)?;
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
        self.read_for(&mut one_message())
    }

    /// Reads the body at the expense of a budget that many messages may share.
    ///
    /// # Errors
    /// [`ProtocolError`] when the body is damaged, unfolds beyond its bound or
    /// costs more than the budget has.
    pub fn read_for<T: DeserializeOwned>(&self, budget: &mut Budget) -> Result<T, ProtocolError> {
        if !self.z {
            return codec::decode_for(&self.body, MAX_UNFOLDED, budget);
        }
        let most = MAX_UNFOLDED.min(budget.bytes());
        let told = zstd::zstd_safe::get_frame_content_size(&self.body).ok().flatten();
        let too_dear = most < MAX_UNFOLDED && told.is_none_or(|size| size > most as u64);
        if too_dear && told.is_some() {
            return Err(budget.exceeded());
        }
        let plain = zstd::bulk::decompress(&self.body, most).map_err(|_| match too_dear {
            true => budget.exceeded(),
            false => ProtocolError::Malformed("the compressed body is damaged".into()),
        })?;
        codec::decode_for(&plain, MAX_UNFOLDED, budget)
    }
}

/// The budget of a message that stands alone.
pub(crate) fn one_message() -> Budget {
    Budget::new(MAX_UNFOLDED, MAX_VALUES)
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
                Self::decode_for(bytes, &mut crate::envelope::one_message())
            }

            /// Reads a framed message at the expense of a budget that many may share.
            ///
            /// # Errors
            /// [`ProtocolError`](crate::ProtocolError) when the bytes are not such a message,
            /// or cost more than the budget has.
            pub fn decode_for(
                bytes: &[u8],
                budget: &mut crate::codec::Budget,
            ) -> Result<crate::envelope::Decoded<Self>, crate::ProtocolError> {
                let envelope = crate::envelope::Envelope::unpack(bytes)?;
                Ok(match envelope.kind {
                    $($kind => crate::envelope::Decoded::Known(Self::$variant(envelope.read_for(budget)?)),)+
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
