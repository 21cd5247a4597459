//! Who this computer is and who its users are.

use super::Unsupported;
use crate::platform::Account;
use std::{env, io, path::PathBuf};
use zeroize::Zeroizing;

/// Who a user is to Windows: so far the agent's own user alone can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AccountId(());

impl AccountId {
    /// Both are the same user.
    #[must_use]
    pub fn is_user(self, other: Self) -> bool {
        self == other
    }
}

/// The secret that binds sealed files to this computer.
///
/// # Errors
/// [`Unsupported`]. That is not taken for none: the state would be bound to nothing.
pub fn machine_secret() -> io::Result<Option<Zeroizing<Vec<u8>>>> {
    Err(Unsupported("binding the device's key to the computer").into())
}

/// The computer's name.
#[must_use]
pub fn hostname() -> String {
    env::var("COMPUTERNAME")
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unnamed".into())
}

/// A user of this computer by name. Nobody is known by name yet.
#[must_use]
pub fn account(_name: &str) -> Option<Account> {
    None
}

/// The user that the agent runs as.
#[must_use]
pub fn agent_account() -> Account {
    let path = |name| env::var_os(name).map(PathBuf::from).unwrap_or_default();
    Account {
        name: env::var("USERNAME").unwrap_or_else(|_| "unnamed".into()),
        id: AccountId(()),
        home: path("USERPROFILE"),
        shell: path("ComSpec"),
    }
}

/// Whether the agent may act as other users: not yet, whoever runs it.
#[must_use]
pub fn is_administrator() -> bool {
    false
}
