//! Linux, x86-64 and arm64. Reads `/proc` and `/sys` directly; processes are
//! handled by group and by a mark in their environment.

mod disks;
mod facts;
mod files;
mod helper;
mod machine;
mod managers;
mod network;
mod notify;
mod probe;
mod process;
mod pty;
mod service;
mod sources;

pub use disks::{filesystems, free_space};
pub use facts::{interfaces, system_facts};
pub use files::{create_private_dir, exposed, give_to, make_private, write_private};
pub use helper::{HelperOrder, become_program};
pub use machine::{account, agent_account, hostname, is_administrator, machine_secret};
pub use managers::PackageManagers;
pub use notify::{notify, watchdog_interval};
pub use probe::Probe;
pub use process::{
    Blow, Ending, MARK, agent_program, end_marked, ending, group_command, helper_command,
    kill_marked, search_path, signal_group, terminate_signal,
};
pub use pty::{Pty, open_pty};
pub use service::remove_service;
pub use sources::{package_sources, service_manager};

#[cfg(test)]
mod tests;
