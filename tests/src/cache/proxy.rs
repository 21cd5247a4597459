//! The caches under test as processes: ours and, beside it, what people use.

use super::disk::Disk;
use crate::{
    process::{Process, Spec, binary},
    stack::ports::free_port,
    wait::{secs, until_true},
};
use anyhow::{Context, Result};
use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
};

/// Which cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `unifyit-relay cache`.
    Unifyit,
    /// Debian's apt-cacher-ng.
    AptCacherNg,
    /// nginx with `proxy_cache`, as a mirror of one upstream.
    Nginx,
}

impl Kind {
    /// For people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unifyit => "UnifyIT",
            Self::AptCacherNg => "apt-cacher-ng",
            Self::Nginx => "nginx",
        }
    }

    /// Where its program is, if it is installed or built.
    ///
    /// # Errors
    /// A sentence that says what to install.
    pub fn program(self) -> Result<PathBuf> {
        let (program, package) = match self {
            Self::Unifyit => return binary("unifyit-relay"),
            Self::AptCacherNg => ("apt-cacher-ng", "apt-cacher-ng"),
            Self::Nginx => ("nginx", "nginx-light"),
        };
        ["/usr/sbin", "/usr/local/sbin", "/usr/bin", "/usr/local/bin"]
            .iter()
            .map(|folder| Path::new(folder).join(program))
            .find(|path| path.is_file())
            .with_context(|| format!("{program} is not installed (Debian package {package})"))
    }
}

/// How small the cache is to be, and how impatient.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of bodies at most.
    pub max_bytes: u64,
    /// Bytes left free on the disk.
    pub reserve_bytes: u64,
    /// Seconds without a byte that count as a cut, from upstreams.
    pub upstream_stall_s: u64,
    /// The same for clients.
    pub client_stall_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        let gigabyte = 1 << 30;
        Self { max_bytes: 4 * gigabyte, reserve_bytes: 0, upstream_stall_s: 20, client_stall_s: 60 }
    }
}

/// A cache that runs, or that has been killed and may run again.
#[derive(Debug)]
pub struct Proxy {
    kind: Kind,
    spec: Spec,
    process: Option<Process>,
    address: SocketAddr,
    admin: SocketAddr,
    upstream: String,
    stored: PathBuf,
}

impl Proxy {
    /// Starts a cache for one upstream. What it stores lies on `disk`, the rest
    /// in `folder`.
    ///
    /// # Errors
    /// When it is not installed, or does not come up.
    pub async fn start(
        kind: Kind,
        upstream: &str,
        folder: &Path,
        disk: &Disk,
        limits: Limits,
    ) -> Result<Self> {
        let program = kind.program()?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let admin = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let store = disk.inside().join("store");
        fs::create_dir_all(disk.outside().join("store"))?;
        let log = folder.join(format!("{}.log", kind.name()));
        let args = match kind {
            Kind::Unifyit => unifyit(folder, &store, upstream, address, admin, limits),
            Kind::AptCacherNg => apt_cacher_ng(folder, &store, address)?,
            Kind::Nginx => nginx(folder, &store, upstream, address)?,
        };
        let spec = disk.spec(kind.name(), &program, args, log).env("UNIFYIT_LOG", "warn");
        let stored = disk.outside().join("store");
        let upstream = upstream.to_owned();
        let mut proxy = Self { kind, spec, process: None, address, admin, upstream, stored };
        proxy.restart().await?;
        Ok(proxy)
    }

    /// Starts it, again.
    ///
    /// # Errors
    /// When it does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.process = None;
        let mut process = self.spec.start()?;
        let address = self.address;
        let up = until_true("the cache to listen", secs(120), || {
            TcpStream::connect(address).is_ok() || process.ended().is_some()
        })
        .await;
        process.check_alive()?;
        up?;
        self.process = Some(process);
        Ok(())
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// Whether it runs.
    pub fn is_alive(&mut self) -> bool {
        self.process.as_mut().is_some_and(|process| process.ended().is_none())
    }

    /// What it wrote to its log since it was started.
    #[must_use]
    pub fn log_tail(&self) -> String {
        self.process.as_ref().map(|process| process.log_tail(3000)).unwrap_or_default()
    }

    /// Which one it is.
    #[must_use]
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it tells its metrics, if it is ours.
    #[must_use]
    pub fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its process, and those of its workers.
    #[must_use]
    pub fn pids(&self) -> Vec<i32> {
        let Some(process) = &self.process else { return Vec::new() };
        let mut pids = vec![process.pid()];
        pids.extend(crate::process::descendants(process.pid()));
        pids
    }

    /// Where its files lie, seen from outside.
    #[must_use]
    pub fn stored(&self) -> &Path {
        &self.stored
    }

    /// What to ask it for, to get a path of the upstream.
    #[must_use]
    pub fn target(&self, path: &str) -> String {
        match self.kind {
            Kind::Nginx => path.to_owned(),
            _ => format!("http://{}{path}", self.upstream),
        }
    }
}

fn unifyit(
    folder: &Path,
    store: &Path,
    upstream: &str,
    address: SocketAddr,
    admin: SocketAddr,
    limits: Limits,
) -> Vec<String> {
    let mut args = vec!["cache".to_owned(), "--state".to_owned()];
    args.push(folder.join("state").display().to_string());
    for setting in [
        format!("listen.cache={address}"),
        format!("listen.admin={admin}"),
        format!("cache.folder={}", store.display()),
        format!("cache.hosts={upstream}"),
        format!("cache.max_bytes={}", limits.max_bytes),
        format!("cache.reserve_bytes={}", limits.reserve_bytes),
        format!("cache.upstream_stall_s={}", limits.upstream_stall_s),
        format!("cache.client_stall_s={}", limits.client_stall_s),
        "cache.max_connections_per_client=512".to_owned(),
    ] {
        args.extend(["--set".to_owned(), setting]);
    }
    args
}

fn apt_cacher_ng(folder: &Path, store: &Path, address: SocketAddr) -> Result<Vec<String>> {
    let conf = folder.join("acng");
    fs::create_dir_all(&conf)?;
    let logs = folder.join("acng-logs");
    fs::create_dir_all(&logs)?;
    // Indexes are asked after each time, as ours asks: otherwise they would be
    // as old as its default allows.
    let text = format!(
        "CacheDir: {}\nLogDir: {}\nPort: {}\nBindAddress: {}\nForeGround: 1\nAllowUserPorts: 0\n\
         ExThreshold: 4\nFreshIndexMaxAge: 1\nVerboseLog: 0\nReportPage:\nSocketPath: {}\nPidFile: {}\n",
        store.display(),
        logs.display(),
        address.port(),
        address.ip(),
        folder.join("acng.socket").display(),
        folder.join("acng.pid").display(),
    );
    fs::write(conf.join("acng.conf"), text)?;
    Ok(vec!["-c".to_owned(), conf.display().to_string()])
}

fn nginx(folder: &Path, store: &Path, upstream: &str, address: SocketAddr) -> Result<Vec<String>> {
    let conf = folder.join("nginx.conf");
    let shown = folder.display();
    let user = if nix::unistd::geteuid().is_root() { "user root;\n" } else { "" };
    let text = format!(
        "{user}daemon off;\nworker_processes auto;\npid {shown}/nginx.pid;\nerror_log {shown}/nginx-error.log;\n\
         events {{ worker_connections 1024; }}\n\
         http {{\n access_log off;\n sendfile on;\n tcp_nopush on;\n keepalive_requests 100000000;\n \
         proxy_cache_path {store} levels=1:2 keys_zone=all:10m max_size=4g inactive=24h use_temp_path=off;\n \
         client_body_temp_path {shown}/nginx-body;\n proxy_temp_path {shown}/nginx-proxy;\n \
         fastcgi_temp_path {shown}/nginx-fastcgi;\n uwsgi_temp_path {shown}/nginx-uwsgi;\n scgi_temp_path {shown}/nginx-scgi;\n \
         server {{\n  listen {address};\n  location / {{\n   proxy_pass http://{upstream};\n   proxy_http_version 1.1;\n   \
         proxy_set_header Connection \"\";\n   proxy_cache all;\n   proxy_cache_lock on;\n   proxy_cache_valid 200 1h;\n  }}\n }}\n}}\n",
        store = store.display(),
    );
    fs::write(&conf, text)?;
    Ok(vec!["-c".to_owned(), conf.display().to_string()])
}
