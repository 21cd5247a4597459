//! What npm asks a registry about known vulnerabilities: the only requests with a
//! body that are passed on, to registries that the site remaps, within bounds, and
//! without anything that tells who asks. Nothing of it is kept: an answer of
//! yesterday would hide what is known today.

use super::{
    head::reason,
    request::Method,
    respond::Answer,
    shape::{self, Look},
    transfer,
    upstream::{self, UpstreamError},
};
use bytes::{Bytes, BytesMut};
use reqwest::{Response, header};
use std::{fmt::Write as _, io, time::Duration};
use tokio::{io::AsyncReadExt, time::timeout};

/// What is passed on, below a registry's address.
const PATHS: [&str; 3] = [
    "/-/npm/v1/security/advisories/bulk",
    "/-/npm/v1/security/audits/quick",
    "/-/npm/v1/security/audits",
];
/// Longest question, in bytes as it comes; npm compresses it.
const QUESTION: usize = 4 * 1024 * 1024;
/// Longest answer, in bytes.
const ANSWER: usize = 32 * 1024 * 1024;
/// Questions under way at a time.
pub(super) const AT_ONCE: usize = 8;
/// Longest wait for others' questions, and for each step of one's own.
const PATIENCE: Duration = Duration::from_secs(30);

impl Answer<'_> {
    /// Passes a question on. `buffer` holds what came behind the head.
    ///
    /// # Errors
    /// When the client is gone.
    pub(super) async fn audit(mut self, buffer: &mut BytesMut) -> io::Result<bool> {
        let policy = self.cache.policy();
        let resource = match policy.resolve(&self.request.target) {
            Ok(resource) => resource,
            Err(refusal) => {
                self.count("refused");
                return self.page(403, &refusal.to_string()).await;
            }
        };
        let passed = policy.remaps().contains_key(&resource.repository)
            && PATHS.contains(&resource.path.as_str());
        if self.request.method != Method::Post || !passed {
            return self.run().await;
        }
        let length = match self.request.body {
            Some(length) if length <= QUESTION => length,
            Some(_) => return self.page(413, "The question is too long.").await,
            None => return self.page(411, "The question does not tell its length.").await,
        };
        let Ok(Ok(_place)) = timeout(PATIENCE, self.cache.asking.acquire()).await else {
            return self.page(503, "Too many ask at once. Try again.").await;
        };
        let question = self.question(buffer, length).await?;
        self.count("passed");
        match self.ask(&resource.url, question).await {
            Ok((response, body)) => self.passed_on(&response, &body).await,
            Err(error) => {
                let text = format!("{error}. What is known of vulnerabilities is not kept here.");
                self.page(502, &text).await
            }
        }
    }

    async fn question(&mut self, buffer: &mut BytesMut, length: usize) -> io::Result<Bytes> {
        if self.request.expects {
            transfer::write(self.stream, b"HTTP/1.1 100 Continue\r\n\r\n").await?;
        }
        while buffer.len() < length {
            let read = timeout(PATIENCE, self.stream.read_buf(buffer)).await;
            if read.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(buffer.split_to(length).freeze())
    }

    async fn ask(&self, url: &str, question: Bytes) -> Result<(Response, Vec<u8>), UpstreamError> {
        let client = &self.cache.client;
        let mut request =
            client.post(url).body(question).header(header::ACCEPT_ENCODING, "identity");
        for (name, value) in [
            (header::CONTENT_TYPE, &self.request.content_type),
            (header::CONTENT_ENCODING, &self.request.content_encoding),
            (header::ACCEPT, &self.request.accept),
        ] {
            if let Some(value) = value {
                request = request.header(name, value);
            }
        }
        let mut response = upstream::send(client, request).await?;
        if response.status().is_redirection() {
            return Err(UpstreamError::Astray("it leads elsewhere".into()));
        }
        let broke = |e: reqwest::Error| UpstreamError::Unreachable(upstream::root_cause(&e));
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(broke)? {
            body.extend_from_slice(&chunk);
            if body.len() > ANSWER {
                return Err(UpstreamError::Unreachable("the answer is too long".into()));
            }
        }
        let kind = response.headers().get(header::CONTENT_TYPE).and_then(|v| v.to_str().ok());
        if let Look::Page(_) = shape::look(&body, kind) {
            return Err(UpstreamError::Posing("a web page"));
        }
        Ok((response, body))
    }

    async fn passed_on(&mut self, response: &Response, body: &[u8]) -> io::Result<bool> {
        let status = response.status().as_u16();
        let mut lines = format!("HTTP/1.1 {status} {}\r\n", reason(status));
        for name in ["content-type", "content-encoding", "retry-after"] {
            if let Some(value) = response.headers().get(name).and_then(|v| v.to_str().ok()) {
                let _infallible = write!(lines, "{name}: {value}\r\n");
            }
        }
        let length = body.len();
        let _infallible = write!(
            lines,
            "content-length: {length}\r\ncache-control: no-store\r\nconnection: close\r\n\r\n"
        );
        transfer::write(self.stream, lines.as_bytes()).await?;
        transfer::write(self.stream, body).await?;
        Ok(false)
    }
}
