//! Small bodies in memory: for a moment, and within a bound of bytes, in which also
//! an empty body has its share: whoever asks for one file under ever other queries
//! fills no memory.

use super::{
    Cache,
    content::Body,
    index::{Entry, IndexError},
    policy::Resource,
};
use bytes::Bytes;
use std::sync::{Arc, PoisonError};

/// Bodies up to this length are held.
const BODY: u64 = 64 * 1024;
/// What a body costs besides its bytes and words: places in tables and lists.
const FIXED: usize = 512;
/// Bytes held at most.
const BYTES: usize = 8 * 1024 * 1024;
/// Longest time that a copy is used without a look at the index.
const FOR_MS: u64 = 2_000;

/// A small body in memory.
#[derive(Debug)]
pub(super) struct Hot {
    /// Its entry.
    pub entry: Entry,
    /// Its bytes, verified when they were read.
    pub bytes: Bytes,
    /// Whether a signed index names them, so that no client wants them confirmed.
    pub named: bool,
    until_ms: u64,
}

/// What is held.
#[derive(Debug)]
pub(super) struct HotBodies {
    all: lru::LruCache<Resource, Arc<Hot>>,
    bytes: usize,
}

impl Default for HotBodies {
    fn default() -> Self {
        Self { all: lru::LruCache::unbounded(), bytes: 0 }
    }
}

impl HotBodies {
    fn put(&mut self, resource: Resource, hot: Arc<Hot>) {
        // An equal name may have come by another address, of another length.
        self.remove(&resource);
        self.bytes += hot.cost(&resource);
        self.all.put(resource, hot);
        while self.bytes > BYTES {
            let Some((resource, oldest)) = self.all.pop_lru() else { break };
            self.bytes -= oldest.cost(&resource);
        }
    }

    fn remove(&mut self, resource: &Resource) {
        if let Some((resource, gone)) = self.all.pop_entry(resource) {
            self.bytes -= gone.cost(&resource);
        }
    }

    fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Hot {
    /// Bytes that it takes, with the name that it stands under.
    fn cost(&self, resource: &Resource) -> usize {
        let Resource { repository, place, path, url } = resource;
        let words = [&self.entry.etag, &self.entry.last_modified, &self.entry.content_type];
        let words: usize = words.into_iter().flatten().map(String::len).sum();
        let name = repository.len() + place.len() + path.len() + url.len();
        FIXED + name + words + self.bytes.len()
    }

    /// Whether it may be used at a moment; a clock that was set back ends it too.
    fn holds(&self, now_ms: u64) -> bool {
        now_ms < self.until_ms && now_ms + FOR_MS >= self.until_ms
    }
}

impl Cache {
    /// The copy in memory, while it may be used without a look at the index.
    pub(super) fn hot(&self, resource: &Resource) -> Option<Arc<Hot>> {
        let now_ms = self.now_ms();
        let mut held = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        let hot = held.all.get(resource)?;
        if hot.holds(now_ms) {
            return Some(Arc::clone(hot));
        }
        held.remove(resource);
        None
    }

    /// Keeps a small body in memory, as long as it needs no confirmation.
    pub(super) fn warm(&self, resource: &Resource, entry: &Entry, body: &Body) -> Option<Arc<Hot>> {
        if body.size() > BODY {
            return None;
        }
        let until_ms = self.now_ms() + FOR_MS;
        let bytes = Bytes::from(body.read_all().ok()?);
        let named = matches!(self.expected(resource), Ok(Some(_)));
        let hot = Arc::new(Hot { entry: entry.clone(), bytes, named, until_ms });
        self.hot
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .put(resource.clone(), Arc::clone(&hot));
        // Whoever keeps another body, or learns of another hash, writes that down
        // first and drops copies then: one of the two sees the other.
        if !self.is_still(resource, entry).unwrap_or(false) {
            self.cool_one(resource);
        }
        Some(hot)
    }

    /// Whether a content is still what its name stands for.
    fn is_still(&self, resource: &Resource, entry: &Entry) -> Result<bool, IndexError> {
        if let Some(expected) = self.expected(resource)? {
            let known = self.index.content(&entry.content)?;
            return Ok(known.is_some_and(|known| known.sha256 == expected.sha256));
        }
        Ok(self.index.entry(resource)?.is_some_and(|now| now.content == entry.content))
    }

    /// Drops one copy: another body was kept under its name.
    pub(super) fn cool_one(&self, resource: &Resource) {
        self.hot.lock().unwrap_or_else(PoisonError::into_inner).remove(resource);
    }

    /// Gives the memory back that nobody has use for any more.
    pub(super) fn cool(&self) {
        let now_ms = self.now_ms();
        let mut held = self.hot.lock().unwrap_or_else(PoisonError::into_inner);
        if held.all.iter().all(|(_, hot)| !hot.holds(now_ms)) {
            held.clear();
        }
    }

    /// Drops all copies: what indexes say has changed.
    pub(super) fn cool_all(&self) {
        self.hot.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_stays_within_its_bytes() {
        let mut held = HotBodies::default();
        for n in 0..1000 {
            held.put(resource(n % 500), hot(60_000));
            let each = hot(60_000).cost(&resource(100));
            assert!(held.bytes <= BYTES && held.bytes <= held.all.len() * each);
        }
        assert!(held.all.len() > 100);
        for n in 0..500 {
            held.remove(&resource(n));
        }
        assert_eq!((held.bytes, held.all.len()), (0, 0));
    }

    #[test]
    fn empty_bodies_and_long_names_have_their_share_of_the_bound() {
        let mut held = HotBodies::default();
        for n in 0..40_000 {
            held.put(resource(n), hot(0));
        }
        assert!(held.all.len() <= BYTES / FIXED, "{} are held", held.all.len());
    }

    fn resource(n: usize) -> Resource {
        Resource {
            repository: "r".into(),
            place: "r".into(),
            path: format!("/?{n}"),
            url: String::new(),
        }
    }

    fn hot(length: usize) -> Arc<Hot> {
        let entry = Entry {
            content: [0; 32],
            size: length as u64,
            etag: None,
            last_modified: None,
            content_type: None,
            checked_ms: 0,
            fresh_s: 0,
            fetched_ms: 0,
            as_named: false,
        };
        let bytes = Bytes::from(vec![0; length]);
        Arc::new(Hot { entry, bytes, named: false, until_ms: 0 })
    }
}
