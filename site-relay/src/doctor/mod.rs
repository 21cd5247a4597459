//! `unifyit-relay doctor`: checks what can be wrong and says how to mend it.
//!
//! It only looks: nothing is created or changed, so it runs beside a running
//! relay and as any user who may read the state folder. A finding that is ill
//! makes the exit code 1; warnings do not.

mod machine;
mod network;
mod papers;
#[cfg(test)]
mod tests;

use crate::{
    cli::say,
    config::{Config, ConfigError},
    identity::{Keys, folder::StateFolder},
};
use serde::Serialize;
use std::{fmt::Write, process::ExitCode};
use time::OffsetDateTime;

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    /// As it should be.
    Well,
    /// Works, and deserves a look.
    Warning,
    /// Does not work.
    Ill,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was checked.
    pub check: &'static str,
    /// How it went.
    pub health: Health,
    /// What was seen.
    pub detail: String,
    /// What to do about it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remedy: Option<String>,
}

impl Finding {
    fn well(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, health: Health::Well, detail: detail.into(), remedy: None }
    }

    fn warning(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        let (detail, remedy) = (detail.into(), Some(remedy.into()));
        Self { check, health: Health::Warning, detail, remedy }
    }

    fn ill(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { health: Health::Ill, ..Self::warning(check, detail, remedy) }
    }
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// In the order of the checks.
    pub findings: Vec<Finding>,
}

impl Report {
    /// Whether nothing is ill.
    #[must_use]
    pub fn is_well(&self) -> bool {
        self.findings.iter().all(|finding| finding.health != Health::Ill)
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> String {
        serde_json::json!({ "well": self.is_well(), "findings": self.findings }).to_string()
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let mark = match finding.health {
                Health::Well => "ok     ",
                Health::Warning => "warning",
                Health::Ill => "PROBLEM",
            };
            let _ = writeln!(text, "{mark}  {}: {}", finding.check, finding.detail);
            if let Some(remedy) = &finding.remedy {
                let _ = writeln!(text, "         -> {remedy}");
            }
        }
        let verdict = if self.is_well() { "No problem found." } else { "There are problems." };
        let _ = write!(text, "{verdict}");
        text
    }
}

/// Checks, prints, and says how the process shall end.
pub async fn main(config: Result<Config, ConfigError>, json: bool) -> ExitCode {
    let report = match config {
        Ok(config) => examine(&config, OffsetDateTime::now_utc()).await,
        Err(error) => Report {
            findings: vec![Finding::ill(
                "settings",
                error.to_string(),
                "Mend the setting named above; `unifyit-relay config` prints all that hold.",
            )],
        },
    };
    say(&if json { report.json() } else { report.text() });
    if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// All checks.
pub async fn examine(config: &Config, now: OffsetDateTime) -> Report {
    let mut findings = vec![
        Finding::well("settings", format!("state folder {}", config.state.display())),
        machine::disk(config),
    ];
    findings.extend(machine::folder(&config.state));
    // What stands in the folder is read as the relay reads it, but only when
    // it is there: opening would make it.
    let folder = if config.state.is_dir() { StateFolder::open(&config.state).ok() } else { None };
    let record = folder.as_ref().map(crate::identity::read_record);
    findings.push(papers::enrolment(record.as_ref()));
    let record = record.and_then(Result::ok).flatten();
    findings.push(machine::clock(now, record.as_ref()));
    let keys = match (&folder, &record) {
        (Some(folder), Some(_)) => Some(Keys::load(folder)),
        _ => None,
    };
    if let (Some(keys), Some(record)) = (&keys, &record) {
        findings.extend(papers::certificates(keys, record, now));
    }
    let running = network::running(config).await;
    findings.push(machine::store(config, running.is_some()));
    findings.extend(network::ports(config, running.as_ref()).await);
    if let (Some(running), Some(Ok(keys))) = (&running, &keys) {
        findings.extend(network::served_certificate(running, keys, now).await);
    }
    if let Some(record) = &record {
        findings.extend(network::cloud(record).await);
    }
    Report { findings }
}
