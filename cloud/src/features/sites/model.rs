//! What sites and install tokens look like from outside.

use super::rules::{self, SiteState};
use serde::{Deserialize, Serialize};
use sqlx::types::Json;
use time::OffsetDateTime;
use unifyit_protocol::link::RelayStatus;
use utoipa::ToSchema;
use uuid::Uuid;

/// A place of an organization.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Site {
    /// Identity.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// Its organization.
    pub organization_id: Uuid,
    /// Name of its organization.
    pub organization_name: String,
    /// How it fares.
    pub state: SiteState,
    /// Since when.
    #[serde(with = "time::serde::rfc3339")]
    pub state_since: OffsetDateTime,
    /// Its relay, when one is enrolled.
    pub relay: Option<RelayBody>,
    /// Its devices, counted.
    pub devices: SiteDevices,
    /// Its settings.
    pub config: SiteSettings,
    /// Since when it exists.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// A site's relay. The figures are those of its last report.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RelayBody {
    /// Identity.
    pub id: Uuid,
    /// Host name of the box.
    pub hostname: String,
    /// Version.
    pub version: String,
    /// libp2p identity.
    pub peer_id: String,
    /// Whether it is connected.
    pub online: bool,
    /// When it was last heard.
    #[serde(with = "time::serde::rfc3339::option")]
    pub last_contact: Option<OffsetDateTime>,
    /// Since when it is connected.
    #[serde(with = "time::serde::rfc3339::option")]
    pub connected_since: Option<OffsetDateTime>,
    /// Records waiting for the cloud.
    pub backlog_records: u64,
    /// Bytes waiting for the cloud.
    pub backlog_bytes: u64,
    /// Bytes of its database.
    pub store_bytes: u64,
    /// Bytes free on its disk.
    pub disk_free_bytes: u64,
    /// Resident memory.
    pub memory_bytes: u64,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// Package cache: bytes kept.
    pub cache_bytes: u64,
    /// Package cache: bytes served today.
    pub cache_served_bytes: u64,
    /// Package cache: bytes fetched today.
    pub cache_fetched_bytes: u64,
    /// Package cache: requests answered from what was kept, today.
    pub cache_hits: u64,
    /// Package cache: requests that had to fetch, today.
    pub cache_misses: u64,
    /// Package cache: files still to be fetched ahead of need.
    pub cache_ahead_files: u64,
    /// How far the box's own clock is ahead of the cloud's, milliseconds; negative:
    /// behind; 0: right.
    pub clock_ahead_ms: i64,
}

/// Devices of a site, counted.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
pub struct SiteDevices {
    /// Enrolled.
    pub total: i64,
    /// Connected, as far as the site can be reached.
    pub online: i64,
}

/// How a site stands, for the overview.
#[derive(Debug, Clone)]
pub struct SiteStanding {
    /// Identity.
    pub id: Uuid,
    /// Name.
    pub name: String,
    /// How it fares.
    pub state: SiteState,
    /// Since when.
    pub state_since: OffsetDateTime,
    /// Its devices, counted.
    pub devices: SiteDevices,
    /// How far ahead its relay's clock is, while that is connected.
    pub clock_ahead_ms: Option<i64>,
}

/// Settings of a site that technicians change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SiteSettings {
    /// Seconds between samples, 1 to 3600.
    #[schema(minimum = 1, maximum = 3600)]
    pub collect_every_s: i32,
    /// Seconds between looks for inventory changes, 60 to 86400.
    #[schema(minimum = 60, maximum = 86_400)]
    pub inventory_every_s: i32,
}

impl Default for SiteSettings {
    fn default() -> Self {
        Self { collect_every_s: 10, inventory_every_s: 900 }
    }
}

/// A row of the site query.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct SiteRow {
    pub(super) id: Uuid,
    pub(super) partner_id: Uuid,
    pub(super) organization_id: Uuid,
    pub(super) name: String,
    organization_name: String,
    created_at: OffsetDateTime,
    collection: Option<Json<SiteSettings>>,
    devices_total: i64,
    devices_online: i64,
    #[sqlx(flatten)]
    relay: RelayRow,
}

/// All empty when there is no relay.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct RelayRow {
    pub(super) relay_id: Option<Uuid>,
    hostname: Option<String>,
    version: Option<String>,
    peer_id: Option<String>,
    relay_online: Option<bool>,
    state_since: Option<OffsetDateTime>,
    last_contact: Option<OffsetDateTime>,
    connected_since: Option<OffsetDateTime>,
    status: Option<Json<RelayStatus>>,
    clock_ahead_ms: Option<i64>,
}

impl SiteRow {
    pub(super) fn into_site(self) -> Site {
        let online = self.relay.relay_online.unwrap_or_default();
        let status = self.relay.status.map(|Json(status)| status).unwrap_or_default();
        let state = rules::state(self.relay.relay_id.is_some(), online, &status);
        let relay = self.relay.relay_id.map(|id| RelayBody {
            id,
            hostname: self.relay.hostname.unwrap_or_default(),
            version: self.relay.version.unwrap_or_default(),
            peer_id: self.relay.peer_id.unwrap_or_default(),
            online,
            last_contact: self.relay.last_contact,
            connected_since: self.relay.connected_since.filter(|_| online),
            backlog_records: status.backlog_records,
            backlog_bytes: status.backlog_bytes,
            store_bytes: status.store_bytes,
            disk_free_bytes: status.disk_free_bytes,
            memory_bytes: status.memory_bytes,
            uptime_s: status.uptime_s,
            clock_ahead_ms: self.relay.clock_ahead_ms.unwrap_or_default(),
            cache_bytes: status.cache_bytes,
            cache_served_bytes: status.cache_served_bytes,
            cache_fetched_bytes: status.cache_fetched_bytes,
            cache_hits: status.cache_hits,
            cache_misses: status.cache_misses,
            cache_ahead_files: status.cache_ahead_files,
        });
        Site {
            id: self.id,
            name: self.name,
            organization_id: self.organization_id,
            organization_name: self.organization_name,
            state,
            state_since: self.relay.state_since.unwrap_or(self.created_at),
            relay,
            devices: SiteDevices {
                total: self.devices_total,
                online: if online { self.devices_online } else { 0 },
            },
            config: self.collection.map(|Json(collection)| collection).unwrap_or_default(),
            created_at: self.created_at,
        }
    }
}

/// A row of the overview's query.
#[derive(Debug, sqlx::FromRow)]
pub(super) struct StandingRow {
    id: Uuid,
    name: String,
    created_at: OffsetDateTime,
    devices_total: i64,
    devices_online: i64,
    relay_id: Option<Uuid>,
    relay_online: Option<bool>,
    state_since: Option<OffsetDateTime>,
    status: Option<Json<RelayStatus>>,
    clock_ahead_ms: Option<i64>,
}

impl StandingRow {
    pub(super) fn into_standing(self) -> SiteStanding {
        let online = self.relay_online.unwrap_or_default();
        let status = self.status.map(|Json(status)| status).unwrap_or_default();
        SiteStanding {
            id: self.id,
            name: self.name,
            state: rules::state(self.relay_id.is_some(), online, &status),
            state_since: self.state_since.unwrap_or(self.created_at),
            devices: SiteDevices {
                total: self.devices_total,
                online: if online { self.devices_online } else { 0 },
            },
            clock_ahead_ms: self.clock_ahead_ms.filter(|_| online),
        }
    }
}

/// An install token in a list: without its text, which is shown once.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub(super) struct InstallTokenItem {
    /// Identity.
    pub id: Uuid,
    /// Who it lets in.
    #[schema(value_type = super::api::TokenKindBody)]
    pub kind: String,
    /// How many may join with it.
    pub uses: i32,
    /// How many have.
    pub used: i32,
    /// Not valid from then on.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// When it was revoked.
    #[serde(with = "time::serde::rfc3339::option")]
    pub revoked_at: Option<OffsetDateTime>,
    /// Who made it.
    pub created_by: String,
    /// When it was made.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
}

/// A fresh install token. Its text is shown only now.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct NewInstallToken {
    /// Identity.
    pub id: Uuid,
    /// Who it lets in.
    #[schema(value_type = super::api::TokenKindBody)]
    pub kind: String,
    /// The token's text.
    pub token: String,
    /// The one line to run on the machine.
    pub command: String,
    /// Whether the line brings the program along; otherwise it must be there.
    pub fetches: bool,
    /// Not valid from then on.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// How many may join with it.
    pub uses: i32,
    /// How many have.
    pub used: i32,
}
