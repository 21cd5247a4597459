//! What a timeline looks like from outside, and how its items reach browsers
//! as they come: as passing events, because whoever was away reads the page anew.

use super::{Kind, NewEvent};
use crate::{audit, authz::Can, db::Place};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// An item was added to a timeline.
pub const ADDED: Kind = Kind::new("timeline.added", Can::View);

/// Sorts of things that happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimelineKind {
    /// Somebody did something.
    Audit,
    /// A connection came or went.
    Connection,
    /// A task was started.
    Task,
    /// Data was lost.
    Gap,
}

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct TimelineItem {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What sort of thing.
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
    /// The event that tells of it.
    #[must_use]
    pub fn added(&self, place: Place) -> NewEvent {
        let event = NewEvent::passing(ADDED, place, self);
        match self.kind.as_str() {
            "audit" => NewEvent { needs: audit::ADDED.needs(), ..event },
            _ => event,
        }
    }
}
