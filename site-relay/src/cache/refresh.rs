//! Looking at the top again: when bytes are not those that the signed index names,
//! the index may be the older of the two.
//!
//! A package is named by an index, that index by another, and the top one by
//! nobody. Where something does not fit, the chain is fetched anew from its top,
//! whatever freshness was granted to it, and what it says now holds. A signature
//! beside an index is fetched with it, so that both are of one age.

use super::{
    Cache,
    flight::{self, Phase},
    index::{Entry, Expected},
    policy::Resource,
    shape,
    upstream::UpstreamError,
};
use std::sync::Arc;

/// Longest chain of indexes: a package's, its release's, and one to spare.
const CHAIN: usize = 3;

impl Cache {
    /// Fetches the indexes above a resource anew, unless the top one was confirmed
    /// in the last `within_ms`. `true` when they name other bytes now.
    pub(super) async fn look_again(self: &Arc<Self>, resource: &Resource, within_ms: u64) -> bool {
        if within_ms > 0 && self.upstream_lost_since_ms().is_some() {
            // Nobody is made to wait for what was out of reach a moment ago.
            return false;
        }
        let (cache, of) = (Arc::clone(self), resource.clone());
        let chain = tokio::task::spawn_blocking(move || cache.chain(&of)).await;
        let Ok(Some((before, chain))) = chain else { return false };
        let Some(((top, confirmed_ms), below)) = chain.split_last() else { return false };
        let now_ms = self.now_ms();
        if now_ms.saturating_sub(*confirmed_ms) < within_ms && *confirmed_ms <= now_ms {
            return false;
        }
        // Not under a condition: what is here may be damaged under the same tag.
        if !self.have(top, None).await {
            return false;
        }
        for (index, _) in below.iter().rev() {
            let (cache, of) = (Arc::clone(self), index.clone());
            let missing = tokio::task::spawn_blocking(move || cache.missing(&of)).await;
            if let Ok(Some(expected)) = missing
                && !self.have(index, Some(expected)).await
            {
                return false;
            }
        }
        let (cache, of) = (Arc::clone(self), resource.clone());
        let after = tokio::task::spawn_blocking(move || cache.index.expected(&of).ok().flatten());
        matches!(after.await, Ok(Some(after)) if after.sha256 != before.sha256)
    }

    /// After an answer broke off because the bytes were wrong: the next one is to
    /// find indexes that are of today.
    pub(super) fn broke_off(self: &Arc<Self>, resource: &Resource, phase: &Phase) {
        if matches!(phase, Phase::Failed(UpstreamError::Mismatch)) {
            let (cache, resource) = (Arc::clone(self), resource.clone());
            tokio::spawn(async move { cache.look_again(&resource, 0).await });
        }
    }

    /// What is expected of a resource, and the indexes above it, nearest first, with
    /// the time of their last confirmation.
    fn chain(&self, resource: &Resource) -> Option<(Expected, Vec<(Resource, u64)>)> {
        let before = self.index.expected(resource).ok()??;
        let (mut chain, mut expected) = (Vec::new(), Some(before));
        let policy = self.policy();
        while let Some(of) = expected.filter(|_| chain.len() < CHAIN) {
            let path = self.index.teacher(&resource.place, &of).ok()??;
            let index = policy.beside(resource, &path)?;
            let entry = self.index.entry(&index).ok().flatten();
            expected = self.index.expected(&index).ok()?;
            chain.push((index, entry.map_or(0, |entry| entry.checked_ms)));
        }
        Some((before, chain))
    }

    /// What is expected of an index that is not here in that form.
    fn missing(&self, index: &Resource) -> Option<Expected> {
        let expected = self.index.expected(index).ok()??;
        let known = self.index.by_sha256(&expected.sha256).ok().flatten();
        known.is_none().then_some(expected)
    }

    /// Fetches, and waits until it is kept.
    async fn have(self: &Arc<Self>, resource: &Resource, expected: Option<Expected>) -> bool {
        let mut rx = flight::join(self, resource, None, None, expected);
        let over = rx.wait_for(Phase::is_over).await;
        over.is_ok_and(|over| matches!(&*over, Phase::Kept(..)))
    }

    /// After an index changed: its signature's turn, or the other way round, if it
    /// is here.
    pub(super) fn refresh_other_half(self: &Arc<Self>, resource: &Resource) {
        let Some(path) = shape::other_half(&resource.path) else { return };
        let Some(other) = self.policy().beside(resource, &path) else { return };
        let known: Option<Entry> = self.index.entry(&other).ok().flatten();
        if let Some(known) = known {
            drop(flight::join(self, &other, None, Some(known), None));
        }
    }
}
