//! The API document and a page to read it by. The page is ours and asks no
//! other host for anything.

use crate::context::AppState;
use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use std::{collections::BTreeSet, sync::Arc};
use utoipa::{
    ToSchema,
    openapi::{
        OpenApi, RefOr, Schema,
        schema::ArrayItems,
        security::{
            ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme,
        },
    },
};

const PAGE: &str = include_str!("reference/index.html");
const SCRIPT: &str = include_str!("reference/reference.js");
const STYLE: &str = include_str!("reference/reference.css");

/// `/api/v1/openapi.json` and `/api/docs`.
pub fn routes(api: &OpenApi) -> Router<AppState> {
    let document: Arc<str> = text(api).into();
    Router::new()
        .route(
            "/api/v1/openapi.json",
            get(async move || typed("application/json", document.to_string())),
        )
        .route("/api/docs", get(async || typed("text/html; charset=utf-8", PAGE)))
        .route(
            "/api/docs/reference.js",
            get(async || typed("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route("/api/docs/reference.css", get(async || typed("text/css; charset=utf-8", STYLE)))
}

/// The document as text, for the route and for `unifyit-cloud openapi`.
#[must_use]
pub fn text(api: &OpenApi) -> String {
    api.to_pretty_json().unwrap_or_default()
}

/// Says how to prove who asks, and in what form refusals come.
pub fn complete(api: &mut OpenApi, open: &[&str]) {
    let key = HttpBuilder::new()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some("An API key: `Authorization: Bearer uak_…`."));
    let session = ApiKeyValue::with_description(
        "unifyit_session",
        "A browser's session; `__Host-unifyit_session` behind HTTPS. Requests that change \
         something also send the session's `csrf_token` as `X-CSRF-Token`.",
    );
    let components = api.components.get_or_insert_default();
    let schemes = [
        ("api_key", SecurityScheme::Http(key.build())),
        ("session", SecurityScheme::ApiKey(ApiKey::Cookie(session))),
    ];
    components
        .security_schemes
        .extend(schemes.map(|(name, scheme)| (name.to_owned(), RefOr::T(scheme))));
    let none: [&str; 0] = [];
    api.security =
        Some(["api_key", "session"].map(|name| SecurityRequirement::new(name, none)).to_vec());
    for (path, item) in &mut api.paths.paths {
        let operations =
            [&mut item.get, &mut item.put, &mut item.post, &mut item.delete, &mut item.patch];
        for operation in operations.into_iter().flatten() {
            if open.iter().any(|end| path.ends_with(end)) {
                operation.security = Some(Vec::new());
            }
            for (status, response) in &mut operation.responses.responses {
                let RefOr::T(response) = response else { continue };
                if status.starts_with(['4', '5'])
                    && let Some(problem) = response.content.shift_remove("application/json")
                {
                    response.content.insert("application/problem+json".to_owned(), problem);
                }
            }
        }
    }
}

/// Says which words a schema's values are, where many features have theirs.
pub fn list<Words: ToSchema>(api: &mut OpenApi, words: impl IntoIterator<Item = &'static str>) {
    let components = api.components.get_or_insert_default();
    if let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(&*Words::name()) {
        schema.enum_values = Some(words.into_iter().map(Into::into).collect());
    }
}

/// Says what a schema is, where that depends on what features have.
pub fn describe<Words: ToSchema>(api: &mut OpenApi, text: String) {
    let components = api.components.get_or_insert_default();
    if let Some(RefOr::T(Schema::Object(schema))) = components.schemas.get_mut(&*Words::name()) {
        schema.description = Some(text);
    }
}

/// Puts a schema in the place of one that has not all its fields.
pub fn replace<Named: ToSchema>(api: &mut OpenApi, schema: Schema) {
    let components = api.components.get_or_insert_default();
    components.schemas.insert(Named::name().into_owned(), RefOr::T(schema));
}

/// Marks every field of what is only ever answered as always there. Answers
/// name all their fields, with null where nothing is known; what clients send
/// may leave out what has a default.
pub fn tighten(api: &mut OpenApi) {
    let Some(components) = api.components.as_mut() else { return };
    let mut sent = BTreeSet::new();
    let mut open: Vec<String> = Vec::new();
    for path in api.paths.paths.values() {
        let operations = [&path.get, &path.put, &path.post, &path.delete, &path.patch];
        for body in operations.into_iter().flatten().filter_map(|o| o.request_body.as_ref()) {
            named(&serde_json::to_value(body).unwrap_or_default(), &mut open);
        }
    }
    while let Some(name) = open.pop() {
        if let Some(schema) = components.schemas.get(&name).filter(|_| sent.insert(name.clone())) {
            named(&serde_json::to_value(schema).unwrap_or_default(), &mut open);
        }
    }
    for (name, schema) in &mut components.schemas {
        if !sent.contains(name) {
            require(schema);
        }
    }
}

/// Names of the schemas that a piece of the document refers to.
fn named(value: &serde_json::Value, names: &mut Vec<String>) {
    match value {
        serde_json::Value::Object(fields) => {
            for (key, value) in fields {
                match value.as_str().and_then(|v| v.strip_prefix("#/components/schemas/")) {
                    Some(name) if key == "$ref" => names.push(name.to_owned()),
                    _ => named(value, names),
                }
            }
        }
        serde_json::Value::Array(items) => items.iter().for_each(|item| named(item, names)),
        _ => {}
    }
}

fn require(schema: &mut RefOr<Schema>) {
    let RefOr::T(schema) = schema else { return };
    match schema {
        Schema::Object(object) => {
            object.required = object.properties.keys().cloned().collect();
            object.properties.values_mut().for_each(require);
        }
        Schema::Array(array) => {
            if let ArrayItems::RefOrSchema(items) = &mut array.items {
                require(items);
            }
        }
        Schema::AllOf(all) => all.items.iter_mut().for_each(require),
        Schema::OneOf(one) => one.items.iter_mut().for_each(require),
        _ => {}
    }
}

fn typed(media: &'static str, body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, media)], body).into_response()
}
