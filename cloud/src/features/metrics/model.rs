//! What measurements look like from outside.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use unifyit_protocol::ids::DeviceId;
use utoipa::ToSchema;

/// Measurements over a range, in steps.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct MetricsBody {
    /// Start of the first step.
    #[serde(with = "time::serde::rfc3339")]
    pub from: OffsetDateTime,
    /// End of the last step.
    #[serde(with = "time::serde::rfc3339")]
    pub to: OffsetDateTime,
    /// Length of a step in seconds.
    pub step_s: u64,
    /// Start of each step, Unix milliseconds.
    pub times: Vec<u64>,
    /// One entry a measured thing; each column has a value a step.
    pub series: Vec<SeriesBody>,
    /// How many measured things the answer has no room for: ask for a longer step,
    /// a shorter range, or some by name.
    #[serde(default)]
    pub left_out: u64,
    /// Data that existed and was dropped.
    pub gaps: Vec<GapBody>,
}

/// One measured thing over the range. `null` where nothing was measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SeriesBody {
    /// What is measured.
    pub name: String,
    /// Which of several.
    pub label: String,
    /// Unit.
    pub unit: String,
    /// Mean of each step.
    pub avg: Vec<Option<f64>>,
    /// Smallest of each step.
    pub min: Vec<Option<f64>>,
    /// Largest of each step.
    pub max: Vec<Option<f64>>,
}

/// A range in which data was dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct GapBody {
    /// First moment.
    #[serde(with = "time::serde::rfc3339")]
    #[sqlx(rename = "from_at")]
    pub from: OffsetDateTime,
    /// Last moment.
    #[serde(with = "time::serde::rfc3339")]
    #[sqlx(rename = "to_at")]
    pub to: OffsetDateTime,
    /// Why, in one sentence.
    pub reason: String,
}

/// `device.sample` on the events socket, for whoever watches the device.
#[derive(Debug, Serialize, ToSchema)]
pub struct SampleEvent {
    /// The device.
    #[schema(value_type = Uuid)]
    pub device_id: DeviceId,
    /// When it was measured, by the device's clock.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
    /// What was measured.
    pub values: Vec<SampleValue>,
}

/// One value of a sample.
#[derive(Debug, Serialize, ToSchema)]
pub struct SampleValue {
    /// What was measured.
    pub name: String,
    /// Which of several.
    pub label: String,
    /// Unit.
    pub unit: String,
    /// Value.
    pub value: f64,
}
