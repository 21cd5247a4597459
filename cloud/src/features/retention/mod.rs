//! How long things are kept.
//!
//! Every table has a stated end ([`KEPT`]; a test demands it of each that is
//! added). What a partner may set is in the table `retention`; jobs delete in
//! small batches, so that nobody waits behind them, and say what they deleted.

mod api;
pub mod jobs;
mod model;
pub mod store;

pub use model::{Policies, Retention};

use crate::feature::Feature;

/// What it tells of itself.
pub const FEATURE: Feature =
    Feature { routes: api::routes, jobs: jobs::JOBS, ..Feature::named("retention") };

/// For how long rows of each table are kept.
#[cfg(test)]
const KEPT: &[(&str, &str)] = &[
    ("_sqlx_migrations", "for good: one row a migration"),
    ("api_keys", "for good: made by hand, few"),
    ("audit_cuts", "for good: one row a chain"),
    ("audit_heads", "for good: one row a chain"),
    ("audit_log", "audit_days, from the old end of each chain"),
    ("cache_ahead", "until their own `keep_until`; bounded a site"),
    ("cache_savings", "bounded days and repositories a site, when written"),
    ("commands", "output_days, with their task's output; a terminal's 30 days"),
    ("device_lines", "with their device: one row each"),
    ("device_loads", "with their device: one row each"),
    ("device_tags", "with their device"),
    ("device_tallies", "folded each minute: a row a site, system and state"),
    ("devices", "for good: what a site may have, also revoked ones"),
    ("downlink", "until the relay has it, or it is superseded or expired"),
    ("events", "the setting `event_hours`"),
    ("gaps", "metrics_hour_days"),
    ("idempotency_keys", "48 hours"),
    ("install_tokens", "180 days after their expiry"),
    ("inventory_entries", "with their device, 90 days beyond its revocation"),
    ("inventory_sections", "with their device, 90 days beyond its revocation"),
    ("lane_cursors", "for good: four rows a relay"),
    ("memberships", "for good: one row a person"),
    ("metric_blocks", "metrics_minute_days as minutes, metrics_quarter_days, metrics_hour_days"),
    ("metric_latest", "with their device, 90 days beyond its revocation"),
    ("metric_recent", "half a day, then packed"),
    ("organization_keys", "for good: one row an organization"),
    ("organizations", "for good: made by hand"),
    ("partners", "for good: made by hand"),
    ("presence_log", "180 days"),
    ("relays", "for good: one active a site"),
    ("retention", "for good: one row a partner"),
    ("series_tables", "as long as a block names them"),
    ("sessions", "until they expire"),
    ("site_configs", "for good: one row a site"),
    ("sites", "for good: made by hand"),
    ("task_output", "output_days"),
    ("task_targets", "tasks_days, with their task"),
    ("tasks", "tasks_days"),
    ("users", "for good: one row a person"),
];

#[cfg(test)]
mod tests;
