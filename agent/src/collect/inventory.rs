//! Inventory: whole once, then as changes.
//!
//! The work is done by a short-lived child of this very program (`unifyit-agent
//! internal inventory`), so that a list of twenty thousand packages never
//! swells the daemon. The child reads what was told last (a hash an entry),
//! writes what it tells now beside it, and prints encoded reports, section by
//! section. The daemon puts the reports into the spool and only then lets the new
//! snapshot replace the old: a crash in between tells changes twice, which changes
//! nothing. A source that fails or hangs loses only itself: what was told of it
//! stays, and the system section names it. A package manager whose database looks as
//! it did when it was told is not asked again.

mod managers;
mod snapshot;
mod telling;

pub use snapshot::accept_snapshot;

use super::services;
use crate::{
    apart::{NoAnswer, Watch, within_blocking},
    clock::now_ms,
    platform,
    platform::{Mounts, ServiceManager},
};
pub use telling::FEATURE;

use managers::{SOURCES, Seen, packages};
use snapshot::{Told, hash, load, save};
use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
    time::Duration,
};
use unifyit_protocol::{
    inventory::{Entry, InventoryReport, MAX_ENTRIES, Section},
    report::Report,
};

/// Entries of one report; a longer section travels in several.
const REPORT_ENTRIES: usize = 1000;
/// Bytes of keys and values of one report, before compression.
const REPORT_BYTES: usize = 192 * 1024;

const SECTIONS: [(Section, &str); 5] = [
    (Section::System, "system"),
    (Section::Interfaces, "interfaces"),
    (Section::Disks, "disks"),
    (Section::Packages, "packages"),
    (Section::Services, "services"),
];

/// The fact of the system section that names what is missing elsewhere.
const UNREAD: &str = "could_not_be_read";
const UNREAD_FILE: &str = "unread";
const MAX_UNREAD: usize = 1000;

/// What is to be told.
#[derive(Debug, Clone)]
pub struct Order {
    /// Where the snapshots lie.
    pub folder: PathBuf,
    /// What stands for `/` where package managers are looked for.
    pub root: PathBuf,
    /// Everything, whatever was told before.
    pub whole: bool,
    /// How long one source may take.
    pub limit: Duration,
}

/// Reads every section and prints what changed, each as soon as it is read. What
/// cannot be read is named, and hides nothing else. Runs in the child.
///
/// # Errors
/// When the snapshot folder or the output cannot be written.
pub fn tell_changes(order: &Order, out: impl Write) -> anyhow::Result<()> {
    platform::create_private_dir(&order.folder)?;
    // Left by a run whose reports never became durable.
    for entry in fs::read_dir(&order.folder)?.flatten() {
        if entry.path().extension().is_some_and(|e| e == "next") {
            fs::remove_file(entry.path())?;
        }
    }
    let unread = order.folder.join(UNREAD_FILE);
    let before = fs::read_to_string(&unread).unwrap_or_default();
    let mut teller = Teller { order, out, count: 0, system: None };
    let mut missing = Vec::new();
    let mut system = Entry::new();
    for (section, name) in SECTIONS {
        let mut read = match read_section(section, order) {
            Ok(read) => read,
            Err(error) => {
                // Saying nothing keeps what the relay knows; a part would delete the rest.
                missing.push(format!("{name}: {error}"));
                continue;
            }
        };
        missing.append(&mut read.unread);
        if section == Section::System {
            system = read.entries.remove(SYSTEM).unwrap_or_default();
            read = system_with(&system, &before);
        }
        let seen = std::mem::take(&mut read.seen);
        teller.tell(section, name, read)?;
        if section == Section::Packages {
            teller.seen(&seen)?;
        }
    }
    let text: String = missing.join("; ").chars().take(MAX_UNREAD).collect();
    if text != before {
        for what in &missing {
            tracing::warn!("could not be read: {what}");
        }
        platform::write_private(&unread, text.as_bytes())?;
        if !system.is_empty() {
            teller.tell(Section::System, "system", system_with(&system, &text))?;
        }
    }
    teller.frame(FrameKind::End, &[])
}

fn system_with(system: &Entry, unread: &str) -> SectionRead {
    let mut entry = system.clone();
    if !unread.is_empty() {
        entry.insert(UNREAD.into(), unread.into());
    }
    SectionRead { entries: BTreeMap::from([(SYSTEM.into(), entry)]), ..SectionRead::default() }
}

/// What a frame of the child's output holds; one byte behind its length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameKind {
    /// An encoded report.
    Report,
    /// The name of the snapshot that holds once the reports before are durable.
    Snapshot,
    /// Nothing follows.
    End,
}

impl FrameKind {
    /// The kind of a byte.
    #[must_use]
    pub fn of(byte: u8) -> Option<Self> {
        [Self::Report, Self::Snapshot, Self::End].into_iter().find(|kind| *kind as u8 == byte)
    }
}

struct Teller<'a, W> {
    order: &'a Order,
    out: W,
    count: u32,
    /// What this very run told of the system, if it did.
    system: Option<Told>,
}

impl<W: Write> Teller<'_, W> {
    fn tell(&mut self, section: Section, name: &str, read: SectionRead) -> anyhow::Result<()> {
        let again = if section == Section::System { self.system.take() } else { None };
        let saved = || load(&self.order.folder.join(format!("{name}.told")));
        let mut told = match again {
            Some(told) => Some(told),
            None if self.order.whole => None,
            None => saved(),
        };
        let mut now: Told = read.entries.iter().map(|(k, e)| (k.clone(), hash(e))).collect();
        // What could not be read stays as it was told.
        let kept = |key: &String| read.kept.iter().any(|prefix| key.starts_with(prefix));
        if let Some(told) = &mut told {
            let keys: Vec<String> =
                told.keys().filter(|k| kept(k) && !now.contains_key(*k)).cloned().collect();
            for key in keys {
                now.extend(told.remove_entry(&key));
            }
            let read_now = now.iter().filter(|(k, _)| read.entries.contains_key(*k));
            if told.len() == read.entries.len() && read_now.eq(told.iter()) {
                return Ok(());
            }
        }
        self.count += 1;
        let snapshot = format!("{name}.{}.next", self.count);
        save(&self.order.folder.join(&snapshot), &now)?;
        for report in changes(section, read.entries, read.cut, told.as_ref(), now_ms()) {
            let body = Report::Inventory(report).encode()?;
            self.frame(FrameKind::Report, &body)?;
        }
        self.frame(FrameKind::Snapshot, snapshot.as_bytes())?;
        if section == Section::System {
            self.system = Some(now);
        }
        Ok(self.out.flush()?)
    }

    /// Notes how databases look, to hold once what was read of them is durable.
    fn seen(&mut self, seen: &Seen) -> anyhow::Result<()> {
        if load(&self.order.folder.join(format!("{SOURCES}.told"))).as_ref() == Some(seen) {
            return Ok(());
        }
        self.count += 1;
        let snapshot = format!("{SOURCES}.{}.next", self.count);
        save(&self.order.folder.join(&snapshot), seen)?;
        self.frame(FrameKind::Snapshot, snapshot.as_bytes())?;
        Ok(self.out.flush()?)
    }

    fn frame(&mut self, kind: FrameKind, body: &[u8]) -> anyhow::Result<()> {
        self.out.write_all(&u32::try_from(body.len())?.to_be_bytes())?;
        self.out.write_all(&[kind as u8])?;
        self.out.write_all(body)?;
        if kind == FrameKind::End {
            self.out.flush()?;
        }
        Ok(())
    }
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

/// A section as it was read.
#[derive(Debug, Default)]
struct SectionRead {
    entries: BTreeMap<String, Entry>,
    cut: u32,
    /// What is missing, and why.
    unread: Vec<String>,
    /// What the keys of entries begin with that stay as they were told.
    kept: Vec<String>,
    /// How the databases looked just before they were read.
    seen: Seen,
}

const SYSTEM: &str = "system";

fn read_section(section: Section, order: &Order) -> Result<SectionRead, String> {
    let apart = |e: NoAnswer| e.to_string();
    let of = |entries, left_out: usize| SectionRead {
        entries,
        cut: u32::try_from(left_out).unwrap_or(u32::MAX),
        ..SectionRead::default()
    };
    Ok(match section {
        Section::System => {
            let facts = within_blocking(order.limit, platform::system_facts).map_err(apart)?;
            of(BTreeMap::from([(SYSTEM.into(), facts)]), 0)
        }
        Section::Interfaces => {
            let (entries, left_out) =
                within_blocking(order.limit, platform::interfaces).map_err(apart)?;
            of(entries, left_out)
        }
        Section::Disks => disks()?,
        Section::Packages => packages(order),
        Section::Services => of(read_services(order.limit)?, 0),
        Section::Unknown => SectionRead::default(),
    })
}

/// Times that a silent file system may hold up the reading of the others.
const MAX_SILENT: usize = 8;
const DISKS_LIMIT: Duration = Duration::from_secs(3);

fn disks() -> Result<SectionRead, String> {
    let all = Watch::default();
    for _ in 0..MAX_SILENT {
        let watch = all.fresh();
        let at_work = watch.clone();
        match within_blocking(DISKS_LIMIT, move || platform::filesystems(&at_work)) {
            // A part would delete the rest.
            Ok(mounts) if !mounts.complete => break,
            Ok(mounts) => return Ok(told_disks(mounts)),
            Err(error @ NoAnswer::TooMany) => return Err(error.to_string()),
            Err(NoAnswer::TooLong) => drop(watch.give_up()),
        }
    }
    Err("the table of mounts, or too many that are in it, do not answer".into())
}

fn told_disks(mounts: Mounts) -> SectionRead {
    let mut read = SectionRead {
        cut: u32::try_from(mounts.left_out).unwrap_or(u32::MAX),
        ..SectionRead::default()
    };
    for fs in mounts.unanswered {
        read.unread.push(format!("{}: it does not answer", fs.mount));
        let facts = [("device", fs.device), ("type", fs.kind), ("state", "does not answer".into())];
        read.entries.insert(fs.mount, owned(facts));
    }
    for fs in mounts.found {
        // Not how full it is: that is a measurement and would change always.
        let facts =
            [("device", fs.device), ("type", fs.kind), ("total_bytes", fs.total.to_string())];
        let mut entry = owned(facts);
        if fs.read_only {
            entry.insert("read_only".into(), "yes".into());
        }
        read.entries.insert(fs.mount, entry);
    }
    read
}

fn owned<const N: usize>(facts: [(&str, String); N]) -> Entry {
    let facts = facts.into_iter().filter(|(_, v)| !v.is_empty());
    facts.map(|(k, v)| (k.to_owned(), v)).collect()
}

fn read_services(limit: Duration) -> Result<BTreeMap<String, Entry>, String> {
    let found = match platform::service_manager() {
        ServiceManager::Systemd(source) => {
            platform::read_source(&source, limit, services::systemd)?
        }
        ServiceManager::OpenRc(source) => platform::read_source(&source, limit, services::openrc)?,
        ServiceManager::None(sentence) => services::none(sentence),
    };
    debug_assert!(found.len() <= MAX_ENTRIES, "the readers keep the bound");
    Ok(found)
}

/// Where the snapshots lie.
#[must_use]
pub fn folder(state: &Path) -> PathBuf {
    state.join("inventory")
}

#[cfg(test)]
mod tests;
