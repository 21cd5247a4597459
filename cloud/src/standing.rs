//! How everything in somebody's scope stands: what the first page shows.
//!
//! Features add to it one after the other ([`crate::feature::Feature::standing`]), each
//! in as few questions as it can: what needs somebody, and how many of what there are.
//! However much there is, few points are kept: the worst and oldest.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

/// Most points shown.
pub const MOST: usize = 50;

/// What all features come to.
#[derive(Debug, Default)]
pub struct Standing {
    /// Devices by state.
    pub devices: DeviceCounts,
    /// Sites by state.
    pub sites: SiteCounts,
    /// Tasks that are not done.
    pub tasks_running: i64,
    points: Vec<Attention>,
}

impl Standing {
    /// Adds something that needs somebody.
    pub fn add(&mut self, point: Attention) {
        self.points.push(point);
        if self.points.len() > 20 * MOST {
            self.cut();
        }
    }

    /// What needs somebody, worst and oldest first; of equals, what was added first.
    #[must_use]
    pub fn attention(mut self) -> Vec<Attention> {
        self.cut();
        self.points
    }

    fn cut(&mut self) {
        self.points.sort_by_key(|point| (point.severity != Severity::Critical, point.since));
        self.points.truncate(MOST);
    }
}

/// Devices by state.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct DeviceCounts {
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
pub struct SiteCounts {
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
pub enum Severity {
    /// Somebody is needed at once.
    Critical,
    /// Somebody should look.
    Warning,
    /// Good to know.
    Info,
}

/// Something that needs somebody.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Attention {
    /// How bad.
    pub severity: Severity,
    /// `site_unreachable`, `site_degraded`, `identity_shared`, `disk_full`, `clock_wrong`.
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
pub struct AttentionRef {
    /// `site` or `device`.
    pub kind: String,
    /// Its id.
    pub id: Uuid,
    /// Its name.
    pub name: String,
}

impl AttentionRef {
    /// To a site.
    #[must_use]
    pub fn site(id: Uuid, name: String) -> Self {
        Self { kind: "site".into(), id, name }
    }

    /// To a device.
    #[must_use]
    pub fn device(id: Uuid, name: String) -> Self {
        Self { kind: "device".into(), id, name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use time::Duration;

    #[test]
    fn of_however_many_points_the_worst_and_oldest_stay() {
        let mut all = Standing::default();
        for n in 0..5000 {
            all.add(Attention {
                severity: if n % 100 == 0 { Severity::Critical } else { Severity::Warning },
                kind: "x".into(),
                title: n.to_string(),
                detail: String::new(),
                since: OffsetDateTime::UNIX_EPOCH + Duration::minutes(10_000 - n),
                reference: AttentionRef::site(Uuid::nil(), String::new()),
            });
        }
        let points = all.attention();
        let titles: Vec<&str> = points.iter().map(|point| point.title.as_str()).collect();
        assert_eq!((points.len(), &titles[..2]), (MOST, &["4900", "4800"][..]));
        assert!(points.iter().all(|point| point.severity == Severity::Critical));
    }
}
