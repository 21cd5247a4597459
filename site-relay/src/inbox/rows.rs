//! Rows of the inbox: commands, and where each stands on each device.

use super::Inbox;
use crate::store::{
    StoreError,
    part::{Look, Part, tables},
    rows,
    txn::{Txn, get, put},
};
use redb::ReadTransaction;
use serde::{Deserialize, Serialize};
use unifyit_protocol::{
    ids::{CommandId, DeviceId},
    lane::Lane,
    link::{Progress, UpRecord},
    outcome::Status,
};

tables! { inbox:
    /// Command → [`CommandRecord`].
    pub(super) commands: u128 => &'static [u8], COMMANDS = "commands";
    /// (command, device) → (status, Unix milliseconds of its last change; with [`GUESSED`]).
    pub(super) deliveries: (u128, u128) => (u8, u64), DELIVERIES = "deliveries";
}

/// Beside the moment of a delivery's last change: nobody heard the device say so, the
/// cloud guessed it. Versions that do not know this bit do not read the moment.
pub(super) const GUESSED: u64 = 1 << 63;
/// Bytes of one record of progress, about.
const RECORD_BYTES: usize = 128 * 1024;
/// Bytes that an entry takes besides its texts.
const ENTRY_BYTES: usize = 256;

/// A command in the inbox.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct CommandRecord {
    /// Not to be delivered from then on.
    pub(crate) expires_ms: u64,
    /// When it came.
    pub(crate) received_ms: u64,
    /// What devices get: an encoded `Deliver`. Empty once all is done; the row
    /// stays until expiry so that a repeat is recognised.
    #[serde(with = "serde_bytes")]
    pub(crate) payload: Vec<u8>,
    /// When the last device was final, 0 before.
    #[serde(default)]
    pub(crate) done_ms: u64,
}

/// Status as a byte.
pub(crate) fn status_byte(status: Status) -> u8 {
    match status {
        Status::Pending => 0,
        Status::Sent => 1,
        Status::Running => 2,
        Status::Succeeded => 3,
        Status::Failed => 4,
        Status::TimedOut => 5,
        Status::Cancelled => 6,
        Status::Expired => 7,
        Status::Refused => 8,
        Status::Indeterminate => 9,
    }
}

/// The status that a byte stands for; an unknown one counts as lost track of.
pub(crate) fn status_of(byte: u8) -> Status {
    match byte {
        0 => Status::Pending,
        1 => Status::Sent,
        2 => Status::Running,
        3 => Status::Succeeded,
        4 => Status::Failed,
        5 => Status::TimedOut,
        6 => Status::Cancelled,
        7 => Status::Expired,
        8 => Status::Refused,
        _ => Status::Indeterminate,
    }
}

/// What is remembered of the inbox.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Live commands in it.
    pub(crate) commands: usize,
}

impl Part for Inbox {
    type Tables<'t> = Tables<'t>;
    type Memory = Memory;
    /// What is told of commands; all of one commit travels together.
    type Gathered = Vec<Progress>;
    type Shared = ();

    fn load(tx: &ReadTransaction) -> Result<Memory, StoreError> {
        let mut memory = Memory::default();
        for row in tx.open_table(COMMANDS)?.range::<u128>(..)? {
            let record: Option<CommandRecord> = rows::read("commands", row?.1.value());
            memory.commands += usize::from(record.is_some_and(|r| r.done_ms == 0));
        }
        Ok(memory)
    }

    fn heal(txn: &mut Txn<'_>, lost: &mut Vec<Option<DeviceId>>) -> Result<(), StoreError> {
        for key in rows::damaged::<CommandRecord>("commands", txn.commands()?)? {
            txn.commands()?.remove(key)?;
            txn.deliveries()?.retain_in((key, 0)..=(key, u128::MAX), |_, _| false)?;
            lost.push(None);
        }
        Ok(())
    }

    fn finish(txn: &mut Txn<'_>) -> Result<(), StoreError> {
        let progress = std::mem::take(&mut txn.gathered.inbox);
        let texts = |p: &Progress| p.event.reason.as_ref().map_or(0, String::len);
        let of = |p: &Progress| (p.device, ENTRY_BYTES + texts(p));
        for some in txn.packed(progress, RECORD_BYTES, of) {
            txn.append(Lane::Urgent, &UpRecord::Progress(some))?;
        }
        Ok(())
    }

    fn forget(txn: &mut Txn<'_>, _: &Look) -> Result<bool, StoreError> {
        // Few and small: what goes makes no room to speak of.
        txn.prune_inbox().map(|_| false)
    }
}

impl Txn<'_> {
    /// Reports a command's progress.
    pub(super) fn report_progress(&mut self, progress: Progress) {
        self.gathered.inbox.push(progress);
    }

    /// A command of the inbox.
    pub(super) fn command(
        &mut self,
        command: CommandId,
    ) -> Result<Option<CommandRecord>, StoreError> {
        get("commands", self.commands()?, command.0.as_u128())
    }

    /// Stores a command of the inbox.
    pub(super) fn put_command(
        &mut self,
        command: CommandId,
        record: &CommandRecord,
    ) -> Result<(), StoreError> {
        put(self.commands()?, command.0.as_u128(), record)
    }
}
