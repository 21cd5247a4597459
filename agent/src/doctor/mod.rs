//! `unifyit-agent doctor`: checks what can be wrong and says how to mend it.
//!
//! It only looks, so it runs beside a running agent. Each check yields findings;
//! one that is not well makes the exit code 1.

mod checks;
mod relay;

use crate::config::Settings;
use unifyit_protocol::doctor::{Finding, Report};

/// Runs every check.
pub async fn examine(settings: &Settings) -> Report {
    let mut findings = checks::local(settings);
    if let Some((identity, key)) = checks::identity(settings, &mut findings) {
        relay::examine(settings, &identity, &key, &mut findings).await;
    }
    Report { findings }
}
