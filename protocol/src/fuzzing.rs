//! What every decoder of untrusted bytes must hold, one function a decoder.
//!
//! Each takes any bytes and panics when a property breaks: no decoder may panic
//! itself, and what it accepts must survive being encoded and decoded again. The
//! fuzz targets in `protocol/fuzz` and the bounded tests call the same functions.

use crate::{
    blob::{BlobAnswer, BlobRequest},
    codec,
    command::Command,
    enroll::{EnrollAgent, EnrollAgentAnswer, EnrollRelay, EnrollRelayAnswer, RenewAgent},
    envelope::{Decoded, Envelope},
    grant::{Scope, Trust, authorize},
    ids::{DeviceId, OrganizationId, SiteId},
    lan::{Deliver, DownControl, UpControl},
    link::{DownRecord, Frame, UpRecord},
    live::{LiveDown, LiveUp},
    report::{Report, ReportBatch},
    seal,
    signing::{PublicKey, Signed},
    telemetry::{
        RollupBlock,
        block::Block,
        newest::{Listener, Newest},
    },
    token::TokenText,
    topics,
    tunnel::TunnelFrame,
};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use uuid::Uuid;

/// A decoder's property.
pub type Target = fn(&[u8]);

/// All of them, by the name of their fuzz target.
pub const TARGETS: [(&str, Target); 16] = [
    ("envelope", envelope),
    ("lan_up", lan_up),
    ("lan_down", lan_down),
    ("report", report),
    ("live", live),
    ("link_frame", link_frame),
    ("up_record", up_record),
    ("down_record", down_record),
    ("blob", blob),
    ("token_text", token_text),
    ("signed_command", signed_command),
    ("enrolment", enrolment),
    ("rollup_block", rollup_block),
    ("newest", newest),
    ("rest_block", rest_block),
    ("sealed_file", sealed_file),
];

/// Re-encoding what a `messages!` enum decoded gives the same message.
macro_rules! again {
    ($bytes:expr, $($message:ty),+) => {$(
        if let Ok(Decoded::Known(message)) = <$message>::decode($bytes) {
            // A message close above the limit may grow when it is written by
            // another encoder; nothing else may fail.
            if let Some(encoded) = message.encode().ok().filter(|e| e.len() <= codec::MAX_MESSAGE) {
                let again = <$message>::decode(&encoded);
                assert!(matches!(&again, Ok(Decoded::Known(m)) if *m == message), "{again:?}");
            }
        }
    )+};
}

/// The frame of all messages, and its decompression.
pub fn envelope(bytes: &[u8]) {
    if let Ok(envelope) = Envelope::unpack(bytes) {
        let _ = envelope.read::<serde::de::IgnoredAny>();
        // A body that unfolds into a list of the smallest items there are.
        let _ = envelope.read::<crate::telemetry::Sample>();
    }
}

/// What the relay reads of an agent: `up/hello`, and topics.
pub fn lan_up(bytes: &[u8]) {
    again!(bytes, UpControl);
    let device = Uuid::nil().into();
    let _ = topics::publish_allowed(device, bytes);
    let _ = topics::subscribe_allowed(device, bytes);
}

/// What an agent reads of its relay.
pub fn lan_down(bytes: &[u8]) {
    again!(bytes, DownControl, Deliver);
}

/// `up/report`: the batch and each report in it.
pub fn report(bytes: &[u8]) {
    again!(bytes, Report);
    if let Some(batch) = value::<ReportBatch>(bytes) {
        for report in &batch.reports {
            again!(&report.body, Report);
        }
    }
}

/// Live frames and tunnel frames, both ways.
pub fn live(bytes: &[u8]) {
    again!(bytes, LiveUp, LiveDown, TunnelFrame);
}

/// The lane stream, and the lane machine behind it.
pub fn link_frame(bytes: &[u8]) {
    use crate::lane::{Lane, LaneLimits, Receiver, Sender, SenderPosition};
    again!(bytes, Frame);
    let mut receiver = Receiver::new(&Lane::ALL, []);
    let positions =
        Lane::ALL.map(|lane| SenderPosition { lane, epoch: 3, acked: 2, tail: u64::MAX / 8 });
    let Ok(mut sender) = Sender::new(LaneLimits::default(), positions) else { return };
    match Frame::read(bytes) {
        Ok(Decoded::Known(Frame::Data(data))) => {
            let _ = receiver.accept(data.clone());
            let _ = receiver.accept(data);
        }
        Ok(Decoded::Known(Frame::Resume(resume))) => {
            let _ = sender.open(&resume);
            while let Some(fetch) = sender.next_fetch() {
                let _ = sender.fetched(fetch, vec![(u64::MAX / 8, vec![1])], u64::MAX);
            }
        }
        Ok(Decoded::Known(Frame::Ack(ack))) => {
            let _ = receiver.committed(ack);
            let _ = sender.acked(&ack, u64::MAX);
        }
        _ => {}
    }
}

/// Durable records of the relay.
pub fn up_record(bytes: &[u8]) {
    again!(bytes, UpRecord);
}

/// Durable records of the cloud.
pub fn down_record(bytes: &[u8]) {
    again!(bytes, DownRecord);
}

/// What cloud and relay say to each other about files.
pub fn blob(bytes: &[u8]) {
    if let Some(request) = value::<BlobRequest>(bytes) {
        let following = request.following(u64::MAX);
        assert!(request.length == 0 || following <= request.length);
        assert!(following.checked_add(request.offset).is_some());
    }
    let _ = value::<BlobAnswer>(bytes);
}

/// The text of an install token.
pub fn token_text(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let Ok(token) = TokenText::parse(text) else { return };
    let _ = token.claims();
    assert!(token.verify(&PublicKey([7; 32]), 0).is_err(), "nobody holds this key");
    assert!(TokenText::parse(&token.to_string()).is_ok_and(|t| t == token));
}

/// A signed command at the guard: nothing that a fuzzer makes may pass.
pub fn signed_command(bytes: &[u8]) {
    let Some(signed) = value::<Signed<Command>>(bytes) else { return };
    let trust = Trust {
        authority: &PublicKey([7; 32]),
        organization: OrganizationId(Uuid::nil()),
        site: SiteId(Uuid::nil()),
        now_ms: 1,
    };
    assert!(authorize(&signed, trust, Scope::Execute).is_err(), "a forged command passed");
    let _ = signed.peek();
}

/// Bodies of the enrolment endpoints.
pub fn enrolment(bytes: &[u8]) {
    value::<EnrollRelay>(bytes);
    value::<EnrollRelayAnswer>(bytes);
    value::<EnrollAgent>(bytes);
    value::<EnrollAgentAnswer>(bytes);
    value::<RenewAgent>(bytes);
}

/// Rollups on the wire.
pub fn rollup_block(bytes: &[u8]) {
    let block = RollupBlock { table: 0, columns: bytes.to_vec() };
    if let Ok(rollups) = block.decode() {
        let again = RollupBlock::encode(0, &rollups).and_then(|b| b.decode());
        assert!(again.is_ok_and(|r| r == rollups), "a block changed when encoded again");
        let again = RollupBlock::encode_mirrored(0, &rollups).and_then(|b| b.decode());
        assert!(again.is_ok_and(|r| r == rollups), "a mirrored block changed when encoded again");
    }
}

/// Newest loads of a site of some devices.
pub fn newest(bytes: &[u8]) {
    let joined = (0..20).map(|n| DeviceId(uuid::Uuid::from_u128(n))).collect();
    let heard = Listener::default().hear(&Newest { at_s: 60, joined, loads: bytes.to_vec() });
    assert!(heard.is_err() || heard.is_ok_and(|heard| heard.len() <= 20));
}

/// Rollups at rest, with the checksum and as if it had held.
pub fn rest_block(bytes: &[u8]) {
    assert!(Block::parse(bytes).and_then(|b| b.rollups()).is_err() || bytes.len() > 8);
    if let Ok(block) = Block::parse_content(bytes) {
        let _ = block.rollups();
    }
}

/// A sealed file.
pub fn sealed_file(bytes: &[u8]) {
    assert!(seal::open(b"another machine", "what", bytes).is_err(), "a forged file opened");
}

fn value<T: Serialize + DeserializeOwned + PartialEq + Debug>(bytes: &[u8]) -> Option<T> {
    let value: T = codec::decode(bytes).ok()?;
    if let Some(encoded) = codec::encode(&value).ok().filter(|e| e.len() <= codec::MAX_MESSAGE) {
        assert_eq!(codec::decode::<T>(&encoded).as_ref(), Ok(&value));
    }
    Some(value)
}
