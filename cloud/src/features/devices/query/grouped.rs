//! Lists in the order of sites or organizations: the groups are walked in their
//! order, computers of each by name, until the page is full.
//!
//! The sort value is a text whose parts stand in that order: the group's name and
//! id, the computer's name. The character between them comes before all that may
//! stand in a name.

use super::{Checked, Table, sort::Join};
use crate::db::Scope;
use sqlx::{Postgres, QueryBuilder};

pub(super) const BY_SITE: &str =
    "(lower(s.name) || chr(1) || s.id::text || chr(1) || d.name_key) COLLATE \"C\"";
pub(super) const BY_ORGANIZATION: &str =
    "(lower(o.name) || chr(1) || o.id::text || chr(1) || d.name_key) COLLATE \"C\"";

impl Checked {
    pub(super) fn page_by_group(&self, scope: Option<&Scope>) -> QueryBuilder<Postgres> {
        let (table, column) = match self.sort.join {
            Join::Organization => ("organizations", "organization_id"),
            _ => ("sites", "site_id"),
        };
        let (direction, beyond) = if self.sort.descending { (" DESC", "<") } else { ("", ">") };
        let mut query = QueryBuilder::new(
            "SELECT id, sort_key FROM (SELECT d.id, g.key || d.name_key AS sort_key FROM ( \
                 SELECT a.id, (lower(a.name) || chr(1) || a.id::text || chr(1)) COLLATE \"C\" AS key FROM ",
        );
        query.push(table).push(" a WHERE true");
        if let Some(partner) = scope.and_then(|scope| scope.place().partner) {
            query.push(" AND a.partner_id = ").push_bind(partner);
        }
        // The group in which the page before ended, and those behind it.
        let group = self.after.as_ref().map(|(key, _)| {
            let end = key.rmatch_indices('\u{1}').next().map_or(key.len(), |(at, _)| at + 1);
            key.get(..end).unwrap_or_default().to_owned()
        });
        if let Some(group) = group {
            query.push(" AND (lower(a.name) || chr(1) || a.id::text || chr(1)) COLLATE \"C\" ");
            query.push(beyond).push("= ").push_bind(group);
        }
        query.push(" ORDER BY 2").push(direction);
        query.push(") g CROSS JOIN LATERAL (SELECT d.id, d.name_key FROM devices d");
        self.condition(&mut query, scope, Table::Devices);
        query.push(" AND d.").push(column).push(" = g.id");
        if let Some((key, id)) = &self.after {
            query.push(" AND ((g.key || d.name_key) COLLATE \"C\", d.id) ").push(beyond).push(" (");
            query.push_bind(key.clone()).push(" COLLATE \"C\", ").push_bind(*id).push(")");
        }
        query.push(" ORDER BY d.name_key").push(direction).push(", d.id").push(direction);
        query.push(" LIMIT ").push_bind(self.limit + 1);
        query.push(") d LIMIT ").push_bind(self.limit + 1).push(") page");
        query
    }
}
