//! Reading requests: HTTP/1.1 heads of clients that hardly ever do anything but
//! `GET` and `HEAD`.
//!
//! httparse reads the syntax; this file bounds it and keeps what the cache acts
//! on. A request with a body, or of another method, ends the connection after
//! its answer, so that nothing of it can be taken for the next request.

use super::{demand::Demand, range::RangeHeader};
use bytes::{Buf, BytesMut};
use std::io;
use tokio::io::AsyncReadExt;

/// Longest head in bytes.
const MAX_HEAD: usize = 16 * 1024;
const MAX_HEADERS: usize = 64;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Request {
    /// The method.
    pub method: Method,
    /// The target as written: a path, or a whole address.
    pub target: String,
    /// The `Host` header.
    pub host: Option<String>,
    /// The `Accept` header.
    pub accept: Option<String>,
    /// One range of bytes.
    pub range: Option<RangeHeader>,
    /// How fresh it is to be.
    pub demand: Demand,
    /// Only if the file is still this one.
    pub if_range: Option<String>,
    /// Only if the file has another tag.
    pub if_none_match: Option<String>,
    /// Only if the file has another date.
    pub if_modified_since: Option<String>,
    /// Only if the file has this tag.
    pub if_match: Option<String>,
    /// Only if the file is not younger than this; BITS sends it with its ranges.
    pub if_unmodified_since: Option<String>,
    /// Length of the body that follows, where it is told.
    pub body: Option<usize>,
    /// Whether the client waits for a word before it sends the body.
    pub expects: bool,
    /// Type of the body.
    pub content_type: Option<String>,
    /// How the body is folded.
    pub content_encoding: Option<String>,
    /// Whether the connection stays open after the answer.
    pub keep_alive: bool,
    /// Whether the client understands HTTP/1.1.
    pub http_1_1: bool,
}

/// Methods that the cache tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    /// Wants the file.
    Get,
    /// Wants its head.
    Head,
    /// Brings a question in its body.
    Post,
    /// Wants a tunnel through the proxy.
    Connect,
    /// Anything else.
    Other,
}

/// What came in instead of a request.
#[derive(Debug)]
pub(super) enum NoRequest {
    /// The client went away between requests.
    Closed,
    /// Bytes that are no request.
    Malformed(&'static str),
    /// The connection broke.
    Broken(io::ErrorKind),
}

/// Reads the next head, leaving what follows it in `buffer`.
///
/// # Errors
/// [`NoRequest`] when there is none.
pub(super) async fn read<S: tokio::io::AsyncRead + Unpin>(
    stream: &mut S,
    buffer: &mut BytesMut,
) -> Result<Request, NoRequest> {
    loop {
        if let Some((request, length)) = parse(buffer)? {
            buffer.advance(length);
            return Ok(request);
        }
        if buffer.len() > MAX_HEAD {
            return Err(NoRequest::Malformed("the head is too long"));
        }
        match stream.read_buf(buffer).await {
            Ok(0) if buffer.is_empty() => return Err(NoRequest::Closed),
            Ok(0) => return Err(NoRequest::Malformed("it broke off in the head")),
            Ok(_) => {}
            Err(e) => return Err(NoRequest::Broken(e.kind())),
        }
    }
}

fn parse(bytes: &[u8]) -> Result<Option<(Request, usize)>, NoRequest> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut head = httparse::Request::new(&mut headers);
    let length = match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Ok(None),
        Err(_) => return Err(NoRequest::Malformed("it is not HTTP/1.1")),
    };
    let header = |name: &str| {
        head.headers
            .iter()
            .find(|h| h.name.eq_ignore_ascii_case(name))
            .and_then(|h| std::str::from_utf8(h.value).ok())
            .map(str::trim)
            .filter(|v| v.len() <= 2048)
    };
    let all = |name: &'static str| {
        let same = head.headers.iter().filter(move |h| h.name.eq_ignore_ascii_case(name));
        same.filter_map(|h| std::str::from_utf8(h.value).ok())
    };
    let http_1_1 = head.version == Some(1);
    let connection = header("connection").or_else(|| header("proxy-connection")).unwrap_or("");
    let says = |word: &str| connection.split(',').any(|w| w.trim().eq_ignore_ascii_case(word));
    let has_body = header("transfer-encoding").is_some()
        || header("content-length").is_some_and(|n| n.trim() != "0");
    let method = match head.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        Some("POST") => Method::Post,
        Some("CONNECT") => Method::Connect,
        _ => Method::Other,
    };
    let owned = |name: &str| header(name).map(str::to_owned);
    let request = Request {
        method,
        target: head.path.unwrap_or("").to_owned(),
        host: owned("host"),
        accept: owned("accept"),
        range: header("range").and_then(RangeHeader::parse),
        body: header("content-length")
            .filter(|_| header("transfer-encoding").is_none())
            .and_then(|n| n.parse().ok()),
        expects: header("expect").is_some_and(|v| v.eq_ignore_ascii_case("100-continue")),
        content_type: owned("content-type"),
        content_encoding: owned("content-encoding"),
        demand: Demand::of(all("cache-control"), all("pragma")),
        if_range: owned("if-range"),
        if_none_match: owned("if-none-match"),
        if_modified_since: owned("if-modified-since"),
        if_match: owned("if-match"),
        if_unmodified_since: owned("if-unmodified-since"),
        keep_alive: !has_body
            && matches!(method, Method::Get | Method::Head)
            && if http_1_1 { !says("close") } else { says("keep-alive") },
        http_1_1,
    };
    Ok(Some((request, length)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn all(mut bytes: &[u8]) -> Vec<Result<Request, NoRequest>> {
        let mut buffer = BytesMut::new();
        let mut found = Vec::new();
        loop {
            let next = read(&mut bytes, &mut buffer).await;
            let over = next.is_err();
            found.push(next);
            if over {
                return found;
            }
        }
    }

    #[tokio::test]
    async fn pipelined_requests_come_one_by_one() {
        let found =
            all(b"GET /a HTTP/1.1\r\nHost: x\r\nRange: bytes=1-\r\n\r\nHEAD http://h/b HTTP/1.0\r\n\r\n")
                .await;
        assert_eq!(found.len(), 3);
        assert!(matches!(&found[0], Ok(r) if r.target == "/a" && r.keep_alive
            && r.range == Some(RangeHeader::From(1, None))));
        assert!(matches!(&found[1], Ok(r) if r.method == Method::Head && !r.keep_alive));
        assert!(matches!(found[2], Err(NoRequest::Closed)));
    }

    #[tokio::test]
    async fn a_body_ends_the_connection_and_a_long_head_is_refused() {
        let found = all(b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nGET /").await;
        assert!(matches!(&found[0], Ok(r) if r.method == Method::Post && !r.keep_alive
            && r.body == Some(5)));
        let long = format!("GET /{} HTTP/1.1\r\n", "a".repeat(MAX_HEAD * 2));
        assert!(matches!(all(long.as_bytes()).await[0], Err(NoRequest::Malformed(_))));
    }
}
