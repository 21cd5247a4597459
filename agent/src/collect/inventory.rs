//! Inventory: whole once, then as changes.
//!
//! The work is done by a short-lived child of this very program (`unifyit-agent
//! internal inventory`), so that a list of twenty thousand packages never
//! swells the daemon. The child reads what was told last (a hash an entry),
//! writes what it tells now beside it, and prints encoded reports, each preceded
//! by its length. The daemon puts the reports into the spool and only then lets
//! the new snapshot replace the old: a crash in between tells changes twice,
//! which changes nothing.

use super::{packages::Packages, services};
use crate::{
    clock::now_ms,
    platform,
    platform::{ServiceManager, SourceKind},
};
use serde::Serialize;
use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use unifyit_protocol::{
    codec,
    inventory::{Entry, InventoryReport, MAX_ENTRIES, Section},
    report::Report,
};

/// Entries of one report; a longer section travels in several.
const REPORT_ENTRIES: usize = 1000;
/// Bytes of keys and values of one report, before compression.
const REPORT_BYTES: usize = 192 * 1024;
const SNAPSHOT_BYTES: usize = 8 << 20;

const SECTIONS: [(Section, &str); 5] = [
    (Section::System, "system"),
    (Section::Interfaces, "interfaces"),
    (Section::Disks, "disks"),
    (Section::Packages, "packages"),
    (Section::Services, "services"),
];

/// What was told of a section: a hash an entry.
type Told = BTreeMap<String, u64>;

/// Reads every section and prints what changed. Runs in the child.
///
/// # Errors
/// When the snapshot folder or the output cannot be written.
pub fn tell_changes(folder: &Path, whole: bool, mut out: impl Write) -> anyhow::Result<()> {
    platform::create_private_dir(folder)?;
    for (section, name) in SECTIONS {
        let (entries, cut) = match read_section(section) {
            Ok(read) => read,
            Err(error) => {
                // Saying nothing keeps what the relay knows; a part would delete the rest.
                tracing::warn!(%error, name, "a section of the inventory cannot be read");
                continue;
            }
        };
        let told = if whole { None } else { load(&folder.join(format!("{name}.told"))) };
        let now: Told = entries.iter().map(|(k, e)| (k.clone(), hash(e))).collect();
        if told.as_ref() == Some(&now) {
            continue;
        }
        save(&folder.join(format!("{name}.next")), &now)?;
        for report in changes(section, entries, cut, told.as_ref(), now_ms()) {
            let body = Report::Inventory(report).encode()?;
            out.write_all(&u32::try_from(body.len())?.to_be_bytes())?;
            out.write_all(&body)?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Lets the snapshots of the last telling hold. Runs in the daemon, after the
/// reports are durable.
///
/// # Errors
/// What the system answers.
pub fn accept_snapshots(folder: &Path) -> io::Result<()> {
    for (_, name) in SECTIONS {
        let next = folder.join(format!("{name}.next"));
        if next.exists() {
            fs::rename(next, folder.join(format!("{name}.told")))?;
        }
    }
    Ok(())
}

/// The reports that bring the relay from what was told to what is.
#[must_use]
pub fn changes(
    section: Section,
    entries: BTreeMap<String, Entry>,
    cut: u32,
    told: Option<&Told>,
    at_ms: u64,
) -> Vec<InventoryReport> {
    let gone: Vec<String> = told.map_or_else(Vec::new, |told| {
        told.keys().filter(|k| !entries.contains_key(*k)).cloned().collect()
    });
    let fresh =
        |whole, gone| InventoryReport { section, at_ms, whole, set: BTreeMap::new(), gone, cut };
    let mut reports: Vec<InventoryReport> = Vec::new();
    // A whole section starts with a report that replaces what was there, and
    // goes on with ones that add.
    let mut present = fresh(told.is_none(), Vec::new());
    let mut bytes = 0;
    for (key, entry) in entries {
        if told.is_some_and(|t| t.get(&key) == Some(&hash(&entry))) {
            continue;
        }
        bytes += key.len() + entry.iter().map(|(k, v)| k.len() + v.len()).sum::<usize>();
        present.set.insert(key, entry);
        if present.set.len() >= REPORT_ENTRIES || bytes >= REPORT_BYTES {
            reports.push(std::mem::replace(&mut present, fresh(false, Vec::new())));
            bytes = 0;
        }
    }
    if !present.set.is_empty() || present.whole {
        reports.push(present);
    }
    for part in gone.chunks(REPORT_ENTRIES) {
        reports.push(fresh(false, part.to_vec()));
    }
    reports
}

fn hash(entry: &Entry) -> u64 {
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
fn load(path: &Path) -> Option<Told> {
    let bytes = fs::read(path).ok()?;
    let plain = zstd::bulk::decompress(&bytes, SNAPSHOT_BYTES).ok()?;
    codec::decode_within(&plain, SNAPSHOT_BYTES).ok()
}

fn save(path: &Path, told: &impl Serialize) -> anyhow::Result<()> {
    let bytes = zstd::bulk::compress(&codec::encode(told)?, 3)?;
    Ok(platform::write_private(path, &bytes)?)
}

type Read = (BTreeMap<String, Entry>, u32);

fn read_section(section: Section) -> anyhow::Result<Read> {
    Ok(match section {
        Section::System => (BTreeMap::from([("system".into(), platform::system_facts())]), 0),
        Section::Interfaces => (platform::interfaces(), 0),
        Section::Disks => (disks(), 0),
        Section::Packages => packages()?,
        Section::Services => (read_services()?, 0),
        Section::Unknown => (BTreeMap::new(), 0),
    })
}

fn disks() -> BTreeMap<String, Entry> {
    let entry = |fs: platform::FileSystem| {
        // Not how full it is: that is a measurement and would change always.
        let facts =
            [("device", fs.device), ("type", fs.kind), ("total_bytes", fs.total.to_string())];
        let facts = facts.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
        (fs.mount, facts)
    };
    platform::filesystems().into_iter().map(entry).collect()
}

fn packages() -> anyhow::Result<Read> {
    let mut packages = Packages::default();
    for source in platform::package_sources() {
        read_source(&source.from, |from| packages.add(source.manager, from))?;
    }
    Ok((packages.entries, packages.cut))
}

fn read_services() -> anyhow::Result<BTreeMap<String, Entry>> {
    let mut found = BTreeMap::new();
    match platform::service_manager() {
        ServiceManager::Systemd(source) => read_source(&source, |from| {
            found = services::systemd(from)?;
            Ok(())
        })?,
        ServiceManager::OpenRc(source) => read_source(&source, |from| {
            found = services::openrc(from)?;
            Ok(())
        })?,
        ServiceManager::None(sentence) => found = services::none(sentence),
    }
    debug_assert!(found.len() <= MAX_ENTRIES, "the readers keep the bound");
    Ok(found)
}

fn read_source(
    source: &SourceKind,
    take: impl FnOnce(Box<dyn BufRead>) -> io::Result<()>,
) -> anyhow::Result<()> {
    match source {
        SourceKind::File(path) => take(Box::new(BufReader::new(File::open(path)?)))?,
        SourceKind::Command(program, arguments) => {
            let mut child = Command::new(program)
                .args(arguments)
                .env("LC_ALL", "C")
                .env("PATH", platform::search_path())
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()?;
            if let Some(out) = child.stdout.take() {
                take(Box::new(BufReader::new(out)))?;
            }
            let status = child.wait()?;
            anyhow::ensure!(status.success(), "{} ended with {status}", program.display());
        }
    }
    Ok(())
}

/// Where the snapshots lie.
#[must_use]
pub fn folder(state: &Path) -> PathBuf {
    state.join("inventory")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use proptest::prelude::*;

    fn apply(at: &mut BTreeMap<String, Entry>, report: InventoryReport) {
        if report.whole {
            at.clear();
        }
        at.extend(report.set);
        for key in report.gone {
            at.remove(&key);
        }
    }

    fn section() -> impl Strategy<Value = BTreeMap<String, Entry>> {
        let entry = proptest::collection::btree_map("[a-c]", "[a-z]{0,3}", 0..3);
        proptest::collection::btree_map("[a-f]{1,2}", entry, 0..12)
    }

    proptest! {
        #[test]
        fn changes_bring_the_relay_from_any_state_to_any_other(a in section(), b in section()) {
            let mut there = BTreeMap::new();
            for report in changes(Section::Packages, a.clone(), 0, None, 1) {
                apply(&mut there, report);
            }
            prop_assert_eq!(&there, &a);
            let told: Told = a.iter().map(|(k, e)| (k.clone(), hash(e))).collect();
            let reports = changes(Section::Packages, b.clone(), 0, Some(&told), 2);
            prop_assert_eq!(a == b, reports.is_empty());
            for report in reports {
                apply(&mut there, report);
            }
            prop_assert_eq!(&there, &b);
        }
    }

    #[test]
    fn a_long_section_travels_in_bounded_reports_of_which_only_the_first_replaces() {
        let entries: BTreeMap<String, Entry> = (0..2500)
            .map(|i| (format!("dpkg/p{i:05}"), Entry::from([("version".into(), "1".into())])))
            .collect();
        let reports = changes(Section::Packages, entries.clone(), 0, None, 1);
        assert!(reports.len() >= 3);
        assert!(reports.iter().all(|r| r.set.len() <= REPORT_ENTRIES));
        assert!(reports[0].whole && reports[1..].iter().all(|r| !r.whole));
        assert_eq!(reports.iter().map(|r| r.set.len()).sum::<usize>(), entries.len());
    }

    #[test]
    fn what_was_told_and_accepted_is_not_told_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut first = Vec::new();
        tell_changes(dir.path(), false, &mut first).unwrap();
        assert!(!first.is_empty());
        // Not accepted yet: as after a crash, it is told again.
        let mut again = Vec::new();
        tell_changes(dir.path(), false, &mut again).unwrap();
        assert!(!again.is_empty());
        accept_snapshots(dir.path()).unwrap();
        assert!(load(&dir.path().join("system.told")).is_some());
        assert!(!dir.path().join("system.next").exists());
    }
}
