//! What a sister is given: ranges of files that are here, by hash. Package bodies
//! are checked block by block as they are read; nothing is fetched for a sister.

use crate::{
    blobs::Blobs,
    cache::{Cache, content::Body},
    uplink::framing,
};
use bytes::Bytes;
use futures::{SinkExt, StreamExt as _};
use libp2p::Stream;
use prometheus::IntCounter;
use std::{fs::File, io, os::unix::fs::FileExt as _, sync::Arc, time::Duration};
use tokio::time::timeout;
use unifyit_protocol::{
    blob::{BlobAnswer, BlobRequest, MAX_CHUNK, RANGE},
    codec,
};

/// A sister that says or takes nothing for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where files are looked for.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) cache: Arc<Cache>,
    pub(super) blobs: Blobs,
}

enum Source {
    Package(Box<Body>),
    Blob(File, u64),
}

impl Held {
    fn find(&self, request: &BlobRequest) -> Option<Source> {
        if let Some(body) = self.cache.held(&request.hash, request.sha256) {
            return Some(Source::Package(Box::new(body)));
        }
        if request.sha256 {
            return None;
        }
        let file = self.blobs.held(&blake3::Hash::from_bytes(request.hash))?;
        let size = file.metadata().ok()?.len();
        Some(Source::Blob(file, size))
    }
}

impl Source {
    fn size(&self) -> u64 {
        match self {
            Self::Package(body) => body.size(),
            Self::Blob(_, size) => *size,
        }
    }

    /// Some bytes from `offset`, at most `most` and at most a chunk.
    fn read(&self, offset: u64, most: u64) -> io::Result<Vec<u8>> {
        let most = usize::try_from(most).unwrap_or(MAX_CHUNK).min(MAX_CHUNK);
        let mut buffer = Vec::new();
        match self {
            Self::Package(body) => {
                body.block(offset, &mut buffer)?;
                let start =
                    usize::try_from(offset).unwrap_or(usize::MAX) % crate::cache::content::BLOCK;
                buffer.drain(..start.min(buffer.len()));
                buffer.truncate(most);
            }
            Self::Blob(file, _) => {
                buffer.resize(most, 0);
                file.read_exact_at(&mut buffer, offset)?;
            }
        }
        match buffer.is_empty() {
            true => Err(io::ErrorKind::UnexpectedEof.into()),
            false => Ok(buffer),
        }
    }
}

/// Answers one request.
pub(super) async fn serve(held: &Held, stream: Stream, served: &IntCounter) -> io::Result<()> {
    let (mut frames, mut sink) = framing::split(stream);
    let Ok(Some(request)) = timeout(PATIENCE, frames.next()).await else { return Ok(()) };
    let mut request: BlobRequest = codec::decode(&request?).map_err(other)?;
    // No more than a range at a time, so that the line is shared.
    let whole = if request.length == 0 { RANGE } else { request.length };
    request.length = whole.min(RANGE);
    let here = held.clone();
    let source = tokio::task::spawn_blocking(move || here.find(&request)).await.map_err(other)?;
    let encode = |answer: BlobAnswer| codec::encode(&answer).map(Bytes::from).map_err(other);
    let Some(source) = source else {
        SinkExt::<Bytes>::send(&mut sink, encode(BlobAnswer::Missing)?).await?;
        return SinkExt::<Bytes>::close(&mut sink).await;
    };
    let size = source.size();
    let mut left = request.following(size);
    let mut offset = request.offset;
    SinkExt::<Bytes>::send(&mut sink, encode(BlobAnswer::Found { size, following: left })?).await?;
    let source = Arc::new(source);
    while left > 0 {
        let reading = Arc::clone(&source);
        let chunk = tokio::task::spawn_blocking(move || reading.read(offset, left));
        let chunk = match chunk.await.map_err(other)? {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                if let Source::Package(body) = &*source {
                    held.cache.damaged(body);
                }
                return Err(error);
            }
            chunk => Bytes::from(chunk?),
        };
        let bytes = chunk.len() as u64;
        tokio::time::sleep_until(held.cache.pace(bytes)).await;
        timeout(PATIENCE, SinkExt::<Bytes>::send(&mut sink, chunk)).await??;
        served.inc_by(bytes);
        offset += bytes;
        left = left.saturating_sub(bytes);
    }
    SinkExt::<Bytes>::close(&mut sink).await
}

fn other(error: impl std::fmt::Display) -> io::Error {
    io::Error::other(error.to_string())
}
