//! Where a session starts: what the relay says of itself, and its lane machine.

use super::session::{Ended, SessionParts};
use crate::{clock::SiteClock, store::Lanes};
use unifyit_protocol::{
    lane::{Forgotten, Lane, LaneLimits, Sender},
    link::LinkHello,
};

/// The relay's first word.
pub(super) fn hello(parts: &SessionParts, epoch: u64) -> LinkHello {
    LinkHello {
        version: env!("CARGO_PKG_VERSION").into(),
        epoch,
        now_ms: parts.clock.own_ms(),
        lan_https: parts.lan_https.clone(),
        ca_fingerprint: parts.ca_fingerprint.to_vec(),
        sister_addresses: parts.sister_addresses.clone(),
        applied_ms: Vec::new(),
        takes_newest: false,
        lanes: Some(vec![Lane::Urgent]),
    }
}

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
