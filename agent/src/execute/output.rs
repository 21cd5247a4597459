//! A command's output on its way: at once to whoever looks, and durably to the
//! spool. Cut visibly at its limit, whatever the process goes on to write.

use crate::{
    clock::now_ms,
    link::{live::LiveQueue, spool},
    store::{Store, StoreError, Txn},
};
use std::{sync::Arc, time::Duration};
use tokio::time::Instant;
use unifyit_protocol::{
    ids::CommandId,
    lane::Lane,
    live::MAX_LIVE,
    outcome::{OutputChunk, Stream},
    report::{Gap, Report},
};

/// Limit when the command names none.
const DEFAULT_LIMIT: u64 = 1 << 20;
/// Largest limit honoured: a good part of the output lane's place on disk.
const MAX_LIMIT: u64 = 16 << 20;
const FLUSH_BYTES: usize = 32 * 1024;
const FLUSH_AFTER: Duration = Duration::from_secs(1);
/// Bytes kept in memory while the disk refuses them.
const MAX_PENDING: usize = 256 * 1024;

/// What of an output is not on disk.
#[derive(Debug, Clone, Default)]
pub(super) struct Rest {
    /// What was given up before it.
    lost: Option<Gap>,
    chunks: Vec<OutputChunk>,
    /// So many of the first were given to a commit that failed, and may be on disk in
    /// spite of that: each stays as it is, for of two that begin at the same place only
    /// the first is kept.
    tried: usize,
}

impl Rest {
    fn is_empty(&self) -> bool {
        self.chunks.is_empty() && self.lost.is_none()
    }

    /// Adds it to the spool.
    pub(super) fn append(&self, txn: &mut Txn<'_>, at_ms: u64) -> Result<(), StoreError> {
        if let Some(gap) = &self.lost {
            spool::append(txn, Lane::Output, at_ms, &Report::Gap(gap.clone()))?;
        }
        for chunk in &self.chunks {
            spool::append(txn, Lane::Output, at_ms, &Report::Output(chunk.clone()))?;
        }
        Ok(())
    }
}

/// Output of one command.
pub(super) struct Output {
    command: CommandId,
    live: Arc<LiveQueue>,
    store: Store,
    limit: u64,
    offset: u64,
    cut: u64,
    pending: Rest,
    pending_bytes: usize,
    pending_since: Option<Instant>,
}

impl Output {
    /// Output of a command; a limit of 0 means the default.
    #[must_use]
    pub(super) fn new(command: CommandId, limit: u32, live: Arc<LiveQueue>, store: Store) -> Self {
        let limit = match limit {
            0 => DEFAULT_LIMIT,
            wanted => u64::from(wanted).min(MAX_LIMIT),
        };
        Self {
            command,
            live,
            store,
            limit,
            offset: 0,
            cut: 0,
            pending: Rest::default(),
            pending_bytes: 0,
            pending_since: None,
        }
    }

    /// Bytes kept and bytes cut.
    #[must_use]
    pub(super) fn lengths(&self) -> (u64, u64) {
        (self.offset, self.cut)
    }

    /// When what waits must go to disk.
    #[must_use]
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.pending_since.map(|since| since + FLUSH_AFTER)
    }

    /// Takes what the process wrote.
    pub(super) async fn take(&mut self, stream: Stream, data: &[u8]) {
        let room = usize::try_from(self.limit.saturating_sub(self.offset)).unwrap_or(usize::MAX);
        let (keep, cut) = data.split_at(data.len().min(room));
        self.cut += cut.len() as u64;
        self.keep(stream, keep);
        if self.pending_bytes >= FLUSH_BYTES {
            self.flush().await;
        }
    }

    fn keep(&mut self, stream: Stream, data: &[u8]) {
        for part in data.chunks(MAX_LIVE) {
            let chunk = OutputChunk {
                command: self.command,
                offset: self.offset,
                stream,
                data: part.to_vec(),
            };
            self.offset += part.len() as u64;
            self.pending_bytes += part.len();
            self.pending_since.get_or_insert_with(Instant::now);
            self.live.offer(chunk.clone());
            match self.pending.chunks.get_mut(self.pending.tried..).and_then(<[_]>::last_mut) {
                Some(last) if last.stream == stream && last.data.len() + part.len() <= MAX_LIVE => {
                    last.data.extend_from_slice(part);
                }
                _ => self.pending.chunks.push(chunk),
            }
        }
    }

    /// Ends the output: says what was cut, and puts everything on disk. What the disk
    /// does not take is for the outcome's commit, which is tried until it holds (G6).
    pub(super) async fn finish(&mut self) -> Rest {
        if self.cut > 0 {
            let notice = format!("\n[output cut: {} more bytes were not kept]\n", self.cut);
            self.keep(Stream::Stdout, notice.as_bytes());
        }
        self.flush().await;
        std::mem::take(&mut self.pending)
    }

    /// Puts what waits on disk.
    pub(super) async fn flush(&mut self) {
        self.pending_since = None;
        if self.pending.is_empty() {
            return;
        }
        let (rest, at_ms) = (self.pending.clone(), now_ms());
        match self.store.write(move |txn| rest.append(txn, at_ms)).await {
            Ok(()) => {
                self.pending = Rest::default();
                self.pending_bytes = 0;
            }
            Err(error) => {
                tracing::error!(command = %self.command, %error, "output cannot be stored");
                self.pending_since = Some(Instant::now());
                self.pending.tried = self.pending.chunks.len();
                if self.pending_bytes > MAX_PENDING {
                    self.give_up(at_ms);
                }
            }
        }
    }

    /// Forgets what the disk does not take, and remembers that it did (G6).
    fn give_up(&mut self, at_ms: u64) {
        let gap = self.pending.lost.get_or_insert_with(|| Gap {
            lane: Lane::Output,
            count: 0,
            from_ms: at_ms,
            to_ms: at_ms,
            reason: "The computer's disk did not take the output.".into(),
        });
        gap.count += self.pending.chunks.len() as u64;
        gap.to_ms = at_ms;
        self.pending.chunks.clear();
        self.pending.tried = 0;
        self.pending_bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::link::spool::Quotas;

    #[tokio::test]
    async fn pieces_join_and_none_is_longer_than_the_relay_takes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Quotas::share(1 << 20), now_ms()).unwrap();
        let mut output = Output::new(CommandId::generate(), 0, Arc::default(), store);
        for bytes in [4096, 64 * 1024, 1, MAX_LIVE - 1, 10, MAX_LIVE, 7] {
            output.keep(Stream::Stdout, &vec![b'x'; bytes]);
        }
        let mut at = 0;
        for chunk in &output.pending.chunks {
            assert_eq!(chunk.offset, at);
            assert!(chunk.data.len() <= MAX_LIVE, "{} bytes", chunk.data.len());
            at += chunk.data.len() as u64;
        }
        assert_eq!(at, output.lengths().0);
    }

    #[tokio::test]
    async fn a_piece_that_may_be_on_disk_does_not_grow() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Quotas::share(1 << 20), now_ms()).unwrap();
        let mut output = Output::new(CommandId::generate(), 0, Arc::default(), store.clone());
        store.fails();
        output.take(Stream::Stdout, b"one ").await;
        output.flush().await;
        output.take(Stream::Stdout, b"two ").await;
        output.take(Stream::Stdout, b"three").await;
        let pieces = |output: &Output| {
            let all = output.pending.chunks.iter();
            all.map(|c| (c.offset, c.data.clone())).collect::<Vec<_>>()
        };
        assert_eq!(pieces(&output), [(0, b"one ".to_vec()), (4, b"two three".to_vec())]);
        output.flush().await;
        assert!(output.pending.is_empty());
        output.take(Stream::Stdout, b"f").await;
        output.take(Stream::Stdout, b"our").await;
        assert_eq!(pieces(&output), [(13, b"four".to_vec())]);
    }
}
