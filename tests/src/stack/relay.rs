//! A relay as a process.

use super::{cloud::wait_http, ports::Ports};
use crate::process::{Outcome, Process, Spec, binary, private_file, private_folder};
use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// A relay on this machine.
#[derive(Debug)]
pub struct Relay {
    folder: PathBuf,
    log: PathBuf,
    ports: Ports,
    process: Option<Process>,
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
        let log = logs.join(format!("{name}.log"));
        Ok(Self { folder: folder.to_owned(), log, ports, process: None })
    }

    /// A command of the binary, with this relay's configuration and state.
    ///
    /// # Errors
    /// When it is not built.
    pub fn command(&self, args: &[&str]) -> Result<Spec> {
        let mut all = vec![
            "--config".into(),
            self.folder.join("relay.toml").into_os_string(),
            "--state".into(),
            self.folder.clone().into_os_string(),
        ];
        all.extend(args.iter().map(Into::into));
        Ok(Spec::new("unifyit-relay", binary("unifyit-relay")?, all, &self.log))
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
        let mut spec = self.command(&["run"])?;
        spec.on_parent_death = "TERM";
        self.process = Some(spec.start()?);
        Ok(())
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
        let process = self.process.as_mut().context("the relay was not started")?;
        wait_http(process, &url).await
    }

    /// Stops it in an orderly way.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(Signal::SIGTERM, Duration::from_secs(25));
        }
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Its ports.
    #[must_use]
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// Its state folder.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
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

    /// What it wrote about where it listens.
    ///
    /// # Errors
    /// When the file is not there.
    pub fn runtime(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.folder.join("runtime.json"))?)?)
    }

    /// The process.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
}
