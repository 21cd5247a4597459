//! Telling a relay of its sisters: at the session's start, soon after a nudge, and
//! now and then, should a nudge have been lost. Sent only when it changed.

use super::{Ended, outgoing::Latest};
use crate::{
    db::{Db, DbError},
    events::Watched,
    link::{RelayIdentity, sisters},
};
use std::time::Duration;
use tokio::{task::JoinHandle, time::Instant};
use unifyit_protocol::link::{Frame, Sister, Sisters, Watch};

/// How often it is looked at all the same.
const EVERY: Duration = Duration::from_secs(300);
/// Nudges come with each command; the database is asked no oftener than this.
const NOT_BEFORE: Duration = Duration::from_secs(5);

/// What the relay was told, and when to look again.
pub(super) struct Telling {
    told: Vec<Sister>,
    pub(super) asking: Option<JoinHandle<Result<Vec<Sister>, DbError>>>,
    asked: Option<Instant>,
    due: Instant,
}

impl Telling {
    pub(super) fn new() -> Self {
        Self { told: Vec::new(), asking: None, asked: None, due: Instant::now() }
    }

    /// Something changed, perhaps this.
    pub(super) fn soon(&mut self) {
        let earliest = self.asked.map_or_else(Instant::now, |at| at + NOT_BEFORE);
        self.due = self.due.min(earliest);
    }

    /// When to look; not while it is being looked.
    pub(super) fn due(&self) -> Option<Instant> {
        self.asking.is_none().then_some(self.due)
    }

    /// Looks, when it is time.
    pub(super) fn start(&mut self, db: &Db, relay: &RelayIdentity) {
        let now = Instant::now();
        if self.asking.is_some() || self.due > now {
            return;
        }
        self.asked = Some(now);
        self.due = now + EVERY;
        let (db, relay) = (db.clone(), *relay);
        self.asking = Some(tokio::spawn(async move {
            let mut tx = db.tenant(&relay.scope()).await?;
            let list = sisters::of(&mut tx, relay.id).await?;
            tx.commit().await?;
            Ok(list.into_iter().map(|(_, sister)| sister).collect())
        }));
    }

    /// What to send, when it is new.
    pub(super) fn looked(&mut self, done: Result<Vec<Sister>, DbError>) -> Option<Frame> {
        match done {
            Ok(relays) if relays != self.told => {
                self.told.clone_from(&relays);
                Some(Frame::Sisters(Sisters { relays }))
            }
            Ok(_) => None,
            Err(error) => {
                tracing::warn!(%error, "A relay's sisters could not be read.");
                None
            }
        }
    }
}

impl super::Session<'_> {
    /// Tells the relay whose samples somebody watches.
    pub(super) fn on_watches(&mut self, all: &Watched) -> Result<(), Ended> {
        let devices = all.get(&self.relay.id).cloned().unwrap_or_default();
        if devices != self.watched {
            self.watched.clone_from(&devices);
            self.waiting.push_latest(Latest::Watch, Frame::Watch(Watch { devices }))?;
        }
        Ok(())
    }
}
