//! Files from sister relays, before the upstream is asked.
//!
//! Only where the file's SHA-256 is known, by a signed index or by the list of
//! files to fetch ahead, and only whole: no byte of a sister's is shown to a client
//! before all of them proved to be the file. A client therefore waits for a small
//! one only; what is fetched ahead may be of any length.

use super::{
    Cache, content,
    flight::{Fetch, Streaming, on_disk},
    index::{Entry, Expected},
    upstream::Head,
};
use crate::sisters::{Name, Sisters, Trouble};
use libp2p::PeerId;
use std::{
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::time::timeout;

/// Longest file for which a client waits, and how long at most.
const MISS: u64 = 16 * 1024 * 1024;
const MISS_WAIT: Duration = Duration::from_secs(5);

/// Why one sister's file was not taken.
enum Left {
    /// Its doing.
    Hers(Trouble),
    /// Ours: no room, a failing disk, working hours.
    Ours,
}

impl From<Trouble> for Left {
    fn from(trouble: Trouble) -> Self {
        Self::Hers(trouble)
    }
}

impl Cache {
    /// Asks these sisters from now on.
    pub(crate) fn attach(&self, sisters: Sisters) {
        drop(self.sisters.set(sisters));
    }

    /// A body that is here, by its BLAKE3 or its SHA-256.
    pub(crate) fn held(&self, hash: &[u8; 32], sha256: bool) -> Option<content::Body> {
        let hash = match sha256 {
            true => self.index.by_sha256(hash).ok().flatten()?,
            false => *hash,
        };
        self.contents.get(&hash)
    }

    /// A block of it turned out to be damaged.
    pub(crate) fn damaged(&self, body: &content::Body) {
        self.drop_damaged(&body.hash(), body.size());
    }

    /// Takes bytes of the line's plan; until when to wait before the next ones.
    pub(crate) fn pace(&self, bytes: u64) -> tokio::time::Instant {
        self.rules().line.take(bytes, tokio::time::Instant::now())
    }
}

impl Fetch<'_> {
    /// The file from a sister, kept; none when no sister has it in time.
    pub(super) async fn try_sisters(&self) -> Option<(Arc<Streaming>, Arc<Entry>)> {
        let (sisters, expected) = (self.cache.sisters.get()?, self.expected?);
        let ahead = self.pace.is_some();
        let most = if ahead { self.cache.config.max_file } else { MISS };
        if expected.size.is_some_and(|size| size > most) || sisters.ready().is_empty() {
            return None;
        }
        let asking = self.ask_sisters(sisters, expected, most);
        match ahead {
            true => asking.await,
            false => timeout(MISS_WAIT, asking).await.ok().flatten(),
        }
    }

    async fn ask_sisters(
        &self,
        sisters: &Sisters,
        expected: Expected,
        most: u64,
    ) -> Option<(Arc<Streaming>, Arc<Entry>)> {
        let (name, mut tried) = (Name::Sha256(expected.sha256), Vec::new());
        while let Some((peer, size)) = sisters.holder(name, &tried).await {
            tried.push(peer);
            // One hash has one length.
            if expected.size.is_some_and(|right| right != size) {
                sisters.set_aside(peer, &Trouble::Lied);
                continue;
            }
            if size > most {
                continue;
            }
            match self.read_sister(sisters, peer, expected, size).await {
                Ok(found) => {
                    sisters.gave();
                    return Some(found);
                }
                Err(Left::Hers(trouble)) => sisters.set_aside(peer, &trouble),
                Err(Left::Ours) => return None,
            }
        }
        None
    }

    async fn read_sister(
        &self,
        sisters: &Sisters,
        peer: PeerId,
        expected: Expected,
        size: u64,
    ) -> Result<(Arc<Streaming>, Arc<Entry>), Left> {
        let started = Instant::now();
        let _room = self.cache.make_room(size).await.map_err(|_| Left::Ours)?;
        let name = self.cache.next_partial.fetch_add(1, Ordering::Relaxed);
        // Removed however this ends, also when the client's patience does.
        let mut partial =
            Kept(Some(self.cache.contents.begin(name, true).map_err(|_| Left::Ours)?));
        let mut reading = sisters.read(peer, Name::Sha256(expected.sha256)).await?;
        if reading.size != size {
            return Err(Trouble::Lied.into());
        }
        while let Some(bytes) = reading.next().await? {
            let file = partial.0.as_mut().ok_or(Left::Ours)?;
            file.write(&bytes).map_err(|_| Left::Ours)?;
            let length = bytes.len() as u64;
            self.cache.savings.fetched(&self.resource.repository, length);
            // With the table's own receiver, and the one who is in no hurry.
            if let Some(pace) = self.pace.as_ref().filter(|_| self.tx.receiver_count() <= 2) {
                if self.tx.receiver_count() <= 1 {
                    return Err(Left::Ours);
                }
                tokio::time::sleep_until(pace.take(length, tokio::time::Instant::now())).await;
            }
        }
        let partial = partial.0.take().ok_or(Left::Ours)?;
        let file = partial.reader().map_err(|_| Left::Ours)?;
        let sealed = partial.finish();
        let digests = sealed.digests;
        if sealed.sha256 != Some(expected.sha256) {
            sealed.discard();
            return Err(Trouble::Lied.into());
        }
        let entry = Entry {
            content: digests.blake3,
            size: digests.size,
            etag: None,
            last_modified: None,
            content_type: None,
            checked_ms: self.cache.now_ms(),
            fresh_s: 0,
            fetched_ms: 0,
            as_named: false,
        };
        let cost_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let (cache, resource, kept) =
            (Arc::clone(self.cache), self.resource.clone(), entry.clone());
        on_disk(move || cache.keep(&resource, &sealed, &kept, cost_ms)).await.map_err(|error| {
            tracing::warn!(%error, "The package cache could not keep a sister's file.");
            Left::Ours
        })?;
        let head = Head {
            size: Some(digests.size),
            etag: None,
            last_modified: None,
            content_type: None,
            fresh_s: 0,
        };
        Ok((Arc::new(Streaming { head, file }), Arc::new(entry)))
    }
}

/// A partial file that goes when it is dropped, unless it was taken.
struct Kept(Option<content::Partial>);

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(partial) = self.0.take() {
            partial.discard();
        }
    }
}
