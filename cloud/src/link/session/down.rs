//! The downlink of one session: the table as the lane machine's store.
//!
//! Rows are read ahead into a bounded buffer and stay there until the relay has
//! acknowledged them, so that a rewind needs no query. One statement batch
//! (*sync*) does all that is due: deletes what was acknowledged, reads on, notes
//! the contact, and sees whether the relay may stay. An entry that continues the
//! buffer and was just committed here needs no sync: it is handed over.

use super::{
    super::{RelayChange, RelayIdentity, records::Records, relay::now_ms},
    table::{self, Synced},
};
use crate::db::{Db, DbError, DownRow};
use futures::future::BoxFuture;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;
use unifyit_protocol::lane::{
    Ack, Data, Lane, LaneError, LaneLimits, Resume, Sender, SenderPosition,
};

/// Rows kept in memory, beyond which nothing is read ahead.
const MAX_BUFFER: usize = 512;
/// Deleting acknowledged rows may wait this long for other work to join.
const TRIM_AFTER: Duration = Duration::from_millis(250);
/// A contact is noted this often, and the downlink looked at even if no nudge came.
const TOUCH_EVERY: Duration = Duration::from_secs(30);

/// Epochs are moments in milliseconds; none is as late as this.
const LAST_EPOCH: u64 = 1 << 52;

pub(super) struct Downlink {
    db: Db,
    relay: RelayIdentity,
    epoch: u64,
    sender: Sender,
    buffer: VecDeque<(u64, Vec<u8>)>,
    /// Of the numbers after the first and up to the second, all rows that the table
    /// has are in the buffer. What is missing there is gone for good: superseded,
    /// or expired while the relay was away.
    seen: (u64, u64),
    /// Number after which the lane machine wants rows that are not in the buffer.
    hungry: Option<u64>,
    wanted: bool,
    /// A sync is under way; what it finds was read at some moment of it.
    syncing: bool,
    /// Highest number known to be in the table.
    tail: u64,
    trim: Option<u64>,
    trim_at: Option<Instant>,
    touch_at: Instant,
    /// What the sync under way deletes.
    trimming: Option<u64>,
    /// After a sync that failed, until when there is none: a database that is away
    /// is not asked again and again.
    resting: Option<Instant>,
}

impl Downlink {
    /// Reads where the relay's downlink stands, and whether the relay is revoked.
    pub(super) async fn load(db: Db, relay: RelayIdentity) -> Result<(Self, bool), super::Ended> {
        let mut tx = db.tenant_by_keys(&relay.scope()).await?;
        let stand = table::stand(&mut tx, &relay).await?;
        tx.commit().await?;
        let sender = sender(stand.epoch, stand.acked, stand.tail)?;
        let down = Self {
            db,
            relay,
            epoch: stand.epoch,
            sender,
            buffer: VecDeque::new(),
            seen: (stand.acked, stand.acked),
            hungry: None,
            wanted: true,
            syncing: false,
            tail: stand.tail.max(stand.acked),
            trim: None,
            trim_at: None,
            touch_at: Instant::now() + TOUCH_EVERY,
            trimming: None,
            resting: None,
        };
        Ok((down, stand.revoked))
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Begins from where the relay stands. When it knows more than the database,
    /// the database is an older copy; when it knows less than it acknowledged, the
    /// relay is. Either way what waits goes out in a new epoch, and in the second
    /// case what the relay has forgotten is queued again.
    pub(super) async fn open(
        &mut self,
        resume: &Resume,
        records: &dyn Records,
    ) -> Result<(), super::Ended> {
        let beyond = match self.open_sender(resume) {
            Ok(false) => return Ok(()),
            Ok(true) => {
                tracing::warn!(
                    relay = %self.relay.id,
                    "The relay has lost what it had acknowledged: it was restored from an older copy. It is told anew."
                );
                self.epoch
            }
            Err(LaneError::PeerAhead { peer, .. }) if peer.epoch > LAST_EPOCH => {
                return Err(super::Ended::BeyondAll(peer.epoch));
            }
            Err(LaneError::PeerAhead { peer, .. }) => {
                tracing::warn!(
                    relay = %self.relay.id,
                    "The relay has more of its downlink than the database, which was restored from an older copy."
                );
                peer.epoch.max(self.epoch)
            }
            Err(other) => return Err(other.into()),
        };
        let epoch = now_ms().max(beyond + 1);
        let mut tx = self.db.tenant_by_keys(&self.relay.scope()).await?;
        table::renumber(&mut tx, &self.relay, epoch).await?;
        super::told(records, &mut tx, &self.relay, RelayChange::Restored).await?;
        let stand = table::stand(&mut tx, &self.relay).await?;
        tx.commit().await?;
        (self.epoch, self.tail, self.seen) = (epoch, stand.tail, (0, 0));
        (self.trim, self.trim_at, self.hungry) = (None, None, None);
        self.buffer.clear();
        self.sender = sender(epoch, 0, stand.tail)?;
        // The relay has nothing of this epoch, whatever it has of others.
        self.open_sender(&Resume::default())?;
        Ok(())
    }

    /// Begins again in the middle of a session, in which nothing can have been lost
    /// that was acknowledged.
    pub(super) fn reopen(&mut self, resume: &Resume) -> Result<(), super::Ended> {
        match self.open_sender(resume)? {
            false => Ok(()),
            true => Err(super::Ended::Forgetful),
        }
    }

    /// Whether the relay has lost what it had acknowledged.
    fn open_sender(&mut self, resume: &Resume) -> Result<bool, LaneError> {
        // Positions of older epochs, which the database has forgotten, say
        // nothing about this one.
        let positions =
            resume.positions.iter().filter(|ack| ack.epoch >= self.epoch).copied().collect();
        let opened = self.sender.open(&Resume { positions })?;
        for trim in opened.trims {
            self.note_trim(trim.through);
        }
        Ok(!opened.forgotten.is_empty())
    }

    pub(super) fn acked(&mut self, ack: &Ack) -> Result<(), LaneError> {
        if ack.epoch < self.epoch {
            return Ok(());
        }
        if let Some(trim) = self.sender.acked(ack, now_ms())? {
            self.note_trim(trim.through);
        }
        Ok(())
    }

    fn note_trim(&mut self, through: u64) {
        while self.buffer.front().is_some_and(|(seq, _)| *seq <= through) {
            self.buffer.pop_front();
        }
        self.seen = (self.seen.0.max(through), self.seen.1.max(through));
        self.trim = self.trim.max(Some(through));
        self.trim_at.get_or_insert_with(|| Instant::now() + TRIM_AFTER);
    }

    /// Takes an entry that was just committed. Anything that does not simply
    /// continue what is known is left to a sync.
    pub(super) fn handed(&mut self, row: &DownRow) -> Result<(), LaneError> {
        let behind = self.buffer.back().map_or(self.tail, |(seq, _)| *seq);
        let next = row.epoch == self.epoch
            && row.seq == self.tail + 1
            && behind == self.tail
            && self.seen.1 == self.tail;
        if !next || self.syncing || self.hungry.is_some() || self.buffer.len() >= MAX_BUFFER {
            self.wanted |= row.epoch == self.epoch && row.seq > self.tail;
            return Ok(());
        }
        self.tail = row.seq;
        self.seen.1 = row.seq;
        self.buffer.push_back((row.seq, row.body.to_vec()));
        self.sender.appended(Lane::Urgent, row.seq)
    }

    /// Something may be new in the table.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// When to look without being asked.
    pub(super) fn trim_at(&self) -> Option<Instant> {
        // A look that is under way ends by itself, however long the database takes.
        (!self.syncing).then(|| {
            self.resting
                .unwrap_or_else(|| self.trim_at.map_or(self.touch_at, |at| at.min(self.touch_at)))
        })
    }

    /// The next frame, if there is one and the window has room.
    pub(super) fn next_data(&mut self, now_ms: u64) -> Result<Option<Data>, LaneError> {
        if self.hungry.is_some() {
            return Ok(None);
        }
        while let Some(fetch) = self.sender.next_fetch() {
            let start = self.buffer.partition_point(|(seq, _)| *seq <= fetch.after);
            let mut bytes = 0;
            let rows: Vec<_> = self
                .buffer
                .range(start..)
                .take(fetch.max_records)
                .take_while(|(_, body)| {
                    let fits = bytes == 0 || bytes + body.len() <= fetch.max_bytes;
                    bytes += body.len();
                    fits
                })
                .cloned()
                .collect();
            // What lies before the first of them was seen to be gone, or is not
            // read yet; only the first may be told to the relay as skipped.
            let (from, through) = self.seen;
            let all_gone = rows.is_empty() && through >= fetch.until;
            if fetch.after < from || (rows.is_empty() && !all_gone) {
                self.sender.unfetched(fetch);
                self.hungry = Some(fetch.after);
                return Ok(None);
            }
            if all_gone {
                self.sender.dropped(Lane::Urgent, self.epoch, fetch.until)?;
            }
            if let Some(data) = self.sender.fetched(fetch, rows, now_ms)? {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The next sync, when one is due.
    pub(super) fn next_sync(&mut self) -> Option<BoxFuture<'static, Result<Synced, DbError>>> {
        let now = Instant::now();
        if self.resting.is_some_and(|until| until > now) {
            return None;
        }
        self.resting = None;
        let touch = self.touch_at <= now;
        let trim_due = self.trim_at.is_some_and(|at| at <= now);
        if !(self.wanted || touch || trim_due || self.hungry.is_some()) {
            return None;
        }
        self.wanted = false;
        self.syncing = true;
        self.trim_at = None;
        if touch {
            self.touch_at = now + TOUCH_EVERY;
        }
        let behind = self.buffer.back().map(|(seq, _)| *seq);
        let after = match self.hungry {
            Some(after) => Some(after),
            None if self.buffer.len() >= MAX_BUFFER => None,
            None => behind,
        };
        let (db, relay, trim) = (self.db.clone(), self.relay, self.trim.take());
        self.trimming = trim;
        Some(Box::pin(table::sync(db, relay, trim, after, touch)))
    }

    pub(super) fn synced(&mut self, synced: Synced) -> Result<(), LaneError> {
        let (full, through) = (synced.full(), synced.seen_through());
        let Synced { tail, after, rows, trimmed, .. } = synced;
        self.syncing = false;
        if self.hungry.take_if(|hungry| *hungry == after).is_some() {
            self.buffer.clear();
            self.seen = (after, after);
        }
        // Rows that do not continue what was seen say nothing about those between.
        if after <= self.seen.1 {
            let behind = self.buffer.back().map_or(after, |(seq, _)| *seq);
            self.buffer.extend(rows.into_iter().filter(|(seq, _)| *seq > behind));
            self.seen.1 = self.seen.1.max(through);
        }
        self.tail = tail.max(self.seen.1);
        self.wanted |= full && self.buffer.len() < MAX_BUFFER;
        while self.buffer.front().is_some_and(|(seq, _)| *seq <= trimmed) {
            self.buffer.pop_front();
        }
        self.sender.appended(Lane::Urgent, self.tail)
    }

    /// Looks again a little later.
    pub(super) fn sync_failed(&mut self) {
        self.syncing = false;
        self.trim = self.trim.max(self.trimming.take());
        self.wanted = true;
        self.resting = Some(Instant::now() + 4 * TRIM_AFTER);
    }
}

fn sender(epoch: u64, acked: u64, tail: u64) -> Result<Sender, LaneError> {
    let position = SenderPosition { lane: Lane::Urgent, epoch, acked, tail: tail.max(acked) };
    Sender::new(LaneLimits::default(), [position])
}

impl super::Session<'_> {
    /// Starts to read the downlink on, when it is time.
    pub(super) fn start_sync(&mut self) {
        if self.syncing.is_none()
            && let Some(sync) = self.down.next_sync()
        {
            self.syncing = Some(tokio::spawn(sync));
        }
    }

    /// The downlink was read.
    pub(super) fn on_synced(&mut self, done: Result<Synced, DbError>) -> Result<(), super::Ended> {
        match done {
            Ok(Synced { revoked: true, .. }) => Err(super::Ended::Revoked),
            Ok(synced) => Ok(self.down.synced(synced)?),
            Err(error) => {
                tracing::warn!(relay = %self.relay.id, %error, "A downlink could not be read.");
                self.down.sync_failed();
                Ok(())
            }
        }
    }
}

#[cfg(test)]
mod tests;
