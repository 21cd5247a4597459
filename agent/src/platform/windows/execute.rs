//! Commands and terminals: none can be started yet, which each of them is answered.
//!
//! What only a command or a terminal that runs could be asked is here for the sake of
//! types, and cannot be reached: there is no value to ask it of.

use super::Unsupported;
use crate::platform::{Account, Blow, HelperOrder, KeepOrder, KeepWord};
use std::{
    convert::Infallible,
    env,
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::Stdio,
};
use tokio::process::{ChildStderr, ChildStdout, Command};

const COMMANDS: Unsupported = Unsupported("running commands");
const TERMINALS: Unsupported = Unsupported("opening terminals");
const ENDING: Unsupported = Unsupported("ending what a command left behind");

/// The keepers of commands.
#[derive(Debug)]
pub struct Keepers(PathBuf);

impl Keepers {
    /// Keepers that are this program.
    #[must_use]
    pub fn of(program: PathBuf) -> Self {
        Self(program)
    }

    /// The program.
    #[must_use]
    pub fn program(&self) -> &Path {
        &self.0
    }

    /// A keeper that waits for its order.
    ///
    /// # Errors
    /// [`Unsupported`].
    pub fn take(&self) -> io::Result<Kept> {
        Err(COMMANDS.into())
    }

    /// None can be made ready; [`Self::take`] says so.
    pub fn make_ready(&self) {}
}

/// A keeper that was started: there is none.
#[derive(Debug)]
pub struct Kept {
    none: Infallible,
    /// What the command prints.
    pub stdout: Option<ChildStdout>,
    /// What it prints as errors.
    pub stderr: Option<ChildStderr>,
}

impl Kept {
    /// Hands it its order.
    ///
    /// # Errors
    /// Cannot be reached.
    pub async fn prepare(&mut self, _order: &KeepOrder) -> io::Result<()> {
        match self.none {}
    }

    /// Lets it begin.
    ///
    /// # Errors
    /// Cannot be reached.
    pub async fn go(&mut self) -> io::Result<()> {
        match self.none {}
    }

    /// Hands it its order and lets it begin.
    ///
    /// # Errors
    /// Cannot be reached.
    pub async fn order(&mut self, _order: &KeepOrder) -> io::Result<()> {
        match self.none {}
    }

    /// Asks the command to end.
    pub async fn ask(&mut self) {
        match self.none {}
    }

    /// Ends it by force.
    pub async fn force(&mut self) {
        match self.none {}
    }

    /// Its next word.
    pub async fn word(&mut self) -> KeepWord {
        match self.none {}
    }

    /// Why the command was not started, if it was not.
    pub async fn started(&mut self) -> Option<String> {
        match self.none {}
    }

    /// Leaves it; whether it cleared up.
    pub async fn leave(self) -> bool {
        match self.none {}
    }

    /// Waits for its end; whether it cleared up.
    pub async fn close(self) -> bool {
        match self.none {}
    }
}

/// Is a keeper.
///
/// # Errors
/// [`Unsupported`].
pub fn keep() -> anyhow::Result<()> {
    Err(COMMANDS.into())
}

/// Prepares this process and lets the program take its place.
///
/// # Errors
/// [`Unsupported`].
pub fn become_program(_order: &HelperOrder) -> anyhow::Result<Infallible> {
    Err(COMMANDS.into())
}

/// Ends what an earlier command left. Returns how many were ended, and a sentence's
/// middle on what was not.
#[must_use]
pub fn end_left(_command: &str) -> (usize, String) {
    (0, ENDING.to_string())
}

/// Ends what a helper of the agent started.
pub fn end_tree(_root: u32) {
    tracing::warn!("{ENDING}");
}

/// A terminal: there is none.
#[derive(Debug)]
pub struct Pty(Infallible);

/// Opens a terminal of the given size.
///
/// # Errors
/// [`Unsupported`].
pub fn open_pty(
    _cols: u16,
    _rows: u16,
    _owner: Option<&Account>,
) -> io::Result<(Pty, PathBuf, [Stdio; 3])> {
    Err(TERMINALS.into())
}

impl Pty {
    /// Reads what is shown.
    ///
    /// # Errors
    /// Cannot be reached.
    pub async fn read(&self, _buffer: &mut [u8]) -> io::Result<usize> {
        match self.0 {}
    }

    /// Writes what was typed.
    ///
    /// # Errors
    /// Cannot be reached.
    pub async fn write(&self, _bytes: &[u8]) -> io::Result<usize> {
        match self.0 {}
    }

    /// Changes the size.
    ///
    /// # Errors
    /// Cannot be reached.
    pub fn resize(&self, _cols: u16, _rows: u16) -> io::Result<()> {
        match self.0 {}
    }
}

/// Ends a terminal's shell and what it started. None was started: nobody was there.
pub fn signal_group(_leader: u32, _blow: Blow) -> bool {
    false
}

/// The moment, as [`hang_up_young`] takes it.
#[must_use]
pub fn moment() -> u64 {
    0
}

/// Hangs up what a shell had just started. No shell was.
pub fn hang_up_young(_session: u32, _moment: u64) {}

/// This program as the helper that becomes another.
#[must_use]
pub fn helper_command(helper: &Path) -> Command {
    let mut command = Command::new(helper);
    command.arg("internal").arg("exec");
    command
}

/// This program.
#[must_use]
pub fn agent_program() -> PathBuf {
    env::current_exe().unwrap_or_else(|_| PathBuf::from("unifyit-agent.exe"))
}

/// The usual variables of a command. Without those of the system little starts.
#[must_use]
pub fn environment(_account: &Account, _command: &str) -> Vec<(OsString, OsString)> {
    ["SystemRoot", "SystemDrive", "ComSpec", "PATH", "PATHEXT", "TEMP", "TMP"]
        .into_iter()
        .filter_map(|name| Some((name.into(), env::var_os(name)?)))
        .collect()
}
