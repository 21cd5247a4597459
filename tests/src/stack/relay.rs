//! A relay as a process.

use super::{ports::Ports, program::Program};
use crate::process::{Outcome, private_file, private_folder};
use anyhow::{Context, Result};
use std::{
    ops::{Deref, DerefMut},
    path::Path,
    time::Duration,
};

/// A relay on this machine.
#[derive(Debug)]
pub struct Relay {
    program: Program,
    ports: Ports,
}

impl Relay {
    /// Writes its configuration; starts nothing.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn configure(folder: &Path, logs: &Path, ports: Ports) -> Result<Self> {
        private_folder(folder)?;
        let at = |port: u16| toml::Value::from(format!("127.0.0.1:{port}"));
        let listen: toml::Table = [
            ("mqtt", at(ports.mqtt)),
            ("https", at(ports.https)),
            ("ui", at(ports.ui)),
            ("admin", at(ports.admin)),
            ("cache", at(ports.cache)),
            ("sisters", at(0)),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_owned(), value))
        .collect();
        let mut config = toml::toml! {
            names = ["127.0.0.1"]
            // A simulated fleet comes from one address.
            [https]
            enrolments_per_minute = 1000000
            max_half_open_per_ip = 256
            [broker]
            max_half_open_per_ip = 1024
        };
        config.insert("listen".to_owned(), listen.into());
        private_file(&folder.join("relay.toml"), &toml::to_string(&config)?)?;
        let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or("relay");
        let program = Program::new("unifyit-relay", "relay.toml", folder, logs, name);
        Ok(Self { program, ports })
    }

    /// Tries to enrol.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn try_enroll(&self, token: &str, pin: &str) -> Result<Outcome> {
        self.command(&["enroll", "--token", token, "--pin", pin])?.outcome("")
    }

    /// Enrols.
    ///
    /// # Errors
    /// When refused, with its words.
    pub fn enroll(&self, token: &str, pin: &str) -> Result<()> {
        self.command(&["enroll", "--token", token, "--pin", pin])?.run("").map(|_| ())
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// When it is not built.
    pub fn spawn(&mut self) -> Result<()> {
        self.program.spawn("run")
    }

    /// Starts it and waits until it is healthy.
    ///
    /// # Errors
    /// When it ends or is not healthy in time.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Waits until it is healthy.
    ///
    /// # Errors
    /// When it ends or is not healthy in time.
    pub async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/healthz", self.admin_url());
        self.program.wait_http(&url).await
    }

    /// Its ports.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Metrics and health.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.ports.admin)
    }

    /// A figure of its metrics, by the name behind `unifyit_relay_`, with labels
    /// if it has any.
    ///
    /// # Errors
    /// When it is not reached, or has no such figure.
    pub async fn metric(&self, name: &str) -> Result<f64> {
        let http =
            reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?;
        let url = format!("{}/metrics", self.admin_url());
        let text = http.get(url).send().await?.error_for_status()?.text().await?;
        let start = format!("unifyit_relay_{name} ");
        let value = text.lines().find_map(|line| line.strip_prefix(&start));
        Ok(value.with_context(|| format!("the relay has no metric {name}"))?.parse()?)
    }

    /// The local UI.
    #[must_use]
    pub fn ui_url(&self) -> String {
        format!("https://127.0.0.1:{}", self.ports.ui)
    }
}

impl Deref for Relay {
    type Target = Program;
    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Relay {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}
