//! Everything that depends on the operating system, behind one set of names.
//!
//! The rest of the agent uses only what this module exports; a port to another
//! system adds a sibling of `linux` with the same functions. The plain data
//! types below are shared by all of them.

use serde::{Deserialize, Serialize};

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub use linux::*;

#[cfg(windows)]
mod windows;

#[cfg(windows)]
pub use windows::*;

#[cfg(not(any(target_os = "linux", windows)))]
compile_error!("the agent has no platform layer for this operating system yet");

/// Raw counters of one moment; [`crate::collect::metrics`] turns two of them
/// into measurements.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reading {
    /// Processor time since start, in ticks.
    pub cpu: Option<CpuTimes>,
    /// Load averages over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Memory and swap.
    pub memory: Option<Memory>,
    /// Mounted local file systems.
    pub filesystems: Vec<FileSystem>,
    /// Counters of whole disks.
    pub disks: Vec<DiskIo>,
    /// Counters of network interfaces.
    pub interfaces: Vec<NetIo>,
    /// Seconds since the system started.
    pub uptime_s: Option<u64>,
    /// Processes.
    pub processes: Option<u64>,
    /// Processes that run or wait for a processor.
    pub running: Option<u64>,
    /// Sensor name and thousandths of a degree Celsius.
    pub temperatures: Vec<(String, i64)>,
    /// What there is more of than is measured.
    pub left_out: Vec<String>,
}

/// Processor time since start, in ticks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CpuTimes {
    /// In programs, niced ones included.
    pub user: u64,
    /// In the kernel, interrupts included.
    pub system: u64,
    /// Idle.
    pub idle: u64,
    /// Idle with a disk request outstanding.
    pub iowait: u64,
    /// Taken by the hypervisor.
    pub steal: u64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Memory {
    /// Installed.
    pub total: u64,
    /// Usable without swapping.
    pub available: u64,
    /// Page cache and reclaimable kernel memory.
    pub cached: u64,
    /// Swap space.
    pub swap_total: u64,
    /// Swap space unused.
    pub swap_free: u64,
}

/// A mounted local file system.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileSystem {
    /// Where it is mounted.
    pub mount: String,
    /// Device behind it.
    pub device: String,
    /// Kind of file system.
    pub kind: String,
    /// Size in bytes.
    pub total: u64,
    /// Used, in bytes.
    pub used: u64,
    /// Free for ordinary users, in bytes.
    pub available: u64,
    /// Nothing can be written to it, so that it cannot fill.
    pub read_only: bool,
}

/// The file systems of a moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mounts {
    /// The table of mounts itself could be read.
    pub complete: bool,
    /// Those that answered.
    pub found: Vec<FileSystem>,
    /// Those that did not, without sizes.
    pub unanswered: Vec<FileSystem>,
    /// How many more there are.
    pub left_out: usize,
}

/// Counters of one disk since start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DiskIo {
    /// Device name.
    pub device: String,
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub write_bytes: u64,
    /// Reads completed.
    pub reads: u64,
    /// Writes completed.
    pub writes: u64,
}

/// Counters of one network interface since start.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NetIo {
    /// Interface name.
    pub name: String,
    /// Bytes received.
    pub rx_bytes: u64,
    /// Bytes sent.
    pub tx_bytes: u64,
    /// Receive errors.
    pub rx_errors: u64,
    /// Send errors.
    pub tx_errors: u64,
}

/// A user of this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Login name.
    pub name: String,
    /// Who it is to the system.
    pub id: AccountId,
    /// Home folder.
    pub home: std::path::PathBuf,
    /// Login shell.
    pub shell: std::path::PathBuf,
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this code.
    Code(i32),
    /// By this signal, where the system has such.
    Signal(i32, &'static str),
}

/// How hard to end what a terminal's shell started.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// Hang up, as a closed terminal does.
    HangUp,
    /// End them.
    Kill,
}

/// A program, and what to prepare before it takes this process's place.
#[derive(Debug, Clone)]
pub struct HelperOrder {
    /// Terminal to take as the controlling one, in a session of its own.
    pub terminal: Option<std::path::PathBuf>,
    /// User to become, with all of its groups.
    pub user: Option<String>,
    /// Folder to work in.
    pub folder: Option<std::path::PathBuf>,
    /// What the program shall see as its own name, `-bash` for a login shell.
    pub name: Option<std::ffi::OsString>,
    /// Program and arguments.
    pub program: Vec<std::ffi::OsString>,
}

/// A command as its keeper is told it: the process that starts it and sees to it
/// that it ends as a whole.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeepOrder {
    /// The command's id.
    pub command: String,
    /// What to run.
    pub program: Program,
    /// Arguments.
    pub args: Vec<String>,
    /// Variables beyond the usual ones.
    pub env: Vec<(String, String)>,
    /// User to become; `None` for the agent's own.
    pub user: Option<String>,
    /// Folder to work in; `None` for the usual one.
    pub folder: Option<String>,
    /// Terminal to take as the controlling one and as standard streams.
    pub terminal: Option<std::path::PathBuf>,
}

/// What a keeper runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Program {
    /// A script, written to a private folder and handed to its interpreter.
    Script {
        /// Names of the interpreter; the first that is found is used.
        interpreters: Vec<String>,
        /// Arguments before the script.
        before: Vec<String>,
        /// What the script's file name ends with.
        suffix: String,
        /// The script.
        body: String,
        /// The agent's own folder for scripts.
        work: std::path::PathBuf,
    },
    /// A shell, in its user's home.
    Shell {
        /// Where it is.
        path: std::path::PathBuf,
        /// What it sees as its own name.
        name: String,
    },
}

/// What a keeper says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeepWord {
    /// The command runs.
    Started,
    /// The command could not be started; a sentence.
    Failed(String),
    /// The command itself ended. What it started may go on.
    Ended(Ending),
    /// Everything was ended by force, but what is named here.
    Left(String),
    /// The keeper was ended itself.
    Lost,
}

/// Where installed packages can be learnt from on this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSource {
    /// Name of the package manager, which also names the parser.
    pub manager: &'static str,
    /// How to read it.
    pub from: SourceKind,
    /// What changes on the disk when something is installed or removed; empty where
    /// that is not known.
    pub database: Vec<std::path::PathBuf>,
}

/// How a source of facts is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// A file of its database.
    File(std::path::PathBuf),
    /// A program and its arguments, whose standard output is read.
    Command(std::path::PathBuf, Vec<&'static str>),
}

/// Who manages services on this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ServiceManager {
    /// systemd; the program that lists its units.
    Systemd(SourceKind),
    /// OpenRC; the program that lists its services.
    OpenRc(SourceKind),
    /// None that the agent knows, and the sentence that says so.
    None(&'static str),
}
