//! Pure decisions about sites.

use serde::{Deserialize, Serialize};
use unifyit_protocol::link::RelayStatus;
use utoipa::ToSchema;

/// How a site fares, seen from the cloud.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum SiteState {
    /// Its relay is connected and well.
    Healthy,
    /// Its relay is connected and in trouble: backlog, disk.
    Degraded,
    /// Its relay is not connected. The site may be perfectly well.
    Unreachable,
    /// No relay is enrolled.
    NoRelay,
}

/// Backlog from which a connected relay is behind, in records.
const BEHIND: u64 = 50_000;
/// Free disk below which a relay starts to drop data, in bytes.
const TIGHT: u64 = 256 * 1024 * 1024;

/// Judges by the connection and the last report.
#[must_use]
pub(super) fn state(enrolled: bool, online: bool, status: &RelayStatus) -> SiteState {
    let reported = status.at_ms > 0;
    match (enrolled, online) {
        (false, _) => SiteState::NoRelay,
        (true, false) => SiteState::Unreachable,
        (true, true)
            if reported && (status.backlog_records > BEHIND || status.disk_free_bytes < TIGHT) =>
        {
            SiteState::Degraded
        }
        (true, true) => SiteState::Healthy,
    }
}

/// Addresses for a relay's token: where the cloud listens on any interface, the
/// host that browsers use takes its place, because nobody can dial "any".
#[must_use]
pub(super) fn dialable(announced: &[String], public_url: &str) -> Vec<String> {
    let host = public_url.split_once("://").map_or(public_url, |(_, rest)| rest);
    let host = host.split('/').next().unwrap_or_default();
    let host = match host.strip_prefix('[').and_then(|h| h.split_once(']')) {
        Some((v6, _)) => format!("/ip6/{v6}"),
        None => {
            let name = host.split(':').next().unwrap_or_default();
            let v4 = name.parse::<std::net::Ipv4Addr>().is_ok();
            format!("/{}/{name}", if v4 { "ip4" } else { "dns" })
        }
    };
    let mut addresses: Vec<String> = announced
        .iter()
        .map(|address| {
            ["/ip4/0.0.0.0/", "/ip6/::/"]
                .iter()
                .find_map(|any| address.strip_prefix(any))
                .map_or_else(|| address.clone(), |rest| format!("{host}/{rest}"))
        })
        .collect();
    addresses.dedup();
    addresses
}

/// Whether a PIN for the local UI is acceptable: 6 to 12 digits, not all equal.
#[must_use]
pub(super) fn acceptable_pin(pin: &str) -> bool {
    let digits = (6..=12).contains(&pin.len()) && pin.bytes().all(|b| b.is_ascii_digit());
    digits && pin.bytes().any(|b| Some(b) != pin.bytes().next())
}

#[cfg(test)]
mod tests {
    use super::{SiteState, acceptable_pin, dialable, state};
    use unifyit_protocol::link::RelayStatus;

    #[test]
    fn a_connected_relay_in_trouble_degrades_its_site_and_an_absent_one_hides_it() {
        let well = RelayStatus { at_ms: 1, disk_free_bytes: u64::MAX, ..RelayStatus::default() };
        let behind = RelayStatus { backlog_records: 1_000_000, ..well.clone() };
        assert_eq!(state(false, false, &RelayStatus::default()), SiteState::NoRelay);
        assert_eq!(state(true, false, &well), SiteState::Unreachable);
        assert_eq!(state(true, true, &RelayStatus::default()), SiteState::Healthy);
        assert_eq!(state(true, true, &well), SiteState::Healthy);
        assert_eq!(state(true, true, &behind), SiteState::Degraded);
    }

    #[test]
    fn a_token_never_names_an_address_that_cannot_be_dialled() {
        let listening = ["/ip4/0.0.0.0/tcp/4001".to_owned(), "/ip4/10.1.2.3/tcp/4001".to_owned()];
        assert_eq!(
            dialable(&listening, "https://rmm.example.com:8443/x"),
            ["/dns/rmm.example.com/tcp/4001", "/ip4/10.1.2.3/tcp/4001"]
        );
        assert_eq!(dialable(&listening[..1], "http://127.0.0.1:8080"), ["/ip4/127.0.0.1/tcp/4001"]);
        assert_eq!(dialable(&listening[..1], "http://[::1]:8080"), ["/ip6/::1/tcp/4001"]);
    }

    #[test]
    fn pins_that_anybody_would_try_first_are_refused() {
        assert!(acceptable_pin("123456"));
        for pin in ["", "12345", "111111", "1234567890123", "12345a", "١٢٣٤٥٦"] {
            assert!(!acceptable_pin(pin), "{pin}");
        }
    }
}
