//! `unifyit-agent internal exec`: prepares a process and becomes the program.
//!
//! Between fork and exec only a few calls are safe, and none of them can be made
//! from safe Rust. So the preparation happens in a fresh process of this very
//! program, which is single-threaded and may do anything, and whose pid is the
//! one that the program then has.

use super::machine;
use crate::platform::HelperOrder;
use anyhow::{Context, bail};
use nix::unistd::{Gid, Uid, chdir, setgid, setgroups, setsid, setuid};
use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::process::CommandExt,
    path::Path,
    process::Command,
};

/// Prepares this process and replaces it by the program. Returns only on failure.
///
/// # Errors
/// Why the program could not be started, in a sentence for the technician.
pub fn become_program(order: &HelperOrder) -> anyhow::Result<std::convert::Infallible> {
    let Some((program, arguments)) = order.program.split_first() else {
        bail!("there is no program to start")
    };
    if let Some(terminal) = &order.terminal {
        setsid().context("a session of its own could not be started")?;
        take_terminal(terminal).context("the terminal could not be opened")?;
    }
    if let Some(user) = &order.user {
        switch_to(user)?;
    }
    if let Some(folder) = &order.folder {
        chdir(folder.as_path())
            .with_context(|| format!("the folder {} could not be entered", folder.display()))?;
    }
    let mut command = Command::new(program);
    command.args(arguments);
    if let Some(name) = &order.name {
        command.arg0(name);
    }
    Err(command.exec()).with_context(|| format!("{} could not be started", program.display()))
}

/// Opens a terminal: the first that a session's leader opens becomes its own.
pub(super) fn take_terminal(terminal: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(terminal)
}

fn switch_to(user: &str) -> anyhow::Result<()> {
    let account = machine::account(user)
        .with_context(|| format!("this computer has no user named {user}"))?;
    if Uid::effective().as_raw() == account.id.uid {
        return Ok(());
    }
    let groups = machine::groups(&account)
        .with_context(|| format!("the groups of {user} could not be found"))?;
    let gid = Gid::from_raw(account.id.gid);
    let refused = || format!("the agent may not switch to the user {user}; it must run as root");
    setgroups(&groups).with_context(refused)?;
    setgid(gid).with_context(refused)?;
    setuid(Uid::from_raw(account.id.uid)).with_context(refused)
}
