//! What lists may be sorted by.

use super::{grouped, states, table::Table};
use crate::http::Problem;

/// A column to sort by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sort {
    pub(super) field: &'static str,
    pub(super) expression: &'static str,
    pub(super) sql_type: &'static str,
    pub(super) join: Join,
    pub(super) descending: bool,
    /// The smallest table that has it.
    pub(super) table: Table,
    /// What holds for the highest alone.
    pub(super) high: Option<&'static str>,
}

/// The one table besides that of the computers that an order needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Join {
    None,
    Relay,
    Site,
    Organization,
}

const TEXT: &str = "text COLLATE \"C\"";

impl Sort {
    pub(super) fn parse(text: Option<&str>) -> Result<Self, Problem> {
        let text = text.filter(|t| !t.is_empty()).unwrap_or("name");
        let (descending, field) = text.strip_prefix('-').map_or((false, text), |f| (true, f));
        let sort = |field, expression, sql_type, join, table| Self {
            field,
            expression,
            sql_type,
            join,
            descending,
            table,
            high: None,
        };
        let load = |field, expression, sql_type| {
            sort(field, expression, sql_type, Join::None, Table::Loads)
        };
        let line = |field, expression, sql_type| {
            sort(field, expression, sql_type, Join::None, Table::Lines)
        };
        let joined = |field, expression, join| sort(field, expression, TEXT, join, Table::Lines);
        let wide = |field, expression, sql_type| {
            sort(field, expression, sql_type, Join::None, Table::Devices)
        };
        Ok(match field {
            "name" => line("name", "d.name_key", TEXT),
            "last_seen" => load("last_seen", "d.seen", "timestamptz"),
            "os_name" | "os" => line("os_name", "d.os_name", TEXT),
            "cpu_pct" | "cpu" => {
                Self { high: Some("d.cpu_high"), ..load("cpu_pct", "d.cpu_pct", "real") }
            }
            "memory_pct" | "memory" => {
                Self { high: Some("d.memory_high"), ..load("memory_pct", "d.memory_pct", "real") }
            }
            "disk_pct" | "disk" => {
                Self { high: Some("d.disk_full"), ..load("disk_pct", "d.disk_pct", "real") }
            }
            "state" => joined("state", states::BY_STATE, Join::Relay),
            "organization_name" | "organization" => {
                joined("organization_name", grouped::BY_ORGANIZATION, Join::Organization)
            }
            "site_name" | "site" => joined("site_name", grouped::BY_SITE, Join::Site),
            "hostname" => wide("hostname", "lower(d.hostname) COLLATE \"C\"", TEXT),
            "agent_version" => wide("agent_version", "d.agent_version COLLATE \"C\"", TEXT),
            "address" => wide("address", "d.address COLLATE \"C\"", TEXT),
            "arch" => wide("arch", "d.arch COLLATE \"C\"", TEXT),
            "enrolled_at" => wide("enrolled_at", "d.enrolled_at", "timestamptz"),
            _ => {
                return Err(Problem::invalid(
                    "Devices can be sorted by name, hostname, last_seen, state, os_name, organization_name, site_name, \
                     cpu_pct, memory_pct, disk_pct, agent_version, address, arch or enrolled_at.",
                ));
            }
        })
    }
}
