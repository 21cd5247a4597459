//! The agent's side of a keeper.

use super::{ASK, FORCE, GO, MAX_NAMED, PATIENCE, folder, group::Group};
use crate::platform::{
    Ending, KeepOrder, KeepWord,
    linux::{process, tree},
};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines},
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    process::{Child, ChildStderr, ChildStdout, Command},
    time::timeout,
};

/// How long a keeper may take to clear up once the command is at its end.
const CLEAR_UP: Duration = Duration::from_secs(5);

/// A keeper that was started. When this is dropped, the keeper ends its command.
#[derive(Debug)]
pub struct Kept {
    child: Child,
    orders: OwnedWriteHalf,
    words: Lines<BufReader<OwnedReadHalf>>,
    /// What the command prints.
    pub stdout: Option<ChildStdout>,
    /// What it prints as errors.
    pub stderr: Option<ChildStderr>,
}

impl Kept {
    /// Starts a keeper, which waits for its order.
    ///
    /// # Errors
    /// What the system answers.
    pub fn start(helper: &Path) -> io::Result<Self> {
        let (ours, theirs) = std::os::unix::net::UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let mut keeper = Command::new(helper);
        keeper.args(["internal", "keep"]).process_group(0);
        keeper.env(process::MARK, process::UNMARKED);
        keeper.stdin(Stdio::from(OwnedFd::from(theirs)));
        keeper.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = keeper.spawn()?;
        let (words, orders) = UnixStream::from_std(ours)?.into_split();
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        Ok(Self { child, orders, words: BufReader::new(words).lines(), stdout, stderr })
    }

    #[cfg(test)]
    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Whether it still waits.
    pub(super) fn is_there(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Gives the order. What it names is made ready, and begins with [`Self::go`].
    ///
    /// # Errors
    /// What the system answers.
    pub async fn prepare(&mut self, order: &KeepOrder) -> io::Result<()> {
        self.orders.write_all(&on_the_wire(order)?).await
    }

    /// Lets begin what was ordered.
    ///
    /// # Errors
    /// What the system answers.
    pub async fn go(&mut self) -> io::Result<()> {
        self.orders.write_all(&[GO]).await
    }

    /// Gives the order for something that may begin at once.
    ///
    /// # Errors
    /// What the system answers.
    pub async fn order(&mut self, order: &KeepOrder) -> io::Result<()> {
        let mut bytes = on_the_wire(order)?;
        bytes.push(GO);
        self.orders.write_all(&bytes).await
    }

    /// Asks every process of the command to end.
    pub async fn ask(&mut self) {
        // A keeper that is gone shows by its last word.
        drop(self.orders.write_all(&[ASK]).await);
    }

    /// Ends every process of the command by force; the keeper then says
    /// [`KeepWord::Left`].
    pub async fn force(&mut self) {
        drop(self.orders.write_all(&[FORCE]).await);
    }

    /// The keeper's next word. Cancel-safe.
    pub async fn word(&mut self) -> KeepWord {
        match self.words.next_line().await {
            Ok(Some(line)) => read_word(&line),
            Ok(None) | Err(_) => KeepWord::Lost,
        }
    }

    /// Waits until the command runs; a sentence if it cannot.
    pub async fn started(&mut self) -> Option<String> {
        match self.word().await {
            KeepWord::Started => None,
            KeepWord::Failed(sentence) => Some(sentence),
            _ => Some("The shell ended as soon as it was started.".into()),
        }
    }

    /// Leaves what was ordered, which did not begin, and waits until the keeper has
    /// cleared up: it would be in the way of another one for the same command. Whether
    /// it has; see [`Self::close`].
    pub async fn leave(self) -> bool {
        let Self { child, orders, words, stdout, stderr } = self;
        drop((orders, words, stdout, stderr));
        wait(child).await
    }

    /// Waits until the keeper has cleared up. One that does not, because what it
    /// waits for hangs, is ended by force; then this is false, and what the command
    /// left is for [`end_left`].
    pub async fn close(self) -> bool {
        wait(self.child).await
    }
}

async fn wait(mut child: Child) -> bool {
    let ended = timeout(CLEAR_UP, child.wait()).await.is_ok();
    if !ended {
        tracing::warn!("a keeper does not end; it is ended by force");
        drop(child.start_kill());
    }
    ended
}

/// In one piece, so that the keeper wakes once.
fn on_the_wire(order: &KeepOrder) -> io::Result<Vec<u8>> {
    let bytes = unifyit_protocol::codec::encode(order).map_err(io::Error::other)?;
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok([&length.to_be_bytes(), bytes.as_slice()].concat())
}

fn read_word(line: &str) -> KeepWord {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "started" => KeepWord::Started,
        "failed" => KeepWord::Failed(rest.to_owned()),
        "code" => KeepWord::Ended(Ending::Code(rest.parse().unwrap_or(-1))),
        "signal" => {
            let number = rest.parse().unwrap_or(0);
            let name = Signal::try_from(number).map_or("unknown signal", Signal::as_str);
            KeepWord::Ended(Ending::Signal(number, name))
        }
        "left" => KeepWord::Left(rest.to_owned()),
        _ => KeepWord::Lost,
    }
}

/// Ends what a command left that has no keeper any more. Returns how many
/// processes there were, and names those that could not be ended. May take
/// seconds, and hang with the system: not for the agent's one thread.
#[must_use]
pub fn end_left(command: &str) -> (usize, String) {
    let until = Instant::now() + PATIENCE;
    let own = i32::try_from(std::process::id()).unwrap_or_default();
    // A script that restarted the agent by hand has this very process in its group.
    let group = Group::find(command).filter(|group| !group.members().contains(&own));
    let mut count = 0;
    let left = loop {
        let all = tree::look();
        let mut found = process::marked(command);
        found.extend(group.as_ref().map(Group::members).unwrap_or_default());
        // A keeper that still lives bears the mark, so its command is below.
        let below: Vec<i32> =
            found.iter().flat_map(|pid| tree::below(*pid, &all)).map(|p| p.pid).collect();
        found.extend(below);
        found.retain(|pid| *pid != own);
        let left: Vec<_> = all.iter().filter(|p| found.contains(&p.pid) && !p.ended).collect();
        count = count.max(left.len());
        if left.is_empty() {
            break String::new();
        }
        if Instant::now() >= until {
            let names: Vec<_> = left.iter().take(MAX_NAMED).map(|p| p.named()).collect();
            break names.join(", ");
        }
        if let Some(group) = &group {
            group.kill();
        }
        for blow in [Signal::SIGSTOP, Signal::SIGKILL] {
            for process in &left {
                let _ = kill(Pid::from_raw(process.pid), blow);
            }
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    if let Some(group) = group {
        group.remove();
    }
    folder::remove_left(command);
    (count, left)
}

/// Ends a process and all below it. Those that it took in are below it, too.
pub fn end_tree(root: u32) {
    let Ok(root) = i32::try_from(root) else { return };
    for _ in 0..8 {
        let mut all = tree::below(root, &tree::look());
        all.retain(|p| !p.ended);
        if all.is_empty() {
            break;
        }
        for process in all {
            let _ = kill(Pid::from_raw(process.pid), Signal::SIGKILL);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = kill(Pid::from_raw(root), Signal::SIGKILL);
}
