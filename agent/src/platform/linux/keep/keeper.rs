//! The keeper's own process: `unifyit-agent internal keep`. One thread, no
//! runtime: it waits for a word of the agent or the end of a child.

use super::{
    ASK, FORCE, MAX_NAMED, MAX_ORDER, PATIENCE,
    folder::{self, ScriptFolder},
    fork::{Side, fork_into},
    group::{self, Group},
};
use crate::platform::{
    Account, KeepOrder, Program,
    linux::{helper, machine, process, tree},
};
use anyhow::Context;
use nix::{
    errno::Errno,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::{
        prctl,
        signal::{SigSet, Signal, kill},
        signalfd::{SfdFlags, SignalFd},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{Gid, Pid, Uid},
};
use std::{
    fs::OpenOptions,
    io::{self, PipeReader, PipeWriter, Read, Write},
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Between two looks for processes that do not end yet.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Keeps one command, to its end and that of the agent's interest.
///
/// # Errors
/// When the agent cannot be heard.
pub fn keep(command: &str) -> anyhow::Result<()> {
    prctl::set_child_subreaper(true).context("orphans cannot be taken in")?;
    let mut agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // The order comes when the command's intent is on disk. What needs none is done
    // meanwhile.
    let (group, own) = (Group::create(command), machine::agent_account());
    let order = match read_order(&mut agent) {
        Ok(Some(order)) => order,
        // Without one there is nothing to do: the agent thought better of it.
        none => {
            if let Some(group) = group {
                group.remove();
            }
            return none.map(drop);
        }
    };
    let signals = SigSet::from_iter([Signal::SIGCHLD]);
    signals.thread_block()?;
    let ends = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    let mut keeper = Keeper { command: command.to_owned(), agent, ends, group, folder: None };
    let stays = order.terminal.is_some();
    match keeper.start(order, own) {
        Ok(main) => {
            keeper.say("started");
            keeper.attend(main, stays)?;
        }
        Err(sentence) => keeper.say(&format!("failed {sentence}")),
    }
    if let Some(folder) = &keeper.folder {
        folder.remove();
    }
    if let Some(group) = keeper.group {
        group.remove();
    }
    group::remove_empty();
    Ok(())
}

fn read_order(agent: &mut UnixStream) -> anyhow::Result<Option<KeepOrder>> {
    let mut length = [0; 4];
    match agent.read_exact(&mut length) {
        Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = usize::try_from(u32::from_be_bytes(length))?;
    anyhow::ensure!(length <= MAX_ORDER, "the order is too long");
    let mut bytes = vec![0; length];
    agent.read_exact(&mut bytes)?;
    Ok(Some(unifyit_protocol::codec::decode_within(&bytes, MAX_ORDER)?))
}

struct Keeper {
    command: String,
    agent: UnixStream,
    ends: SignalFd,
    group: Option<Group>,
    folder: Option<ScriptFolder>,
}

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

impl Keeper {
    fn say(&mut self, word: &str) {
        let line = word.replace('\n', " ") + "\n";
        // The agent that is gone needs no answer.
        drop(self.agent.write_all(line.as_bytes()));
    }

    /// Starts the command. Returns its process, or a sentence.
    fn start(&mut self, order: KeepOrder, own: Account) -> Result<Pid, String> {
        let (account, becomes) = who(order.user.as_deref(), own)?;
        let other = becomes.is_some().then_some(&account);
        let (mut program, home) = match order.program {
            Program::Script { interpreters, before, suffix, body, work } => {
                let found = find(&interpreters).ok_or_else(|| {
                    let name = interpreters.first().map_or("interpreter", String::as_str);
                    format!("This computer has no {name}; install it or use another interpreter.")
                })?;
                let made =
                    ScriptFolder::create(&work, &self.command, &suffix, body.as_bytes(), other)
                        .map_err(|e| {
                            format!("The script's private folder could not be made: {e}.")
                        })?;
                let made = self.folder.insert(made);
                let mut program = Command::new(found);
                program.args(before).arg(&made.script).stdin(Stdio::null());
                (program, made.work.clone())
            }
            Program::Shell { path, name } => {
                let mut program = Command::new(path);
                program.arg0(name);
                (program, account.home.clone())
            }
        };
        program.args(order.args).env_clear();
        program.envs(process::environment(&account, &self.command));
        program.envs(order.env);
        // Last, so that no variable of the script can hide its processes.
        program.env(process::MARK, &self.command);
        let folder = order.folder.map_or(home, PathBuf::from);
        if becomes.is_none() && !folder.is_dir() {
            return Err(format!("The folder {} does not exist.", folder.display()));
        }
        let mut start = Start {
            keeper: nix::unistd::getpid(),
            becomes,
            terminal: order.terminal,
            folder,
            program,
        };
        let (mut failed, report) = io::pipe().map_err(|e| unstartable(&e))?;
        match fork_into(self.group.as_ref().map(Group::fd)).map_err(|e| unstartable(&e))? {
            Side::Child => become_program(&mut start, report),
            Side::Parent(main) => {
                drop(report);
                // Its output is the program's alone.
                give_output_away();
                match read_failure(&mut failed) {
                    None => Ok(main),
                    Some(sentence) => Err(sentence),
                }
            }
        }
    }

    /// Waits for the end, of the command or by the agent's word. A keeper that
    /// `stays` waits for the word after the end of the command, too.
    fn attend(&mut self, main: Pid, mut stays: bool) -> anyhow::Result<()> {
        loop {
            if let Some(word) = self.reap(main) {
                self.say(&word);
                if !stays {
                    // What it left behind, it left behind on purpose.
                    return Ok(());
                }
            }
            let mut wait = [
                PollFd::new(self.agent.as_fd(), PollFlags::POLLIN),
                PollFd::new(self.ends.as_fd(), PollFlags::POLLIN),
            ];
            match poll(&mut wait, PollTimeout::NONE) {
                Err(Errno::EINTR) | Ok(_) => {}
                Err(error) => return Err(error.into()),
            }
            let heard = wait[0].any() == Some(true);
            while let Ok(Some(_)) = self.ends.read_signal() {}
            if !heard {
                continue;
            }
            let mut word = [0; 1];
            match self.agent.read(&mut word) {
                Ok(1) if word[0] == ASK => {
                    stays = true;
                    self.send(Signal::SIGTERM);
                }
                Ok(1) if word[0] == FORCE => {
                    let left = self.end_all();
                    self.say(&format!("left {}", left.join(", ")));
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The agent is gone, or makes no sense.
                _ => {
                    self.end_all();
                    folder::remove_left(&self.command);
                    return Ok(());
                }
            }
        }
    }

    /// Takes in what has ended. Says how the command did, if it was among it.
    fn reap(&self, main: Pid) -> Option<String> {
        let mut word = None;
        loop {
            match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == main => {
                    word = Some(format!("code {code}"));
                }
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == main => {
                    word = Some(format!("signal {}", signal as i32));
                }
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return word,
                Err(Errno::EINVAL) => {
                    // Ended by a signal that has no name, whichever it was.
                    if kill(main, None).is_err() {
                        word = Some("signal 0".into());
                    }
                }
                Ok(_) | Err(_) => {}
            }
        }
    }

    /// Every process of the command that has not ended.
    fn processes(&self) -> Vec<tree::Process> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let all = tree::look();
        let mut found = tree::below(own, &all);
        let mut others = process::marked(&self.command);
        others.extend(self.group.as_ref().map(Group::members).unwrap_or_default());
        found.extend(all.into_iter().filter(|p| others.contains(&p.pid) && p.pid != own));
        found.retain(|p| !p.ended);
        found.sort_by_key(|p| p.pid);
        found.dedup_by_key(|p| p.pid);
        found
    }

    fn send(&self, signal: Signal) {
        for process in self.processes() {
            let _ = kill(Pid::from_raw(process.pid), signal);
        }
    }

    /// Ends everything. Names what does not end.
    fn end_all(&self) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(group) = &self.group {
                group.kill();
            }
            // Stopped first, so that what is about to fork does not.
            self.send(Signal::SIGSTOP);
            self.send(Signal::SIGKILL);
            while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(s) if s != WaitStatus::StillAlive)
            {
            }
            let left = self.processes();
            if left.is_empty() {
                return Vec::new();
            }
            if Instant::now() >= until {
                return left.iter().take(MAX_NAMED).map(tree::Process::named).collect();
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

/// The user of an order, and what a process must become for it.
fn who(user: Option<&str>, own: Account) -> Result<(Account, Becomes), String> {
    let Some(name) = user else { return Ok((own, None)) };
    let account =
        machine::account(name).ok_or_else(|| format!("This computer has no user named {name}."))?;
    if account.uid == own.uid {
        return Ok((account, None));
    }
    if !machine::is_administrator() {
        return Err(format!(
            "The agent does not run as root, so it cannot run anything as {}.",
            account.name
        ));
    }
    let (uid, gid) = (Uid::from_raw(account.uid), Gid::from_raw(account.gid));
    let groups = machine::groups(&account)
        .ok_or_else(|| format!("The groups of {name} could not be found."))?;
    Ok((account, Some((uid, gid, groups))))
}

fn find(names: &[String]) -> Option<PathBuf> {
    let folders = || process::search_path().split(':').map(Path::new);
    names.iter().find_map(|name| folders().map(|f| f.join(name)).find(|p| p.is_file()))
}

fn unstartable(error: &io::Error) -> String {
    format!("The command's process could not be made: {error}.")
}

fn give_output_away() {
    if let Ok(nowhere) = OpenOptions::new().write(true).open("/dev/null") {
        let _ = nix::unistd::dup2_stdout(&nowhere);
        let _ = nix::unistd::dup2_stderr(&nowhere);
    }
}

/// What the new process says before it becomes the program: nothing, if all is
/// well, since then the pipe closes by itself.
fn read_failure(from: &mut PipeReader) -> Option<String> {
    let mut sentence = String::new();
    drop(from.read_to_string(&mut sentence));
    (!sentence.is_empty()).then_some(sentence)
}

/// The new process's way to the program.
fn become_program(start: &mut Start, mut report: PipeWriter) -> ! {
    let sentence = match prepare(start) {
        Ok(()) => {
            let error = start.program.exec();
            let program = Path::new(start.program.get_program()).display();
            format!("{program} could not be started: {error}.")
        }
        Err(sentence) => sentence,
    };
    drop(report.write_all(sentence.as_bytes()));
    std::process::exit(127)
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
