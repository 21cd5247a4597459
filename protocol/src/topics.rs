//! MQTT topics of the LAN: `v1/<device>/up/<kind>` and `v1/<device>/down/<kind>`.
//!
//! The set is fixed and none carries an id that grows, because a broker keeps
//! state for each topic it has ever seen.

use crate::ids::DeviceId;

/// What a device publishes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Up {
    /// [`crate::lan::Hello`], [`crate::lan::UpControl`]: once after connecting.
    Hello,
    /// [`crate::report::ReportBatch`]: durable, sequenced, acknowledged.
    Report,
    /// [`crate::live::LiveUp`]: terminal bytes, output as it appears. Not durable.
    Live,
}

/// What a device listens to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Down {
    /// [`crate::lan::DownControl`]: welcome, acknowledgements, settings.
    Control,
    /// [`crate::lan::Deliver`]: a signed command.
    Command,
    /// [`crate::live::LiveDown`]: keystrokes, resizes. Not durable.
    Live,
}

impl Up {
    /// The last level of the topic.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Report => "report",
            Self::Live => "live",
        }
    }

    /// The topic of one device.
    #[must_use]
    pub fn topic(self, device: DeviceId) -> String {
        format!("v1/{device}/up/{}", self.as_str())
    }

    /// Reads the last level of a topic.
    #[must_use]
    pub fn parse(kind: &str) -> Option<Self> {
        [Self::Hello, Self::Report, Self::Live].into_iter().find(|k| k.as_str() == kind)
    }
}

impl Down {
    /// The last level of the topic.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Control => "control",
            Self::Command => "command",
            Self::Live => "live",
        }
    }

    /// The topic of one device.
    #[must_use]
    pub fn topic(self, device: DeviceId) -> String {
        format!("v1/{device}/down/{}", self.as_str())
    }
}

/// The filter that an agent subscribes to: everything that is for it.
#[must_use]
pub fn down_filter(device: DeviceId) -> String {
    format!("v1/{device}/down/#")
}

/// Which of its own topics a device publishes to, or `None` for a topic that
/// is not its own or does not exist. Deny by default.
#[must_use]
pub fn publish_allowed(device: DeviceId, topic: &[u8]) -> Option<Up> {
    let rest = topic.strip_prefix(format!("v1/{device}/up/").as_bytes())?;
    Up::parse(std::str::from_utf8(rest).ok()?)
}

/// Whether a device may subscribe to a filter: its own `down` topics, one by
/// one or by a trailing wildcard, and nothing else (no `$share`, no `$SYS`).
#[must_use]
pub fn subscribe_allowed(device: DeviceId, filter: &[u8]) -> bool {
    let Some(rest) = filter.strip_prefix(format!("v1/{device}/down/").as_bytes()) else {
        return false;
    };
    matches!(rest, b"#" | b"+" | b"control" | b"command" | b"live")
}
