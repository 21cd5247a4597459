//! The site relay: what stands between a site's computers and the cloud.
//!
//! Up: [`broker`] takes MQTT from agents and hands typed events to [`site`],
//! whose ingest writes them to [`store`] and acknowledges after the group
//! commit (G1); the uplink carries what is stored to the cloud. Down: the
//! uplink stores commands in the inbox, the fan-out hands them to the broker.
//! Agents enrol at [`enroll`] over HTTPS, and every certificate and key comes
//! from [`identity`]. [`run`](mod@run) is the table of contents: it alone builds
//! the parts and joins them, under one [`lifecycle`].

pub mod blobs;
pub mod broker;
pub mod cache;
pub mod cli;
pub mod clock;
pub mod config;
pub mod doctor;
pub mod downlink;
pub mod enroll;
pub mod fanout;
pub mod http;
pub mod identity;
pub mod ingest;
pub mod lifecycle;
mod live;
pub mod monitor;
mod newest;
mod resolver;
pub mod rollup;
pub mod run;
mod sacrifice;
mod seldom;
pub mod shadow;
pub mod sisters;
pub mod site;
pub mod standalone;
mod status;
pub mod store;
pub mod telemetry;
pub mod tls;
mod travel;
pub mod tunnel;
pub mod ui;
pub mod uplink;
