//! `unifyit-agent doctor`: checks what can be wrong and says how to mend it.
//!
//! It only looks, so it runs beside a running agent. Each check yields findings;
//! one that is not well makes the exit code 1.

mod checks;
mod relay;

use crate::config::Settings;
use serde::Serialize;
use std::fmt::Write;

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
        self.findings.iter().all(|f| f.health != Health::Ill)
    }

    /// For programs.
    ///
    /// # Errors
    /// When it cannot be encoded.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string_pretty(&serde_json::json!({
            "well": self.is_well(), "findings": self.findings,
        }))
    }

    /// For people.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let word = match finding.health {
                Health::Well => "ok     ",
                Health::Warning => "warning",
                Health::Ill => "FAILED ",
            };
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{word} {}: {}", finding.check, finding.detail);
            if let Some(remedy) = &finding.remedy {
                let _ = writeln!(text, "        -> {remedy}");
            }
        }
        let ill = self.findings.iter().filter(|f| f.health == Health::Ill).count();
        text.push_str(&match ill {
            0 => "Nothing is wrong.".to_owned(),
            1 => "1 check failed.".to_owned(),
            n => format!("{n} checks failed."),
        });
        text
    }
}

/// Runs every check.
pub async fn examine(settings: &Settings) -> Report {
    let mut findings = checks::local(settings);
    if let Some((identity, key)) = checks::identity(settings, &mut findings) {
        relay::examine(settings, &identity, &key, &mut findings).await;
    }
    Report { findings }
}
