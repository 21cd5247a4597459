//! What is answered when the upstream does not give the file: the last confirmed
//! copy with a warning, the upstream's own words, or a pass-through past a disk
//! that keeps nothing.

use super::{
    head::reason,
    index::{Entry, Expected},
    policy::Resource,
    range::RangeHeader,
    request::Method,
    respond::{Answer, How},
    shape::{self, Look, Verdict},
    transfer,
    upstream::{self, Ask, UpstreamError},
};
use aws_lc_rs::digest::{Context, SHA256};
use std::{
    fmt::Write as _,
    io,
    sync::{Arc, atomic::Ordering},
};

impl Answer<'_> {
    /// What to answer when the upstream did not give the file.
    pub(super) async fn failed(
        &mut self,
        resource: &Resource,
        known: Option<Entry>,
        expected: Option<Expected>,
        error: UpstreamError,
    ) -> io::Result<bool> {
        if matches!(error, UpstreamError::Unreachable(_)) {
            self.lost();
        }
        if let Some(entry) = known.filter(|_| keeps_what_is_here(resource, &error))
            && self.cache.may_be_served(&entry)
        {
            let (cache, hash) = (Arc::clone(self.cache), entry.content);
            let body = tokio::task::spawn_blocking(move || cache.contents.get(&hash));
            if let Some(body) = body.await.map_err(io::Error::other)?
                && let Some(answer) =
                    self.stored(resource, &entry, Box::new(body), How::Stale).await?
            {
                self.count("stale");
                return Ok(answer);
            }
        }
        self.count("failed");
        match error {
            UpstreamError::Status(status) => {
                // What is neither an answer nor a refusal is a bad gateway's.
                let told = if status < 400 { 502 } else { status };
                self.page(told, &format!("The upstream answered {status} for {}.", resource.url))
                    .await
            }
            UpstreamError::Disk(why) => {
                tracing::warn!(error = %why, "The package cache cannot keep files; it passes them through.");
                self.bypass(resource, None, expected).await
            }
            UpstreamError::Unreachable(_) => {
                let text = format!(
                    "{} cannot be reached, and this site has no copy of the file. It is fetched as soon as the internet is back.",
                    resource.repository
                );
                self.page(504, &text).await
            }
            UpstreamError::Astray(_) => self.page(502, &format!("{error}.")).await,
            other => {
                let text = format!("{other}. Update the package lists, or try again later.");
                self.page(502, &text).await
            }
        }
    }

    /// Passes an answer through without keeping it. Where its hash is known, the end
    /// is held back until all of it proved to be right.
    pub(super) async fn bypass(
        &mut self,
        resource: &Resource,
        validator: Option<String>,
        expected: Option<Expected>,
    ) -> io::Result<bool> {
        self.count("bypass");
        let named = expected.is_some();
        let mut ask = Ask { accept: self.request.accept.as_deref(), named, ..Ask::default() };
        // A part could not be proven.
        if let (Some(RangeHeader::From(from, last)), None) = (self.request.range, expected) {
            ask.from = from;
            ask.until = last.map(|l| l.saturating_add(1));
            ask.if_range = validator.as_deref();
        }
        let mut response = match upstream::get(&self.cache.client, &resource.url, ask).await {
            Ok(response) => response,
            Err(error @ UpstreamError::Astray(_)) => {
                self.cache.meters.astray.inc();
                return self.page(502, &format!("{error}.")).await;
            }
            Err(_) => {
                self.lost();
                let text = format!("{} cannot be reached.", resource.repository);
                return self.page(504, &text).await;
            }
        };
        let status = response.status().as_u16();
        let get = self.request.method == Method::Get;
        let mut next = match get {
            true => response.chunk().await.map_err(io::Error::other)?,
            false => None,
        };
        if status == 200 {
            let kind = response.headers().get("content-type").and_then(|v| v.to_str().ok());
            let start = next.as_deref().unwrap_or_default();
            let look = shape::look(start, kind);
            if let Verdict::Posing(what) = shape::judge(resource, look, start, named)
                && (get || matches!(look, Look::Page(_)))
            {
                self.cache.meters.posing.inc();
                return self.page(502, &format!("{}.", UpstreamError::Posing(what))).await;
            }
        }
        let mut lines = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        for name in ["content-type", "content-length", "content-range", "etag", "last-modified"] {
            if let Some(value) = response.headers().get(name).and_then(|v| v.to_str().ok()) {
                let _infallible = write!(lines, "{name}: {value}\r\n");
            }
        }
        lines.push_str("x-cache: BYPASS\r\nconnection: close\r\n\r\n");
        transfer::write(self.stream, lines.as_bytes()).await?;
        let mut sha256 = Context::new(&SHA256);
        while let Some(chunk) = next {
            self.cache.meters.fetched.inc_by(chunk.len() as u64);
            self.cache.savings.fetched(&resource.repository, chunk.len() as u64);
            sha256.update(&chunk);
            next = response.chunk().await.map_err(io::Error::other)?;
            if let (None, Some(expected)) = (&next, expected.filter(|_| status == 200))
                && sha256.clone().finish().as_ref() != expected.sha256
            {
                self.cache.meters.mismatches.inc();
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            transfer::write(self.stream, &chunk).await?;
            self.served(resource, chunk.len() as u64);
        }
        Ok(false)
    }

    fn lost(&self) {
        let now_ms = self.cache.now_ms();
        let _already = self.cache.upstream_lost_ms.compare_exchange(
            0,
            now_ms,
            Ordering::Relaxed,
            Ordering::Relaxed,
        );
    }
}

/// Whether the copy that is here is better than what the upstream, or somebody in
/// its place, answered.
fn keeps_what_is_here(resource: &Resource, error: &UpstreamError) -> bool {
    match error {
        UpstreamError::Unreachable(_) | UpstreamError::Astray(_) | UpstreamError::Posing(_) => true,
        // Refused, throttled, put off, or asked to log in: none of it is about the
        // file. Gone is gone, except for what lists others: 404 of an index is a
        // mirror in the midst of being made.
        UpstreamError::Status(status) => match status {
            404 => shape::is_index(resource),
            410 => false,
            status => *status < 400 || *status >= 401,
        },
        UpstreamError::Changed | UpstreamError::Mismatch | UpstreamError::Disk(_) => false,
    }
}
