//! How long a partner's data are kept.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use utoipa::ToSchema;
use uuid::Uuid;

/// Days for which a partner's data are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// Finished tasks with their results, 7 to 3660.
    #[sqlx(rename = "tasks_days")]
    pub tasks_days: i32,
    /// What scripts wrote, 1 to 3660; not longer than tasks.
    #[sqlx(rename = "output_days")]
    pub output_days: i32,
    /// The audit log, 180 to 3660.
    #[sqlx(rename = "audit_days")]
    pub audit_days: i32,
    /// Measurements as minutes, 2 to 400.
    #[sqlx(rename = "minute_days")]
    pub metrics_minute_days: i32,
    /// Measurements as quarters of an hour, then as hours, 2 to 3660; not shorter
    /// than minutes.
    #[sqlx(rename = "quarter_days")]
    pub metrics_quarter_days: i32,
    /// Measurements at all, 2 to 3660; not shorter than quarters.
    #[sqlx(rename = "hour_days")]
    pub metrics_hour_days: i32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            tasks_days: 400,
            output_days: 90,
            audit_days: 3 * 365,
            metrics_minute_days: 30,
            metrics_quarter_days: 365,
            metrics_hour_days: 5 * 365,
        }
    }
}

impl Retention {
    /// Checks the bounds that the schema has too.
    ///
    /// # Errors
    /// A sentence that names the bound.
    pub fn check(&self) -> Result<(), &'static str> {
        const LONGEST: i32 = 3660;
        if !(7..=LONGEST).contains(&self.tasks_days) {
            return Err("Tasks are kept for 7 to 3660 days.");
        }
        if !(1..=self.tasks_days).contains(&self.output_days) {
            return Err("Output is kept for 1 day at least, and not longer than its task.");
        }
        if !(180..=LONGEST).contains(&self.audit_days) {
            return Err("The audit log is kept for 180 to 3660 days.");
        }
        if !(2..=400).contains(&self.metrics_minute_days) {
            return Err("Measurements are kept as minutes for 2 to 400 days.");
        }
        if !(self.metrics_minute_days..=LONGEST).contains(&self.metrics_quarter_days)
            || !(self.metrics_quarter_days..=LONGEST).contains(&self.metrics_hour_days)
        {
            return Err(
                "Quarters of an hour are kept at least as long as minutes, hours at least as long as quarters, 3660 days at most.",
            );
        }
        Ok(())
    }

    /// What changes against another, for the audit log.
    #[must_use]
    pub fn told_against(&self, before: &Self) -> String {
        type Days = fn(&Retention) -> i32;
        let fields: [(&str, Days); 6] = [
            ("tasks", |r| r.tasks_days),
            ("output", |r| r.output_days),
            ("audit log", |r| r.audit_days),
            ("measurements as minutes", |r| r.metrics_minute_days),
            ("as quarters of an hour", |r| r.metrics_quarter_days),
            ("as hours", |r| r.metrics_hour_days),
        ];
        let changed: Vec<String> = fields
            .iter()
            .filter(|(_, days)| days(self) != days(before))
            .map(|(what, days)| format!("{what} {} days (was {})", days(self), days(before)))
            .collect();
        if changed.is_empty() { "nothing changed".to_owned() } else { changed.join("; ") }
    }
}

/// How long things are kept, by partner.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    /// Where a partner has set nothing.
    pub usual: Retention,
    /// What partners have set.
    pub own: BTreeMap<Uuid, Retention>,
}

impl Policies {
    /// All that are in force somewhere.
    pub fn all(&self) -> impl Iterator<Item = &Retention> {
        std::iter::once(&self.usual).chain(self.own.values())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn what_is_built_in_is_within_the_bounds_and_longer_steps_last_longer() {
        let usual = Retention::default();
        usual.check().unwrap();
        for wrong in [
            Retention { tasks_days: 6, ..usual },
            Retention { output_days: usual.tasks_days + 1, ..usual },
            Retention { audit_days: 179, ..usual },
            Retention { metrics_minute_days: 366, ..usual },
            Retention { metrics_hour_days: 364, ..usual },
            Retention { metrics_hour_days: 3661, ..usual },
        ] {
            wrong.check().unwrap_err();
        }
        let told = Retention { audit_days: 400, ..usual }.told_against(&usual);
        assert_eq!(told, "audit log 400 days (was 1095)");
    }
}
