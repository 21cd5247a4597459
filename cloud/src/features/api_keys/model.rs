//! What API keys look like from outside.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// An API key; the key itself is shown once, when it is made.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub(super) struct ApiKeyItem {
    /// Identity.
    pub id: Uuid,
    /// What it is for.
    pub name: String,
    /// Its first characters, to tell keys apart.
    pub hint: String,
    /// Role at its scope.
    #[schema(value_type = crate::authz::Role)]
    pub role: String,
    /// Kind of scope.
    #[schema(value_type = crate::db::ScopeKind)]
    pub scope: String,
    /// Whose it is: the person who made it, also by another key.
    #[sqlx(rename = "maker")]
    pub created_by: String,
    /// The key that made it, when one did.
    pub parent_id: Option<Uuid>,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// When it was last used, to the minute.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_used_at: Option<OffsetDateTime>,
    /// Not valid from then on.
    #[serde(with = "time::serde::rfc3339::option")]
    pub expires_at: Option<OffsetDateTime>,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
}

/// A fresh API key.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct NewApiKey {
    /// As in the list.
    #[serde(flatten)]
    pub item: ApiKeyItem,
    /// The key. Shown only now.
    pub key: String,
}
