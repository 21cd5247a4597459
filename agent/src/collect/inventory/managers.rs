//! The packages of all managers; those whose database is unchanged are not asked.

use super::{
    Order, SectionRead,
    snapshot::{Told, load},
};
use crate::{apart::within_blocking, clock::now_ms, collect::packages::Packages, platform};
use std::{collections::BTreeMap, fs};
use unifyit_protocol::inventory::MAX_ENTRIES;

/// How databases look, by package manager.
pub(super) type Seen = BTreeMap<String, String>;

/// The file of how databases looked when what they hold was told.
pub(super) const SOURCES: &str = "sources";

/// The packages of every manager that can be asked. One whose database looks as it
/// did when it was told is not asked.
pub(super) fn packages(order: &Order) -> SectionRead {
    let told_at = |name: &str| order.folder.join(format!("{name}.told"));
    let told: Option<Told> = if order.whole { None } else { load(&told_at("packages")) };
    let Some(told) = told else { return read_packages(order, &Seen::new()) };
    let read = read_packages(order, &load(&told_at(SOURCES)).unwrap_or_default());
    let stays = |key: &&String| read.kept.iter().any(|prefix| key.starts_with(prefix));
    if read.entries.len() + told.keys().filter(stays).count() > MAX_ENTRIES {
        // What is beyond the bound is known only when all are read.
        return read_packages(order, &Seen::new());
    }
    read
}

fn read_packages(order: &Order, seen: &Seen) -> SectionRead {
    let (mut all, mut read) = (Packages::default(), SectionRead::default());
    for source in platform::package_sources(&order.root) {
        let manager = source.manager;
        let looks = source.clone();
        let look = within_blocking(order.limit, move || platform::look_of(&looks)).ok().flatten();
        let look = look.map(|look| format!("{look} {}", reader()));
        if look.is_some() && seen.get(manager) == look.as_ref() {
            read.kept.push(format!("{manager}/"));
            read.seen.extend(look.map(|look| (manager.to_owned(), look)));
            continue;
        }
        let found = platform::read_source(&source.from, order.limit, move |from| {
            let mut packages = Packages::default();
            packages.add(manager, from)?;
            Ok(packages)
        });
        match found {
            Ok(packages) => {
                all.join(packages);
                read.seen.extend(look.map(|look| (manager.to_owned(), look)));
            }
            Err(error) => {
                read.unread.push(format!("{manager}: {error}"));
                read.kept.push(format!("{manager}/"));
            }
        }
    }
    (read.entries, read.cut) = (all.entries, all.cut);
    if read.cut > 0 {
        read.seen.clear();
    }
    read
}

/// Who reads, and on which day: another version may read more of the same database,
/// and once a day each is read whatever it looks like.
fn reader() -> String {
    const DAY_MS: u64 = 86_400_000;
    let look = fs::metadata(platform::agent_program()).map(|m| (m.len(), m.modified().ok()));
    format!("{:?} {}", look.ok(), now_ms() / DAY_MS)
}
