//! Child processes: started in their own group, found again by a mark in their
//! environment, ended as a whole.
//!
//! The mark ([`MARK`]`=<command id>`) is what makes a leftover identifiable: a
//! process group id may have been given to somebody else since, the environment
//! of a process is its own until it executes something without it.

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{
    ffi::OsStr,
    fs,
    os::unix::process::ExitStatusExt,
    path::{Path, PathBuf},
    process::ExitStatus,
};
use tokio::process::Command;

/// Environment variable that carries the command id.
pub const MARK: &str = "UNIFYIT_COMMAND";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin";

/// How hard to end processes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blow {
    /// Ask them to end.
    Ask,
    /// Hang up, as a closed terminal does.
    HangUp,
    /// End them.
    Kill,
}

impl Blow {
    fn signal(self) -> Signal {
        match self {
            Self::Ask => Signal::SIGTERM,
            Self::HangUp => Signal::SIGHUP,
            Self::Kill => Signal::SIGKILL,
        }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// By itself, with this code.
    Code(i32),
    /// By this signal.
    Signal(i32, &'static str),
}

/// Reads an exit status.
#[must_use]
pub fn ending(status: ExitStatus) -> Ending {
    if let Some(code) = status.code() {
        return Ending::Code(code);
    }
    let number = status.signal().unwrap_or(0);
    Ending::Signal(number, Signal::try_from(number).map_or("unknown signal", Signal::as_str))
}

/// Search path that commands get, and in which interpreters are found.
#[must_use]
pub fn search_path() -> &'static str {
    PATH
}

/// A command in a process group of its own.
#[must_use]
pub fn group_command(program: &OsStr) -> Command {
    let mut command = Command::new(program);
    command.process_group(0);
    command
}

/// A command that starts through the agent's own helper, which prepares the
/// process (session, terminal, user, folder) and then becomes the program.
#[must_use]
pub fn helper_command(helper: &Path, new_session: bool) -> Command {
    let mut command = Command::new(helper);
    command.arg("internal").arg("exec");
    if !new_session {
        command.process_group(0);
    }
    command
}

/// This very program, also after its file was replaced by an update.
#[must_use]
pub fn agent_program() -> PathBuf {
    PathBuf::from("/proc/self/exe")
}

/// Sends a blow to a whole process group. Whether anybody was there.
pub fn signal_group(leader: u32, blow: Blow) -> bool {
    let Ok(pid) = i32::try_from(leader) else { return false };
    // Group 0 and 1 would mean the agent's own and the whole system.
    pid > 1 && killpg(Pid::from_raw(pid), blow.signal()) != Err(Errno::ESRCH)
}

/// Sends a blow to every process that carries the mark of a command, also to
/// those that left its process group. Returns how many there were.
pub fn kill_marked(mark: &str, blow: Blow) -> usize {
    let needle = format!("{MARK}={mark}");
    let own = std::process::id();
    let Ok(processes) = fs::read_dir("/proc") else { return 0 };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok())
        .filter(|pid| *pid != own && *pid > 1)
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|env| env.split(|b| *b == 0).any(|v| v == needle.as_bytes()))
        })
        .filter_map(|pid| i32::try_from(pid).ok())
        .filter(|pid| kill(Pid::from_raw(*pid), blow.signal()).is_ok())
        .count()
}

/// Looks for survivors this often.
const SWEEPS: usize = 16;

/// Ends every process that carries the mark of a command. One that forks while
/// the others are being ended leaves a child that the same look cannot see, so
/// it looks again until nobody is left. Returns how many were ended.
pub fn end_marked(mark: &str) -> usize {
    let rounds = std::iter::repeat_with(|| kill_marked(mark, Blow::Kill)).take(SWEEPS);
    rounds.take_while(|found| *found > 0).sum()
}

/// Completes when the service manager or a person asks the agent to end.
///
/// # Errors
/// What the system answers.
pub async fn terminate_signal() -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut term = signal(SignalKind::terminate())?;
    let mut int = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = term.recv() => Ok("SIGTERM"),
        _ = int.recv() => Ok("SIGINT"),
    }
}
