//! Reading what happened: the audit log, and the timeline that joins it with
//! connections and tasks. Writing it is [`crate::audit`]'s.

mod api;
mod store;

pub use api::routes;
