//! The real `apt-get` and `dpkg`, through the cache, against a signed repository
//! that is republished and then goes away. What is installed is really unpacked
//! and configured, in a root of its own.

use crate::{
    Running,
    tools::{missing, must, off, said, text},
    upstream::Upstream,
};
use std::{
    fs,
    path::{Path, PathBuf},
};

fn lacking() -> bool {
    missing(&[
        ("apt-get", &["--version"], "apt"),
        ("dpkg-deb", &["--version"], "dpkg"),
        ("apt-ftparchive", &["--version"], "apt-utils"),
        ("gpg", &["--version"], "gnupg"),
    ])
}

/// The signer and builder of a repository.
pub struct Publisher {
    pub folder: PathBuf,
}

impl Publisher {
    pub fn new(folder: &Path) -> Self {
        let folder = folder.join("publisher");
        fs::create_dir_all(&folder).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        fs::set_permissions(&folder, mode).unwrap();
        let key = ["--batch", "--passphrase", "", "--quick-generate-key", "cache test", "ed25519"];
        must("gpg", &key, &folder);
        let public = must("gpg", &["--export", "--armor"], &folder);
        fs::write(folder.join("key.asc"), public).unwrap();
        Self { folder }
    }

    /// Builds the package anew under the same name and version, and publishes it.
    pub fn publish(&self, up: &Upstream, content: &str) {
        let root = self.folder.join("root");
        fs::create_dir_all(root.join("DEBIAN")).unwrap();
        fs::create_dir_all(root.join("opt")).unwrap();
        let control = "Package: hello-cache\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.com>\nDescription: test\n";
        fs::write(root.join("DEBIAN/control"), control).unwrap();
        fs::write(root.join("opt/hello"), content).unwrap();
        let script = root.join("DEBIAN/postinst");
        fs::write(
            &script,
            "#!/bin/sh\nset -e\ncp \"$DPKG_ROOT/opt/hello\" \"$DPKG_ROOT/opt/configured\"\n",
        )
        .unwrap();
        fs::set_permissions(script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let repo = self.folder.join("repo");
        let (pool, dist) = (repo.join("pool"), repo.join("dists/stable/main/binary-amd64"));
        fs::create_dir_all(&pool).unwrap();
        fs::create_dir_all(&dist).unwrap();
        let deb = pool.join("hello-cache_1_all.deb");
        let build = ["--build", "--root-owner-group", &text(&root), &text(&deb)];
        must("dpkg-deb", &build, &self.folder);
        fs::write(dist.join("Packages"), must("apt-ftparchive", &["packages", "pool"], &repo))
            .unwrap();
        must("gzip", &["--force", "--keep", &text(&dist.join("Packages"))], &repo);
        let about = |name: &str, value: &str| format!("APT::FTPArchive::Release::{name}={value}");
        let release = [
            "-o",
            &about("Suite", "stable"),
            "-o",
            &about("Codename", "stable"),
            "-o",
            &about("Components", "main"),
            "-o",
            &about("Architectures", "amd64 all"),
            "release",
            "dists/stable",
        ];
        let release = must("apt-ftparchive", &release, &repo);
        let plain = self.folder.join("Release");
        fs::write(&plain, release).unwrap();
        let sign = ["--batch", "--clearsign", "--output", "-", &text(&plain)];
        let signed = must("gpg", &sign, &self.folder);
        for name in ["Packages", "Packages.gz"] {
            let body = fs::read(dist.join(name)).unwrap();
            up.put(&format!("/r/dists/stable/main/binary-amd64/{name}"), body);
        }
        up.put("/r/dists/stable/InRelease", signed);
        up.put("/r/pool/hello-cache_1_all.deb", fs::read(deb).unwrap());
    }
}

/// One computer: apt's and dpkg's state, and the root that packages go to.
struct Machine {
    root: PathBuf,
    options: Vec<String>,
}

impl Machine {
    /// `base` is where the computer's sources list says that the repository is.
    fn new(root: PathBuf, publisher: &Publisher, base: &str, further: &[String]) -> Self {
        for part in [
            "lists/partial",
            "archives/partial",
            "etc",
            "log",
            "target/var/lib/dpkg/info",
            "target/var/lib/dpkg/updates",
            "target/var/log",
        ] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        fs::write(root.join("target/var/lib/dpkg/status"), "").unwrap();
        let key = publisher.folder.join("key.asc");
        let source = format!("deb [arch=amd64 signed-by={}] {base} stable main\n", key.display());
        fs::write(root.join("etc/sources.list"), source).unwrap();
        let at = |part: &str| root.join(part).display().to_string();
        let options = [
            format!("Dir::Etc::SourceList={}", at("etc/sources.list")),
            "Dir::Etc::SourceParts=-".into(),
            "Dir::Etc::Parts=-".into(),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::State::Status={}", at("target/var/lib/dpkg/status")),
            format!("Dir::State::Extended_States={}", at("extended")),
            format!("Dir::Cache={}", at("")),
            format!("Dir::Cache::Archives={}", at("archives")),
            format!("Dir::Log={}", at("log")),
            "APT::Sandbox::User=root".into(),
            "APT::Architecture=amd64".into(),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=0".into(),
            "Debug::NoLocking=1".into(),
            "Dpkg::Use-Pty=0".into(),
            format!("Dpkg::Options::=--root={}", at("target")),
            // Scripts run with the root's name in DPKG_ROOT instead of within it,
            // so that it need not hold a shell.
            "Dpkg::Options::=--force-script-chrootless".into(),
        ]
        .into_iter()
        .chain(further.iter().cloned())
        .flat_map(|option| ["-o".to_owned(), option])
        .collect();
        Self { root, options }
    }

    fn behind(
        folder: &Path,
        name: &str,
        publisher: &Publisher,
        up: &Upstream,
        cache: &Running,
    ) -> Self {
        let proxy = format!("Acquire::http::Proxy=http://{}", cache.address);
        Self::new(folder.join(name), publisher, &up.url("/r"), &[proxy])
    }

    async fn apt(&self, args: &[&str]) -> std::process::Output {
        // Options of the command line come after the machine's own settings are
        // read, this file before them.
        let alone = "Dir::Etc::Main \"-\";\nDir::Etc::Parts \"-\";\n";
        fs::write(self.root.join("apt.conf"), alone).unwrap();
        let mut all = self.options.clone();
        all.extend(args.iter().map(|a| (*a).to_owned()));
        off("apt-get", &all, &self.root).await
    }

    /// Updates and installs, and returns what the package's own script made of it.
    async fn install(&self) -> String {
        for args in [&["update"][..], &["install", "-y", "--reinstall", "hello-cache"]] {
            let out = self.apt(args).await;
            assert!(out.status.success(), "apt-get {args:?}: {}", said(&out));
        }
        let admin = text(&self.root.join("target/var/lib/dpkg"));
        let query = ["--admindir", &admin, "-W", "-f", "${Status}", "hello-cache"];
        assert_eq!(must("dpkg-query", &query, &self.root), b"install ok installed");
        // The next installation shall not find the file here already.
        drop(fs::remove_file(self.root.join("archives/hello-cache_1_all.deb")));
        fs::read_to_string(self.root.join("target/opt/configured")).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_installs_through_the_cache_after_a_republish_and_with_the_upstream_gone() {
    if lacking() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let up = Upstream::start().await;
    let publisher = Publisher::new(folder.path());
    publisher.publish(&up, "one");
    let cache = Running::start(folder.path(), &up.authority, |_| {}).await;
    let first = Machine::behind(folder.path(), "first", &publisher, &up, &cache);
    assert_eq!(first.install().await, "one");
    let out = first.apt(&["download", "hello-cache"]).await;
    assert!(out.status.success(), "{}", said(&out));

    // The same name and version with other content.
    publisher.publish(&up, "two, and longer");
    assert_eq!(first.install().await, "two, and longer");

    up.vanish();
    cache.stop().await;
    let cache = Running::start(folder.path(), &up.authority, |_| {}).await;
    let second = Machine::behind(folder.path(), "second", &publisher, &up, &cache);
    assert_eq!(second.install().await, "two, and longer");
    // The upstream was asked for each content once, by the first machine.
    assert_eq!(up.gets("/r/pool/hello-cache_1_all.deb"), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_installs_from_the_cache_as_a_mirror_and_by_a_remap() {
    if lacking() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let up = Upstream::start().await;
    let publisher = Publisher::new(folder.path());
    publisher.publish(&up, "one");
    let cache = Running::start(folder.path(), &up.authority, |_| {}).await;
    for (name, path) in [("mirror", up.authority.as_str()), ("remap", "remap/up")] {
        let base = format!("http://{}/{path}/r", cache.address);
        let machine = Machine::new(folder.path().join(name), &publisher, &base, &[]);
        assert_eq!(machine.install().await, "one", "{name}");
    }
}
