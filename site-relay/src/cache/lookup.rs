//! What the cache may serve for a resource, decided from the index alone.

use super::{
    Cache,
    content::Body,
    demand::Demand,
    hot::Hot,
    index::{Entry, Expected, IndexError},
    policy::Resource,
    shape, windows,
};
use std::sync::Arc;

/// How long a tag alone is believed of a body that no index names, milliseconds.
const BELIEVED_MS: u64 = 6 * 3600 * 1000;
/// Up to which length.
const SMALL: u64 = 1024 * 1024;

/// What to do about a resource.
#[derive(Debug)]
pub(super) enum Plan {
    /// Serve from memory.
    Hot(Arc<Hot>),
    /// Serve from disk.
    Fresh(Entry, Box<Body>),
    /// Ask the upstream whether it is still the file; then serve from disk.
    Confirm(Entry),
    /// Ask the upstream for the file; what is here is for when it has none.
    Anew(Entry),
    /// Fetch.
    Fetch(Option<Expected>),
}

impl Cache {
    /// Decides what to do about a resource. Off the async workers, because it
    /// reads the index and opens files; a copy in memory is given at once.
    ///
    /// # Errors
    /// When the index fails.
    pub(super) async fn plan(
        self: &Arc<Self>,
        resource: &Resource,
        demand: Demand,
    ) -> Result<Plan, IndexError> {
        if let Some(hot) = self.hot(resource)
            && (hot.named || demand.takes(&hot.entry, u32::MAX, self.now_ms()))
        {
            return Ok(Plan::Hot(hot));
        }
        let (cache, resource) = (Arc::clone(self), resource.clone());
        let planned = tokio::task::spawn_blocking(move || cache.look_up(&resource, demand));
        planned.await.map_err(|e| IndexError::Disk(e.to_string()))?
    }

    fn look_up(&self, resource: &Resource, demand: Demand) -> Result<Plan, IndexError> {
        let entry = self.index.entry(resource)?;
        if let Some(expected) = self.expected(resource)? {
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
        if let Some(hash) = windows::named(resource) {
            return Ok(match self.is_as_named(resource, &entry, &body, hash) {
                true => Plan::Fresh(entry, Box::new(body)),
                false => Plan::Fetch(None),
            });
        }
        let fresh_s = match shape::is_top(&resource.path) {
            true => 0,
            false => entry.fresh_s.max(resource.fresh_s()),
        };
        if demand.takes(&entry, fresh_s, self.now_ms()) {
            return Ok(Plan::Fresh(entry, Box::new(body)));
        }
        // Damage on the way keeps its tag: what is small is fetched again now and then.
        let old = self.now_ms().saturating_sub(entry.fetched_ms) > BELIEVED_MS;
        let anew = demand.anew || (old && entry.size <= SMALL);
        Ok(if anew { Plan::Anew(entry) } else { Plan::Confirm(entry) })
    }

    /// What the bytes must be: as a signed index says, or as the name itself does.
    pub(super) fn expected(&self, resource: &Resource) -> Result<Option<Expected>, IndexError> {
        let said = self.index.expected(resource)?;
        Ok(said.or_else(|| windows::named_sha256(resource).map(|hash| Expected::of(hash, None))))
    }

    /// Whether a stored body has the hash that its name holds; a body that was kept
    /// before anybody looked is looked at, and dropped when it has not.
    fn is_as_named(
        &self,
        resource: &Resource,
        entry: &Entry,
        body: &Body,
        hash: windows::Sha1,
    ) -> bool {
        if entry.as_named {
            return true;
        }
        let right = windows::sha1(body.file()).is_ok_and(|found| found == hash);
        if right {
            let entry = Entry { as_named: true, ..entry.clone() };
            let _looked_at_again = self.index.confirm(resource, &entry);
        } else {
            self.drop_damaged(&entry.content, entry.size);
        }
        right
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
            fetched_ms: 0,
            as_named: false,
        }))
    }
}
