//! Making room: the cache's own bound, and the disk's.

use super::{Cache, eviction};
use std::sync::{Arc, atomic::Ordering};

impl Cache {
    /// Makes room for `size` more bytes, evicting what is worth least.
    ///
    /// # Errors
    /// A sentence, when neither bound can be met because the rest is pinned, or
    /// the disk is full with other things.
    pub(super) async fn make_room(self: &Arc<Self>, size: u64) -> Result<(), String> {
        if size > self.config.max_file || size > self.config.max_bytes {
            return Err("the file is larger than the cache may hold".into());
        }
        if self.lacking(size) == 0 {
            return Ok(());
        }
        let _one_at_a_time = self.room.lock().await;
        let lacking = self.lacking(size);
        if lacking == 0 {
            return Ok(());
        }
        let cache = Arc::clone(self);
        let evicted = tokio::task::spawn_blocking(move || cache.evict(lacking)).await;
        match evicted {
            Ok(Ok(())) if self.lacking(size) == 0 => Ok(()),
            Ok(Ok(())) => Err("the disk is full, and nothing of the cache can go".into()),
            Ok(Err(e)) => Err(e),
            Err(e) => Err(e.to_string()),
        }
    }

    fn lacking(&self, size: u64) -> u64 {
        let over =
            (self.stored.load(Ordering::Relaxed) + size).saturating_sub(self.config.max_bytes);
        let free = self.contents.disk_free().unwrap_or(u64::MAX);
        over.max((self.config.reserve_bytes + size).saturating_sub(free))
    }

    fn evict(&self, needed: u64) -> Result<(), String> {
        self.flush().map_err(|e| e.to_string())?;
        let contents = self.index.contents().map_err(|e| e.to_string())?;
        // A tenth more than asked, so that a busy cache does not evict for each file.
        let victims = eviction::victims(&contents, needed + needed / 10, self.now_ms());
        let mut gone = Vec::with_capacity(victims.len());
        for (hash, size) in victims {
            self.contents.remove(&hash);
            self.stored.fetch_sub(size, Ordering::Relaxed);
            self.meters.evicted.inc();
            gone.push(hash);
        }
        self.meters.stored.set(i64::try_from(self.stored_bytes()).unwrap_or(i64::MAX));
        tracing::info!(files = gone.len(), "The package cache made room.");
        self.index.forget(&gone).map_err(|e| e.to_string())
    }

    /// Drops a content whose block on disk is damaged; the next request fetches
    /// it again.
    pub(super) fn drop_damaged(&self, hash: &super::content::Hash, size: u64) {
        // Two readers may find the same damage; the first one accounts for it.
        if !matches!(self.index.content(hash), Ok(Some(_))) {
            return;
        }
        tracing::warn!("A cached file is damaged on disk; it is dropped and fetched again.");
        self.meters.damaged.inc();
        self.contents.remove(hash);
        self.stored.fetch_sub(size, Ordering::Relaxed);
        if let Err(error) = self.index.forget(&[*hash]) {
            tracing::warn!(%error, "The index could not forget a damaged file.");
        }
    }
}
