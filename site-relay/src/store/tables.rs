//! The store's own tables, and how ids and lanes are keys in all of them. What features
//! keep stands in tables of their own, see [`super::part`].
//!
//! Ids are 128-bit keys, so that a device's or a command's rows lie together.
//! Records are CBOR with named fields, read like messages: a field that a later
//! version adds is ignored, a missing one defaulted.

use super::part::tables;
use unifyit_protocol::{ids::DeviceId, lane::Lane};

tables! { own:
    /// (lane, position) → eight bytes of Unix milliseconds, then the record.
    pub(super) outbox: (u8, u64) => &'static [u8], OUTBOX = "outbox";
    /// (lane, position) → whose record it is, its bytes, and whether it stays while
    /// others go. Only records that are one device's own have a row.
    pub(super) owners: (u8, u64) => (u128, u32, bool), OWNERS = "outbox_owners";
    /// Lane → [`LaneState`](super::outbox::LaneState).
    pub(super) lanes: u8 => &'static [u8], LANES = "lanes";
    /// Single values by name, each its part's own.
    pub(super) meta: &'static str => &'static [u8], META = "meta";
}

/// `META` key: the moment of the last commit, Unix milliseconds.
pub(super) const META_WRITTEN: &str = "written";
/// `META` key: layout of the tables.
pub(super) const META_LAYOUT: &str = "layout";
/// Layout that this build writes.
pub(super) const LAYOUT: u8 = 1;

/// Lane as a key. Never renumber.
pub(crate) fn lane_key(lane: Lane) -> u8 {
    match lane {
        Lane::Urgent => 0,
        Lane::State => 1,
        Lane::Output => 2,
        Lane::Metrics => 3,
    }
}

/// Id as a key.
pub(crate) fn device_key(device: DeviceId) -> u128 {
    device.0.as_u128()
}

/// The device of a key.
pub(crate) fn device_of(key: u128) -> DeviceId {
    DeviceId(uuid::Uuid::from_u128(key))
}
