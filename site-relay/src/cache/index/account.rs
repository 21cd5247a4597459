//! What the cache saved, by repository and day, for as long as it is shown.

use super::{
    CONTENTS, Content, Hash, Index, IndexError, SAVINGS,
    database::{opened, sealed},
};
use redb::{Durability, ReadableTable, Table};
use serde::{Deserialize, Serialize};

/// Days that are kept.
const DAYS: i64 = 35;
/// Most repositories a day that are kept apart; the rest share one row.
const REPOSITORIES: usize = 256;
/// Name of that row.
const OTHER: &str = "other";

/// What the cache saved: one repository, one day.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Saving {
    /// Bytes sent to clients.
    pub served: u64,
    /// Bytes fetched from outside.
    pub fetched: u64,
    /// Requests answered from the disk.
    pub hits: u64,
    /// Requests that had to fetch.
    pub misses: u64,
}

impl Saving {
    /// Adds another one.
    pub fn add(&mut self, more: &Self) {
        self.served = self.served.saturating_add(more.served);
        self.fetched = self.fetched.saturating_add(more.fetched);
        self.hits = self.hits.saturating_add(more.hits);
        self.misses = self.misses.saturating_add(more.misses);
    }
}

impl Index {
    /// Notes uses, and what was saved `day` (`2026-11-21`) by repository, since
    /// the last time. Days beyond the bound are dropped.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn note(
        &self,
        uses: &[(Hash, u32, u64)],
        day: time::Date,
        savings: &[(String, Saving)],
    ) -> Result<(), IndexError> {
        self.database.write(Durability::Immediate, |write| {
            let mut contents = write.open_table(CONTENTS)?;
            for (hash, times, at_ms) in uses {
                let before = contents.get(hash.as_slice())?;
                let content = before.and_then(|c| opened::<Content>(hash, c.value()));
                if let Some(mut content) = content {
                    content.uses = content.uses.saturating_add(*times);
                    content.used_ms = content.used_ms.max(*at_ms);
                    contents.insert(hash.as_slice(), sealed(hash, &content)?.as_slice())?;
                }
            }
            let mut table = write.open_table(SAVINGS)?;
            for (repository, more) in savings {
                add(&mut table, &name_of(day), repository, more)?;
            }
            let oldest = name_of(day.saturating_sub(time::Duration::days(DAYS - 1)));
            table.retain_in(..oldest.as_str(), |_, _| false)?;
            Ok(())
        })
    }

    /// Savings by day (`2026-11-21`) and repository, oldest first.
    ///
    /// # Errors
    /// [`IndexError`] when the database fails.
    pub fn savings(&self) -> Result<Vec<(String, String, Saving)>, IndexError> {
        self.database.read(|read| {
            let mut all = Vec::new();
            for row in read.open_table(SAVINGS)?.iter()? {
                let (name, saving) = row?;
                let name = name.value();
                let saving = opened(name.as_bytes(), saving.value());
                if let (Some((day, repository)), Some(saving)) = (name.split_once('\n'), saving) {
                    all.push((day.to_owned(), repository.to_owned(), saving));
                }
            }
            Ok(all)
        })
    }
}

/// The name of a day, which sorts as days do.
pub(in crate::cache) fn name_of(day: time::Date) -> String {
    format!("{:04}-{:02}-{:02}", day.year(), u8::from(day.month()), day.day())
}

fn add(
    table: &mut Table<'_, &'static str, &'static [u8]>,
    day: &str,
    repository: &str,
    more: &Saving,
) -> Result<(), IndexError> {
    let mut name = format!("{day}\n{repository}");
    if table.get(name.as_str())?.is_none() {
        let end = format!("{day}\u{b}");
        if table.range(format!("{day}\n").as_str()..end.as_str())?.count() >= REPOSITORIES {
            name = format!("{day}\n{OTHER}");
        }
    }
    let before = table.get(name.as_str())?;
    let mut sum: Saving =
        before.and_then(|s| opened(name.as_bytes(), s.value())).unwrap_or_default();
    sum.add(more);
    table.insert(name.as_str(), sealed(name.as_bytes(), &sum)?.as_slice())?;
    Ok(())
}
