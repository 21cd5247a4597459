//! What partners and organizations look like from outside.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// A managed service provider.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct Partner {
    /// Identity.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// How many organizations it has.
    pub organizations: i64,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// A customer of a partner.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct Organization {
    /// Identity.
    pub id: Uuid,
    /// Its partner.
    pub partner_id: Uuid,
    /// Name.
    pub name: String,
    /// How many sites it has.
    pub sites: i64,
    /// How many devices it has.
    pub devices: i64,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}
