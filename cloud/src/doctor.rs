//! `unifyit-cloud doctor`: what can be wrong, and how to mend it.

use crate::{
    config::Config,
    db::{Db, DbError, DbOptions, MigrateError},
    events::LocalBus,
    trust::MasterKey,
};
use std::{
    fmt::Write as _,
    io::{self, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::ExitCode,
    sync::Arc,
    time::{Duration, SystemTime},
};

/// Least free space in the state folder.
const LEAST_FREE: u64 = 512 * 1024 * 1024;
/// Clocks may differ by so many seconds from the database's.
const MOST_SKEW: f64 = 5.0;

/// What a check found.
enum Found {
    Good(String),
    Odd(String),
    Bad(String),
}
use Found::{Bad, Good, Odd};

/// Runs all checks and prints a line for each. Fails when one is bad.
pub async fn run(config: &Config) -> ExitCode {
    let mut findings = vec![state_folder(&config.state), disk(&config.state), master_key(config)];
    findings.extend(database(config).await);
    findings.push(http_port(config.listen));
    findings.extend(config.libp2p_listen.iter().map(|address| libp2p_port(address)));
    findings.push(public_url(config));
    let mut text = String::new();
    let mut bad = 0;
    for finding in &findings {
        let (mark, what) = match finding {
            Good(what) => ("ok  ", what),
            Odd(what) => ("note", what),
            Bad(what) => {
                bad += 1;
                ("BAD ", what)
            }
        };
        let _ = writeln!(text, "{mark}  {what}");
    }
    let _ = writeln!(
        text,
        "{}",
        if bad == 0 { "All is well.".into() } else { format!("{bad} to mend.") }
    );
    let _ = io::stdout().write_all(text.as_bytes());
    if bad == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn state_folder(path: &Path) -> Found {
    let shown = path.display();
    let probe = path.join(".doctor");
    match std::fs::create_dir_all(path).and_then(|()| std::fs::write(&probe, b"x")) {
        Ok(()) => {
            let _ = std::fs::remove_file(probe);
            Good(format!("the state folder {shown} can be written"))
        }
        Err(e) => Bad(format!(
            "the state folder {shown} cannot be written ({e}); make it and give it to the service's user, or pass --state"
        )),
    }
}

fn disk(path: &Path) -> Found {
    match nix::sys::statvfs::statvfs(path) {
        Ok(stat) => {
            let free = stat.blocks_available() * stat.fragment_size();
            let shown = format!("{} MiB free in {}", free / (1024 * 1024), path.display());
            if free < LEAST_FREE { Bad(format!("{shown}; free some space")) } else { Good(shown) }
        }
        Err(e) => Odd(format!("the free space of {} cannot be read ({e})", path.display())),
    }
}

fn master_key(config: &Config) -> Found {
    if let Ok(text) = std::env::var("UNIFYIT_MASTER_KEY") {
        return match MasterKey::from_text(text.trim()) {
            Ok(_) => Good("the master key comes from UNIFYIT_MASTER_KEY".into()),
            Err(e) => Bad(e.to_string()),
        };
    }
    let file = config.master_key_file();
    let shown = file.display();
    match std::fs::metadata(&file) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Odd(format!(
            "there is no master key at {shown}; the first start makes one. If this installation had one before, put it back: without it no organization's key opens"
        )),
        Err(e) => Bad(format!("the master key {shown} cannot be read ({e})")),
        Ok(meta) if meta.permissions().mode() & 0o077 != 0 => {
            Bad(format!("the master key {shown} may be read by others; run `chmod 600 {shown}`"))
        }
        Ok(_) => match std::fs::read_to_string(&file).map(|t| MasterKey::from_text(t.trim())) {
            Ok(Ok(_)) => Good(format!("the master key {shown} is private and readable")),
            Ok(Err(e)) => Bad(format!("{shown}: {e}")),
            Err(e) => Bad(format!(
                "the master key {shown} cannot be read ({e}); run doctor as the service's user"
            )),
        },
    }
}

async fn database(config: &Config) -> Vec<Found> {
    let options = DbOptions {
        url: config.database_url.clone(),
        connections: 1,
        patience: Duration::from_secs(5),
    };
    let db = match Db::new(&options, Arc::new(LocalBus::default())) {
        Ok(db) => db,
        Err(e) => return vec![Bad(format!("database_url is not usable ({e})"))],
    };
    let mut found = Vec::new();
    match db.ping().await {
        Ok(theirs) => {
            found.push(Good("the database answers".into()));
            let ours = SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_secs_f64();
            let skew = ours - theirs;
            found.push(if skew.abs() > MOST_SKEW {
                Bad(format!(
                    "this machine's clock differs by {skew:.0} s from the database's; set both by NTP (`timedatectl set-ntp true`)"
                ))
            } else {
                Good("the clock agrees with the database's".into())
            });
        }
        Err(e) => {
            found.push(Bad(format!(
                "{e}; check that PostgreSQL runs and that host, port, user and password in database_url are right"
            )));
            return found;
        }
    }
    found.push(match db.check().await {
        Ok(()) => Good("the schema is up to date and the role is bound by row security".into()),
        Err(MigrateError::Db(DbError::Query(e))) => {
            Bad(format!("the schema cannot be checked ({e})"))
        }
        Err(e) => Bad(e.to_string()),
    });
    found
}

fn http_port(address: SocketAddr) -> Found {
    match TcpListener::bind(address) {
        Ok(_) => Good(format!("{address} is free for the HTTP server")),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Odd(format!(
            "{address} is in use: fine when the cloud is running; else find who holds it with `ss -ltnp 'sport = :{}'` or change `listen`",
            address.port()
        )),
        Err(e) => Bad(format!("cannot listen on {address} ({e}); change `listen`")),
    }
}

fn libp2p_port(text: &str) -> Found {
    let mut parts = text.split('/').skip(1);
    let parsed = match (parts.next(), parts.next(), parts.next(), parts.next()) {
        (Some("ip4" | "ip6"), Some(ip), Some(transport @ ("tcp" | "udp")), Some(port)) => ip
            .parse::<IpAddr>()
            .ok()
            .zip(port.parse().ok())
            .map(|(ip, port)| (SocketAddr::new(ip, port), transport == "tcp")),
        _ => None,
    };
    let Some((address, tcp)) = parsed else {
        return Bad(format!(
            "{text} is not an address to listen on; write /ip4/0.0.0.0/tcp/4001 or /ip4/0.0.0.0/udp/4001/quic-v1"
        ));
    };
    let bound =
        if tcp { TcpListener::bind(address).map(drop) } else { UdpSocket::bind(address).map(drop) };
    match bound {
        Ok(()) => Good(format!("{text} is free for relays")),
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Odd(format!(
            "{text} is in use: fine when the cloud is running; else change `libp2p_listen`"
        )),
        Err(e) => Bad(format!("cannot listen on {text} ({e}); change `libp2p_listen`")),
    }
}

fn public_url(config: &Config) -> Found {
    match config.public_url.as_str() {
        "" => Odd("public_url is not set; set it to the URL that browsers use, else sign-in by HTTPS lacks its protections".into()),
        url if url.starts_with("https://") => Good(format!("browsers come by {url}")),
        url if url.starts_with("http://") => Odd(format!(
            "browsers come by {url}, in the clear; put an HTTPS proxy in front and set public_url to its https:// URL"
        )),
        url => Bad(format!("public_url {url:?} is no URL; write https://rmm.example.com")),
    }
}
