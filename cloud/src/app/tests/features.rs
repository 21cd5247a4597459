//! What the list of features comes to.

use crate::{
    app::{self, FEATURES},
    authz::{Can, Role},
    db::Scope,
    feature,
};
use serde_json::json;
use std::collections::BTreeSet;
use unifyit_protocol::ids::{OrganizationId, PartnerId, SiteId};
use uuid::Uuid;

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

/// Who may what: a viewer, a technician and an administrator, each at the platform, a
/// partner, an organization and a site.
const RIGHTS: &[(&str, [&str; 3])] = &[
    ("view", ["yyyy", "yyyy", "yyyy"]),
    ("read_audit", ["----", "yyyy", "yyyy"]),
    ("manage_partners", ["----", "----", "y---"]),
    ("manage_organizations", ["----", "----", "yyy-"]),
    ("manage_sites", ["----", "yyyy", "yyyy"]),
    ("install", ["----", "yyyy", "yyyy"]),
    ("manage_devices", ["----", "yyyy", "yyyy"]),
    ("run_tasks", ["----", "yyyy", "yyyy"]),
    ("open_terminal", ["----", "yyyy", "yyyy"]),
    ("manage_users", ["----", "----", "yyyy"]),
    ("manage_api_keys", ["----", "yyyy", "yyyy"]),
];

#[test]
fn each_right_is_one_features_and_is_whose_the_document_says() {
    let (partner, organization) = (PartnerId(Uuid::nil()), OrganizationId(Uuid::nil()));
    let scopes = [
        Scope::Platform,
        Scope::Partner(partner),
        Scope::Organization(partner, organization),
        Scope::Site(partner, organization, SiteId(Uuid::nil())),
    ];
    let rights: Vec<Can> = feature::rights(FEATURES).collect();
    let words: Vec<_> = rights.iter().map(|right| right.as_str()).collect();
    assert_eq!(words, RIGHTS.iter().map(|(word, _)| *word).collect::<Vec<_>>());
    for (right, (word, expected)) in rights.iter().zip(RIGHTS) {
        let found = [Role::Viewer, Role::Technician, Role::Admin].map(|role| {
            let may = scopes.iter().map(|scope| if right.by(role, scope) { 'y' } else { '-' });
            may.collect::<String>()
        });
        assert_eq!(found, expected.map(str::to_owned), "{word}");
    }
    let document = serde_json::to_value(app::openapi()).unwrap();
    let schema = &document["components"]["schemas"]["Can"];
    assert_eq!(schema["enum"], json!(rights), "in sessions and in the document they are the same");
    let said = schema["description"].as_str().unwrap();
    assert!(said.contains("\n- `manage_organizations`: admin, not of a site alone\n"), "{said}");
    assert_eq!(said.matches("\n- `").count(), rights.len());
}
