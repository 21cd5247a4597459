//! What a simulated device has reported and the relay has not yet acknowledged.
//! In memory (the real agent's spool is on disk), with the real numbering:
//! sequence numbers within an epoch, one batch a lane in flight, rewind to
//! whatever position the relay names (G1, G4).

use std::collections::VecDeque;
use unifyit_protocol::{
    ProtocolError,
    lan::ReportAck,
    lane::Lane,
    report::{MAX_BATCH, Report, ReportBatch, Sequenced},
};

/// Most reports that wait in one lane. Beyond it samples are not taken, which
/// the fleet counts.
const MAX_WAITING: usize = 4096;
/// Most bytes of one batch.
const BATCH_BYTES: usize = 256 * 1024;

/// All lanes of one device.
#[derive(Debug)]
pub struct Spool {
    epoch: u64,
    lanes: [LaneSpool; 4],
}

#[derive(Debug, Default)]
struct LaneSpool {
    /// Number of the last report made.
    last: u64,
    /// Number of the last report acknowledged.
    acked: u64,
    /// Number of the last report of the batch in flight.
    in_flight: Option<u64>,
    waiting: VecDeque<Sequenced>,
}

impl Spool {
    /// An empty spool; `epoch` must be larger than that of any earlier start.
    #[must_use]
    pub fn new(epoch: u64) -> Self {
        Self { epoch, lanes: Default::default() }
    }

    /// Epoch of this start.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Adds a report; `false` when the lane is full.
    ///
    /// # Errors
    /// When the report cannot be encoded.
    pub fn push(&mut self, lane: Lane, report: &Report) -> Result<bool, ProtocolError> {
        let spool = &mut self.lanes[lane.index()];
        if spool.waiting.len() >= MAX_WAITING {
            return Ok(false);
        }
        spool.last += 1;
        spool.waiting.push_back(Sequenced { seq: spool.last, body: report.encode()? });
        Ok(true)
    }

    /// After a connect: what was in flight is sent again from where the relay
    /// stands.
    pub fn reconnected(&mut self, positions: &[ReportAck]) {
        for lane in Lane::ALL {
            self.lanes[lane.index()].in_flight = None;
        }
        for position in positions {
            self.acknowledged(*position);
        }
    }

    /// Takes an acknowledgement and returns how many reports it covers. One that
    /// does not reach the end of what is in flight means: go on from there.
    pub fn acknowledged(&mut self, ack: ReportAck) -> u64 {
        if ack.epoch != self.epoch {
            // Of an earlier start: nothing of this one is there yet.
            self.lanes[ack.lane.index()].in_flight = None;
            return 0;
        }
        let spool = &mut self.lanes[ack.lane.index()];
        spool.in_flight = None;
        let mut covered = 0;
        while spool.waiting.front().is_some_and(|report| report.seq <= ack.through) {
            spool.waiting.pop_front();
            covered += 1;
        }
        spool.acked = spool.acked.max(ack.through.min(spool.last));
        covered
    }

    /// The next batch to send, most urgent lane first.
    pub fn next_batch(&mut self) -> Option<ReportBatch> {
        for lane in Lane::ALL {
            let epoch = self.epoch;
            let spool = &mut self.lanes[lane.index()];
            if spool.in_flight.is_some() || spool.waiting.is_empty() {
                continue;
            }
            let mut bytes = 0;
            let reports: Vec<Sequenced> = spool
                .waiting
                .iter()
                .take(MAX_BATCH)
                .take_while(|report| {
                    let fits = bytes == 0 || bytes + report.body.len() <= BATCH_BYTES;
                    bytes += report.body.len();
                    fits
                })
                .cloned()
                .collect();
            spool.in_flight = reports.last().map(|report| report.seq);
            return Some(ReportBatch {
                epoch,
                lane,
                prev: spool.acked,
                shift_ms: Some(0),
                reports,
            });
        }
        None
    }

    /// Whether everything of a lane is acknowledged.
    #[must_use]
    pub fn is_settled(&self, lane: Lane) -> bool {
        self.lanes[lane.index()].waiting.is_empty()
    }

    /// Reports that wait, in all lanes.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.lanes.iter().map(|lane| lane.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unifyit_protocol::report::Gap;

    fn report() -> Report {
        let reason = String::new();
        Report::Gap(Gap { lane: Lane::Urgent, count: 1, from_ms: 0, to_ms: 0, reason })
    }

    fn numbers(batch: &ReportBatch) -> (u64, Vec<u64>) {
        (batch.prev, batch.reports.iter().map(|r| r.seq).collect())
    }

    #[test]
    fn a_lane_waits_for_its_acknowledgement_and_goes_on_from_it() {
        let mut spool = Spool::new(7);
        for _ in 0..3 {
            assert!(spool.push(Lane::Urgent, &report()).unwrap());
        }
        assert_eq!(numbers(&spool.next_batch().unwrap()), (0, vec![1, 2, 3]));
        assert!(spool.next_batch().is_none(), "one batch in flight");
        spool.acknowledged(ReportAck { lane: Lane::Urgent, epoch: 7, through: 2 });
        assert_eq!(numbers(&spool.next_batch().unwrap()), (2, vec![3]));
    }

    #[test]
    fn a_relay_that_knows_only_an_earlier_epoch_gets_everything_again() {
        let mut spool = Spool::new(7);
        assert!(spool.push(Lane::Metrics, &report()).unwrap());
        assert!(spool.next_batch().is_some());
        spool.reconnected(&[ReportAck { lane: Lane::Metrics, epoch: 3, through: 90 }]);
        assert_eq!(numbers(&spool.next_batch().unwrap()), (0, vec![1]));
    }
}
