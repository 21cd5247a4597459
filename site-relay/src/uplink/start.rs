//! Where a session's lane machine starts.

use super::session::Ended;
use crate::{clock::SiteClock, store::Lanes};
use unifyit_protocol::lane::{Forgotten, Lane, LaneLimits, Sender};

/// The sender, from what the store has.
pub(super) fn sender_of(lanes: &Lanes) -> Result<Sender, Ended> {
    let positions = Lane::ALL.into_iter().flat_map(|lane| lanes.of(lane).positions(lane));
    let mut sender = Sender::new(LaneLimits::default(), positions)?;
    for lane in Lane::ALL {
        for (epoch, through) in lanes.of(lane).dropped_numbers() {
            sender.dropped(lane, epoch, through)?;
        }
    }
    Ok(sender)
}

/// What the cloud lacks of devices' clocks is told again as it is measured.
pub(super) fn forget_told(clock: &SiteClock, lost: &[Forgotten]) {
    if !lost.is_empty() {
        clock.forget_told();
    }
}
