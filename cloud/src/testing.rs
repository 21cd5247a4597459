//! A database for a test, made from a template in tens of milliseconds.
//!
//! Without `TEST_DATABASE_URL` (an owner's URL), a private cluster of the
//! installed PostgreSQL serves all test processes of this machine's user: the
//! first one starts it, each holds a shared lock while it runs, and a shell
//! waiting for that lock stops and removes the cluster after the last. As root,
//! the server runs as `nobody`, because it refuses root.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "tests"
)]

mod app;
mod probe;

pub use app::{Answer, Place, TestApp};
pub use probe::{Probe, Probes, may, may_not};

use crate::{
    db::{self, Db, DbOptions},
    events::LocalBus,
};
use sqlx::{AssertSqlSafe, Connection, PgConnection};
use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::Arc,
    time::Duration,
};
use uuid::Uuid;

/// A database of one test. Dropped with it.
pub struct TestDb {
    pub db: Db,
    pub owner_url: String,
    pub app_url: String,
    name: String,
    admin_url: String,
    /// Made for this database, and dropped after it.
    role: Option<String>,
    _lock: Option<File>,
}

/// Makes a migrated, empty database.
pub async fn database() -> TestDb {
    let (admin_url, lock) = match std::env::var("TEST_DATABASE_URL") {
        Ok(url) => (url, None),
        Err(_) => {
            let (url, lock) = cluster();
            (url, Some(lock))
        }
    };
    let template = template(&admin_url).await;
    let name = format!("unifyit_t_{}", Uuid::new_v4().simple());
    run(&admin_url, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
    let owner_url = with_database(&admin_url, &name, None);
    let app_url = with_database(&admin_url, &name, Some("unifyit_app"));
    let options =
        DbOptions { url: app_url.clone(), connections: 6, patience: Duration::from_secs(20) };
    let db = Db::new(&options, Arc::new(LocalBus::default())).unwrap();
    TestDb { db, owner_url, app_url, name, admin_url, role: None, _lock: lock }
}

/// Makes an empty database of a role that is no superuser and may not look past row
/// security.
pub async fn owned_by_a_plain_role() -> TestDb {
    let mut test = database().await;
    let role = format!("unifyit_r_{}", Uuid::new_v4().simple());
    for statement in [
        format!("CREATE ROLE {role} LOGIN CREATEROLE"),
        format!("GRANT unifyit_definer TO {role}"),
        format!("DROP DATABASE {} WITH (FORCE)", test.name),
        format!("CREATE DATABASE {} OWNER {role}", test.name),
    ] {
        run(&test.admin_url, &statement).await;
    }
    test.owner_url = with_database(&test.admin_url, &test.name, Some(&role));
    test.role = Some(role);
    test
}

impl TestDb {
    /// The database's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The URL of the cluster's superuser, for this database.
    pub fn admin_url(&self) -> String {
        with_database(&self.admin_url, &self.name, None)
    }

    /// A connection as the owner, for what the service may not do.
    pub async fn owner(&self) -> PgConnection {
        PgConnection::connect(&self.owner_url).await.unwrap()
    }
}

impl Drop for TestDb {
    fn drop(&mut self) {
        let (url, name, role) = (self.admin_url.clone(), self.name.clone(), self.role.take());
        // Drop is not async and may run inside a runtime: a thread of its own.
        let _ = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(run(&url, &format!("DROP DATABASE IF EXISTS {name} WITH (FORCE)")));
            if let Some(role) = role {
                runtime.block_on(run(&url, &format!("DROP ROLE {role}")));
            }
        })
        .join();
    }
}

async fn run(url: &str, statement: &str) {
    let mut connection = PgConnection::connect(url).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// The migrated template of this very schema, made once a cluster.
async fn template(admin_url: &str) -> String {
    let schema = db::schema_digest();
    let name = format!("unifyit_template_{}", &schema[..16]);
    let mut connection = PgConnection::connect(admin_url).await.unwrap();
    sqlx::query("SELECT pg_advisory_lock(7161)").execute(&mut connection).await.unwrap();
    let exists: bool =
        sqlx::query_scalar("SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)")
            .bind(&name)
            .fetch_one(&mut connection)
            .await
            .unwrap();
    if !exists {
        let making = format!("{name}_making");
        run(admin_url, &format!("DROP DATABASE IF EXISTS {making} WITH (FORCE)")).await;
        run(admin_url, &format!("CREATE DATABASE {making}")).await;
        let owner = with_database(admin_url, &making, None);
        db::migrate(&owner, &with_database(admin_url, &making, Some("unifyit_app"))).await.unwrap();
        run(admin_url, &format!("ALTER DATABASE {making} RENAME TO {name}")).await;
    }
    connection.close().await.unwrap();
    name
}

/// The URL with another database, and perhaps another user.
fn with_database(url: &str, database: &str, user: Option<&str>) -> String {
    let (scheme, rest) = url.split_once("://").unwrap();
    let (base, query) = rest.split_once('?').map_or((rest, ""), |(b, q)| (b, q));
    let authority = base.split('/').next().unwrap();
    let (login, host) = authority.rsplit_once('@').unwrap_or(("postgres", authority));
    let login = user.unwrap_or(login);
    let query = if query.is_empty() { String::new() } else { format!("?{query}") };
    format!("{scheme}://{login}@{host}/{database}{query}")
}

/// Starts the shared private cluster or joins it.
fn cluster() -> (String, File) {
    let id = fs::metadata("/proc/self").map(|m| std::os::unix::fs::MetadataExt::uid(&m)).unwrap();
    let folder = std::env::temp_dir().join(format!("unifyit-test-pg-{id}"));
    fs::create_dir_all(&folder).unwrap();
    // Held while the cluster starts or stops.
    let gate = open(&folder.join("gate.lock"));
    gate.lock().unwrap();
    let users = open(&folder.join("users.lock"));
    users.lock_shared().unwrap();
    let port_file = folder.join("port");
    if !port_file.exists() {
        start(&folder, id == 0);
    }
    let port = fs::read_to_string(&port_file).unwrap();
    gate.unlock().unwrap();
    (format!("postgres://postgres@127.0.0.1:{}/postgres", port.trim()), users)
}

fn open(path: &Path) -> File {
    File::options().create(true).truncate(false).read(true).write(true).open(path).unwrap()
}

fn start(folder: &Path, root: bool) {
    let data = folder.join("data");
    let _ = fs::remove_dir_all(&data);
    let bin = binaries();
    let run = |program: &str, arguments: &[&str]| {
        let path = bin.join(program);
        let mut command = if root {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=nobody", "--regid=nogroup", "--clear-groups"]).arg(path);
            command
        } else {
            Command::new(path)
        };
        let out = command
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status()
            .unwrap();
        out.success()
    };
    if root {
        let out = Command::new("chown").arg("nobody").arg(folder).status().unwrap();
        assert!(out.success());
    }
    let data_text = data.to_str().unwrap();
    let made = run(
        "initdb",
        &["-D", data_text, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C.UTF-8", "-N"],
    );
    assert!(made, "initdb failed: {}", folder.display());
    // Another program may take the port between the look and the start.
    let port = (0..5).find_map(|_| listening(folder, data_text, &run));
    let port = port.unwrap_or_else(|| panic!("pg_ctl failed; see {}", folder.display()));
    fs::write(folder.join("port"), port.to_string()).unwrap();
    supervise(folder, &bin, root);
}

/// Starts the server in `data` on a port that looks free; which, if it did.
fn listening(folder: &Path, data: &str, run: &dyn Fn(&str, &[&str]) -> bool) -> Option<u16> {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let options = format!(
        "-c listen_addresses=127.0.0.1 -p {port} -k {} -c fsync=off -c full_page_writes=off \
         -c synchronous_commit=off -c max_connections=300 -c shared_buffers=128MB",
        folder.display()
    );
    let log = folder.join("log");
    let log = log.to_str().unwrap();
    run("pg_ctl", &["-D", data, "-o", &options, "-l", log, "-w", "start"]).then_some(port)
}

/// Leaves a shell behind that ends the cluster some seconds after the last
/// test process is gone.
#[expect(clippy::zombie_processes, reason = "it outlives the test on purpose")]
fn supervise(folder: &Path, bin: &Path, root: bool) {
    let user = if root { "setpriv --reuid=nobody --regid=nogroup --clear-groups" } else { "" };
    let script = format!(
        "cd '{folder}'; while :; do flock users.lock true; sleep 10; \
         exec 9>gate.lock; flock 9; \
         if flock -n users.lock true; then {user} '{bin}/pg_ctl' -D data -m immediate stop; \
         rm -rf data port log; exit; fi; exec 9>&-; done",
        folder = folder.display(),
        bin = bin.display(),
    );
    Command::new("setsid")
        .args(["sh", "-c", &script])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
}

fn binaries() -> PathBuf {
    let mut versions: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path().join("bin"))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    versions.sort();
    versions.pop().unwrap_or_else(|| "/usr/bin".into())
}
