//! Package managers that are set up for the site's cache: the real apt, dnf and
//! zypper, in a root of the test's own.

use crate::{
    bench::helper,
    daemon::{ask_to_end, daemon},
    relay::Relay,
};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
    task::JoinHandle,
};
use unifyit_agent::platform::PackageManagers;
use unifyit_protocol::config::PackageCache;

/// Answers every request with its own name, and remembers what was asked.
struct Server {
    authority: String,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Server {
    async fn start(name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let authority = listener.local_addr().unwrap().to_string();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let memory = Arc::clone(&asked);
        let task = tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let memory = Arc::clone(&memory);
                tokio::spawn(async move {
                    let mut head = Vec::new();
                    while !head.windows(4).any(|w| w == b"\r\n\r\n") {
                        if !matches!(stream.read_buf(&mut head).await, Ok(1..)) {
                            return;
                        }
                    }
                    let line =
                        String::from_utf8_lossy(&head).lines().next().unwrap_or("").to_owned();
                    memory.lock().unwrap().push(line);
                    let answer = format!(
                        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{name}",
                        name.len()
                    );
                    drop(stream.write_all(answer.as_bytes()).await);
                });
            }
        });
        Self { authority, asked, task }
    }

    fn was_asked(&self, part: &str) -> bool {
        self.asked.lock().unwrap().iter().any(|line| line.contains(part))
    }
}

/// A computer with apt and a repository file, and what it says before the agent.
fn computer(root: &Path, origin: &str) -> (PathBuf, String) {
    for folder in ["etc/apt/apt.conf.d", "etc/yum.repos.d", "etc/unifyit"] {
        fs::create_dir_all(root.join(folder)).unwrap();
    }
    let repo = root.join("etc/yum.repos.d/made.repo");
    let text = format!(
        "[made]\nname=made\nbaseurl=http://{origin}/rpm\ngpgcheck=0\n\n\
         [secure]\nname=secure\nenabled=0\nbaseurl=https://{origin}/rpm\n"
    );
    fs::write(&repo, &text).unwrap();
    (repo, text)
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Fetches with apt's own methods, set up by the root's files alone.
async fn apt_fetches(root: &Path, url: String) -> String {
    let (conf, into) = (root.join("apt.conf"), root.join("fetched"));
    let text = format!(
        "Dir::Etc::Parts \"{}\";\nDir::Etc::Main \"/dev/null\";\nAPT::Sandbox::User \"root\";\nAcquire::Retries \"0\";\n",
        root.join("etc/apt/apt.conf.d").display()
    );
    fs::write(&conf, text).unwrap();
    drop(fs::remove_file(&into));
    let out = tokio::task::spawn_blocking({
        let into = into.clone();
        move || -> Output {
            Command::new("/usr/lib/apt/apt-helper")
                .args(["download-file", &url, into.to_str().unwrap()])
                .env("APT_CONFIG", conf)
                .env_remove("http_proxy")
                .output()
                .unwrap()
        }
    })
    .await
    .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    fs::read_to_string(into).unwrap()
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let entries = entries.map(|e| e.unwrap().path());
    entries.flat_map(|p| if p.is_dir() { files(&p) } else { vec![p] }).collect()
}

fn uninstall(state: &Path, more: &[&str]) -> Output {
    Command::new(helper())
        .arg("--state")
        .arg(state)
        .arg("uninstall")
        .args(more)
        .env("UNIFYIT_ROOT", state.join("root"))
        .output()
        .unwrap()
}

#[tokio::test]
async fn package_managers_use_the_cache_while_it_answers_and_an_uninstall_leaves_nothing() {
    if !Path::new("/usr/lib/apt/apt-helper").exists() {
        println!("SKIPPED: this is no Debian: apt is not here");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (state, root) = (dir.path(), dir.path().join("root"));
    let (origin, other, cache) =
        (Server::start("origin").await, Server::start("other").await, Server::start("cache").await);
    let (repo, before) = computer(&root, &origin.authority);
    let mut relay = Relay::start(state).await;
    relay.memory.lock().unwrap().package_cache = PackageCache {
        addresses: vec!["127.0.0.1:1".into(), cache.authority.clone()],
        hosts: vec![origin.authority.clone()],
    };
    let mut child = daemon(state);
    let conf = root.join("etc/apt/apt.conf.d/30unifyit-agent");
    let line = format!("proxy=http://{}\n", cache.authority);
    until("the settings", || conf.exists()).await;
    until("the repository's line", || fs::read_to_string(&repo).unwrap().contains(&line)).await;

    let url = |server: &Server| format!("http://{}/file", server.authority);
    assert_eq!(apt_fetches(&root, url(&origin)).await, "cache");
    assert!(cache.was_asked(&format!("GET {} ", url(&origin))), "not asked as a proxy");
    // What the cache would refuse goes past it.
    assert_eq!(apt_fetches(&root, url(&other)).await, "other");

    // The relay goes, and its cache with it: apt finds out by itself, for dnf the agent
    // does.
    cache.task.abort();
    relay.stop().await;
    until("the port to close", || std::net::TcpStream::connect(&cache.authority).is_err()).await;
    assert_eq!(apt_fetches(&root, url(&origin)).await, "origin");
    until("the repository's line to go", || fs::read_to_string(&repo).unwrap() == before).await;

    // Not while it runs, and not unasked.
    let running = uninstall(state, &["--yes"]);
    assert!(!running.status.success());
    assert!(String::from_utf8_lossy(&running.stderr).contains("in use"));
    ask_to_end(&mut child).await;
    let unasked = uninstall(state, &[]);
    assert!(!unasked.status.success() && conf.exists());
    assert!(String::from_utf8_lossy(&unasked.stdout).contains("uninstall --yes"));

    fs::create_dir_all(root.join("etc/systemd/system")).unwrap();
    fs::write(root.join("etc/systemd/system/unifyit-agent.service"), "[Unit]\n").unwrap();
    fs::write(root.join("etc/unifyit/agent.toml"), "").unwrap();
    // The root must outlive the state folder that it stands in.
    let kept = tempfile::tempdir().unwrap();
    fs::rename(&root, kept.path().join("root")).unwrap();
    let out = Command::new(helper())
        .arg("--state")
        .arg(state)
        .args(["uninstall", "--yes"])
        .env("UNIFYIT_ROOT", kept.path().join("root"))
        .output()
        .unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    assert!(!state.exists());
    let left = files(kept.path());
    assert_eq!(left.len(), 3, "{left:?}");
    let repo = kept.path().join("root/etc/yum.repos.d/made.repo");
    assert_eq!(fs::read_to_string(repo).unwrap(), before);
}

#[test]
fn what_people_set_up_by_hand_is_never_touched() {
    let dir = tempfile::tempdir().unwrap();
    let (_, before) = computer(dir.path(), "ok.org");
    let offer = PackageCache { addresses: vec!["relay:3142".into()], hosts: vec!["ok.org".into()] };
    let managers = PackageManagers::with_program(dir.path(), helper().as_ref());
    let write = |path: &str, text: &str| {
        fs::create_dir_all(dir.path().join(path).parent().unwrap()).unwrap();
        fs::write(dir.path().join(path), text).unwrap();
    };
    let read = |path: &str| fs::read_to_string(dir.path().join(path)).unwrap();
    let ours = "etc/apt/apt.conf.d/30unifyit-agent";

    managers.use_cache(&offer, Some("relay:3142")).unwrap();
    assert!(read(ours).contains("Proxy-Auto-Detect"));
    assert!(managers.use_cache(&offer, Some("relay:3142")).unwrap().is_empty(), "nothing changed");
    // Somebody sets up proxies: the agent's own settings give way.
    write("etc/apt/apt.conf.d/99mine", "Acquire::http { Proxy \"http://p:1\"; };\n");
    write("etc/dnf/dnf.conf", "[main]\nproxy = http://p:1\n");
    managers.use_cache(&offer, Some("relay:3142")).unwrap();
    assert!(!dir.path().join(ours).exists());
    assert_eq!(read("etc/yum.repos.d/made.repo"), before);
    // A file of that name which is not the agent's stays, and says so.
    fs::remove_file(dir.path().join("etc/apt/apt.conf.d/99mine")).unwrap();
    write(ours, "APT::Get::Assume-Yes \"1\";\n");
    assert!(managers.use_cache(&offer, None).unwrap_err().to_string().contains("somebody else's"));
    managers.leave().unwrap();
    assert_eq!(read(ours), "APT::Get::Assume-Yes \"1\";\n");
    assert_eq!(read("etc/dnf/dnf.conf"), "[main]\nproxy = http://p:1\n");
}

#[tokio::test]
async fn dnf_and_zypper_ask_the_cache_that_a_repositorys_line_names() {
    let (origin, cache) = (Server::start("origin").await, Server::start("cache").await);
    for (program, folder) in [("dnf", "etc/yum.repos.d"), ("zypper", "etc/zypp/repos.d")] {
        if Command::new(program).arg("--version").output().is_err() {
            println!(
                "SKIPPED: {program} is not installed: install the package {program} (make install-deps)"
            );
            continue;
        }
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_owned();
        let text = format!(
            "[made]\nname=made\nenabled=1\nbaseurl=http://{}/{program}\ngpgcheck=0\n",
            origin.authority
        );
        fs::create_dir_all(root.join(folder)).unwrap();
        fs::write(root.join(folder).join("made.repo"), text).unwrap();
        let offer = PackageCache {
            addresses: vec![cache.authority.clone()],
            hosts: vec![origin.authority.clone()],
        };
        let managers = PackageManagers::with_program(&root, helper().as_ref());
        managers.use_cache(&offer, Some(&cache.authority)).unwrap();
        let out =
            tokio::task::spawn_blocking(move || refresh(program, &root, folder)).await.unwrap();
        let sought = format!("http://{}/{program}/", origin.authority);
        assert!(cache.was_asked(&sought), "{program}: {}", String::from_utf8_lossy(&out.stderr));
        assert!(!origin.was_asked(program), "{program} went past the cache");
    }
}

/// Lets the package manager look at the repository; it finds no metadata there.
fn refresh(program: &str, root: &Path, folder: &str) -> Output {
    let at = |part: &str| root.join(part).display().to_string();
    let mut command = Command::new(program);
    command.env_clear().env("PATH", std::env::var("PATH").unwrap()).env("HOME", root);
    if program == "dnf" {
        fs::write(root.join("dnf.conf"), "[main]\n").unwrap();
        command.arg(format!("--config={}", at("dnf.conf")));
        command.args(["--noplugins", "--releasever=1", "--setopt=retries=1"]);
        for (name, part) in
            [("reposdir", folder), ("cachedir", "c"), ("logdir", "l"), ("persistdir", "p")]
        {
            fs::create_dir_all(root.join(part)).unwrap();
            command.arg(format!("--setopt={name}={}", at(part)));
        }
        command.arg(format!("--installroot={}", at("target"))).arg("makecache");
    } else {
        command.args(["--non-interactive", "--no-gpg-checks", "--root", &at("")]);
        command.args(["--reposd-dir", &at(folder), "refresh"]);
    }
    command.output().unwrap()
}
