//! The encodings return what went in, refuse what is not theirs, and the builder
//! adds up right.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::*;
use proptest::prelude::*;

/// Any sane aggregate, from constants to the ends of the range.
fn aggregate() -> impl Strategy<Value = Aggregate> {
    let number = prop_oneof![
        4 => -1000i64..1000,
        2 => (-1000i64..1000).prop_map(|n| n * 4096),
        1 => any::<i64>(),
        1 => prop_oneof![Just(i64::MIN), Just(i64::MAX), Just(0)],
    ];
    prop::array::uniform4(number).prop_map(|mut n| {
        let last = n[3];
        n.sort_unstable();
        Aggregate { min: n[0], max: n[3], avg: n[1], last }
    })
}

pub(super) fn rollups() -> impl Strategy<Value = Vec<Rollup>> {
    (0usize..6, 1usize..40).prop_flat_map(|(width, rows)| {
        let row = (
            prop_oneof![8 => Just(1u64), 1 => 1..5000u64],
            prop_oneof![8 => Just(6u16), 1 => any::<u16>()],
            prop::collection::vec(prop::option::weighted(0.9, aggregate()), width),
        );
        prop::collection::vec(row, rows).prop_map(|rows| {
            let mut minute = 29_000_000;
            rows.into_iter()
                .map(|(step, count, values)| {
                    minute += step;
                    Rollup { minute, count, values }
                })
                .collect()
        })
    })
}

/// The same rows again and again, until there are so many.
fn repeated(rollups: &[Rollup], rows: usize) -> Vec<Rollup> {
    let again = rollups.iter().cycle().take(rows).enumerate();
    again.map(|(n, r)| Rollup { minute: 29_000_000 + n as u64, ..r.clone() }).collect()
}

fn flat(value: i64) -> Option<Aggregate> {
    Some(Aggregate { min: value, max: value, avg: value, last: value })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_rollup_block_returns_what_went_in(rollups in rollups()) {
        for encode in [RollupBlock::encode, RollupBlock::encode_mirrored] {
            let block = encode(9, &rollups).unwrap();
            prop_assert_eq!(block.first_minute(), rollups.first().map(|r| r.minute));
            prop_assert_eq!(block.decode().unwrap(), rollups.clone());
        }
    }

    #[test]
    fn a_column_that_mirrors_another_takes_next_to_nothing(
        rollups in rollups(), sum in any::<i64>(),
    ) {
        let mirrored: Vec<Rollup> = rollups
            .iter()
            .cloned()
            .map(|mut rollup| {
                let first = rollup.values.first().copied().flatten();
                let of = |value: i64| sum.wrapping_sub(value);
                let cell = first.map(|a| Aggregate {
                    min: of(a.max),
                    max: of(a.min),
                    avg: of(a.avg),
                    last: of(a.last),
                });
                // Beyond the ends of the range there is no mirror.
                rollup.values.push(cell.filter(Aggregate::is_sane));
                rollup
            })
            .collect();
        let block = RollupBlock::encode_mirrored(9, &mirrored).unwrap();
        prop_assert_eq!(block.decode().unwrap(), mirrored.clone());
        let without = RollupBlock::encode_mirrored(9, &rollups).unwrap();
        let whole = mirrored.iter().all(|m| m.values[0].is_some() == m.values[m.values.len() - 1].is_some());
        // One that stands still is told by itself, at what its values cost.
        let mut told = mirrored.iter().filter_map(|m| m.values[m.values.len() - 1]);
        let first = told.next();
        let still = told.all(|cell| Some(cell) == first);
        let limit = without.columns.len() + if whole && !still { 14 } else { usize::MAX / 2 };
        prop_assert!(block.columns.len() <= limit || mirrored[0].values.len() < 2);
    }

    #[test]
    fn a_block_at_rest_returns_what_went_in(rollups in rollups(), long in any::<bool>()) {
        let rollups = if long { repeated(&rollups, 300) } else { rollups };
        let bytes = block::encode(&rollups).unwrap();
        prop_assert_eq!(block::decode(&bytes).unwrap(), rollups);
    }

    #[test]
    fn a_changed_rollup_block_is_refused_or_decodes_within_its_bounds(
        rollups in rollups(), at in any::<prop::sample::Index>(), flip in 1u8..,
    ) {
        let mut block = RollupBlock::encode_mirrored(9, &rollups).unwrap();
        let at = at.index(block.columns.len());
        block.columns[at] ^= flip;
        if let Ok(decoded) = block.decode() {
            prop_assert!(rollup::check(&decoded).is_ok());
        }
    }
}

#[test]
fn real_samples_become_rollups_that_survive_the_wire() {
    let mut builder = RollupBuilder::new();
    let mut closed = Vec::new();
    for n in 0..360u64 {
        let used = 4096 * (1_000_000 + (n * n) as i64 % 977);
        let values =
            vec![Some(n as i64 * 10), Some(used), None, (n % 3 > 0).then_some(-(n as i64) % 17)];
        let sample = Sample { at_ms: 60_000_000 + n * 10_000, table: 5, values };
        closed.extend(builder.push(&sample).unwrap());
    }
    closed.extend(builder.finish());
    let rollups: Vec<_> = closed.into_iter().map(|c| c.rollup).collect();
    assert_eq!(rollups.len(), 60);
    assert!(rollups.iter().all(|r| r.count == 6 && r.values[2].is_none()));
    let block = RollupBlock::encode(5, &rollups).unwrap();
    assert_eq!(block.decode().unwrap(), rollups);
}

#[test]
fn a_column_that_stands_still_costs_almost_nothing() {
    let rollups: Vec<_> = (0..1440)
        .map(|n| Rollup { minute: n, count: 6, values: vec![flat(123_456_789); 40] })
        .collect();
    let block = RollupBlock::encode(0, &rollups).unwrap();
    assert!(block.columns.len() < 400, "{} bytes", block.columns.len());
}

#[test]
fn blocks_beyond_the_bounds_are_refused_both_ways() {
    let row = |minute, values: usize| Rollup { minute, count: 1, values: vec![flat(1); values] };
    let refused = |rollups: &[Rollup]| RollupBlock::encode(0, rollups).is_err();
    assert!(refused(&[]));
    assert!(refused(&[row(1, MAX_SERIES + 1)]));
    assert!(refused(&[row(1, 1), row(1, 1)]), "minutes must rise");
    assert!(refused(&[row(1, 1), row(2, 2)]), "columns must agree");
    assert!(refused(&(0..MAX_MINUTES as u64 + 1).map(|m| row(m, 0)).collect::<Vec<_>>()));
    let insane = Some(Aggregate { min: 1, max: 2, avg: 3, last: 1 });
    assert!(refused(&[Rollup { minute: 1, count: 1, values: vec![insane] }]));
    for (rows, width) in [(u64::MAX, 1), (1, u64::MAX), (0, 1), (MAX_MINUTES as u64, 512)] {
        let mut columns = vec![1];
        for n in [rows, width, 0, 0] {
            crate::codec::varint::put(&mut columns, n);
        }
        let block = RollupBlock { table: 0, columns };
        assert!(matches!(block.decode(), Err(crate::ProtocolError::Invalid(_))), "{rows}×{width}");
    }
}

fn sample(at_ms: u64, values: &[Option<i64>]) -> Sample {
    Sample { at_ms, table: 1, values: values.to_vec() }
}

#[test]
fn the_builder_adds_up_and_rounds_away_from_zero() {
    let mut builder = RollupBuilder::new();
    for (n, value) in [-3, 4, -4].into_iter().enumerate() {
        let at = 120_000 + n as u64 * 10_000;
        assert_eq!(
            builder.push(&sample(at, &[Some(value), None, (n == 1).then_some(7)])),
            Ok(None)
        );
    }
    assert_eq!(builder.close(184_999, 5000), None, "not before its grace is over");
    let closed = builder.close(185_000, 5000).unwrap();
    assert_eq!((closed.table, closed.rollup.minute, closed.rollup.count), (1, 2, 3));
    let first = Aggregate { min: -4, max: 4, avg: -1, last: -4 };
    assert_eq!(closed.rollup.values, [Some(first), None, flat(7)]);
    for (values, mean) in [([1, 2], 2), ([-1, -2], -2), ([i64::MAX, i64::MAX], i64::MAX)] {
        let mut builder = RollupBuilder::new();
        for value in values {
            builder.push(&sample(0, &[Some(value)])).unwrap();
        }
        assert_eq!(builder.finish().unwrap().rollup.values[0].unwrap().avg, mean);
    }
}

#[test]
fn another_minute_or_table_completes_the_open_minute() {
    let mut builder = RollupBuilder::new();
    builder.push(&sample(60_000, &[Some(1)])).unwrap();
    let closed = builder.push(&sample(120_000, &[Some(2)])).unwrap().unwrap();
    assert_eq!(closed.rollup.minute, 1);
    let other = Sample { at_ms: 121_000, table: 2, values: vec![Some(3), None] };
    let closed = builder.push(&other).unwrap().unwrap();
    assert_eq!((closed.table, closed.rollup.minute, closed.rollup.count), (1, 2, 1));
    let back = builder.push(&sample(60_500, &[Some(4)])).unwrap().unwrap();
    assert_eq!(back.table, 2);
    let mut minute = builder.finish().unwrap().rollup;
    minute.merge(&Rollup { minute: 1, count: 3, values: vec![flat(8)] }).unwrap();
    assert_eq!(minute.values, [Some(Aggregate { min: 4, max: 8, avg: 7, last: 8 })]);
    assert_eq!(minute.count, 4);
    assert!(builder.push(&sample(0, &vec![None; MAX_SERIES + 1])).is_err());
}

#[test]
fn one_column_of_a_block_at_rest_is_read_alone_and_damage_is_noticed() {
    let rollups: Vec<_> = (0..1440u64)
        .map(|n| {
            let wave = (n % 97) as i64 * 4096;
            let some =
                Aggregate { min: wave, max: wave + 8192, avg: wave + 683, last: wave + 4096 };
            Rollup { minute: n, count: 6, values: vec![flat(7), Some(some), None] }
        })
        .collect();
    let bytes = block::encode(&rollups).unwrap();
    let block = block::Block::parse(&bytes).unwrap();
    assert_eq!((block.width(), block.minutes()[1439], block.counts()[0]), (3, 1439, 6));
    let column: Vec<_> = rollups.iter().map(|r| r.values[1]).collect();
    assert_eq!(block.column(1).unwrap(), column);
    assert!(block.column(3).is_err());
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        assert!(block::Block::parse(&damaged).is_err(), "byte {at} was changed unnoticed");
        assert!(block::Block::parse(&bytes[..at]).is_err(), "cut at {at} unnoticed");
    }
}
