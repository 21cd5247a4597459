//! Executes what the guard let pass, at most once (G3).
//!
//! One actor receives deliveries and decides; each script runs in a task of its
//! own. The order is always the same: intent and `Running` report in one commit,
//! then the process, then outcome and final report in one commit. After a crash
//! in between, [`recover`] reports `Indeterminate` and ends what was left behind.
//!
//! A command that waits, for a place or for its time, is judged again when its turn
//! comes, and starts only when the relay knows of it ([`carry`]).
//!
//! Bounds: scripts at once, commands waiting and held for later, in number and in
//! bytes, commands that a failing disk kept from their start, refusals reported a
//! minute.

mod actor;
mod carry;
mod later;
pub mod ledger;
mod output;
mod recover;
mod script;
mod shell;
mod terminal;

pub use actor::{Executor, Order};
pub use recover::recover;
pub use terminal::Terminals;

use crate::{link::live::LiveQueue, platform::Keepers, store::Store};
use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::ids::CommandId;

/// Most commands named in a hello.
const MAX_NAMED: usize = 256;

/// What every execution needs.
#[derive(Clone)]
pub struct Context {
    /// Ledger and spool.
    pub store: Store,
    /// Live frames.
    pub live: Arc<LiveQueue>,
    /// Folder for scripts, readable by the agent only.
    pub work: PathBuf,
    /// Who keeps what is started.
    pub keepers: Arc<Keepers>,
    /// The agent is ending.
    pub stop: CancellationToken,
    /// Commands with an intent and no outcome.
    pub running: Arc<RunningSet>,
}

/// Commands with an intent and no outcome, for the hello.
#[derive(Debug, Default)]
pub struct RunningSet(Mutex<BTreeSet<CommandId>>);

impl RunningSet {
    /// The commands, bounded.
    #[must_use]
    pub fn list(&self) -> Vec<CommandId> {
        let set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        set.iter().copied().take(MAX_NAMED).collect()
    }

    fn add(&self, id: CommandId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
    }

    fn remove(&self, id: CommandId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
    }
}
