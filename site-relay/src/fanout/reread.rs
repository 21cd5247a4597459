//! The plan and the inbox brought together again after commits failed.
//!
//! A commit that failed may be in the file all the same: a disk whose sync fails says
//! nothing of what it kept. Then the position in the cloud's lane moved with the
//! commands of that commit, the cloud does not send them again, and nobody else hands
//! them out; and what the courier noted (that a command was sent, an expiry, the end of a
//! device) may be noted nowhere. The inbox decides, as at a start. What its reading finds too much,
//! because word of it is on the way here, is harmless: nothing that is known is
//! handed on twice, and no end is noted twice.

use super::{Fanout, plan::Had};
use crate::{
    downlink::tell_settings,
    inbox::{self, Loaded},
    store::{StoreError, StoreHandle},
};
use std::collections::HashSet;
use unifyit_protocol::{ids::DeviceId, outcome::Status};
use uuid::Uuid;

/// Pause between two looks while commits fail: the whole inbox is gone through.
pub(super) const PAUSE_MS: u64 = 5_000;

/// What the plan was last compared with.
#[derive(Debug)]
pub(super) struct Reread {
    /// Commits that had failed by then; `None` where that look does not count.
    failed: Option<u64>,
    /// Uptime before which there is no other look.
    due_ms: u64,
    /// Settings that devices were told.
    revision: u64,
    /// Which computers are to get an identity of their own, by the device they share, as
    /// was followed already.
    chosen: HashSet<(DeviceId, Uuid)>,
}

impl Reread {
    /// The plan is as the inbox is.
    pub(super) fn done(store: &StoreHandle) -> Self {
        let revision = store.site_config().borrow().revision;
        Self {
            failed: Some(store.failed_commits()),
            due_ms: 0,
            revision,
            chosen: store.separated(),
        }
    }

    /// What the last look found was let go of since: the next one is due.
    pub(super) fn again(&mut self) {
        self.failed = None;
    }
}

impl Fanout {
    /// Reads the inbox again when commits failed since it was last read.
    pub(super) async fn reread(&mut self) {
        // Looked at ahead of the count: what came of a commit that fails in between is
        // still to be followed.
        let chosen = self.store.separated();
        let (failed, now_ms) = (self.store.failed_commits(), self.clock.uptime_ms());
        if Some(failed) == self.reread.failed {
            // Whoever stored it followed it.
            self.reread.chosen = chosen;
            return;
        }
        if now_ms < self.reread.due_ms {
            return;
        }
        self.reread.due_ms = now_ms.saturating_add(PAUSE_MS);
        match self.compared_inbox().await {
            Ok(all) => {
                self.reread.failed = Some(failed);
                self.take_up(all, false).await;
                self.follow_again().await;
            }
            Err(error) => tracing::debug!(%error, "the inbox cannot be compared with the plan"),
        }
    }

    /// The inbox without the content of what is known.
    async fn compared_inbox(&self) -> Result<Vec<Loaded>, StoreError> {
        // All that was asked of the store before is in the file by then, or is not.
        self.store.write(|_| Ok(())).await?;
        let known = self.plan.commands();
        self.store.read(move |tx| inbox::load_beside(tx, &known)).await
    }

    /// Takes up what the inbox holds; `at_start` what it held then.
    pub(super) async fn take_up(&mut self, all: Vec<Loaded>, at_start: bool) {
        let (mut done, mut unnoted) = (Vec::new(), Vec::new());
        for loaded in all {
            let id = loaded.command.command;
            // The note that it was sent was in a commit that failed.
            let pending = loaded.statuses.iter().filter(|(_, s)| *s == Status::Pending);
            let sent = pending.filter(|(d, _)| self.plan.had(*d, id) == Some(Had::Sent));
            unnoted.push((id, sent.map(|(device, _)| *device).collect()));
            if !self.plan.load(loaded, at_start) {
                done.push(id);
            }
        }
        self.finish(done).await;
        self.note(unnoted).await;
        let devices = self.plan.devices().into_iter();
        let out = devices.filter(|d| self.store.device(*d).is_none_or(|known| known.revoked));
        let out = out.collect();
        self.end(out).await;
    }

    /// What else follows a commit and was left out for one that seemed to fail; said once
    /// more, it does no harm. The rest comes by itself: devices are asked for inventories
    /// with their next welcome, a computer that another one made room for is let in when
    /// it tries again, and what waits for the cloud's last word on who had what waits no
    /// longer than [`ANSWER_MS`](super::ANSWER_MS).
    async fn follow_again(&mut self) {
        for device in self.broker.online() {
            if self.store.device(device).is_some_and(|known| known.revoked) {
                self.broker.disconnect(device, "the device was revoked");
            }
        }
        let chosen = self.store.separated();
        for (device, _) in chosen.difference(&self.reread.chosen) {
            self.broker.disconnect(*device, "one of its computers gets an identity of its own");
        }
        self.reread.chosen = chosen;
        let revision = self.store.site_config().borrow().revision;
        if std::mem::replace(&mut self.reread.revision, revision) != revision {
            tell_settings(&self.store, &self.broker);
        }
    }
}
