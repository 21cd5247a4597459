//! What a list of computers may be asked, and the SQL for it.
//!
//! The page is cut before names are joined. Scope ids
//! stand in the condition too, though row security has the last word: only a
//! condition can choose an index. Whatever must read all computers reads the smallest
//! table that has what is asked for ([`table`]). What only counts reads none where sums
//! are kept ([`counting`]); what is frequent is found among the first in the list's
//! order ([`frequent`]); words have an index ([`words`]); lists in the order of sites or
//! organizations walk these and stop when the page is full ([`grouped`]), those in the order
//! of states ask state by state ([`states`]).

mod counting;
mod frequent;
mod grouped;
mod sort;
mod states;
mod table;
mod words;

use crate::{
    db::Scope,
    http::{Problem, cursor, from_cursor},
};
use serde::Deserialize;
use sqlx::{Postgres, QueryBuilder};
use utoipa::IntoParams;
use uuid::Uuid;

use sort::Join;
pub use sort::Sort;
pub(super) use states::{JOIN_RELAY, STATE};
use table::Table;

/// Longest search text.
const MAX_SEARCH: usize = 200;
/// So many matches are sorted and counted in one scan. More are found sooner in
/// the order of an index, and counted by themselves. Tests have both kinds.
pub(super) const FEW: i64 = if cfg!(test) { 4 } else { 2000 };

/// Filter, order and page of a list of computers.
#[derive(Debug, Clone, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(default)]
pub struct DeviceQuery {
    /// Most items, 1 to 500; 100 when absent.
    #[serde(deserialize_with = "crate::http::limit")]
    #[param(minimum = 1, maximum = 500)]
    pub limit: Option<u32>,
    /// `next_cursor` of the page before, under the same filter and order.
    pub cursor: Option<String>,
    /// Words that name, host name, address, operating system or tags contain.
    pub q: Option<String>,
    /// Only of this organization.
    pub organization_id: Option<Uuid>,
    /// Only of this site; several comma-separated.
    pub site_id: Option<String>,
    /// Only in this state; several comma-separated. Without it, all but revoked.
    pub state: Option<String>,
    /// Only with this operating system (name or family); several comma-separated.
    pub os: Option<String>,
    /// Only with this tag.
    pub tag: Option<String>,
    /// Field to sort by; `-` before it turns the order round.
    pub sort: Option<String>,
}

/// A checked query.
#[derive(Debug, Clone)]
pub(super) struct Checked {
    pub(super) limit: i64,
    sort: Sort,
    after: Option<(String, Uuid)>,
    /// How many match, as the first page counted it.
    pub(super) counted: Option<i64>,
    words: Vec<String>,
    organization: Option<Uuid>,
    sites: Vec<Uuid>,
    states: Vec<String>,
    systems: Vec<String>,
    tag: Option<String>,
}

fn list(text: Option<&str>) -> Vec<String> {
    let words = text.unwrap_or_default().split(',').map(str::trim);
    words.filter(|w| !w.is_empty()).take(50).map(str::to_owned).collect()
}

impl DeviceQuery {
    pub(super) fn check(&self) -> Result<Checked, Problem> {
        let mut states = list(self.state.as_deref());
        // Each is a condition of its own.
        states.sort_unstable();
        states.dedup();
        let known = ["online", "offline", "unreachable", "revoked"];
        if states.iter().any(|s| !known.contains(&s.as_str())) {
            return Err(Problem::invalid(
                "The state must be online, offline, unreachable or revoked.",
            ));
        }
        let sites: Result<Vec<Uuid>, _> =
            list(self.site_id.as_deref()).iter().map(|s| Uuid::parse_str(s)).collect();
        let q = self.q.as_deref().unwrap_or_default();
        if q.len() > MAX_SEARCH {
            return Err(Problem::invalid("The search text is too long; 200 characters at most."));
        }
        let sort = Sort::parse(self.sort.as_deref())?;
        let after = self.cursor.as_deref().filter(|c| !c.is_empty());
        let after: Option<(String, String, Uuid, i64)> = after.map(from_cursor).transpose()?;
        if after.as_ref().is_some_and(|(field, ..)| field != sort.field) {
            return Err(Problem::malformed(
                "The cursor belongs to another order. Start again without a cursor.",
            ));
        }
        Ok(Checked {
            limit: crate::http::PageQuery { limit: self.limit, cursor: None }.limit(),
            sort,
            counted: after.as_ref().map(|(.., total)| *total),
            after: after.map(|(_, key, id, _)| (key, id)),
            words: q.to_lowercase().split_whitespace().map(str::to_owned).collect(),
            organization: self.organization_id,
            sites: sites.map_err(|_| Problem::invalid("site_id must be ids of sites."))?,
            states,
            systems: list(self.os.as_deref()),
            tag: self.tag.clone().filter(|t| !t.is_empty()),
        })
    }
}

impl Checked {
    fn with_revoked(&self) -> bool {
        self.states.iter().any(|s| s == "revoked")
    }

    /// Whether nothing is asked for but an order.
    pub(super) fn is_all(&self) -> bool {
        self.words.is_empty()
            && self.states.is_empty()
            && self.systems.is_empty()
            && self.sites.is_empty()
            && self.tag.is_none()
    }

    /// Whether it is asked for what only lines have, in an order that only loads have.
    pub(super) fn is_by_load_of_lines(&self) -> bool {
        self.sort.table == Table::Loads && !self.words.is_empty()
    }

    /// The smallest table that has what is asked for and what is sorted by.
    fn sorted_in(&self) -> Table {
        match self.sort.table {
            _ if self.is_by_load_of_lines() => Table::Both,
            Table::Lines => self.lines(),
            table => table,
        }
    }

    /// Whether an index gives the order, so that a page is found without reading
    /// all that match.
    pub(super) fn is_indexed(&self) -> bool {
        matches!(self.sort.field, "name" | "site_name" | "organization_name")
    }

    /// Where what matches stands, and whether it may be revoked.
    fn place(&self, query: &mut QueryBuilder<Postgres>, scope: Option<&Scope>, table: Table) {
        query.push(" WHERE true");
        if let Some(place) = scope.map(Scope::place) {
            let own = [
                (" AND d.partner_id = ", place.partner),
                (" AND d.organization_id = ", place.organization),
                (" AND d.site_id = ", place.site),
            ];
            for (text, id) in own {
                if let Some(id) = id {
                    query.push(text).push_bind(id);
                }
            }
        }
        if let Some(id) = self.organization {
            query.push(" AND d.organization_id = ").push_bind(id);
        }
        if !self.with_revoked() {
            query.push(" AND ").push(table.not_revoked());
        }
    }

    /// What holds for a list and for all of its facets.
    fn common(&self, query: &mut QueryBuilder<Postgres>, scope: Option<&Scope>, table: Table) {
        self.place(query, scope, table);
        if let Some(tag) = &self.tag {
            query.push(" AND d.id IN (SELECT t.device_id FROM device_tags t WHERE t.tag = ");
            query.push_bind(tag.clone());
            if let Some(partner) = scope.and_then(|scope| scope.place().partner) {
                query.push(" AND t.partner_id = ").push_bind(partner);
            }
            query.push(")");
        }
        self.push_words(query, table);
    }

    fn condition(&self, query: &mut QueryBuilder<Postgres>, scope: Option<&Scope>, table: Table) {
        self.common(query, scope, table);
        self.filters(query, table);
    }

    /// What facets leave out, each its own.
    fn filters(&self, query: &mut QueryBuilder<Postgres>, table: Table) {
        match self.sites.as_slice() {
            [] => {}
            [id] => {
                query.push(" AND d.site_id = ").push_bind(*id);
            }
            ids => {
                query.push(" AND d.site_id = ANY(").push_bind(ids.to_vec()).push(")");
            }
        }
        self.in_states(query, table);
        if !self.systems.is_empty() {
            query.push(" AND (false");
            // One text is compared faster than a list of one.
            for column in ["d.os_name", "d.os_family"] {
                query.push(" OR ").push(column).push(" = ");
                match self.systems.as_slice() {
                    [system] => query.push_bind(system.clone()),
                    many => query.push("ANY(").push_bind(many.to_vec()).push(")"),
                };
            }
            query.push(")");
        }
    }

    /// Ids and values to sort by of what matches.
    fn matching(
        &self,
        query: &mut QueryBuilder<Postgres>,
        scope: Option<&Scope>,
        (table, most): (Table, Option<i64>),
    ) {
        query.push("SELECT d.id, ").push(self.sort.expression).push(" AS sort_key FROM ");
        self.push_from(query, table, most);
        query.push(match self.sort.join {
            Join::Relay => JOIN_RELAY,
            Join::Site => " JOIN sites s ON s.id = d.site_id",
            Join::Organization => " JOIN organizations o ON o.id = d.organization_id",
            Join::None => "",
        });
        self.condition(query, scope, table);
    }

    /// So many matches or fewer are sorted and counted in one scan. Those of a tag are
    /// found one by one by an index; of other matches, more are found sooner in the
    /// order of an index.
    pub(super) fn few_are(&self) -> i64 {
        if self.tag.is_some() { 5 * FEW } else { FEW }
    }

    /// The first page, plus one, of what matches when that is [`Checked::few_are`]: id,
    /// sort value, and how many match. A higher number says that there are more, and
    /// that the rows are any.
    pub(super) fn few(&self, scope: Option<&Scope>) -> QueryBuilder<Postgres> {
        self.in_one_scan(scope, Some(self.few_are() + 1))
    }

    /// The first page, plus one, of all that match, found and counted in one scan.
    pub(super) fn scan(&self, scope: Option<&Scope>) -> QueryBuilder<Postgres> {
        self.in_one_scan(scope, None)
    }

    fn in_one_scan(&self, scope: Option<&Scope>, most: Option<i64>) -> QueryBuilder<Postgres> {
        let direction = if self.sort.descending { " DESC" } else { "" };
        let mut query = QueryBuilder::new("WITH matching AS MATERIALIZED (");
        self.matching(&mut query, scope, (self.sorted_in(), most));
        if let Some(most) = most {
            query.push(" LIMIT ").push_bind(most);
        }
        query.push(
            ") SELECT id, sort_key::text, (SELECT count(*) FROM matching) \
             FROM (SELECT id, sort_key FROM matching ORDER BY sort_key",
        );
        query.push(direction).push(", id").push(direction).push(" LIMIT ");
        query.push_bind(self.limit + 1).push(") page");
        query
    }

    /// Ids and sort values of the page, plus one.
    pub(super) fn page(&self, scope: Option<&Scope>) -> QueryBuilder<Postgres> {
        if matches!(self.sort.join, Join::Site | Join::Organization) {
            return self.page_by_group(scope);
        }
        self.page_of(scope, None)
    }

    /// The same of those whose load is high, when the page may be found among them. They
    /// are few, and an index has them. Less than a page says nothing.
    pub(super) fn page_of_high(&self, scope: Option<&Scope>) -> Option<QueryBuilder<Postgres>> {
        self.high().map(|high| self.page_of(scope, Some(high)))
    }

    fn page_of(&self, scope: Option<&Scope>, high: Option<&str>) -> QueryBuilder<Postgres> {
        // Only the page's own values become text, not those of every row sorted.
        let mut query = QueryBuilder::new("SELECT id, sort_key::text FROM (");
        // Indexes on the computers have the order of the names, in which few with a word
        // are found late.
        let rare = self.indexed_word().is_some()
            && self.counted.is_some_and(|total| total <= self.soon_read());
        let walked = self.sort.field == "name" && !rare;
        let table = if walked { Table::Devices } else { self.sorted_in() };
        self.matching(&mut query, scope, (table, None));
        if let Some(high) = high {
            query.push(" AND ").push(high);
        }
        self.beyond(&mut query);
        self.ordered(&mut query, self.limit + 1);
        query.push(") page");
        query
    }

    /// Behind the page before.
    fn beyond(&self, query: &mut QueryBuilder<Postgres>) {
        let Sort { expression, sql_type, descending, .. } = self.sort;
        let Some((key, id)) = &self.after else { return };
        query
            .push(" AND (")
            .push(expression)
            .push(if descending { ", d.id) < (CAST(" } else { ", d.id) > (CAST(" })
            .push_bind(key.clone())
            .push(" AS ")
            .push(sql_type.split(' ').next().unwrap_or(sql_type))
            .push(") ")
            .push(sql_type.split_once(' ').map_or("", |(_, collate)| collate))
            .push(", ")
            .push_bind(*id)
            .push(")");
    }

    /// In the list's order, at most so many.
    fn ordered(&self, query: &mut QueryBuilder<Postgres>, most: i64) {
        let direction = if self.sort.descending { " DESC" } else { "" };
        query.push(" ORDER BY ").push(self.sort.expression).push(direction);
        query.push(", d.id").push(direction).push(" LIMIT ").push_bind(most);
    }

    /// The cursor after a row. It carries the count, so that a list is counted once.
    pub(super) fn cursor(&self, key: &str, id: Uuid, total: i64) -> String {
        cursor(&(self.sort.field, key, id, total))
    }
}
