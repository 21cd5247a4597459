//! How long things are kept.
//!
//! Each feature says what it keeps ([`Keeps`]): the settings that a partner has for it,
//! with their bounds, and how what is past its time is deleted, in small pieces. Whoever
//! needs all of it (the settings' routes, the hourly sweep, the document) walks the list of
//! features; the console's page has its words for each.

mod kept;
mod policies;
mod setting;

pub use kept::{Asked, Kept};
pub(crate) use policies::bind_days;
pub use policies::{By, Policies, policies};
pub use setting::{Bound, Setting};

use crate::{
    db::{DbError, Scope},
    feature::Feature,
    jobs::Old,
};
use futures::future::BoxFuture;

/// Deletes what is past its time; what was deleted before an error stays so.
pub type Sweep = for<'a> fn(&'a Old, &'a Policies) -> BoxFuture<'a, Result<(), DbError>>;

/// What a feature keeps, and how it is cut.
#[derive(Debug, Clone, Copy)]
pub struct Keeps {
    /// What partners may set. Each is a column of the table `retention`.
    pub settings: &'static [Setting],
    /// Deletes what is past its time.
    pub sweep: Option<Sweep>,
    /// For how long rows of each of its tables are kept.
    pub tables: &'static [(&'static str, &'static str)],
}

impl Keeps {
    /// Nothing.
    pub const NOTHING: Self = Self { settings: &[], sweep: None, tables: &[] };

    /// Tables that need no sweep: their rows stay, or go with others.
    #[must_use]
    pub const fn tables(tables: &'static [(&'static str, &'static str)]) -> Self {
        Self { tables, ..Self::NOTHING }
    }
}

/// For how long rows of the spine's own tables are kept.
pub const SPINES_OWN: &[(&str, &str)] = &[
    ("_sqlx_migrations", "for good: one row a migration"),
    ("downlink", "until the relay has it, or it is superseded or expired"),
    ("events", "the setting `event_hours`"),
    ("idempotency_keys", "48 hours"),
    ("lane_cursors", "for good: four rows a relay"),
];

/// All that partners may set.
#[must_use]
pub fn settings(features: &[Feature]) -> Vec<Setting> {
    features.iter().flat_map(|feature| feature.keeps.settings).copied().collect()
}

/// Deletes what is past its time, of all features. One that fails holds up no other.
///
/// # Errors
/// The first feature's.
pub async fn sweep(features: &[Feature], old: &Old) -> Result<(), DbError> {
    let mut tx = old.db().tenant(&Scope::Platform).await?;
    let policies = policies(&mut tx, &settings(features), None).await?;
    tx.commit().await?;
    let mut outcome = Ok(());
    for (name, sweep) in features.iter().filter_map(|f| Some((f.name, f.keeps.sweep?))) {
        let swept = sweep(old, &policies).await;
        if let Err(error) = &swept {
            tracing::warn!(feature = name, %error, "What a feature keeps beyond its time was not all deleted.");
        }
        outcome = outcome.and(swept);
    }
    outcome
}

#[cfg(test)]
mod tests;
