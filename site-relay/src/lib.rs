//! The site relay: what stands between a site's computers and the cloud.
//!
//! Up: [`broker`] takes MQTT from agents and hands typed events to [`site`],
//! whose ingest writes them to [`store`] and acknowledges after the group
//! commit (G1); the uplink carries what is stored to the cloud. Down: the
//! uplink stores commands in the inbox, the fan-out hands them to the broker.
//! Agents enrol at [`enroll`] over HTTPS, and every certificate and key comes
//! from [`identity`].
//!
//! This file lists all modules by what they are for; each begins with what it does.
//! `parts` lists the features that keep something in the store, and
//! [`run`](mod@run) builds the parts that run and joins them, under one [`lifecycle`].

// What all others stand on: time, disk, keys, settings, tasks.
pub mod clock;
pub mod config;
pub mod identity;
pub mod lifecycle;
mod parts;
mod seldom;
pub mod store;
pub mod telemetry;
pub mod tls;

// Who is there: devices, how they come in, what they said of themselves.
pub mod devices;
pub mod enroll;
pub mod facts;
pub mod presence;
mod settings;
pub mod shadow;
mod trail;

// From devices to the cloud.
pub mod broker;
pub mod ingest;
mod live;
mod newest;
pub mod rollup;
mod samples;
mod status;
mod travel;
pub mod uplink;

// From the cloud to devices.
mod compare;
pub mod downlink;
pub mod fanout;
pub mod inbox;
pub mod tunnel;

// Files for devices, and from whom they come.
pub mod blobs;
pub mod cache;
mod resolver;
mod sacrifice;
pub mod sisters;

// What people see, and start.
pub mod cli;
pub mod doctor;
pub mod http;
pub mod run;
pub mod site;
pub mod standalone;
pub mod ui;
