//! What relay and cloud say to each other on `/unifyit/lane/1`.
//!
//! The relay opens one stream a connection. On it travel [`Frame`]s, each
//! preceded by its length as four big-endian bytes. Durable records travel in
//! [`Frame::Data`] under the lane machine ([`crate::lane`]); the rest is
//! ephemeral and is forgotten when the connection goes.

mod later;
mod of_devices;
mod status;

use crate::{
    cache::CacheReport,
    clock::{ClockAnswer, ClockAsk},
    command::Command,
    compare::{SiteHolds, SiteKnown, TellAgain},
    config::SiteConfig,
    envelope::messages,
    feature::SiteReport,
    ids::{CommandId, DeviceId, TokenId},
    inventory::InventoryReport,
    lane::{Ack, Data, Lane, Resume},
    outcome::{CommandEvent, OutputChunk},
    report::Gap,
    signing::Signed,
    telemetry::{RollupBlock, Sample, SeriesTable, newest::Newest},
};
use serde::{Deserialize, Serialize};

pub use status::RelayStatus;

pub use crate::sharing::{
    AllowReenrolment, ForgetComputer, SeparateIdentity, SharedIdentity, SharingComputer,
};

/// Protocol name.
pub const PROTOCOL: &str = "/unifyit/lane/1";

/// After so many milliseconds without a packet either side takes a QUIC connection
/// for dead. It is the only way to notice a peer that crashed: libp2p's QUIC cannot
/// answer for the connections of a process before it (RFC 9000 section 10.3), and
/// until a relay notices, its site is cut off from a cloud that runs again already.
/// Relays notice sooner by their pings.
pub const QUIC_IDLE_MS: u32 = 15_000;

/// Milliseconds between a relay's pings. The answers tell it that the cloud is there,
/// and keep what stands between (NAT) from forgetting the connection.
pub const PING_MS: u64 = 10_000;

/// Milliseconds until QUIC keeps a connection alive by itself: later than the next
/// ping, so that at rest pings are all that there is.
pub const QUIC_KEEP_ALIVE_MS: u64 = 12_000;

messages! {
    /// A frame on the lane stream, both ways.
    pub enum Frame {
        /// First frame, both ways.
        1 => Hello(LinkHello),
        /// What the sender of this frame has applied durably of the other's lanes.
        2 => Resume(Resume),
        /// Durable records.
        3 => Data(Data),
        /// Records are durable at the receiver (G1, G2).
        4 => Ack(Ack),
        /// Relay to cloud: not durable, see [`Ephemeral`].
        5 => Ephemeral(Vec<Ephemeral>),
        /// Cloud to relay: whose samples somebody watches; replaces the last list.
        6 => Watch(Watch),
        /// Either way: the connection is about to be closed, and why.
        7 => Goodbye(Goodbye),
        /// Cloud to relay: the other relays of its organization; replaces the last list.
        8 => Sisters(Sisters),
        /// Relay to cloud: compares the clocks.
        9 => ClockAsk(ClockAsk),
        /// Cloud to relay: its time, to whoever asked, and to all when it was set.
        10 => ClockAnswer(ClockAnswer),
        /// Relay to cloud, once a minute: newest loads of the site's devices. Only to
        /// a cloud whose [`LinkHello::takes_newest`] is set.
        11 => Newest(Newest),
    }
}

/// Introduces one side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkHello {
    /// Version of the software.
    pub version: String,
    /// Epoch of the sender's own lanes: a relay restored from an old disk starts
    /// another (G2).
    pub epoch: u64,
    /// Sender's own clock, Unix milliseconds.
    pub now_ms: u64,
    /// `host:port` at which agents reach the relay; empty from the cloud.
    #[serde(default)]
    pub lan_https: Vec<String>,
    /// SHA-256 of the site CA's certificate in DER; empty from the cloud.
    #[serde(default, with = "serde_bytes")]
    pub ca_fingerprint: Vec<u8>,
    /// `host:port` at which relays of the same organization reach the relay, over
    /// TCP; empty from the cloud, and where it serves none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sister_addresses: Vec<String>,
    /// When the sender last applied something of each of the receiver's lanes, in
    /// the order of [`Lane::ALL`](crate::lane::Lane::ALL) in 0.1, Unix milliseconds of its
    /// clock; 0 for never, empty when it does not say. From the cloud: after it was
    /// restored from an older copy, that copy's moment.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub applied_ms: Vec<u64>,
    /// From the cloud: it takes newest loads by themselves, so that measurements may
    /// travel in blocks of many minutes, and it asks for what it lacks of a device
    /// with [`Watch`]. A relay sends blocks of one minute to a cloud that does not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub takes_newest: bool,
    /// Lanes that the sender takes. Versions that do not say take the four of 0.1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[serde(deserialize_with = "crate::lane::lanes")]
    pub lanes: Option<Vec<Lane>>,
}

/// Things that matter only while somebody looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ephemeral {
    /// Output of a script as it appears; its durable copy follows by lane.
    Output(DeviceId, OutputChunk),
    /// A raw sample of a watched device.
    Sample(DeviceId, Sample),
}

/// Devices whose raw samples are wanted live, and whose minutes are wanted as they
/// end, at most 64. What waits of them for its block comes at once.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Watch {
    /// The devices.
    pub devices: Vec<DeviceId>,
}

/// The relays of the same organization that a relay may ask for files, and that
/// may ask it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Sisters {
    /// The relays.
    #[serde(deserialize_with = "crate::codec::at_most::<64, _, _>")]
    pub relays: Vec<Sister>,
}

/// A relay of the same organization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sister {
    /// Its libp2p identity.
    pub peer: String,
    /// `host:port` that it announced.
    #[serde(default, deserialize_with = "crate::codec::at_most::<16, _, _>")]
    pub addresses: Vec<String>,
}

/// A farewell with its reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// One sentence.
    pub reason: String,
}

messages! {
    /// Durable records from relay to cloud. Lanes: U urgent, S state, O output, M metrics.
    pub enum UpRecord {
        /// U: an agent enrolled at the relay.
        1 => Enrolled(Enrolled),
        /// U: a device connected or went.
        2 => Presence(Vec<Presence>),
        /// S
        3 => Inventory(DeviceInventory),
        /// M: names columns, before the first block that uses them.
        4 => Series(DeviceSeries),
        /// M: rollups of many devices.
        5 => Metrics(Vec<DeviceMetrics>),
        /// U: how commands fare, many devices at once.
        6 => Progress(Vec<Progress>),
        /// O
        7 => Output(DeviceOutput),
        /// S: how the relay itself fares, each minute.
        8 => Relay(RelayStatus),
        /// U: data was dropped (G6).
        9 => Gap(DeviceGap),
        /// U: something that must stand in the audit trail happened at the site.
        10 => Audit(SiteAudit),
        /// S: how the package cache fares, when that changed.
        11 => Cache(CacheReport),
        /// S: how far devices' clocks are off, when that changed.
        12 => Clocks(Vec<DeviceClock>),
        /// U: what the relay holds, at the start of an epoch.
        13 => Holds(Box<SiteHolds>),
        /// U: which computers use one identity.
        20 => Shared(SharedIdentity),
        /// U or S: a feature's own message.
        30 => Feature(SiteReport),
    }
}

messages! {
    /// Durable records from cloud to relay. All travel in the urgent lane.
    pub enum DownRecord {
        /// Deliver a command.
        1 => Command(DeliverCommand),
        /// Settings of the site.
        2 => Config(SiteConfig),
        /// A device is out: close its connection and keep it out.
        3 => RevokeDevice(DeviceId),
        /// An install token is out.
        4 => RevokeToken(TokenId),
        /// What the relay lacks of that which it once had.
        5 => Known(SiteKnown),
        /// What the cloud lacks of that which it once had.
        6 => TellAgain(TellAgain),
        /// A computer that is installed anew may have its identity back.
        20 => AllowReenrolment(AllowReenrolment),
        /// One of the computers that share an identity gets its own.
        21 => SeparateIdentity(SeparateIdentity),
        /// One of the computers that shared an identity is gone.
        22 => ForgetComputer(ForgetComputer),
    }
}

/// An agent enrolled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enrolled {
    /// The device.
    pub device: DeviceId,
    /// Host name at enrolment.
    pub hostname: String,
    /// Version of the agent.
    pub version: String,
    /// The token used, for reconciling its uses.
    pub token: TokenId,
    /// Unix milliseconds.
    pub at_ms: u64,
}

/// A change of presence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// The device.
    pub device: DeviceId,
    /// Whether it is connected to the relay.
    pub online: bool,
    /// Since when, relay's clock, Unix milliseconds.
    pub at_ms: u64,
    /// Version of the agent, when it told.
    #[serde(default)]
    pub agent_version: String,
    /// IP address on the LAN.
    #[serde(default)]
    pub address: String,
}

/// How far a device's own clock is off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceClock {
    /// The device.
    pub device: DeviceId,
    /// How far it is ahead of the site's time, milliseconds; negative: behind.
    pub ahead_ms: i64,
    /// When it was measured, by the site's time, Unix milliseconds.
    pub at_ms: u64,
}

/// Inventory of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceInventory {
    /// The device.
    pub device: DeviceId,
    /// The section, whole or changes.
    pub report: InventoryReport,
}

/// Column names of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceSeries {
    /// The device.
    pub device: DeviceId,
    /// The table.
    pub table: SeriesTable,
}

/// Rollups of a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceMetrics {
    /// The device.
    pub device: DeviceId,
    /// The rollups.
    pub block: RollupBlock,
}

/// How a command fares on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// The device.
    pub device: DeviceId,
    /// What happened. `Sent` and `Expired` are the relay's own words, the rest
    /// the device's.
    pub event: CommandEvent,
}

/// Output of a command on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceOutput {
    /// The device.
    pub device: DeviceId,
    /// Consecutive pieces.
    pub chunks: Vec<OutputChunk>,
}

/// Dropped data of a device, or of the relay itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceGap {
    /// The device; `None` for data of the whole site.
    pub device: Option<DeviceId>,
    /// What was lost.
    pub gap: Gap,
}

/// Something that happened at the site and must stand in the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SiteAudit {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Dotted verb: `ui.sign_in`, `device.enrolled`, `token.refused`.
    pub action: String,
    /// Who: `pin`, a device id, a token id.
    pub actor: String,
    /// One sentence.
    pub detail: String,
}

/// A command with those whom the relay shall hand it to. The list is the
/// courier's; what the signature covers is in the command itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliverCommand {
    /// Its identity, equal to the signed one.
    pub command: CommandId,
    /// Whom to hand it to; empty means every device of the site.
    pub devices: Vec<DeviceId>,
    /// Not to be delivered from then on, Unix milliseconds.
    pub expires_ms: u64,
    /// The signed command.
    pub signed: Signed<Command>,
    /// Those of the devices that were handed it before, as far as the cloud was told:
    /// for a relay whose own memory of that was lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub handed: Vec<DeviceId>,
    /// Those of `handed` of whom nobody heard that they had started it. None from a
    /// cloud that does not say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unheard: Vec<DeviceId>,
}
