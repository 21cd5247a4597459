//! Two lane machines over a link that loses, repeats and reorders frames, with
//! hosts that crash and stores that keep only what was committed.
//!
//! The judge is the receiving store: what it applied must be, lane by lane, a
//! prefix of what the sending store appended, each record once (G2, G4); in the
//! end it must be all of it. Bytes in flight stay bounded (G10), and no bulk is
//! fetched while urgent records wait with credit (G5).
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use proptest::prelude::*;
use std::collections::BTreeMap;
use unifyit_protocol::lane::{
    Ack, Apply, Data, Lane, LaneLimit, LaneLimits, Receiver, Resume, Sender, SenderPosition,
    Verdict,
};

/// Small, so that every bound is reached.
fn limits() -> LaneLimits {
    let limit = |frame_bytes| LaneLimit { frame_bytes, frame_records: 5, frames_in_flight: 6 };
    LaneLimits {
        urgent: limit(200),
        urgent_window: 600,
        bulk: limit(60),
        bulk_window_min: 120,
        bulk_window_max: 400,
        target_delay_ms: 20,
    }
}

/// What the sending host keeps on disk. A record's content is its place in the
/// order of appending over all epochs of its lane.
#[derive(Debug, Default, Clone)]
struct Outbox {
    records: BTreeMap<(Lane, u64, u64), u64>,
    positions: BTreeMap<(Lane, u64), (u64, u64)>,
    appended: BTreeMap<Lane, u64>,
    dropped: BTreeMap<Lane, Vec<u64>>,
    dropped_through: BTreeMap<(Lane, u64), u64>,
    epoch: u64,
}

impl Outbox {
    fn positions(&self) -> Vec<SenderPosition> {
        self.positions
            .iter()
            .map(|(&(lane, epoch), &(acked, tail))| SenderPosition { lane, epoch, acked, tail })
            .collect()
    }

    /// A start of the process: the next epoch, and those that still hold records.
    fn start(&mut self) -> Sender {
        self.epoch += 1;
        self.positions.retain(|_, (acked, tail)| acked < tail);
        for lane in Lane::ALL {
            self.positions.insert((lane, self.epoch), (0, 0));
        }
        let mut sender = Sender::new(limits(), self.positions()).unwrap();
        for (&(lane, epoch), &through) in &self.dropped_through {
            sender.dropped(lane, epoch, through).unwrap();
        }
        sender
    }

    fn append(&mut self, lane: Lane) -> u64 {
        let tail = &mut self.positions.get_mut(&(lane, self.epoch)).unwrap().1;
        *tail += 1;
        let content = self.appended.entry(lane).or_default();
        *content += 1;
        self.records.insert((lane, self.epoch, *tail), *content);
        *tail
    }

    fn read(&self, lane: Lane, epoch: u64, after: u64, most: usize) -> Vec<(u64, Vec<u8>)> {
        self.records
            .range((lane, epoch, after + 1)..=(lane, epoch, u64::MAX))
            .take(most)
            .map(|(&(_, _, seq), content)| {
                let mut record = content.to_be_bytes().to_vec();
                record.resize(8 + (*content as usize * 7) % 40, 0);
                (seq, record)
            })
            .collect()
    }

    fn trim(&mut self, lane: Lane, epoch: u64, through: u64) {
        self.records.retain(|&(l, e, n), _| l != lane || (e, n) > (epoch, through));
        for (&(_, e), position) in self.positions.iter_mut().filter(|((l, _), _)| *l == lane) {
            match e.cmp(&epoch) {
                std::cmp::Ordering::Less => position.0 = position.1,
                std::cmp::Ordering::Equal => position.0 = position.0.max(through),
                std::cmp::Ordering::Greater => {}
            }
        }
    }
}

/// What the receiving host keeps on disk.
#[derive(Debug, Default, Clone)]
struct Inbox {
    applied: BTreeMap<Lane, Vec<u64>>,
    cursors: BTreeMap<Lane, Ack>,
}

#[derive(Debug, Clone)]
enum ToReceiver {
    Data(Data),
}

#[derive(Debug, Clone)]
enum ToSender {
    Resume(Resume),
    Ack(Ack),
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Append(Lane),
    Send,
    /// Delivers a frame to the receiver: which one of those under way.
    Deliver(usize),
    /// Delivers an answer to the sender.
    Answer(usize),
    Commit,
    FailCommit,
    Lose(usize),
    LoseAnswer(usize),
    Repeat(usize),
    Reconnect,
    CrashSender,
    CrashReceiver,
    Drop(Lane),
}

fn step() -> impl Strategy<Value = Step> {
    let lane = prop::sample::select(Lane::ALL.to_vec());
    prop_oneof![
        6 => lane.clone().prop_map(Step::Append),
        8 => Just(Step::Send),
        10 => (0..4usize).prop_map(Step::Deliver),
        8 => (0..4usize).prop_map(Step::Answer),
        5 => Just(Step::Commit),
        1 => Just(Step::FailCommit),
        1 => any::<usize>().prop_map(Step::Lose),
        1 => any::<usize>().prop_map(Step::LoseAnswer),
        1 => any::<usize>().prop_map(Step::Repeat),
        1 => Just(Step::Reconnect),
        1 => Just(Step::CrashSender),
        1 => Just(Step::CrashReceiver),
        1 => lane.prop_map(Step::Drop),
    ]
}

struct World {
    outbox: Outbox,
    inbox: Inbox,
    sender: Sender,
    receiver: Receiver,
    frames: Vec<ToReceiver>,
    answers: Vec<ToSender>,
    pending: Vec<(Lane, Apply)>,
    now_ms: u64,
}

impl World {
    fn new() -> Self {
        let mut outbox = Outbox::default();
        let sender = outbox.start();
        let mut world = Self {
            outbox,
            inbox: Inbox::default(),
            sender,
            receiver: Receiver::new(&Lane::ALL, []),
            frames: Vec::new(),
            answers: Vec::new(),
            pending: Vec::new(),
            now_ms: 0,
        };
        world.connect();
        world
    }

    /// A new session: nothing of the old one arrives any more.
    fn connect(&mut self) {
        self.frames.clear();
        self.answers.clear();
        self.sender.close();
        let resume = self.receiver.resume();
        self.answers.push(ToSender::Resume(resume));
    }

    fn step(&mut self, step: Step) {
        self.now_ms += 7;
        match step {
            Step::Append(lane) => {
                let tail = self.outbox.append(lane);
                self.sender.appended(lane, tail).unwrap();
            }
            Step::Send => self.send(),
            Step::Deliver(n) if !self.frames.is_empty() => {
                let ToReceiver::Data(data) = self.frames.remove(n % self.frames.len());
                self.deliver(data);
            }
            Step::Answer(n) if !self.answers.is_empty() => {
                let answer = self.answers.remove(n % self.answers.len());
                self.answer(answer);
            }
            Step::Commit => self.commit(),
            Step::FailCommit => {
                self.pending.clear();
                let resume = self.receiver.abandoned();
                self.answers.push(ToSender::Resume(resume));
            }
            Step::Lose(n) if !self.frames.is_empty() => {
                self.frames.remove(n % self.frames.len());
            }
            Step::LoseAnswer(n) if !self.answers.is_empty() => {
                self.answers.remove(n % self.answers.len());
            }
            Step::Repeat(n) if !self.frames.is_empty() => {
                let again = self.frames[n % self.frames.len()].clone();
                self.frames.push(again);
            }
            Step::Reconnect => self.connect(),
            Step::CrashSender => {
                self.sender = self.outbox.start();
                self.connect();
            }
            Step::CrashReceiver => {
                self.pending.clear();
                let durable = self.inbox.cursors.values().copied().collect::<Vec<_>>();
                self.receiver = Receiver::new(&Lane::ALL, durable);
                self.connect();
            }
            Step::Drop(lane) => self.drop_oldest(lane),
            _ => {}
        }
        self.check();
    }

    fn send(&mut self) {
        while let Some(fetch) = self.sender.next_fetch() {
            let records = self.outbox.read(fetch.lane, fetch.epoch, fetch.after, fetch.max_records);
            if let Some(data) = self.sender.fetched(fetch, records, self.now_ms).unwrap() {
                if data.lane != Lane::Urgent {
                    let waiting = self.sender.backlog(Lane::Urgent) > 0;
                    let idle = self.sender.in_flight(Lane::Urgent).frames == 0;
                    assert!(!(waiting && idle), "bulk went out while urgent waited with credit");
                }
                self.frames.push(ToReceiver::Data(data));
            }
        }
    }

    fn deliver(&mut self, data: Data) {
        let lane = data.lane;
        match self.receiver.accept(data).unwrap() {
            Verdict::Apply(apply) => self.pending.push((lane, apply)),
            Verdict::Duplicate(ack) => self.answers.push(ToSender::Ack(ack)),
            Verdict::OutOfStep(resume) => self.answers.push(ToSender::Resume(resume)),
            Verdict::Ignored => {}
        }
    }

    /// One transaction for all that waits: effects and cursors together.
    fn commit(&mut self) {
        for (lane, apply) in std::mem::take(&mut self.pending) {
            let applied = self.inbox.applied.entry(lane).or_default();
            for (_, record) in apply.records {
                applied.push(u64::from_be_bytes(record[..8].try_into().unwrap()));
            }
            self.inbox.cursors.insert(lane, apply.becomes);
            self.receiver.committed(apply.becomes).unwrap();
            self.answers.push(ToSender::Ack(apply.becomes));
        }
    }

    fn answer(&mut self, answer: ToSender) {
        match answer {
            ToSender::Resume(resume) => {
                let opened = self.sender.open(&resume).unwrap();
                for trim in opened.trims {
                    self.outbox.trim(trim.lane, trim.epoch, trim.through);
                }
            }
            ToSender::Ack(ack) => {
                if let Some(trim) = self.sender.acked(&ack, self.now_ms).unwrap() {
                    self.outbox.trim(trim.lane, trim.epoch, trim.through);
                }
            }
        }
    }

    /// The quota takes the two oldest records of a lane.
    fn drop_oldest(&mut self, lane: Lane) {
        for _ in 0..2 {
            let oldest =
                self.outbox.records.range((lane, 0, 0)..=(lane, u64::MAX, u64::MAX)).next();
            let Some((&key, &content)) = oldest else { return };
            self.outbox.records.remove(&key);
            self.outbox.dropped.entry(lane).or_default().push(content);
            self.outbox.dropped_through.insert((lane, key.1), key.2);
            self.sender.dropped(lane, key.1, key.2).unwrap();
        }
    }

    fn check(&self) {
        let limits = limits();
        let bulk: usize =
            Lane::ALL.iter().skip(1).map(|lane| self.sender.in_flight(*lane).bytes).sum();
        // One record of 48 bytes may exceed a frame that was begun.
        assert!(bulk <= limits.bulk_window_max + 60, "{bulk} bytes of bulk in flight");
        let urgent = self.sender.in_flight(Lane::Urgent);
        assert!(urgent.bytes <= limits.urgent_window && urgent.frames <= 6, "{urgent:?}");
        for (lane, applied) in &self.inbox.applied {
            let gone = self.outbox.dropped.get(lane).cloned().unwrap_or_default();
            let mut expected = 0;
            for content in applied {
                expected += 1;
                // Only what the quota took may be missing, and only there.
                while expected < *content && gone.contains(&expected) {
                    expected += 1;
                }
                assert_eq!(expected, *content, "{lane:?} out of order, twice, or with a hole");
            }
        }
    }

    /// With a link that works, everything arrives.
    fn settle(&mut self) {
        self.connect();
        for round in 0.. {
            assert!(round < 10_000, "the machine does not come to rest");
            while !self.answers.is_empty() {
                self.step(Step::Answer(0));
            }
            self.step(Step::Send);
            if self.frames.is_empty() && self.pending.is_empty() && self.answers.is_empty() {
                break;
            }
            while !self.frames.is_empty() {
                self.step(Step::Deliver(0));
            }
            self.step(Step::Commit);
        }
        for lane in Lane::ALL {
            assert_eq!(self.sender.backlog(lane), 0, "{lane:?} is not delivered");
            let mut have = self.inbox.applied.get(&lane).cloned().unwrap_or_default();
            have.extend(self.outbox.dropped.get(&lane).cloned().unwrap_or_default());
            have.sort_unstable();
            have.dedup();
            let all: Vec<u64> =
                (1..=self.outbox.appended.get(&lane).copied().unwrap_or_default()).collect();
            assert_eq!(have, all, "{lane:?} lost records");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, max_shrink_iters: 4000, ..ProptestConfig::default() })]

    #[test]
    fn what_arrives_is_a_prefix_applied_once_and_in_the_end_everything(
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut world = World::new();
        for step in steps {
            world.step(step);
        }
        world.settle();
    }
}
