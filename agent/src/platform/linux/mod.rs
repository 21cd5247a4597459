//! Linux, x86-64 and arm64. Reads `/proc` and `/sys` directly; each command has a
//! keeper and, where the system has them, a control group.

mod alarm;
mod disks;
mod facts;
mod files;
mod helper;
mod keep;
mod machine;
mod managers;
mod memory;
mod network;
mod notify;
mod probe;
mod process;
mod pty;
mod sensors;
mod service;
mod sources;
mod tree;

pub use alarm::Alarm;
pub use disks::{filesystems, free_space};
pub use facts::{interfaces, system_facts};
pub use files::{create_private_dir, exposed, make_private, write_private};
pub use helper::become_program;
pub use keep::{Keepers, Kept, end_left, end_tree, keep};
pub use machine::{
    AccountId, account, agent_account, hostname, is_administrator, machine_secret, uptime_ms,
};
pub use managers::PackageManagers;
pub use memory::{rest, share_heap};
pub use notify::{notify, watchdog_interval};
pub use probe::Probe;
pub use process::{
    MARK, agent_program, environment, hang_up_young, helper_command, kill_marked, moment,
    search_path, signal_group, terminate_signal,
};
pub use pty::{Pty, open_pty};
pub use service::remove_service;
pub use sources::{look_of, package_sources, prepare_for_sources, read_source, service_manager};

#[cfg(test)]
mod tests;
