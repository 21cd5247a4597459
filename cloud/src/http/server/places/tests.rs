//! Who gets a place, and who gives one away.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{
    choosing::{BROWSER, LONG, SILENT, VERY_LONG},
    *,
};
use futures::FutureExt;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([192, 0, 2, last])
}

fn waiting(addresses: &Addresses, last: u8) -> Place {
    let place = addresses.take(ip(last)).unwrap();
    place.opened();
    place
}

fn is_evicted(place: &Place) -> bool {
    place.evicted().now_or_never().is_some()
}

#[tokio::test(start_paused = true)]
async fn who_asks_nothing_gives_way_and_the_busiest_address_first() {
    let addresses = Addresses::new(100, 50, Networks::default());
    let quiet = waiting(&addresses, 1);
    let asking: Vec<Place> = (0..9).map(|_| waiting(&addresses, 2)).collect();
    asking.iter().for_each(Place::asked);
    let idle: Vec<Place> = (0..5).map(|_| waiting(&addresses, 3)).collect();
    for n in 0..3 {
        assert_eq!(addresses.make_room(ip(9)), Room::Made(Network::of(ip(3))));
        assert!(is_evicted(&idle[n]) && !is_evicted(&idle[n + 1]), "the oldest first");
    }
    let mut left = idle;
    left.drain(..3).for_each(drop);
    // Where nobody has more than one, the oldest of all that has had its time.
    drop(left.pop());
    assert_eq!(addresses.make_room(ip(9)), Room::None);
    tokio::time::advance(SILENT).await;
    assert_eq!(addresses.make_room(ip(9)), Room::Made(Network::of(ip(1))));
    assert!(is_evicted(&quiet) && !is_evicted(&left[0]) && !asking.iter().any(is_evicted));
}

#[tokio::test(start_paused = true)]
async fn the_busiest_address_gains_nothing_by_coming_again() {
    let addresses = Addresses::new(100, 50, Networks::default());
    let own = [waiting(&addresses, 1), waiting(&addresses, 1)];
    assert_eq!(addresses.make_room(ip(1)), Room::Refused);
    tokio::time::advance(YOUNG).await;
    assert_eq!(addresses.make_room(ip(1)), Room::Made(Network::of(ip(1))));
    assert!(is_evicted(&own[0]) && !is_evicted(&own[1]));
}

#[tokio::test(start_paused = true)]
async fn an_answer_may_reach_its_reader_before_the_connection_gives_way() {
    let addresses = Addresses::new(100, 50, Networks::default());
    let kept: Vec<Place> = (0..3).map(|_| waiting(&addresses, 1)).collect();
    for place in &kept {
        place.asked();
        place.answered();
        place.written();
    }
    assert_eq!(addresses.make_room(ip(2)), Room::None);
    tokio::time::advance(YOUNG).await;
    assert_eq!(addresses.make_room(ip(2)), Room::Made(Network::of(ip(1))));
    drop(kept);
    assert!(addresses.state().held.is_empty(), "all is given back");
}

#[tokio::test(start_paused = true)]
async fn who_was_just_answered_does_not_keep_the_silent_in_their_places() {
    let addresses = Addresses::new(100, 50, Networks::default());
    let silent: Vec<Place> = (0..10).map(|_| waiting(&addresses, 2)).collect();
    tokio::time::advance(SILENT).await;
    let lively: Vec<Place> = (0..11).map(|_| waiting(&addresses, 1)).collect();
    for place in &lively {
        place.asked();
        place.answered();
        place.written();
    }
    assert_eq!(addresses.make_room(ip(9)), Room::Made(Network::of(ip(2))));
    assert!(is_evicted(&silent[0]) && !lively.iter().any(is_evicted));
}

#[tokio::test(start_paused = true)]
async fn who_has_just_asked_much_does_not_keep_long_requests_in_their_places() {
    let addresses = Addresses::new(100, 50, Networks::default());
    let long: Vec<Place> = (0..4).map(|_| waiting(&addresses, 2)).collect();
    long.iter().for_each(Place::asked);
    tokio::time::advance(LONG).await;
    let fresh: Vec<Place> = (0..5).map(|_| waiting(&addresses, 1)).collect();
    fresh.iter().for_each(Place::asked);
    assert_eq!(addresses.make_room(ip(9)), Room::Made(Network::of(ip(2))));
    assert!(is_evicted(&long[0]) && !fresh.iter().any(is_evicted));
}

#[tokio::test(start_paused = true)]
async fn where_nobody_waits_a_long_request_of_the_busiest_gives_way_but_no_socket() {
    let addresses = Addresses::new(100, 50, Networks::default());
    let busy: Vec<Place> = (0..5).map(|_| waiting(&addresses, 1)).collect();
    busy.iter().for_each(Place::asked);
    busy[0].upgraded();
    assert_eq!(addresses.make_room(ip(2)), Room::None);
    tokio::time::advance(LONG).await;
    assert_eq!(addresses.make_room(ip(1)), Room::Refused, "not to one of its own");
    assert_eq!(addresses.make_room(ip(2)), Room::Made(Network::of(ip(1))));
    assert!(!is_evicted(&busy[0]) && is_evicted(&busy[1]) && !is_evicted(&busy[2]));
    drop(busy);
    assert!(addresses.state().held.is_empty(), "all is given back");
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_who_has_as_much_as_anybody_keeps_nobody_waiting_behind_it() {
    let addresses = Addresses::new(100, 50, Networks::default());
    let taken: Vec<Place> = (1..=9).flat_map(|n| [n, n].map(|n| waiting(&addresses, n))).collect();
    taken.iter().for_each(Place::asked);
    tokio::time::advance(LONG).await;
    assert_eq!(addresses.make_room(ip(1)), Room::Refused);
    assert!(matches!(addresses.make_room(ip(20)), Room::Made(_)), "who has nothing gets in");
}

#[tokio::test(start_paused = true)]
async fn requests_without_end_from_as_many_addresses_as_there_are_places_keep_nobody_out() {
    let addresses = Addresses::new(100, 50, Networks::default());
    let taken: Vec<Place> = (1..=100).map(|n| waiting(&addresses, n)).collect();
    taken.iter().for_each(Place::asked);
    tokio::time::advance(LONG).await;
    assert_eq!(addresses.make_room(ip(200)), Room::None, "nobody has more than one");
    tokio::time::advance(VERY_LONG).await;
    assert_eq!(addresses.make_room(ip(1)), Room::Refused);
    assert_eq!(addresses.make_room(ip(200)), Room::Made(Network::of(ip(1))));
    assert!(is_evicted(&taken[0]) && !is_evicted(&taken[1]), "the oldest");
}

fn ip6(subscriber: u16) -> IpAddr {
    format!("2001:db8:0:{subscriber:x}::1").parse().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_wide_ipv6_network_cannot_take_all_places_and_gives_way_as_one() {
    let addresses = Addresses::new(100, 25, Networks::default());
    let taken: Vec<Place> = (0..200).filter_map(|n| addresses.take(ip6(n))).collect();
    assert_eq!(taken.len(), 50, "half of all");
    for place in &taken {
        place.opened();
        place.asked();
    }
    assert!(addresses.take(ip(1)).is_some(), "others have the rest");
    tokio::time::advance(LONG).await;
    assert!(matches!(addresses.make_room(ip(1)), Room::Made(_)));
    assert!(is_evicted(&taken[0]) && !is_evicted(&taken[1]), "the oldest");
    drop(taken);
    let state = addresses.state();
    assert!(state.held.is_empty() && state.own.is_empty(), "all is given back");
}

#[tokio::test]
async fn nobody_in_a_wide_ipv6_network_shuts_the_others_there_out() {
    let addresses = Addresses::new(100, 10, Networks::default());
    let host = |n: u8| format!("2001:db8:0:1::{n:x}").parse().unwrap();
    let taken: Vec<Place> = (0..100).filter_map(|n| addresses.take(host(n))).collect();
    assert_eq!(taken.len(), 10, "a subscriber has one share, from all addresses of it");
    let neighbours: Vec<Place> = (2..12).filter_map(|n| addresses.take(ip6(n))).collect();
    assert_eq!(neighbours.len(), 10);
    drop(taken);
    assert!(addresses.take(host(1)).is_some(), "it is given back");
}

#[tokio::test(start_paused = true)]
async fn who_has_several_addresses_of_a_wide_ipv6_network_gives_way_to_the_others_there() {
    let addresses = Addresses::new(200, 10, Networks::default());
    let open = |subscriber| addresses.take(ip6(subscriber)).inspect(Place::opened);
    let idle: Vec<Place> = (0..4).flat_map(|n| (0..20).filter_map(move |_| open(n))).collect();
    assert_eq!(idle.len(), 40, "all that the network has, by four addresses of it");
    assert!(open(9).is_none());
    let newcomer = addresses.take_over(ip6(9)).unwrap();
    newcomer.opened();
    assert_eq!(idle.iter().filter(|place| is_evicted(place)).count(), 1);
    assert!(addresses.take_over(ip6(0)).is_none(), "to nobody who has his share");
    // With an address for each connection he keeps nobody out for longer than a second.
    drop((idle, newcomer));
    let idle: Vec<Place> = (0..40).filter_map(open).collect();
    assert!(addresses.take_over(ip6(90)).is_none());
    tokio::time::advance(SILENT).await;
    assert!(addresses.take_over(ip6(90)).is_some());
    assert!(is_evicted(&idle[0]) && !is_evicted(&idle[1]), "the oldest");
    drop(idle);
    let state = addresses.state();
    assert!(state.held.is_empty() && state.own.is_empty(), "all is given back");
}

#[tokio::test]
async fn a_proxy_takes_no_place_of_its_neighbours() {
    let addresses = Addresses::new(100, 10, [ip6(1)].into_iter().collect());
    let proxied: Vec<Place> = (0..100).filter_map(|_| addresses.take(ip6(1))).collect();
    assert_eq!(proxied.len(), 75);
    assert!(addresses.take(ip6(2)).is_some());
    assert!(addresses.take("2001:db8:0:1::2".parse().unwrap()).is_some());
}

#[tokio::test(start_paused = true)]
async fn who_was_told_to_go_is_not_chosen_again() {
    let addresses = Addresses::new(100, 50, Networks::default());
    let gone: Vec<Place> = (0..3).map(|_| waiting(&addresses, 1)).collect();
    assert!(matches!(addresses.make_room(ip(2)), Room::Made(_)));
    // Its next request comes before its task has seen that.
    gone[0].asked();
    gone[0].answered();
    gone[0].written();
    let turn = gone[0].headed();
    gone[0].embodied(turn);
    tokio::time::advance(LONG).await;
    assert!(matches!(addresses.make_room(ip(2)), Room::Made(_)));
    assert!(is_evicted(&gone[1]) && !is_evicted(&gone[2]));
    assert_eq!(addresses.state().held.has(Network::of(ip(1))), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn a_browser_keeps_its_connections_while_those_of_others_are_silent() {
    let addresses = Addresses::new(200, 50, Networks::default());
    let silent: Vec<Place> = (1..=99).map(|n| waiting(&addresses, n)).collect();
    tokio::time::advance(SILENT).await;
    let mut own = vec![waiting(&addresses, 200)];
    for gone in &silent[..BROWSER - 1] {
        assert!(matches!(addresses.make_room(ip(200)), Room::Made(_)));
        assert!(is_evicted(gone) && !own.iter().any(is_evicted));
        own.push(waiting(&addresses, 200));
    }
    // From there on it gives away its own, and is refused while these are young.
    assert_eq!(addresses.make_room(ip(200)), Room::Refused);
    tokio::time::advance(YOUNG).await;
    assert_eq!(addresses.make_room(ip(200)), Room::Made(Network::of(ip(200))));
    assert!(is_evicted(&own[0]));
}

#[tokio::test(start_paused = true)]
async fn a_head_without_its_body_gives_way_soon() {
    let addresses = Addresses::new(100, 50, Networks::default());
    let heads: Vec<Place> = (0..4).map(|_| waiting(&addresses, 1)).collect();
    let turns: Vec<u64> = heads.iter().map(Place::headed).collect();
    heads[0].embodied(turns[0]);
    assert_eq!(addresses.make_room(ip(2)), Room::None);
    tokio::time::advance(YOUNG).await;
    assert_eq!(addresses.make_room(ip(2)), Room::Made(Network::of(ip(1))));
    assert!(!is_evicted(&heads[0]) && is_evicted(&heads[1]));
    // A body that ends after its answer was sent changes nothing.
    heads[2].answered();
    heads[2].written();
    heads[2].embodied(turns[2]);
    assert_eq!(addresses.state().held.has(Network::of(ip(1))).1, 1);
}

#[tokio::test(start_paused = true)]
async fn those_behind_a_proxy_do_not_give_way() {
    let addresses = Addresses::new(100, 50, [ip(1)].into_iter().collect());
    let _proxied: Vec<Place> = (0..60).map(|_| waiting(&addresses, 1)).collect();
    assert_eq!(addresses.make_room(ip(2)), Room::None);
}
