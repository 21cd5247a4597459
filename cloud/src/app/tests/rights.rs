//! What is open ends with the right that it came from.

use crate::{
    auth::{Right, Use},
    authz::{Actor, ActorKind, Role},
    db::Scope,
    testing::{Place, TestApp},
};
use sqlx::AssertSqlSafe;
use std::time::Duration;
use uuid::Uuid;

/// A technician of a partner with a session, as the sign-in leaves them.
async fn technician(app: &TestApp, place: &Place) -> Actor {
    let scope = Scope::Partner(place.partner);
    let email = format!("{}@acme.example", Uuid::new_v4().simple());
    let user = app.user(&email, "correct horse battery", "technician", scope).await;
    let session = Uuid::now_v7();
    let mut tx = app.test.db.tenant(&scope).await.unwrap();
    sqlx::query(
        "INSERT INTO sessions (token_hash, id, user_id, partner_id, expires_at) \
         VALUES ($1, $2, $3, $4, now() + interval '1 day')",
    )
    .bind(session.as_bytes().to_vec())
    .bind(session)
    .bind(user)
    .bind(place.partner.0)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    Actor {
        id: user,
        kind: ActorKind::User { session },
        name: email.clone(),
        person_name: email,
        role: Role::Technician,
        scope,
    }
}

async fn change(app: &TestApp, statement: &str) {
    let mut owner = app.test.owner().await;
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut owner).await.unwrap();
}

/// Why it has ended, if it has.
async fn ended(right: &mut Right) -> Option<&'static str> {
    tokio::select! {
        biased;
        why = right.ended() => Some(why),
        () = std::future::ready(()) => None,
    }
}

#[tokio::test]
async fn each_end_of_a_right_ends_what_is_open() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (rights, db) = (&app.state.rights, &app.state.db);
    let other = technician(&app, &place).await;
    let mut untouched = rights.hold(&other, Use::Acts);
    for (what, statement, says) in [
        ("sign-out", "DELETE FROM sessions WHERE id = 'SESSION'", "signed out"),
        ("disabling", "UPDATE users SET disabled_at = now() WHERE id = 'USER'", "signed out"),
        ("demotion", "UPDATE memberships SET role = 'viewer' WHERE user_id = 'USER'", "changed"),
        (
            "narrowing",
            "UPDATE memberships SET scope = 'organization', organization_id = 'ORG' WHERE user_id = 'USER'",
            "changed",
        ),
        (
            "idle time",
            "UPDATE sessions SET last_used_at = now() - interval '13 hours' WHERE id = 'SESSION'",
            "signed out",
        ),
        (
            "the session's end",
            "UPDATE sessions SET expires_at = now() WHERE id = 'SESSION'",
            "signed out",
        ),
    ] {
        let actor = technician(&app, &place).await;
        let ActorKind::User { session } = actor.kind else { panic!("a person") };
        let mut right = rights.hold(&actor, Use::Acts);
        rights.check(db).await.unwrap();
        assert_eq!(ended(&mut right).await, None, "before {what}");
        let statement = statement
            .replace("SESSION", &session.to_string())
            .replace("USER", &actor.id.to_string())
            .replace("ORG", &place.organization.to_string());
        change(&app, &statement).await;
        rights.check(db).await.unwrap();
        let why = ended(&mut right).await.unwrap_or_else(|| panic!("it outlived {what}"));
        assert!(why.contains(says), "{what}: {why}");
    }
    assert_eq!(ended(&mut untouched).await, None);
    change(&app, &format!("UPDATE partners SET deleted_at = now() WHERE id = '{}'", place.partner))
        .await;
    rights.check(db).await.unwrap();
    assert!(ended(&mut untouched).await.is_some(), "it outlived its partner");
}

#[tokio::test]
async fn a_revoked_key_ends_what_it_opened_and_so_does_its_person() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let scope = Scope::Organization(place.partner, place.organization);
    for statement in [
        "UPDATE api_keys SET revoked_at = now()",
        "UPDATE users SET disabled_at = now()",
        "UPDATE organizations SET deleted_at = now()",
    ] {
        let (_, id) = app.key("technician", scope).await;
        let key = Actor {
            id,
            kind: ActorKind::ApiKey { owner: id },
            name: "ci".into(),
            person_name: "ann".into(),
            role: Role::Technician,
            scope,
        };
        let mut right = app.state.rights.hold(&key, Use::Shows);
        app.state.rights.check(&app.state.db).await.unwrap();
        assert_eq!(ended(&mut right).await, None, "before {statement}");
        change(&app, statement).await;
        app.state.rights.check(&app.state.db).await.unwrap();
        assert!(ended(&mut right).await.is_some(), "it outlived {statement}");
    }
    assert_eq!(app.state.metrics.rights().get(), 0, "what is dropped is forgotten");
}

#[tokio::test]
async fn typing_keeps_a_session_from_being_idle_and_the_database_away_ends_nothing_at_once() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let actor = technician(&app, &place).await;
    let mut right = app.state.rights.hold(&actor, Use::Acts);
    let nearly = "UPDATE sessions SET last_used_at = now() - interval '11 hours 59 minutes'";
    change(&app, nearly).await;
    right.used();
    app.state.rights.check(&app.state.db).await.unwrap();
    let mut owner = app.test.owner().await;
    let fresh: bool =
        sqlx::query_scalar("SELECT last_used_at > now() - interval '1 minute' FROM sessions")
            .fetch_one(&mut owner)
            .await
            .unwrap();
    assert!(fresh, "typing counts as use");
    app.state.db.close().await;
    app.state.rights.check(&app.state.db).await.unwrap_err();
    assert_eq!(ended(&mut right).await, None);
}

#[tokio::test]
async fn what_acts_ends_when_its_right_is_not_confirmed_for_long_and_what_shows_goes_on() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let actor = technician(&app, &place).await;
    let mut acts = app.state.rights.hold(&actor, Use::Acts);
    let mut shows = app.state.rights.hold(&actor, Use::Shows);
    app.state.db.close().await;
    tokio::time::pause();
    for (seconds, over) in [(50, false), (15, true)] {
        tokio::time::advance(Duration::from_secs(seconds)).await;
        app.state.rights.check(&app.state.db).await.unwrap_err();
        assert_eq!(ended(&mut acts).await.is_some(), over);
        assert_eq!(ended(&mut shows).await, None);
    }
}
