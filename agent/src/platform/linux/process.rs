//! Child processes: what they are given, how they end, and how they are found
//! again.
//!
//! The mark ([`MARK`]`=<command id>`) in the environment makes a leftover
//! identifiable where there are no control groups: a process group id may have
//! been given to somebody else since, the environment of a process is its own
//! until it executes something without it.

use super::tree;
use crate::platform::{Account, Blow};
use nix::{
    errno::Errno,
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};
use tokio::process::Command;

/// Environment variable that carries the command id.
pub const MARK: &str = "UNIFYIT_COMMAND";
/// As long as a command id, and none.
pub(super) const UNMARKED: &str = "00000000-0000-0000-0000-000000000000";
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/snap/bin";

impl Blow {
    fn signal(self) -> Signal {
        match self {
            Self::HangUp => Signal::SIGHUP,
            Self::Kill => Signal::SIGKILL,
        }
    }
}

/// Search path that commands get, and in which interpreters are found.
#[must_use]
pub fn search_path() -> &'static str {
    PATH
}

/// A command that starts through the agent's own helper, which prepares the
/// process (session, terminal, user, folder) and then becomes the program.
#[must_use]
pub fn helper_command(helper: &Path) -> Command {
    let mut command = Command::new(helper);
    command.arg("internal").arg("exec");
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

/// This moment, as processes count it: ticks since the system's start.
#[must_use]
pub fn moment() -> u64 {
    /// Of the kernel's words to programs, whatever its own clock does.
    const TICKS: f64 = 100.0;
    let text = fs::read_to_string("/proc/uptime").unwrap_or_default();
    let seconds = text.split_ascii_whitespace().next().and_then(|t| t.parse::<f64>().ok());
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "saturates")]
    let ticks = (seconds.unwrap_or(f64::MAX) * TICKS) as u64;
    ticks
}

/// Hangs up on the processes of a session that began within a second before a
/// [`moment`] or later. Those that were there longer heard of its end, or were
/// told not to listen.
pub fn hang_up_young(session: u32, moment: u64) {
    const SECOND: u64 = 100;
    let Ok(session) = i32::try_from(session) else { return };
    if session <= 1 {
        return;
    }
    for process in tree::look() {
        if process.session == session && process.began.saturating_add(SECOND) >= moment {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGHUP);
        }
    }
}

/// Processes that carry the mark of a command, but this one.
pub(super) fn marked(mark: &str) -> Vec<i32> {
    let needle = format!("{MARK}={mark}");
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    let Ok(processes) = fs::read_dir("/proc") else { return Vec::new() };
    processes
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok())
        .filter(|pid| *pid != own && *pid > 1)
        .filter(|pid| {
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|env| env.split(|b| *b == 0).any(|v| v == needle.as_bytes()))
        })
        .collect()
}

/// Ends the processes that carry the mark of a command. Returns how many there
/// were.
pub fn kill_marked(mark: &str) -> usize {
    let found = marked(mark);
    found.iter().filter(|pid| kill(Pid::from_raw(**pid), Signal::SIGKILL).is_ok()).count()
}

/// The minimal environment of everything that the agent starts.
#[must_use]
pub fn environment(account: &Account, command: &str) -> Vec<(OsString, OsString)> {
    // A service has no language. Text is UTF-8 then and all else as in C, which is
    // what C.UTF-8 says too, but in a dozen files that every program would open.
    let language = std::env::var("LANG").map_or(("LC_CTYPE", "C.UTF-8".into()), |l| ("LANG", l));
    vec![
        ("PATH".into(), PATH.into()),
        ("HOME".into(), account.home.clone().into()),
        ("USER".into(), account.name.clone().into()),
        ("LOGNAME".into(), account.name.clone().into()),
        ("SHELL".into(), account.shell.clone().into()),
        (language.0.into(), language.1.into()),
        (MARK.into(), command.into()),
    ]
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
