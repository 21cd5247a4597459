//! Frames of lanes that came later.

use super::Frame;
use crate::{
    ProtocolError,
    envelope::{Decoded, Envelope},
    lane::LaneOf,
};

/// The kinds of frames that are about one lane: data and acknowledgements.
const OF_A_LANE: [u16; 2] = [3, 4];

impl Frame {
    /// Reads a frame. One of a lane that came later is skipped as a kind that came later
    /// is. Whoever sent it despite [`LinkHello::lanes`](super::LinkHello::lanes) gets no
    /// acknowledgement for it, and what shares that lane's window waits with it.
    ///
    /// # Errors
    /// [`ProtocolError`] when the bytes are no frame.
    pub fn read(bytes: &[u8]) -> Result<Decoded<Self>, ProtocolError> {
        Self::decode(bytes).or_else(|error| later(bytes).map(Decoded::Unknown).ok_or(error))
    }
}

/// The kind of a frame of a lane that this version does not have.
fn later(bytes: &[u8]) -> Option<u16> {
    let envelope = Envelope::unpack(bytes).ok()?;
    let of_a_lane = OF_A_LANE.contains(&envelope.kind);
    let unknown = |lane: LaneOf| !lane.known();
    (of_a_lane && envelope.read().is_ok_and(unknown)).then_some(envelope.kind)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        lane::{Ack, Data, Lane, Resume},
        link::LinkHello,
    };
    use serde::Serialize;

    /// As a later version writes it.
    #[derive(Serialize)]
    struct Position {
        lane: &'static str,
        epoch: u64,
        through: u64,
    }

    #[derive(Serialize)]
    struct Records {
        lane: &'static str,
        epoch: u64,
        prev: u64,
        records: Vec<serde_bytes::ByteBuf>,
    }

    fn read(kind: u16, body: &impl Serialize) -> Result<Decoded<Frame>, ProtocolError> {
        Frame::read(&Envelope::pack(kind, body)?)
    }

    #[test]
    fn frames_of_a_lane_that_came_later_are_skipped_and_others_read() {
        let of = |lane| Records { lane, epoch: 1, prev: 0, records: vec![vec![7].into()] };
        let records = vec![serde_bytes::ByteBuf::from(vec![7])];
        let metrics = Data { lane: Lane::Metrics, epoch: 1, prev: 0, skipped: 0, records };
        assert_eq!(read(3, &of("event_logs")), Ok(Decoded::Unknown(3)));
        assert_eq!(read(3, &of("metrics")), Ok(Decoded::Known(Frame::Data(metrics))));
        let ack = |lane| Position { lane, epoch: 1, through: 4 };
        let output = Ack { lane: Lane::Output, epoch: 1, through: 4 };
        assert_eq!(read(4, &ack("files")), Ok(Decoded::Unknown(4)));
        assert_eq!(read(4, &ack("output")), Ok(Decoded::Known(Frame::Ack(output))));
        // What is broken stays so, whatever lane it says that it is of.
        assert!(read(4, &"files").is_err());
        assert!(read(3, &ack("metrics")).is_err());
    }

    #[test]
    fn of_a_list_the_lanes_that_came_later_are_left_out() {
        #[derive(Serialize)]
        struct Positions {
            positions: Vec<Position>,
        }
        let at = |lane, through| Position { lane, epoch: 2, through };
        let positions = vec![at("event_logs", 9), at("state", 5), at("files", 1)];
        let state = Ack { lane: Lane::State, epoch: 2, through: 5 };
        let resume = Frame::Resume(Resume { positions: vec![state] });
        assert_eq!(read(2, &Positions { positions }), Ok(Decoded::Known(resume)));

        #[derive(Serialize)]
        struct Hello {
            version: &'static str,
            epoch: u64,
            now_ms: u64,
            lanes: Vec<&'static str>,
        }
        let lanes = vec!["urgent", "files", "metrics"];
        let hello = Hello { version: "9", epoch: 1, now_ms: 2, lanes };
        match read(1, &hello) {
            Ok(Decoded::Known(Frame::Hello(LinkHello { lanes, .. }))) => {
                assert_eq!(lanes, Some(vec![Lane::Urgent, Lane::Metrics]));
            }
            other => panic!("{other:?}"),
        }
    }
}
