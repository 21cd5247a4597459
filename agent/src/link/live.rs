//! Frames that matter only while somebody looks, on their way up.
//!
//! Bounded in bytes. Output of scripts is offered and dropped when there is no
//! room or no link, because its durable copy follows; terminals wait for room,
//! because theirs is the only copy.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
};
use tokio::sync::Notify;
use unifyit_protocol::live::LiveUp;

/// Bytes that may wait for the link.
const ROOM: usize = 256 * 1024;

#[derive(Debug, Default)]
struct Waiting {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
    up: bool,
    dropped: u64,
}

/// The queue.
#[derive(Debug, Default)]
pub struct LiveQueue {
    waiting: Mutex<Waiting>,
    ready: Notify,
    changed: Notify,
}

impl LiveQueue {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a frame if the link is up and there is room. Whether it was.
    pub fn offer(&self, frame: impl Into<LiveUp>) -> bool {
        let mut waiting = self.lock();
        if !waiting.up || waiting.bytes >= ROOM {
            waiting.dropped += 1;
            return false;
        }
        let Ok(bytes) = frame.into().encode() else { return false };
        waiting.bytes += bytes.len();
        waiting.frames.push_back(bytes);
        drop(waiting);
        self.ready.notify_one();
        true
    }

    /// Completes when a frame may be offered with success, at the earliest.
    pub async fn room(&self) {
        self.until(|w| w.up && w.bytes < ROOM).await;
    }

    /// Completes when the link is up (`true`) or down (`false`).
    pub async fn link(&self, up: bool) {
        self.until(|w| w.up == up).await;
    }

    async fn until(&self, holds: impl Fn(&Waiting) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Registered before the look, so that no change slips through between.
            changed.as_mut().enable();
            if holds(&self.lock()) {
                return;
            }
            changed.await;
        }
    }

    /// Whether the link is up.
    pub fn is_up(&self) -> bool {
        self.lock().up
    }

    /// Takes the frame that waits longest, encoded.
    pub fn take_next(&self) -> Option<Vec<u8>> {
        let mut waiting = self.lock();
        let frame = waiting.frames.pop_front()?;
        let was_full = waiting.bytes >= ROOM;
        waiting.bytes -= frame.len();
        drop(waiting);
        if was_full {
            self.changed.notify_waiters();
        }
        Some(frame)
    }

    pub(super) async fn ready(&self) {
        self.ready.notified().await;
    }

    /// Tells whether the link is up. What waited for a lost one is forgotten.
    pub fn set_up(&self, up: bool) {
        let mut waiting = self.lock();
        if waiting.up != up {
            waiting.up = up;
            waiting.frames.clear();
            waiting.bytes = 0;
            let dropped = std::mem::take(&mut waiting.dropped);
            drop(waiting);
            if dropped > 0 {
                tracing::debug!(dropped, "live frames found no room or no link");
            }
            self.changed.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use unifyit_protocol::{ids::TunnelId, live::TunnelData};

    fn frame(bytes: usize) -> TunnelData {
        TunnelData { tunnel: TunnelId::generate(), seq: 0, data: vec![0; bytes] }
    }

    #[test]
    fn nothing_is_queued_without_a_link_and_never_more_than_the_bound() {
        let queue = LiveQueue::default();
        assert!(!queue.offer(frame(1)));
        queue.set_up(true);
        // Random bytes would not compress; these do, so many fit.
        let taken = (0..1_000_000).take_while(|_| queue.offer(frame(400))).count();
        assert!(taken < 1_000, "the queue took {taken} frames");
        assert!(queue.lock().bytes < ROOM + 1024);
    }

    #[tokio::test]
    async fn a_waiter_goes_on_when_a_frame_was_taken() {
        let queue = LiveQueue::default();
        queue.set_up(true);
        while queue.offer(frame(400)) {}
        let (_, popped) = tokio::join!(queue.room(), async { queue.take_next() });
        assert!(popped.is_some());
    }
}
