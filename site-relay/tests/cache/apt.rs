//! The real `apt-get` and `dpkg`, through the cache, against a signed repository
//! that is republished and then goes away.

use crate::{Running, upstream::Upstream};
use aws_lc_rs::digest::{SHA256, digest};
use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};
use unifyit_relay::cache::content::hex;

/// Runs a program of the distribution; its absence says what to install.
fn run(program: &str, args: &[&str], home: &Path) -> Output {
    Command::new(program)
        .args(args)
        .env("GNUPGHOME", home)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env_remove("http_proxy")
        .output()
        .unwrap_or_else(|e| panic!("{program} cannot be started ({e}): run `make install-deps`"))
}

fn must(program: &str, args: &[&str], home: &Path) -> Vec<u8> {
    let out = run(program, args, home);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{program} {args:?}: {said}");
    out.stdout
}

/// The signer and builder of a repository.
struct Publisher {
    folder: PathBuf,
}

impl Publisher {
    fn new(folder: &Path) -> Self {
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
    fn publish(&self, up: &Upstream, content: &str) {
        let root = self.folder.join("root");
        fs::create_dir_all(root.join("DEBIAN")).unwrap();
        fs::create_dir_all(root.join("opt")).unwrap();
        let control = "Package: hello-cache\nVersion: 1\nArchitecture: all\nMaintainer: T <t@example.com>\nDescription: test\n";
        fs::write(root.join("DEBIAN/control"), control).unwrap();
        fs::write(root.join("opt/hello"), content).unwrap();
        let deb = self.folder.join("hello.deb");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        must(
            "dpkg-deb",
            &["--build", "--root-owner-group", &text(&root), &text(&deb)],
            &self.folder,
        );
        let deb = fs::read(deb).unwrap();
        let sum = |bytes: &[u8]| hex(digest(&SHA256, bytes).as_ref());
        let packages = format!(
            "{control}Filename: pool/hello-cache_1_all.deb\nSize: {}\nSHA256: {}\n",
            deb.len(),
            sum(&deb)
        );
        let mut release = "Suite: stable\nCodename: stable\nComponents: main\nArchitectures: amd64 all\nDate: Thu, 01 Oct 2026 00:00:00 UTC\nSHA256:\n".to_owned();
        for arch in ["amd64", "all"] {
            let name = format!("main/binary-{arch}/Packages");
            release += &format!(" {} {} {name}\n", sum(packages.as_bytes()), packages.len());
            up.put(&format!("/r/dists/stable/{name}"), packages.as_bytes());
        }
        let plain = self.folder.join("Release");
        fs::write(&plain, release).unwrap();
        let signed =
            must("gpg", &["--batch", "--clearsign", "--output", "-", &text(&plain)], &self.folder);
        up.put("/r/dists/stable/InRelease", signed);
        up.put("/r/pool/hello-cache_1_all.deb", deb);
    }
}

/// One computer's package manager, in a scratch root of its own.
struct Machine {
    root: PathBuf,
    options: Vec<String>,
}

impl Machine {
    fn new(
        folder: &Path,
        name: &str,
        publisher: &Publisher,
        up: &Upstream,
        cache: &Running,
    ) -> Self {
        let root = folder.join(name);
        for part in
            ["lists/partial", "archives/partial", "etc", "dpkg/info", "dpkg/updates", "target"]
        {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        fs::write(root.join("dpkg/status"), "").unwrap();
        let source = format!(
            "deb [arch=amd64 signed-by={}] {} stable main\n",
            publisher.folder.join("key.asc").display(),
            up.url("/r")
        );
        fs::write(root.join("etc/sources.list"), source).unwrap();
        let at = |part: &str| root.join(part).display().to_string();
        let options = [
            format!("Dir::Etc::SourceList={}", at("etc/sources.list")),
            "Dir::Etc::SourceParts=-".into(),
            "Dir::Etc::Parts=-".into(),
            format!("Dir::State::Lists={}", at("lists")),
            format!("Dir::State::Status={}", at("dpkg/status")),
            format!("Dir::Cache={}", at("")),
            format!("Dir::Cache::Archives={}", at("archives")),
            "APT::Sandbox::User=root".into(),
            "APT::Architecture=amd64".into(),
            "Acquire::Languages=none".into(),
            "Acquire::Retries=0".into(),
            "Debug::NoLocking=1".into(),
            format!("Acquire::http::Proxy=http://{}", cache.address),
        ]
        .into_iter()
        .flat_map(|option| ["-o".to_owned(), option])
        .collect();
        Self { root, options }
    }

    /// Runs apt-get off the async workers, because the cache runs on them.
    async fn apt(&self, args: &[&str]) -> Output {
        let mut all = self.options.clone();
        all.extend(args.iter().map(|a| (*a).to_owned()));
        let home = self.root.clone();
        tokio::task::spawn_blocking(move || {
            let args: Vec<_> = all.iter().map(String::as_str).collect();
            run("apt-get", &args, &home)
        })
        .await
        .unwrap()
    }

    /// Updates, fetches the package as an install would, unpacks it into the
    /// scratch root, and returns what it brought.
    async fn install(&self) -> String {
        for args in [&["update"][..], &["install", "-y", "--download-only", "hello-cache"]] {
            let out = self.apt(args).await;
            let said = String::from_utf8_lossy(&out.stderr);
            assert!(out.status.success(), "apt-get {args:?}: {said}");
        }
        let deb = self.root.join("archives/hello-cache_1_all.deb");
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        must("dpkg-deb", &["-x", &text(&deb), &text(&self.root.join("target"))], &self.root);
        fs::remove_file(deb).unwrap();
        fs::read_to_string(self.root.join("target/opt/hello")).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn apt_installs_through_the_cache_after_a_republish_and_with_the_upstream_gone() {
    let folder = tempfile::tempdir().unwrap();
    let up = Upstream::start().await;
    let publisher = Publisher::new(folder.path());
    publisher.publish(&up, "one");
    let cache = Running::start(folder.path(), &up.authority, |_| {}).await;
    let first = Machine::new(folder.path(), "first", &publisher, &up, &cache);
    assert_eq!(first.install().await, "one");

    // The same name and version with other content.
    publisher.publish(&up, "two, and longer");
    assert_eq!(first.install().await, "two, and longer");

    up.vanish();
    cache.stop().await;
    let cache = Running::start(folder.path(), &up.authority, |_| {}).await;
    let second = Machine::new(folder.path(), "second", &publisher, &up, &cache);
    assert_eq!(second.install().await, "two, and longer");
    // The upstream was asked for each content once, by the first machine.
    assert_eq!(up.gets("/r/pool/hello-cache_1_all.deb"), 2);
}
