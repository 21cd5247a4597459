//! Texts and times from devices, made fit to store and to show.

use time::OffsetDateTime;

/// A device's or relay's time, not later than now: a clock that runs ahead must not
/// write the future.
#[must_use]
pub(crate) fn time_of(ms: u64) -> OffsetDateTime {
    crate::link::from_ms(ms).min(OffsetDateTime::now_utc())
}

/// One line of at most `most` bytes: no control characters (PostgreSQL refuses
/// NUL, terminals obey the others), cut between characters.
#[must_use]
pub(crate) fn line(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for c in text.chars().filter(|c| !c.is_control()) {
        if out.len() + c.len_utf8() > most {
            break;
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::line;

    #[test]
    fn control_characters_go_and_cuts_keep_characters_whole() {
        assert_eq!(line("a\0b\u{1b}[31m\n", 99), "ab[31m");
        assert_eq!(line("ääää", 5), "ää");
        assert_eq!(line(&"x".repeat(10_000), 64).len(), 64);
    }
}
