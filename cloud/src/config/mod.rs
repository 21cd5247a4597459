//! Settings: TOML file, then `UNIFYIT_*` environment, then flags, in rising order.
//!
//! A setting `x_y` is `x_y = …` in the file and `UNIFYIT_X_Y` in the environment;
//! lists are comma-separated there. Unknown settings in the file are refused, so
//! that a misspelt one is noticed.

mod layers;

use crate::http::{Networks, tls::TlsError};
use serde::{Deserialize, Serialize};
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};
use thiserror::Error;

/// Where the file is looked for when no flag names one.
pub const DEFAULT_FILE: &str = "/etc/unifyit/cloud.toml";
/// Where state is kept when no flag names a folder.
pub const DEFAULT_STATE: &str = "/var/lib/unifyit-cloud";

/// Where packages lie when no setting names a folder.
pub const DEFAULT_DOWNLOADS: &str = "/usr/share/unifyit/downloads";

/// All settings of the cloud.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of the node's own state: keys, runtime.json.
    pub state: PathBuf,
    /// Database URL with the service's login role.
    pub database_url: String,
    /// Database URL with the owner role, for `migrate`. Empty: `database_url` is
    /// not enough and `migrate` says so.
    pub migrate_url: String,
    /// Most database connections.
    pub database_connections: u32,
    /// Address of the HTTP server.
    pub listen: SocketAddr,
    /// Address of `/metrics` and `/readyz`, which ask for no sign-in.
    pub admin_listen: SocketAddr,
    /// File of the certificate chain in PEM with which the HTTP server speaks TLS
    /// itself. Read again when it changes. Empty: plain HTTP, for a proxy before it.
    pub tls_certificate_file: PathBuf,
    /// File of that certificate's private key in PEM.
    pub tls_key_file: PathBuf,
    /// Address at which plain HTTP is sent on to `public_url`. Empty: none.
    pub redirect_listen: String,
    /// URL at which browsers reach the console. Decides the cookie's `Secure`,
    /// HSTS and which origin may open WebSockets. Empty: `http://<listen>`, with
    /// TLS `https://<listen>`.
    pub public_url: String,
    /// Multiaddresses on which relays are awaited.
    pub libp2p_listen: Vec<String>,
    /// Multiaddresses that go into relays' install tokens. Empty: those listened
    /// on, with the host of `public_url` where they say "any".
    pub announce: Vec<String>,
    /// Folder of the packages that agents and relays are installed from.
    pub downloads: PathBuf,
    /// File of the master key. Empty: `master.key` in the state folder. Not read
    /// when `UNIFYIT_MASTER_KEY` is set.
    pub master_key_file: PathBuf,
    /// Proxies whose `X-Forwarded-For` is believed: addresses, or prefixes like
    /// `10.0.0.0/8`. This machine's own addresses unless set.
    pub trusted_proxies: Networks,
    /// HTTP connections that one address may hold (an IPv6 /64 is one; a /48 has four
    /// times as much, but no more than half of all unless one address may have that).
    pub connections_per_address: usize,
    /// Hours after which an unused session ends.
    pub session_idle_hours: u32,
    /// Hours after which every session ends.
    pub session_hours: u32,
    /// Sign-in attempts a minute of one address. An account allows five times as
    /// many over all addresses that never signed in to it, and all accounts
    /// together thirty times as many.
    pub logins_per_minute: u32,
    /// API requests a second for one person, with a burst of ten times as many. All of
    /// their API keys together have half of it.
    pub requests_per_second: u32,
    /// API requests of one person that are worked on at once; others of theirs wait.
    /// 0: half as many as there are processors. Those that take long count apart.
    pub requests_at_once: usize,
    /// Hours for which events can be resumed from.
    pub event_hours: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state: DEFAULT_STATE.into(),
            database_url: "postgres://unifyit_app@127.0.0.1:5432/unifyit".into(),
            migrate_url: String::new(),
            database_connections: 20,
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin_listen: SocketAddr::from(([127, 0, 0, 1], 9465)),
            tls_certificate_file: PathBuf::new(),
            tls_key_file: PathBuf::new(),
            redirect_listen: String::new(),
            public_url: String::new(),
            libp2p_listen: vec![
                "/ip4/0.0.0.0/tcp/4001".into(),
                "/ip4/0.0.0.0/udp/4001/quic-v1".into(),
            ],
            announce: Vec::new(),
            downloads: DEFAULT_DOWNLOADS.into(),
            master_key_file: PathBuf::new(),
            trusted_proxies: Networks::loopback(),
            connections_per_address: 512,
            session_idle_hours: 12,
            session_hours: 24 * 7,
            logins_per_minute: 10,
            requests_per_second: 50,
            requests_at_once: 0,
            event_hours: 24,
        }
    }
}

/// The settings cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// The file that a flag names cannot be read.
    #[error("{path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not TOML, or a setting is unknown or of the wrong form.
    #[error("{origin}: {message}")]
    Invalid {
        /// The file or the variable.
        origin: String,
        /// What is wrong with it.
        message: String,
    },
}

impl Config {
    /// Reads file and environment. Without `file`, the default file is read when
    /// it is there.
    ///
    /// # Errors
    /// [`ConfigError`] with the place of the fault.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let path = file.unwrap_or(Path::new(DEFAULT_FILE));
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(e) if file.is_none() && e.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(source) => return Err(ConfigError::Read { path: path.into(), source }),
        };
        layers::put_together(path, &text, environment)
    }

    /// URL at which browsers reach the console, given the address in use.
    #[must_use]
    pub fn public_url(&self, listening: SocketAddr) -> String {
        match self.public_url.trim_end_matches('/') {
            "" if self.speaks_tls() => format!("https://{listening}"),
            "" => format!("http://{listening}"),
            url => url.to_owned(),
        }
    }

    /// Whether the HTTP server speaks TLS itself.
    #[must_use]
    pub fn speaks_tls(&self) -> bool {
        !self.tls_certificate_file.as_os_str().is_empty()
    }

    /// Files of certificate and key, when the HTTP server speaks TLS itself.
    ///
    /// # Errors
    /// [`TlsError`] when the settings contradict each other.
    pub fn tls_files(&self) -> Result<Option<(&Path, &Path)>, TlsError> {
        if self.tls_key_file.as_os_str().is_empty() == self.speaks_tls() {
            return Err(TlsError::Half);
        }
        if !self.speaks_tls() {
            return Ok(None);
        }
        if !self.public_url.is_empty() && !self.is_https() {
            return Err(TlsError::PublicUrl(self.public_url.clone()));
        }
        Ok(Some((&self.tls_certificate_file, &self.tls_key_file)))
    }

    /// Address at which plain HTTP is sent on to the console's URL, if any.
    ///
    /// # Errors
    /// [`ConfigError`] when it is no address, or no URL by HTTPS is set to send to.
    pub fn redirect(&self) -> Result<Option<SocketAddr>, ConfigError> {
        let invalid = |message| ConfigError::Invalid { origin: "redirect_listen".into(), message };
        if self.redirect_listen.is_empty() {
            return Ok(None);
        }
        if !self.is_https() {
            return Err(invalid(TlsError::Redirect.to_string()));
        }
        let address = self.redirect_listen.parse();
        address.map(Some).map_err(|_| {
            invalid(format!("{:?} is no address; write it like 0.0.0.0:80", self.redirect_listen))
        })
    }

    /// File of the master key.
    #[must_use]
    pub fn master_key_file(&self) -> PathBuf {
        if self.master_key_file.as_os_str().is_empty() {
            self.state.join(crate::trust::MASTER_KEY_FILE)
        } else {
            self.master_key_file.clone()
        }
    }

    /// Whether browsers come by HTTPS.
    #[must_use]
    pub fn is_https(&self) -> bool {
        self.public_url.starts_with("https://")
    }
}

#[cfg(test)]
mod tests;
