//! What is frequent is found among the first in the list's order, without sorting all
//! that matches; what is rare is found by reading all, and sorted then.
//!
//! Two orders are worth it: that of names, which an index has, and those of loads where
//! words are looked for, which stand elsewhere: only the first few are looked up there.

use super::{Checked, FEW, Table};
use crate::db::Scope;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

/// Among so many, in their order, frequent matches are looked for.
const GLANCE: i64 = if cfg!(test) { 9 } else { 3000 };

/// From where on a load is high, as the schema has it.
const HIGH: f32 = 90.0;

impl Checked {
    /// What holds for high loads, when the page may be found among them. An index has
    /// those of computers that are not revoked.
    pub(in super::super) fn high(&self) -> Option<&'static str> {
        let low = |key: &str| key.parse::<f32>().is_ok_and(|load| load < HIGH);
        let behind = self.after.as_ref().is_some_and(|(key, _)| low(key));
        self.sort.high.filter(|_| self.sort.descending && !behind && !self.with_revoked())
    }

    /// Whether frequent matches are worth a [`Checked::glance`]: words that are looked
    /// for everywhere, in the order of names.
    pub(in super::super) fn is_glanced(&self) -> bool {
        self.sort.field == "name"
            && !self.is_tallied()
            && self.tag.is_none()
            && self.sites.is_empty()
    }

    /// The first page, plus one, when it is found among the first [`GLANCE`] in the
    /// order of the names: then what is looked for is frequent, and sorting all of it
    /// would cost more than counting it.
    pub(in super::super) fn glance(&self, scope: Option<&Scope>) -> QueryBuilder<Postgres> {
        let mut query =
            QueryBuilder::new("SELECT d.id, d.name_key FROM (SELECT d.* FROM devices d");
        self.place(&mut query, scope, Table::Devices);
        self.ordered(&mut query, GLANCE);
        query.push(") d");
        self.condition(&mut query, scope, Table::Devices);
        self.ordered(&mut query, self.limit + 1);
        query
    }

    /// The same question without its words, where sums say how many that are.
    pub(in super::super) fn wordless(&self) -> Option<Self> {
        let wordless = Self { words: Vec::new(), ..self.clone() };
        Some(wordless).filter(Self::is_tallied)
    }

    /// Among how many in the order of loads a page is likely found, when so many have
    /// the words of all that match otherwise; none where it is too many to look them up.
    pub(in super::super) fn glance_at(&self, having: i64, all: i64) -> Option<i64> {
        let likely = (self.limit + 1).saturating_mul(all) / having.max(1);
        Some(likely + likely / 4 + self.limit).filter(|many| *many <= GLANCE)
    }

    /// The page, plus one, when it is found among so many in the order of loads, or
    /// among those of them that are high. Less than a page says nothing.
    pub(in super::super) fn glance_at_loads(
        &self,
        scope: Option<&Scope>,
        many: i64,
        high: Option<&str>,
    ) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("SELECT d.id, l.sort_key::text FROM (SELECT d.id, ");
        query.push(self.sort.expression).push(" AS sort_key FROM ").push(Table::Loads.name());
        self.place(&mut query, scope, Table::Loads);
        self.filters(&mut query, Table::Loads);
        if let Some(high) = high {
            query.push(" AND ").push(high);
        }
        self.beyond(&mut query);
        self.ordered(&mut query, many);
        // Looked up one by one, so that it ends when the page is full.
        query.push(") l CROSS JOIN LATERAL (SELECT d.id FROM device_lines d");
        self.common(&mut query, scope, Table::Lines);
        query.push(" AND d.id = l.id LIMIT 1) d");
        let direction = if self.sort.descending { " DESC" } else { "" };
        query.push(" ORDER BY l.sort_key").push(direction).push(", l.id").push(direction);
        query.push(" LIMIT ").push_bind(self.limit + 1);
        query
    }

    /// So many ids and no more are looked up by themselves among the loads.
    pub(in super::super) fn looked_up(&self) -> i64 {
        2 * FEW
    }

    /// Ids of what matches, in no order; one more than are looked up says that there
    /// are more.
    pub(in super::super) fn ids(&self, scope: Option<&Scope>) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("SELECT d.id FROM ");
        self.push_from(&mut query, self.lines(), Some(self.looked_up() + 1));
        self.condition(&mut query, scope, self.lines());
        query.push(" LIMIT ").push_bind(self.looked_up() + 1);
        query
    }

    /// The first page, plus one, of these in the order of their loads.
    pub(in super::super) fn by_load(&self, ids: Vec<Uuid>) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("SELECT d.id, (");
        query.push(self.sort.expression).push(")::text FROM ").push(Table::Loads.name());
        query.push(" WHERE d.id = ANY(").push_bind(ids).push(")");
        self.ordered(&mut query, self.limit + 1);
        query
    }
}
