//! Answering along with a fetch: each client at its own pace, from the first byte.

use super::{
    flight::{self, Phase},
    index::Entry,
    policy::Resource,
    range::Wanted,
    request::Method,
    respond::Answer,
    transfer,
};
use std::io;

/// Ranges that start this far ahead of a running fetch are fetched by themselves.
const RANGE_AHEAD: u64 = 8 * 1024 * 1024;

impl Answer<'_> {
    /// Serves what a flight receives.
    pub(super) async fn along(
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
            fetched_ms: 0,
            as_named: false,
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
                let validator = head.validator().map(str::to_owned);
                return self.bypass(resource, validator, None).await;
            }
            Wanted::Part { start, end } => (206, start, end),
            Wanted::Unsatisfiable => return self.head(416, &entry, None, false).await,
            Wanted::Failed => return self.head(412, &entry, None, false).await,
        };
        let keep = self.head(status, &entry, Some((start, end)), false).await?;
        if self.request.method == Method::Get {
            let sent = transfer::flight(self.stream, &mut rx, streaming, start, end, self.pace);
            if let Err(error) = sent.await {
                self.cache.broke_off(resource, &rx.borrow());
                return Err(error);
            }
            self.served(resource, end - start);
        }
        if status == 206 {
            self.cache.linger(resource, rx);
        }
        Ok(keep)
    }
}

async fn kept_size(rx: &mut tokio::sync::watch::Receiver<Phase>) -> io::Result<u64> {
    let whole = |p: &Phase| p.is_over() || matches!(p, Phase::Whole(..));
    match &*rx.wait_for(whole).await.map_err(io::Error::other)? {
        Phase::Whole(_, entry) | Phase::Kept(_, entry) => Ok(entry.size),
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}
