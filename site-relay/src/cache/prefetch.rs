//! Fetching ahead: files that a patch job will need, in the site's off hours and
//! within its plan for the line, pinned so that eviction leaves them until the
//! job is over.
//!
//! The list is durable: what one night or one start of the relay does not
//! finish, the next one does. A file under way when working hours begin is given
//! up; clients that ask for it meanwhile get it at full speed.

use super::{
    Cache,
    demand::Demand,
    flight::{self, Phase},
    index::{AHEAD_LIST, Ahead, Expected, IndexError, Teacher},
    lookup::Plan,
    policy::Refusal,
};
use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use thiserror::Error;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use unifyit_protocol::cache::CachePlan;

/// How often the list and the clock are looked at.
const TICK: Duration = Duration::from_secs(30);
/// How often the clock is looked at while a file is under way.
const LOOK: Duration = Duration::from_millis(500);
/// A file that could not be had is tried again after this.
const AGAIN_MS: u64 = 10 * 60 * 1000;
/// Longest text about a failure.
const MAX_FAILURE: usize = 200;

/// One file to have ready.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its address, as a client would ask the cache.
    pub url: String,
    /// SHA-256 of its content.
    pub sha256: [u8; 32],
    /// Its length in bytes.
    pub size: u64,
    /// Wanted, and pinned, until then, Unix milliseconds.
    pub until_ms: u64,
}

/// Why a file could not be fetched ahead.
#[derive(Debug, Error)]
enum AheadError {
    #[error(transparent)]
    Refused(#[from] Refusal),
    #[error(transparent)]
    Upstream(#[from] super::upstream::UpstreamError),
    #[error(transparent)]
    Index(#[from] IndexError),
    #[error("working hours began")]
    Closed,
}

/// The hours of a day, UTC, in which files are fetched ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hours {
    from_min: u64,
    until_min: u64,
}

impl Hours {
    /// Reads `22:00` and `05:00`. The same twice means all day.
    ///
    /// # Errors
    /// The text that is no time of day.
    pub(super) fn parse(from: &str, until: &str) -> Result<Self, String> {
        Ok(Self { from_min: minute(from)?, until_min: minute(until)? })
    }

    /// Those of a plan.
    #[must_use]
    pub(super) fn of(plan: CachePlan) -> Self {
        let day = 24 * 60;
        Self {
            from_min: u64::from(plan.from_min) % day,
            until_min: u64::from(plan.until_min) % day,
        }
    }

    /// Minutes since midnight: from when, and until when.
    #[must_use]
    pub(super) fn minutes(self) -> (u16, u16) {
        let minute = |at: u64| u16::try_from(at).unwrap_or(0);
        (minute(self.from_min), minute(self.until_min))
    }

    /// Whether a moment lies in them.
    #[must_use]
    pub(super) fn open(self, now_ms: u64) -> bool {
        let now = now_ms / 60_000 % (24 * 60);
        if self.from_min < self.until_min {
            (self.from_min..self.until_min).contains(&now)
        } else {
            now >= self.from_min || now < self.until_min
        }
    }
}

fn minute(text: &str) -> Result<u64, String> {
    let read = || {
        let (hour, minute) = text.trim().split_once(':')?;
        let (hour, minute): (u64, u64) = (hour.parse().ok()?, minute.parse().ok()?);
        (hour < 24 && minute < 60).then_some(hour * 60 + minute)
    };
    read().ok_or_else(|| text.to_owned())
}

/// A token bucket: bytes a second, with a second's worth saved up at most.
#[derive(Debug)]
pub(super) struct Bucket {
    bytes_per_s: u64,
    /// When the bytes taken so far are paid for.
    paid: Mutex<Option<Instant>>,
}

impl Bucket {
    /// 0 means no limit.
    #[must_use]
    pub(super) fn new(bytes_per_s: u64) -> Self {
        Self { bytes_per_s, paid: Mutex::default() }
    }

    /// Takes bytes, and says until when to wait before the next ones.
    pub(super) fn take(&self, bytes: u64, now: Instant) -> Instant {
        let Some(cost_us) = bytes.saturating_mul(1_000_000).checked_div(self.bytes_per_s) else {
            return now;
        };
        let mut paid = self.paid.lock().unwrap_or_else(PoisonError::into_inner);
        let saved = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let until = paid.map_or(saved, |at| at.max(saved)) + Duration::from_micros(cost_us);
        *paid = Some(until);
        until
    }
}

impl Cache {
    /// Makes these the list, most urgent first. What is on it already keeps how far
    /// it is; what is not named any more goes from it and is no longer pinned.
    /// Returns how many found no place.
    ///
    /// # Errors
    /// When the index fails.
    pub fn want(&self, files: &[Wanted]) -> Result<usize, IndexError> {
        let now_ms = self.now_ms();
        let rows: Vec<_> = (now_ms..)
            .zip(files)
            .map(|(place, file)| Ahead {
                url: file.url.clone(),
                sha256: file.sha256,
                size: file.size,
                until_ms: file.until_ms,
                place,
                done: false,
                failures: 0,
                tried_ms: 0,
                failure: String::new(),
                refused: false,
            })
            .collect();
        let left_out = self.index.want(&rows)?;
        self.wanted.notify_one();
        if left_out > 0 {
            tracing::warn!(left_out, "The list of files to fetch ahead is full.");
        }
        self.show_ahead()?;
        Ok(left_out)
    }

    /// The list as it stands.
    ///
    /// # Errors
    /// When the index fails.
    pub fn ahead(&self) -> Result<Vec<Ahead>, IndexError> {
        self.index.ahead(self.now_ms())
    }

    /// Whether it is an hour for fetching ahead.
    #[must_use]
    pub fn is_off_hours(&self) -> bool {
        self.rules().hours.open(self.now_ms())
    }

    /// Works the list off in off hours, until `stop`.
    pub(super) async fn fetch_ahead(self: &Arc<Self>, stop: &CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = async {
                    self.fetch_ahead_now().await;
                    tokio::select! {
                        () = tokio::time::sleep(TICK) => {}
                        () = self.wanted.notified() => {}
                    }
                } => {}
            }
        }
    }

    /// Goes through the list once, as long as off hours last. Returns how many
    /// files became ready.
    pub async fn fetch_ahead_now(self: &Arc<Self>) -> usize {
        let mut ready = 0;
        let list = match self.ahead() {
            Ok(list) => list,
            Err(error) => {
                tracing::warn!(%error, "The list of files to fetch ahead cannot be read.");
                return 0;
            }
        };
        let now_ms = self.now_ms();
        let due = |f: &Ahead| {
            !f.done && (f.failures == 0 || now_ms.saturating_sub(f.tried_ms) >= AGAIN_MS)
        };
        for mut file in list.into_iter().filter(due) {
            if !self.is_off_hours() {
                break;
            }
            match self.fetch_one_ahead(&file).await {
                Ok(()) => {
                    ready += 1;
                    file.done = true;
                    file.refused = false;
                    file.failure = String::new();
                }
                Err(AheadError::Closed) => break,
                Err(error) => {
                    file.failures = file.failures.saturating_add(1);
                    file.refused = matches!(error, AheadError::Refused(_));
                    file.tried_ms = self.now_ms();
                    file.failure = error.to_string().chars().take(MAX_FAILURE).collect();
                    tracing::info!(url = %file.url, %error, "A file could not be fetched ahead.");
                }
            }
            if let Err(error) = self.index.fared(&file) {
                tracing::warn!(%error, "The list of files to fetch ahead cannot be written.");
            }
        }
        if let Err(error) = self.show_ahead() {
            tracing::debug!(%error, "the list of files to fetch ahead cannot be shown");
        }
        ready
    }

    async fn fetch_one_ahead(self: &Arc<Self>, file: &Ahead) -> Result<(), AheadError> {
        let resource = self.policy().resolve(&file.url)?;
        let fact = super::facts::Fact {
            path: super::naming::of_fact(&resource.path).into_owned(),
            sha256: file.sha256,
            size: Some(file.size),
        };
        let (cache, place, at_ms) = (Arc::clone(self), resource.place.clone(), self.now_ms());
        flight::on_disk(move || {
            let teacher = Teacher { place: &place, path: AHEAD_LIST, at_ms };
            cache.index.learn(teacher, &[fact])?;
            cache.index.taught(teacher, 1)
        })
        .await?;
        if matches!(self.plan(&resource, Demand::default()).await?, Plan::Fetch(_)) {
            let expected = Expected::of(file.sha256, Some(file.size));
            let pace = Some(Arc::clone(&self.rules().line));
            let mut rx = flight::join_paced(self, &resource, None, None, Some(expected), pace);
            loop {
                tokio::select! {
                    over = rx.wait_for(Phase::is_over) => {
                        if let Ok(over) = over && let Phase::Failed(error) = &*over {
                            return Err(error.clone().into());
                        }
                        break;
                    }
                    // Leaving is what gives the fetch up, unless others wait for it.
                    () = tokio::time::sleep(LOOK) => if !self.is_off_hours() {
                        return Err(AheadError::Closed);
                    },
                }
            }
        }
        let Some(content) = self.index.by_sha256(&file.sha256)? else {
            return Err(super::upstream::UpstreamError::Disk("the file was not kept".into()).into());
        };
        Ok(self.index.pin(&[content], file.until_ms)?)
    }

    fn show_ahead(&self) -> Result<(), IndexError> {
        let list = self.ahead()?;
        let count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        let waiting = list.iter().filter(|f| !f.done);
        let bytes: u64 = waiting.clone().map(|f| f.size).sum();
        self.meters.ahead_files.set(count(waiting.count()));
        self.meters.ahead_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        let failing = list.iter().filter(|f| !f.done && f.failures > 0);
        self.meters.ahead_failing.set(count(failing.count()));
        self.news.notify_one();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(hour: u64, minute: u64) -> u64 {
        ((20_000 * 24 + hour) * 60 + minute) * 60_000
    }

    #[test]
    fn hours_may_pass_midnight() {
        let night = Hours::parse("22:00", "05:30").unwrap_or(Hours { from_min: 0, until_min: 0 });
        assert!(night.open(at(22, 0)) && night.open(at(0, 0)) && night.open(at(5, 29)));
        assert!(!night.open(at(5, 30)) && !night.open(at(12, 0)) && !night.open(at(21, 59)));
        let noon = Hours::parse("12:00", "13:00");
        assert!(noon.is_ok_and(|h| h.open(at(12, 30)) && !h.open(at(13, 0))));
        assert!(Hours::parse("07:00", "07:00").is_ok_and(|h| h.open(at(3, 0))));
        assert_eq!(Hours::parse("24:00", "05:00"), Err("24:00".into()));
        assert_eq!(Hours::parse("22:00", "5"), Err("5".into()));
    }

    #[test]
    fn a_bucket_holds_the_average_and_saves_up_a_second_at_most() {
        let bucket = Bucket::new(1000);
        let start = Instant::now() + Duration::from_secs(10_000);
        // A second's worth goes at once, then a byte a millisecond.
        assert_eq!(bucket.take(1000, start), start);
        assert_eq!(bucket.take(500, start), start + Duration::from_millis(500));
        assert_eq!(bucket.take(500, start), start + Duration::from_secs(1));
        let later = start + Duration::from_secs(100);
        assert_eq!(bucket.take(2000, later), later + Duration::from_secs(1));
        assert_eq!(Bucket::new(0).take(u64::MAX, later), later);
    }
}
