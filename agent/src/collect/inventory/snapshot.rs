//! What was told last, on disk: a hash an entry.

use crate::platform;
use serde::{Serialize, de::DeserializeOwned};
use std::{collections::BTreeMap, fs, io, path::Path};
use unifyit_protocol::{codec, inventory::Entry};

const SNAPSHOT_BYTES: usize = 8 << 20;

/// What was told of a section: a hash an entry.
pub(super) type Told = BTreeMap<String, u64>;

/// Lets a snapshot hold. Runs in the daemon, after the reports are durable.
///
/// # Errors
/// What the system answers.
pub fn accept_snapshot(folder: &Path, snapshot: &str) -> io::Result<()> {
    let (name, _) = snapshot.split_once('.').ok_or(io::ErrorKind::InvalidInput)?;
    if snapshot.contains(['/', '\\']) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    fs::rename(folder.join(snapshot), folder.join(format!("{name}.told")))
}

pub(super) fn hash(entry: &Entry) -> u64 {
    let mut hasher = blake3::Hasher::new();
    for (key, value) in entry {
        for part in [key, value] {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
    }
    let mut eight = [0; 8];
    hasher.finalize_xof().fill(&mut eight);
    u64::from_le_bytes(eight)
}

/// A snapshot that cannot be read counts as none: everything is told again.
pub(super) fn load<T: DeserializeOwned>(path: &Path) -> Option<T> {
    let bytes = fs::read(path).ok()?;
    let plain = zstd::bulk::decompress(&bytes, SNAPSHOT_BYTES).ok()?;
    codec::decode_within(&plain, SNAPSHOT_BYTES).ok()
}

pub(super) fn save(path: &Path, told: &impl Serialize) -> anyhow::Result<()> {
    let bytes = zstd::bulk::compress(&codec::encode(told)?, 3)?;
    Ok(platform::write_private(path, &bytes)?)
}
