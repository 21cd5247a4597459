//! Control messages between agent and relay, over MQTT.

use crate::{
    clock::{ClockAnswer, ClockAsk},
    command::Command,
    config::DeviceConfig,
    envelope::messages,
    ids::CommandId,
    lane::Lane,
    signing::Signed,
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

messages! {
    /// `up/hello`: an agent speaks first after each connect.
    pub enum UpControl {
        /// Who speaks, and where its spool stands.
        1 => Hello(Hello),
        /// Compares the clocks; answered by [`DownControl::Clock`].
        2 => Clock(ClockAsk),
    }
}

messages! {
    /// `down/control`.
    pub enum DownControl {
        /// The relay's answer to a hello.
        1 => Welcome(Welcome),
        /// Reports are durable at the relay (G1), or a batch did not continue
        /// what the relay has: go on from here.
        2 => Ack(ReportAck),
        /// Changed settings.
        3 => Config(DeviceConfig),
        /// A renewed certificate is due: enrol again over HTTPS with the present one.
        4 => Renew(Renew),
        /// The site's time: to whoever asked, and to all when it was set.
        5 => Clock(ClockAnswer),
        /// Another computer uses the same identity: ask for one of your own, see
        /// [`IDENTITY_PATH`](crate::enroll::IDENTITY_PATH).
        20 => NewIdentity(NewIdentity),
        /// Names commands that this device was handed before, ahead of handing them
        /// out again.
        6 => Handed(Handed),
        /// The whole inventory is wanted.
        7 => TellInventory(TellInventory),
    }
}

messages! {
    /// `down/command`.
    pub enum Deliver {
        /// A signed command. Delivered again until the agent reports on it; the
        /// guard recognises repeats and answers with what it knows.
        1 => Command(Signed<Command>),
    }
}

/// Asks an agent for its whole inventory, whatever it told before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TellInventory {}

/// An agent introduces itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Version of the agent.
    pub agent_version: String,
    /// Epoch of this start.
    pub epoch: u64,
    /// Host name.
    pub hostname: String,
    /// The device's own clock, Unix milliseconds, to see a wrong one.
    pub now_ms: u64,
    /// Commands with a durable intent and no outcome yet, at most 4096.
    #[serde(default)]
    #[serde(deserialize_with = "crate::codec::at_most::<4096, _, _>")]
    pub running: Vec<CommandId>,
    /// Whether the agent heeds [`Handed`]: one that does not would run a command that
    /// it has forgotten.
    #[serde(default)]
    pub heeds_handed: bool,
    /// Made at random at each start, so that two computers with one identity are
    /// told apart. It also stands in the MQTT client id, `DEVICE/INSTANCE`. Nil from
    /// agents that have none.
    #[serde(default)]
    pub instance: Uuid,
}

/// Asks an agent to get an identity of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct NewIdentity {}

/// Commands that a device has had before. If its memory does not know one of them,
/// that memory was lost, and the command must not run again.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Handed {
    /// Those that the device, or somebody on its behalf, said it had started.
    #[serde(deserialize_with = "crate::codec::at_most::<4096, _, _>")]
    pub started: Vec<CommandId>,
    /// Those that were sent, and may have been lost on the way.
    #[serde(deserialize_with = "crate::codec::at_most::<4096, _, _>")]
    pub sent: Vec<CommandId>,
    /// Those of `started` that were sent at most, by a relay whose own memory of that
    /// was lost, so that it cannot say either whether the device's is whole. A device
    /// whose memory was open without a break since before the command was given knows.
    #[serde(
        skip_serializing_if = "Vec::is_empty",
        deserialize_with = "crate::codec::at_most::<4096, _, _>"
    )]
    pub unheard: Vec<CommandId>,
}

/// The relay's answer: where it stands with this device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// What is durable at the relay, a position a lane. A missing lane: nothing.
    pub positions: Vec<ReportAck>,
    /// Settings that hold.
    pub config: DeviceConfig,
    /// The site's time, Unix milliseconds.
    pub now_ms: u64,
}

/// Everything of `lane` up to (`epoch`, `through`) is durable at the relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReportAck {
    /// Which lane.
    pub lane: Lane,
    /// Epoch of the last durable report.
    pub epoch: u64,
    /// Its sequence number.
    pub through: u64,
}

/// Asks an agent to renew its certificate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Renew {
    /// When the present one ends, Unix milliseconds.
    pub expires_ms: u64,
}
