//! The guard: nothing runs that it did not let pass (G7).
//!
//! A command passes only when a signature chain leads from the organization's
//! authority to it, it is for this organization and this device, its time has
//! come and is not over, and it was never seen before. The decision is pure: the
//! clock and the memory of commands seen are arguments. Relay and broker are
//! couriers and are trusted with nothing here.
//!
//! A memory can be lost: its file is moved away, or the computer is set back to
//! an earlier state. So it has a birth, and what was signed before that and is
//! unknown to it is *forgotten*: it may have run, and is not run. A verdict holds
//! for the moment in which it was given; whoever lets a command wait asks again.

#[cfg(test)]
mod later_tests;
#[cfg(test)]
mod tests;

use crate::{VERSION, store::StoreError};
use thiserror::Error;
use unifyit_protocol::{
    command::{Action, Command, MAX_NAMED_TARGETS, MAX_SCRIPT, MAX_VALIDITY_MS, Targets},
    grant::{Scope, Trust, authorize},
    ids::{CommandId, DeviceId, OrganizationId, SiteId, TunnelId},
    outcome::CommandEvent,
    signing::{PublicKey, Signed},
};

/// Longest arguments and environment together, in bytes: the system has a bound
/// of its own, and a sentence is better than its error.
const MAX_ARGUMENTS: usize = 96 * 1024;

/// What is known of a command that was seen before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// What became of it; `None` while it runs.
    pub outcome: Option<CommandEvent>,
}

/// What bounds the commands that a memory has forgotten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Floor {
    /// Their highest expiry, Unix milliseconds.
    pub expiry_ms: u64,
    /// No higher count of the authority is among them.
    pub counter: u64,
}

impl Floor {
    /// Whether a command may be one of those; `counter` is 0 for one that the
    /// authority did not sign itself.
    fn covers(self, counter: u64, expires_ms: u64) -> bool {
        expires_ms <= self.expiry_ms && counter <= self.counter
    }
}

/// The durable memory of commands.
pub trait Memory {
    /// When the newest command of the authority was signed, if it is newer than the
    /// one with `counter`, which was signed at `issued_ms` and is noted; else 0. A
    /// courier that held a command back and lies about the time cannot take this
    /// back.
    fn later_issue(&self, counter: u64, issued_ms: u64) -> u64 {
        let _ = (counter, issued_ms);
        0
    }

    /// What is known of a command.
    ///
    /// # Errors
    /// When the memory cannot be read: then nothing may pass.
    fn seen(&self, id: CommandId) -> Result<Option<Seen>, StoreError>;

    /// What is known of the commands that were forgotten. What expires no later than
    /// any of them may be one of those, so it does not pass, whatever a clock says;
    /// unless the authority counted it later than all of them.
    ///
    /// # Errors
    /// When the memory cannot be read.
    fn floor(&self) -> Result<Floor, StoreError>;

    /// Since when the memory is whole, Unix milliseconds: 0 when it always was,
    /// `None` while that is not known yet.
    fn born_ms(&self) -> Option<u64>;

    /// Whether the authority counted a command, which it signed at `issued_ms`, later
    /// than one that it signed after the memory began: then it is no older than the
    /// memory, whatever time the clocks showed when that began. Commands that were
    /// signed after that moment are noted for it. `counter` is 0 for a command of
    /// somebody else.
    fn is_counted_since(&self, counter: u64, issued_ms: u64) -> bool {
        let _ = (counter, issued_ms);
        false
    }

    /// Whether this device is said to have been handed the command before, in a
    /// time that the memory should know of; `issued_ms` is when it was signed by the
    /// authority, 0 where nobody says so.
    fn was_handed(&self, id: CommandId, issued_ms: u64) -> bool;
}

/// Why a command does not pass; the texts are shown to the technician.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Reason {
    /// No chain of signatures from the authority.
    #[error("The command is not signed by the organization's authority: {0}.")]
    Unsigned(String),
    /// For another organization.
    #[error("The command is for another organization.")]
    WrongOrganization,
    /// For other devices.
    #[error("The command is for other computers.")]
    WrongTarget,
    /// Valid for longer than a seen command is remembered.
    #[error(
        "The command is valid for longer than 31 days from now by the site's time, which this \
         computer has from its relay. Compare the clocks of the relay and the cloud: run \
         unifyit-relay doctor at the site."
    )]
    TooLong,
    /// Not acceptable in itself.
    #[error("The command is not acceptable: {0}.")]
    Invalid(&'static str),
}

/// Why nobody knows whether a genuine command ran before; the texts are shown to
/// the technician.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Forgotten {
    /// It expires no later than something that was seen and forgotten.
    #[error("The command is so old that it may have run before. It was not run again.")]
    Old,
    /// It was signed before the memory began.
    #[error(
        "The agent's memory of commands was replaced or set back after this command was given, \
         so it may have run before. It was not run again."
    )]
    Unremembered,
    /// The relay knows that it was handed over, and the memory does not.
    #[error(
        "The command was handed to this computer before, and the agent's memory of it is lost, \
         so it may have run. It was not run again."
    )]
    Handed,
}

/// What the guard decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It may run now, once its intent is durable.
    Pass(Box<Command>),
    /// It may run from then on, Unix milliseconds.
    Hold(Box<Command>, u64),
    /// It was seen before; never again.
    Known(CommandId, Seen),
    /// It is genuine and its time is over.
    Expired(Box<Command>),
    /// It is genuine, and may have run before without being remembered.
    Forgotten(Box<Command>, Forgotten),
    /// It is genuine, and asks for what only a later version can do; and the sentence
    /// that says so.
    TooOld(Box<Command>, String),
    /// Nothing can be said yet; it is to be asked again.
    NotYet(Box<Command>),
    /// It does not pass.
    Refused(Refusal),
}

/// A refusal and what it refers to, as far as the command itself says.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// The command's own claim of its identity.
    pub command: Option<CommandId>,
    /// The tunnel that a terminal would have had.
    pub tunnel: Option<TunnelId>,
    /// Why.
    pub reason: Reason,
}

/// Whom this device belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guard {
    /// The device.
    pub device: DeviceId,
    /// Its organization.
    pub organization: OrganizationId,
    /// Its site.
    pub site: SiteId,
    /// The organization's authority, pinned at enrolment.
    pub authority: PublicKey,
}

impl Guard {
    /// Judges a delivered command; `kept` says that it was delivered before and has
    /// been kept since, so that it is no wonder when others know of that.
    ///
    /// # Errors
    /// When the memory cannot be read; the command then must not run.
    pub fn judge(
        &self,
        signed: &Signed<Command>,
        now_ms: u64,
        memory: &impl Memory,
        kept: bool,
    ) -> Result<Verdict, StoreError> {
        let claimed = signed.peek().ok();
        let refused = |reason| {
            let tunnel = claimed.as_ref().and_then(|c| match &c.action {
                Action::Terminal(terminal) => Some(terminal.tunnel),
                _ => None,
            });
            let command = claimed.as_ref().map(|c| c.id);
            Ok(Verdict::Refused(Refusal { command, tunnel, reason }))
        };
        let Some(claim) = &claimed else {
            return refused(Reason::Unsigned("it cannot be read".into()));
        };
        let scope = match claim.action {
            // Nothing comes of a later action; it is only to be known as genuine.
            Action::Script(_) | Action::Cancel { .. } | Action::Later(_) => Scope::Execute,
            Action::Terminal(_) => Scope::Terminal,
        };
        let trust = Trust {
            authority: &self.authority,
            organization: self.organization,
            site: self.site,
            now_ms,
        };
        let command = match authorize(signed, trust, scope) {
            Ok(command) => Box::new(command),
            Err(error) => return refused(Reason::Unsigned(error.to_string())),
        };
        // Only the authority's own count says what is newer.
        let own = signed.signatures.iter().any(|by| by.key == self.authority);
        let (counter, issued_ms) = if own { (command.counter, command.issued()) } else { (0, 0) };
        let now_ms = now_ms.max(memory.later_issue(counter, issued_ms));
        if let Some(reason) = self.unfit(&command, now_ms) {
            return refused(reason);
        }
        // Asked before the expiry: a command that ran is answered with its outcome
        // also after its time.
        if let Some(seen) = memory.seen(command.id)? {
            return Ok(Verdict::Known(command.id, seen));
        }
        if let Some(why) = forgotten(&command, (counter, issued_ms), memory, kept)? {
            return Ok(Verdict::Forgotten(command, why));
        }
        if memory.born_ms().is_none() {
            return Ok(Verdict::NotYet(command));
        }
        if now_ms >= command.expires_ms {
            return Ok(Verdict::Expired(command));
        }
        // For good, so that an update does not begin what was told as refused.
        if let Some(what) = command.needs_later_version() {
            let reason = too_old_for(what);
            return Ok(Verdict::TooOld(command, reason));
        }
        if now_ms < command.not_before_ms {
            let from = command.not_before_ms;
            return Ok(Verdict::Hold(command, from));
        }
        Ok(Verdict::Pass(command))
    }

    fn unfit(&self, command: &Command, now_ms: u64) -> Option<Reason> {
        if command.organization != self.organization {
            return Some(Reason::WrongOrganization);
        }
        if matches!(&command.targets, Targets::Devices(ids) if ids.len() > MAX_NAMED_TARGETS) {
            return Some(Reason::Invalid("it names too many computers"));
        }
        let named_here = command.targets.include(self.device, self.site);
        if !named_here && !matches!(command.targets, Targets::Later(_)) {
            return Some(Reason::WrongTarget);
        }
        if command.expires_ms > now_ms.saturating_add(MAX_VALIDITY_MS) {
            return Some(Reason::TooLong);
        }
        let Action::Script(script) = &command.action else { return None };
        if script.body.len() > MAX_SCRIPT {
            return Some(Reason::Invalid("the script is longer than 128 KiB"));
        }
        let arguments = script.args.iter().map(|a| a.len() + 1).sum::<usize>();
        let variables = script.env.iter().map(|(k, v)| k.len() + v.len() + 2).sum::<usize>();
        if arguments + variables > MAX_ARGUMENTS {
            return Some(Reason::Invalid("its arguments are longer than 96 KiB together"));
        }
        let zero = |text: &String| text.contains('\0');
        let bad_name = |name: &String| name.is_empty() || name.contains(['=', '\0']);
        if script.args.iter().any(zero)
            || script.env.iter().any(|(k, v)| bad_name(k) || zero(v))
            || script.user.iter().chain(&script.folder).any(zero)
        {
            return Some(Reason::Invalid("an argument or a variable is malformed"));
        }
        None
    }
}

fn too_old_for(what: &str) -> String {
    format!(
        "This computer's agent (version {VERSION}) is too old for this command: it does not know \
         \"{what}\". Update the agent, then try again."
    )
}

fn forgotten(
    command: &Command,
    (counter, issued_ms): (u64, u64),
    memory: &impl Memory,
    kept: bool,
) -> Result<Option<Forgotten>, StoreError> {
    // Stopping something twice is no harm, and not stopping it would be.
    if matches!(command.action, Action::Cancel { .. }) {
        return Ok(None);
    }
    if !kept && memory.was_handed(command.id, issued_ms) {
        return Ok(Some(Forgotten::Handed));
    }
    // Noted also where nothing hangs on it yet.
    let since = memory.is_counted_since(counter, command.issued());
    if !since && memory.born_ms().is_some_and(|born| born > 0 && command.issued() <= born) {
        return Ok(Some(Forgotten::Unremembered));
    }
    Ok(memory.floor()?.covers(counter, command.expires_ms).then_some(Forgotten::Old))
}
