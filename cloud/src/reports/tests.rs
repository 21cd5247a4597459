//! Each kind of record has one taker, and strangers' devices stay out.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::{app::FEATURES, testing::TestApp};
use std::collections::HashSet;
use unifyit_protocol::envelope::Decoded;

/// One record of each kind there is: the wire's own examples.
fn one_of_each_kind() -> Vec<UpRecord> {
    let examples = include_str!("../../../protocol/tests/golden/up_record.hex");
    let record = |line: &str| {
        let (_, hex) = line.rsplit_once(' ').unwrap();
        let bytes = (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16));
        match UpRecord::decode(&bytes.collect::<Result<Vec<u8>, _>>().unwrap()).unwrap() {
            Decoded::Known(record) => record,
            Decoded::Unknown(kind) => panic!("kind {kind} is unknown"),
        }
    };
    examples.lines().map(record).collect()
}

#[tokio::test]
async fn each_kind_of_record_has_one_taker_and_an_unknown_features_word_none() {
    let app = TestApp::new().await;
    let opens = FEATURES.iter().filter_map(|feature| Some((feature.name, feature.reports?)));
    let mut ends: Vec<_> =
        opens.map(|(name, open)| (name, open(&app.state.db, &app.state.watches))).collect();
    ends.push(("the comparison", Reporter::new(Comparing::of(FEATURES))));
    for record in one_of_each_kind() {
        let takers: Vec<_> =
            ends.iter().filter(|(_, end)| end.takes.takes(&record)).map(|(name, _)| name).collect();
        let unknown = matches!(&record, UpRecord::Feature(one) if one.report.feature == "sample");
        assert_eq!(takers.len(), usize::from(!unknown), "{record:?} is taken by {takers:?}");
    }
}

#[test]
fn what_speaks_of_devices_says_nothing_of_strangers() {
    for record in one_of_each_kind() {
        let (mut named, mut kept) = (BTreeSet::new(), record.clone());
        record.devices(&mut named);
        let left = kept.keep_devices(&HashSet::new());
        let mut still = BTreeSet::new();
        kept.devices(&mut still);
        assert!(!left || still.is_empty(), "{kept:?} speaks of a stranger");
        let (own, mut whole) = (named.into_iter().collect(), record.clone());
        assert!(whole.keep_devices(&own));
        assert_eq!(whole, record, "what is of the relay's own devices stays");
    }
}
