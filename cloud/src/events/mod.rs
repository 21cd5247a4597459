//! What browsers are told as it happens.
//!
//! A feature hands a [`NewEvent`] to its transaction. Kept ones are stored with
//! it and numbered; after the commit all go over the [`Bus`] to every socket,
//! which passes on what its actor's scope sees. A socket that was away resumes
//! by id from the bus's memory or, further back, from the table.
//!
//! Samples and output travel without an id and only to who watches
//! ([`Watches`]); nobody is owed those.

mod bus;
mod outputs;
mod pace;
mod replay;
pub mod socket;
mod timeline;
mod vain;
mod watch;

pub use bus::{Bus, LocalBus, Replay, Subscription};
pub use outputs::Outputs;
pub use timeline::{ADDED as TIMELINE_ADDED, Reference, TimelineItem, TimelineKind};
pub use vain::Vain;
pub use watch::{MAX_PER_RELAY, WatchGuard, Watched, Watches};

use crate::{authz::Can, db::Place};
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use time::OffsetDateTime;
use unifyit_protocol::ids::{DeviceId, TaskId};

/// A kind of event. Who tells it declares it, and its feature lists it
/// ([`crate::feature::Feature::kinds`]), by which what is stored is read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    word: &'static str,
    needs: Can,
}

impl Kind {
    /// By its word on the wire, and what somebody must be allowed, besides seeing the
    /// place, to be told.
    #[must_use]
    pub const fn new(word: &'static str, needs: Can) -> Self {
        Self { word, needs }
    }

    /// What somebody must be allowed, besides seeing the place, to be told.
    #[must_use]
    pub const fn needs(self) -> Can {
        self.needs
    }

    /// The word on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        self.word
    }
}

/// Who gets an event besides being allowed to see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Everyone.
    All,
    /// Sockets that watch the device.
    Device(DeviceId),
    /// Sockets that watch the task.
    Task(TaskId),
}

/// An event to be told after the commit.
#[derive(Debug, Clone)]
pub struct NewEvent {
    /// What kind.
    pub kind: Kind,
    /// Where it happened: decides who may see it.
    pub place: Place,
    /// What a listener must be allowed.
    pub needs: Can,
    /// To whom.
    pub audience: Audience,
    /// Whether it is stored, numbered and can be resumed from.
    pub keep: bool,
    /// The payload.
    pub data: Value,
}

impl NewEvent {
    /// An event that is stored and resumable.
    pub fn kept(kind: Kind, place: Place, data: impl Serialize) -> Self {
        let data = serde_json::to_value(data).unwrap_or(Value::Null);
        Self { kind, place, needs: kind.needs(), audience: Audience::All, keep: true, data }
    }

    /// An event for whoever listens at the moment: values that the next minute
    /// replaces. Not stored.
    pub fn passing(kind: Kind, place: Place, data: impl Serialize) -> Self {
        Self { keep: false, ..Self::kept(kind, place, data) }
    }

    /// A sample or a piece of output, for watchers only. Not stored.
    pub fn watched(kind: Kind, place: Place, audience: Audience, data: impl Serialize) -> Self {
        Self { audience, ..Self::passing(kind, place, data) }
    }

    /// The event as it goes over the bus.
    #[must_use]
    pub fn numbered(self, id: Option<i64>, at: OffsetDateTime) -> Event {
        let Self { kind, place, needs, audience, .. } = self;
        Event { needs, audience, ..Event::new(id, kind.as_str(), place, at, &self.data) }
    }
}

/// A committed event with its wire text, made once for all sockets.
#[derive(Debug, Clone)]
pub struct Event {
    /// Its number; none when it cannot be resumed from.
    pub id: Option<i64>,
    /// Where it happened.
    pub place: Place,
    /// What a listener must be allowed.
    pub needs: Can,
    /// To whom.
    pub audience: Audience,
    /// The JSON text of the socket's message.
    pub text: Arc<str>,
}

impl Event {
    /// Writes the wire text, `{"id","kind","at","data"}`, for everyone who sees the
    /// place.
    #[must_use]
    pub fn new(
        id: Option<i64>,
        kind: &str,
        place: Place,
        at: OffsetDateTime,
        data: &Value,
    ) -> Self {
        #[derive(Serialize)]
        struct Wire<'a> {
            #[serde(skip_serializing_if = "Option::is_none")]
            id: Option<i64>,
            kind: &'a str,
            #[serde(with = "time::serde::rfc3339")]
            at: OffsetDateTime,
            data: &'a Value,
        }
        let text = serde_json::to_string(&Wire { id, kind, at, data }).unwrap_or_default();
        Self { id, place, needs: Can::VIEW, audience: Audience::All, text: text.into() }
    }
}

#[cfg(test)]
mod tests;
