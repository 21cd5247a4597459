//! `/unifyit/tunnel/1`: live bytes between cloud and relay, one libp2p stream a
//! tunnel, opened by the cloud. Frames are length-prefixed ([`crate::link`]).

use crate::{
    command::Command,
    envelope::messages,
    ids::DeviceId,
    live::{TunnelClosed, TunnelCredit, TunnelData, TunnelResize},
    signing::Signed,
};
use serde::{Deserialize, Serialize};

/// Protocol name.
pub const PROTOCOL: &str = "/unifyit/tunnel/1";

messages! {
    /// What travels on a tunnel stream, both ways.
    pub enum TunnelFrame {
        /// First frame, from the cloud: the signed command that opens the terminal.
        1 => Open(TunnelOpen),
        /// First frame, from the relay: the command went to the device.
        2 => Accepted(Accepted),
        /// Bytes.
        3 => Data(TunnelData),
        /// Window change, from the cloud.
        4 => Resize(TunnelResize),
        /// Flow control.
        5 => Credit(TunnelCredit),
        /// Last frame, either way.
        6 => Closed(TunnelClosed),
    }
}

/// Opens a tunnel to a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TunnelOpen {
    /// To which device.
    pub device: DeviceId,
    /// A signed [`crate::command::Action::Terminal`].
    pub command: Signed<Command>,
}

/// The relay has passed the command on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accepted {}
