//! Answering one request: from what is stored, along with a flight, or with a
//! sentence that says what is wrong and who can mend it.

use super::{
    Cache,
    content::{self, Body},
    facts,
    flight::{self, Phase},
    index::{Entry, Expected},
    lookup::Plan,
    policy::Resource,
    range::{RangeHeader, Wanted},
    request::{Method, Request},
    rewrite::MAX_REWRITE,
    shape,
    transfer::{self, Pace},
    upstream::UpstreamError,
};
use std::{
    io,
    sync::{Arc, atomic::Ordering},
};
use tokio::net::TcpStream;

/// Files of which the hash is known are proven before they are shown up to this
/// length; larger ones are shown as they come, except for their end.
const HELD: u64 = 256 * 1024;
/// The same for indexes.
const HELD_INDEX: u64 = 8 * 1024 * 1024;
/// What was confirmed so recently is not asked about again, milliseconds.
const JUST_NOW_MS: u64 = 5_000;
/// Bodies up to this length are verified before the first byte leaves, so that
/// a damaged one is fetched again unnoticed.
const VERIFY_FIRST: u64 = 8 * 1024 * 1024;

/// One answer being made.
pub(super) struct Answer<'a> {
    /// The cache.
    pub cache: &'a Arc<Cache>,
    /// The client.
    pub stream: &'a mut TcpStream,
    /// What it asked.
    pub request: &'a Request,
    /// How fast it may go.
    pub pace: &'a mut Pace,
}

impl Answer<'_> {
    /// Answers the request. `Ok(true)` when the connection may carry another.
    ///
    /// # Errors
    /// When the connection is to be closed at once: the client is gone, or has a
    /// fragment that must not be taken for the whole.
    pub(super) async fn run(mut self) -> io::Result<bool> {
        match self.request.method {
            Method::Get | Method::Head => {}
            Method::Connect => {
                let text = "This package cache does not tunnel HTTPS. Point the client at http://(this relay):3142/remap/(name)/ instead, or let it reach HTTPS repositories directly.";
                return self.page(403, text).await;
            }
            Method::Post | Method::Other => {
                let text = "This package cache answers only GET and HEAD, and what npm asks about known vulnerabilities.";
                return self.page(405, text).await;
            }
        }
        let accept = self.request.accept.as_deref();
        let resource = match self.cache.policy().resolve_for(&self.request.target, accept) {
            Ok(resource) => resource,
            Err(refusal) => {
                self.count("refused");
                return self.page(403, &refusal.to_string()).await;
            }
        };
        let demand = self.request.demand;
        if demand.confirmed() {
            flight::landed(self.cache, &resource).await;
        }
        // An index that a signed one names is as fresh as that one is.
        if demand.confirmed()
            && !demand.only_if_cached
            && facts::speaks_of_others(&resource.path)
            && !shape::is_top(&resource.path)
        {
            self.cache.look_again(&resource, JUST_NOW_MS).await;
        }
        let mut looked = false;
        // Further rounds when the stored body turned out to be gone or damaged, or
        // the index that names the bytes to be old.
        for _ in 0..3 {
            let plan = match self.cache.plan(&resource, demand).await {
                Ok(plan) => plan,
                Err(error) => {
                    tracing::warn!(%error, "The package cache's index failed.");
                    return self.bypass(&resource, None, None).await;
                }
            };
            let (known, unless, expected) = match plan {
                Plan::Hot(hot) => {
                    self.hit(&resource);
                    return self.memory(&resource, &hot.entry, &hot.bytes).await;
                }
                Plan::Fresh(entry, body) => {
                    match self.stored(&resource, &entry, body, How::Fresh).await? {
                        Some(answer) => return Ok(answer),
                        None => continue,
                    }
                }
                _ if demand.only_if_cached => {
                    return self
                        .page(504, "This site has no copy of the file that is fresh enough.")
                        .await;
                }
                Plan::Confirm(entry) => (Some(entry.clone()), Some(entry), None),
                Plan::Anew(entry) => (Some(entry), None, None),
                Plan::Fetch(expected) => (None, None, expected),
            };
            match self.fetch(&resource, unless, expected).await? {
                Came::Answered(keep) => return Ok(keep),
                Came::Unusable => {}
                Came::Not(error) => {
                    let stale_index = expected.is_some()
                        && !looked
                        && matches!(
                            error,
                            UpstreamError::Mismatch | UpstreamError::Status(404 | 410)
                        );
                    looked |= stale_index;
                    if !stale_index || !self.cache.look_again(&resource, 0).await {
                        return self.failed(&resource, known, expected, error).await;
                    }
                }
            }
        }
        self.page(
            503,
            "The cached file is damaged and cannot be fetched again at the moment. Try again.",
        )
        .await
    }

    /// Serves a stored body; `None` when it turned out to be damaged before
    /// anything was sent.
    pub(super) async fn stored(
        &mut self,
        resource: &Resource,
        entry: &Entry,
        body: Box<Body>,
        how: How,
    ) -> io::Result<Option<bool>> {
        let stale = how == How::Stale;
        let body = if body.is_proven() || body.size() > VERIFY_FIRST {
            body
        } else {
            let checked = tokio::task::spawn_blocking(move || {
                let all = body.read_all().map(drop);
                (body, all)
            });
            let (body, all) = checked.await.map_err(io::Error::other)?;
            if all.is_err() {
                self.drop_damaged(body.hash(), body.size()).await;
                return Ok(None);
            }
            self.cache.contents.proven(&body);
            self.cache.contents.get(&entry.content).map_or(body, Box::new)
        };
        self.hit(resource);
        self.cache.used(entry.content);
        if self.rewrites(resource, entry.content_type.as_deref()) && entry.size <= MAX_REWRITE {
            let page = tokio::task::spawn_blocking(move || body.read_all());
            let Ok(page) = page.await.map_err(io::Error::other)? else { return Ok(None) };
            return self.rewritten(resource, entry, &page, stale).await.map(Some);
        }
        let (cache, of, copy) = (Arc::clone(self.cache), resource.clone(), entry.clone());
        let warmed = tokio::task::spawn_blocking(move || {
            let hot = (how == How::Fresh).then(|| cache.warm(&of, &copy, &body)).flatten();
            (hot, body)
        });
        let (hot, body) = warmed.await.map_err(io::Error::other)?;
        if let Some(hot) = hot {
            return self.memory(resource, &hot.entry, &hot.bytes).await.map(Some);
        }
        if self.not_modified(entry) {
            return self.head(304, entry, None, stale).await.map(Some);
        }
        let wanted = self.wanted(entry);
        let (status, start, end) = match wanted {
            Wanted::Whole => (200, 0, entry.size),
            Wanted::Part { start, end } => (206, start, end),
            Wanted::Unsatisfiable => return self.head(416, entry, None, stale).await.map(Some),
            Wanted::Failed => return self.head(412, entry, None, stale).await.map(Some),
        };
        let keep = self.head(status, entry, Some((start, end)), stale).await?;
        if self.request.method == Method::Get {
            let (hash, size) = (body.hash(), body.size());
            let sent = transfer::body(self.cache, self.stream, body, start, end, self.pace).await;
            if let Err(e) = sent {
                if e.kind() == io::ErrorKind::InvalidData {
                    self.drop_damaged(hash, size).await;
                }
                return Err(e);
            }
            self.served(resource, end - start);
        }
        Ok(Some(keep))
    }

    async fn memory(
        &mut self,
        resource: &Resource,
        entry: &Entry,
        bytes: &[u8],
    ) -> io::Result<bool> {
        if self.rewrites(resource, entry.content_type.as_deref()) {
            return self.rewritten(resource, entry, bytes, false).await;
        }
        if self.not_modified(entry) {
            return self.head(304, entry, None, false).await;
        }
        let wanted = self.wanted(entry);
        let (status, start, end) = match wanted {
            Wanted::Whole => (200, 0, entry.size),
            Wanted::Part { start, end } => (206, start, end),
            Wanted::Unsatisfiable => return self.head(416, entry, None, false).await,
            Wanted::Failed => return self.head(412, entry, None, false).await,
        };
        let mut out = self.lines(status, entry, Some((start, end)), false).into_bytes();
        let index = |at: u64| usize::try_from(at).unwrap_or(usize::MAX);
        if self.request.method == Method::Get {
            out.extend_from_slice(bytes.get(index(start)..index(end)).unwrap_or_default());
            self.served(resource, end - start);
        }
        transfer::write(self.stream, &out).await?;
        Ok(self.request.keep_alive)
    }

    /// Fetches and serves along.
    async fn fetch(
        &mut self,
        resource: &Resource,
        unless: Option<Entry>,
        expected: Option<Expected>,
    ) -> io::Result<Came> {
        if self.request.method == Method::Head && unless.is_none() {
            return self.bypass(resource, None, None).await.map(Came::Answered);
        }
        let accept = self.request.accept.as_deref();
        let mut rx = flight::join(self.cache, resource, accept, unless, expected);
        // What is small is proven before it is shown, so that a stale index costs
        // another look and not a broken answer.
        let most = if facts::speaks_of_others(&resource.path) { HELD_INDEX } else { HELD };
        let held = expected.and_then(|e| e.size).is_some_and(|size| size <= most);
        // A part that ends before the file does would be a whole answer, whatever the
        // file turns out to be.
        let part =
            expected.is_some() && matches!(self.request.range, Some(RangeHeader::From(_, Some(_))));
        if part {
            self.cache.linger(resource, rx.clone());
        }
        let ready = |p: &Phase| match p {
            Phase::Asking => false,
            Phase::Streaming(..) => !part && !held,
            _ => true,
        };
        let ready = rx.wait_for(ready).await.map(|phase| phase.clone());
        let given_up =
            || Phase::Failed(UpstreamError::Unreachable("the fetch was given up".into()));
        let phase = ready.unwrap_or_else(|_| given_up());
        match phase {
            Phase::Asking => Ok(Came::Unusable),
            Phase::Confirmed(entry) => {
                self.reached();
                let (cache, hash) = (Arc::clone(self.cache), entry.content);
                let body = tokio::task::spawn_blocking(move || cache.contents.get(&hash));
                let answer = match body.await.map_err(io::Error::other)? {
                    Some(body) => {
                        self.stored(resource, &entry, Box::new(body), How::Confirmed).await?
                    }
                    None => None,
                };
                Ok(answer.map_or(Came::Unusable, Came::Answered))
            }
            Phase::Streaming(streaming, written) => {
                self.reached();
                self.along(resource, rx, &streaming, written).await.map(Came::Answered)
            }
            Phase::Whole(streaming, entry) | Phase::Kept(streaming, entry) => {
                self.reached();
                self.along(resource, rx, &streaming, entry.size).await.map(Came::Answered)
            }
            Phase::Failed(error) => Ok(Came::Not(error)),
        }
    }

    async fn drop_damaged(&self, hash: content::Hash, size: u64) {
        let cache = Arc::clone(self.cache);
        let dropped = tokio::task::spawn_blocking(move || cache.drop_damaged(&hash, size));
        // It only runs or the relay is ending.
        let _ended = dropped.await;
    }

    fn hit(&self, resource: &Resource) {
        self.count("hit");
        self.cache.savings.answered(&resource.repository, true);
    }

    pub(super) fn served(&self, resource: &Resource, bytes: u64) {
        self.cache.meters.served.inc_by(bytes);
        self.cache.savings.served(&resource.repository, bytes);
    }

    pub(super) fn count(&self, answer: &str) {
        self.cache.meters.requests.with_label_values(&[answer]).inc();
    }

    fn reached(&self) {
        self.cache.upstream_lost_ms.store(0, Ordering::Relaxed);
    }
}

/// What came of asking the upstream.
enum Came {
    /// The request is answered; whether the connection may carry another.
    Answered(bool),
    /// The stored body that the upstream confirmed is not usable.
    Unusable,
    /// The upstream did not give the file.
    Not(UpstreamError),
}

/// By what right a stored body is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    /// It needs no question: the signed index names it, or it is fresh.
    Fresh,
    /// The upstream confirmed it for this very request.
    Confirmed,
    /// The upstream is out of reach.
    Stale,
}
