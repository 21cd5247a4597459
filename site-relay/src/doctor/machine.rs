//! The machine under the relay: disk, state folder, clock, store file.

use super::Finding;
use crate::{config::Config, enroll::RelayRecord};
use nix::sys::statvfs::statvfs;
use std::{
    fs, io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};
use time::OffsetDateTime;

/// No relay ran before this version was made: an earlier clock is wrong.
const OLDEST_YEAR: i32 = 2026;
const NEWEST_YEAR: i32 = 2100;
const STORE_FILE: &str = "relay.redb";
const SECRETS: [&str; 4] = ["relay.key", "ca.key", "enrolment", "machine-secret"];

pub(super) fn disk(config: &Config) -> Finding {
    let check = "disk";
    let path = existing(&config.state);
    let space = match statvfs(&path) {
        Ok(space) => space,
        Err(error) => {
            return Finding::ill(
                check,
                format!("the file system of {} cannot be read: {error}", path.display()),
                "Check that the disk is mounted.",
            );
        }
    };
    let block = space.fragment_size();
    let (free, total) = (space.blocks_available() * block, space.blocks() * block);
    let detail = format!("{} of {} free at {}", size(free), size(total), path.display());
    let keep = config.store.keep_free_bytes;
    if space.files() > 0 && space.files_available() == 0 {
        Finding::ill(
            check,
            format!("{detail}, but no file can be created (no free inodes)"),
            "Delete files that are not needed.",
        )
    } else if free < keep {
        Finding::ill(
            check,
            format!("{detail}; the relay drops data to keep {} free", size(keep)),
            "Free some space, enlarge the disk, or move the state folder (--state).",
        )
    } else if free < keep.saturating_mul(4) {
        Finding::warning(check, detail, "Space is running out: free some, or enlarge the disk.")
    } else {
        Finding::well(check, detail)
    }
}

/// The nearest folder above a path that exists.
pub(super) fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|p| p.exists()).unwrap_or(Path::new("/")).to_owned()
}

pub(super) fn folder(state: &Path) -> Vec<Finding> {
    let check = "state folder";
    let shown = state.display();
    let found = match fs::metadata(state) {
        Ok(found) if found.is_dir() => found,
        Ok(_) => {
            return vec![Finding::ill(
                check,
                format!("{shown} is not a folder"),
                "Choose another with --state, or remove the file.",
            )];
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return vec![Finding::warning(
                check,
                format!("{shown} does not exist yet"),
                "unifyit-relay enroll creates it.",
            )];
        }
        Err(error) => {
            return vec![Finding::ill(
                check,
                format!("{shown} cannot be read: {error}"),
                "Run doctor as the relay's user or as root.",
            )];
        }
    };
    let mut findings = Vec::new();
    if found.mode() & 0o077 != 0 {
        findings.push(Finding::ill(
            check,
            format!("{shown} is open to other users (mode {:o})", found.mode() & 0o777),
            format!("Run: chmod 700 {shown}"),
        ));
    }
    for entry in fs::read_dir(state).into_iter().flatten().flatten() {
        let Ok(file) = entry.metadata() else { continue };
        if file.is_file() && file.mode() & 0o077 != 0 {
            let path = entry.path();
            let mode = file.mode() & 0o777;
            let detail = format!("{} is open to other users (mode {mode:o})", path.display());
            let remedy = format!("Run: chmod 600 {}", path.display());
            // The folder is closed around everything; secrets are closed by themselves, too.
            let secret = SECRETS.iter().any(|name| entry.file_name() == *name);
            findings.push(if secret {
                Finding::ill(check, detail, remedy)
            } else {
                Finding::warning(check, detail, remedy)
            });
        }
        if file.uid() != found.uid() {
            findings.push(Finding::warning(
                check,
                format!("{} belongs to another user than its folder", entry.path().display()),
                format!("Run: chown -R --reference={shown} {shown}"),
            ));
        }
    }
    let me = nix::unistd::geteuid().as_raw();
    if me != 0 && me != found.uid() {
        findings.push(Finding::warning(
            check,
            format!("{shown} belongs to another user than the one who asks"),
            "Run doctor as the relay's user or as root to see everything.",
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::well(check, format!("{shown} is private")));
    }
    findings
}

/// A clock is wrong when it shows an impossible year, or a time before
/// something that the cloud or this relay dated earlier.
pub(super) fn clock(now: OffsetDateTime, record: Option<&RelayRecord>) -> Finding {
    let check = "clock";
    let remedy = "Set the clock (timedatectl set-ntp true; timedatectl shows whether it is synchronized). With a wrong clock, commands seem expired and certificates invalid.";
    if !(OLDEST_YEAR..NEWEST_YEAR).contains(&now.year()) {
        return Finding::ill(
            check,
            format!("this machine believes it is the year {}", now.year()),
            remedy,
        );
    }
    let now_ms = u64::try_from(now.unix_timestamp_nanos() / 1_000_000).unwrap_or_default();
    let dated = record.and_then(|record| {
        let enrolment = &record.enrolment;
        let certified = enrolment.site_certificate.verify(&enrolment.authority).ok()?;
        Some(certified.issued_ms)
    });
    // The cloud dated our certificate at enrolment; a minute is for its clock.
    match (dated, record) {
        (Some(dated), _) if now_ms + 60_000 < dated => Finding::ill(
            check,
            format!(
                "this machine's clock is behind the cloud's by at least {} minutes",
                (dated - now_ms) / 60_000
            ),
            remedy,
        ),
        (_, Some(record)) if now_ms + 60_000 < record.enrolled_ms => Finding::ill(
            check,
            "this machine's clock went back: it is before the time of enrolment",
            remedy,
        ),
        _ if Path::new("/run/systemd/timesync").is_dir()
            && !Path::new("/run/systemd/timesync/synchronized").exists() =>
        {
            Finding::warning(
                check,
                format!("{} UTC, not synchronized with a time server", shown(now)),
                "Check the network's time server: timedatectl timesync-status.",
            )
        }
        _ => Finding::well(check, format!("{} UTC", shown(now))),
    }
}

fn shown(at: OffsetDateTime) -> String {
    format!("{} {:02}:{:02}:{:02}", at.date(), at.hour(), at.minute(), at.second())
}

pub(super) fn store(config: &Config, running: bool) -> Finding {
    let check = "store";
    let path = config.state.join(STORE_FILE);
    let bytes = match fs::metadata(&path) {
        Ok(found) => found.len(),
        Err(_) => return Finding::well(check, "none yet; it is made at the first start"),
    };
    let detail = format!("{} of at most {}", size(bytes), size(config.store.quota_bytes));
    match redb::ReadOnlyDatabase::open(&path) {
        Ok(_) => Finding::well(check, detail),
        Err(redb::DatabaseError::DatabaseAlreadyOpen) if running => {
            Finding::well(check, format!("{detail}, in use by the running relay"))
        }
        Err(redb::DatabaseError::DatabaseAlreadyOpen) => Finding::ill(
            check,
            format!("{} is open in another process, but no relay answers", path.display()),
            format!("Find it with `fuser -v {}` and stop it.", path.display()),
        ),
        Err(redb::DatabaseError::RepairAborted) => Finding::warning(
            check,
            "it was not closed in order",
            "The relay mends it at its next start.",
        ),
        Err(error) => Finding::ill(
            check,
            format!("{} cannot be opened: {error}", path.display()),
            "Check disk and permissions. If the file is damaged, stop the relay, move it away and start again: what had not reached the cloud is lost.",
        ),
    }
}

#[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
pub(super) fn size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let (mut value, mut unit) = (bytes as f64, 0);
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{value:.1} {}", UNITS.get(unit).copied().unwrap_or("B"))
}
