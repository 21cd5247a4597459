//! `/unifyit/blob/1`: ranges of content-addressed files from `<state>/blobs`.
//!
//! A relay asks for a range of a file by its BLAKE3 hash and gets a header and
//! then the bytes. The name of a file is its hash in hexadecimal, so there is no
//! path to climb out of; the relay verifies what it puts together.

use super::framing;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use libp2p::Stream;
use serde::{Deserialize, Serialize};
use std::{
    io::SeekFrom,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    time::timeout,
};
use unifyit_protocol::codec;

/// Protocol name.
pub(super) const PROTOCOL: &str = "/unifyit/blob/1";
/// Bytes of a file in one frame.
const CHUNK: usize = 256 * 1024;
/// A peer that takes or says nothing for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(30);

/// Asks for a range of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct BlobRequest {
    /// BLAKE3 of the whole file.
    #[serde(with = "serde_bytes_array")]
    pub(super) hash: [u8; 32],
    /// First byte.
    #[serde(default)]
    pub(super) offset: u64,
    /// Bytes wanted; 0 for all that follow.
    #[serde(default)]
    pub(super) length: u64,
}

/// The first frame of the answer; the bytes follow in frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum BlobAnswer {
    /// The file has this many bytes; this many follow.
    Found { size: u64, following: u64 },
    /// There is no such file here.
    Missing,
}

mod serde_bytes_array {
    use serde::{Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(hash: &[u8; 32], s: S) -> Result<S::Ok, S::Error> {
        s.serialize_bytes(hash)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<[u8; 32], D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = [u8; 32];
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("32 bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<[u8; 32], E> {
                bytes.try_into().map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        d.deserialize_bytes(Visitor)
    }
}

/// Answers one request.
pub(super) async fn serve(folder: PathBuf, stream: Stream) -> std::io::Result<()> {
    let (mut frames, mut sink) = framing::split(stream);
    let Ok(Some(request)) = timeout(PATIENCE, frames.next()).await else { return Ok(()) };
    let request: BlobRequest =
        codec::decode(&request?).map_err(|e| std::io::Error::other(e.to_string()))?;
    let encode = |answer: BlobAnswer| {
        codec::encode(&answer).map(Bytes::from).map_err(|e| std::io::Error::other(e.to_string()))
    };
    let Ok(mut file) = File::open(path_of(&folder, &request.hash)).await else {
        return sink.send(encode(BlobAnswer::Missing)?).await;
    };
    let size = file.metadata().await?.len();
    let left = size.saturating_sub(request.offset);
    let mut following = if request.length == 0 { left } else { left.min(request.length) };
    sink.send(encode(BlobAnswer::Found { size, following })?).await?;
    file.seek(SeekFrom::Start(request.offset)).await?;
    while following > 0 {
        let take = usize::try_from(following).unwrap_or(CHUNK).min(CHUNK);
        let mut chunk = vec![0; take];
        file.read_exact(&mut chunk).await?;
        following -= take as u64;
        timeout(PATIENCE, sink.send(Bytes::from(chunk))).await??;
    }
    SinkExt::<Bytes>::close(&mut sink).await
}

fn path_of(folder: &Path, hash: &[u8; 32]) -> PathBuf {
    folder.join(blake3::Hash::from_bytes(*hash).to_hex().as_str())
}
