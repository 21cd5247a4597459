//! Where the store stood when it was opened, before its new epoch: by that an older
//! copy of it is known.

use super::outbox::LaneState;
use unifyit_protocol::lane::Ack;

/// Where the store stood when it was opened.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Opened {
    /// Its last commit, Unix milliseconds; 0 when it does not say.
    pub(crate) written_ms: u64,
    /// When it was opened.
    pub(crate) opened_ms: u64,
    /// Epoch and last number of each lane.
    pub(crate) lanes: [(u64, u64); 4],
}

impl Opened {
    pub(crate) fn of(lanes: &[LaneState; 4], written_ms: u64, opened_ms: u64) -> Self {
        let lanes = lanes.each_ref().map(|lane| (lane.epoch(), lane.tail_seq()));
        Self { written_ms, opened_ms, lanes }
    }

    /// Whether the cloud has what this store did not have when it was opened and
    /// has not made since.
    pub(crate) fn is_older_than(&self, peer: &[Ack], written: u64) -> bool {
        peer.iter().any(|ack| {
            let (epoch, tail) = self.lanes[ack.lane.index()];
            ack.epoch > written
                || (ack.epoch < written && ack.epoch > epoch)
                || (ack.epoch == epoch && ack.epoch != written && ack.through > tail)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unifyit_protocol::lane::Lane;

    #[test]
    fn an_older_copy_shows_by_numbers_that_it_never_gave_out() {
        let lane = |epoch, through| Ack { lane: Lane::Urgent, epoch, through };
        let before = Opened { lanes: [(5, 100); 4], ..Opened::default() };
        // Epoch 9 is the one of this start.
        for (peer, old) in [
            (lane(5, 100), false),
            (lane(5, 40), false),
            (lane(4, 900), false),
            (lane(5, 101), true),
            (lane(7, 1), true),
            (lane(9, 3), false),
            (lane(10, 1), true),
        ] {
            assert_eq!(before.is_older_than(&[peer], 9), old, "{peer:?}");
        }
        assert!(!before.is_older_than(&[], 9), "a cloud that has nothing says nothing");
        let new = Opened::default();
        assert!(new.is_older_than(&[lane(3, 1)], 9), "an empty disk under a known name");
    }
}
