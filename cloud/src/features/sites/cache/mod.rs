//! A site's package cache, seen from here: what it may fetch and is to have ready,
//! what its relay says came of it, and what it saved.
//!
//! Settings travel to the relay with the site's ([`super::config`]); how they fare
//! comes back in the relay's reports ([`ingest`]).

mod ingest;
mod model;
pub(super) mod rules;
pub(super) mod store;

pub(super) use ingest::report;
pub(super) use model::{CacheInput, CacheSavings, PackageCacheBody, Plan, Remap};
