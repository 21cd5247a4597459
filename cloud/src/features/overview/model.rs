//! What the overview looks like from outside.

use crate::events::TimelineItem;
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// How everything in the scope stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct Overview {
    /// Devices by state.
    pub devices: DeviceCounts,
    /// Sites by state.
    pub sites: SiteCounts,
    /// What needs somebody, worst first.
    pub attention: Vec<Attention>,
    /// What happened last.
    pub recent: Vec<TimelineItem>,
    /// Tasks that are not done.
    pub tasks_running: i64,
}

/// Devices by state.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct DeviceCounts {
    /// Connected.
    pub online: i64,
    /// Not connected to their relay.
    pub offline: i64,
    /// Behind a relay that is not connected.
    pub unreachable: i64,
    /// All that are not revoked.
    pub total: i64,
}

/// Sites by state.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub(super) struct SiteCounts {
    /// Relay connected and well.
    pub healthy: i64,
    /// Relay connected and in trouble.
    pub degraded: i64,
    /// Relay not connected.
    pub unreachable: i64,
    /// No relay enrolled.
    pub no_relay: i64,
    /// All.
    pub total: i64,
}

/// How bad something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum Severity {
    /// Somebody is needed at once.
    Critical,
    /// Somebody should look.
    Warning,
    /// Good to know.
    Info,
}

/// Something that needs somebody.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct Attention {
    /// How bad.
    #[schema(value_type = Severity)]
    pub severity: String,
    /// `site_unreachable`, `site_degraded`, `disk_full`, `identity_shared`.
    pub kind: String,
    /// In a few words.
    pub title: String,
    /// In a sentence.
    pub detail: String,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub since: OffsetDateTime,
    /// Where it leads.
    #[serde(rename = "ref")]
    pub reference: AttentionRef,
}

/// Where a point of attention leads.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct AttentionRef {
    /// `site` or `device`.
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
}
