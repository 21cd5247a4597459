//! Checks that need nothing but this computer.

use super::Finding;
use crate::{
    clock::local_ms,
    config::Settings,
    enroll::{Renewal, renewal_due, tls::validity},
    identity::{Identity, PrivateKey},
    platform, store,
};
use redb::{Database, DatabaseError};
use std::{io, path::Path};

/// Free space below which the agent cannot work, and below which it soon cannot.
const FULL: u64 = 8 << 20;
const NEARLY_FULL: u64 = 128 << 20;
/// No clock of a computer that runs this version can be earlier: 2026-01-01.
const EARLIEST_MS: u64 = 1_767_225_600_000;

pub(super) fn local(settings: &Settings) -> Vec<Finding> {
    let mut findings = vec![clock(local_ms())];
    findings.push(folder(&settings.state));
    if settings.state.is_dir() {
        findings.push(disk(&settings.state));
        findings.push(database(&settings.state));
    }
    findings
}

fn clock(now_ms: u64) -> Finding {
    const CHECK: &str = "clock";
    if now_ms < EARLIEST_MS {
        return Finding::ill(
            CHECK,
            "this computer's clock is years behind; the agent goes by the site's time, other \
             programs do not",
            "Set the time: timedatectl set-ntp true, or date -s. A dead battery on the main board \
             is a usual cause.",
        );
    }
    Finding::well(CHECK, "plausible; it is compared with the relay's below")
}

fn folder(state: &Path) -> Finding {
    const CHECK: &str = "state folder";
    match platform::exposed(state) {
        Ok(None) => Finding::well(CHECK, format!("{} is private to the agent", state.display())),
        Ok(Some(problem)) => Finding::ill(
            CHECK,
            format!("{}: {problem}", state.display()),
            format!(
                "Run: chmod 700 {0} && chown root: {0}, or run doctor as the agent's user.",
                state.display()
            ),
        ),
        Err(e) if e.kind() == io::ErrorKind::NotFound => Finding::ill(
            CHECK,
            format!("{} does not exist", state.display()),
            "Enrol this computer: unifyit-agent enroll --token TOKEN. If it is enrolled, name its \
             folder with --state.",
        ),
        Err(e) => Finding::ill(
            CHECK,
            format!("{} cannot be looked at: {e}", state.display()),
            "Run doctor as root.",
        ),
    }
}

fn disk(state: &Path) -> Finding {
    const CHECK: &str = "disk";
    let remedy = "Free space on the disk of the state folder (journalctl --vacuum-size=100M, \
        package caches, old logs). Until then reports are dropped, oldest samples first.";
    match platform::free_space(state) {
        Ok((free, _)) if free < FULL => {
            Finding::ill(CHECK, format!("full: {} MB are free", free >> 20), remedy)
        }
        Ok((free, _)) if free < NEARLY_FULL => {
            Finding::warning(CHECK, format!("nearly full: {} MB are free", free >> 20), remedy)
        }
        Ok((free, total)) => {
            Finding::well(CHECK, format!("{} of {} MB are free", free >> 20, total >> 20))
        }
        Err(e) => Finding::ill(CHECK, format!("cannot be asked: {e}"), "Check the mount."),
    }
}

fn database(state: &Path) -> Finding {
    const CHECK: &str = "database";
    let path = state.join(store::FILE);
    if !path.exists() {
        return Finding::well(CHECK, "not made yet; the first run makes it");
    }
    match Database::builder().set_cache_size(256 * 1024).open(&path) {
        Ok(_) => Finding::warning(
            CHECK,
            "sound, but no agent is running on this folder",
            "Start it: systemctl start unifyit-agent (and systemctl enable unifyit-agent).",
        ),
        Err(DatabaseError::DatabaseAlreadyOpen) => {
            Finding::well(CHECK, "in use by the running agent")
        }
        Err(e) => Finding::ill(
            CHECK,
            format!("cannot be opened: {e}"),
            format!(
                "Stop the agent, move {} away and start it again. Reports that had not reached \
                 the relay are lost; commands given before then are not run any more and end as \
                 indeterminate where they were open; the enrolment is kept.",
                path.display()
            ),
        ),
    }
}

pub(super) fn identity(
    settings: &Settings,
    findings: &mut Vec<Finding>,
) -> Option<(Identity, PrivateKey)> {
    const CHECK: &str = "enrolment";
    match Identity::load(&settings.state) {
        Ok((identity, key)) => {
            findings.push(Finding::well(
                CHECK,
                format!("device {} of site {}", identity.device, identity.site),
            ));
            findings.push(certificate(&identity, local_ms()));
            Some((identity, key))
        }
        Err(error) => {
            findings.push(Finding::ill(
                CHECK,
                error.to_string(),
                "Enrol with a token from the console (Sites > Install).",
            ));
            None
        }
    }
}

fn certificate(identity: &Identity, now_ms: u64) -> Finding {
    const CHECK: &str = "certificate";
    let Some((from, to)) = validity(&identity.certificate) else {
        return Finding::ill(
            CHECK,
            "it cannot be read",
            "Enrol again: unifyit-agent enroll --force --token TOKEN.",
        );
    };
    let now_s = i64::try_from(now_ms / 1000).unwrap_or(i64::MAX);
    let days = (to - now_s) / 86_400;
    if now_s < from {
        return Finding::warning(
            CHECK,
            "by this computer's clock it is not valid yet; the agent shows it all the same",
            "Compare the clocks below, and set the one that is wrong: timedatectl set-ntp true.",
        );
    }
    match renewal_due(&identity.certificate, now_ms) {
        Renewal::NotBefore(_) => Finding::well(CHECK, format!("valid for {days} more days")),
        Renewal::Due => Finding::warning(
            CHECK,
            format!("valid for {days} more days, and its renewal is due"),
            "The running agent renews it by itself. If this stays, check the relay's HTTPS below.",
        ),
        Renewal::Overdue => Finding::ill(
            CHECK,
            "by this computer's clock it has expired",
            "Compare the clocks below: the relay judges by the site's time, not by this \
             computer's. If it expired, let the agent run: the relay may renew it within its \
             grace. Otherwise enrol again: unifyit-agent enroll --force --token TOKEN.",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::fs;
    use unifyit_protocol::doctor::Health;

    #[test]
    fn a_clock_of_another_decade_is_found() {
        assert_eq!(clock(0).health, Health::Ill);
        assert_eq!(clock(EARLIEST_MS + 1).health, Health::Well);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn a_folder_that_others_can_read_is_found_and_the_remedy_names_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let finding = folder(dir.path());
        assert_eq!(finding.health, Health::Ill);
        assert!(finding.remedy.unwrap().contains(&dir.path().display().to_string()));
        platform::make_private(dir.path()).unwrap();
        assert_eq!(folder(dir.path()).health, Health::Well);
    }

    #[test]
    fn a_database_in_use_is_a_running_agent_and_a_damaged_one_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(store::FILE);
        let held = Database::create(&path).unwrap();
        assert_eq!(database(dir.path()).health, Health::Well);
        drop(held);
        assert_eq!(database(dir.path()).health, Health::Warning);
        fs::write(&path, vec![7; 8192]).unwrap();
        assert_eq!(database(dir.path()).health, Health::Ill);
    }
}
