//! Receiving one body: from its first bytes, which tell what it is, to its last,
//! however often the upstream breaks off in between.

use super::{
    content,
    flight::{Fetch, Phase, Streaming, disk},
    upstream::{self, Ask, Head, UpstreamError},
};
use bytes::Bytes;
use reqwest::Response;
use std::{collections::VecDeque, sync::Arc, time::Duration};

/// How often a broken fetch is taken up again without progress.
const ATTEMPTS: u32 = 6;
/// A fetch that nobody waits for goes on from this share, in percent.
const FINISH_FROM: u64 = 25;
/// Bytes of a body of unknown length for which room is made at a time.
const GRANT: u64 = 8 * 1024 * 1024;
/// Bytes between two notices to waiting clients.
const NOTICE: u64 = 64 * 1024;

/// An answer's body, of which the beginning can be looked at.
pub(super) struct Source {
    response: Response,
    ahead: VecDeque<Bytes>,
    /// How it broke off, or that it ended, after what is ahead.
    over: Option<Result<(), String>>,
}

impl Source {
    pub(super) fn new(response: Response) -> Self {
        Self { response, ahead: VecDeque::new(), over: None }
    }

    /// The first bytes, about as many as asked for if there are so many; and
    /// whether that is all that can be told for now because it broke off.
    pub(super) async fn start(&mut self, most: usize) -> (Vec<u8>, bool) {
        while self.over.is_none() && self.ahead.iter().map(Bytes::len).sum::<usize>() < most {
            match self.response.chunk().await {
                Ok(Some(chunk)) => self.ahead.push_back(chunk),
                Ok(None) => self.over = Some(Ok(())),
                Err(e) => self.over = Some(Err(upstream::root_cause(&e))),
            }
        }
        let start = self.ahead.iter().flatten().copied().take(most).collect();
        (start, matches!(self.over, Some(Err(_))))
    }

    async fn chunk(&mut self) -> Result<Option<Bytes>, String> {
        if let Some(chunk) = self.ahead.pop_front() {
            return Ok(Some(chunk));
        }
        match self.over.take() {
            Some(over) => over.map(|()| None),
            None => self.response.chunk().await.map_err(|e| upstream::root_cause(&e)),
        }
    }

    fn go_on(&mut self, next: Response) {
        *self = Self::new(next);
    }
}

impl Fetch<'_> {
    /// Receives the body, taking it up again where the upstream breaks off.
    pub(super) async fn receive(
        &self,
        source: &mut Source,
        head: &Head,
        partial: &mut content::Partial,
        shared: &Arc<Streaming>,
    ) -> Result<(), UpstreamError> {
        let mut failures = 0;
        loop {
            let before = partial.written();
            let broke = match self.drain(source, head, partial, shared).await? {
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
                let named = self.expected.is_some();
                let ask = Ask { from, if_range: Some(validator), named, ..Ask::default() };
                match upstream::get(&self.cache.client, &self.resource.url, ask).await {
                    Ok(next) => match next.status().as_u16() {
                        206 if starts_at(&next, from) && head.same_file(&Head::of(&next)) => {
                            source.go_on(next);
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
        source: &mut Source,
        head: &Head,
        partial: &mut content::Partial,
        shared: &Arc<Streaming>,
    ) -> Result<Option<String>, UpstreamError> {
        let mut noticed = partial.written();
        let mut granted = (Vec::new(), noticed);
        loop {
            let chunk: Bytes = match source.chunk().await {
                Ok(Some(chunk)) => chunk,
                Ok(None) => return Ok(None),
                Err(why) => {
                    self.tx.send_replace(Phase::Streaming(Arc::clone(shared), partial.written()));
                    return Ok(Some(why));
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
