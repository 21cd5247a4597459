//! Computers by their state: what a filter by state means, and lists in its order.
//!
//! A state depends on the computer, which changes seldom, and on the relay of its
//! site, which changes it for all computers of the site at once; so it stands in no
//! index. Sums say how many are in each state, and a page is asked for in one state
//! after the other until it is full: no state is looked for in vain.

use super::{Checked, Table, sort::Join};
use crate::db::Scope;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

/// Effective state; needs the relay's row as `r`.
pub(in super::super) const STATE: &str = "CASE WHEN d.revoked_at IS NOT NULL THEN 'revoked' \
    WHEN r.online IS NOT TRUE THEN 'unreachable' WHEN d.online THEN 'online' ELSE 'offline' END";
/// The same of lines and sums, to sort by: compared by bytes.
pub(super) const BY_STATE: &str = "(CASE WHEN d.revoked THEN 'revoked' \
    WHEN r.online IS NOT TRUE THEN 'unreachable' WHEN d.online THEN 'online' ELSE 'offline' END) COLLATE \"C\"";
pub(in super::super) const JOIN_RELAY: &str =
    " LEFT JOIN relays r ON r.site_id = d.site_id AND r.revoked_at IS NULL";
/// Whether the site's relay is connected; no join, which would hide the order of
/// an index from the planner.
const REACHED: &str = "(d.site_id IN (SELECT r.site_id FROM relays r \
    WHERE r.online AND r.revoked_at IS NULL))";
/// All states, in their order.
const STATES: [&str; 4] = ["offline", "online", "revoked", "unreachable"];

impl Checked {
    fn wants(&self, state: &str) -> bool {
        match self.states.is_empty() {
            true => state != "revoked",
            false => self.states.iter().any(|s| s == state),
        }
    }

    /// Whether the state decides what matches.
    fn filters_states(&self) -> bool {
        !["online", "offline", "unreachable"].iter().all(|state| self.wants(state))
    }

    /// The condition on states; [`Checked::common`] has said whether revoked
    /// computers may match.
    pub(super) fn in_states(&self, query: &mut QueryBuilder<Postgres>, table: Table) {
        if !self.filters_states() {
            return;
        }
        query.push(" AND (");
        if self.with_revoked() {
            query.push(table.revoked()).push(" OR ");
        }
        // One look at the relays, and none where the computer's own column decides.
        match (self.wants("online"), self.wants("offline"), self.wants("unreachable")) {
            (true, true, _) => query.push(REACHED),
            (true, false, true) => query.push("d.online OR NOT ").push(REACHED),
            (false, true, true) => query.push("NOT d.online OR NOT ").push(REACHED),
            (true, false, false) => query.push("d.online AND ").push(REACHED),
            (false, true, false) => query.push("NOT d.online AND ").push(REACHED),
            (false, false, true) => query.push("NOT ").push(REACHED),
            (false, false, false) => query.push("false"),
        };
        query.push(")");
    }

    /// Whether pages are asked for state by state.
    pub(in super::super) fn is_by_state(&self) -> bool {
        self.sort.join == Join::Relay && self.is_tallied()
    }

    /// How many match in each state.
    pub(in super::super) fn totals_by_state(
        &self,
        scope: Option<&Scope>,
    ) -> QueryBuilder<Postgres> {
        let mut query = QueryBuilder::new("SELECT ");
        query.push(BY_STATE).push(", sum(d.n)::int8 FROM ").push(Table::Tallies.name());
        query.push(JOIN_RELAY);
        self.condition(&mut query, scope, Table::Tallies);
        query.push(" GROUP BY 1");
        query
    }

    /// What is left of the list from the page's beginning on, state by state: the
    /// state, and the id after which it goes on.
    pub(in super::super) fn states_left(&self) -> Vec<(&'static str, Option<Uuid>)> {
        let mut states = STATES.to_vec();
        if self.sort.descending {
            states.reverse();
        }
        let left = states.into_iter().skip_while(|state| {
            self.after
                .as_ref()
                .is_some_and(|(key, _)| key != state && STATES.contains(&key.as_str()))
        });
        let after = |state| self.after.as_ref().filter(|(key, _)| key == state).map(|(_, id)| *id);
        left.filter(|state| self.wants(state)).map(|state| (state, after(state))).collect()
    }

    /// Ids of at most so many that are in a state, in the list's order. Few in it are
    /// looked for before they are sorted: in the order of ids, their index would be
    /// read to its end.
    pub(in super::super) fn in_state(
        &self,
        scope: Option<&Scope>,
        (state, after): (&str, Option<Uuid>),
        few: bool,
        most: i64,
    ) -> QueryBuilder<Postgres> {
        let part = Self { states: vec![state.to_owned()], ..self.clone() };
        let (direction, beyond) = if self.sort.descending { (" DESC", "<") } else { ("", ">") };
        let mut query = QueryBuilder::new(match few {
            true => "WITH d AS MATERIALIZED (SELECT d.id FROM device_lines d",
            false => "SELECT d.id FROM device_lines d",
        });
        part.condition(&mut query, scope, Table::Lines);
        if let Some(id) = after {
            query.push(" AND d.id ").push(beyond).push(" ").push_bind(id);
        }
        if few {
            query.push(") SELECT d.id FROM d");
        }
        query.push(" ORDER BY d.id").push(direction).push(" LIMIT ").push_bind(most);
        query
    }
}
