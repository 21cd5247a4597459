//! The machine under the cloud: state folder, disk, master key.

use crate::{config::Config, http::tls, trust::MasterKey};
use std::{io, os::unix::fs::PermissionsExt, path::Path};
use unifyit_protocol::doctor::Finding;

/// Least free space in the state folder.
const LEAST_FREE: u64 = 512 * 1024 * 1024;

pub(super) fn state_folder(path: &Path) -> Finding {
    const CHECK: &str = "state folder";
    let shown = path.display();
    let probe = path.join(".doctor");
    match std::fs::create_dir_all(path).and_then(|()| std::fs::write(&probe, b"x")) {
        Ok(()) => {
            // A probe that stays does no harm and is written over next time.
            let _ = std::fs::remove_file(probe);
            Finding::well(CHECK, format!("{shown} can be written"))
        }
        Err(error) => Finding::ill(
            CHECK,
            format!("{shown} cannot be written ({error})"),
            "Make it and give it to the service's user, or name another with --state.",
        ),
    }
}

pub(super) fn disk(path: &Path) -> Finding {
    const CHECK: &str = "disk";
    match nix::sys::statvfs::statvfs(path) {
        Ok(stat) => {
            let free = stat.blocks_available().saturating_mul(stat.fragment_size());
            room(free, &path.display().to_string())
        }
        Err(error) => Finding::warning(
            CHECK,
            format!("the free space of {} cannot be read ({error})", path.display()),
            "Check that the file system is mounted.",
        ),
    }
}

pub(super) fn room(free: u64, shown: &str) -> Finding {
    const CHECK: &str = "disk";
    let seen = format!("{} MiB free in {shown}", free / (1024 * 1024));
    match free < LEAST_FREE {
        true => Finding::ill(CHECK, seen, format!("Free some space (df -h {shown}).")),
        false => Finding::well(CHECK, seen),
    }
}

pub(super) fn master_key(config: &Config) -> Finding {
    const CHECK: &str = "master key";
    const NO_KEY: &str =
        "Write this installation's own key, 32 bytes in base64; another opens no organization.";
    if let Ok(text) = std::env::var("UNIFYIT_MASTER_KEY") {
        return match MasterKey::from_text(text.trim()) {
            Ok(_) => Finding::well(CHECK, "it comes from UNIFYIT_MASTER_KEY"),
            Err(error) => Finding::ill(CHECK, error.to_string(), NO_KEY),
        };
    }
    let file = config.master_key_file();
    let shown = file.display();
    match std::fs::metadata(&file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Finding::warning(
            CHECK,
            format!("there is none at {shown}; the first start makes one"),
            "If this installation had one before, put it back: without it no organization's key opens.",
        ),
        Err(error) => unreadable(&shown.to_string(), &error),
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => Finding::ill(
            CHECK,
            format!("{shown} may be read by others"),
            format!("chmod 600 {shown}"),
        ),
        Ok(_) => match std::fs::read_to_string(&file).map(|t| MasterKey::from_text(t.trim())) {
            Ok(Ok(_)) => Finding::well(CHECK, format!("{shown} is private and readable")),
            Ok(Err(error)) => Finding::ill(CHECK, format!("{shown}: {error}"), NO_KEY),
            Err(error) => unreadable(&shown.to_string(), &error),
        },
    }
}

/// The files that TLS is spoken with, where the cloud does it itself.
pub(super) fn certificate(config: &Config) -> Option<Finding> {
    const CHECK: &str = "certificate";
    let used = match config.tls_files() {
        Ok(None) => return None,
        Ok(Some((certificate, key))) => tls::usable(certificate, key),
        Err(error) => Err(error),
    };
    Some(match used {
        Ok(left_s) => {
            let seen = format!(
                "{} and its key fit; {}",
                config.tls_certificate_file.display(),
                match left_s / (24 * 3600) {
                    _ if left_s < 0 => "it has ended".to_owned(),
                    days => format!("it ends in {days} days"),
                }
            );
            match tls::is_soon(left_s) {
                false => Finding::well(CHECK, seen),
                true => Finding::warning(
                    CHECK,
                    seen,
                    "Renew it; a running cloud takes the new files up by itself.",
                ),
            }
        }
        Err(error) => Finding::ill(
            CHECK,
            error.to_string(),
            "Mend the files or the settings. A running cloud goes on with the pair it has; a start needs this one.",
        ),
    })
}

fn unreadable(shown: &str, error: &io::Error) -> Finding {
    Finding::ill(
        "master key",
        format!("{shown} cannot be read ({error})"),
        "Run doctor as the service's user: sudo -u unifyit-cloud unifyit-cloud doctor.",
    )
}
