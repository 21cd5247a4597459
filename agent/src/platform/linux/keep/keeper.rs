//! The keeper's own process: `unifyit-agent internal keep`. One thread, no
//! runtime: it waits for a word of the agent or the end of a child.

use super::{
    ASK, FORCE, GO, MAX_NAMED, MAX_ORDER, PATIENCE,
    folder::{self, ScriptFolder},
    fork::{Side, fork_into},
    group::{self, Group},
    mark,
    way::{Start, become_program, find, give_output_away, read_failure, unstartable, who},
};
use crate::platform::{
    Account, KeepOrder, Program,
    linux::{machine, process, tree},
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
    unistd::Pid,
};
use std::{
    io::{self, Read, Write},
    os::{
        fd::AsFd,
        unix::{net::UnixStream, process::CommandExt},
    },
    path::PathBuf,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

/// Between two looks for processes that do not end yet.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Waits for an order, and keeps its command to its end and that of the agent's interest.
///
/// # Errors
/// When the agent cannot be heard.
pub fn keep() -> anyhow::Result<()> {
    prctl::set_child_subreaper(true).context("orphans cannot be taken in")?;
    let mut agent = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    // What needs no order is done ahead of it.
    let own = machine::agent_account();
    let signals = SigSet::from_iter([Signal::SIGCHLD]);
    signals.thread_block()?;
    let ends = SignalFd::with_flags(&signals, SfdFlags::SFD_CLOEXEC | SfdFlags::SFD_NONBLOCK)?;
    // Without one there is nothing to do: the agent ends, or thought better of it.
    let Some(order) = read_order(&mut agent)? else { return Ok(()) };
    mark::bear(&order.command);
    let (command, group) = (order.command.clone(), Group::create(&order.command));
    let mut keeper = Keeper { command, agent, ends, group, folder: None, went: false };
    let stays = order.terminal.is_some();
    match keeper.start(order, own) {
        Ok(main) => {
            keeper.say("started");
            keeper.attend(main, stays)?;
        }
        Err(Not::Able(sentence)) => keeper.say(&format!("failed {sentence}")),
        // All that bears the mark of the command may be another keeper's, of its next try.
        Err(Not::Wanted) => drop(keeper.end_all(Keeper::own)),
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
    /// The agent said that the command may begin.
    went: bool,
}

/// Why a command did not begin.
enum Not {
    /// It cannot, for the reason that this sentence gives.
    Able(String),
    /// The agent is gone, or leaves it.
    Wanted,
}

impl From<String> for Not {
    fn from(sentence: String) -> Self {
        Self::Able(sentence)
    }
}

impl Keeper {
    fn say(&mut self, word: &str) {
        let line = word.replace('\n', " ") + "\n";
        // The agent that is gone needs no answer.
        drop(self.agent.write_all(line.as_bytes()));
    }

    /// Waits for the agent's word that the command may begin (G3).
    fn wait_to_go(&mut self) -> Result<(), Not> {
        let mut word = [0; 1];
        if !self.went && (self.agent.read_exact(&mut word).is_err() || word[0] != GO) {
            return Err(Not::Wanted);
        }
        self.went = true;
        Ok(())
    }

    /// Makes the command's process, and lets it begin when the agent says so.
    fn start(&mut self, order: KeepOrder, own: Account) -> Result<Pid, Not> {
        let (account, becomes) = who(order.user.as_deref(), own)?;
        let other = becomes.is_some().then_some(&account);
        if other.is_some() {
            // What lies outside of the agent's own folder is found by the intent alone,
            // should the computer go down.
            self.wait_to_go()?;
        }
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
            return Err(format!("The folder {} does not exist.", folder.display()).into());
        }
        let mut start = Start {
            keeper: nix::unistd::getpid(),
            becomes,
            terminal: order.terminal,
            folder,
            program,
        };
        let (mut failed, report) = io::pipe().map_err(|e| unstartable(&e))?;
        let (gate, mut open) = io::pipe().map_err(|e| unstartable(&e))?;
        match fork_into(self.group.as_ref().map(Group::fd)).map_err(|e| unstartable(&e))? {
            Side::Child => {
                drop(open);
                become_program(&mut start, gate, report)
            }
            Side::Parent(main) => {
                drop((gate, report));
                // Its output is the program's alone.
                give_output_away();
                self.wait_to_go()?;
                // One that ended before says why, or that it did.
                drop(open.write_all(&[GO]));
                match read_failure(&mut failed) {
                    None => Ok(main),
                    Some(sentence) => Err(sentence.into()),
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
                    Self::send(&self.processes(), Signal::SIGTERM);
                }
                Ok(1) if word[0] == FORCE => {
                    let left = self.end_all(Self::processes);
                    self.say(&format!("left {}", left.join(", ")));
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                // The agent is gone, or makes no sense.
                _ => {
                    self.end_all(Self::processes);
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
        self.find(process::marked(&self.command))
    }

    /// Every process below this keeper and in its group that has not ended.
    fn own(&self) -> Vec<tree::Process> {
        self.find(Vec::new())
    }

    fn find(&self, mut others: Vec<i32>) -> Vec<tree::Process> {
        let own = i32::try_from(std::process::id()).unwrap_or_default();
        let all = tree::look();
        let mut found = tree::below(own, &all);
        others.extend(self.group.as_ref().map(Group::members).unwrap_or_default());
        found.extend(all.into_iter().filter(|p| others.contains(&p.pid) && p.pid != own));
        found.retain(|p| !p.ended);
        found.sort_by_key(|p| p.pid);
        found.dedup_by_key(|p| p.pid);
        found
    }

    fn send(processes: &[tree::Process], signal: Signal) {
        for process in processes {
            let _ = kill(Pid::from_raw(process.pid), signal);
        }
    }

    /// Ends everything that `of` finds. Names what does not end.
    fn end_all(&self, of: fn(&Self) -> Vec<tree::Process>) -> Vec<String> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(group) = &self.group {
                group.kill();
            }
            // Stopped first, so that what is about to fork does not.
            Self::send(&of(self), Signal::SIGSTOP);
            Self::send(&of(self), Signal::SIGKILL);
            while matches!(waitpid(None, Some(WaitPidFlag::WNOHANG)), Ok(s) if s != WaitStatus::StillAlive)
            {
            }
            let left = of(self);
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
