//! What the cache may serve for a resource, decided from the index alone.

use super::{
    Cache,
    content::Body,
    index::{Entry, Expected, IndexError},
    policy::Resource,
};
use bytes::Bytes;
use std::sync::{Arc, PoisonError};

/// Bodies up to this length are held in memory while they are in use.
const HOT_BODY: u64 = 64 * 1024;
/// Longest time that a memory copy is used without a look at the index.
const HOT_FOR_MS: u64 = 2_000;

/// What to do about a resource.
#[derive(Debug)]
pub(super) enum Plan {
    /// Serve from memory.
    Hot(Arc<Hot>),
    /// Serve from disk.
    Fresh(Entry, Box<Body>),
    /// Ask the upstream whether it is still the file; then serve from disk.
    Confirm(Entry),
    /// Fetch.
    Fetch(Option<Expected>),
}

/// A small body in memory.
#[derive(Debug)]
pub(super) struct Hot {
    /// Its entry.
    pub entry: Entry,
    /// Its bytes, verified when they were read.
    pub bytes: Bytes,
    until_ms: u64,
}

impl Cache {
    /// Decides what to do about a resource.
    ///
    /// # Errors
    /// When the index fails.
    pub(super) fn plan(&self, resource: &Resource) -> Result<Plan, IndexError> {
        if let Some(hot) = self.hot(resource) {
            return Ok(Plan::Hot(hot));
        }
        let entry = self.index.entry(resource)?;
        if let Some(expected) = self.index.expected(resource)? {
            let Some(entry) = self.matching(entry, &expected)? else {
                return Ok(Plan::Fetch(Some(expected)));
            };
            return Ok(match self.contents.get(&entry.content) {
                Some(body) => Plan::Fresh(entry, Box::new(body)),
                None => Plan::Fetch(Some(expected)),
            });
        }
        let Some(entry) = entry else { return Ok(Plan::Fetch(None)) };
        let Some(body) = self.contents.get(&entry.content) else { return Ok(Plan::Fetch(None)) };
        let fresh_s = entry.fresh_s.max(resource.fresh_s());
        let fresh_until = entry.checked_ms.saturating_add(u64::from(fresh_s) * 1000);
        let now_ms = self.now_ms();
        // A clock that was set back must not make everything fresh.
        if now_ms < fresh_until && entry.checked_ms <= now_ms {
            return Ok(Plan::Fresh(entry, Box::new(body)));
        }
        Ok(Plan::Confirm(entry))
    }

    /// The entry whose content is what the signed index names: the path's own,
    /// or any other path's that holds the same bytes.
    fn matching(
        &self,
        entry: Option<Entry>,
        expected: &Expected,
    ) -> Result<Option<Entry>, IndexError> {
        let Some(content) = self.index.by_sha256(&expected.sha256)? else { return Ok(None) };
        if let Some(entry) = entry
            && entry.content == content
        {
            return Ok(Some(entry));
        }
        let Some(known) = self.index.content(&content)? else { return Ok(None) };
        Ok(Some(Entry {
            content,
            size: known.size,
            etag: None,
            last_modified: None,
            content_type: None,
            checked_ms: self.now_ms(),
            fresh_s: 0,
        }))
    }

    fn hot(&self, resource: &Resource) -> Option<Arc<Hot>> {
        let now_ms = self.now_ms();
        let mut all = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        let hot = all.get(&resource.url)?;
        if now_ms < hot.until_ms && now_ms + HOT_FOR_MS >= hot.until_ms {
            return Some(Arc::clone(hot));
        }
        all.pop(&resource.url);
        None
    }

    /// Keeps a small body in memory, as long as it needs no confirmation.
    pub(super) fn warm(&self, resource: &Resource, entry: &Entry, body: &Body) -> Option<Arc<Hot>> {
        if body.size() > HOT_BODY {
            return None;
        }
        let now_ms = self.now_ms();
        let bytes = Bytes::from(body.read_all().ok()?);
        let hot = Arc::new(Hot { entry: entry.clone(), bytes, until_ms: now_ms + HOT_FOR_MS });
        let mut all = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        all.put(resource.url.clone(), Arc::clone(&hot));
        Some(hot)
    }
}
