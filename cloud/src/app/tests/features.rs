//! What the list of features comes to.

use crate::app::FEATURES;

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
