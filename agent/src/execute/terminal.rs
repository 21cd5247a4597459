//! Terminals: a login shell on a real pseudo-terminal, its bytes as live frames.
//!
//! Output flows under the viewer's credit, so that a flood in the terminal
//! neither piles up in memory nor delays anything else. A frame goes up as soon
//! as bytes are there: an echo waits for nothing. A terminal ends with its
//! shell, with its viewer, or when the link is away for a minute.

use super::{
    Context,
    shell::{LOOK_UP, Login, TERMINAL_ENV, kept_shell, login_shell},
};
use crate::{
    apart::within,
    platform::{self, Blow, KeepWord, Kept, Pty},
};
use std::{
    collections::{HashMap, VecDeque},
    process::Stdio,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::{
    process::Child,
    sync::mpsc,
    time::{sleep, timeout},
};
use unifyit_protocol::{
    command::{self, Action, Terminal},
    ids::{CommandId, TunnelId},
    live::{LiveDown, LiveUp, MAX_LIVE, TERMINAL_WINDOW, TunnelClosed, TunnelCredit, TunnelData},
    signing::Signed,
};

/// How long a terminal outlives its link.
const LINK_PATIENCE: Duration = Duration::from_secs(60);
/// From hanging up to ending by force.
const GRACE: Duration = Duration::from_secs(2);
/// Keystrokes that wait for the terminal to take them.
const MAX_TYPED: usize = 256 * 1024;
/// Frames that wait for the terminal's task.
const MAX_FRAMES: usize = 256;
/// Keystrokes taken before the viewer is told.
const CREDIT_STEP: u32 = 16 * 1024;
const READ_BYTES: usize = 16 * 1024;

/// Terminals announced and not yet opened.
const MAX_EXPECTED: usize = 16;
/// Tunnels whose viewer left before they were opened, remembered.
const MAX_LEFT: usize = 64;

/// A terminal's inbox. Its receiving end is parked here from the arrival of the
/// command until the shell runs, so that keystrokes right behind it find it.
struct Slot {
    inbox: mpsc::Sender<LiveDown>,
    parked: Option<mpsc::Receiver<LiveDown>>,
}

type Slots = HashMap<TunnelId, Slot>;
type Open = Arc<Mutex<Slots>>;

/// All open terminals.
#[derive(Clone)]
pub struct Terminals {
    context: Context,
    open: Open,
    /// Whose viewer is gone: what opens them is late, and nobody would look.
    left: Arc<Mutex<VecDeque<TunnelId>>>,
    max: usize,
    end_all: bool,
}

fn lock(open: &Open) -> MutexGuard<'_, Slots> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Terminals {
    /// No terminal yet, and never more than `max`.
    #[must_use]
    pub fn new(context: Context, max: usize) -> Self {
        Self { context, open: Open::default(), left: Arc::default(), max, end_all: false }
    }

    /// Whether the end of a terminal also ends what was detached from it on purpose.
    #[must_use]
    pub fn ending_all(self, end_all: bool) -> Self {
        Self { end_all, ..self }
    }

    /// Hands a live frame to its terminal. A terminal that cannot keep up with
    /// its keystrokes is closed: dropping some would be worse.
    pub fn take(&self, message: LiveDown) {
        let tunnel = match &message {
            LiveDown::Data(data) => data.tunnel,
            LiveDown::Close(closed) => closed.tunnel,
            LiveDown::Resize(resize) => resize.tunnel,
            LiveDown::Credit(credit) => credit.tunnel,
        };
        let Some(inbox) = lock(&self.open).get(&tunnel).map(|s| s.inbox.clone()) else {
            if matches!(message, LiveDown::Close(_)) {
                self.leave(tunnel);
            } else {
                let reason = "The terminal is no longer open.".into();
                self.context.live.offer(TunnelClosed { tunnel, reason });
            }
            return;
        };
        if matches!(message, LiveDown::Close(_)) {
            self.leave(tunnel);
        }
        if inbox.try_send(message).is_err() {
            lock(&self.open).remove(&tunnel);
        }
    }

    /// Remembers that a viewer is gone.
    fn leave(&self, tunnel: TunnelId) {
        let mut left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        left.retain(|other| *other != tunnel);
        if left.len() >= MAX_LEFT {
            left.pop_front();
        }
        left.push_back(tunnel);
    }

    /// Prepares an inbox if a command, not yet judged, is for a terminal.
    pub fn expect(&self, signed: &Signed<command::Command>) {
        let Some(tunnel) = signed.peek().ok().and_then(|c| tunnel_of(&c)) else { return };
        let mut open = lock(&self.open);
        let expected = open.values().filter(|s| s.parked.is_some()).count();
        if expected < MAX_EXPECTED && !open.contains_key(&tunnel) {
            let (inbox, parked) = mpsc::channel(MAX_FRAMES);
            open.insert(tunnel, Slot { inbox, parked: Some(parked) });
        }
    }

    /// Forgets the inbox of a command that could not be taken.
    pub fn give_up(&self, signed: &Signed<command::Command>) {
        self.settle(signed.peek().ok().and_then(|c| tunnel_of(&c)));
    }

    /// Forgets an inbox whose terminal was not opened.
    pub fn settle(&self, tunnel: Option<TunnelId>) {
        let Some(tunnel) = tunnel else { return };
        let mut open = lock(&self.open);
        if open.get(&tunnel).is_some_and(|s| s.parked.is_some()) {
            open.remove(&tunnel);
        }
    }

    /// Opens a terminal.
    ///
    /// # Errors
    /// Why not, in a sentence for the technician.
    pub fn open(&self, command: CommandId, order: &Terminal) -> Result<(), String> {
        let left = self.left.lock().unwrap_or_else(PoisonError::into_inner);
        if left.contains(&order.tunnel) {
            return Err("The viewer had left before the terminal was opened.".into());
        }
        drop(left);
        let mut open = lock(&self.open);
        let running = open.values().filter(|s| s.parked.is_none()).count();
        if open.get(&order.tunnel).is_some_and(|s| s.parked.is_none()) {
            return Err("The terminal is open already.".into());
        }
        if running >= self.max {
            return Err(format!(
                "This computer already has {} terminals open. Close one and try again.",
                self.max
            ));
        }
        let parked = open.get_mut(&order.tunnel).and_then(|s| s.parked.take());
        let inbox = parked.unwrap_or_else(|| {
            let (inbox, receiver) = mpsc::channel(MAX_FRAMES);
            open.insert(order.tunnel, Slot { inbox, parked: None });
            receiver
        });
        drop(open);
        let (context, open, order) = (self.context.clone(), Arc::clone(&self.open), order.clone());
        let end_all = self.end_all;
        tokio::spawn(async move {
            let tunnel = order.tunnel;
            let reason = match Shell::start(&context, command, &order, end_all).await {
                Ok(shell) => shell.serve(&context, tunnel, inbox).await,
                Err(sentence) => sentence,
            };
            lock(&open).remove(&tunnel);
            context.live.offer(TunnelClosed { tunnel, reason });
        });
        Ok(())
    }
}

/// The tunnel of a command for a terminal.
pub(super) fn tunnel_of(command: &command::Command) -> Option<TunnelId> {
    match &command.action {
        Action::Terminal(terminal) => Some(terminal.tunnel),
        _ => None,
    }
}

struct Shell {
    pty: Pty,
    process: Process,
}

/// What the terminal's shell runs as.
enum Process {
    /// The shell itself, which leads a session.
    Shell(Child),
    /// The keeper of the shell, which ends everything with it, and the command.
    Kept(Kept, CommandId),
}

impl Shell {
    async fn start(
        context: &Context,
        command: CommandId,
        order: &Terminal,
        end_all: bool,
    ) -> Result<Self, String> {
        let own = within(LOOK_UP, platform::agent_account)
            .await
            .map_err(|e| format!("The agent's own user could not be looked up: {e}."))?;
        let account = match order.user.clone() {
            Some(name) => {
                let asked = name.clone();
                within(LOOK_UP, move || platform::account(&asked))
                    .await
                    .map_err(|e| format!("The user {name} could not be looked up: {e}."))?
                    .ok_or_else(|| format!("This computer has no user named {name}."))?
            }
            None => own.clone(),
        };
        let switch = !account.id.is_user(own.id);
        if switch && !platform::is_administrator() {
            return Err(format!(
                "The agent does not run as root, so it cannot open a terminal as {}.",
                account.name
            ));
        }
        let login = Login::of(&account).await?;
        let failed = |e: std::io::Error| format!("The terminal could not be opened: {e}.");
        let owner = switch.then_some(&account);
        let (pty, path, stdio) =
            platform::open_pty(order.cols, order.rows, owner).map_err(failed)?;
        if end_all {
            let mut kept = context.keepers.take().map_err(failed)?;
            let shell = kept_shell(command, login, path, order.user.clone());
            kept.order(&shell).await.map_err(failed)?;
            context.keepers.make_ready();
            // The keeper has opened the other side when these close.
            let word = tokio::time::timeout(GRACE, kept.started()).await;
            drop(stdio);
            return match word {
                Ok(Some(sentence)) => Err(sentence),
                _ => Ok(Self { pty, process: Process::Kept(kept, command) }),
            };
        }
        let mut shell = login_shell(context, &account, &login, &path, switch);
        shell.env_clear().envs(platform::environment(&account, &command.to_string()));
        shell.envs(TERMINAL_ENV);
        let [stdin, stdout, stderr]: [Stdio; 3] = stdio;
        shell.stdin(stdin).stdout(stdout).stderr(stderr).kill_on_drop(true);
        let child = shell.spawn().map_err(failed)?;
        // The command still holds the other side; the end of the shell would go
        // unnoticed while it does.
        drop(shell);
        Ok(Self { pty, process: Process::Shell(child) })
    }

    /// Serves until the end and says why it ended.
    async fn serve(
        self,
        context: &Context,
        tunnel: TunnelId,
        mut inbox: mpsc::Receiver<LiveDown>,
    ) -> String {
        let live = &context.live;
        let mut buffer = vec![0; READ_BYTES.min(MAX_LIVE)];
        let mut typed: VecDeque<u8> = VecDeque::new();
        let (mut credit, mut taken, mut seq) = (TERMINAL_WINDOW, 0u32, 0u64);
        let mut waiting: Option<LiveUp> = None;
        let reason = loop {
            let room = buffer.len().min(usize::try_from(credit).unwrap_or(usize::MAX));
            tokio::select! {
                biased;
                message = inbox.recv() => match message {
                    None => break "The viewer sent more than the terminal could take.",
                    Some(LiveDown::Close(_)) => break "The viewer left.",
                    Some(LiveDown::Resize(size)) => {
                        if let Err(error) = self.pty.resize(size.cols, size.rows) {
                            tracing::debug!(%error, "a terminal could not be resized");
                        }
                    }
                    Some(LiveDown::Credit(more)) => {
                        credit = credit.saturating_add(more.bytes).min(TERMINAL_WINDOW);
                    }
                    Some(LiveDown::Data(data)) => {
                        if typed.len() + data.data.len() > MAX_TYPED {
                            break "The viewer sent more than the terminal could take.";
                        }
                        typed.extend(data.data);
                    }
                },
                written = self.pty.write(typed.as_slices().0), if !typed.is_empty() => {
                    let Ok(n) = written else { break "The shell ended." };
                    typed.drain(..n);
                    taken = taken.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
                    if taken >= CREDIT_STEP && live.offer(TunnelCredit { tunnel, bytes: taken }) {
                        taken = 0;
                    }
                }
                () = live.room(), if waiting.is_some() => {
                    if let Some(frame) = waiting.take()
                        && !live.offer(frame.clone())
                    {
                        waiting = Some(frame);
                    }
                }
                read = self.pty.read(&mut buffer[..room]), if waiting.is_none() && room > 0 => {
                    let n = read.unwrap_or(0);
                    if n == 0 {
                        break "The shell ended.";
                    }
                    credit = credit.saturating_sub(u32::try_from(n).unwrap_or(u32::MAX));
                    seq += 1;
                    let frame = TunnelData { tunnel, seq, data: buffer[..n].to_vec() };
                    let frame = LiveUp::Data(frame);
                    if !live.offer(frame.clone()) {
                        waiting = Some(frame);
                    }
                }
                () = lost(context, tunnel) => break "The connection was away for a minute.",
                () = context.stop.cancelled() => break "The agent is being stopped.",
            }
        };
        self.end().await;
        reason.to_owned()
    }

    /// Hangs up, as a broken line does: what was detached on purpose goes on.
    async fn end(self) {
        match self.process {
            Process::Shell(mut child) => {
                let leader = child.id().unwrap_or(0);
                let moment = platform::moment();
                platform::signal_group(leader, Blow::HangUp);
                drop(self.pty);
                if timeout(GRACE, child.wait()).await.is_err() {
                    platform::signal_group(leader, Blow::Kill);
                    drop(child.wait().await);
                }
                // A shell may have been forking just then, and what it forked has
                // heard nothing.
                let _ = within(LOOK_UP, move || platform::hang_up_young(leader, moment)).await;
            }
            Process::Kept(mut kept, command) => {
                drop(self.pty);
                kept.ask().await;
                kept.force().await;
                let word = async {
                    loop {
                        match kept.word().await {
                            KeepWord::Left(names) => return names,
                            KeepWord::Lost => return String::new(),
                            KeepWord::Started | KeepWord::Failed(_) | KeepWord::Ended(_) => {}
                        }
                    }
                };
                match timeout(LOOK_UP, word).await {
                    Ok(left) if left.is_empty() => {}
                    left => tracing::warn!(?left, "a terminal could not be ended as a whole"),
                }
                if !kept.close().await {
                    let name = command.to_string();
                    let _ = within(LOOK_UP, move || platform::end_left(&name)).await;
                }
            }
        }
    }
}

/// Waits until the connection is lost for long. When it is back before, a relay that
/// has ended the terminal meanwhile says so as soon as it is spoken of.
async fn lost(context: &Context, tunnel: TunnelId) {
    loop {
        context.live.link(false).await;
        tokio::select! {
            () = sleep(LINK_PATIENCE) => return,
            () = context.live.link(true) => {}
        }
        context.live.offer(TunnelCredit { tunnel, bytes: 0 });
    }
}
