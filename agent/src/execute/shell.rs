//! The shell of a terminal: which one, and how it is started as a login shell.

use super::Context;
use crate::{
    apart::within,
    platform::{self, Account, KeepOrder, Program},
};
use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio::process::Command;
use unifyit_protocol::ids::CommandId;

/// How long a look-up in the system may take: a directory of users may be away.
pub(super) const LOOK_UP: Duration = Duration::from_secs(10);
/// What a terminal's programs know of it.
pub(super) const TERMINAL_ENV: [(&str, &str); 2] =
    [("TERM", "xterm-256color"), ("COLORTERM", "truecolor")];

/// The user's shell, or the usual one for a user who has none.
fn shell_of(account: &Account) -> PathBuf {
    let refused = ["nologin", "false"];
    let usable = account.shell.is_file()
        && account.shell.file_name().is_none_or(|n| refused.iter().all(|r| n != *r));
    if usable {
        return account.shell.clone();
    }
    let bash = Path::new("/bin/bash");
    if bash.is_file() { bash.to_owned() } else { PathBuf::from("/bin/sh") }
}

/// The name by which a shell knows that it is a login shell.
fn login_name(shell: &Path) -> OsString {
    let mut name = OsString::from("-");
    name.push(shell.file_name().unwrap_or(shell.as_os_str()));
    name
}

/// What a login needs of the disk.
pub(super) struct Login {
    shell: PathBuf,
    /// The user's home, if it is there.
    home: Option<PathBuf>,
    /// Who looked.
    #[cfg(test)]
    thread: std::thread::ThreadId,
}

impl Login {
    /// Looks at a user's shell and home, off the agent's one thread: with a home whose
    /// server is away that hangs.
    ///
    /// # Errors
    /// In a sentence for the technician.
    pub(super) async fn of(account: &Account) -> Result<Self, String> {
        let asked = account.clone();
        within(LOOK_UP, move || Self::look(&asked)).await.map_err(|e| {
            let (home, name) = (account.home.display(), &account.name);
            format!("The home {home} of {name} could not be looked at: {e}.")
        })
    }

    fn look(account: &Account) -> Self {
        let home = account.home.is_dir().then(|| account.home.clone());
        Self {
            shell: shell_of(account),
            home,
            #[cfg(test)]
            thread: std::thread::current().id(),
        }
    }
}

/// The shell as a login shell on its own terminal, below a keeper.
pub(super) fn kept_shell(
    command: CommandId,
    login: Login,
    terminal: PathBuf,
    user: Option<String>,
) -> KeepOrder {
    let path = login.shell;
    let name = login_name(&path).to_string_lossy().into_owned();
    KeepOrder {
        command: command.to_string(),
        program: Program::Shell { path, name },
        args: Vec::new(),
        env: TERMINAL_ENV.map(|(k, v)| (k.into(), v.into())).to_vec(),
        user,
        // Where there is no home, as for a login.
        folder: login.home.is_none().then(|| "/".into()),
        terminal: Some(terminal),
    }
}

/// The shell as a login shell on its own terminal, through the helper.
pub(super) fn login_shell(
    context: &Context,
    account: &Account,
    login: &Login,
    terminal: &Path,
    switch: bool,
) -> Command {
    let name = login_name(&login.shell);
    let mut command = platform::helper_command(context.keepers.program());
    command.arg("--terminal").arg(terminal);
    if switch {
        command.arg("--user").arg(&account.name);
    }
    if let Some(home) = &login.home {
        command.arg("--folder").arg(home);
    }
    let mut name_flag = OsString::from("--name=");
    name_flag.push(name);
    command.arg(name_flag).arg("--").arg(&login.shell);
    command
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use std::thread;

    #[tokio::test]
    async fn a_users_home_is_not_looked_at_by_the_thread_that_runs_the_agent() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().to_owned();
        let user = Account { home: home.clone(), ..platform::agent_account() };
        let login = Login::of(&user).await.unwrap();
        assert_eq!(login.home, Some(home));
        assert_ne!(login.thread, thread::current().id());
    }
}
