//! One folder a domain, which describes itself in its `FEATURE`; [`crate::app`] lists
//! them. A feature reaches another by a named function, never by its SQL.

pub mod api_keys;
pub mod audit;
pub mod devices;
pub mod gaps;
pub mod inventory;
pub mod metrics;
pub mod overview;
pub mod relays;
pub mod retention;
pub mod settings;
pub mod sites;
pub mod tasks;
pub mod tenants;
pub mod terminal;
pub mod users;
