//! A device's message, read at the device's own expense.
//!
//! Reading costs memory and time out of proportion to a message's bytes, so it
//! happens in the task of the session that it came by, within a [`Budget`], and
//! what it cost comes back with it: the front slows whoever costs much, and
//! nobody else waits for it.

use super::batch::{self, Batch};
use unifyit_protocol::{
    ProtocolError,
    clock::ClockAsk,
    codec::Budget,
    envelope::Decoded,
    ids::DeviceId,
    lan::{Hello, UpControl},
    live::{LiveUp, MAX_LIVE},
    report::BATCH_BUDGET,
    topics::Up,
};

/// What is read at once in the session's task; more goes to a thread where it
/// holds up nobody.
const AT_ONCE: Budget = Budget::new(256 * 1024, 16 * 1024);
/// A greeting: a host name, and the commands that run.
const HELLO: Budget = Budget::new(128 * 1024, 16 * 1024);
/// A live frame: one piece of output, or of a terminal.
const LIVE: Budget = Budget::new(2 * MAX_LIVE, 1024);
/// Longest reason for which a terminal ended.
const MAX_REASON: usize = 4096;
/// Bytes of memory that a value takes, about.
const VALUE_BYTES: usize = 48;
/// Unfolded bytes that cost as much time as one value.
const BYTES_A_VALUE: usize = 64;

/// What a message says.
#[derive(Debug)]
pub(crate) enum Message {
    Hello(Box<Hello>),
    Clock(ClockAsk),
    Batch(Batch),
    Live(LiveUp),
    /// A kind of a later version, skipped.
    Unknown(&'static str),
}

/// A message as far as it could be read, and what that cost.
#[derive(Debug)]
pub(crate) struct Read {
    pub(crate) message: Result<Message, ProtocolError>,
    /// Bytes of memory that it takes until it is stored.
    pub(crate) memory: usize,
    /// Values that were read, or as much time as they would take.
    pub(crate) work: u32,
}

/// The site's time, and how far a device's clock is ahead of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) now_ms: u64,
    pub(crate) ahead_ms: i64,
}

/// Bytes that [`at_once`] may take at most for a message of so many.
pub(crate) fn most_at_once(kind: Up, length: usize) -> usize {
    taken(smaller(AT_ONCE, whole(kind)), length)
}

/// Bytes that [`at_length`] may take at most for a message of so many.
pub(crate) fn most(kind: Up, length: usize) -> usize {
    taken(whole(kind), length)
}

fn taken(budget: Budget, length: usize) -> usize {
    length + budget.bytes() + budget.values() * VALUE_BYTES
}

/// Reads what can be read at once. `None` when it is more than that.
pub(crate) fn at_once(device: DeviceId, kind: Up, payload: &[u8], time: Time) -> Option<Read> {
    let mut budget = smaller(AT_ONCE, whole(kind));
    let read = read(device, kind, payload, time, &mut budget);
    let more_would_do = budget.exhausted() && kind == Up::Report;
    (!more_would_do).then_some(read)
}

/// Reads a message that [`at_once`] left.
pub(crate) fn at_length(device: DeviceId, kind: Up, payload: &[u8], time: Time) -> Read {
    read(device, kind, payload, time, &mut whole(kind))
}

fn whole(kind: Up) -> Budget {
    match kind {
        Up::Hello => HELLO,
        Up::Report => BATCH_BUDGET,
        Up::Live => LIVE,
    }
}

fn smaller(a: Budget, b: Budget) -> Budget {
    Budget::new(a.bytes().min(b.bytes()), a.values().min(b.values()))
}

fn read(device: DeviceId, kind: Up, payload: &[u8], time: Time, budget: &mut Budget) -> Read {
    let full = *budget;
    let message = match kind {
        Up::Hello => UpControl::decode_for(payload, budget).map(|decoded| match decoded {
            Decoded::Known(UpControl::Hello(hello)) => Message::Hello(Box::new(hello)),
            Decoded::Known(UpControl::Clock(ask)) => Message::Clock(ask),
            Decoded::Unknown(_) => Message::Unknown("hello"),
        }),
        Up::Report => batch::decode_for(device, payload, time.now_ms, time.ahead_ms, budget)
            .map(Message::Batch),
        Up::Live => LiveUp::decode_for(payload, budget).and_then(live),
    };
    let bytes = full.bytes() - budget.bytes();
    let values = full.values() - budget.values();
    let work = values.saturating_add(bytes / BYTES_A_VALUE);
    Read {
        message,
        memory: payload.len() + bytes + values * VALUE_BYTES,
        work: u32::try_from(work).unwrap_or(u32::MAX),
    }
}

fn live(decoded: Decoded<LiveUp>) -> Result<Message, ProtocolError> {
    let frame = match decoded {
        Decoded::Known(frame) => frame,
        Decoded::Unknown(_) => return Ok(Message::Unknown("live")),
    };
    let fits = match &frame {
        LiveUp::Data(data) => data.data.len() <= MAX_LIVE,
        LiveUp::Output(chunk) => chunk.data.len() <= MAX_LIVE,
        LiveUp::Closed(closed) => closed.reason.len() <= MAX_REASON,
        LiveUp::Credit(_) | LiveUp::Holds(_) => true,
    };
    match fits {
        true => Ok(Message::Live(frame)),
        false => Err(ProtocolError::Invalid("a live frame is longer than is allowed")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
    use super::{super::batch::Effect, *};
    use std::collections::BTreeMap;
    use unifyit_protocol::{
        codec,
        ids::CommandId,
        inventory::{InventoryReport, Section},
        lane::Lane,
        outcome::{OutputChunk, Stream},
        report::{MAX_BATCH, Report, ReportBatch, Sequenced},
        telemetry::Sample,
    };

    const NOW: Time = Time { now_ms: 1, ahead_ms: 0 };

    fn batch(lane: Lane, report: &Report, count: usize) -> Vec<u8> {
        let body = report.encode().unwrap();
        let reports = (1..=count as u64).map(|seq| Sequenced { seq, body: body.clone() }).collect();
        codec::encode(&ReportBatch { epoch: 1, lane, prev: 0, shift_ms: Some(0), reports }).unwrap()
    }

    fn output(bytes: usize) -> OutputChunk {
        let command = CommandId::generate();
        OutputChunk { command, offset: 0, stream: Stream::Stdout, data: vec![0; bytes] }
    }

    /// Reads a packet as the front does, and says what is kept and what it cost.
    fn taken(payload: &[u8]) -> (Vec<(u64, Effect)>, Read) {
        let device = DeviceId::generate();
        let mut read = at_once(device, Up::Report, payload, NOW)
            .unwrap_or_else(|| at_length(device, Up::Report, payload, NOW));
        match std::mem::replace(&mut read.message, Ok(Message::Unknown("taken"))) {
            Ok(Message::Batch(batch)) => (batch.effects, read),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_small_packet_of_large_pieces_takes_no_more_than_its_budget() {
        let payload = batch(Lane::Output, &Report::Output(output(3 * 1024 * 1024)), MAX_BATCH);
        assert!(payload.len() < 128 * 1024, "{}", payload.len());
        let (effects, read) = taken(&payload);
        assert!(effects.iter().all(|(_, effect)| *effect == Effect::Bad));
        assert!(read.memory < 16 * 1024 * 1024, "{}", read.memory);
    }

    #[test]
    fn a_piece_is_taken_as_long_as_any_agent_makes_it_and_no_longer() {
        for (bytes, good) in [(2 * MAX_LIVE, true), (2 * MAX_LIVE + 1, false)] {
            let payload = batch(Lane::Output, &Report::Output(output(bytes)), 1);
            let (effects, _) = taken(&payload);
            assert_eq!(matches!(effects[0].1, Effect::Output(_)), good, "{bytes}");
        }
    }

    #[test]
    fn an_honest_batch_of_compressible_output_is_taken_whole() {
        let payload = batch(Lane::Output, &Report::Output(output(MAX_LIVE)), MAX_BATCH);
        let (effects, _) = taken(&payload);
        assert!(effects.iter().all(|(_, effect)| matches!(effect, Effect::Output(_))));
        assert_eq!(effects.len(), MAX_BATCH);
    }

    #[test]
    fn a_small_packet_of_many_values_is_cut_at_its_budget() {
        let report = Report::Inventory(InventoryReport {
            section: Section::Packages,
            at_ms: 1,
            whole: true,
            set: (0..20_000).map(|n| (format!("{n}"), BTreeMap::new())).collect(),
            gone: vec![String::new(); 20_000],
            cut: 0,
        });
        let (effects, read) = taken(&batch(Lane::State, &report, 30));
        let kept = effects.iter().filter(|(_, effect)| *effect != Effect::Bad).count();
        assert!((1..20).contains(&kept), "{kept}");
        assert!(read.memory < 48 * 1024 * 1024, "{}", read.memory);
        assert!(read.work > 100_000, "its device pays for it: {}", read.work);
    }

    #[test]
    fn a_usual_batch_costs_its_device_next_to_nothing() {
        let sample = Sample { at_ms: 1, table: 2, values: vec![Some(7); 40] };
        let payload = batch(Lane::Metrics, &Report::Sample(sample), 4);
        let read = at_once(DeviceId::generate(), Up::Report, &payload, NOW).unwrap();
        assert!(read.message.is_ok() && read.work < 300, "{}", read.work);
    }

    #[test]
    fn a_live_frame_that_unfolds_is_refused() {
        for (bytes, good) in [(MAX_LIVE, true), (MAX_LIVE + 1, false), (4_000_000, false)] {
            let payload = LiveUp::Output(output(bytes)).encode().unwrap();
            assert!(payload.len() < 40_000);
            let read = at_once(DeviceId::generate(), Up::Live, &payload, NOW).unwrap();
            assert_eq!(read.message.is_ok(), good, "{bytes}");
            assert!(read.memory < 256 * 1024);
        }
    }
}
