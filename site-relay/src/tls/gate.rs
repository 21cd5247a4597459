//! Bounds on connections that have not proven themselves yet.
//!
//! A connection is half-open from its accept until it has said who it is. When
//! an address has too many of them, its oldest gives way to its newest: idle or
//! half-finished handshakes, however many, cost an honest client nothing, and
//! one address can never take another's place. A connection younger than
//! [`YOUNG`] does not give way to another of its address, so that a herd of honest
//! clients is slowed, not torn down. When all places are taken, the address that has
//! most of them gives way to one that has fewer, at once: a quiet address gets in,
//! however fast others come.

use crate::{seldom::Seldom, telemetry::Telemetry};
use prometheus::{IntCounterVec, IntGauge};
use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};
use tokio_util::sync::CancellationToken;

/// Age below which a half-open connection keeps its place.
pub const YOUNG: Duration = Duration::from_millis(500);

/// Metrics of a gate.
#[derive(Debug, Clone)]
pub struct GateMetrics {
    half_open: IntGauge,
    refused: IntCounterVec,
}

impl GateMetrics {
    /// Registers the metrics under a listener's name (`mqtt`, `https`).
    #[must_use]
    pub fn new(telemetry: &Telemetry, listener: &str) -> Self {
        Self {
            half_open: telemetry.gauge(
                &format!("{listener}_half_open"),
                "Connections that have not said who they are",
            ),
            refused: telemetry.counters(
                &format!("{listener}_refused"),
                "Connections refused, by reason",
                "reason",
            ),
        }
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: &str) {
        self.refused.with_label_values(&[reason]).inc();
    }
}

/// Lets connections in. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Gate(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    total: usize,
    per_ip: usize,
    metrics: GateMetrics,
    state: Mutex<State>,
    said: Seldom<&'static str>,
}

#[derive(Debug, Default)]
struct State {
    next: u64,
    count: usize,
    by_ip: HashMap<IpAddr, VecDeque<Waiting>>,
}

#[derive(Debug)]
struct Waiting {
    id: u64,
    since: Instant,
    evicted: CancellationToken,
}

/// A place among the half-open connections, given back when dropped.
#[derive(Debug)]
pub struct Slot {
    gate: Gate,
    ip: IpAddr,
    id: u64,
    evicted: CancellationToken,
}

impl Slot {
    /// Resolves when the place was given to a newer connection.
    pub async fn evicted(&self) {
        self.evicted.cancelled().await;
    }
}

impl Gate {
    /// A gate with room for so many.
    #[must_use]
    pub fn new(total: usize, per_ip: usize, metrics: GateMetrics) -> Self {
        let (state, said) = (Mutex::default(), Seldom::default());
        Self(Arc::new(Inner { total, per_ip, metrics, state, said }))
    }

    /// The gate's metrics.
    #[must_use]
    pub fn metrics(&self) -> &GateMetrics {
        &self.0.metrics
    }

    /// Takes a place, from the oldest if need be. `None` when all are too young
    /// to give way: the connection is to be closed.
    #[must_use]
    pub fn enter(&self, ip: IpAddr) -> Option<Slot> {
        self.enter_at(ip, Instant::now())
    }

    fn enter_at(&self, ip: IpAddr, now: Instant) -> Option<Slot> {
        let ip = neighbourhood(ip);
        let mut state = self.state();
        let from_ip = state.by_ip.get(&ip).map_or(0, VecDeque::len);
        let victim = if from_ip >= self.0.per_ip {
            Some((ip, false))
        } else if state.count >= self.0.total {
            let busiest = state.by_ip.iter().max_by_key(|(_, waiting)| waiting.len());
            // An address that holds more than the newcomer would gives way at once,
            // however young its connections are.
            busiest.map(|(busy, waiting)| (*busy, waiting.len() > from_ip + 1))
        } else {
            None
        };
        if let Some((victim, at_once)) = victim
            && !state.evict(victim, now, at_once)
        {
            drop(state);
            self.turned_away("half_open_full", ip);
            return None;
        }
        if let Some((victim, _)) = victim {
            self.turned_away("half_open_evicted", victim);
        }
        state.next += 1;
        state.count += 1;
        let (id, evicted) = (state.next, CancellationToken::new());
        let waiting = Waiting { id, since: now, evicted: evicted.clone() };
        state.by_ip.entry(ip).or_default().push_back(waiting);
        self.0.metrics.half_open.set(i64::try_from(state.count).unwrap_or(i64::MAX));
        Some(Slot { gate: self.clone(), ip, id, evicted })
    }

    fn turned_away(&self, reason: &'static str, ip: IpAddr) {
        self.0.metrics.refused(reason);
        if let Some(times) = self.0.said.due(reason) {
            tracing::warn!(last = %ip, reason, times,
                "Connections that do not say who they are were turned away.");
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn evict(&mut self, ip: IpAddr, now: Instant, at_once: bool) -> bool {
        let Some(waiting) = self.by_ip.get_mut(&ip) else { return false };
        match waiting.front() {
            Some(oldest) if at_once || now.duration_since(oldest.since) >= YOUNG => {
                oldest.evicted.cancel();
                waiting.pop_front();
                self.count -= 1;
                true
            }
            _ => false,
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        let Some(waiting) = state.by_ip.get_mut(&self.ip) else { return };
        let before = waiting.len();
        waiting.retain(|w| w.id != self.id);
        let gone = before - waiting.len();
        if waiting.is_empty() {
            state.by_ip.remove(&self.ip);
        }
        state.count -= gone;
        self.gate.0.metrics.half_open.set(i64::try_from(state.count).unwrap_or(i64::MAX));
    }
}

/// An IPv6 host can call itself by 2^64 addresses; its network counts as one.
pub(crate) fn neighbourhood(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V4(_) => ip,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from(u128::from(v6) & (u128::MAX << 64))),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    fn gate(total: usize, per_ip: usize) -> Gate {
        Gate::new(total, per_ip, GateMetrics::new(&Telemetry::new(), "test"))
    }

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, last])
    }

    #[test]
    fn the_oldest_of_the_same_address_gives_way() {
        let gate = gate(100, 2);
        let start = Instant::now();
        let other = gate.enter_at(ip(2), start).unwrap();
        let first = gate.enter_at(ip(1), start).unwrap();
        let second = gate.enter_at(ip(1), start + YOUNG / 2).unwrap();
        assert!(gate.enter_at(ip(1), start + YOUNG / 2).is_none(), "all are young");
        let third = gate.enter_at(ip(1), start + YOUNG).unwrap();
        assert!(first.evicted.is_cancelled());
        assert!(!second.evicted.is_cancelled() && !third.evicted.is_cancelled());
        assert!(!other.evicted.is_cancelled(), "another address keeps its place");
    }

    #[test]
    fn when_all_is_full_the_busiest_address_gives_way() {
        let gate = gate(3, 100);
        let start = Instant::now();
        let quiet = gate.enter_at(ip(1), start).unwrap();
        let busy = [gate.enter_at(ip(2), start).unwrap(), gate.enter_at(ip(2), start).unwrap()];
        let newcomer = gate.enter_at(ip(3), start + YOUNG).unwrap();
        assert!(busy[0].evicted.is_cancelled() && !busy[1].evicted.is_cancelled());
        assert!(!quiet.evicted.is_cancelled() && !newcomer.evicted.is_cancelled());
    }

    #[test]
    fn a_quiet_address_gets_in_however_fast_others_come() {
        let gate = gate(100, 50);
        let start = Instant::now();
        let mut held = Vec::new();
        for n in 0..5000u32 {
            held.extend(gate.enter_at(ip((n % 5) as u8), start));
            if n % 100 == 99 {
                let quiet = gate.enter_at(ip(200), start).expect("a place");
                held.extend((0..40).filter_map(|_| gate.enter_at(ip(1), start)));
                assert!(!quiet.evicted.is_cancelled(), "it keeps its place");
            }
        }
    }

    #[test]
    fn places_are_given_back() {
        let gate = gate(2, 2);
        for _ in 0..100 {
            let _one = gate.enter(ip(1)).unwrap();
            let _two = gate.enter(ip(1)).unwrap();
        }
        assert_eq!(gate.state().count, 0);
        assert!(gate.state().by_ip.is_empty());
    }

    #[test]
    fn addresses_of_one_ipv6_network_count_as_one() {
        let gate = gate(100, 1);
        let a: IpAddr = "2001:db8::1".parse().unwrap();
        let b: IpAddr = "2001:db8::2:1".parse().unwrap();
        let _held = gate.enter(a).unwrap();
        assert!(gate.enter(b).is_none());
    }
}
