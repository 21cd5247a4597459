//! Words that are looked for. An index finds the lines that have one; row policies would
//! keep it from being used, so a function of the schema asks it under the same rule.

use super::{Checked, FEW, Table};
use sqlx::{Postgres, QueryBuilder};

/// The index is made of groups of so many letters.
const SHORTEST: usize = 3;

impl Checked {
    /// The word by which the index finds fewest lines, most likely: the longest. None for a
    /// part of all computers, which other indexes find sooner than the word's all.
    pub(super) fn indexed_word(&self) -> Option<&str> {
        let part = self.organization.is_some() || !self.sites.is_empty() || self.tag.is_some();
        let long = self.words.iter().filter(|word| word.chars().count() >= SHORTEST);
        long.max_by_key(|word| word.len()).map(String::as_str).filter(|_| !part)
    }

    /// Lines, or what an index finds of them.
    pub(super) fn lines(&self) -> Table {
        if self.indexed_word().is_some() { Table::Found } else { Table::Lines }
    }

    /// Whether it is one word that an index finds that decides what facets count.
    pub(super) fn is_counted_by_word(&self) -> bool {
        self.words.len() == 1 && self.indexed_word().is_some()
    }

    /// Whether nothing is asked for but one word that an index finds.
    pub(in super::super) fn is_one_word(&self) -> bool {
        self.is_counted_by_word() && self.states.is_empty() && self.systems.is_empty()
    }

    /// Whether the first page is in the order of names and asks for one word alone.
    pub(in super::super) fn is_one_word_by_name(&self) -> bool {
        self.is_one_word() && self.sort.field == "name"
    }

    /// The first page, plus one, of one word's lines in the order of names.
    pub(in super::super) fn first_of_one_word(&self) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("SELECT d.id, d.name_key FROM ");
        let order = if self.sort.descending { -1 } else { 1 };
        self.push_found(&mut query, order, Some(self.limit + 1));
        query.push(" d");
        self.ordered(&mut query, self.limit + 1);
        query
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
        if self.indexed_word().is_none() || !table.is_searched_by_index() {
            query.push(table.name());
            return;
        }
        match table {
            Table::TalliesFound => {
                query.push("device_tallies_with(");
                query.push_bind(self.indexed_word().map(str::to_owned)).push(", ");
                query.push_bind(self.with_revoked()).push(") d");
            }
            Table::Both => {
                query.push("(SELECT b.*, a.search FROM device_loads b JOIN ");
                self.push_found(query, 0, None);
                query.push(" a ON a.id = b.id) d");
            }
            _ => {
                self.push_found(query, 0, most.filter(|_| self.is_one_word()));
                query.push(" d");
            }
        }
    }

    /// Lines that have the word of the index, in the order of names or (0) in none.
    fn push_found(&self, query: &mut QueryBuilder<Postgres>, by_name: i32, most: Option<i64>) {
        query.push("device_lines_with(").push_bind(self.indexed_word().map(str::to_owned));
        query.push(", ").push_bind(self.with_revoked()).push(", ").push_bind(by_name);
        query.push(", ").push_bind(most).push(")");
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
