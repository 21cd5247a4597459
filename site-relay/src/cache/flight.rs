//! One fetch for any number of waiting clients.
//!
//! A flight fetches one resource into a partial file while clients read from
//! the same file, each at its own pace and from the first byte. The last byte is
//! held back until the whole body has proved to be what it should (length, and
//! the signed index's hash where there is one), so that a wrong body is never
//! served whole. An upstream that breaks off is asked again from where it
//! stopped, with `Range` and `If-Range`; clients notice nothing.

use super::{
    Cache, content, facts,
    index::{Entry, Expected},
    policy::Resource,
    prefetch::Bucket,
    upstream::{self, Ask, Head, UpstreamError},
};
use bytes::Bytes;
use std::{
    fs::File,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};
use tokio::sync::watch;

/// How often a broken fetch is taken up again without progress.
const ATTEMPTS: u32 = 6;
/// A fetch that nobody waits for goes on from this share, in percent.
const FINISH_FROM: u64 = 25;
/// Bytes of a body of unknown length for which room is made at a time.
const GRANT: u64 = 8 * 1024 * 1024;
/// Bytes between two notices to waiting clients.
const NOTICE: u64 = 64 * 1024;

/// Where a flight stands.
#[derive(Debug, Clone)]
pub(super) enum Phase {
    /// No answer yet.
    Asking,
    /// Bytes arrive.
    Streaming(Arc<Streaming>, u64),
    /// The upstream confirmed what the cache has.
    Confirmed(Arc<Entry>),
    /// Complete and checked; it is on its way to the disk.
    Whole(Arc<Streaming>, Arc<Entry>),
    /// As before and, if the disk allowed it, kept.
    Kept(Arc<Streaming>, Arc<Entry>),
    /// Given up; what was sent stays a fragment.
    Failed(UpstreamError),
}

/// What clients need in order to read along.
#[derive(Debug)]
pub(super) struct Streaming {
    /// The answer's head.
    pub head: Head,
    /// The partial file; it stays readable after it got its name.
    pub file: File,
}

impl Phase {
    /// Bytes that may be sent to clients by now.
    #[must_use]
    pub(super) fn available(&self) -> u64 {
        match self {
            Self::Streaming(_, written) => written.saturating_sub(1),
            Self::Whole(_, entry) | Self::Kept(_, entry) => entry.size,
            _ => 0,
        }
    }

    /// Whether nothing more will come.
    #[must_use]
    pub(super) fn is_over(&self) -> bool {
        matches!(self, Self::Confirmed(_) | Self::Kept(..) | Self::Failed(_))
    }
}

/// What a flight fetches: a resource, and the SHA-256 that it must turn out to
/// have. Who expects other bytes joins another flight.
pub(super) type Key = (Resource, Option<[u8; 32]>);

/// Joins the flight for a resource, starting it when there is none.
pub(super) fn join(
    cache: &Arc<Cache>,
    resource: &Resource,
    accept: Option<&str>,
    known: Option<Entry>,
    expected: Option<Expected>,
) -> watch::Receiver<Phase> {
    join_paced(cache, resource, accept, known, expected, None)
}

/// [`join`] for one who is in no hurry: the fetch is held to `pace`, and given
/// up when that one leaves, unless clients wait for it too.
pub(super) fn join_paced(
    cache: &Arc<Cache>,
    resource: &Resource,
    accept: Option<&str>,
    known: Option<Entry>,
    expected: Option<Expected>,
    pace: Option<Arc<Bucket>>,
) -> watch::Receiver<Phase> {
    let mut flights = cache.flights.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let key = (resource.clone(), expected.map(|e| e.sha256));
    if let Some(flight) = flights.get(&key)
        && flight.has_changed().is_ok()
    {
        return flight.clone();
    }
    let (tx, rx) = watch::channel(Phase::Asking);
    flights.insert(key.clone(), rx.clone());
    cache.meters.flights.inc();
    let (cache, resource) = (Arc::clone(cache), resource.clone());
    let accept = accept.map(str::to_owned);
    tokio::spawn(async move {
        let fetch = Fetch { cache: &cache, resource: &resource, expected, pace, tx: &tx };
        let last = match fetch.run(known, accept.as_deref()).await {
            Ok(phase) => phase,
            Err(error) => {
                tracing::info!(url = %resource.url, %error, "A fetch for the package cache failed.");
                Phase::Failed(error)
            }
        };
        // Out of the table first: who comes from here on sees the index.
        cache.flights.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(&key);
        cache.meters.flights.dec();
        tx.send_replace(last);
    });
    rx
}

/// One fetch under way.
pub(super) struct Fetch<'a> {
    pub(super) cache: &'a Arc<Cache>,
    pub(super) resource: &'a Resource,
    pub(super) expected: Option<Expected>,
    pub(super) pace: Option<Arc<Bucket>>,
    pub(super) tx: &'a watch::Sender<Phase>,
}

impl Fetch<'_> {
    async fn run(
        &self,
        known: Option<Entry>,
        accept: Option<&str>,
    ) -> Result<Phase, UpstreamError> {
        if let Some((file, entry)) = self.try_sisters().await {
            return Ok(Phase::Kept(file, entry));
        }
        let started = Instant::now();
        let ask = Ask { unless: known.as_ref(), accept, ..Ask::default() };
        let mut response = upstream::get(&self.cache.client, &self.resource.url, ask).await?;
        let status = response.status();
        if let (304, Some(known)) = (status.as_u16(), known) {
            let entry = Entry { checked_ms: self.cache.now_ms(), ..known };
            let (cache, resource, renewed) =
                (Arc::clone(self.cache), self.resource.clone(), entry.clone());
            // Not noted means asked again, no more.
            let _told = on_disk(move || cache.index.confirm(&resource, &renewed)).await;
            return Ok(Phase::Confirmed(Arc::new(entry)));
        }
        if status.as_u16() != 200 {
            return Err(UpstreamError::Status(status.as_u16()));
        }
        let head = Head::of(&response);
        if let (Some(size), Some(Expected { size: Some(should), .. })) = (head.size, self.expected)
            && size != should
        {
            return Err(UpstreamError::Mismatch);
        }
        let _room =
            self.cache.make_room(head.size.unwrap_or(0)).await.map_err(UpstreamError::Disk)?;
        let name = self.cache.next_partial.fetch_add(1, Ordering::Relaxed);
        let mut partial = self.cache.contents.begin(name).map_err(disk)?;
        let shared =
            Arc::new(Streaming { head: head.clone(), file: partial.reader().map_err(disk)? });
        self.tx.send_replace(Phase::Streaming(Arc::clone(&shared), 0));
        let received = self.receive(&mut response, &head, &mut partial, &shared).await;
        if let Err(error) = received {
            partial.discard();
            return Err(error);
        }
        self.keep(partial, head, &shared, started).await
    }

    /// Receives the body, taking it up again where the upstream breaks off.
    async fn receive(
        &self,
        response: &mut reqwest::Response,
        head: &Head,
        partial: &mut content::Partial,
        shared: &Arc<Streaming>,
    ) -> Result<(), UpstreamError> {
        let mut failures = 0;
        loop {
            let before = partial.written();
            let broke = match self.drain(response, head, partial, shared).await? {
                None if head.size.is_none_or(|size| size == partial.written()) => return Ok(()),
                None => "the body ended early".to_owned(),
                Some(why) => why,
            };
            failures = if partial.written() > before { 1 } else { failures + 1 };
            let Some(validator) = head.validator().filter(|_| head.size.is_some()) else {
                return Err(UpstreamError::Unreachable(broke));
            };
            loop {
                if failures > ATTEMPTS {
                    return Err(UpstreamError::Unreachable(broke));
                }
                self.cache.meters.resumes.inc();
                tokio::time::sleep(Duration::from_millis(100 << failures.min(5))).await;
                let from = partial.written();
                let ask = Ask { from, if_range: Some(validator), ..Ask::default() };
                match upstream::get(&self.cache.client, &self.resource.url, ask).await {
                    Ok(next) => match next.status().as_u16() {
                        206 if starts_at(&next, from) && head.same_file(&Head::of(&next)) => {
                            *response = next;
                            break;
                        }
                        200 | 206 | 412 | 416 => return Err(UpstreamError::Changed),
                        _ => failures += 1,
                    },
                    Err(_) => failures += 1,
                }
            }
        }
    }

    /// Reads one answer to its end. `Some` says how it broke off.
    async fn drain(
        &self,
        response: &mut reqwest::Response,
        head: &Head,
        partial: &mut content::Partial,
        shared: &Arc<Streaming>,
    ) -> Result<Option<String>, UpstreamError> {
        let mut noticed = partial.written();
        let mut granted = (Vec::new(), noticed);
        loop {
            let chunk: Bytes = match response.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(None),
                Err(e) => {
                    self.tx.send_replace(Phase::Streaming(Arc::clone(shared), partial.written()));
                    return Ok(Some(upstream::root_cause(&e)));
                }
            };
            let after = partial.written() + chunk.len() as u64;
            if head.size.is_some_and(|size| after > size) || after > self.cache.config.max_file {
                return Err(UpstreamError::Mismatch);
            }
            // A write into the page cache of at most a socket's read: short enough
            // for the async worker, and far cheaper than a thread hop a chunk.
            if let Err(error) = partial.write(&chunk) {
                self.after_refusal(error, head, partial).await?;
                partial.write(&chunk).map_err(disk)?;
            }
            if head.size.is_none() && after - granted.1 > GRANT {
                let room = self.cache.make_room(GRANT).await.map_err(UpstreamError::Disk)?;
                granted.0.push(room);
                granted.1 = after;
            }
            self.cache.meters.fetched.inc_by(chunk.len() as u64);
            self.cache.savings.fetched(&self.resource.repository, chunk.len() as u64);
            // With the table's own receiver, and the one who is in no hurry.
            if let Some(pace) = &self.pace
                && self.tx.receiver_count() <= 2
            {
                let until = pace.take(chunk.len() as u64, tokio::time::Instant::now());
                tokio::time::sleep_until(until).await;
            }
            let first = noticed == 0;
            if first || after - noticed >= NOTICE {
                noticed = after;
                self.tx.send_replace(Phase::Streaming(Arc::clone(shared), after));
                if self.abandoned(head, after) {
                    return Err(UpstreamError::Unreachable("nobody waits for it any more".into()));
                }
            }
        }
    }

    /// The disk refused a write: others may have filled it. What is worth less
    /// than the file under way goes.
    async fn after_refusal(
        &self,
        error: std::io::Error,
        head: &Head,
        partial: &content::Partial,
    ) -> Result<(), UpstreamError> {
        use std::io::ErrorKind::{QuotaExceeded, StorageFull};
        if !matches!(error.kind(), StorageFull | QuotaExceeded) {
            return Err(disk(error));
        }
        let more = head.size.unwrap_or(0).saturating_sub(partial.written()).max(NOTICE);
        self.cache.make_room(more).await.map(drop).map_err(UpstreamError::Disk)
    }

    fn abandoned(&self, head: &Head, written: u64) -> bool {
        let share = head.size.filter(|size| *size > 0).map_or(100, |size| written * 100 / size);
        // The table of flights holds one receiver of its own.
        self.tx.receiver_count() <= 1 && (share < FINISH_FROM || self.pace.is_some())
    }

    async fn keep(
        &self,
        partial: content::Partial,
        head: Head,
        shared: &Arc<Streaming>,
        started: Instant,
    ) -> Result<Phase, UpstreamError> {
        let sealed = partial.finish();
        if let Some(expected) = self.expected
            && expected.sha256 != sealed.digests.sha256
        {
            sealed.discard();
            self.cache.meters.mismatches.inc();
            return Err(UpstreamError::Mismatch);
        }
        let now_ms = self.cache.now_ms();
        let digests = sealed.digests;
        let entry = Entry {
            content: digests.blake3,
            size: digests.size,
            etag: head.etag,
            last_modified: head.last_modified,
            content_type: head.content_type,
            checked_ms: now_ms,
            fresh_s: head.fresh_s,
        };
        let entry = Arc::new(entry);
        // Nobody need wait for the disk, except for what clients act upon: an
        // index must be known here before anybody asks for what it names.
        if !facts::speaks_of_others(&self.resource.path) {
            self.tx.send_replace(Phase::Whole(Arc::clone(shared), Arc::clone(&entry)));
        }
        let cost_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let (cache, resource, kept) =
            (Arc::clone(self.cache), self.resource.clone(), Arc::clone(&entry));
        // The body is whole and right, and open: clients get it even when the
        // disk does not keep it.
        let _told = on_disk(move || {
            cache.keep(&resource, sealed, &kept, cost_ms).inspect_err(
                |e| tracing::warn!(error = %e, "The package cache could not keep a body."),
            )
        })
        .await;
        Ok(Phase::Kept(Arc::clone(shared), entry))
    }
}

fn starts_at(response: &reqwest::Response, from: u64) -> bool {
    response
        .headers()
        .get(reqwest::header::CONTENT_RANGE)
        .and_then(|v| v.to_str().ok())
        .and_then(|v| v.strip_prefix("bytes "))
        .and_then(|v| v.split('-').next()?.trim().parse::<u64>().ok())
        == Some(from)
}

/// Runs disk work off the async workers.
pub(super) async fn on_disk<T, E>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, UpstreamError>
where
    T: Send + 'static,
    E: std::fmt::Display + Send + 'static,
{
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(e)) => Err(UpstreamError::Disk(e.to_string())),
        Err(e) => Err(UpstreamError::Disk(e.to_string())),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "shaped for map_err")]
fn disk(error: std::io::Error) -> UpstreamError {
    UpstreamError::Disk(error.to_string())
}
