//! Newest loads: both ends agree, whatever comes.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::telemetry::Series;
use proptest::prelude::*;

fn heard(
    teller: &mut Teller,
    listener: &mut Listener,
    now_s: u64,
    loads: &[(DeviceId, Load)],
) -> Vec<(DeviceId, Load)> {
    teller.tell(now_s, loads).map_or_else(Vec::new, |told| listener.hear(&told).unwrap())
}

#[test]
fn a_load_is_what_the_lists_show() {
    let series = |name: &str, scale| Series {
        name: name.into(),
        label: String::new(),
        unit: "percent".into(),
        scale,
    };
    let table = SeriesTable {
        series: vec![
            series("disk.used_pct", 1),
            series("cpu.busy", 2),
            series("load.1", 2),
            series("disk.used_pct", 0),
        ],
    };
    let load = LoadColumns::of(&table).load(61_999, &[Some(912), Some(1234), Some(7), Some(93)]);
    assert_eq!(load, Load { at_s: 61, cpu: Some(123), memory: None, disk: Some(930) });
    assert_eq!(LoadColumns::of(&table).load(0, &[None, Some(-5)]).cpu, Some(0));
    assert_eq!(tenths(i64::MAX, 0), Some(10_000));
}

#[test]
fn only_news_is_told_and_a_quiet_site_takes_next_to_nothing() {
    let (mut teller, mut listener) = (Teller::default(), Listener::default());
    let ids: Vec<DeviceId> = (0..100).map(|_| DeviceId::generate()).collect();
    let loads = |at_s: u64| -> Vec<_> {
        let load = |n: usize| Load {
            at_s: at_s - n as u64 % 10,
            cpu: Some(20 + (at_s as u16 / 60 * 7 + n as u16) % 9),
            memory: Some(400 + n as u16),
            disk: Some(700),
        };
        ids.iter().enumerate().map(|(n, id)| (*id, load(n))).collect()
    };
    assert_eq!(heard(&mut teller, &mut listener, 600, &loads(600)), loads(600));
    assert!(teller.tell(601, &loads(600)).is_none(), "nothing is told twice");
    for minute in 11..60 {
        heard(&mut teller, &mut listener, minute * 60, &loads(minute * 60));
    }
    let told = teller.tell(3600, &loads(3600)).unwrap();
    assert!(told.joined.is_empty() && told.loads.len() < 60, "{}", told.loads.len());
    assert_eq!(listener.hear(&told).unwrap(), loads(3600));
    // One device alone.
    let one = [(ids[7], Load { at_s: 3601, ..Load::default() })];
    assert_eq!(heard(&mut teller, &mut listener, 3605, &one), one);
}

#[test]
fn what_is_dated_ahead_is_not_told_as_of_this_moment() {
    let (mut teller, mut listener) = (Teller::default(), Listener::default());
    let id = DeviceId::generate();
    let at = |at_s| [(id, Load { at_s, cpu: Some(5), ..Load::default() })];
    assert_eq!(teller.tell(10_000, &at(17_200)), None);
    assert_eq!(teller.tell(10_060, &at(17_200)), None);
    // Clocks differ a little.
    assert_eq!(heard(&mut teller, &mut listener, 10_000, &at(10_005)), at(10_000));
    // The time is set back: what was told is of a time that has not come.
    assert_eq!(heard(&mut teller, &mut listener, 2_800, &at(2_795)), at(2_795));
    assert_eq!(teller.tell(2_860, &at(2_795)), None);
}

#[test]
fn what_does_not_follow_is_refused() {
    let (mut teller, mut listener) = (Teller::default(), Listener::default());
    let loads = |at_s| [(DeviceId::generate(), Load { at_s, ..Load::default() })];
    let _missed = teller.tell(60, &loads(60)).unwrap();
    let next = teller.tell(120, &loads(120)).unwrap();
    assert!(listener.hear(&next).is_err());
    let many = Newest { at_s: 1, joined: vec![DeviceId::generate(); 1024], loads: vec![] };
    let refused = (0..25).map(|_| listener.hear(&many)).filter(Result::is_err).count();
    assert!(refused >= 1 && listener.devices.len() <= MAX_TOLD);
}

proptest! {
    #[test]
    fn what_is_heard_is_what_was_told(
        rounds in prop::collection::vec(
            prop::collection::vec(
                (0usize..8, 0u64..200, prop::option::of(0u16..=10_000), 0u16..1000),
                0..12,
            ),
            1..12,
        ),
    ) {
        let ids: Vec<DeviceId> = (0..8).map(|_| DeviceId::generate()).collect();
        let (mut teller, mut listener) = (Teller::default(), Listener::default());
        let mut last = HashMap::new();
        for (n, round) in rounds.into_iter().enumerate() {
            let now_s = 1000 + n as u64 * 60;
            let loads: HashMap<DeviceId, Load> = round
                .into_iter()
                .map(|(who, age, cpu, disk)| {
                    let load = Load { at_s: now_s - age, cpu, memory: cpu, disk: Some(disk) };
                    (ids[who], load)
                })
                .collect();
            let loads: Vec<_> = loads.into_iter().collect();
            let fresh: HashMap<DeviceId, Load> = loads
                .iter()
                .filter(|(id, load)| last.get(id).is_none_or(|at| *at < load.at_s))
                .copied()
                .collect();
            last.extend(fresh.iter().map(|(id, load)| (*id, load.at_s)));
            let got = heard(&mut teller, &mut listener, now_s, &loads);
            prop_assert_eq!(got.into_iter().collect::<HashMap<_, _>>(), fresh);
        }
    }

    #[test]
    fn any_bytes_are_heard_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        let joined = vec![DeviceId::generate(); 20];
        let mut listener = Listener::default();
        drop(listener.hear(&Newest { at_s: 60, joined, loads: bytes }));
    }
}
