//! File systems and disks.

use crate::platform::{DiskIo, FileSystem};
use std::{collections::BTreeSet, fs, io, path::Path};

/// Most file systems and most disks told of.
const MAX_FILESYSTEMS: usize = 48;
const MAX_DISKS: usize = 32;
/// Local file systems that hold data. Network ones are left out on purpose:
/// asking one whose server is away blocks for minutes.
const KINDS: &[&str] = &[
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "vfat",
    "exfat", "ntfs", "ntfs3", "fuseblk", "overlay",
];

/// All local file systems with their sizes.
#[must_use]
pub fn filesystems() -> Vec<FileSystem> {
    fs::read_to_string("/proc/self/mounts").map_or_else(|_| Vec::new(), |text| measured(&text))
}

/// Bytes free for the agent, and bytes in all, on the file system of a path.
///
/// # Errors
/// What the system answers.
pub fn free_space(path: &Path) -> io::Result<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    let unit = stat.fragment_size();
    Ok((stat.blocks_available() * unit, stat.blocks() * unit))
}

pub(super) fn measured(mounts: &str) -> Vec<FileSystem> {
    let mut found = parse_mounts(mounts);
    found.retain_mut(|fs| {
        let Ok(stat) = nix::sys::statvfs::statvfs(Path::new(&fs.mount)) else { return false };
        let unit = stat.fragment_size();
        fs.total = stat.blocks() * unit;
        fs.used = fs.total.saturating_sub(stat.blocks_free() * unit);
        fs.available = stat.blocks_available() * unit;
        fs.total > 0
    });
    found
}

/// Data file systems in a table of mounts, each device once, at its first and
/// therefore outermost mount point.
pub(super) fn parse_mounts(text: &str) -> Vec<FileSystem> {
    let mut devices = BTreeSet::new();
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.split(' ');
        let (Some(device), Some(mount), Some(kind)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let mount = unescape(mount);
        // Containers have overlays without number; only their root means something.
        if !KINDS.contains(&kind) || (kind == "overlay" && mount != "/") {
            continue;
        }
        if kind != "zfs" && !devices.insert(device.to_owned()) {
            continue;
        }
        found.push(FileSystem {
            mount,
            device: unescape(device),
            kind: kind.to_owned(),
            ..FileSystem::default()
        });
        if found.len() == MAX_FILESYSTEMS {
            break;
        }
    }
    found
}

/// Undoes the octal escapes of blanks in the table of mounts.
fn unescape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let code = rest.get(at + 1..at + 4).and_then(|o| u8::from_str_radix(o, 8).ok());
        if let Some(byte) = code.filter(u8::is_ascii) {
            out.push(char::from(byte));
            rest = &rest[at + 4..];
        } else {
            out.push('\\');
            rest = &rest[at + 1..];
        }
    }
    out.push_str(rest);
    out
}

/// Whether a name in the disk counters is a whole disk and not a part, a loop
/// or a memory disk.
pub(super) fn is_whole_disk(name: &str) -> bool {
    let virtual_one = ["loop", "ram", "zram", "fd", "sr"]
        .iter()
        .any(|p| name.strip_prefix(p).is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit())));
    !virtual_one && Path::new("/sys/block").join(name).exists()
}

pub(super) fn parse_io(text: &str, whole: impl Fn(&str) -> bool) -> Vec<DiskIo> {
    /// The counters are in these units, whatever the disk's own sector is.
    const SECTOR: u64 = 512;
    let mut found = Vec::new();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace().skip(2);
        let Some(device) = fields.next().filter(|d| whole(d)) else { continue };
        let counters: Vec<u64> = fields.take(7).map(|f| f.parse().unwrap_or(0)).collect();
        let [reads, _, sectors_read, _, writes, _, sectors_written] = counters[..] else {
            continue;
        };
        found.push(DiskIo {
            device: device.to_owned(),
            read_bytes: sectors_read.wrapping_mul(SECTOR),
            write_bytes: sectors_written.wrapping_mul(SECTOR),
            reads,
            writes,
        });
        if found.len() == MAX_DISKS {
            break;
        }
    }
    found
}
