//! `POST /api/sign-in` `{pin}`

use crate::{
    http::agents::Peer,
    ui::{
        Ui,
        guesses::set_known,
        sessions::{SignInError, problem, same_origin, set_cookie},
    },
};
use axum::{
    Extension, Json,
    extract::State,
    response::{AppendHeaders, IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use serde::Deserialize;
use std::sync::Arc;
use unifyit_protocol::link::SiteAudit;

/// A PIN as typed.
#[derive(Deserialize)]
pub(crate) struct SignIn {
    pin: String,
}

/// Opens a session; both success and refusal stand in the audit trail.
pub(crate) async fn handle(
    State(ui): State<Arc<Ui>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    Json(body): Json<SignIn>,
) -> Response {
    if !same_origin(&headers) {
        return problem(StatusCode::FORBIDDEN, "Open this from the relay's own page.");
    }
    let hash = ui.pin_hash();
    let opened = ui.sessions.sign_in(peer.address, &headers, body.pin, &hash).await;
    let (action, detail) = match &opened {
        Ok(_) => ("ui.sign_in", format!("Signed in to the local UI from {}.", peer.address)),
        Err(e) => ("ui.sign_in_refused", format!("{e} ({})", peer.address)),
    };
    // Guesses beyond the limit are not written down: they would fill the trail.
    if !matches!(opened, Err(SignInError::TooMany(_))) {
        let at_ms = ui.parts.store.now_ms();
        let entry = SiteAudit { at_ms, action: action.into(), actor: "pin".into(), detail };
        ui.parts.store.audit(entry).await;
    }
    match opened {
        Ok(session) => {
            let cookies = AppendHeaders([
                (header::SET_COOKIE, set_cookie(Some(&session))),
                (header::SET_COOKIE, set_known(&hash)),
            ]);
            (cookies, Json(serde_json::json!({ "signed_in": true }))).into_response()
        }
        Err(e @ SignInError::TooMany(wait_s)) => {
            let mut answer = problem(StatusCode::TOO_MANY_REQUESTS, &e.to_string());
            answer.headers_mut().insert(header::RETRY_AFTER, wait_s.into());
            answer
        }
        Err(e) => problem(StatusCode::FORBIDDEN, &e.to_string()),
    }
}
