//! What a timeline looks like from outside.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Something that happened.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct TimelineItem {
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// `audit`, `connection` or `task`.
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
