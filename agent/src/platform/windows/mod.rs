//! Windows, x86-64: what the agent needs to compile there, and no more yet.
//!
//! What is missing answers [`Unsupported`], or says in its sentence that it is; an
//! agent that cannot keep its secrets to itself neither enrols nor starts. Nothing
//! here passes for done.

mod alarm;
mod collect;
mod execute;
mod files;
mod machine;
mod managers;
mod service;
mod uptime;

pub use alarm::Alarm;
pub use collect::{
    Probe, filesystems, free_space, interfaces, look_of, package_sources, prepare_for_sources,
    read_source, service_manager, system_facts,
};
pub use execute::{
    Keepers, Kept, Pty, agent_program, become_program, end_left, end_tree, environment,
    hang_up_young, helper_command, keep, moment, open_pty, signal_group,
};
pub use files::{create_private_dir, exposed, make_private, write_private};
pub use machine::{AccountId, account, agent_account, hostname, is_administrator, machine_secret};
pub use managers::PackageManagers;
pub use service::{notify, remove_service, rest, share_heap, terminate_signal, watchdog_interval};
pub use uptime::uptime_ms;

use std::io;
use thiserror::Error;

/// The agent does not do this on Windows yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("{0} is not supported on this system yet")]
pub struct Unsupported(pub &'static str);

impl From<Unsupported> for io::Error {
    fn from(what: Unsupported) -> Self {
        Self::new(io::ErrorKind::Unsupported, what)
    }
}
