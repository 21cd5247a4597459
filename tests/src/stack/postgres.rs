//! A private PostgreSQL cluster: durable, on loopback, reached by passwords
//! made for it alone, never as root.
//!
//! PostgreSQL refuses to run as root, so that root's clusters belong to the
//! distribution's `postgres` user (or `nobody`) and its programs run as that
//! user. Where a closed home folder lies on the way to the state, the server
//! is given the one capability that lets it pass.

use super::{ports::free_port, write_private};
use crate::{
    process::{Process, Spec},
    wait,
};
use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::Signal,
    unistd::{Gid, Uid, User, chown},
};
use serde::{Deserialize, Serialize};
use std::{
    fs,
    net::Ipv4Addr,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    time::Duration,
};

const DATABASE: &str = "unifyit";
const OWNER: &str = "unifyit_owner";
const APP: &str = "unifyit_app";

/// Secrets of one cluster, kept beside its data.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Passwords {
    superuser: String,
    owner: String,
    app: String,
}

/// A running cluster. Stopped when dropped.
#[derive(Debug)]
pub struct Postgres {
    process: Process,
    bin: PathBuf,
    port: u16,
    passwords: Passwords,
}

impl Postgres {
    /// Starts the cluster in `folder`, making it first when there is none.
    ///
    /// # Errors
    /// When PostgreSQL 15 or newer is missing or does not start.
    pub async fn start(folder: &Path) -> Result<Self> {
        let bin = server_programs()?;
        let user = ServerUser::choose(folder)?;
        let data = folder.join("data");
        let secrets = folder.join("passwords.json");
        if !data.join("PG_VERSION").exists() {
            init(&bin, &user, folder, &secrets)?;
        }
        let text = fs::read_to_string(&secrets)
            .with_context(|| format!("{} belongs to the cluster and is gone", secrets.display()))?;
        let passwords: Passwords = serde_json::from_str(&text)?;

        let mut attempts = 0;
        let (process, port) = loop {
            attempts += 1;
            let port = free_port()?;
            let mut process = user
                .spec(
                    "postgres",
                    &bin.join("postgres"),
                    folder,
                    &[
                        "-D",
                        &path_text(&data)?,
                        "-p",
                        &port.to_string(),
                        "-c",
                        "listen_addresses=127.0.0.1",
                        "-c",
                        "unix_socket_directories=",
                        "-c",
                        "max_connections=100",
                        "-c",
                        "shared_buffers=128MB",
                        "-c",
                        "log_min_messages=warning",
                    ],
                )
                .start()?;
            let ready = wait::until("PostgreSQL to accept connections", wait::secs(60), || {
                let gone = process.ended().is_some();
                let open = std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok();
                async move { Ok((gone || open).then_some(gone)) }
            })
            .await?;
            if !ready {
                break (process, port);
            }
            // Another process took the port in between; anything else lasts.
            if attempts == 3 {
                process.check_alive()?;
            }
        };
        let cluster = Self { process, bin, port, passwords };
        cluster.wait_for_sql().await?;
        cluster.make_roles()?;
        Ok(cluster)
    }

    /// URL of the role that the cloud serves with: owns nothing.
    #[must_use]
    pub fn app_url(&self) -> String {
        self.url(APP, &self.passwords.app)
    }

    /// URL of the role that owns the schema.
    #[must_use]
    pub fn owner_url(&self) -> String {
        self.url(OWNER, &self.passwords.owner)
    }

    fn url(&self, user: &str, password: &str) -> String {
        format!("postgres://{user}:{password}@127.0.0.1:{}/{DATABASE}", self.port)
    }

    /// Runs SQL as the superuser in the product's database; rows come back as
    /// lines, columns parted by `|`.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn sql(&self, text: &str) -> Result<String> {
        self.psql(DATABASE, text)
    }

    fn psql(&self, database: &str, text: &str) -> Result<String> {
        let spec = Spec::new(
            "psql",
            self.bin.join("psql"),
            ["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", "127.0.0.1", "-U", "postgres"],
            "/dev/null",
        );
        let mut spec = spec.env("PGPASSWORD", self.passwords.superuser.clone());
        spec.args.extend(["-p".into(), self.port.to_string().into(), "-d".into(), database.into()]);
        Ok(spec.run(text)?.trim().to_owned())
    }

    async fn wait_for_sql(&self) -> Result<()> {
        wait::until("PostgreSQL to answer", wait::secs(60), || async {
            self.psql("postgres", "select 1").map(Some)
        })
        .await
        .map(|_| ())
    }

    fn make_roles(&self) -> Result<()> {
        let known = self.psql("postgres", "select 1 from pg_database where datname = 'unifyit'")?;
        if known == "1" {
            return Ok(());
        }
        // Passwords are hexadecimal, so that quoting them is safe.
        let Passwords { owner, app, .. } = &self.passwords;
        self.psql(
            "postgres",
            &format!(
                "create role {OWNER} login password '{owner}';
                 create role {APP} login password '{app}' nobypassrls;
                 create role unifyit_definer nologin nobypassrls;
                 grant unifyit_definer to {OWNER};
                 create database {DATABASE} owner {OWNER};"
            ),
        )?;
        Ok(())
    }

    /// Keeps a copy of the product's database as it stands. The cloud must not run.
    ///
    /// # Errors
    /// When the server refuses it.
    pub fn copy(&self) -> Result<()> {
        self.alone(DATABASE)?;
        self.psql("postgres", &format!("drop database if exists {DATABASE}_copy"))?;
        let sql = format!("create database {DATABASE}_copy template {DATABASE} owner {OWNER}");
        self.psql("postgres", &sql).map(drop)
    }

    /// Puts the copy in the place of the product's database. The cloud must not run.
    ///
    /// # Errors
    /// When the server refuses it, or there is no copy.
    pub fn restore(&self) -> Result<()> {
        self.alone(DATABASE)?;
        self.psql("postgres", &format!("drop database {DATABASE}"))?;
        self.psql("postgres", &format!("alter database {DATABASE}_copy rename to {DATABASE}"))
            .map(drop)
    }

    /// Ends what is left of connections to a database.
    fn alone(&self, database: &str) -> Result<()> {
        let sql = format!(
            "select pg_terminate_backend(pid) from pg_stat_activity where datname = '{database}'"
        );
        self.psql("postgres", &sql).map(drop)
    }

    /// Stops the server in an orderly way.
    pub fn stop(&mut self) {
        // SIGINT: disconnect clients and shut down cleanly.
        self.process.stop(Signal::SIGINT, Duration::from_secs(20));
    }

    /// The server process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Who the server runs as.
struct ServerUser {
    owner: Option<(Uid, Gid)>,
    privileges: Vec<String>,
}

impl ServerUser {
    /// Makes the cluster's folder and finds a user who can work in it.
    fn choose(folder: &Path) -> Result<Self> {
        if !folder.exists() {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
        }
        if !Uid::effective().is_root() {
            return Ok(Self { owner: None, privileges: Vec::new() });
        }
        let user = ["postgres", "nobody"]
            .into_iter()
            .find_map(|name| User::from_name(name).ok().flatten())
            .context(
                "PostgreSQL may not run as root, and there is neither a user postgres nor nobody",
            )?;
        chown(folder, Some(user.uid), Some(user.gid))?;
        let plain = vec![
            format!("--reuid={}", user.uid),
            format!("--regid={}", user.gid),
            "--clear-groups".to_owned(),
        ];
        for capability in [None, Some("dac_read_search"), Some("dac_override")] {
            let mut privileges = plain.clone();
            if let Some(name) = capability {
                privileges.push(format!("--inh-caps=+{name}"));
                privileges.push(format!("--ambient-caps=+{name}"));
            }
            let candidate = Self { owner: Some((user.uid, user.gid)), privileges };
            if candidate.can_enter(folder) {
                return Ok(candidate);
            }
        }
        bail!(
            "PostgreSQL may not run as root, and its user {} cannot reach {}: \
             keep the state in a folder open to others, such as STATE=/var/tmp/unifyit",
            user.name,
            folder.display()
        );
    }

    fn can_enter(&self, folder: &Path) -> bool {
        let mut spec = Spec::new("ls", "ls", [folder.as_os_str()], "/dev/null");
        spec.privileges.clone_from(&self.privileges);
        spec.run("").is_ok()
    }

    fn spec(&self, name: &str, program: &Path, folder: &Path, args: &[&str]) -> Spec {
        let mut spec = Spec::new(name, program, args, folder.join("postgres.log"));
        spec.privileges.clone_from(&self.privileges);
        spec.on_parent_death = "INT";
        spec.folder = Some(folder.to_path_buf());
        spec
    }

    fn give(&self, path: &Path) -> Result<()> {
        if let Some((uid, gid)) = self.owner {
            chown(path, Some(uid), Some(gid))?;
        }
        Ok(())
    }
}

fn init(bin: &Path, user: &ServerUser, folder: &Path, secrets: &Path) -> Result<()> {
    let passwords = Passwords { superuser: secret(), owner: secret(), app: secret() };
    write_private(secrets, &serde_json::to_string(&passwords)?)?;
    let password_file = folder.join("superuser");
    write_private(&password_file, &passwords.superuser)?;
    user.give(&password_file)?;
    // A cluster appears under its name only when it is whole: a run that was
    // interrupted in the middle leaves nothing that looks like one.
    let fresh = folder.join("data.fresh");
    if fresh.exists() {
        fs::remove_dir_all(&fresh)?;
    }
    user.spec(
        "initdb",
        &bin.join("initdb"),
        folder,
        &[
            "-D",
            &path_text(&fresh)?,
            "-U",
            "postgres",
            "-A",
            "scram-sha-256",
            "-E",
            "UTF8",
            "--locale=C.UTF-8",
            "--pwfile",
            &path_text(&password_file)?,
        ],
    )
    .run("")?;
    fs::remove_file(&password_file)?;
    fs::rename(&fresh, folder.join("data"))?;
    Ok(())
}

/// A random secret in hexadecimal.
#[must_use]
pub fn secret() -> String {
    uuid::Uuid::new_v4().simple().to_string()
}

/// The folder of the newest server from 15 on.
fn server_programs() -> Result<PathBuf> {
    let mut found: Vec<(u32, PathBuf)> = Vec::new();
    let mut look = |folder: PathBuf, version: Option<u32>| {
        if folder.join("initdb").is_file()
            && folder.join("postgres").is_file()
            && let Some(version) = version
        {
            found.push((version, folder));
        }
    };
    for entry in fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten() {
        let version = entry.file_name().to_str().and_then(|v| v.parse().ok());
        look(entry.path().join("bin"), version);
    }
    for folder in std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()) {
        let Ok(real) = folder.join("postgres").canonicalize() else { continue };
        let Some(folder) = real.parent() else { continue };
        let version = Spec::new("postgres", &real, ["--version"], "/dev/null")
            .run("")
            .ok()
            .and_then(|text| major(&text));
        look(folder.to_path_buf(), version);
    }
    found.sort();
    match found.pop() {
        Some((version, folder)) if version >= 15 => Ok(folder),
        _ => bail!("PostgreSQL 15 or newer is missing: run deploy/dev/install-deps"),
    }
}

fn major(version: &str) -> Option<u32> {
    let digits = version.split(|c: char| !c.is_ascii_digit()).find(|part| !part.is_empty())?;
    digits.parse().ok()
}

fn path_text(path: &Path) -> Result<String> {
    path.to_str().map(str::to_owned).with_context(|| format!("{} is not UTF-8", path.display()))
}
