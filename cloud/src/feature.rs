//! What a feature tells of itself.
//!
//! Each folder under `features/` describes itself in one [`Feature`], and
//! [`crate::app::FEATURES`] lists them. Whoever needs something of all features (the
//! router, the document, the jobs, the overview, what reads stored events) asks the list
//! and knows none of them by name.

use crate::{
    authz::Can,
    context::AppState,
    db::{DbError, TenantTx},
    events::Kind,
    jobs::Job,
    keeping::Keeps,
    reports,
    settings::{Follow, Topic},
    standing::Standing,
    timeline::Source,
};
use futures::future::BoxFuture;
use utoipa::openapi::ComponentsBuilder;
use utoipa_axum::router::OpenApiRouter;

/// Looks at how things stand under a transaction's scope.
pub type Look =
    for<'a> fn(&'a mut TenantTx, &'a mut Standing) -> BoxFuture<'a, Result<(), DbError>>;

/// A feature as the rest of the cloud sees it.
#[derive(Debug, Clone, Copy)]
pub struct Feature {
    /// Its folder's name.
    pub name: &'static str,
    /// Routes that need a session or key.
    pub routes: fn() -> OpenApiRouter<AppState>,
    /// Routes before sign-in.
    pub public_routes: fn() -> OpenApiRouter<AppState>,
    /// Its background work.
    pub jobs: &'static [Job],
    /// What somebody may be allowed to do with it, in the order of the table of rights.
    pub rights: &'static [Can],
    /// What it keeps, for how long, and how that is cut.
    pub keeps: Keeps,
    /// What may be set of it, in layers.
    pub topics: &'static [Topic],
    /// What it does when such a setting changed, its own or another's.
    pub follows: Option<Follow>,
    /// The kinds of events that it tells.
    pub kinds: &'static [Kind],
    /// What it makes of what relays report.
    pub reports: Option<reports::Open>,
    /// What it brings together of what a relay holds and what the database knows.
    pub compares: &'static [reports::Part],
    /// Adds how things stand with it in the transaction's scope, for the first page.
    pub standing: Option<Look>,
    /// Its part of what happened to a device.
    pub timeline: Option<Source>,
    /// Adds the schemas of what its events carry: that stands in no route.
    pub told: fn(ComponentsBuilder) -> ComponentsBuilder,
    /// What tests demand of it.
    #[cfg(test)]
    pub probes: crate::testing::Probes,
}

impl Feature {
    /// One that only has a name: what else a feature has, it puts over this.
    #[must_use]
    pub const fn named(name: &'static str) -> Self {
        Self {
            name,
            routes: OpenApiRouter::new,
            public_routes: OpenApiRouter::new,
            jobs: &[],
            rights: &[],
            keeps: Keeps::NOTHING,
            topics: &[],
            follows: None,
            kinds: &[],
            reports: None,
            compares: &[],
            standing: None,
            timeline: None,
            told: |components| components,
            #[cfg(test)]
            probes: crate::testing::Probes::NONE,
        }
    }
}

/// All that somebody may be allowed to do: to look, and what the features say.
pub fn rights(features: &[Feature]) -> impl Iterator<Item = Can> {
    std::iter::once(Can::VIEW).chain(features.iter().flat_map(|feature| feature.rights).copied())
}

/// The kind of event that one of the features tells by a word on the wire.
#[must_use]
pub fn kind(features: &[Feature], word: &str) -> Option<Kind> {
    let mut kinds = features.iter().flat_map(|feature| feature.kinds);
    kinds.find(|kind| kind.as_str() == word).copied()
}
