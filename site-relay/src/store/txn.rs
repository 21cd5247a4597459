//! One group commit in the making: the open tables, the state that mirrors them
//! in memory, and what is to happen once the commit is durable.
//!
//! Every job of a commit works on the same [`Txn`]. A job that fails spoils the
//! whole commit (nothing of it becomes durable, every job of it is told), so
//! jobs fail only when the file does; a refusal is a value, and a damaged row
//! counts as missing. [`Mem`] is loaded again from the file after a failed commit.

use super::{
    error::StoreError,
    fairness::{Brought, Waiting},
    holds::Before,
    outbox::{LaneState, Lanes},
    records::InShared,
    rows,
    samples::{Mark, RawKey},
    tables::{self, CommandRecord, DeviceRecord, Facts, PresenceRecord, TokenRecord},
};
use redb::{ReadableDatabase, ReadableTable, Table, WriteTransaction};
use serde::{Serialize, de::DeserializeOwned};
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use unifyit_protocol::{
    codec,
    config::SiteConfig,
    ids::{CommandId, DeviceId, TokenId},
    lane::Lane,
    link::{Presence, Progress, UpRecord},
};

/// Bytes of one record of progress or presence, about.
const RECORD_BYTES: usize = 128 * 1024;
/// Bytes that an entry takes besides its texts.
const ENTRY_BYTES: usize = 256;

/// What the writer remembers of the tables between commits.
#[derive(Debug, Default)]
pub(crate) struct Mem {
    /// Durable position of each device's lane.
    pub(crate) cursors: HashMap<(DeviceId, u8), (u64, u64)>,
    /// Outbox lanes.
    pub(crate) lanes: Lanes,
    /// Minutes not in a rollup yet.
    pub(crate) dirty: BTreeMap<(u64, DeviceId), Mark>,
    /// Whether so many minutes are open that none waits for its block.
    pub(crate) packs_early: bool,
    /// Minute of each device's latest sample.
    pub(crate) minute_of: HashMap<DeviceId, u64>,
    /// When each device last sent samples of minutes long over.
    pub(crate) late: HashMap<DeviceId, u64>,
    /// Position in the cloud's lane.
    pub(crate) down: (u64, u64),
    /// Series tables known of each device, so that a repeated one costs nothing.
    pub(crate) series: HashMap<DeviceId, VecDeque<u32>>,
    /// What each device has waiting for the cloud, by lane.
    pub(crate) waiting: HashMap<(u8, DeviceId), Waiting>,
    /// Samples that each device brought of late.
    pub(crate) brought: HashMap<DeviceId, Brought>,
    /// What each device had of late in records that it shares with others.
    pub(crate) in_shared: HashMap<DeviceId, InShared>,
    /// From here on raw samples are looked at next, to be pruned.
    pub(crate) prune_from: RawKey,
    /// Whether the last look for a device's records found none yet and goes on.
    pub(crate) looking: bool,
    /// Up to here only records that stay are left of a lane.
    pub(crate) swept: [u64; 4],
    /// Number of the newest audit entry.
    pub(crate) audit: u64,
    /// Live commands in the inbox.
    pub(crate) commands: usize,
    /// Devices whose batch starts behind a hole, see `ingest`.
    pub(crate) stuck: HashMap<(DeviceId, u8), (u64, u64, u8)>,
    /// Where the store stood when it was opened.
    pub(crate) before: Before,
    /// Whether the cloud was told since what this relay holds.
    pub(crate) told: bool,
    /// When it was last said that orders are kept, lost, forgotten.
    pub(crate) too_old: [u64; 3],
}

impl Mem {
    /// Reads the state from the file.
    pub(crate) fn load(db: &redb::Database) -> Result<Self, StoreError> {
        let tx = db.begin_read()?;
        let mut mem = Self { lanes: Lanes::load(&tx)?, ..Self::default() };
        for row in tx.open_table(tables::CURSORS)?.range::<(u128, u8)>(..)? {
            let (key, value) = row?;
            let (device, lane) = key.value();
            mem.cursors.insert((tables::device_of(device), lane), value.value());
        }
        for row in tx.open_table(tables::DIRTY)?.range::<(u64, u128)>(..)? {
            let (minute, device) = row?.0.value();
            mem.dirty.insert((minute, tables::device_of(device)), Mark::default());
        }
        for row in tx.open_table(tables::SERIES)?.range::<(u128, u32)>(..)? {
            let (device, table) = row?.0.value();
            mem.series.entry(tables::device_of(device)).or_default().push_back(table);
        }
        for row in tx.open_table(tables::OWNERS)?.range::<(u8, u64)>(..)? {
            let (key, row) = row?;
            let (device, bytes, kept) = row.value();
            let waiting =
                mem.waiting.entry((key.value().0, tables::device_of(device))).or_default();
            waiting.bytes += u64::from(bytes);
            waiting.kept += if kept { u64::from(bytes) } else { 0 };
        }
        for row in tx.open_table(tables::COMMANDS)?.range::<u128>(..)? {
            let record: Option<CommandRecord> = rows::read("commands", row?.1.value());
            mem.commands += usize::from(record.is_some_and(|r| r.done_ms == 0));
        }
        if let Some((key, _)) = tx.open_table(tables::AUDIT)?.last()? {
            mem.audit = key.value();
        }
        if let Some(down) = tx.open_table(tables::META)?.get(tables::META_DOWN)? {
            mem.down = rows::read("meta", down.value()).unwrap_or_default();
        }
        if let Some(written) = tx.open_table(tables::META)?.get(tables::META_WRITTEN)? {
            mem.before.written_ms = rows::read("meta", written.value()).unwrap_or_default();
        }
        Ok(mem)
    }
}

/// What readers are told after a commit.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A device joined or changed.
    Device(DeviceRecord),
    /// A token is out.
    TokenRevoked(TokenId),
    /// New settings of the site.
    Site(SiteConfig),
}

/// A command that was stored in the inbox.
#[derive(Debug, Clone)]
pub(crate) struct NewCommand {
    /// Its id.
    pub(crate) command: CommandId,
    /// What devices get.
    pub(crate) payload: bytes::Bytes,
    /// Not to be delivered from then on.
    pub(crate) expires_ms: u64,
    /// To whom.
    pub(crate) devices: Vec<DeviceId>,
    /// Those of them that had it before, in a time of which this disk knows nothing.
    pub(crate) handed: Vec<DeviceId>,
    /// Those of `handed` of whom nobody heard that they had started it.
    pub(crate) unheard: Vec<DeviceId>,
}

macro_rules! open_tables {
    ($($name:ident: $key:ty => $value:ty, $table:ident;)+) => {
        #[derive(Default)]
        struct Open<'t> { $($name: Option<Table<'t, $key, $value>>,)+ }

        impl Open<'_> {
            fn any(&self) -> bool {
                false $(|| self.$name.is_some())+
            }
        }

        impl<'t> Txn<'t> {
            $(pub(crate) fn $name(&mut self) -> Result<&mut Table<'t, $key, $value>, StoreError> {
                match &mut self.open.$name {
                    Some(table) => Ok(table),
                    slot => Ok(slot.insert(self.tx.open_table(tables::$table)?)),
                }
            })+
        }

        /// Creates every table, so that readers find them.
        pub(crate) fn create_tables(tx: &WriteTransaction) -> Result<(), StoreError> {
            $(drop(tx.open_table(tables::$table)?);)+
            Ok(())
        }
    };
}

open_tables! {
    devices: u128 => &'static [u8], DEVICES;
    machines: &'static str => u128, MACHINES;
    tokens: u128 => &'static [u8], TOKENS;
    cursors: (u128, u8) => (u64, u64), CURSORS;
    outbox: (u8, u64) => &'static [u8], OUTBOX;
    owners: (u8, u64) => (u128, u32, bool), OWNERS;
    lanes: u8 => &'static [u8], LANES;
    commands: u128 => &'static [u8], COMMANDS;
    deliveries: (u128, u128) => (u8, u64), DELIVERIES;
    series: (u128, u32) => &'static [u8], SERIES;
    raw: (u64, u128, u64, u64) => &'static [u8], RAW;
    dirty: (u64, u128) => (), DIRTY;
    presence: u128 => &'static [u8], PRESENCE;
    facts: u128 => &'static [u8], FACTS;
    meta: &'static str => &'static [u8], META;
    audit: u64 => &'static [u8], AUDIT;
    unread: (u64, u64) => &'static [u8], UNREAD;
}

/// A group commit in the making.
pub(crate) struct Txn<'t> {
    tx: &'t WriteTransaction,
    open: Open<'t>,
    /// State between commits.
    pub(crate) mem: &'t mut Mem,
    /// Clock at the start of the commit, Unix milliseconds.
    pub(crate) now_ms: u64,
    /// What readers are told.
    pub(crate) changes: Vec<Change>,
    progress: Vec<Progress>,
    presence_out: Vec<Presence>,
    cursors_out: HashSet<(DeviceId, u8)>,
    lanes_out: [bool; 4],
}

impl<'t> Txn<'t> {
    pub(crate) fn new(tx: &'t WriteTransaction, mem: &'t mut Mem, now_ms: u64) -> Self {
        Self {
            tx,
            open: Open::default(),
            mem,
            now_ms,
            changes: Vec::new(),
            progress: Vec::new(),
            presence_out: Vec::new(),
            cursors_out: HashSet::new(),
            lanes_out: [false; 4],
        }
    }

    /// The state of a lane, to be changed: it is written at the commit.
    pub(crate) fn lane_mut(&mut self, lane: Lane) -> &mut LaneState {
        self.lanes_out[lane.index()] = true;
        &mut self.mem.lanes.states[lane.index()]
    }

    /// Reports a command's progress; all of one commit travel together.
    pub(crate) fn report_progress(&mut self, progress: Progress) {
        self.progress.push(progress);
    }

    /// Reports a change of presence; all of one commit travel together.
    pub(crate) fn report_presence(&mut self, presence: Presence) {
        self.presence_out.push(presence);
    }

    /// Moves the cursor of a device's lane.
    pub(crate) fn set_cursor(&mut self, device: DeviceId, lane: u8, position: (u64, u64)) {
        self.mem.cursors.insert((device, lane), position);
        self.cursors_out.insert((device, lane));
    }

    /// Writes what was collected. The tables close when this returns. The flag says
    /// whether any was opened: if none was, there is nothing to sync.
    pub(crate) fn finish(mut self) -> Result<(Vec<Change>, bool), StoreError> {
        let progress = std::mem::take(&mut self.progress);
        let texts = |p: &Progress| p.event.reason.as_ref().map_or(0, String::len);
        let of = |p: &Progress| (p.device, ENTRY_BYTES + texts(p));
        for some in self.packed(progress, RECORD_BYTES, of) {
            self.append(Lane::Urgent, &UpRecord::Progress(some))?;
        }
        let presence = std::mem::take(&mut self.presence_out);
        let texts = |p: &Presence| p.agent_version.len() + p.address.len();
        let of = |p: &Presence| (p.device, ENTRY_BYTES + texts(p));
        for some in self.packed(presence, RECORD_BYTES, of) {
            self.append(Lane::Urgent, &UpRecord::Presence(some))?;
        }
        for (device, lane) in std::mem::take(&mut self.cursors_out) {
            if let Some(position) = self.mem.cursors.get(&(device, lane)).copied() {
                self.cursors()?.insert((tables::device_key(device), lane), position)?;
            }
        }
        for lane in Lane::ALL {
            if self.lanes_out[lane.index()] {
                let state = &mut self.mem.lanes.states[lane.index()];
                state.counted = Some((state.bytes, state.records));
                let row = codec::encode(state)?;
                self.lanes()?.insert(tables::lane_key(lane), row.as_slice())?;
            }
        }
        let any = self.open.any();
        if any {
            let now_ms = self.now_ms;
            self.put_meta(tables::META_WRITTEN, &now_ms)?;
        }
        Ok((self.changes, any))
    }

    /// A device as enrolled, this commit's changes included.
    pub(crate) fn device(&mut self, device: DeviceId) -> Result<Option<DeviceRecord>, StoreError> {
        get("devices", self.devices()?, tables::device_key(device))
    }

    /// Stores a device.
    pub(crate) fn put_device(&mut self, record: DeviceRecord) -> Result<(), StoreError> {
        let bytes = codec::encode(&record)?;
        self.devices()?.insert(tables::device_key(record.device), bytes.as_slice())?;
        self.changes.push(Change::Device(record));
        Ok(())
    }

    /// What is known about a token. One whose row cannot be read is out.
    pub(crate) fn token(&mut self, token: TokenId) -> Result<TokenRecord, StoreError> {
        match self.tokens()?.get(tables::token_key(token))? {
            Some(bytes) => Ok(rows::read("tokens", bytes.value())
                .unwrap_or(TokenRecord { used: 0, revoked: true })),
            None => Ok(TokenRecord::default()),
        }
    }

    /// Stores what is known about a token.
    pub(crate) fn put_token(
        &mut self,
        token: TokenId,
        record: TokenRecord,
    ) -> Result<(), StoreError> {
        let bytes = codec::encode(&record)?;
        self.tokens()?.insert(tables::token_key(token), bytes.as_slice())?;
        Ok(())
    }

    /// Presence as the cloud was told.
    pub(crate) fn told(&mut self, device: DeviceId) -> Result<PresenceRecord, StoreError> {
        Ok(get("presence", self.presence()?, tables::device_key(device))?.unwrap_or_default())
    }

    /// Remembers what the cloud was told.
    pub(crate) fn put_told(
        &mut self,
        device: DeviceId,
        record: &PresenceRecord,
    ) -> Result<(), StoreError> {
        let bytes = codec::encode(record)?;
        self.presence()?.insert(tables::device_key(device), bytes.as_slice())?;
        Ok(())
    }

    /// Stores a device's facts.
    pub(crate) fn put_facts(&mut self, device: DeviceId, facts: &Facts) -> Result<(), StoreError> {
        let bytes = codec::encode(facts)?;
        self.facts()?.insert(tables::device_key(device), bytes.as_slice())?;
        Ok(())
    }

    /// A device's facts.
    pub(crate) fn device_facts(&mut self, device: DeviceId) -> Result<Facts, StoreError> {
        Ok(get("facts", self.facts()?, tables::device_key(device))?.unwrap_or_default())
    }

    /// A command of the inbox.
    pub(crate) fn command(
        &mut self,
        command: CommandId,
    ) -> Result<Option<CommandRecord>, StoreError> {
        get("commands", self.commands()?, command.0.as_u128())
    }

    /// Stores a command of the inbox.
    pub(crate) fn put_command(
        &mut self,
        command: CommandId,
        record: &CommandRecord,
    ) -> Result<(), StoreError> {
        let bytes = codec::encode(record)?;
        self.commands()?.insert(command.0.as_u128(), bytes.as_slice())?;
        Ok(())
    }

    /// Stores a single value.
    pub(crate) fn put_meta<T: Serialize>(
        &mut self,
        name: &'static str,
        value: &T,
    ) -> Result<(), StoreError> {
        let bytes = codec::encode(value)?;
        self.meta()?.insert(name, bytes.as_slice())?;
        Ok(())
    }

    /// Reads a single value.
    pub(crate) fn get_meta<T: DeserializeOwned>(
        &mut self,
        name: &'static str,
    ) -> Result<Option<T>, StoreError> {
        match self.meta()?.get(name)? {
            Some(bytes) => Ok(rows::read("meta", bytes.value())),
            None => Ok(None),
        }
    }
}

fn get<T: DeserializeOwned>(
    name: &'static str,
    table: &Table<'_, u128, &'static [u8]>,
    key: u128,
) -> Result<Option<T>, StoreError> {
    match table.get(key)? {
        Some(bytes) => Ok(rows::read(name, bytes.value())),
        None => Ok(None),
    }
}
