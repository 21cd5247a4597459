//! The new process's way to the program: who it becomes, what it waits for, and what
//! it says where it does not get there.

use crate::platform::{
    Account,
    linux::{helper, machine, process},
};
use nix::{
    errno::Errno,
    sys::{
        prctl,
        signal::{SigSet, Signal},
    },
    unistd::{Gid, Pid, Uid},
};
use std::{
    convert::Infallible,
    fs::OpenOptions,
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

/// Who a process becomes: user, group, and all groups.
pub(super) type Becomes = Option<(Uid, Gid, Vec<Gid>)>;

/// All that the new process needs, looked up before it is made.
pub(super) struct Start {
    /// Who makes it.
    pub(super) keeper: Pid,
    pub(super) becomes: Becomes,
    pub(super) terminal: Option<PathBuf>,
    pub(super) folder: PathBuf,
    pub(super) program: Command,
}

/// The user of an order, and what a process must become for it.
pub(super) fn who(user: Option<&str>, own: Account) -> Result<(Account, Becomes), String> {
    let Some(name) = user else { return Ok((own, None)) };
    let account =
        machine::account(name).ok_or_else(|| format!("This computer has no user named {name}."))?;
    if account.id.uid == own.id.uid {
        return Ok((account, None));
    }
    if !machine::is_administrator() {
        return Err(format!(
            "The agent does not run as root, so it cannot run anything as {}.",
            account.name
        ));
    }
    let (uid, gid) = (Uid::from_raw(account.id.uid), Gid::from_raw(account.id.gid));
    let groups = machine::groups(&account)
        .ok_or_else(|| format!("The groups of {name} could not be found."))?;
    Ok((account, Some((uid, gid, groups))))
}

pub(super) fn find(names: &[String]) -> Option<PathBuf> {
    let folders = || process::search_path().split(':').map(Path::new);
    names.iter().find_map(|name| folders().map(|f| f.join(name)).find(|p| p.is_file()))
}

pub(super) fn unstartable(error: &io::Error) -> String {
    format!("The command's process could not be made: {error}.")
}

pub(super) fn give_output_away() {
    if let Ok(nowhere) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(&nowhere);
        let _ = nix::unistd::dup2_stderr(&nowhere);
    }
}

/// What the new process says before it becomes the program: nothing, if all is
/// well, since then the pipe closes by itself.
pub(super) fn read_failure(from: &mut PipeReader) -> Option<String> {
    let mut sentence = String::new();
    drop(from.read_to_string(&mut sentence));
    (!sentence.is_empty()).then_some(sentence)
}

/// Prepares the new process, waits at the gate, and becomes the program. A gate that
/// closes unopened ends it: its keeper is gone or was told to leave it.
pub(super) fn become_program(start: &mut Start, gate: PipeReader, report: PipeWriter) -> ! {
    std::process::exit(match pass(start, gate) {
        Ok(never) => match never {},
        Err(Some(sentence)) => {
            tell(report, &sentence);
            127
        }
        Err(None) => 127,
    })
}

fn tell(mut report: PipeWriter, sentence: &str) {
    // The keeper that is gone needs no answer.
    drop(report.write_all(sentence.as_bytes()));
}

fn pass(start: &mut Start, mut gate: PipeReader) -> Result<Infallible, Option<String>> {
    prepare(start)?;
    if gate.read_exact(&mut [0]).is_err() {
        return Err(None);
    }
    let error = start.program.exec();
    let program = Path::new(start.program.get_program()).display();
    Err(Some(format!("{program} could not be started: {error}.")))
}

pub(super) fn prepare(start: &Start) -> Result<(), String> {
    let failed = |e: Errno| format!("The command's process could not be prepared: {e}.");
    // What the keeper holds back for itself, a program would hold back for good: a
    // shell that waits for its children would never hear of their end.
    SigSet::empty().thread_set_mask().map_err(failed)?;
    // A session of its own: no terminal of the agent's, no signal meant for it.
    nix::unistd::setsid().map_err(failed)?;
    if let Some(terminal) = &start.terminal {
        let unopened = |e: io::Error| format!("The terminal could not be opened: {e}.");
        let terminal = helper::take_terminal(terminal).map_err(unopened)?;
        nix::unistd::dup2_stdin(&terminal).map_err(failed)?;
        nix::unistd::dup2_stdout(&terminal).map_err(failed)?;
        nix::unistd::dup2_stderr(&terminal).map_err(failed)?;
    }
    if let Some((uid, gid, groups)) = &start.becomes {
        nix::unistd::setgroups(groups).map_err(failed)?;
        nix::unistd::setgid(*gid).map_err(failed)?;
        nix::unistd::setuid(*uid).map_err(failed)?;
    }
    // From here on it may hang with a file system, until long after the agent has said
    // that the command was ended, and would then begin. So it ends with its keeper, and
    // so does the program. (A change of the user takes that back, and is behind it.)
    prctl::set_pdeathsig(Signal::SIGKILL).map_err(failed)?;
    // The keeper that ended before that was said sends nothing.
    if nix::unistd::getppid() != start.keeper {
        return Err("The command was ended before it began.".into());
    }
    nix::unistd::chdir(start.folder.as_path()).map_err(|e| {
        format!("The folder {} could not be entered: {}.", start.folder.display(), e.desc())
    })
}
