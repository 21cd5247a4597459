//! What the cloud is told of the cache: only what changed since it was last told,
//! in records that fit a frame.
//!
//! Savings are sums of a day, so a record that is lost or comes twice is made good
//! by the next one. After a start everything is told once.

use super::{
    Cache, Saving,
    index::{Ahead, IndexError},
};
use std::collections::HashMap;
use unifyit_protocol::cache::{AheadFile, AheadState, CacheDay, CachePolicy, CacheReport};

/// Rows in one record.
const ROWS: usize = 512;

/// What the cloud was told so far.
#[derive(Debug, Clone, Default)]
pub struct Told {
    days: HashMap<(String, String), Saving>,
    ahead: HashMap<[u8; 32], (AheadState, String)>,
    policy: Option<CachePolicy>,
    /// How often the cloud had forgotten what it was told.
    times_forgotten: u64,
}

impl Told {
    /// The cloud has forgotten so often what it was told: nothing counts as told that was
    /// so before the last time.
    pub fn forgotten(&mut self, times: u64) {
        if times != self.times_forgotten {
            *self = Self { times_forgotten: times, ..Self::default() };
        }
    }

    /// What is new, and what the cloud will then have been told. Savings change
    /// all the time and are told only when `savings` asks for them.
    ///
    /// # Errors
    /// When the index fails.
    pub fn news(
        &self,
        cache: &Cache,
        savings: bool,
    ) -> Result<(Vec<CacheReport>, Self), IndexError> {
        let mut told = self.clone();
        let mut days = Vec::new();
        if savings {
            told.days = HashMap::new();
            for (day, repository, saving) in cache.saved()? {
                let key = (day, repository);
                if self.days.get(&key) != Some(&saving) {
                    days.push(row(&key, &saving));
                }
                told.days.insert(key, saving);
            }
        }
        let mut ahead = Vec::new();
        told.ahead = HashMap::new();
        for file in cache.ahead()? {
            let now = (state_of(&file), if file.done { String::new() } else { file.failure });
            if self.ahead.get(&file.sha256) != Some(&now) {
                ahead.push(AheadFile { sha256: file.sha256, state: now.0, reason: now.1.clone() });
            }
            told.ahead.insert(file.sha256, now);
        }
        let policy = Some(cache.allowed());
        let at_ms = cache.now_ms();
        let mut reports = Vec::new();
        for days in days.chunks(ROWS) {
            reports.push(CacheReport { at_ms, days: days.to_vec(), ..CacheReport::default() });
        }
        for ahead in ahead.chunks(ROWS) {
            reports.push(CacheReport { at_ms, ahead: ahead.to_vec(), ..CacheReport::default() });
        }
        if policy != self.policy {
            reports.push(CacheReport { at_ms, policy: policy.clone(), ..CacheReport::default() });
        }
        told.policy = policy;
        Ok((reports, told))
    }
}

impl Cache {
    /// Waits until there is something to tell besides savings.
    pub async fn news(&self) {
        self.news.notified().await;
    }
}

fn row((day, repository): &(String, String), saving: &Saving) -> CacheDay {
    CacheDay {
        day: day.clone(),
        repository: repository.clone(),
        served: saving.served,
        fetched: saving.fetched,
        hits: saving.hits,
        misses: saving.misses,
    }
}

fn state_of(file: &Ahead) -> AheadState {
    match (file.done, file.failures, file.refused) {
        (true, ..) => AheadState::Ready,
        (_, 0, _) => AheadState::Waiting,
        (.., true) => AheadState::Refused,
        _ => AheadState::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_cloud_forgot_does_not_count_as_told() {
        let policy = Some(CachePolicy::default());
        let mut told = Told { policy, ..Told::default() };
        told.forgotten(0);
        assert!(told.policy.is_some(), "it forgot nothing");
        told.forgotten(1);
        assert!(told.policy.is_none());
        told.policy = Some(CachePolicy::default());
        told.forgotten(1);
        assert!(told.policy.is_some(), "that was told since");
    }
}
