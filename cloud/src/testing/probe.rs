//! What a feature is held to: it says so itself, beside its routes, and the tests of the
//! whole walk the list of features.

use super::Place;
use serde_json::Value;

/// What tests demand of a feature. Words are spelled out: what is on the wire stays.
#[derive(Clone, Copy, Debug)]
pub struct Probes {
    /// How its routes that need a session or key are probed: each.
    pub routes: fn(&Place) -> Vec<Probe>,
    /// Its routes before sign-in, which have tests of their own.
    pub open: &'static [(&'static str, &'static str)],
    /// Its rights: who has each, a viewer, a technician and an administrator, each at the
    /// platform, a partner, an organization and a site.
    pub rights: &'static [(&'static str, [&'static str; 3])],
    /// Its kinds of events, and the right to hear each.
    pub kinds: &'static [(&'static str, &'static str)],
    /// The word for its part of timelines.
    pub timeline: Option<&'static str>,
    /// What partners may set of it.
    pub settings: &'static [&'static str],
    /// Its jobs, and the seconds from one run to the next.
    pub jobs: &'static [(&'static str, u64)],
}

impl Probes {
    pub const NONE: Self = Self {
        routes: |_| Vec::new(),
        open: &[],
        rights: &[],
        kinds: &[],
        timeline: None,
        settings: &[],
        jobs: &[],
    };
}

/// How a route is probed.
#[derive(Debug)]
pub struct Probe {
    pub method: &'static str,
    pub path: &'static str,
    pub body: Option<Value>,
    /// Whether a viewer of the very place may.
    pub viewer: bool,
    /// What it names does not exist in a place, and may be not found before all else.
    pub of_nothing: bool,
    /// It is for people, and no key may, however it is written.
    pub of_people: bool,
}

/// A route that a viewer may ask.
pub fn may(method: &'static str, path: &'static str) -> Probe {
    Probe { method, path, body: None, viewer: true, of_nothing: false, of_people: false }
}

/// A route that a viewer may not ask.
pub fn may_not(method: &'static str, path: &'static str) -> Probe {
    Probe { viewer: false, ..may(method, path) }
}

impl Probe {
    pub fn with(self, body: Value) -> Self {
        Self { body: Some(body), ..self }
    }

    pub fn of_nothing(self) -> Self {
        Self { of_nothing: true, ..self }
    }

    pub fn of_people(self) -> Self {
        Self { of_people: true, ..self }
    }
}
