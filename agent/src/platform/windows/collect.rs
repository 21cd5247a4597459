//! What there is to know of this computer: so far nothing. An absent value is absent,
//! a table that was not read is not complete.

use super::Unsupported;
use crate::{
    apart::Watch,
    platform::{Mounts, PackageSource, Reading, ServiceManager, SourceKind},
};
use std::{
    collections::BTreeMap,
    io::{self, BufRead},
    path::Path,
    time::Duration,
};
use unifyit_protocol::inventory::Entry;

/// Reads counters.
#[derive(Debug, Default)]
pub struct Probe;

impl Probe {
    /// The counters of this moment: none is read yet.
    pub fn read(&mut self, _watch: &Watch) -> Reading {
        Reading::default()
    }
}

/// All local file systems: the list is not complete, since it is not read.
#[must_use]
pub fn filesystems(_watch: &Watch) -> Mounts {
    Mounts::default()
}

/// Bytes free for the agent, and bytes in all, on the file system of a path.
///
/// # Errors
/// [`Unsupported`].
pub fn free_space(_path: &Path) -> io::Result<(u64, u64)> {
    Err(Unsupported("telling free space").into())
}

/// Facts of the computer: none yet.
#[must_use]
pub fn system_facts() -> Entry {
    Entry::default()
}

/// Network interfaces, and how many more there are: none yet.
#[must_use]
pub fn interfaces() -> (BTreeMap<String, Entry>, usize) {
    (BTreeMap::new(), 0)
}

/// Where installed packages can be learnt from: nowhere yet.
#[must_use]
pub fn package_sources(_root: &Path) -> Vec<PackageSource> {
    Vec::new()
}

/// How a source's database looks from outside: nothing can be told.
#[must_use]
pub fn look_of(_source: &PackageSource) -> Option<String> {
    None
}

/// Nothing has to be prepared, since no source is read.
pub fn prepare_for_sources() {}

/// Reads a source.
///
/// # Errors
/// [`Unsupported`], as a sentence.
pub fn read_source<T: Send + 'static>(
    _source: &SourceKind,
    _limit: Duration,
    _take: impl FnOnce(Box<dyn BufRead>) -> io::Result<T> + Send + 'static,
) -> Result<T, String> {
    Err(Unsupported("reading lists of packages and services").to_string())
}

/// Who manages services here: nobody whom the agent can ask yet.
#[must_use]
pub fn service_manager() -> ServiceManager {
    ServiceManager::None("Services are not supported on this system yet.")
}
