//! `unifyit-relay doctor`: checks what can be wrong and says how to mend it.
//!
//! It only looks: nothing is created or changed, so it runs beside a running
//! relay and as any user who may read the state folder. A finding that is ill
//! makes the exit code 1; warnings do not.

mod machine;
mod network;
mod packages;
mod papers;
#[cfg(test)]
mod tests;

use crate::{
    cli::say,
    config::{Config, ConfigError},
    identity::{Keys, folder::StateFolder},
};
use std::process::ExitCode;
use time::OffsetDateTime;
use unifyit_protocol::doctor::{Finding, Report};

/// Checks, prints, and says how the process shall end.
///
/// # Errors
/// When the report cannot be encoded.
pub async fn main(config: Result<Config, ConfigError>, json: bool) -> serde_json::Result<ExitCode> {
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
    say(&if json { serde_json::to_string_pretty(&report)? } else { report.text() });
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// All checks.
pub async fn examine(config: &Config, now: OffsetDateTime) -> Report {
    let mut findings = vec![
        Finding::well("settings", format!("state folder {}", config.state.display())),
        machine::disk(config),
    ];
    findings.extend(machine::folder(&config.state));
    // What stands in the folder is read as the relay reads it, and left as it is.
    let folder = StateFolder::look(&config.state);
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
    if let Some(running) = &running {
        findings.extend(network::clock(running).await);
    }
    findings.extend(packages::cache(config));
    findings.extend(network::ports(config, running.as_ref()).await);
    if let (Some(running), Some(Ok(keys))) = (&running, &keys) {
        findings.extend(network::served_certificate(running, keys, now).await);
    }
    if let Some(record) = &record {
        findings.extend(network::cloud(record).await);
    }
    Report { findings }
}
