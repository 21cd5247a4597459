//! Byte ranges of RFC 9110 section 14, as download clients use them: one range
//! a request. Several ranges are answered with the whole body, which the RFC
//! allows and every client understands.

/// What part of a body of known length a request wants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// All of it (200).
    Whole,
    /// Bytes `start..end` (206).
    Part {
        /// First byte.
        start: u64,
        /// Byte behind the last.
        end: u64,
    },
    /// Nothing of it exists (416).
    Unsatisfiable,
    /// The file is not the one that the client means (412).
    Failed,
}

/// A `Range` header taken apart, before the length is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeHeader {
    /// `bytes=a-` or `bytes=a-b`, with the last byte included.
    From(u64, Option<u64>),
    /// `bytes=-n`: the last n bytes.
    Last(u64),
}

impl RangeHeader {
    /// Reads a header value; `None` means that it is to be ignored.
    #[must_use]
    pub(super) fn parse(value: &str) -> Option<Self> {
        let spec = value.trim().strip_prefix("bytes=")?.trim();
        let (first, last) = spec.split_once('-')?;
        let number = |text: &str| text.trim().parse::<u64>().ok();
        match (first.trim(), last.trim()) {
            ("", n) => number(n).map(Self::Last),
            (a, "") => number(a).map(|a| Self::From(a, None)),
            (a, b) => {
                let (a, b) = (number(a)?, number(b)?);
                (a <= b).then_some(Self::From(a, Some(b)))
            }
        }
    }

    /// Applies the range to a body of `length` bytes.
    #[must_use]
    pub(super) fn of(self, length: u64) -> Wanted {
        let (start, end) = match self {
            Self::From(start, last) => {
                (start, last.map_or(length, |l| l.saturating_add(1).min(length)))
            }
            Self::Last(0) => return Wanted::Unsatisfiable,
            Self::Last(n) => (length.saturating_sub(n), length),
        };
        if start >= end { Wanted::Unsatisfiable } else { Wanted::Part { start, end } }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_read_as_the_rfc_says() {
        let of = |text: &str| RangeHeader::parse(text).map(|r| r.of(100));
        assert_eq!(of("bytes=0-9"), Some(Wanted::Part { start: 0, end: 10 }));
        assert_eq!(of("bytes=90-"), Some(Wanted::Part { start: 90, end: 100 }));
        assert_eq!(of("bytes=-5"), Some(Wanted::Part { start: 95, end: 100 }));
        assert_eq!(of("bytes=-500"), Some(Wanted::Part { start: 0, end: 100 }));
        assert_eq!(of("bytes=50-5000"), Some(Wanted::Part { start: 50, end: 100 }));
        assert_eq!(of("bytes=100-"), Some(Wanted::Unsatisfiable));
        assert_eq!(of("bytes=-0"), Some(Wanted::Unsatisfiable));
    }

    #[test]
    fn nonsense_is_ignored_rather_than_refused() {
        for text in ["", "bytes", "bytes=", "bytes=a-b", "bytes=9-1", "items=0-1", "bytes=0-1,5-6"]
        {
            assert_eq!(RangeHeader::parse(text), None, "{text}");
        }
        let huge = format!("bytes=0-{}", u64::MAX);
        assert_eq!(
            RangeHeader::parse(&huge).map(|r| r.of(10)),
            Some(Wanted::Part { start: 0, end: 10 })
        );
    }
}
