//! One fetch for any number of waiting clients.
//!
//! A flight fetches one resource into a partial file while clients read from
//! the same file, each at its own pace and from the first byte. The last byte is
//! held back until the whole body has proved to be what it should (length, and
//! the signed index's hash where there is one), so that a wrong body is never
//! served whole. An upstream that breaks off is asked again from where it
//! stopped, with `Range` and `If-Range`; clients notice nothing.

use super::{
    Cache, CacheError, content, facts,
    index::{Entry, Expected, Teacher},
    policy::Resource,
    prefetch::Bucket,
    receive::Source,
    shape::{self, Look, Verdict},
    upstream::{self, Ask, Head, UpstreamError},
    windows,
};
use std::{
    fs::File,
    sync::{Arc, atomic::Ordering},
    time::Instant,
};
use tokio::sync::watch;

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

/// Waits while a flight for a resource has all its bytes and is still in the table, on
/// its way to the disk: who wants the upstream's word from now on must not be given what
/// others were given to the end before.
pub(super) async fn landed(cache: &Arc<Cache>, resource: &Resource) {
    let flight = {
        let flights = cache.flights.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        flights.get(&(resource.clone(), None)).cloned()
    };
    let Some(mut flight) = flight else { return };
    if matches!(*flight.borrow(), Phase::Whole(..)) {
        // One whose fetch is gone has landed, too.
        let _gone = flight.wait_for(Phase::is_over).await;
    }
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

/// The copy that was here before a fetch.
struct Before {
    content: content::Hash,
    look: Look,
    /// Whether it would be served if the upstream were away.
    served: bool,
}

/// Whether what is fetched is to be kept, and in place of what.
struct Keeps {
    keeps: bool,
    before: Option<Before>,
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
        let ask = Ask {
            unless: known.as_ref(),
            accept,
            named: self.expected.is_some(),
            ..Ask::default()
        };
        let response = upstream::get(&self.cache.client, &self.resource.url, ask).await;
        let response = response.inspect_err(|error| {
            if matches!(error, UpstreamError::Astray(_)) {
                self.cache.meters.astray.inc();
            }
        })?;
        let status = response.status().as_u16();
        if let (304, Some(known)) = (status, known)
            && (known.etag.is_some() || known.last_modified.is_some())
        {
            return Ok(self.confirmed(known).await);
        }
        if status != 200 {
            return Err(UpstreamError::Status(status));
        }
        let mut head = Head::of(&response);
        if let (Some(size), Some(Expected { size: Some(should), .. })) = (head.size, self.expected)
            && size != should
        {
            return Err(UpstreamError::Mismatch);
        }
        let mut source = Source::new(response);
        let before = self.before().await;
        let keeps = self.look_at(&mut source, &mut head, before).await?;
        let _room =
            self.cache.make_room(head.size.unwrap_or(0)).await.map_err(UpstreamError::Disk)?;
        let name = self.cache.next_partial.fetch_add(1, Ordering::Relaxed);
        let mut partial = self.cache.contents.begin(name, self.expected.is_some()).map_err(disk)?;
        let shared =
            Arc::new(Streaming { head: head.clone(), file: partial.reader().map_err(disk)? });
        self.tx.send_replace(Phase::Streaming(Arc::clone(&shared), 0));
        let received = self.receive(&mut source, &head, &mut partial, &shared).await;
        if let Err(error) = received {
            partial.discard();
            return Err(error);
        }
        self.keep(partial, head, &shared, started, keeps).await
    }

    async fn confirmed(&self, known: Entry) -> Phase {
        let entry = Entry { checked_ms: self.cache.now_ms(), ..known };
        let (cache, resource, renewed) =
            (Arc::clone(self.cache), self.resource.clone(), entry.clone());
        // Not noted means asked again, no more.
        let _told = on_disk(move || {
            if facts::teaches(&resource.path).is_some() {
                let path = cache.plain_path(&resource, &renewed);
                let (place, at_ms) = (resource.place.as_str(), renewed.checked_ms);
                cache.index.still_taught(Teacher { place, path: &path, at_ms })?;
            }
            cache.index.confirm(&resource, &renewed)
        })
        .await;
        Phase::Confirmed(Arc::new(entry))
    }

    /// The copy that is here, where no hash tells whether it is the right one, as
    /// long as it may still be served.
    async fn before(&self) -> Option<Before> {
        if self.expected.is_some() {
            return None;
        }
        let (cache, resource) = (Arc::clone(self.cache), self.resource.clone());
        let look = move || {
            let entry = cache.index.entry(&resource).ok()??;
            let body = cache.contents.get(&entry.content)?;
            let mut block = Vec::new();
            if body.size() > 0 {
                body.block(0, &mut block).ok()?;
            }
            let start = block.get(..block.len().min(shape::START)).unwrap_or_default();
            let look = shape::look(start, entry.content_type.as_deref());
            Some(Before { content: entry.content, look, served: cache.may_be_served(&entry) })
        };
        tokio::task::spawn_blocking(look).await.ok().flatten()
    }

    /// Looks at the beginning of an answer: whether it is what was asked for, and
    /// whether it may be kept.
    async fn look_at(
        &self,
        source: &mut Source,
        head: &mut Head,
        before: Option<Before>,
    ) -> Result<Keeps, UpstreamError> {
        let kind = head.content_type.clone();
        let look = |start: &[u8]| shape::look(start, kind.as_deref());
        let (mut start, mut broke) = source.start(shape::ENOUGH).await;
        if matches!(look(&start), Look::Page(_)) {
            (start, broke) = source.start(shape::START).await;
        }
        let look = look(&start);
        if broke && start.len() < shape::ENOUGH && !matches!(look, Look::Page(_)) {
            // Too little to tell; whoever poses as an upstream does not break off.
            return Ok(Keeps { keeps: start.len() >= 16 || self.expected.is_some(), before });
        }
        let replaces = before.as_ref().is_none_or(|b| !b.served || shape::replaces(look, b.look));
        let here = before.as_ref().is_some_and(|b| b.served);
        let posing = match shape::judge(self.resource, look, &start, self.expected.is_some()) {
            Verdict::Posing(what) => Some(what),
            Verdict::Doubtful(what) if here => Some(what),
            _ if !replaces => Some("something of another kind than the copy that is here"),
            Verdict::Doubtful(_) => return Ok(Keeps { keeps: false, before }),
            Verdict::Fine => None,
        };
        if let Some(what) = posing {
            self.cache.meters.posing.inc();
            return Err(UpstreamError::Posing(what));
        }
        if matches!(look, Look::Page(_)) {
            // Of pages nobody can tell who wrote them: each is confirmed each time.
            head.fresh_s = 0;
        }
        Ok(Keeps { keeps: true, before })
    }

    async fn keep(
        &self,
        partial: content::Partial,
        head: Head,
        shared: &Arc<Streaming>,
        started: Instant,
        Keeps { keeps, before }: Keeps,
    ) -> Result<Phase, UpstreamError> {
        let sealed = partial.finish();
        if let Some(expected) = self.expected
            && Some(expected.sha256) != sealed.sha256
        {
            sealed.discard();
            self.cache.meters.mismatches.inc();
            return Err(UpstreamError::Mismatch);
        }
        let hash = windows::named(self.resource);
        if let Some(hash) = hash {
            let file = Arc::clone(shared);
            if on_disk(move || windows::sha1(&file.file)).await? != hash {
                sealed.discard();
                self.cache.meters.mismatches.inc();
                return Err(UpstreamError::Mismatch);
            }
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
            fetched_ms: now_ms,
            as_named: hash.is_some(),
        };
        let entry = Arc::new(entry);
        if !keeps {
            sealed.discard();
            return Ok(Phase::Kept(Arc::clone(shared), entry));
        }
        // Nobody need wait for the disk, except for what clients act upon: an index
        // must be known here before anybody asks for what it names, and nobody gets
        // the body before this one once somebody has this one.
        let changed = before.as_ref().is_none_or(|before| before.content != digests.blake3);
        let replaces = changed && before.is_some();
        if !facts::speaks_of_others(&self.resource.path) && !replaces {
            self.tx.send_replace(Phase::Whole(Arc::clone(shared), Arc::clone(&entry)));
        }
        let cost_ms = u32::try_from(started.elapsed().as_millis()).unwrap_or(u32::MAX);
        let (cache, resource, kept) =
            (Arc::clone(self.cache), self.resource.clone(), Arc::clone(&entry));
        // The body is whole and right, and open: clients get it even when the
        // disk does not keep it.
        let _told = on_disk(move || {
            cache.keep(&resource, &sealed, &kept, cost_ms).inspect_err(
                |e| tracing::warn!(error = %e, "The package cache could not keep a body."),
            )?;
            if changed {
                cache.refresh_other_half(&resource);
            }
            Ok::<(), CacheError>(())
        })
        .await;
        Ok(Phase::Kept(Arc::clone(shared), entry))
    }
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
pub(super) fn disk(error: std::io::Error) -> UpstreamError {
    UpstreamError::Disk(error.to_string())
}
