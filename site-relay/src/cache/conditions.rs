//! What a request asks only under a condition (RFC 9110 section 13): apt and npm
//! ask for what changed, BITS for parts of the very file that it began with.

use super::{index::Entry, range::Wanted, respond::Answer};
use std::time::SystemTime;

impl Answer<'_> {
    /// What part of the file is wanted, as far as the client still means this file.
    pub(super) fn wanted(&self, entry: &Entry) -> Wanted {
        let request = self.request;
        let holds = match (&request.if_match, &request.if_unmodified_since) {
            (Some(tags), _) => {
                tags.trim() == "*"
                    || entry
                        .etag
                        .as_deref()
                        .is_some_and(|etag| tags.split(',').any(|t| t.trim() == etag))
            }
            // A date that cannot be read is to be ignored.
            (None, Some(date)) => !later(entry.last_modified.as_deref(), date).unwrap_or(false),
            (None, None) => true,
        };
        if !holds {
            return Wanted::Failed;
        }
        let Some(range) = request.range else { return Wanted::Whole };
        let same = match request.if_range.as_deref() {
            None => true,
            // Strong comparison, and dates only when they are equal.
            validator => {
                validator == entry.etag.as_deref() || validator == entry.last_modified.as_deref()
            }
        };
        if same { range.of(entry.size) } else { Wanted::Whole }
    }

    /// Whether the client has this file already.
    pub(super) fn not_modified(&self, entry: &Entry) -> bool {
        if let Some(tags) = &self.request.if_none_match {
            return entry.etag.as_ref().is_some_and(|etag| {
                tags.split(',').any(|tag| tag.trim().trim_start_matches("W/") == etag)
            }) || tags.trim() == "*";
        }
        let Some(date) = &self.request.if_modified_since else { return false };
        self.request.if_modified_since == entry.last_modified
            || later(entry.last_modified.as_deref(), date) == Some(false)
    }
}

/// Whether a file is younger than a date; `None` when either cannot be read.
fn later(modified: Option<&str>, date: &str) -> Option<bool> {
    let read = |text: &str| httpdate::parse_http_date(text).ok();
    let (modified, date): (SystemTime, SystemTime) = (read(modified?)?, read(date)?);
    Some(modified > date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_compared_as_dates_and_nonsense_is_ignored() {
        let (old, new) = ("Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:38 GMT");
        assert_eq!(later(Some(new), old), Some(true));
        assert_eq!(later(Some(old), new), Some(false));
        assert_eq!(later(Some(old), old), Some(false));
        assert_eq!(later(None, old), None);
        assert_eq!(later(Some(old), "yesterday"), None);
    }
}
