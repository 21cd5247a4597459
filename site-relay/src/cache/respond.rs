//! Answering one request: from what is stored, along with a flight, or with a
//! sentence that says what is wrong and who can mend it.

use super::{
    Cache,
    content::Body,
    flight::{self, Phase},
    index::Entry,
    lookup::Plan,
    policy::Resource,
    range::Wanted,
    request::{Method, Request},
    rewrite::MAX_REWRITE,
    transfer::{self, Pace},
    upstream::UpstreamError,
};
use std::{
    io,
    sync::{Arc, atomic::Ordering},
};
use tokio::net::TcpStream;

/// Ranges that start this far ahead of a running fetch are fetched by themselves.
const RANGE_AHEAD: u64 = 8 * 1024 * 1024;
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
            Method::Other => {
                return self.page(405, "This package cache answers only GET and HEAD.").await;
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
        // A second round when the stored body turned out to be gone or damaged.
        for _ in 0..2 {
            let plan = match self.cache.plan(&resource) {
                Ok(plan) => plan,
                Err(error) => {
                    tracing::warn!(%error, "The package cache's index failed.");
                    return self.bypass(&resource, None).await;
                }
            };
            match plan {
                Plan::Hot(hot) => {
                    self.hit(&resource);
                    return self.memory(&resource, &hot.entry, &hot.bytes).await;
                }
                Plan::Fresh(entry, body) => {
                    if let Some(answer) = self.stored(&resource, &entry, body, How::Fresh).await? {
                        return Ok(answer);
                    }
                }
                Plan::Confirm(entry) => {
                    if let Some(answer) = self.fetch(&resource, Some(entry), None).await? {
                        return Ok(answer);
                    }
                }
                Plan::Fetch(expected) => {
                    if let Some(answer) = self.fetch(&resource, None, expected).await? {
                        return Ok(answer);
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
                self.cache.drop_damaged(&body.hash(), body.size());
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
        if how == How::Fresh
            && let Some(hot) = self.cache.warm(resource, entry, &body)
        {
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
                    self.cache.drop_damaged(&hash, size);
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

    /// Fetches and serves along; `None` when the stored body that the upstream
    /// confirmed is not usable.
    async fn fetch(
        &mut self,
        resource: &Resource,
        known: Option<Entry>,
        expected: Option<super::index::Expected>,
    ) -> io::Result<Option<bool>> {
        if self.request.method == Method::Head && known.is_none() {
            return self.bypass(resource, None).await.map(Some);
        }
        let accept = self.request.accept.as_deref();
        let mut rx = flight::join(self.cache, resource, accept, known.clone(), expected);
        let ready = rx.wait_for(|p| !matches!(p, Phase::Asking)).await.map(|phase| phase.clone());
        let given_up =
            || Phase::Failed(UpstreamError::Unreachable("the fetch was given up".into()));
        let phase = ready.unwrap_or_else(|_| given_up());
        match phase {
            Phase::Asking => Ok(None),
            Phase::Confirmed(entry) => {
                self.reached();
                let body = self.cache.contents.get(&entry.content).map(Box::new);
                match body {
                    Some(body) => self.stored(resource, &entry, body, How::Confirmed).await,
                    None => Ok(None),
                }
            }
            Phase::Streaming(streaming, written) => {
                self.reached();
                self.along(resource, rx, &streaming, written).await.map(Some)
            }
            Phase::Whole(streaming, entry) | Phase::Kept(streaming, entry) => {
                self.reached();
                self.along(resource, rx, &streaming, entry.size).await.map(Some)
            }
            Phase::Failed(error) => self.failed(resource, known, error).await.map(Some),
        }
    }

    /// Serves what a flight receives.
    async fn along(
        &mut self,
        resource: &Resource,
        mut rx: tokio::sync::watch::Receiver<Phase>,
        streaming: &flight::Streaming,
        written: u64,
    ) -> io::Result<bool> {
        let head = &streaming.head;
        self.count("miss");
        self.cache.savings.answered(&resource.repository, false);
        if self.rewrites(resource, head.content_type.as_deref()) {
            return self.along_rewritten(resource, rx).await;
        }
        let mut entry = Entry {
            content: [0; 32],
            size: head.size.unwrap_or(0),
            etag: head.etag.clone(),
            last_modified: head.last_modified.clone(),
            content_type: head.content_type.clone(),
            checked_ms: self.cache.now_ms(),
            fresh_s: head.fresh_s,
        };
        let Some(size) = head.size else {
            if self.request.http_1_1 {
                let lines = self.lines_chunked(&entry);
                transfer::write(self.stream, lines.as_bytes()).await?;
                let sent =
                    transfer::flight_chunked(self.stream, &mut rx, streaming, self.pace).await?;
                self.served(resource, sent);
                return Ok(self.request.keep_alive);
            }
            // HTTP/1.0 has no way to tell a broken body from a whole one.
            entry.size = kept_size(&mut rx).await?;
            let keep = self.head(200, &entry, Some((0, entry.size)), false).await?;
            transfer::flight(self.stream, &mut rx, streaming, 0, entry.size, self.pace).await?;
            return Ok(keep);
        };
        let wanted = self.wanted(&entry);
        let (status, start, end) = match wanted {
            Wanted::Whole => (200, 0, size),
            Wanted::Part { start, .. } if start > written + RANGE_AHEAD => {
                // The whole comes too; this client need not wait for it.
                self.cache.linger(resource, rx);
                return self.bypass(resource, head.validator().map(str::to_owned)).await;
            }
            Wanted::Part { start, end } => (206, start, end),
            Wanted::Unsatisfiable => return self.head(416, &entry, None, false).await,
            Wanted::Failed => return self.head(412, &entry, None, false).await,
        };
        let keep = self.head(status, &entry, Some((start, end)), false).await?;
        if self.request.method == Method::Get {
            transfer::flight(self.stream, &mut rx, streaming, start, end, self.pace).await?;
            self.served(resource, end - start);
        }
        if status == 206 {
            self.cache.linger(resource, rx);
        }
        Ok(keep)
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

async fn kept_size(rx: &mut tokio::sync::watch::Receiver<Phase>) -> io::Result<u64> {
    let whole = |p: &Phase| p.is_over() || matches!(p, Phase::Whole(..));
    match &*rx.wait_for(whole).await.map_err(io::Error::other)? {
        Phase::Whole(_, entry) | Phase::Kept(_, entry) => Ok(entry.size),
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}
