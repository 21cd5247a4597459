//! What a simulated device does with commands: the real guard's checks (G7),
//! at most once (G3), and an outcome that the script's text can ask for by a
//! line such as `# sim: ms=300 exit=2 bytes=4096 print=hello`.

use super::{enroll::Identity, machine::Rng};
use std::collections::{HashMap, VecDeque};
use unifyit_protocol::{
    command::{Action, Command, MAX_VALIDITY_MS},
    grant::{Scope, Trust, authorize},
    ids::CommandId,
    outcome::{CommandEvent, OutputChunk, Status, Stream},
    signing::Signed,
};

/// Most commands remembered. A repeat of an older one has long expired in any
/// run of the simulator.
const REMEMBERED: usize = 4096;

/// What a script is simulated to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// How long it runs, milliseconds.
    pub runs_ms: u64,
    /// Its exit code.
    pub exit_code: i32,
    /// What it prints.
    pub output: Vec<u8>,
}

impl Plan {
    /// Reads the wishes in a script's text; without any, it takes a moment, says
    /// the host's name and succeeds.
    #[must_use]
    pub fn of(body: &str, hostname: &str, rng: &mut Rng) -> Self {
        let mut plan = Self {
            runs_ms: 50 + rng.below(400),
            exit_code: 0,
            output: format!("{hostname}\n").into_bytes(),
        };
        let Some(line) = body.lines().find_map(|line| line.trim().strip_prefix("# sim:")) else {
            return plan;
        };
        for (key, value) in line.split_whitespace().filter_map(|word| word.split_once('=')) {
            match key {
                "ms" => plan.runs_ms = value.parse().unwrap_or(plan.runs_ms),
                "spread_ms" => plan.runs_ms += rng.below(value.parse().unwrap_or(1)),
                "exit" => plan.exit_code = value.parse().unwrap_or(plan.exit_code),
                // One device in so many fails.
                "fail_one_in" if rng.below(value.parse().unwrap_or(1)) == 0 => plan.exit_code = 1,
                "print" => plan.output = format!("{value}\n").into_bytes(),
                "bytes" => {
                    let length: usize = value.parse().unwrap_or(0);
                    plan.output =
                        b"0123456789abcde\n".iter().copied().cycle().take(length).collect();
                }
                _ => {}
            }
        }
        plan
    }
}

/// What the guard decided about a delivery.
#[derive(Debug)]
pub enum Verdict {
    /// Start it now.
    Run(CommandId, Plan),
    /// Stop another one; this command itself is done.
    Cancel {
        /// The command that asks.
        by: CommandId,
        /// The one to stop.
        target: CommandId,
    },
    /// Open a terminal.
    Terminal(unifyit_protocol::command::Terminal),
    /// Known already: tell again where it stands.
    Known(CommandEvent),
    /// Not for us to do.
    Refused(CommandEvent),
    /// Cannot even be read: nothing to report on.
    Unreadable,
}

/// Decides what may run, and remembers what did.
#[derive(Debug, Default)]
pub struct Guard {
    known: HashMap<CommandId, CommandEvent>,
    order: VecDeque<CommandId>,
}

impl Guard {
    /// Judges a delivered command.
    pub fn judge(
        &mut self,
        signed: &Signed<Command>,
        identity: &Identity,
        now_ms: u64,
        rng: &mut Rng,
    ) -> Verdict {
        let Ok(claimed) = signed.peek() else { return Verdict::Unreadable };
        if let Some(event) = self.known.get(&claimed.id) {
            return Verdict::Known(event.clone());
        }
        let scope = match claimed.action {
            Action::Terminal(_) => Scope::Terminal,
            _ => Scope::Execute,
        };
        let trust = Trust {
            authority: &identity.authority,
            organization: identity.organization,
            site: identity.site,
            now_ms,
        };
        let command = match authorize(signed, trust, scope) {
            Ok(command) => command,
            Err(error) => return refuse(claimed.id, now_ms, Status::Refused, error.to_string()),
        };
        let not = |status, why: &str| refuse(command.id, now_ms, status, why.to_owned());
        if command.organization != identity.organization {
            return not(Status::Refused, "It is for another organization.");
        }
        if !command.targets.include(identity.device, identity.site) {
            return not(Status::Refused, "It is for other devices.");
        }
        if now_ms >= command.expires_ms {
            return not(Status::Expired, "It came after its expiry.");
        }
        if now_ms < command.not_before_ms || command.expires_ms - now_ms > MAX_VALIDITY_MS {
            return not(Status::Refused, "It is not valid at this time.");
        }
        match command.action {
            Action::Script(script) => {
                self.remember(event(command.id, Status::Running, now_ms));
                Verdict::Run(command.id, Plan::of(&script.body, &identity.hostname, rng))
            }
            Action::Cancel { command: target } => {
                self.remember(event(command.id, Status::Succeeded, now_ms));
                Verdict::Cancel { by: command.id, target }
            }
            Action::Terminal(terminal) => Verdict::Terminal(terminal),
            Action::Later(_) => not(Status::Refused, "The agent is too old for it."),
        }
    }

    /// Notes the latest state of a command.
    pub fn remember(&mut self, event: CommandEvent) {
        if !self.known.contains_key(&event.command) {
            self.order.push_back(event.command);
            if self.order.len() > REMEMBERED
                && let Some(oldest) = self.order.pop_front()
            {
                self.known.remove(&oldest);
            }
        }
        self.known.insert(event.command, event);
    }
}

/// An event without particulars.
#[must_use]
pub fn event(command: CommandId, status: Status, at_ms: u64) -> CommandEvent {
    CommandEvent {
        command,
        status,
        at_ms,
        exit_code: None,
        reason: None,
        output_len: 0,
        output_cut: 0,
    }
}

/// The output of a finished plan, in pieces that fit a message.
#[must_use]
pub fn chunks(command: CommandId, output: &[u8]) -> Vec<OutputChunk> {
    let mut offset = 0;
    output
        .chunks(32 * 1024)
        .map(|piece| {
            let chunk =
                OutputChunk { command, offset, stream: Stream::Stdout, data: piece.to_vec() };
            offset += piece.len() as u64;
            chunk
        })
        .collect()
}

fn refuse(command: CommandId, now_ms: u64, status: Status, reason: String) -> Verdict {
    Verdict::Refused(CommandEvent { reason: Some(reason), ..event(command, status, now_ms) })
}
