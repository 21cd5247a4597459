//! `/unifyit/blob/1`: ranges of content-addressed files from `<state>/blobs`, or
//! from `<state>/install` where only what anybody may have is asked for.
//!
//! A relay asks for a range of a file by its BLAKE3 hash and gets a header and
//! then the bytes. The name of a file is its hash in hexadecimal, so there is no
//! path to climb out of; the relay verifies what it puts together.

use super::framing;
use bytes::Bytes;
use futures::{SinkExt, StreamExt};
use libp2p::{PeerId, Stream};
use std::{
    collections::HashMap,
    io::SeekFrom,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};
use tokio::{
    fs::File,
    io::{AsyncReadExt, AsyncSeekExt},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};
use unifyit_protocol::{
    blob::{BlobAnswer, BlobRequest, MAX_CHUNK},
    codec,
};

/// A peer that takes or says nothing for this long is dropped.
const PATIENCE: Duration = Duration::from_secs(30);

/// Streams at a time, of all relays together and of one.
const MOST: usize = 128;
const EACH: usize = 8;

/// Who may be served at this moment: one relay that takes its time leaves room for
/// all others.
#[derive(Debug, Clone)]
pub(super) struct Places {
    all: Arc<Semaphore>,
    each: Arc<Mutex<HashMap<PeerId, Weak<Semaphore>>>>,
}

/// A place; it is free when this is dropped.
#[derive(Debug)]
pub(super) struct BlobPlace {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl Places {
    /// All free.
    pub(super) fn new() -> Self {
        Self { all: Arc::new(Semaphore::new(MOST)), each: Arc::default() }
    }

    /// A place for one of a relay's streams, if it may have another.
    pub(super) fn take(&self, peer: PeerId) -> Option<BlobPlace> {
        let mut each = self.each.lock().unwrap_or_else(PoisonError::into_inner);
        let known = each.get(&peer).and_then(Weak::upgrade);
        let own = known.unwrap_or_else(|| Arc::new(Semaphore::new(EACH)));
        let place = BlobPlace {
            _own: own.clone().try_acquire_owned().ok()?,
            _all: self.all.clone().try_acquire_owned().ok()?,
        };
        // Not more than are being served.
        each.retain(|_, places| places.strong_count() > 0);
        each.insert(peer, Arc::downgrade(&own));
        Some(place)
    }
}

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
        return timeout(PATIENCE, sink.send(encode(BlobAnswer::Missing)?)).await?;
    };
    let size = file.metadata().await?.len();
    let mut following = request.following(size);
    timeout(PATIENCE, sink.send(encode(BlobAnswer::Found { size, following })?)).await??;
    file.seek(SeekFrom::Start(request.offset)).await?;
    while following > 0 {
        let take = usize::try_from(following).unwrap_or(MAX_CHUNK).min(MAX_CHUNK);
        let mut chunk = vec![0; take];
        file.read_exact(&mut chunk).await?;
        following -= take as u64;
        timeout(PATIENCE, sink.send(Bytes::from(chunk))).await??;
    }
    timeout(PATIENCE, SinkExt::<Bytes>::close(&mut sink)).await?
}

fn path_of(folder: &Path, hash: &[u8; 32]) -> PathBuf {
    folder.join(blake3::Hash::from_bytes(*hash).to_hex().as_str())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn one_relay_leaves_places_for_all_others() {
        let (places, slow) = (Places::new(), PeerId::random());
        let held: Vec<BlobPlace> = std::iter::from_fn(|| places.take(slow)).collect();
        assert_eq!(held.len(), EACH);
        let others: Vec<BlobPlace> =
            std::iter::from_fn(|| places.take(PeerId::random())).take(MOST).collect();
        assert_eq!(others.len(), MOST - EACH, "and all together are bounded");
        drop((held, others));
        places.take(slow).unwrap();
        assert_eq!(places.each.lock().unwrap().len(), 1, "nobody is remembered who is gone");
    }
}
