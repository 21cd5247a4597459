//! Behaviour of the two halves by hand-made cases; the model with losses and
//! crashes is in `protocol/tests/lane_model.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;

fn sender(positions: &[(Lane, u64, u64, u64)]) -> Sender {
    let positions = positions.iter().map(|&(lane, epoch, acked, tail)| SenderPosition {
        lane,
        epoch,
        acked,
        tail,
    });
    Sender::new(LaneLimits::default(), positions).unwrap()
}

fn ack(lane: Lane, epoch: u64, through: u64) -> Ack {
    Ack { lane, epoch, through }
}

fn at(positions: &[Ack]) -> Resume {
    Resume { positions: positions.to_vec() }
}

fn records(numbers: impl IntoIterator<Item = u64>) -> Vec<(u64, Vec<u8>)> {
    numbers.into_iter().map(|n| (n, n.to_be_bytes().to_vec())).collect()
}

fn send(sender: &mut Sender, numbers: impl IntoIterator<Item = u64>) -> Data {
    let fetch = sender.next_fetch().expect("something to fetch");
    sender.fetched(fetch, records(numbers), 0).unwrap().expect("a frame")
}

fn apply(receiver: &mut Receiver, data: Data) -> Apply {
    match receiver.accept(data).unwrap() {
        Verdict::Apply(apply) => apply,
        other => panic!("expected records to apply, got {other:?}"),
    }
}

#[test]
fn records_travel_and_are_trimmed_after_the_ack() {
    let mut s = sender(&[(Lane::Urgent, 7, 0, 3)]);
    let mut r = Receiver::new(&[Lane::Urgent], []);
    assert!(s.next_fetch().is_none(), "nothing is fetched before a session is open");
    assert_eq!(s.open(&r.resume()).unwrap(), Opened::default());
    let data = send(&mut s, 1..=3);
    assert!(s.next_fetch().is_none());
    let applied = apply(&mut r, data);
    assert_eq!(applied.records, records(1..=3));
    assert_eq!(r.resume(), Resume::default(), "nothing is promised before the commit");
    r.committed(applied.becomes).unwrap();
    assert_eq!(r.resume(), at(&[ack(Lane::Urgent, 7, 3)]));
    let trim = s.acked(&applied.becomes, 1).unwrap();
    assert_eq!(trim, Some(Trim { lane: Lane::Urgent, epoch: 7, through: 3 }));
    assert_eq!(s.acked(&applied.becomes, 1).unwrap(), None, "a repeated ack is harmless");
    assert_eq!((s.backlog(Lane::Urgent), s.in_flight(Lane::Urgent)), (0, InFlight::default()));
}

#[test]
fn frames_are_accepted_ahead_of_the_commit_and_forgotten_when_it_fails() {
    let mut s = sender(&[(Lane::State, 1, 0, 2)]);
    let mut r = Receiver::new(&[Lane::State], []);
    s.open(&r.resume()).unwrap();
    let (one, two) = (send(&mut s, [1]), send(&mut s, [2]));
    apply(&mut r, one.clone());
    assert_eq!(r.accept(one.clone()).unwrap(), Verdict::Duplicate(ack(Lane::State, 1, 0)));
    apply(&mut r, two.clone());
    assert_eq!(r.uncommitted(Lane::State), 2);
    assert_eq!(r.abandoned(), Resume::default());
    assert_eq!(r.accept(two).unwrap(), Verdict::OutOfStep(Resume::default()));
    assert_eq!(apply(&mut r, one).records, records([1]));
}

#[test]
fn only_the_unseen_tail_of_an_overlapping_frame_is_applied() {
    let mut r = Receiver::new(&[Lane::State], [ack(Lane::State, 1, 2)]);
    let mut s = sender(&[(Lane::State, 1, 0, 4)]);
    s.open(&Resume::default()).unwrap();
    let applied = apply(&mut r, send(&mut s, 1..=4));
    assert_eq!(applied.records, records(3..=4));
    assert_eq!(applied.becomes, ack(Lane::State, 1, 4));
}

#[test]
fn a_missing_frame_is_told_once_and_mended_by_a_rewind() {
    let mut s = sender(&[(Lane::State, 1, 0, 3)]);
    let mut r = Receiver::new(&[Lane::State], []);
    s.open(&r.resume()).unwrap();
    let (_lost, two, three) = (send(&mut s, [1]), send(&mut s, [2]), send(&mut s, [3]));
    let Verdict::OutOfStep(resume) = r.accept(two).unwrap() else { panic!("must notice") };
    assert_eq!(r.accept(three).unwrap(), Verdict::Ignored);
    s.open(&resume).unwrap();
    assert_eq!(apply(&mut r, send(&mut s, 1..=3)).records, records(1..=3));
}

#[test]
fn dropped_numbers_are_stepped_over() {
    let mut s = sender(&[(Lane::Metrics, 1, 0, 9)]);
    let mut r = Receiver::new(&[Lane::Metrics], []);
    s.open(&r.resume()).unwrap();
    let first = send(&mut s, [1, 2, 5, 6]);
    assert_eq!(
        (first.prev, first.skipped, first.records.len()),
        (0, 0, 2),
        "a frame ends at a hole"
    );
    apply(&mut r, first);
    let second = send(&mut s, [5, 6]);
    assert_eq!((second.prev, second.skipped), (2, 2));
    let applied = apply(&mut r, second);
    assert_eq!((applied.records, applied.skipped), (records([5, 6]), 2));
    let fetch = s.next_fetch().unwrap();
    assert_eq!(
        s.fetched(fetch, Vec::new(), 0),
        Err(LaneError::Vanished { lane: Lane::Metrics, from: 7, through: 9 }),
        "records do not vanish without a word"
    );
    s.dropped(Lane::Metrics, 1, 9).unwrap();
    let last = send(&mut s, []);
    let applied = apply(&mut r, last);
    assert_eq!((applied.records.len(), applied.becomes), (0, ack(Lane::Metrics, 1, 9)));
}

#[test]
fn an_epoch_is_acknowledged_before_the_next_one_starts() {
    let mut s = sender(&[(Lane::Urgent, 3, 0, 1), (Lane::Urgent, 8, 0, 1)]);
    let mut r = Receiver::new(&[Lane::Urgent], []);
    s.open(&r.resume()).unwrap();
    let old = apply(&mut r, send(&mut s, [1]));
    assert!(s.next_fetch().is_none(), "the next epoch waits");
    r.committed(old.becomes).unwrap();
    s.acked(&old.becomes, 0).unwrap();
    let new = send(&mut s, [1]);
    assert_eq!((new.epoch, new.prev), (8, 0));
    assert_eq!(apply(&mut r, new).becomes, ack(Lane::Urgent, 8, 1));
}

#[test]
fn an_epoch_does_not_start_in_its_middle() {
    let mut r = Receiver::new(&[Lane::Urgent], [ack(Lane::Urgent, 3, 5)]);
    let data = Data {
        lane: Lane::Urgent,
        epoch: 4,
        prev: 5,
        skipped: 0,
        records: vec![serde_bytes::ByteBuf::from(vec![1])],
    };
    assert!(matches!(r.accept(data).unwrap(), Verdict::OutOfStep(_)));
}

#[test]
fn an_old_copy_of_the_store_is_noticed_and_starts_a_new_epoch() {
    let mut s = sender(&[(Lane::State, 5, 10, 12)]);
    let peer = ack(Lane::State, 5, 20);
    let refused = s.open(&at(&[peer])).unwrap_err();
    assert_eq!(refused, LaneError::PeerAhead { lane: Lane::State, peer });
    assert!(!s.is_open());
    s.start_epoch(Lane::State, 6).unwrap();
    s.appended(Lane::State, 2).unwrap();
    let opened = s.open(&at(&[peer])).unwrap();
    assert_eq!(opened.trims, [Trim { lane: Lane::State, epoch: 5, through: 12 }]);
    let fetch = s.next_fetch().unwrap();
    assert_eq!((fetch.epoch, fetch.after, fetch.until), (6, 0, 2));
    let later = ack(Lane::State, 7, 1);
    assert_eq!(s.open(&at(&[later])), Err(LaneError::PeerAhead { lane: Lane::State, peer: later }));
}

#[test]
fn what_a_restored_peer_forgot_is_reported_and_stepped_over() {
    let mut s = sender(&[(Lane::State, 5, 10, 12)]);
    let opened = s.open(&at(&[ack(Lane::State, 5, 4)])).unwrap();
    assert_eq!(opened.forgotten, [Forgotten { lane: Lane::State, epoch: 5, from: 5, through: 10 }]);
    let data = send(&mut s, [11, 12]);
    assert_eq!((data.prev, data.skipped), (4, 6));
}

#[test]
fn a_lost_ack_is_made_good_when_the_session_opens() {
    let mut s = sender(&[(Lane::Output, 5, 10, 12)]);
    let opened = s.open(&at(&[ack(Lane::Output, 5, 12)])).unwrap();
    assert_eq!(opened.trims, [Trim { lane: Lane::Output, epoch: 5, through: 12 }]);
    assert!(s.next_fetch().is_none());
}

#[test]
fn an_ack_of_what_was_not_sent_is_refused() {
    let mut s = sender(&[(Lane::Urgent, 1, 0, 2)]);
    s.open(&Resume::default()).unwrap();
    s.appended(Lane::Urgent, 5).unwrap();
    send(&mut s, 1..=2);
    let refused = s.acked(&ack(Lane::Urgent, 1, 3), 0);
    assert_eq!(refused, Err(LaneError::AckBeyondSent { lane: Lane::Urgent, through: 3, sent: 2 }));
    let unknown = ack(Lane::Urgent, 9, 1);
    assert_eq!(
        s.acked(&unknown, 0),
        Err(LaneError::PeerAhead { lane: Lane::Urgent, peer: unknown })
    );
    assert_eq!(
        s.acked(&ack(Lane::State, 1, 1), 0),
        Err(LaneError::UnknownLane { lane: Lane::State })
    );
}

#[test]
fn urgent_goes_first_and_has_its_own_credit() {
    let mut s = sender(&[(Lane::Metrics, 1, 0, 10_000), (Lane::Urgent, 1, 0, 0)]);
    s.open(&Resume::default()).unwrap();
    let mut next = 0;
    while let Some(fetch) = s.next_fetch() {
        let big = (next + 1..=next + 4).map(|n| (n, vec![0; 8 * 1024])).collect();
        let data = s.fetched(fetch, big, 0).unwrap().unwrap();
        next = data.through().unwrap();
        let out = s.in_flight(Lane::Metrics).bytes;
        assert!(out <= s.bulk_window(), "{out} bytes of bulk in flight");
    }
    assert!(next > 4, "the window holds several frames");
    s.appended(Lane::Urgent, 1).unwrap();
    assert_eq!(s.next_fetch().map(|f| f.lane), Some(Lane::Urgent));
}

#[test]
fn a_slow_link_shrinks_the_bulk_window_and_a_quick_one_opens_it() {
    let limits = LaneLimits::default();
    let mut s = sender(&[(Lane::Metrics, 1, 0, u64::MAX / 2)]);
    s.open(&Resume::default()).unwrap();
    let (mut next, mut now) = (1, 0);
    let mut round = |s: &mut Sender, delay: u64, rounds: usize| {
        for _ in 0..rounds {
            let sent_at = now;
            while let Some(fetch) = s.next_fetch() {
                s.fetched(fetch, vec![(next, vec![0; 31 * 1024])], sent_at).unwrap().unwrap();
                next += 1;
            }
            now += delay;
            s.acked(&ack(Lane::Metrics, 1, next - 1), now).unwrap();
        }
    };
    round(&mut s, 5000, 20);
    assert_eq!(s.bulk_window(), limits.bulk_window_min);
    round(&mut s, 20, 200);
    assert_eq!(s.bulk_window(), limits.bulk_window_max);
}

#[test]
fn records_fetched_for_a_session_that_ended_are_not_sent() {
    let mut s = sender(&[(Lane::Urgent, 1, 0, 5)]);
    s.open(&Resume::default()).unwrap();
    let fetch = s.next_fetch().unwrap();
    s.open(&Resume::default()).unwrap();
    assert_eq!(s.fetched(fetch, records(1..=5), 0), Ok(None));
    assert_eq!(send(&mut s, 1..=5).prev, 0);
}

#[test]
fn one_record_larger_than_a_frame_still_travels_and_an_impossible_one_is_refused() {
    let mut s = sender(&[(Lane::State, 1, 0, 2)]);
    s.open(&Resume::default()).unwrap();
    let fetch = s.next_fetch().unwrap();
    let data = s.fetched(fetch, vec![(1, vec![0; MAX_RECORD]), (2, vec![0])], 0).unwrap().unwrap();
    assert_eq!(data.records.len(), 1);
    let framed = crate::link::Frame::Data(data).encode().unwrap();
    assert!(framed.len() <= crate::codec::MAX_MESSAGE);
    s.acked(&ack(Lane::State, 1, 1), 0).unwrap();
    let fetch = s.next_fetch().unwrap();
    assert_eq!(
        s.fetched(fetch, vec![(2, vec![0; MAX_RECORD + 1])], 0),
        Err(LaneError::RecordTooLarge { lane: Lane::State, seq: 2 })
    );
}

#[test]
fn senseless_frames_are_refused() {
    let mut r = Receiver::new(&[Lane::Urgent], []);
    let frame = |lane, prev, skipped, n: usize| Data {
        lane,
        epoch: 1,
        prev,
        skipped,
        records: vec![serde_bytes::ByteBuf::new(); n],
    };
    let senseless = Err(LaneError::Senseless { lane: Lane::Urgent });
    assert_eq!(r.accept(frame(Lane::Urgent, 0, 0, 0)), senseless);
    assert_eq!(r.accept(frame(Lane::Urgent, u64::MAX, 0, 1)), senseless);
    assert_eq!(r.accept(frame(Lane::Urgent, 1, u64::MAX, 0)), senseless);
    assert_eq!(
        r.accept(frame(Lane::State, 0, 0, 1)),
        Err(LaneError::UnknownLane { lane: Lane::State })
    );
}

#[test]
fn a_commit_that_outlived_its_session_and_the_senders_process_still_counts() {
    let mut s = sender(&[(Lane::Urgent, 1, 0, 2)]);
    s.open(&Resume::default()).unwrap();
    // Sent by the process before, committed by the peer only after it resumed.
    let trim = s.acked(&ack(Lane::Urgent, 1, 2), 0).unwrap();
    assert_eq!(trim, Some(Trim { lane: Lane::Urgent, epoch: 1, through: 2 }));
    assert!(s.next_fetch().is_none());
}

#[test]
fn a_lane_that_the_peer_does_not_take_waits_and_keeps_no_other() {
    let mut s = sender(&[(Lane::Output, 3, 0, 2), (Lane::Metrics, 3, 0, 2)]);
    s.meet(Some(&[Lane::Urgent, Lane::Metrics]));
    s.open(&Resume::default()).unwrap();
    assert_eq!(send(&mut s, 1..=2).lane, Lane::Metrics);
    assert!(s.next_fetch().is_none());
    // One that does not say takes what there was before it could be said.
    s.meet(Some(&[]));
    s.open(&Resume::default()).unwrap();
    assert!(s.next_fetch().is_none(), "it takes none that is known here");
    s.meet(None);
    s.open(&Resume::default()).unwrap();
    assert_eq!(send(&mut s, 1..=2).lane, Lane::Output);
    assert_eq!(s.backlog(Lane::Output), 2);
}

#[test]
fn a_receiver_says_which_lanes_it_takes() {
    let r = Receiver::new(&[Lane::State], [ack(Lane::Urgent, 1, 4)]);
    assert_eq!(r.lanes(), [Lane::Urgent, Lane::State]);
}
