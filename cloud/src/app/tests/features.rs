//! What the list of features comes to: what each says of itself, and what its probes demand.

use crate::{
    app::{self, FEATURES},
    authz::{Can, Role},
    db::Scope,
    feature::{self, Feature},
    keeping,
};
use serde_json::json;
use std::collections::BTreeSet;
use unifyit_protocol::ids::{OrganizationId, PartnerId, SiteId};
use uuid::Uuid;

#[test]
fn each_features_jobs_have_their_pace() {
    let mut names = BTreeSet::new();
    for Feature { name, jobs, probes, .. } in FEATURES {
        let jobs: Vec<_> = jobs.iter().map(|job| (job.name, job.period.as_secs())).collect();
        assert_eq!(jobs, probes.jobs, "features/{name}/probes.rs says its jobs' pace");
        assert!(jobs.iter().all(|(job, _)| names.insert(*job)), "{jobs:?}");
    }
}

#[test]
fn each_sort_of_timeline_item_is_one_features_and_the_document_lists_all() {
    for Feature { name, timeline, probes, .. } in FEATURES {
        let word = timeline.map(|source| source.kind.as_str());
        assert_eq!(word, probes.timeline, "features/{name}/probes.rs says its word");
    }
    let words: Vec<_> = FEATURES.iter().filter_map(|feature| feature.probes.timeline).collect();
    assert_eq!(words.iter().collect::<BTreeSet<_>>().len(), words.len(), "{words:?}");
    let document = serde_json::to_value(app::openapi()).unwrap();
    let listed = &document["components"]["schemas"]["TimelineKind"]["enum"];
    assert_eq!(*listed, json!(words));
}

#[test]
fn each_setting_is_one_features_and_the_document_lists_all() {
    for Feature { name, keeps, probes, .. } in FEATURES {
        let fields: Vec<_> = keeps.settings.iter().map(|setting| setting.field).collect();
        assert_eq!(fields, probes.settings, "features/{name}/probes.rs says its settings");
    }
    let fields: Vec<_> = keeping::settings(FEATURES).iter().map(|setting| setting.field).collect();
    assert_eq!(fields.iter().collect::<BTreeSet<_>>().len(), fields.len(), "{fields:?}");
    let document = serde_json::to_value(app::openapi()).unwrap();
    assert_eq!(document["components"]["schemas"]["Retention"]["required"], json!(fields));
}

#[test]
fn each_right_is_one_features_and_is_whose_the_document_says() {
    let (partner, organization) = (PartnerId(Uuid::nil()), OrganizationId(Uuid::nil()));
    let scopes = [
        Scope::Platform,
        Scope::Partner(partner),
        Scope::Organization(partner, organization),
        Scope::Site(partner, organization, SiteId(Uuid::nil())),
    ];
    let whose = |right: &Can| {
        let by = |role| {
            let may = scopes.iter().map(|scope| if right.by(role, scope) { 'y' } else { '-' });
            may.collect::<String>()
        };
        (right.as_str(), [Role::Viewer, Role::Technician, Role::Admin].map(by))
    };
    assert_eq!(whose(&Can::VIEW), ("view", ["yyyy"; 3].map(str::to_owned)));
    for Feature { name, rights, probes, .. } in FEATURES {
        let own: Vec<_> = rights.iter().map(whose).collect();
        let demanded = probes.rights.iter().map(|(word, by)| (*word, by.map(str::to_owned)));
        let demanded: Vec<_> = demanded.collect();
        assert_eq!(own, demanded, "features/{name}/probes.rs says who has its rights");
    }
    let rights: Vec<Can> = feature::rights(FEATURES).collect();
    let words: BTreeSet<_> = rights.iter().map(|right| right.as_str()).collect();
    assert_eq!(words.len(), rights.len());
    let document = serde_json::to_value(app::openapi()).unwrap();
    let schema = &document["components"]["schemas"]["Can"];
    assert_eq!(schema["enum"], json!(rights), "in sessions and in the document they are the same");
    let said = schema["description"].as_str().unwrap();
    assert!(said.contains("\n- `manage_organizations`: admin, not of a site alone\n"), "{said}");
    assert_eq!(said.matches("\n- `").count(), rights.len());
}
