//! Everything that depends on the operating system, behind one set of names.
//!
//! The rest of the agent uses only what this module exports; a port to another
//! system adds a sibling of `linux` with the same functions. The plain data
//! types below are shared by all of them.

#[cfg(target_os = "linux")]
mod linux;

#[cfg(target_os = "linux")]
pub use linux::*;

#[cfg(not(target_os = "linux"))]
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
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Home folder.
    pub home: std::path::PathBuf,
    /// Login shell.
    pub shell: std::path::PathBuf,
}

/// Where installed packages can be learnt from on this computer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PackageSource {
    /// Name of the package manager, which also names the parser.
    pub manager: &'static str,
    /// How to read it.
    pub from: SourceKind,
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
