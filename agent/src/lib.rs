//! The UnifyIT agent: the part of the product that runs on every managed
//! computer.
//!
//! How data flows: [`collect`] measures and hands reports to the spool
//! ([`link::spool`]), which the link drains to the site relay over MQTT
//! ([`link`]). Commands come the other way: [`guard`] decides whether one may
//! run, [`execute`] makes the intent durable in [`store`], runs it and reports.
//! [`enroll`] gets the [`identity`] by which relay and agent trust each other.
//! [`features`] lists what goes on by itself.
//! [`package_cache`] lets the package managers use the site's cache.
//! Everything that only one operating system has sits behind [`platform`].
//!
//! Reading order: `main`, [`cli`], [`lifecycle`], then the modules above.

pub mod apart;
pub mod cli;
pub mod clock;
pub mod collect;
pub mod config;
pub mod doctor;
pub mod enroll;
pub mod execute;
pub mod feature;
pub mod features;
pub mod guard;
pub mod identity;
pub mod lifecycle;
pub mod link;
pub mod package_cache;
pub mod platform;
pub mod store;
pub mod uninstall;

/// Version of this build, as told to the relay.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
