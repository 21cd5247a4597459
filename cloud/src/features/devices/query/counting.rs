//! Counting computers: from the sums that are kept of them where the question
//! names nothing else, from the computers themselves where it does.

use super::{Checked, Table};
use crate::db::Scope;
use sqlx::{Postgres, QueryBuilder};

impl Checked {
    /// How many match, when the pages before have not counted it.
    pub(in super::super) fn total(&self, scope: Option<&Scope>) -> QueryBuilder<Postgres> {
        if let Some(query) = self.total_of_one_word() {
            return query;
        }
        let mut query = QueryBuilder::new(match self.is_tallied() {
            true => "SELECT coalesce(sum(d.n), 0)::int8 FROM ",
            false => "SELECT count(*) FROM ",
        });
        self.push_from(&mut query, self.counted_in(), None);
        self.condition(&mut query, scope, self.counted_in());
        query
    }

    /// The smallest table that has all that is asked for.
    fn counted_in(&self) -> Table {
        if self.is_tallied() { Table::Tallies } else { self.lines() }
    }

    /// Whether sums are kept of all that is asked for.
    pub(in super::super) fn is_tallied(&self) -> bool {
        self.words.is_empty() && self.tag.is_none()
    }

    /// How many match by each value of each facet, leaving out the facet's own
    /// filter. The computers are read once and counted by what all facets
    /// need; those few counts are then added up for each.
    pub(in super::super) fn facets(&self, scope: Option<&Scope>) -> QueryBuilder<Postgres> {
        // What no filter asks for is not counted by: each key costs time a row.
        let mut query = QueryBuilder::new(
            "WITH counted AS MATERIALIZED ( \
                 SELECT d.site_id, d.os_name, d.online, ",
        );
        let table = match self.counted_in() {
            Table::Found if self.is_counted_by_word() => Table::TalliesFound,
            table => table,
        };
        query.push(if table.is_of_sums() { "sum(d.n)::int8" } else { "count(*)" });
        query.push(" AS n, ");
        query.push(if self.systems.is_empty() { "''::text" } else { "d.os_family" });
        query.push(" AS os_family, ");
        query.push(if self.with_revoked() { table.revoked() } else { "false" });
        query.push(" AS revoked FROM ");
        self.push_from(&mut query, table, None);
        self.common(&mut query, scope, table);
        query.push(" GROUP BY 1, 2, 3");
        if !self.systems.is_empty() {
            query.push(", 5");
        }
        if self.with_revoked() {
            query.push(", 6");
        }
        query.push(
            "), \
             judged AS (SELECT c.*, CASE WHEN c.revoked THEN 'revoked' WHEN r.online IS NOT TRUE THEN 'unreachable' \
                 WHEN c.online THEN 'online' ELSE 'offline' END AS state \
                 FROM counted c LEFT JOIN relays r ON r.site_id = c.site_id AND r.revoked_at IS NULL), \
             asked AS (SELECT j.*, cardinality(",
        );
        query.push_bind(self.states.clone()).push("::text[]) = 0 OR j.state = ANY(");
        query.push_bind(self.states.clone()).push(") AS in_state, cardinality(");
        query.push_bind(self.systems.clone()).push("::text[]) = 0 OR j.os_name = ANY(");
        query.push_bind(self.systems.clone()).push(") OR j.os_family = ANY(");
        query.push_bind(self.systems.clone()).push(") AS in_os, cardinality(");
        query.push_bind(self.sites.clone()).push("::uuid[]) = 0 OR j.site_id = ANY(");
        query.push_bind(self.sites.clone()).push(
            ") AS in_site FROM judged j) \
             SELECT CASE WHEN grouping(state) = 0 THEN 'state' WHEN grouping(os_name) = 0 THEN 'os' ELSE 'site' END, \
                 coalesce(state, os_name, site_id::text), \
                 (CASE WHEN grouping(state) = 0 THEN sum(n) FILTER (WHERE in_os AND in_site AND NOT revoked) \
                     WHEN grouping(os_name) = 0 THEN sum(n) FILTER (WHERE in_state AND in_site) \
                     ELSE sum(n) FILTER (WHERE in_state AND in_os) END)::int8 AS n \
             FROM asked GROUP BY GROUPING SETS ((state), (os_name), (site_id)) ORDER BY n DESC NULLS LAST",
        );
        query
    }
}
