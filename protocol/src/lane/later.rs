//! Lanes of later versions: of a list that names one the others are read, and a frame of
//! one is skipped as a kind that came later is.

use super::{Ack, Lane};
use crate::codec::at_most;
use serde::{
    Deserialize, Deserializer,
    de::{IntoDeserializer, value::Error},
};

/// Lanes that one message may name.
const MAX_LANES: usize = 16;

/// The lane of a name, if this version has it.
fn lane_of(name: &str) -> Option<Lane> {
    let name: serde::de::value::StrDeserializer<'_, Error> = name.into_deserializer();
    Lane::deserialize(name).ok()
}

/// Positions in those lanes that this version has.
pub(super) fn positions<'de, D: Deserializer<'de>>(reader: D) -> Result<Vec<Ack>, D::Error> {
    #[derive(Deserialize)]
    struct Position {
        lane: String,
        epoch: u64,
        through: u64,
    }
    let all = at_most::<MAX_LANES, Position, _>(reader)?.into_iter();
    let known = all.filter_map(|Position { lane, epoch, through }| {
        Some(Ack { lane: lane_of(&lane)?, epoch, through })
    });
    Ok(known.collect())
}

/// Those of a list of lanes that this version has: none of them is not the same as no list.
pub(crate) fn lanes<'de, D: Deserializer<'de>>(reader: D) -> Result<Option<Vec<Lane>>, D::Error> {
    let all = at_most::<MAX_LANES, String, _>(reader)?;
    Ok(Some(all.iter().filter_map(|name| lane_of(name)).collect()))
}

/// The lane that a frame's body names, and nothing else of it.
#[derive(Deserialize)]
pub(crate) struct LaneOf {
    lane: String,
}

impl LaneOf {
    /// Whether this version has that lane.
    pub(crate) fn known(&self) -> bool {
        lane_of(&self.lane).is_some()
    }
}
