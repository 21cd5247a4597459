//! The REST API and the WebSockets as a client sees them: by cookie with CSRF
//! token, or by API key. Answers are read into [`types`] where tests look into
//! them, and stay JSON where they do not.

pub mod live;
pub mod types;

use anyhow::{Context, Result, bail};
use reqwest::{Method, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::time::Duration;
use types::{Device, Login, NewKey, NewToken, Page, Site, Submitted, Task};

/// How a client proves who it is.
#[derive(Debug, Clone)]
enum Auth {
    Nobody,
    /// The cookie is in the client's jar; unsafe methods carry this token.
    Session {
        csrf: String,
    },
    Key(String),
}

/// A client of one cloud.
#[derive(Debug, Clone)]
pub struct Api {
    http: reqwest::Client,
    base: String,
    auth: Auth,
    session_cookie: Option<String>,
}

/// A refusal, as RFC 9457 has it.
#[derive(Debug, thiserror::Error)]
#[error("{method} {path} was answered {status}: {body}")]
pub struct Refused {
    /// HTTP status.
    pub status: StatusCode,
    /// The problem document.
    pub body: Value,
    method: Method,
    path: String,
}

impl Refused {
    /// The sentence for the user.
    #[must_use]
    pub fn detail(&self) -> &str {
        self.body["detail"].as_str().unwrap_or_default()
    }
}

impl Api {
    /// A client that has not signed in; `base` is like `http://127.0.0.1:8080`.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn new(base: &str) -> Result<Self> {
        crate::install_crypto();
        let http = reqwest::Client::builder()
            .no_proxy()
            .cookie_store(true)
            .tcp_nodelay(true)
            .timeout(Duration::from_secs(60))
            .build()?;
        let base = base.trim_end_matches('/').to_owned();
        Ok(Self { http, base, auth: Auth::Nobody, session_cookie: None })
    }

    /// A client by API key.
    ///
    /// # Errors
    /// When the HTTP client cannot be built.
    pub fn with_key(base: &str, key: &str) -> Result<Self> {
        let mut api = Self::new(base)?;
        api.auth = Auth::Key(key.to_owned());
        Ok(api)
    }

    /// Where the cloud is.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// Signs in by e-mail and password.
    ///
    /// # Errors
    /// When refused.
    pub async fn login(&mut self, email: &str, password: &str) -> Result<Login> {
        let body = json!({"email": email, "password": password});
        let response = self.request(Method::POST, "/api/v1/auth/login").json(&body).send().await?;
        let cookie = response
            .headers()
            .get_all("set-cookie")
            .iter()
            .filter_map(|v| v.to_str().ok())
            .find(|v| v.starts_with("unifyit_session="))
            .and_then(|v| v.split(';').next())
            .map(str::to_owned);
        let login: Login =
            serde_json::from_value(accept(response, Method::POST, "/api/v1/auth/login").await?)?;
        self.auth = Auth::Session { csrf: login.csrf_token.clone() };
        self.session_cookie = Some(cookie.context("the sign-in set no session cookie")?);
        Ok(login)
    }

    fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method.clone(), format!("{}{path}", self.base));
        match &self.auth {
            Auth::Nobody => request,
            Auth::Session { csrf } if method != Method::GET => request.header("x-csrf-token", csrf),
            Auth::Session { .. } => request,
            Auth::Key(key) => request.bearer_auth(key),
        }
    }

    /// Headers for a WebSocket's opening request.
    #[must_use]
    pub fn socket_headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("origin", self.base.clone())];
        match (&self.auth, &self.session_cookie) {
            (Auth::Key(key), _) => headers.push(("authorization", format!("Bearer {key}"))),
            (_, Some(cookie)) => headers.push(("cookie", cookie.clone())),
            _ => {}
        }
        headers
    }

    /// Any request; `path` starts behind `/api/v1`.
    ///
    /// # Errors
    /// [`Refused`] for an answer other than 2xx.
    pub async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value> {
        let path = format!("/api/v1{path}");
        let mut request = self.request(method.clone(), &path);
        if let Some(body) = body {
            request = request.json(body);
        }
        accept(request.send().await?, method, &path).await
    }

    /// GET.
    ///
    /// # Errors
    /// When refused or of another shape.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T> {
        let value = self.call(Method::GET, path, None).await?;
        serde_json::from_value(value.clone())
            .with_context(|| format!("GET {path} answered in another shape: {value}"))
    }

    /// POST.
    ///
    /// # Errors
    /// When refused or of another shape.
    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T> {
        let value = self.call(Method::POST, path, Some(body)).await?;
        serde_json::from_value(value.clone())
            .with_context(|| format!("POST {path} answered in another shape: {value}"))
    }

    /// DELETE.
    ///
    /// # Errors
    /// When refused.
    pub async fn delete(&self, path: &str) -> Result<()> {
        self.call(Method::DELETE, path, None).await.map(|_| ())
    }

    /// Raw bytes of a GET.
    ///
    /// # Errors
    /// When refused.
    pub async fn bytes(&self, path: &str) -> Result<Vec<u8>> {
        let path = format!("/api/v1{path}");
        let response = self.request(Method::GET, &path).send().await?;
        if !response.status().is_success() {
            accept(response, Method::GET, &path).await?;
            bail!("not reached: an unsuccessful answer is an error");
        }
        Ok(response.bytes().await?.to_vec())
    }

    /// Makes an organization.
    ///
    /// # Errors
    /// When refused.
    pub async fn create_organization(&self, name: &str) -> Result<String> {
        id_of(self.post("/organizations", &json!({"name": name})).await?)
    }

    /// Makes a site.
    ///
    /// # Errors
    /// When refused.
    pub async fn create_site(&self, organization: &str, name: &str) -> Result<String> {
        let body = json!({"organization_id": organization, "name": name});
        id_of(self.post("/sites", &body).await?)
    }

    /// Makes an install token; `kind` is `relay` or `agent`.
    ///
    /// # Errors
    /// When refused.
    pub async fn install_token(&self, site: &str, kind: &str, uses: u32) -> Result<NewToken> {
        let body = json!({"kind": kind, "expires_in_s": 3600, "uses": uses});
        self.post(&format!("/sites/{site}/install-tokens"), &body).await
    }

    /// Makes an API key and returns it with its secret.
    ///
    /// # Errors
    /// When refused.
    pub async fn create_key(&self, name: &str) -> Result<NewKey> {
        self.post("/api-keys", &json!({"name": name})).await
    }

    /// One site.
    ///
    /// # Errors
    /// When refused.
    pub async fn site(&self, id: &str) -> Result<Site> {
        self.get(&format!("/sites/{id}")).await
    }

    /// One page of devices, with a query such as `site_id=…&limit=500`.
    ///
    /// # Errors
    /// When refused.
    pub async fn devices(&self, query: &str) -> Result<Page<Device>> {
        self.get(&format!("/devices?{query}")).await
    }

    /// One device.
    ///
    /// # Errors
    /// When refused.
    pub async fn device(&self, id: &str) -> Result<Device> {
        self.get(&format!("/devices/{id}")).await
    }

    /// Submits a task.
    ///
    /// # Errors
    /// When refused.
    pub async fn submit(&self, targets: Value, action: Value) -> Result<String> {
        let body = json!({"targets": targets, "action": action, "expires_in_s": 3600});
        let path = "/api/v1/tasks";
        let response = self
            .request(Method::POST, path)
            .header("idempotency-key", uuid::Uuid::new_v4().to_string())
            .json(&body)
            .send()
            .await?;
        let answer: Submitted =
            serde_json::from_value(accept(response, Method::POST, path).await?)?;
        Ok(answer.id)
    }

    /// Submits a Bash script to one device.
    ///
    /// # Errors
    /// When refused.
    pub async fn run_script(&self, device: &str, body: &str) -> Result<String> {
        self.submit(json!({"device_ids": [device]}), bash(body)).await
    }

    /// One task.
    ///
    /// # Errors
    /// When refused.
    pub async fn task(&self, id: &str) -> Result<Task> {
        self.get(&format!("/tasks/{id}")).await
    }

    /// Cancels a task.
    ///
    /// # Errors
    /// When refused.
    pub async fn cancel(&self, id: &str) -> Result<()> {
        self.call(Method::POST, &format!("/tasks/{id}/cancel"), None).await.map(|_| ())
    }

    /// Waits until nothing of a task is open.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn finished(&self, id: &str, limit: Duration) -> Result<Task> {
        let mut last = String::new();
        let outcome = crate::wait::until("a task to finish", limit, || async {
            let task = self.task(id).await?;
            Ok((task.status != "running").then_some(task))
        })
        .await;
        if outcome.is_err() {
            last = self.task(id).await.map_or_else(|e| e.to_string(), |t| format!("{t:?}"));
        }
        outcome.with_context(|| format!("task {id}: {last}"))
    }
}

/// The action that runs a Bash script.
#[must_use]
pub fn bash(body: &str) -> Value {
    json!({"kind": "script", "interpreter": "bash", "body": body, "timeout_s": 900})
}

fn id_of(value: Value) -> Result<String> {
    value["id"].as_str().map(str::to_owned).with_context(|| format!("no id in {value}"))
}

async fn accept(response: reqwest::Response, method: Method, path: &str) -> Result<Value> {
    let status = response.status();
    let text = response.text().await?;
    let body: Value = if text.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&text).unwrap_or(Value::String(text))
    };
    if status.is_success() {
        return Ok(body);
    }
    Err(Refused { status, body, method, path: path.to_owned() }.into())
}
