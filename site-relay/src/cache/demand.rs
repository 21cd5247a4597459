//! How fresh a client wants it: what its `Cache-Control` and `Pragma` say
//! (RFC 9111 section 5.2.1).
//!
//! apt says `max-age=0` of indexes, dnf `no-cache` of `repomd.xml`, pip `max-age=0`
//! of pages. They know what must not be old. A client that says `no-cache` may have
//! found its copy to be wrong, so that the upstream is asked for the bytes, not
//! whether they changed.

use super::index::Entry;

/// What a client accepts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// Only from the upstream itself.
    pub anew: bool,
    /// Confirmed at most so many seconds ago.
    pub max_age_s: Option<u32>,
    /// Still fresh for so many seconds.
    pub min_fresh_s: u32,
    /// Only what is here.
    pub only_if_cached: bool,
}

impl Demand {
    /// Reads the headers.
    pub(super) fn of<'a>(
        control: impl Iterator<Item = &'a str>,
        pragma: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut demand = Self::default();
        let mut any = false;
        for directive in control.flat_map(|value| value.split(',')) {
            any = true;
            let (name, value) = directive.split_once('=').unwrap_or((directive, ""));
            let seconds = value.trim().trim_matches('"').parse::<u32>();
            match name.trim().to_ascii_lowercase().as_str() {
                "no-cache" => demand.anew = true,
                // What cannot be read means the strictest.
                "max-age" => demand.max_age_s = Some(seconds.unwrap_or(0)),
                "min-fresh" => demand.min_fresh_s = seconds.unwrap_or(u32::MAX),
                "only-if-cached" => demand.only_if_cached = true,
                _ => {}
            }
        }
        let says =
            |value: &str| value.split(',').any(|v| v.trim().eq_ignore_ascii_case("no-cache"));
        demand.anew |= !any && pragma.into_iter().any(says);
        demand
    }

    /// Whether the client wants it confirmed by the upstream, whatever is here.
    #[must_use]
    pub(super) fn confirmed(self) -> bool {
        self.anew || self.max_age_s == Some(0)
    }

    /// Whether a copy, fresh for `fresh_s` after it was confirmed, is fresh enough.
    #[must_use]
    pub(super) fn takes(self, entry: &Entry, fresh_s: u32, now_ms: u64) -> bool {
        let after = |seconds: u32| entry.checked_ms.saturating_add(u64::from(seconds) * 1000);
        // A clock that was set back must not make everything fresh.
        !self.confirmed()
            && entry.checked_ms <= now_ms
            && now_ms.saturating_add(u64::from(self.min_fresh_s) * 1000) < after(fresh_s)
            && self.max_age_s.is_none_or(|most| now_ms <= after(most))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(control: &[&str], pragma: &[&str]) -> Demand {
        Demand::of(control.iter().copied(), pragma.iter().copied())
    }

    #[test]
    fn directives_are_read_from_all_headers_and_pragma_counts_alone_only() {
        assert!(of(&["max-age=60", "No-Cache"], &[]).anew);
        assert_eq!(of(&["max-age=60"], &["no-cache"]).max_age_s, Some(60));
        assert!(!of(&["max-age=60"], &["no-cache"]).anew && of(&[], &["no-cache"]).anew);
        assert_eq!(of(&["max-age=x"], &[]).max_age_s, Some(0));
        assert!(of(&["only-if-cached, max-stale"], &[]).only_if_cached);
        assert_eq!(of(&["no-transform"], &[]), Demand::default());
    }

    #[test]
    fn a_copy_is_taken_while_it_is_as_fresh_as_the_client_wants() {
        let entry = Entry {
            content: [0; 32],
            size: 0,
            etag: None,
            last_modified: None,
            content_type: None,
            checked_ms: 100_000,
            fresh_s: 60,
            fetched_ms: 0,
            as_named: false,
        };
        let takes = |control: &str, now_ms: u64| of(&[control], &[]).takes(&entry, 60, now_ms);
        assert!(takes("", 159_000) && !takes("", 160_000) && !takes("", 99_000));
        assert!(!takes("max-age=0", 100_000) && !takes("no-cache", 100_000));
        assert!(takes("max-age=10", 110_000) && !takes("max-age=10", 110_001));
        assert!(takes("min-fresh=30", 129_000) && !takes("min-fresh=30", 130_000));
    }
}
