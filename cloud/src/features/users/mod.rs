//! People: signing in and out, their passwords, and the first of them.

mod api;
pub mod bootstrap;
mod model;
mod store;

pub use model::{SessionBody, User, UserListItem};

use crate::{
    authz::{Can, Role, Scopes},
    feature::Feature,
    keeping::Keeps,
};

/// See and change people.
pub const MANAGE_USERS: Can = Can::new("manage_users", Role::Admin, Scopes::All);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    rights: &[MANAGE_USERS],
    public_routes: api::public_routes,
    keeps: Keeps::tables(&[
        ("memberships", "for good: one row a person"),
        ("sessions", "until they expire"),
        ("users", "for good: one row a person"),
    ]),
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("users")
};

#[cfg(test)]
mod probes;
