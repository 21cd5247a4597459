//! File systems and disks.
//!
//! The table of mounts is read as bytes, line by line: names are whatever somebody
//! wrote, and a computer with containers has thousands of lines.

use crate::{
    apart::Watch,
    platform::{DiskIo, FileSystem, Mounts},
};
use nix::sys::statvfs::statvfs;
use std::{
    collections::{BTreeSet, HashMap},
    ffi::OsString,
    fs::File,
    io::{self, BufRead, BufReader, Read},
    os::unix::ffi::OsStringExt,
    path::{Path, PathBuf},
};

/// Most file systems and most disks told of.
const MAX_FILESYSTEMS: usize = 48;
const MAX_DISKS: usize = 32;
/// Longest table of mounts, and most mounts of one device, that are looked at.
const MAX_TABLE: u64 = 32 << 20;
const MAX_POINTS: usize = 8;
/// Local file systems that hold data. Network ones are left out on purpose:
/// asking one whose server is away blocks for minutes.
const KINDS: &[&str] = &[
    "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "jfs", "reiserfs", "bcachefs", "vfat",
    "exfat", "ntfs", "ntfs3", "fuseblk", "overlay",
];

/// All local file systems with their sizes.
#[must_use]
pub fn filesystems(watch: &Watch) -> Mounts {
    const TABLE: &str = "/proc/self/mounts";
    let read = || {
        let file = File::open(TABLE)?.take(MAX_TABLE);
        parse_mounts(BufReader::new(file))
    };
    match watch.ask(TABLE, read) {
        Some(Ok(mounted)) => measured(mounted, watch),
        _ => Mounts::default(),
    }
}

/// Bytes free for the agent, and bytes in all, on the file system of a path.
///
/// # Errors
/// What the system answers.
pub fn free_space(path: &Path) -> io::Result<(u64, u64)> {
    let stat = statvfs(path)?;
    let unit = stat.fragment_size();
    Ok((stat.blocks_available() * unit, stat.blocks() * unit))
}

/// A device in the table of mounts.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Mounted {
    pub(super) device: String,
    pub(super) kind: String,
    /// Where it is mounted, the outermost first.
    pub(super) points: Vec<PathBuf>,
    /// Nowhere can anything be written to it.
    pub(super) read_only: bool,
}

fn measured(mounted: Vec<Mounted>, watch: &Watch) -> Mounts {
    let mut mounts = Mounts { complete: true, ..Mounts::default() };
    let mut names = BTreeSet::new();
    for device in mounted {
        let mut silent = None;
        for point in &device.points {
            let name = readable(point);
            // Container engines mount single files; those are no disks.
            let look =
                || std::fs::metadata(point).is_ok_and(|m| m.is_dir()).then(|| statvfs(point));
            match watch.ask(&name, look) {
                Some(None) => continue,
                Some(Some(Ok(stat))) => {
                    let unit = stat.fragment_size();
                    let total = stat.blocks() * unit;
                    if total > 0 {
                        mounts.found.push(FileSystem {
                            mount: distinct(name, &mut names),
                            device: device.device.clone(),
                            kind: device.kind.clone(),
                            total,
                            used: total.saturating_sub(stat.blocks_free() * unit),
                            available: stat.blocks_available() * unit,
                            read_only: device.read_only,
                        });
                    }
                }
                Some(Some(Err(_))) => {}
                None => silent = Some(name),
            }
            break;
        }
        if let Some(mount) = silent {
            let (device, kind) = (device.device, device.kind);
            let unanswered = FileSystem { mount, device, kind, ..FileSystem::default() };
            mounts.unanswered.push(unanswered);
        }
    }
    mounts.left_out = mounts.found.len().saturating_sub(MAX_FILESYSTEMS);
    mounts.found.truncate(MAX_FILESYSTEMS);
    mounts
}

/// Two names that differ only in what cannot be shown stay two.
fn distinct(name: String, names: &mut BTreeSet<String>) -> String {
    let numbers = (2..).map(|n| format!("{name} ({n})"));
    let free = std::iter::once(name.clone()).chain(numbers).find(|n| !names.contains(n));
    let free = free.unwrap_or(name);
    names.insert(free.clone());
    free
}

/// A path for people's eyes.
fn readable(path: &Path) -> String {
    path.to_string_lossy().chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// Data file systems in a table of mounts, in the order of their first mount.
pub(super) fn parse_mounts(mut from: impl BufRead) -> io::Result<Vec<Mounted>> {
    let mut places: HashMap<Vec<u8>, usize> = HashMap::new();
    let mut found: Vec<Mounted> = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if from.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        let mut fields = line.trim_ascii_end().split(|b| *b == b' ');
        let (Some(device), Some(point), Some(kind)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let Some(&kind) = KINDS.iter().find(|k| k.as_bytes() == kind) else { continue };
        // Containers have overlays without number; only their root means something.
        if kind == "overlay" && point != b"/" {
            continue;
        }
        let options = fields.next().unwrap_or_default();
        let read_only = options.split(|b| *b == b',').any(|o| o == b"ro");
        let point = PathBuf::from(OsString::from_vec(unescape(point)));
        // Every data set of ZFS is a file system of its own by name.
        let place = *places.entry(device.to_owned()).or_insert_with(|| {
            found.push(Mounted {
                device: readable(Path::new(&OsString::from_vec(unescape(device)))),
                kind: kind.to_owned(),
                points: Vec::new(),
                read_only: true,
            });
            found.len() - 1
        });
        let Some(mounted) = found.get_mut(place) else { continue };
        mounted.read_only &= read_only;
        let depth = |path: &PathBuf| path.components().count();
        let at = mounted.points.partition_point(|p| depth(p) <= depth(&point));
        mounted.points.insert(at, point);
        mounted.points.truncate(MAX_POINTS);
    }
    Ok(found)
}

/// Undoes the octal escapes of blanks in the table of mounts.
fn unescape(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&byte, after)) = rest.split_first() {
        let code =
            after.get(..3).filter(|_| byte == b'\\').and_then(|o| std::str::from_utf8(o).ok());
        if let Some(code) = code.and_then(|o| u8::from_str_radix(o, 8).ok()) {
            out.push(code);
            rest = &after[3..];
        } else {
            out.push(byte);
            rest = after;
        }
    }
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

/// The counters of whole disks, and how many disks are left out.
pub(super) fn parse_io(text: &str, whole: impl Fn(&str) -> bool) -> (Vec<DiskIo>, usize) {
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
    }
    let left_out = found.len().saturating_sub(MAX_DISKS);
    found.truncate(MAX_DISKS);
    (found, left_out)
}
