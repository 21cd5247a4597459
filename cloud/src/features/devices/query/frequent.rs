//! What is frequent is found among the first in the list's order, without sorting all
//! that matches; what is rare is found by reading all, and sorted then.
//!
//! Two orders are worth it: that of names, which an index has, and those of loads, which
//! stand apart from what is looked for: only the first few are looked up there.

use super::{Checked, FEW, Table};
use crate::db::Scope;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

/// Among so many, in their order, frequent matches are looked for.
const GLANCE: i64 = if cfg!(test) { 6 } else { 3000 };

impl Checked {
    /// Whether frequent matches are worth a [`Checked::glance`]: what is looked for
    /// everywhere.
    pub(in super::super) fn is_glanced(&self) -> bool {
        let ordered = self.sort.field == "name" && !self.is_tallied();
        (ordered || self.is_by_load_of_lines()) && self.tag.is_none() && self.sites.is_empty()
    }

    /// The page, plus one, when it is found among the first [`GLANCE`] in the list's
    /// order: then what is looked for is frequent, and sorting all of it would cost more
    /// than counting it. Less than a page says nothing.
    pub(in super::super) fn glance(&self, scope: Option<&Scope>) -> QueryBuilder<Postgres> {
        if self.is_by_load_of_lines() {
            return self.glance_at_loads(scope);
        }
        let mut query =
            QueryBuilder::new("SELECT d.id, d.name_key FROM (SELECT d.* FROM devices d");
        self.place(&mut query, scope, Table::Devices);
        self.ordered(&mut query, GLANCE);
        query.push(") d");
        self.condition(&mut query, scope, Table::Devices);
        self.ordered(&mut query, self.limit + 1);
        query
    }

    fn glance_at_loads(&self, scope: Option<&Scope>) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("SELECT d.id, l.sort_key::text FROM (SELECT d.id, ");
        query.push(self.sort.expression).push(" AS sort_key FROM ").push(Table::Loads.name());
        self.place(&mut query, scope, Table::Loads);
        self.in_states(&mut query, Table::Loads);
        self.beyond(&mut query);
        self.ordered(&mut query, 2 * GLANCE);
        query.push(") l JOIN device_lines d ON d.id = l.id");
        self.condition(&mut query, scope, Table::Lines);
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
        let mut query = QueryBuilder::new("SELECT d.id FROM device_lines d");
        self.condition(&mut query, scope, Table::Lines);
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
