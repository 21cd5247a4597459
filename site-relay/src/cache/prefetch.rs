//! Fetching ahead: files that a patch job will need, at a bounded rate, pinned
//! so that eviction leaves them until the job is over.

use super::{Cache, flight, flight::Phase, index::Expected, lookup::Plan, policy::Refusal};
use std::{sync::Arc, time::Duration};
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// One file to have ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its address, as a client would ask the cache.
    pub url: String,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
    /// Its length in bytes.
    pub size: u64,
}

/// A list of files, and the plan for the line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prefetch {
    /// The files, most urgent first.
    pub files: Vec<Wanted>,
    /// Bytes a second on average; 0 means no limit.
    pub bytes_per_s: u64,
    /// Pinned until then, Unix milliseconds.
    pub until_ms: u64,
}

/// Why a file could not be fetched ahead.
#[derive(Debug, Error)]
pub enum PrefetchError {
    /// The site does not allow it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The upstream did not give it.
    #[error(transparent)]
    Upstream(#[from] super::upstream::UpstreamError),
    /// The index failed.
    #[error(transparent)]
    Index(#[from] super::index::IndexError),
}

impl Cache {
    /// Fetches a list ahead, file after file. Returns what could not be had; the
    /// caller asks again in the next window.
    pub async fn prefetch(
        self: &Arc<Self>,
        job: &Prefetch,
        stop: &CancellationToken,
    ) -> Vec<(Wanted, PrefetchError)> {
        let mut missing = Vec::new();
        let started = Instant::now();
        let mut fetched = 0u64;
        for wanted in &job.files {
            if let Some(due_ms) = fetched.saturating_mul(1000).checked_div(job.bytes_per_s) {
                tokio::select! {
                    () = tokio::time::sleep_until(started + Duration::from_millis(due_ms)) => {}
                    () = stop.cancelled() => return missing,
                }
            }
            match self.prefetch_one(wanted, job.until_ms).await {
                Ok(true) => fetched += wanted.size,
                Ok(false) => {}
                Err(error) => missing.push((wanted.clone(), error)),
            }
        }
        missing
    }

    /// `Ok(true)` when it had to be fetched.
    async fn prefetch_one(
        self: &Arc<Self>,
        wanted: &Wanted,
        until_ms: u64,
    ) -> Result<bool, PrefetchError> {
        let resource = self.policy().resolve(&wanted.url)?;
        let fact = super::facts::Fact {
            path: resource.path.clone(),
            sha256: wanted.sha256,
            size: Some(wanted.size),
        };
        self.index.learn(&resource.repository, &[fact])?;
        let fetched = if matches!(self.plan(&resource)?, Plan::Fetch(_)) {
            let expected = Expected { sha256: wanted.sha256, size: Some(wanted.size) };
            let mut rx = flight::join(self, &resource, None, None, Some(expected));
            if let Ok(over) = rx.wait_for(Phase::is_over).await
                && let Phase::Failed(error) = &*over
            {
                return Err(error.clone().into());
            }
            true
        } else {
            false
        };
        if let Some(content) = self.index.by_sha256(&wanted.sha256)? {
            self.index.pin(&[content], until_ms)?;
        }
        Ok(fetched)
    }
}
