//! What the list of features comes to.

use crate::app::{self, FEATURES};
use serde_json::json;
use std::collections::BTreeSet;

#[test]
fn each_features_jobs_have_their_pace() {
    let jobs = FEATURES.iter().flat_map(|feature| feature.jobs);
    let mut jobs: Vec<_> = jobs.map(|job| (job.name, job.period.as_secs())).collect();
    jobs.sort_unstable();
    let expected = [
        ("metrics", 600),
        ("retention", 3600),
        ("tallies", 60),
        ("tasks", 5),
        ("tasks' rights", 4),
    ];
    assert_eq!(jobs, expected);
}

#[test]
fn each_sort_of_timeline_item_is_one_features_and_the_document_lists_all() {
    let sources = FEATURES.iter().filter_map(|feature| feature.timeline);
    let words: Vec<_> = sources.map(|source| source.kind.as_str()).collect();
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "{words:?}");
    let document = serde_json::to_value(app::openapi()).unwrap();
    let listed = &document["components"]["schemas"]["TimelineKind"]["enum"];
    assert_eq!(*listed, json!(words));
    assert_eq!(words, ["audit", "connection", "gap", "task"], "words on the wire stay");
}
