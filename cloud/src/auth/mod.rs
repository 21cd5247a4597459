//! Who is asking: session cookie or API key.
//!
//! [`require`] stands before every protected route. It turns the secret of the
//! request into an [`Actor`] through the schema's lookup functions (which see
//! only hashes), checks what a browser's cookie alone must not be able to do
//! (CSRF, sockets from other origins), counts the request, and leaves a
//! [`Ctx`] for the handler. What lives longer than its request holds a
//! [`Right`], which ends when the session or key does.

mod cookies;
mod password;
mod rights;
mod secret;

pub use cookies::{browser_cookie, knows_browser, session_cookie};
pub use password::{PasswordError, Passwords};
pub use rights::{Right, Rights, Use};
pub use secret::{ApiKeySecret, SessionSecret};

use crate::{
    authz::{Actor, ActorKind, Role, Sender},
    context::{AppState, Ctx},
    db::{DbError, Scope},
    http::{Problem, RequestId, client_address, same_origin, shares::Place},
};
use axum::{
    body::{Body, Bytes, HttpBody},
    extract::{ConnectInfo, FromRequest, Request, State},
    http::{HeaderMap, Method, StatusCode, header},
    middleware::Next,
    response::Response,
};
use axum_extra::extract::CookieJar;
use std::net::{IpAddr, SocketAddr};
use subtle::ConstantTimeEq;
use uuid::Uuid;

/// Header that proves that a page of ours sent an unsafe request.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// A user with role and scope, as the lookup functions return it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Account {
    /// The user.
    pub user_id: Uuid,
    /// E-mail address.
    pub email: String,
    /// Name.
    pub name: String,
    /// Argon2id, PHC text.
    pub password_hash: String,
    /// Role, the schema's word.
    pub role: String,
    /// What the user sees.
    #[sqlx(flatten)]
    pub scope: Scope,
    /// Name of what the scope is about.
    pub scope_name: String,
}

impl Account {
    /// The user as the one who acts.
    #[must_use]
    pub fn actor(&self, session: Uuid) -> Actor {
        Actor {
            id: self.user_id,
            kind: ActorKind::User { session },
            name: self.email.clone(),
            person_name: self.email.clone(),
            role: Role::parse(&self.role),
            scope: self.scope,
        }
    }
}

/// The secret session of a request made by cookie, for handlers that need it.
#[derive(Debug, Clone)]
pub struct CookieSession {
    /// The session's secret.
    pub secret: SessionSecret,
    /// Whose it is.
    pub account: Account,
}

/// Finds a user by e-mail address, before sign-in.
///
/// # Errors
/// [`DbError`].
pub async fn account_by_email(state: &AppState, email: &str) -> Result<Option<Account>, DbError> {
    let question = || sqlx::query_as("SELECT * FROM auth_by_email($1)").bind(email.trim());
    state.db.lookup(question).await
}

/// Lets only authenticated requests through.
///
/// # Errors
/// 401 without a valid secret, 403 for a forged one, 429 for too many, 503
/// while the database is away.
pub async fn require(
    State(state): State<AppState>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let request_id =
        request.extensions().get::<RequestId>().map(|id| id.0.clone()).unwrap_or_default();
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|ConnectInfo(p)| *p);
    let headers = request.headers();
    let address = client_address(&state.config, peer, headers);
    let socket = headers.contains_key(header::UPGRADE);
    let actor = if let Some(key) = bearer(headers) {
        if headers.contains_key(header::ORIGIN) && socket && !same_origin(&state.config, headers) {
            return Err(foreign_origin());
        }
        by_api_key(&state, address, key).await?
    } else {
        let session = by_cookie(&state, address, headers).await?;
        if socket && !same_origin(&state.config, headers) {
            return Err(foreign_origin());
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD | Method::OPTIONS) {
            check_csrf(headers, &session.1.secret)?;
        }
        request.extensions_mut().insert(session.1);
        session.0
    };
    let sender = actor.sender();
    state.limits.request(sender)?;
    let (mut request, _place) = whole(&state, sender, request).await?;
    // Until the answer begins: bodies that stream, sockets and terminals have bounds of
    // their own.
    let share = state.shares.take(sender).await?;
    request.extensions_mut().insert(Ctx { state, actor, request_id });
    Ok(share.over(next.run(request)).await)
}

/// The request with all of its body, so that none that dribbles holds a share of the
/// work; and the place of that body in memory.
async fn whole(
    state: &AppState,
    sender: Sender,
    mut request: Request,
) -> Result<(Request, Option<Place>), Problem> {
    if request.body().is_end_stream() {
        return Ok((request, None));
    }
    let place = state.shares.receive(sender).await?;
    let body = std::mem::take(request.body_mut());
    let (parts, _) = request.into_parts();
    let came = Request::from_parts(parts.clone(), body);
    let body = Bytes::from_request(came, &()).await.map_err(|refused| match refused.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::too_large(),
        _ => Problem::malformed(refused.body_text()),
    })?;
    Ok((Request::from_parts(parts, Body::from(body)), Some(place)))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, key) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

async fn by_api_key(state: &AppState, address: IpAddr, key: &str) -> Result<Actor, Problem> {
    #[derive(sqlx::FromRow)]
    struct Row {
        id: Uuid,
        name: String,
        role: String,
        #[sqlx(flatten)]
        scope: Scope,
        owner_id: Uuid,
        maker: String,
    }
    let secret = ApiKeySecret::parse(key).ok_or_else(Problem::unauthorized)?;
    let hash = secret.hash();
    state.limits.credential(address, &hash)?;
    let question = || sqlx::query_as("SELECT * FROM auth_by_api_key($1)").bind(hash.clone());
    let row: Option<Row> = state.db.lookup(question).await?;
    state.limits.judged(address, &hash, row.is_some());
    let row = row.ok_or_else(Problem::unauthorized)?;
    Ok(Actor {
        id: row.id,
        kind: ActorKind::ApiKey { owner: row.owner_id },
        name: row.name,
        person_name: row.maker,
        role: Role::parse(&row.role),
        scope: row.scope,
    })
}

async fn by_cookie(
    state: &AppState,
    address: IpAddr,
    headers: &HeaderMap,
) -> Result<(Actor, CookieSession), Problem> {
    #[derive(sqlx::FromRow)]
    struct Row {
        session_id: Uuid,
        #[sqlx(flatten)]
        account: Account,
    }
    let jar = CookieJar::from_headers(headers);
    let name = session_cookie(&state.config);
    let secret = jar.get(name).and_then(|c| SessionSecret::parse(c.value()));
    let secret = secret.ok_or_else(Problem::unauthorized)?;
    let hash = secret.hash();
    state.limits.credential(address, &hash)?;
    let question = || {
        sqlx::query_as(
            "SELECT session_id, (actor).* FROM auth_by_session($1, make_interval(hours => $2))",
        )
        .bind(hash.clone())
        .bind(i32::try_from(state.config.session_idle_hours).unwrap_or(i32::MAX))
    };
    let row: Option<Row> = state.db.lookup(question).await?;
    state.limits.judged(address, &hash, row.is_some());
    let Row { session_id, account } = row.ok_or_else(Problem::unauthorized)?;
    Ok((account.actor(session_id), CookieSession { secret, account }))
}

fn check_csrf(headers: &HeaderMap, secret: &SessionSecret) -> Result<(), Problem> {
    let given = headers.get(CSRF_HEADER).map(|v| v.as_bytes()).unwrap_or_default();
    if bool::from(given.ct_eq(secret.csrf_token().as_bytes())) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "urn:unifyit:csrf",
        "The request did not prove where it came from",
        "Send the `csrf_token` of the session as the header `X-CSRF-Token`. In a browser, reload the page.",
    ))
}

fn foreign_origin() -> Problem {
    Problem::new(
        StatusCode::FORBIDDEN,
        "urn:unifyit:origin",
        "The socket was opened from another site",
        "Open sockets only from the console's own address (setting `public_url`).",
    )
}
