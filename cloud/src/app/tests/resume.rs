//! What a socket of events is told first when it comes back.

use crate::{
    app::API,
    authz::Sender,
    db::Scope,
    http::turns::Turn,
    testing::{Place, TestApp},
};
use serde_json::json;
use std::net::SocketAddr;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

/// Puts an event into the table that no bus has heard; with its id.
async fn stored(app: &TestApp, place: &Place, site: &str, seconds_ago: i32) -> i64 {
    stored_as(app, place, "site.changed", site, seconds_ago).await
}

async fn stored_as(app: &TestApp, place: &Place, kind: &str, site: &str, seconds_ago: i32) -> i64 {
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    let id = sqlx::query_scalar(
        "INSERT INTO events (partner_id, organization_id, site_id, kind, payload, at) \
         VALUES ($1, $2, $3, $6, $4, now() - make_interval(secs => $5)) RETURNING id",
    )
    .bind(place.partner.0)
    .bind(place.organization.0)
    .bind(place.site.0)
    .bind(json!({ "name": site }))
    .bind(f64::from(seconds_ago))
    .bind(kind)
    .fetch_one(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
    id
}

/// The first event that a socket is told which resumes from an id.
async fn first(at: SocketAddr, key: &str, after: i64) -> String {
    let mut tcp = TcpStream::connect(at).await.unwrap();
    let head = format!(
        "GET {API}/events?after={after} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {key}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    tcp.write_all(head.as_bytes()).await.unwrap();
    let mut came = Vec::new();
    loop {
        let head = came.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let said = head.map(|at| &came[at + 4..]).and_then(|frame| match frame {
            [0x81, 126, a, b, rest @ ..] => rest.get(..u16::from_be_bytes([*a, *b]).into()),
            [0x81, short, rest @ ..] => rest.get(..(*short).into()),
            _ => None,
        });
        if let Some(said) = said {
            return String::from_utf8(said.to_vec()).unwrap();
        }
        let read = tcp.read_buf(&mut came).await.unwrap();
        assert!(read > 0, "it ended: {}", String::from_utf8_lossy(&came));
    }
}

#[tokio::test]
async fn who_comes_back_is_told_what_its_partner_missed_or_without_a_turn_to_refetch() {
    let app = TestApp::new().await;
    let (place, other) = (app.place("Acme").await, app.place("Bolt").await);
    let at = app.serve().await;
    let scope = Scope::Partner(place.partner);
    let owner = app.user("ann@acme.example", "correct horse battery", "technician", scope).await;
    let (key, _) = app.key_of(owner, "technician", scope).await;
    stored(&app, &place, "long before", 120).await;
    let late = stored(&app, &place, "an earlier number", 10).await;
    stored(&app, &other, "a stranger's", 0).await;
    stored_as(&app, &place, "of.tomorrow", "of a later version", 0).await;
    let after = stored(&app, &place, "the last", 0).await;
    let told = first(at, &key, after).await;
    assert!(told.contains("an earlier number"), "it may have been committed later: {told}");
    let told = first(at, &key, late).await;
    assert!(told.contains("the last"), "{told}");

    let sender = Sender { person: owner, by_key: false };
    let held: Vec<Turn> =
        std::iter::from_fn(|| app.state.turns.at_once(sender, 1)).take(100).collect();
    let told = first(at, &key, late).await;
    assert!(told.contains("\"reset\""), "{told}");
    let page = app.state.metrics.page((0, 0));
    assert!(page.contains("unifyit_event_resets_total{why=\"no_turn\"} 1"), "{page}");
    drop(held);
    let told = first(at, &key, late).await;
    assert!(told.contains("the last"), "{told}");
}

#[tokio::test]
async fn what_a_socket_missed_is_read_by_a_statement_that_has_two_seconds() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let at = app.serve().await;
    let (key, _) = app.key("technician", Scope::Partner(place.partner)).await;
    let after = stored(&app, &place, "the last", 0).await;
    stored(&app, &place, "bounded", 0).await;
    // Seen by such a statement only.
    let bounded = "CREATE POLICY bounded ON events AS RESTRICTIVE FOR SELECT TO unifyit_app USING \
        (payload->>'name' <> 'bounded' OR current_setting('statement_timeout') = '2s')";
    sqlx::raw_sql(bounded).execute(&mut app.test.owner().await).await.unwrap();
    stored(&app, &place, "the next", 0).await;
    let told = first(at, &key, after).await;
    assert!(told.contains("bounded"), "{told}");
}
