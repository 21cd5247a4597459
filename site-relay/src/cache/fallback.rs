//! What is answered when the upstream does not give the file: the last confirmed
//! copy with a warning, the upstream's own words, or a pass-through past a disk
//! that keeps nothing.

use super::{
    head::reason,
    index::Entry,
    policy::Resource,
    range::RangeHeader,
    request::Method,
    respond::{Answer, How},
    transfer,
    upstream::{self, Ask, UpstreamError},
};
use std::{fmt::Write as _, io, sync::atomic::Ordering};

impl Answer<'_> {
    /// What to answer when the upstream did not give the file.
    pub(super) async fn failed(
        &mut self,
        resource: &Resource,
        known: Option<Entry>,
        error: UpstreamError,
    ) -> io::Result<bool> {
        let away = match &error {
            UpstreamError::Unreachable(_) => {
                self.lost();
                true
            }
            UpstreamError::Status(status) => *status >= 500,
            _ => false,
        };
        if let (true, Some(entry)) = (away, known) {
            let now_ms = self.cache.now_ms();
            let age_ms = now_ms.saturating_sub(entry.checked_ms);
            let bound_ms = u64::from(self.cache.config.stale_days) * 24 * 3600 * 1000;
            if age_ms <= bound_ms
                && let Some(body) = self.cache.contents.get(&entry.content)
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
                self.page(status, &format!("The upstream answered {status} for {}.", resource.url))
                    .await
            }
            UpstreamError::Disk(why) => {
                tracing::warn!(error = %why, "The package cache cannot keep files; it passes them through.");
                self.bypass(resource, None).await
            }
            UpstreamError::Unreachable(_) => {
                let text = format!(
                    "{} cannot be reached, and this site has no copy of the file. It is fetched as soon as the internet is back.",
                    resource.repository
                );
                self.page(504, &text).await
            }
            other => {
                let text = format!("{other}. Update the package lists, or try again later.");
                self.page(502, &text).await
            }
        }
    }

    /// Passes an answer through without keeping it.
    pub(super) async fn bypass(
        &mut self,
        resource: &Resource,
        validator: Option<String>,
    ) -> io::Result<bool> {
        self.count("bypass");
        let mut ask = Ask { accept: self.request.accept.as_deref(), ..Ask::default() };
        if let Some(RangeHeader::From(from, last)) = self.request.range {
            ask.from = from;
            ask.until = last.map(|l| l.saturating_add(1));
            ask.if_range = validator.as_deref();
        }
        let mut response = match upstream::get(&self.cache.client, &resource.url, ask).await {
            Ok(response) => response,
            Err(_) => {
                self.lost();
                let text = format!("{} cannot be reached.", resource.repository);
                return self.page(504, &text).await;
            }
        };
        let status = response.status().as_u16();
        let mut lines = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        for name in ["content-type", "content-length", "content-range", "etag", "last-modified"] {
            if let Some(value) = response.headers().get(name).and_then(|v| v.to_str().ok()) {
                let _infallible = write!(lines, "{name}: {value}\r\n");
            }
        }
        lines.push_str("x-cache: BYPASS\r\nconnection: close\r\n\r\n");
        transfer::write(self.stream, lines.as_bytes()).await?;
        if self.request.method == Method::Get {
            while let Some(chunk) = response.chunk().await.map_err(io::Error::other)? {
                self.cache.meters.fetched.inc_by(chunk.len() as u64);
                self.cache.savings.fetched(&resource.repository, chunk.len() as u64);
                transfer::write(self.stream, &chunk).await?;
                self.served(resource, chunk.len() as u64);
            }
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
