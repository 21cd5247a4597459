//! Reading the indexes that come by, and remembering what they say.
//!
//! One at a time and as a stream: however many and however large indexes arrive
//! at once, reading them costs the memory of one decoder.

use super::{
    Cache,
    content::{self, Body},
    facts,
    index::{Entry, IndexError, Teacher},
    policy::Resource,
};
use std::{
    io::{self, Read},
    sync::PoisonError,
};

/// Facts written in one transaction.
const BATCH: usize = 4096;

impl Cache {
    /// Reads the body just kept when it is an index, and remembers what it says.
    pub(super) fn learn(&self, resource: &Resource, entry: &Entry) {
        let Some(kind) =
            facts::teaches(&resource.path).or_else(|| self.by_hash_kind(resource, entry))
        else {
            return;
        };
        if entry.size > facts::MAX_INDEX {
            tracing::warn!(url = %resource.url, size = entry.size, "A repository's index is too long to be read; the files that it names are not held against it.");
            self.meters.unread.inc();
            return;
        }
        let _one_at_a_time = self.learning.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.plain_path(resource, entry);
        let mut siblings = Vec::new();
        self.learn_body(kind, resource, &path, &entry.content, &mut |fact| {
            // A release may go back to an index that is known already and was
            // overruled since: what it says holds again.
            let sibling = facts::IndexKind::of(&fact.path).filter(|_| kind.names_indexes());
            let known = self.index.by_sha256(&fact.sha256).ok().flatten();
            if let (Some(kind), Some(content)) = (sibling, known) {
                siblings.push((kind, fact.path.clone(), content));
            }
        });
        for (kind, path, content) in siblings {
            self.learn_body(kind, resource, &path, &content, &mut |_| {});
        }
        self.bound_facts();
        // Small bodies in memory may be of the index before this one.
        self.cool_all();
    }

    /// Remembers what one stored index says; `each` sees the facts of one that
    /// names indexes.
    fn learn_body(
        &self,
        kind: facts::IndexKind,
        resource: &Resource,
        path: &str,
        content: &content::Hash,
        each: &mut dyn FnMut(&facts::Fact),
    ) {
        let Some(body) = self.contents.get(content) else { return };
        let teacher = Teacher { place: &resource.place, path, at_ms: self.now_ms() };
        let (mut batch, mut count) = (Vec::new(), 0);
        let read = facts::read(kind, path, Checked::new(&body), &mut |fact| {
            if kind.names_indexes() {
                each(&fact);
            }
            batch.push(fact);
            count += 1;
            if batch.len() < BATCH {
                return Ok(());
            }
            let learnt = self.index.learn(teacher, &batch).map_err(|e| e.to_string());
            batch.clear();
            learnt
        });
        if let Err(error) = read {
            self.meters.unread.inc();
            tracing::info!(path, %error, "A repository's index could not be read to its end.");
        }
        let ended = self.index.learn(teacher, &batch);
        if let Err(error) = ended.and_then(|()| self.index.taught(teacher, count)) {
            tracing::warn!(%error, "What a repository's index says could not be remembered.");
        }
    }

    /// Keeps what indexes said within its bound.
    pub(super) fn bound_facts(&self) {
        let most = self.config.max_facts.max(1000);
        let bounded = || -> Result<u64, IndexError> {
            let facts = self.index.facts()?;
            if facts <= most {
                return Ok(facts);
            }
            let gone = self.index.forget_facts(most)?;
            self.meters.facts_forgotten.inc_by(gone);
            tracing::warn!(
                gone,
                most,
                "The package cache remembers no more of what repositories' indexes say: cache.max_facts is reached."
            );
            Ok(facts - gone)
        };
        match bounded() {
            Ok(facts) => self.meters.facts.set(i64::try_from(facts).unwrap_or(i64::MAX)),
            Err(error) => tracing::warn!(%error, "What repositories' indexes say is not bounded."),
        }
    }

    /// apt fetches indexes by hash; the name that `Release` gave the same hash
    /// tells what it is.
    fn by_hash_kind(&self, resource: &Resource, entry: &Entry) -> Option<facts::IndexKind> {
        (resource.path.contains("/by-hash/") && !resource.path.contains('?')).then_some(())?;
        facts::IndexKind::of(&self.plain_path(resource, entry))
    }

    pub(super) fn plain_path(&self, resource: &Resource, entry: &Entry) -> String {
        let path = super::naming::of_fact(&resource.path).into_owned();
        if !path.contains("/by-hash/") {
            return path;
        }
        let sha256 = self.index.content(&entry.content).ok().flatten().map(|c| c.sha256);
        sha256
            .and_then(|sha256| self.index.name_of(&resource.place, &path, &sha256).ok())
            .flatten()
            .unwrap_or(path)
    }
}

/// Reads a body block by block, each checked.
struct Checked<'a> {
    body: &'a Body,
    block: Vec<u8>,
    /// Where the next byte is: in the file, and in the block.
    at: u64,
    within: usize,
}

impl<'a> Checked<'a> {
    fn new(body: &'a Body) -> Self {
        Self { body, block: Vec::new(), at: 0, within: 0 }
    }
}

impl Read for Checked<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.within == self.block.len() {
            if self.at >= self.body.size() {
                return Ok(0);
            }
            self.body.block(self.at, &mut self.block)?;
            self.within = 0;
        }
        let read = self.block.get(self.within..).unwrap_or_default().read(buffer)?;
        self.within += read;
        self.at += read as u64;
        Ok(read)
    }
}
