//! The cloud as a process: its configuration, its one-time steps, its life.

use super::{ports::Ports, postgres::Postgres, program::Program};
use crate::process::{Outcome, binary};
use anyhow::Result;
use std::{
    fs,
    ops::{Deref, DerefMut},
    path::{Path, PathBuf},
};

/// Where a cloud of this harness looks for packages.
fn downloads(folder: &Path) -> PathBuf {
    folder.join("downloads")
}

/// A cloud on this machine.
#[derive(Debug)]
pub struct Cloud {
    program: Program,
    port: u16,
    admin: u16,
}

impl Cloud {
    /// Writes its configuration; starts nothing. Relays are told to come to
    /// `front` where that is another port than its own.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn configure(
        folder: &Path,
        logs: &Path,
        ports: Ports,
        front: Option<u16>,
        pg: &Postgres,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let Ports { http, libp2p, cloud_admin: admin, .. } = ports;
        let at = |port: u16| {
            let quic = format!("/ip4/127.0.0.1/udp/{port}/quic-v1");
            vec![quic, format!("/ip4/127.0.0.1/tcp/{port}")]
        };
        let config = toml::toml! {
            // Tests and load generators are one very busy client.
            logins_per_minute = 10000
            requests_per_second = 10000
            // Each address is its own here, so that floods come from one of many.
            trusted_proxies = []
        };
        let mut config = config;
        let mut set = |key: &str, value: toml::Value| {
            config.insert(key.to_owned(), value);
        };
        set("database_url", pg.app_url().into());
        set("migrate_url", pg.owner_url().into());
        set("listen", format!("127.0.0.1:{http}").into());
        set("admin_listen", format!("127.0.0.1:{admin}").into());
        set("public_url", format!("http://127.0.0.1:{http}").into());
        set("libp2p_listen", at(libp2p).into());
        set("downloads", std::path::absolute(downloads(folder))?.display().to_string().into());
        set("announce", at(front.unwrap_or(libp2p)).into());
        super::write_private(&folder.join("cloud.toml"), &toml::to_string(&config)?)?;
        let program = Program::new("unifyit-cloud", "cloud.toml", folder, logs, "cloud");
        Ok(Self { program, port: http, admin })
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Has install lines fetch the programs of this build, for computers like this
    /// one.
    ///
    /// # Errors
    /// When they are not built or the folder cannot be written.
    pub fn hand_out(&self) -> Result<()> {
        let folder = downloads(self.folder());
        fs::create_dir_all(&folder)?;
        for program in ["unifyit-agent", "unifyit-relay"] {
            let link = folder.join(format!("{program}-{}", std::env::consts::ARCH));
            drop(fs::remove_file(&link));
            std::os::unix::fs::symlink(std::path::absolute(binary(program)?)?, link)?;
        }
        Ok(())
    }

    /// Where its figures and readiness are.
    #[must_use]
    pub fn admin_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.admin)
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn migrate(&self) -> Result<()> {
        self.command(&["migrate"])?.run("").map(|_| ())
    }

    /// Makes the first administrator.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn bootstrap(&self, email: &str, password: &str, partner: &str) -> Result<Outcome> {
        let args = ["bootstrap", "--email", email, "--password-stdin", "--partner", partner];
        self.command(&args)?.outcome(&format!("{password}\n"))
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// When it is not built.
    pub fn spawn(&mut self) -> Result<()> {
        self.program.spawn("serve")
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.admin_url());
        self.program.wait_http(&url).await
    }
}

impl Deref for Cloud {
    type Target = Program;
    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Cloud {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}
