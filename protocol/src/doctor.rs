//! What `doctor` of agent, relay and cloud says: the same words from all three,
//! for people and for programs.

use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::fmt::Write as _;

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
    /// All is as it should be.
    pub fn well(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, health: Health::Well, detail: detail.into(), remedy: None }
    }

    /// Works, and deserves a look.
    pub fn warning(
        check: &'static str,
        detail: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        let (detail, remedy) = (detail.into(), Some(remedy.into()));
        Self { check, health: Health::Warning, detail, remedy }
    }

    /// Does not work.
    pub fn ill(check: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { health: Health::Ill, ..Self::warning(check, detail, remedy) }
    }
}

/// All findings.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

    /// For people: a line a check, and what to do below each that is not well.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let word = match finding.health {
                Health::Well => "ok",
                Health::Warning => "warning",
                Health::Ill => "FAILED",
            };
            // Writing to a text cannot fail.
            let _ = writeln!(text, "{word:<7}  {}: {}", finding.check, finding.detail);
            if let Some(remedy) = &finding.remedy {
                let _ = writeln!(text, "         -> {remedy}");
            }
        }
        let ill = self.findings.iter().filter(|finding| finding.health == Health::Ill).count();
        text.push_str(&match ill {
            0 => "No problem found.".to_owned(),
            1 => "1 check failed.".to_owned(),
            n => format!("{n} checks failed."),
        });
        text
    }
}

/// For programs: `{"well": …, "findings": […]}`.
impl Serialize for Report {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut report = serializer.serialize_struct("Report", 2)?;
        report.serialize_field("well", &self.is_well())?;
        report.serialize_field("findings", &self.findings)?;
        report.end()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn a_warning_is_well_and_an_illness_is_not() {
        let mut report = Report { findings: vec![Finding::well("disk", "2 GB free")] };
        report.findings.push(Finding::warning("clock", "40 s ahead", "Set it."));
        assert!(report.is_well());
        assert!(report.text().ends_with("No problem found."), "{}", report.text());

        report.findings.push(Finding::ill("port", "8883 is taken", "Free it."));
        assert!(!report.is_well());
        let text = report.text();
        assert!(text.contains("FAILED   port: 8883 is taken\n         -> Free it.\n"), "{text}");
        assert!(text.ends_with("1 check failed."), "{text}");
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["well"], false);
        assert_eq!(json["findings"][2]["health"], "ill");
        assert!(json["findings"][0].get("remedy").is_none());
    }
}
