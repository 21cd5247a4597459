//! Words that are looked for. An index finds the lines that have one; row policies would
//! keep it from being used, so a function of the schema asks it under the same rule.

use super::{Checked, FEW, Table};
use sqlx::{Postgres, QueryBuilder};

/// The index is made of groups of so many letters.
const SHORTEST: usize = 3;

impl Checked {
    /// The word by which the index finds fewest lines, most likely: the longest.
    pub(super) fn indexed_word(&self) -> Option<&str> {
        let longest = self.words.iter().max_by_key(|word| word.len())?;
        Some(longest.as_str()).filter(|word| word.chars().count() >= SHORTEST)
    }

    /// Lines, or what an index finds of them.
    pub(super) fn lines(&self) -> Table {
        if self.indexed_word().is_some() { Table::Found } else { Table::Lines }
    }

    /// Whether nothing is asked for but one word that an index finds.
    pub(in super::super) fn is_one_word(&self) -> bool {
        let filtered = !self.states.is_empty() || !self.systems.is_empty();
        let within = self.organization.is_some() || !self.sites.is_empty();
        self.words.len() == 1
            && self.indexed_word().is_some()
            && !filtered
            && !within
            && self.tag.is_none()
    }

    /// So many that have a word are read and sorted sooner than they are found among the
    /// first in the list's order.
    pub(in super::super) fn soon_read(&self) -> i64 {
        10 * FEW
    }

    /// What stands as `d` in a question, at most so many rows of it where nothing else
    /// decides.
    pub(super) fn push_from(
        &self,
        query: &mut QueryBuilder<Postgres>,
        table: Table,
        most: Option<i64>,
    ) {
        let word = self.indexed_word().filter(|_| table.is_searched_by_index());
        let Some(word) = word else {
            query.push(table.name());
            return;
        };
        let both = table == Table::Both;
        if both {
            query.push("(SELECT b.*, a.search FROM device_loads b JOIN ");
        }
        query.push("device_lines_with(").push_bind(word.to_owned()).push(", ");
        query.push_bind(self.with_revoked()).push(", ");
        query.push_bind(most.filter(|_| self.is_one_word())).push(")");
        query.push(if both { " a ON a.id = b.id) d" } else { " d" });
    }

    /// What the words ask of each row; of one, where an index has answered that.
    pub(super) fn push_words(&self, query: &mut QueryBuilder<Postgres>, table: Table) {
        let found = self.indexed_word().filter(|_| table.is_searched_by_index());
        for word in self.words.iter().filter(|word| Some(word.as_str()) != found) {
            query.push(" AND strpos(d.search, ").push_bind(word.clone()).push(") > 0");
        }
    }

    /// How many have the one word that is asked for, and nothing else.
    pub(super) fn total_of_one_word(&self) -> Option<QueryBuilder<Postgres>> {
        let word = self.indexed_word().filter(|_| self.is_one_word())?;
        let mut query = QueryBuilder::new("SELECT count_device_lines_with(");
        query.push_bind(word.to_owned()).push(", ").push_bind(self.with_revoked()).push(")");
        Some(query)
    }
}
