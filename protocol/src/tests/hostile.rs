//! Decoders under bytes that nobody meant well with, bounded. The fuzz targets
//! run the same properties without bound.

use super::examples::{rollups, wires};
use crate::{
    ProtocolError, codec,
    envelope::Envelope,
    fuzzing::TARGETS,
    report::Report,
    signing::{PublicKey, Signed},
    telemetry::{Sample, block},
};
use proptest::prelude::*;

fn seeds() -> Vec<Vec<u8>> {
    let mut long = block::encode(&rollups(300)).unwrap();
    long.truncate(long.len() - 4);
    let examples = wires().into_iter().flat_map(|(_, examples)| examples);
    examples.map(|e| e.bytes).chain([long]).collect()
}

fn try_all(bytes: &[u8]) {
    for (_, target) in TARGETS {
        target(bytes);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_decoder_panics_on_any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        try_all(&bytes);
    }

    #[test]
    fn no_decoder_panics_on_changed_messages(
        seed in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let mut bytes = seed.get(&seeds()).clone();
        for (at, byte) in changes {
            let at = at.index(bytes.len());
            bytes[at] = byte;
        }
        if let Some(cut) = cut {
            bytes.truncate(cut.index(bytes.len()));
        }
        try_all(&bytes);
    }
}

#[test]
fn every_example_holds_every_property() {
    seeds().iter().for_each(|seed| try_all(seed));
}

#[test]
fn a_message_that_is_too_long_is_refused_unread() {
    let long = vec![0u8; codec::MAX_MESSAGE + 1];
    assert!(matches!(Envelope::unpack(&long), Err(ProtocolError::TooLarge { .. })));
}

#[test]
fn bytes_after_a_message_are_refused() {
    let mut bytes = codec::encode(&7u8).unwrap();
    assert_eq!(codec::decode::<u8>(&bytes), Ok(7));
    bytes.push(0);
    assert!(codec::decode::<u8>(&bytes).is_err());
}

#[test]
fn a_small_message_does_not_unfold_into_a_large_one() {
    for size in [5 * 1024 * 1024, 64 * 1024 * 1024] {
        let body = zstd::bulk::compress(&vec![0; size], 19).unwrap();
        let bomb = Envelope { v: 1, kind: 2, z: true, body };
        let bytes = codec::encode(&bomb).unwrap();
        assert!(bytes.len() < 10_000);
        assert!(matches!(Report::decode(&bytes), Err(ProtocolError::Malformed(_))));
    }
}

/// A CBOR array header that claims `n` items.
fn array(n: u32) -> Vec<u8> {
    [vec![0x9a], n.to_be_bytes().to_vec()].concat()
}

#[test]
fn a_list_longer_than_its_bound_is_refused_before_it_is_kept() {
    let nulls = 400_000;
    let sample = [
        vec![0xa3, 0x65],
        b"at_ms".to_vec(),
        vec![0, 0x65],
        b"table".to_vec(),
        vec![0, 0x66],
        b"values".to_vec(),
        array(nulls),
        vec![0xf6; nulls as usize],
    ]
    .concat();
    let body = zstd::bulk::compress(&sample, 3).unwrap();
    let bytes = codec::encode(&Envelope { v: 1, kind: 2, z: true, body }).unwrap();
    let refused = Report::decode(&bytes).unwrap_err().to_string();
    assert!(refused.contains("at most 512"), "{refused}");
}

#[test]
fn a_claimed_length_without_the_bytes_costs_nothing() {
    for header in [0x5b, 0x7b, 0x9b, 0xbb] {
        let claim = [vec![header], u64::MAX.to_be_bytes().to_vec()].concat();
        assert!(codec::decode::<Vec<u64>>(&claim).is_err());
        assert!(codec::decode::<serde_bytes::ByteBuf>(&claim).is_err());
        assert!(codec::decode::<String>(&claim).is_err());
        assert!(codec::decode::<Sample>(&claim).is_err());
    }
}

#[test]
fn deep_nesting_is_refused_on_the_smallest_stack_we_use() {
    let deep = vec![0x81; 400_000];
    let grants = nested_grants(3000);
    let thread = std::thread::Builder::new().stack_size(1024 * 1024).spawn(move || {
        assert!(codec::decode::<serde::de::IgnoredAny>(&deep).is_err());
        assert!(codec::decode::<Signed<crate::grant::Grant>>(&grants).is_err());
        try_all(&deep);
        try_all(&grants);
    });
    thread.unwrap().join().expect("the stack held");
}

/// A grant signed under a grant signed under a grant…, as CBOR by hand.
fn nested_grants(depth: usize) -> Vec<u8> {
    let text = |s: &str| [vec![0x60 | s.len() as u8], s.as_bytes().to_vec()].concat();
    let key = codec::encode(&PublicKey([1; 32])).unwrap();
    let mut bytes = Vec::new();
    for _ in 0..depth {
        bytes.extend([vec![0xa2], text("payload"), vec![0x40], text("signatures")].concat());
        bytes.extend([vec![0x81, 0xa3], text("key"), key.clone()].concat());
        bytes.extend([text("signature"), vec![0x40], text("grant")].concat());
    }
    bytes.push(0xf6);
    bytes
}

#[test]
fn values_are_paid_for_before_they_are_read() {
    let bytes = codec::encode(&(vec![1u8; 900], "text", Some(2.5))).unwrap();
    let mut enough = codec::Budget::new(10_000, 1000);
    let back: (Vec<u8>, String, Option<f64>) =
        codec::decode_for(&bytes, 10_000, &mut enough).unwrap();
    assert_eq!(back.0.len(), 900);
    assert_eq!((enough.values(), enough.bytes()), (1000 - 904, 10_000 - bytes.len()));
    let mut poor = codec::Budget::new(10_000, 903);
    let refused: Result<(Vec<u8>, String, Option<f64>), _> =
        codec::decode_for(&bytes, 10_000, &mut poor);
    assert!(refused.is_err() && poor.exhausted());
}

#[test]
fn fields_that_nobody_knows_are_paid_for_too() {
    #[derive(serde::Serialize)]
    struct Later {
        at_ms: u64,
        table: u32,
        values: Vec<Option<i64>>,
        later: Vec<u8>,
    }
    let later = vec![0; codec::MAX_VALUES + 1];
    let body = Later { at_ms: 1, table: 2, values: vec![Some(3)], later };
    let bytes = Envelope::pack(2, &body).unwrap();
    assert!(bytes.len() < 1000, "{}", bytes.len());
    assert!(matches!(Report::decode(&bytes), Err(ProtocolError::Invalid(_))));
}

#[test]
fn messages_that_share_a_budget_end_when_it_is_spent() {
    let chunk = crate::outcome::OutputChunk {
        command: crate::ids::CommandId::generate(),
        offset: 0,
        stream: crate::outcome::Stream::Stdout,
        data: vec![0; 1024 * 1024],
    };
    let bytes = Report::Output(chunk).encode().unwrap();
    let mut budget = codec::Budget::new(3 * 1024 * 1024, 1000);
    let read = (0..9).filter(|_| Report::decode_for(&bytes, &mut budget).is_ok()).count();
    assert_eq!(read, 2);
    assert!(budget.exhausted());
}
