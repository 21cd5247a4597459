//! unifyit-cloud: the technicians' side of UnifyIT.
//!
//! A horizontal spine carries vertical features. The spine ([`db`], [`auth`],
//! [`authz`], [`audit`], [`events`], [`http`], [`jobs`], [`keeping`], [`link`],
//! [`reports`], [`settings`], [`standing`], [`timeline`], [`trust`], [`config`], [`lifecycle`]) never imports a
//! feature; each describes itself in a [`feature::Feature`], and [`app`] alone lists them and is the table of
//! contents. Start reading there.

pub mod app;
pub mod audit;
pub mod auth;
pub mod authz;
pub mod cli;
pub mod config;
pub mod context;
pub mod db;
pub mod doctor;
pub mod downloads;
pub mod events;
pub mod feature;
pub mod features;
pub mod http;
pub mod jobs;
pub mod keeping;
pub mod lifecycle;
pub mod link;
pub mod reports;
pub mod settings;
pub mod standing;
pub mod timeline;
pub mod trust;

#[cfg(test)]
pub mod testing;
