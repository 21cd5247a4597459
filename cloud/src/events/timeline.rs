//! What a timeline looks like from outside, and how its items reach browsers
//! as they come: as passing events, because whoever was away reads the page anew.

use super::{Kind, NewEvent};
use crate::{authz::Can, db::Place};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::{
    PartialSchema, ToSchema,
    openapi::{ObjectBuilder, RefOr, Schema, Type},
};
use uuid::Uuid;

/// An item was added to a timeline.
pub const ADDED: Kind = Kind::new("timeline.added", Can::VIEW);

/// A sort of thing that happens. Whose part of timelines it is declares it
/// ([`crate::timeline::Source::kind`]), by which the document lists them all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimelineKind {
    word: &'static str,
    needs: Can,
}

impl TimelineKind {
    /// By its word on the wire, and what somebody must be allowed, besides seeing the
    /// place, to read of it.
    #[must_use]
    pub const fn new(word: &'static str, needs: Can) -> Self {
        Self { word, needs }
    }

    /// What somebody must be allowed, besides seeing the place, to read of it.
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

impl PartialSchema for TimelineKind {
    /// Without its words, which only the list of features has.
    fn schema() -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String);
        schema.description(Some("Sorts of things that happen.")).into()
    }
}

impl ToSchema for TimelineKind {}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct TimelineItem {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What sort of thing.
    // Read from tables, an item has its source's.
    #[sqlx(default)]
    #[schema(value_type = TimelineKind)]
    pub kind: String,
    /// In a few words.
    pub title: String,
    /// In a sentence, or nothing.
    pub detail: String,
    /// Who did it, when somebody did.
    pub actor: String,
    /// What it leads to: a device, site or task.
    #[serde(rename = "ref")]
    #[sqlx(flatten)]
    pub reference: Reference,
}

/// Where an item leads.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct Reference {
    /// `device`, `site`, `task` or nothing.
    #[sqlx(rename = "ref_kind")]
    pub kind: Option<String>,
    /// Its id.
    #[sqlx(rename = "ref_id")]
    pub id: Option<Uuid>,
    /// Its name.
    #[sqlx(rename = "ref_name")]
    pub name: Option<String>,
}

impl Reference {
    /// To a thing of a kind.
    #[must_use]
    pub fn to(kind: &str, id: Uuid, name: &str) -> Self {
        let name = Some(name).filter(|n| !n.is_empty()).map(str::to_owned);
        Self { kind: Some(kind.to_owned()), id: Some(id), name }
    }
}

impl TimelineItem {
    /// The event that tells of it whoever sees the place and may read of its kind.
    #[must_use]
    pub fn added(self, kind: TimelineKind, place: Place) -> NewEvent {
        let item = Self { kind: kind.word.to_owned(), ..self };
        NewEvent { needs: kind.needs, ..NewEvent::passing(ADDED, place, &item) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::READ_AUDIT;

    #[test]
    fn an_item_is_told_to_whoever_may_read_of_its_kind() {
        let item = TimelineItem {
            at: time::OffsetDateTime::UNIX_EPOCH,
            kind: String::new(),
            title: "Told".into(),
            detail: String::new(),
            actor: String::new(),
            reference: Reference { kind: None, id: None, name: None },
        };
        let told = item.added(TimelineKind::new("secret", READ_AUDIT), Place::default());
        assert_eq!((told.needs, told.kind), (READ_AUDIT, ADDED));
    }
}
