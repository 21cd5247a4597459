//! Commands: what a device is asked to do, addressed, dated and signed (G7).

mod later;

use crate::{
    ids::{CommandId, DeviceId, OrganizationId, SiteId, TunnelId},
    signing::{Purpose, Signable},
};
use serde::{Deserialize, Serialize};

/// Longest script body, in bytes. Larger programs travel as blobs.
pub const MAX_SCRIPT: usize = 128 * 1024;
/// Most devices that one command may name; a whole site is named as the site.
pub const MAX_NAMED_TARGETS: usize = 4096;
/// Furthest expiry that a guard accepts, in milliseconds from now: it bounds
/// how long a seen command must be remembered.
pub const MAX_VALIDITY_MS: u64 = 31 * 24 * 3600 * 1000;

/// A command as signed. One command may be for many devices; each executes it
/// at most once, under `id` (G3).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Identity of the command.
    pub id: CommandId,
    /// The organization whose authority stands behind it.
    pub organization: OrganizationId,
    /// Who may execute it.
    pub targets: Targets,
    /// What to do.
    pub action: Action,
    /// Not to be executed before, Unix milliseconds.
    pub not_before_ms: u64,
    /// Not to be started from then on, Unix milliseconds.
    pub expires_ms: u64,
    /// Rises with each command of an organization's authority, so that the audit
    /// shows whether one is missing. Devices do not judge by it: each sees only its
    /// own commands, in any order, and a database that was set back counts again.
    /// What runs once is decided by `id` and `issued_ms`.
    pub counter: u64,
    /// When it was signed, by the signer's clock, Unix milliseconds. A device whose
    /// memory of commands is younger than that cannot know whether the command ran
    /// before, and does not run it. 0 from a signer that does not tell: see
    /// [`Self::issued`].
    #[serde(default)]
    pub issued_ms: u64,
}

impl Command {
    /// When it was signed, as far as the signed bytes say: signers that do not tell
    /// made the id at that time. 0 when nothing says it.
    #[must_use]
    pub fn issued(&self) -> u64 {
        if self.issued_ms != 0 {
            return self.issued_ms;
        }
        let made = self.id.0.get_timestamp().map(|at| at.to_unix());
        made.map_or(0, |(s, nanos)| s.saturating_mul(1000) + u64::from(nanos) / 1_000_000)
    }

    /// What of it only a later version can do, by its name.
    #[must_use]
    pub fn needs_later_version(&self) -> Option<&str> {
        match (&self.action, &self.targets) {
            (Action::Later(name), _) | (_, Targets::Later(name)) => Some(name),
            (Action::Script(script), _) if script.interpreter == Interpreter::Later => {
                Some("interpreter")
            }
            _ => None,
        }
    }
}

impl Signable for Command {
    const PURPOSE: Purpose = Purpose::Command;
}

/// Who may execute a command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Targets {
    /// The named devices, at most [`MAX_NAMED_TARGETS`].
    Devices(Vec<DeviceId>),
    /// Every device of the site.
    Site(SiteId),
    /// Named in a way of a later version, by its name: nobody here.
    #[serde(skip)]
    Later(String),
}

impl Targets {
    /// Whether a device of a site is meant.
    #[must_use]
    pub fn include(&self, device: DeviceId, site: SiteId) -> bool {
        match self {
            Self::Devices(ids) => ids.contains(&device),
            Self::Site(id) => *id == site,
            Self::Later(_) => false,
        }
    }
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub enum Action {
    /// Run a script.
    Script(Script),
    /// Stop a running or waiting command on this device.
    Cancel {
        /// The command to stop.
        command: CommandId,
    },
    /// Open a terminal whose bytes travel as live frames of `tunnel`.
    Terminal(Terminal),
    /// Something of a later version, by its name.
    #[serde(skip)]
    Later(String),
}

/// A script and how to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Script {
    /// Which program reads the body.
    pub interpreter: Interpreter,
    /// The script, at most [`MAX_SCRIPT`] bytes. Handed over as a file, never
    /// pasted into a command line.
    pub body: String,
    /// Arguments after the script, as they are; at most 4096.
    #[serde(default)]
    #[serde(deserialize_with = "crate::codec::at_most::<4096, _, _>")]
    pub args: Vec<String>,
    /// Environment in addition to the agent's minimal one; at most 4096.
    #[serde(default)]
    #[serde(deserialize_with = "crate::codec::at_most::<4096, _, _>")]
    pub env: Vec<(String, String)>,
    /// Whole process group is killed after this many seconds; 0 means 3600.
    #[serde(default)]
    pub timeout_s: u32,
    /// Output kept, in bytes; beyond it a visible cut. 0 means 1 MiB.
    #[serde(default)]
    pub output_limit: u32,
    /// Run as this user instead of the agent's own.
    #[serde(default)]
    pub user: Option<String>,
    /// Working folder instead of a private temporary one.
    #[serde(default)]
    pub folder: Option<String>,
}

/// Programs that can read a script body.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Interpreter {
    /// GNU Bash.
    Bash,
    /// The system's POSIX shell.
    Sh,
    /// Python 3.
    Python,
    /// PowerShell 7.
    Pwsh,
    /// One of a later version.
    #[serde(other)]
    Later,
}

/// How to open a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Terminal {
    /// Names the tunnel in live frames.
    pub tunnel: TunnelId,
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
    /// Run as this user instead of the agent's own.
    #[serde(default)]
    pub user: Option<String>,
}
