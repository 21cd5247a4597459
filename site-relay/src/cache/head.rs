//! Heads of answers, and the pages that say what is wrong.

use super::{index::Entry, request::Method, respond::Answer, transfer};
use std::{fmt::Write as _, io};

/// RFC 7234 section 5.5: what is served could not be confirmed.
const STALE: &str = "warning: 111 unifyit-relay \"Revalidation Failed\"\r\n";

impl Answer<'_> {
    pub(super) async fn head(
        &mut self,
        status: u16,
        entry: &Entry,
        part: Option<(u64, u64)>,
        stale: bool,
    ) -> io::Result<bool> {
        let lines = self.lines(status, entry, part, stale);
        transfer::write(self.stream, lines.as_bytes()).await?;
        Ok(self.request.keep_alive)
    }

    pub(super) fn lines(
        &self,
        status: u16,
        entry: &Entry,
        part: Option<(u64, u64)>,
        stale: bool,
    ) -> String {
        let mut out = self.common(status, entry);
        let _infallible = match (status, part) {
            (206, Some((start, end))) => write!(
                out,
                "content-range: bytes {start}-{}/{}\r\ncontent-length: {}\r\n",
                end - 1,
                entry.size,
                end - start
            ),
            (416, _) => {
                write!(out, "content-range: bytes */{}\r\ncontent-length: 0\r\n", entry.size)
            }
            (304, _) => Ok(()),
            (412, _) => write!(out, "content-length: 0\r\n"),
            (_, part) => {
                let (start, end) = part.unwrap_or((0, 0));
                write!(out, "content-length: {}\r\n", end - start)
            }
        };
        let age_s = self.cache.now_ms().saturating_sub(entry.checked_ms) / 1000;
        let _infallible = write!(out, "age: {age_s}\r\n");
        if stale {
            out.push_str(STALE);
        }
        out.push_str("\r\n");
        out
    }

    pub(super) fn lines_chunked(&self, entry: &Entry) -> String {
        self.common(200, entry) + "transfer-encoding: chunked\r\n\r\n"
    }

    pub(super) fn common(&self, status: u16, entry: &Entry) -> String {
        let mut out = String::with_capacity(384);
        let _infallible =
            write!(out, "HTTP/1.1 {status} {}\r\naccept-ranges: bytes\r\n", reason(status));
        for (name, value) in [
            ("content-type", &entry.content_type),
            ("etag", &entry.etag),
            ("last-modified", &entry.last_modified),
        ] {
            if let Some(value) = value {
                let _infallible = write!(out, "{name}: {value}\r\n");
            }
        }
        out.push_str(connection(self.request.keep_alive));
        out
    }

    pub(super) async fn page(&mut self, status: u16, text: &str) -> io::Result<bool> {
        let keep = self.request.keep_alive;
        let mut out = format!(
            "HTTP/1.1 {status} {}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\ncache-control: no-store\r\n{}\r\n",
            reason(status),
            text.len() + 1,
            connection(keep),
        );
        if self.request.method != Method::Head {
            out.push_str(text);
            out.push('\n');
        }
        transfer::write(self.stream, out.as_bytes()).await?;
        Ok(keep)
    }
}

fn connection(keep_alive: bool) -> &'static str {
    if keep_alive { "connection: keep-alive\r\n" } else { "connection: close\r\n" }
}

pub(super) fn reason(status: u16) -> &'static str {
    reqwest::StatusCode::from_u16(status)
        .ok()
        .and_then(|s| s.canonical_reason())
        .unwrap_or("Answer")
}
