//! What a computer is made of and what is on it, whole or as changes.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Most entries of one section; more are cut, and the cut is stated.
pub const MAX_ENTRIES: usize = 20_000;

/// A part of the inventory that changes by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// Facts: maker, model, processor, memory, firmware, operating system.
    System,
    /// Network interfaces by name.
    Interfaces,
    /// Disks and file systems by mount point.
    Disks,
    /// Installed packages by `manager/name`.
    Packages,
    /// Services by name.
    Services,
    /// A section of a later version.
    #[serde(other)]
    Unknown,
}

/// One entry: a few named facts. Flat on purpose, so that every section has
/// one diff, one table in the console and one bound.
pub type Entry = BTreeMap<String, String>;

/// A section as a whole, or what changed since the last report of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InventoryReport {
    /// Which section.
    pub section: Section,
    /// When it was read, Unix milliseconds.
    pub at_ms: u64,
    /// Whether `set` is the whole section; otherwise it is applied to the last.
    pub whole: bool,
    /// Entries added or changed, by key.
    #[serde(deserialize_with = "crate::codec::at_most_map::<MAX_ENTRIES, _, _>")]
    pub set: BTreeMap<String, Entry>,
    /// Keys gone. Empty when `whole`.
    #[serde(default)]
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_ENTRIES, _, _>")]
    pub gone: Vec<String>,
    /// Entries beyond [`MAX_ENTRIES`], left out.
    #[serde(default)]
    pub cut: u32,
}

/// Keys of [`Section::System`] that the console reads; others are shown as they
/// are. The section has one entry, `system`.
pub mod system {
    /// Host name.
    pub const HOSTNAME: &str = "hostname";
    /// `linux`, `windows`, `macos`.
    pub const OS_FAMILY: &str = "os_family";
    /// `Debian GNU/Linux 12 (bookworm)`.
    pub const OS_NAME: &str = "os_name";
    /// Kernel release.
    pub const KERNEL: &str = "kernel";
    /// `x86_64`, `aarch64`.
    pub const ARCH: &str = "arch";
    /// Maker of the machine.
    pub const VENDOR: &str = "vendor";
    /// Model.
    pub const MODEL: &str = "model";
    /// Serial number.
    pub const SERIAL: &str = "serial";
    /// Processor model.
    pub const CPU: &str = "cpu";
    /// Logical processors, decimal.
    pub const CPU_COUNT: &str = "cpu_count";
    /// Memory in bytes, decimal.
    pub const MEMORY: &str = "memory_bytes";
    /// Firmware version.
    pub const FIRMWARE: &str = "firmware";
    /// `physical`, `vm`, `container`.
    pub const CHASSIS: &str = "chassis";
    /// Users signed in, comma-separated.
    pub const USERS: &str = "users";
}
