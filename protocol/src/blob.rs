//! `/unifyit/blob/1`: ranges of content-addressed files, one stream a range. A
//! relay asks a sister relay of its organization or the cloud; the answer is a [`BlobAnswer`] and then the bytes, in
//! frames of at most [`MAX_CHUNK`]. Frames are length-prefixed ([`crate::link`]).
//!
//! Nobody is believed: who asks puts the ranges together and keeps the whole only
//! when it hashes to its name. A cut costs what was in flight, because the next
//! request begins where the bytes on disk end.

use serde::{Deserialize, Serialize};

/// Protocol name.
pub const PROTOCOL: &str = "/unifyit/blob/1";
/// Bytes of a file in one frame.
pub const MAX_CHUNK: usize = 256 * 1024;
/// Bytes that are asked for at a time.
pub const RANGE: u64 = 16 * 1024 * 1024;

/// Asks for a range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BlobRequest {
    /// BLAKE3 of the whole file, unless `sha256` is set.
    #[serde(with = "serde_bytes")]
    pub hash: [u8; 32],
    /// First byte.
    #[serde(default)]
    pub offset: u64,
    /// Bytes wanted; 0 for all that follow.
    #[serde(default)]
    pub length: u64,
    /// Whether `hash` is the file's SHA-256 instead, by which signed indexes of
    /// repositories name packages. Who does not know the word finds no such file.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sha256: bool,
    /// Whether only a file that anybody may have is wanted: one that computers are
    /// installed from. A relay asks so for a newcomer, who has proven nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub open: bool,
}

/// The first frame of the answer; the bytes follow in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum BlobAnswer {
    /// The file is there.
    Found {
        /// Bytes of the whole file.
        size: u64,
        /// Bytes that follow.
        following: u64,
    },
    /// There is no such file.
    Missing,
}

impl BlobRequest {
    /// How many bytes of a file of `size` answer this request.
    #[must_use]
    pub fn following(&self, size: u64) -> u64 {
        let left = size.saturating_sub(self.offset);
        if self.length == 0 { left } else { left.min(self.length) }
    }

    /// Whether an answer says what this request allows: no byte beyond the file or
    /// the range, and none missing that would make the asking go on for ever.
    #[must_use]
    pub fn allows(&self, size: u64, following: u64) -> bool {
        following == self.following(size) && self.offset <= size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_holds_what_is_left_of_the_file_up_to_what_was_asked() {
        let ask = |offset, length| BlobRequest {
            hash: [0; 32],
            offset,
            length,
            sha256: false,
            open: false,
        };
        assert_eq!(ask(0, 10).following(100), 10);
        assert_eq!(ask(95, 10).following(100), 5);
        assert_eq!(ask(95, 0).following(100), 5);
        assert_eq!(ask(u64::MAX, u64::MAX).following(100), 0);
        assert!(ask(95, 10).allows(100, 5) && ask(100, 10).allows(100, 0));
        for (size, following) in [(100, 0), (100, 6), (u64::MAX, 11), (94, 0)] {
            assert!(!ask(95, 10).allows(size, following), "{size} {following}");
        }
    }
}
