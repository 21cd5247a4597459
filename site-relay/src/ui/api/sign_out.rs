//! `POST /api/sign-out`

use crate::ui::{
    Ui,
    sessions::{problem, same_origin, set_cookie},
};
use axum::{
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, StatusCode, header};
use std::sync::Arc;

/// Ends the session, if there is one.
pub(crate) async fn handle(State(ui): State<Arc<Ui>>, headers: HeaderMap) -> Response {
    if !same_origin(&headers) {
        return problem(StatusCode::FORBIDDEN, "Open this from the relay's own page.");
    }
    ui.sessions.sign_out(&headers);
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, set_cookie(None))]).into_response()
}
