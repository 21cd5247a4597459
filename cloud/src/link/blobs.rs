//! `/unifyit/blob/1`: ranges of content-addressed files from `<state>/blobs`, or
//! from `<state>/install` where only what anybody may have is asked for.
//!
//! A relay asks for a range of a file by its BLAKE3 hash and gets a header and
//! then the bytes. The name of a file is its hash in hexadecimal, so there is no
//! path to climb out of; the relay verifies what it puts together.

use super::framing;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use libp2p::Stream;
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
use unifyit_protocol::{
    blob::{BlobAnswer, BlobRequest, MAX_CHUNK},
    codec,
};

/// A peer that takes or says nothing for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(30);

/// Answers one request.
pub(super) async fn serve(state: PathBuf, stream: Stream) -> std::io::Result<()> {
    let (mut frames, mut sink) = framing::split(stream);
    let Ok(Some(request)) = timeout(PATIENCE, frames.next()).await else { return Ok(()) };
    let request: BlobRequest =
        codec::decode(&request?).map_err(|e| std::io::Error::other(e.to_string()))?;
    let encode = |answer: BlobAnswer| {
        codec::encode(&answer).map(Bytes::from).map_err(|e| std::io::Error::other(e.to_string()))
    };
    let folder = state.join(if request.open { crate::downloads::FOLDER } else { "blobs" });
    let Ok(mut file) = File::open(path_of(&folder, &request.hash)).await else {
        return sink.send(encode(BlobAnswer::Missing)?).await;
    };
    let size = file.metadata().await?.len();
    let mut following = request.following(size);
    sink.send(encode(BlobAnswer::Found { size, following })?).await?;
    file.seek(SeekFrom::Start(request.offset)).await?;
    while following > 0 {
        let take = usize::try_from(following).unwrap_or(MAX_CHUNK).min(MAX_CHUNK);
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
