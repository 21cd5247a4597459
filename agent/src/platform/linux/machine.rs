//! Who this computer is and who its users are.

use crate::platform::Account;
use nix::unistd::{Uid, User, geteuid};
use std::{fs, path::PathBuf};
use zeroize::Zeroizing;

/// The secret that binds sealed files to this computer: `machine-id`, which
/// stands on the system disk and not in the state folder.
#[must_use]
pub fn machine_secret() -> Option<Zeroizing<Vec<u8>>> {
    ["/etc/machine-id", "/var/lib/dbus/machine-id"].iter().find_map(|path| {
        let text = Zeroizing::new(fs::read_to_string(path).ok()?);
        let id = text.trim();
        (id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()))
            .then(|| Zeroizing::new(id.as_bytes().to_vec()))
    })
}

/// Host name.
#[must_use]
pub fn hostname() -> String {
    nix::unistd::gethostname()
        .ok()
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unnamed".into())
}

/// Looks a user up.
#[must_use]
pub fn account(name: &str) -> Option<Account> {
    User::from_name(name).ok().flatten().map(from_nix)
}

/// The user whom the agent itself runs as.
#[must_use]
pub fn agent_account() -> Account {
    let uid = geteuid();
    User::from_uid(uid).ok().flatten().map_or_else(|| unnamed(uid), from_nix)
}

/// Whether the agent may switch to any user.
#[must_use]
pub fn is_administrator() -> bool {
    geteuid().is_root()
}

fn from_nix(user: User) -> Account {
    Account {
        name: user.name,
        uid: user.uid.as_raw(),
        gid: user.gid.as_raw(),
        home: user.dir,
        shell: user.shell,
    }
}

fn unnamed(uid: Uid) -> Account {
    Account {
        name: uid.to_string(),
        uid: uid.as_raw(),
        gid: nix::unistd::getegid().as_raw(),
        home: PathBuf::from("/"),
        shell: PathBuf::from("/bin/sh"),
    }
}
