//! The real `dnf` and `rpm` through the cache, against a repository made by
//! `createrepo_c`: republished, damaged and gone.

use crate::{
    Running,
    client::get,
    tools::{missing, must, off, said, text},
    upstream::{Behaviour, Upstream},
};
use std::{
    fs,
    path::{Path, PathBuf},
};

const RPM: &str = "/rpm/hello-cache-1-1.noarch.rpm";

fn lacking() -> bool {
    missing(&[
        ("dnf", &["--version"], "dnf"),
        ("rpmbuild", &["--version"], "rpm"),
        ("createrepo_c", &["--version"], "createrepo-c"),
    ])
}

/// Builds the package under the same name, version and release, and publishes it.
fn publish(folder: &Path, up: &Upstream, content: &str) {
    let (top, repo) = (folder.join("build"), folder.join("repo"));
    drop(fs::remove_dir_all(&repo));
    fs::create_dir_all(&top).unwrap();
    fs::create_dir_all(&repo).unwrap();
    let spec = top.join("hello.spec");
    let spec_text = format!(
        "Name: hello-cache\nVersion: 1\nRelease: 1\nSummary: test\nLicense: MIT\nBuildArch: noarch\n\
         %description\ntest\n%install\nmkdir -p %{{buildroot}}/opt\n\
         printf '%%s' '{content}' > %{{buildroot}}/opt/hello\n%files\n/opt/hello\n"
    );
    fs::write(&spec, spec_text).unwrap();
    let define = |name: &str, path: &Path| format!("{name} {}", path.display());
    let build = [
        "-bb",
        "--quiet",
        "--define",
        &define("_topdir", &top),
        "--define",
        &define("_rpmdir", &repo),
        "--define",
        "_build_name_fmt %%{NAME}-%%{VERSION}-%%{RELEASE}.%%{ARCH}.rpm",
        &text(&spec),
    ];
    must("rpmbuild", &build, folder);
    must("createrepo_c", &["--quiet", &text(&repo)], folder);
    for part in ["", "repodata"] {
        for file in fs::read_dir(repo.join(part)).unwrap().map(Result::unwrap) {
            if file.file_type().unwrap().is_file() {
                let path = file.path();
                let name = path.strip_prefix(&repo).unwrap().display();
                up.put(&format!("/rpm/{name}"), fs::read(&path).unwrap());
            }
        }
    }
}

/// One computer with a root of its own.
struct Machine {
    root: PathBuf,
    options: Vec<String>,
}

impl Machine {
    fn new(root: PathBuf, base: &str, proxy: Option<&Running>) -> Self {
        for part in ["target", "cache", "log", "persist", "none"] {
            fs::create_dir_all(root.join(part)).unwrap();
        }
        fs::write(root.join("dnf.conf"), "[main]\n").unwrap();
        let at = |part: &str| root.join(part).display().to_string();
        let set = |name: &str, value: &str| format!("--setopt={name}={value}");
        let mut options = vec![
            format!("--config={}", at("dnf.conf")),
            format!("--installroot={}", at("target")),
            format!("--repofrompath=hello,{base}"),
            "--repo=hello".into(),
            "--releasever=1".into(),
            "--nogpgcheck".into(),
            "--noplugins".into(),
            "-y".into(),
            set("reposdir", &at("none")),
            set("varsdir", &at("none")),
            set("cachedir", &at("cache")),
            set("logdir", &at("log")),
            set("persistdir", &at("persist")),
            set("retries", "1"),
            set("keepcache", "0"),
        ];
        if let Some(cache) = proxy {
            options.push(set("proxy", &format!("http://{}", cache.address)));
        }
        Self { root, options }
    }

    async fn dnf(&self, args: &[&str]) {
        let mut all = self.options.clone();
        all.extend(args.iter().map(|a| (*a).to_owned()));
        let out = off("dnf", &all, &self.root).await;
        assert!(out.status.success(), "dnf {args:?}: {}", said(&out));
    }

    fn installed(&self) -> String {
        let target = text(&self.root.join("target"));
        let query = ["--root", &target, "--query", "hello-cache"];
        assert_eq!(must("rpm", &query, &self.root), b"hello-cache-1-1.noarch\n");
        fs::read_to_string(self.root.join("target/opt/hello")).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dnf_installs_through_the_cache_after_a_republish_and_with_the_upstream_gone() {
    if lacking() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let up = Upstream::start().await;
    publish(folder.path(), &up, "one");
    let cache = Running::start(folder.path(), &up.authority, |_| {}).await;
    let first = Machine::new(folder.path().join("first"), &up.url("/rpm"), Some(&cache));
    first.dnf(&["install", "hello-cache"]).await;
    assert_eq!(first.installed(), "one");

    publish(folder.path(), &up, "two, and longer");
    first.dnf(&["--refresh", "reinstall", "hello-cache"]).await;
    assert_eq!(first.installed(), "two, and longer");
    assert_eq!(up.gets(RPM), 2);

    up.vanish();
    cache.stop().await;
    let cache = Running::start(folder.path(), &up.authority, |_| {}).await;
    let second = Machine::new(folder.path().join("second"), &up.url("/rpm"), Some(&cache));
    second.dnf(&["install", "hello-cache"]).await;
    assert_eq!(second.installed(), "two, and longer");
}

#[tokio::test(flavor = "multi_thread")]
async fn dnf_installs_by_a_remap_and_what_repomd_names_overrules_a_damaged_upstream() {
    if lacking() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let up = Upstream::start().await;
    publish(folder.path(), &up, "one");
    let cache = Running::start(folder.path(), &up.authority, |_| {}).await;
    let base = format!("http://{}/remap/up/rpm", cache.address);
    let machine = Machine::new(folder.path().join("first"), &base, None);
    machine.dnf(&["makecache"]).await;

    // The metadata is known; the package is not, and comes damaged.
    up.behave(Behaviour { flip: true, ..Behaviour::default() });
    let remap = format!("{base}/{}", RPM.trim_start_matches("/rpm/"));
    let wrong = get_directly(&remap).await;
    assert!(wrong.is_err() || wrong.is_ok_and(|got| got.0 == 502));
    up.behave(Behaviour::default());
    machine.dnf(&["install", "hello-cache"]).await;
    assert_eq!(machine.installed(), "one");
    // As a proxy it is another repository by name, of which nothing is known yet.
    assert_eq!(get(cache.address, &up.url(RPM), &[]).await.unwrap().status, 200);
}

async fn get_directly(url: &str) -> reqwest::Result<(u16, usize)> {
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let response = client.get(url).send().await?;
    Ok((response.status().as_u16(), response.bytes().await?.len()))
}
