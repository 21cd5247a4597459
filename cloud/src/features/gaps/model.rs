//! A loss as clients see it.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// What sort of data was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GapLane {
    /// Results of commands, connections that came and went, audit entries.
    Urgent,
    /// Inventory, and how the relay fared.
    State,
    /// Output of scripts.
    Output,
    /// Measurements.
    Metrics,
}

/// Data that existed and was lost.
#[derive(Debug, Serialize, ToSchema, sqlx::FromRow)]
pub struct GapItem {
    /// Identity; rises.
    #[serde(skip)]
    pub(super) id: i64,
    /// What sort of data.
    #[schema(value_type = GapLane)]
    pub lane: String,
    /// How many records; null when nobody can know.
    pub records: Option<i64>,
    /// First moment that the loss covers.
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    /// Last moment that it covers.
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    /// Why, in one sentence.
    pub reason: String,
    /// The device; null when it concerns the whole site.
    pub device_id: Option<Uuid>,
}
