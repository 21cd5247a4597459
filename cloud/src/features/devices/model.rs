//! What computers look like from outside.

use super::identity::Computer;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// How a computer fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum DeviceState {
    /// Connected.
    Online,
    /// Not connected to its relay.
    Offline,
    /// Its site's relay is not connected.
    Unreachable,
    /// Put out.
    Revoked,
}

/// A computer in a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct DeviceItem {
    /// Identity.
    pub id: Uuid,
    /// The technicians' name for it; its host name until it has one.
    pub name: String,
    /// Host name.
    pub hostname: String,
    /// Its organization.
    pub organization_id: Uuid,
    /// Name of its organization.
    pub organization_name: String,
    /// Its site.
    pub site_id: Uuid,
    /// Name of its site.
    pub site_name: String,
    /// How it fares.
    #[schema(value_type = DeviceState)]
    pub state: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub state_since: OffsetDateTime,
    /// When it was last heard.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_seen: Option<OffsetDateTime>,
    /// Operating system.
    pub os_name: String,
    /// `linux`, `windows`, `macos`.
    pub os_family: String,
    /// Architecture.
    pub arch: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Address on its LAN.
    pub address: String,
    /// Tags.
    pub tags: Vec<String>,
    /// Processor in use, percent.
    pub cpu_pct: Option<f32>,
    /// Memory in use, percent.
    pub memory_pct: Option<f32>,
    /// Fullest disk, percent.
    pub disk_pct: Option<f32>,
    /// When these were measured.
    #[serde(with = "time::serde::rfc3339::option")]
    pub metrics_at: Option<OffsetDateTime>,
    /// How far its own clock is ahead, milliseconds; negative: behind; 0: right. All
    /// times here are the site's, whatever that clock shows.
    pub clock_ahead_ms: i64,
}

/// A computer with what is known of it.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DeviceDetail {
    /// As in the list.
    #[serde(flatten)]
    pub item: DeviceItem,
    /// Facts of the machine, as its inventory's `system` section has them.
    pub machine: BTreeMap<String, String>,
    /// Newest values.
    pub latest: Vec<Latest>,
    /// When it joined.
    #[serde(with = "time::serde::rfc3339")]
    pub enrolled_at: OffsetDateTime,
    /// The computers that use this identity, when there are more than one.
    pub computers: Vec<Computer>,
    /// Until when its computer may enrol again and keep its identity.
    #[serde(with = "time::serde::rfc3339::option")]
    pub reenrol_until: Option<OffsetDateTime>,
}

/// A newest value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Latest {
    /// What was measured.
    pub name: String,
    /// Which of several.
    #[serde(default)]
    pub label: String,
    /// Unit.
    pub unit: String,
    /// Value.
    pub value: f64,
    /// When.
    #[serde(with = "time::serde::rfc3339")]
    pub at: OffsetDateTime,
}

/// A page of computers, and how many match in all.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct DevicePage {
    /// The computers.
    pub items: Vec<DeviceItem>,
    /// Where the next page starts; none at the end.
    pub next_cursor: Option<String>,
    /// How many match.
    pub total: i64,
}

/// How many match, by what a filter could ask. Each count leaves out its own
/// filter, so that it says what choosing another value would give.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Facets {
    /// By state.
    pub state: BTreeMap<String, i64>,
    /// By operating system.
    pub os: BTreeMap<String, i64>,
    /// By site id.
    pub site: BTreeMap<String, i64>,
}
