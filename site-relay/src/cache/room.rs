//! Making room: the cache's own bound, and the disk's.

use super::{Cache, CacheError, eviction};
use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, atomic::Ordering},
};

/// Room that a fetch under way has been promised; dropping it gives it back.
pub(super) struct Room {
    cache: Arc<Cache>,
    size: u64,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.cache.promised.fetch_sub(self.size, Ordering::Relaxed);
    }
}

impl Cache {
    /// Makes room for `size` more bytes, evicting what is worth least.
    ///
    /// # Errors
    /// A sentence, when neither bound can be met because the rest is pinned, or
    /// the disk is full with other things.
    pub(super) async fn make_room(self: &Arc<Self>, size: u64) -> Result<Room, String> {
        if size > self.config.max_file || size > self.config.max_bytes {
            return Err("the file is larger than the cache may hold".into());
        }
        let _one_at_a_time = self.room.lock().await;
        let lacking = self.lacking(size);
        if lacking > 0 {
            let cache = Arc::clone(self);
            tokio::task::spawn_blocking(move || cache.evict(lacking))
                .await
                .map_err(|e| e.to_string())??;
            if self.lacking(size) > 0 {
                return Err("the disk is full, and nothing of the cache can go".into());
            }
        }
        self.promised.fetch_add(size, Ordering::Relaxed);
        Ok(Room { cache: Arc::clone(self), size })
    }

    /// Gives up bodies of about so many bytes because the disk is needed for what
    /// cannot be fetched again. Returns how many went.
    pub(crate) async fn give_up(self: &Arc<Self>, bytes: u64) -> u64 {
        let _one_at_a_time = self.room.lock().await;
        let before = self.stored_bytes();
        if before == 0 {
            return 0;
        }
        let cache = Arc::clone(self);
        let evicted = tokio::task::spawn_blocking(move || cache.evict(bytes)).await;
        if let Ok(Err(error)) = evicted {
            tracing::warn!(%error, "The package cache could not give up all that it should.");
        }
        before.saturating_sub(self.stored_bytes())
    }

    fn lacking(&self, size: u64) -> u64 {
        let promised = self.promised.load(Ordering::Relaxed);
        let over = (self.stored_bytes() + promised + size).saturating_sub(self.config.max_bytes);
        let free = self.contents.disk_free().unwrap_or(u64::MAX);
        over.max((self.config.reserve_bytes + size).saturating_sub(free))
    }

    /// Brings index and disk into agreement: a body that the index does not know
    /// is removed, a content whose body is gone is forgotten.
    pub(super) fn reconcile(&self) -> Result<(), CacheError> {
        let failed = |e| CacheError::Folder(self.config.folder.clone(), e);
        let known: HashMap<_, _> = self.index.contents()?.into_iter().collect();
        let mut stored = 0;
        let mut present = HashSet::new();
        for (hash, size) in self.contents.list().map_err(failed)? {
            if known.get(&hash).is_some_and(|content| content.size == size) {
                stored += size;
                present.insert(hash);
            } else {
                self.contents.remove(&hash);
            }
        }
        let gone: Vec<_> = known.into_keys().filter(|hash| !present.contains(hash)).collect();
        self.index.forget(&gone)?;
        self.stored.store(stored, Ordering::Relaxed);
        self.show_stored();
        Ok(())
    }

    pub(super) fn show_stored(&self) {
        self.meters.stored.set(i64::try_from(self.stored_bytes()).unwrap_or(i64::MAX));
    }

    /// Takes bytes off the account, never below nothing.
    fn freed(&self, size: u64) {
        let less = |stored: u64| Some(stored.saturating_sub(size));
        let _always = self.stored.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        self.show_stored();
    }

    fn evict(&self, needed: u64) -> Result<(), String> {
        self.flush().map_err(|e| e.to_string())?;
        let contents = self.index.contents().map_err(|e| e.to_string())?;
        // A tenth more than asked, so that a busy cache does not evict for each file.
        let victims = eviction::victims(&contents, needed + needed / 10, self.now_ms());
        let mut gone = Vec::with_capacity(victims.len());
        for (hash, size) in victims {
            self.contents.remove(&hash);
            self.freed(size);
            self.meters.evicted.inc();
            gone.push(hash);
        }
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
        self.freed(size);
        if let Err(error) = self.index.forget(&[*hash]) {
            tracing::warn!(%error, "The index could not forget a damaged file.");
        }
    }
}
