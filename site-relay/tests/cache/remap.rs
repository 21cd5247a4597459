//! The real `pip` and `npm` through remaps of repositories that exist only over
//! HTTPS and name their files by whole addresses of another host.

use crate::{
    Running,
    client::exchange,
    tls,
    tools::{missing, must, off, said},
    upstream::{Pose, Upstream},
};
use aws_lc_rs::digest::{SHA256, SHA512, digest};
use base64::{Engine, prelude::BASE64_STANDARD};
use std::{fs, path::Path};
use unifyit_relay::cache::content::hex;

/// Index, files, and a cache that remaps both; the files only over HTTPS.
struct Site {
    folder: tempfile::TempDir,
    index: Upstream,
    files: Upstream,
    secure: tls::Front,
    cache: Running,
}

async fn site() -> Site {
    let folder = tempfile::tempdir().unwrap();
    let (index, files) = (Upstream::start().await, Upstream::start().await);
    let secure = tls::front(&files, folder.path()).await;
    let remaps = vec![
        format!("index=http://{}", index.authority),
        format!("files=https://{}", secure.authority),
    ];
    let ca = secure.ca.clone();
    let change = move |config: &mut unifyit_relay::cache::CacheConfig| {
        config.remaps = remaps;
        config.authorities = ca;
    };
    let cache = Running::start(folder.path(), &index.authority, change).await;
    Site { folder, index, files, secure, cache }
}

fn python_lacks_pip() -> bool {
    missing(&[("python3", &["-m", "pip", "--version"], "python3-pip")])
}

/// Makes a wheel as small as wheels get.
fn wheel(folder: &Path, name: &str) -> Vec<u8> {
    let path = folder.join(format!("{name}-1-py3-none-any.whl"));
    let make = "import sys, zipfile\nname, path = sys.argv[1:]\n\
        with zipfile.ZipFile(path, 'w') as z:\n    \
        z.writestr(f'{name}.py', 'x = 1\\n')\n    \
        z.writestr(f'{name}-1.dist-info/METADATA', f'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1\\n')\n    \
        z.writestr(f'{name}-1.dist-info/WHEEL', 'Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')\n    \
        z.writestr(f'{name}-1.dist-info/RECORD', '')\n";
    must("python3", &["-c", make, name, path.to_str().unwrap()], folder);
    fs::read(path).unwrap()
}

impl Site {
    /// Publishes a wheel with an index page, PEP 503 or PEP 691.
    fn publish_wheel(&self, name: &str, json: bool) -> (String, Vec<u8>) {
        let body = wheel(self.folder.path(), name);
        let file = format!("{name}-1-py3-none-any.whl");
        let path = format!("/packages/{file}");
        let url = format!("https://{}{path}", self.secure.authority);
        let sha256 = hex(digest(&SHA256, &body).as_ref());
        let page = format!("/simple/{name}/");
        if json {
            let text = serde_json::json!({
                "meta": {"api-version": "1.0"}, "name": name,
                "files": [{"filename": file, "url": url, "hashes": {"sha256": sha256}}],
            });
            self.index.put_as(&page, text.to_string(), "application/vnd.pypi.simple.v1+json");
        } else {
            let text = format!(
                "<!DOCTYPE html><html><body><a href=\"{url}#sha256={sha256}\">{file}</a></body></html>"
            );
            self.index.put_as(&page, text, "text/html");
        }
        self.files.put(&path, body.clone());
        (path, body)
    }

    async fn pip(&self, into: &str, name: &str) -> std::process::Output {
        self.pip_trusting("0.0.0.0", into, name).await
    }

    /// The relay's address is one that pip does not take for this machine's own, so
    /// that it insists on HTTPS unless it is told to trust the host.
    async fn pip_trusting(&self, host: &str, into: &str, name: &str) -> std::process::Output {
        let index = format!("http://0.0.0.0:{}/remap/index/simple", self.cache.address.port());
        let args = [
            "-m",
            "pip",
            "--isolated",
            "--disable-pip-version-check",
            "--no-cache-dir",
            "--retries",
            "0",
            "download",
            "--no-deps",
            "--trusted-host",
            host,
            "--index-url",
            &index,
            "--dest",
            into,
            name,
        ];
        off("python3", &args, self.folder.path()).await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pip_downloads_through_a_remap_what_html_and_json_indexes_name() {
    if python_lacks_pip() {
        return;
    }
    let site = site().await;
    for (name, json) in [("hellohtml", false), ("hellojson", true)] {
        let (path, body) = site.publish_wheel(name, json);
        for into in ["first", "second"] {
            let out = site.pip(into, name).await;
            assert!(out.status.success(), "{}", said(&out));
            let got =
                fs::read(site.folder.path().join(into).join(format!("{name}-1-py3-none-any.whl")));
            assert!(got.unwrap() == body);
        }
        // It came by the remap, once; nothing else leads to that upstream.
        assert_eq!(site.files.gets(&path), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pip_has_to_be_told_to_trust_the_relay() {
    if python_lacks_pip() {
        return;
    }
    let site = site().await;
    site.publish_wheel("hello", false);
    let out = site.pip_trusting("elsewhere", "first", "hello").await;
    assert!(!out.status.success() && said(&out).contains("--trusted-host"), "{}", said(&out));
    assert!(site.pip("second", "hello").await.status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn pip_refuses_through_a_remap_a_file_that_the_index_does_not_name() {
    if python_lacks_pip() {
        return;
    }
    let site = site().await;
    let (path, mut body) = site.publish_wheel("hello", false);
    let middle = body.len() / 2;
    body[middle] ^= 1;
    site.files.put(&path, body);
    let out = site.pip("first", "hello").await;
    assert!(!out.status.success());
    assert!(said(&out).contains("DO NOT MATCH THE HASHES"), "{}", said(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_packs_through_a_remap_what_its_metadata_names_by_whole_address() {
    if missing(&[("npm", &["--version"], "npm"), ("tar", &["--version"], "tar")]) {
        return;
    }
    let site = site().await;
    let folder = site.folder.path();
    fs::create_dir(folder.join("package")).unwrap();
    fs::write(folder.join("package/package.json"), r#"{"name":"hello-cache","version":"1.0.0"}"#)
        .unwrap();
    must("tar", &["-czf", "made.tgz", "package"], folder);
    let body = fs::read(folder.join("made.tgz")).unwrap();
    let path = "/hello-cache/-/hello-cache-1.0.0.tgz";
    let integrity =
        |body: &[u8]| format!("sha512-{}", BASE64_STANDARD.encode(digest(&SHA512, body)));
    let publish = |body: &[u8]| {
        let text = serde_json::json!({
            "name": "hello-cache", "dist-tags": {"latest": "1.0.0"},
            "versions": {"1.0.0": {"name": "hello-cache", "version": "1.0.0", "dist": {
                "tarball": format!("https://{}{path}", site.secure.authority),
                "integrity": integrity(body),
            }}},
        });
        site.index.put_as("/hello-cache", text.to_string(), "application/json");
    };
    publish(&body);
    site.files.put(path, body.clone());
    let pack = async |cache: &str| {
        let registry = format!("http://{}/remap/index/", site.cache.address);
        let args = [
            "pack",
            "hello-cache",
            "--registry",
            &registry,
            "--cache",
            cache,
            "--userconfig",
            "none",
            "--fetch-retries",
            "0",
            "--no-update-notifier",
            "--loglevel",
            "error",
        ];
        off("npm", &args, folder).await
    };
    for cache in ["first", "second"] {
        let out = pack(cache).await;
        assert!(out.status.success(), "{}", said(&out));
        assert!(fs::read(folder.join("hello-cache-1.0.0.tgz")).unwrap() == body);
    }
    assert_eq!(site.files.gets(path), 1);

    // Other metadata for the same bytes: npm must notice, so it did check.
    publish(b"other bytes");
    let out = pack("third").await;
    assert!(!out.status.success() && said(&out).contains("EINTEGRITY"), "{}", said(&out));
}

#[tokio::test(flavor = "multi_thread")]
async fn npm_installs_and_audits_through_a_remap() {
    if missing(&[("npm", &["--version"], "npm"), ("tar", &["--version"], "tar")]) {
        return;
    }
    let site = site().await;
    let folder = site.folder.path();
    fs::create_dir(folder.join("package")).unwrap();
    let about = r#"{"name":"hello-cache","version":"1.0.0"}"#;
    fs::write(folder.join("package/package.json"), about).unwrap();
    must("tar", &["-czf", "made.tgz", "package"], folder);
    let body = fs::read(folder.join("made.tgz")).unwrap();
    let path = "/hello-cache/-/hello-cache-1.0.0.tgz";
    let integrity = format!("sha512-{}", BASE64_STANDARD.encode(digest(&SHA512, &body)));
    let text = serde_json::json!({
        "name": "hello-cache", "dist-tags": {"latest": "1.0.0"},
        "versions": {"1.0.0": {"name": "hello-cache", "version": "1.0.0", "dist": {
            "tarball": format!("https://{}{path}", site.secure.authority), "integrity": integrity,
        }}},
    });
    site.index.put_as("/hello-cache", text.to_string(), "application/json");
    site.files.put(path, body);
    let bulk = "/-/npm/v1/security/advisories/bulk";
    let advice = r#"{"hello-cache":[{"id":7,"url":"https://example.org/7","title":"It says hello.","severity":"high","vulnerable_versions":"<2.0.0","cwe":[],"cvss":{"score":7,"vectorString":null}}]}"#;
    site.index.pose(
        bulk,
        Pose {
            status: 200,
            headers: "content-type: application/json\r\n".into(),
            body: advice.into(),
        },
    );
    let project = folder.join("project");
    fs::create_dir(&project).unwrap();
    fs::write(project.join("package.json"), r#"{"name":"project","version":"1.0.0"}"#).unwrap();
    fs::write(project.join(".npmrc"), "//127.0.0.1/:_authToken=secret\n").unwrap();
    let registry = format!("http://{}/remap/index/", site.cache.address);
    let npm = async |what: &[&str]| {
        let common = [
            "--registry",
            &registry,
            "--cache",
            "npm",
            "--fetch-retries",
            "0",
            "--no-update-notifier",
            "--userconfig",
            "none",
        ];
        off("npm", &[what, &common].concat(), &project).await
    };
    let out = npm(&["install", "hello-cache"]).await;
    assert!(out.status.success(), "{}", said(&out));
    assert!(project.join("node_modules/hello-cache/package.json").exists());
    assert!(said(&out).contains("1 high severity vulnerability"), "{}", said(&out));
    let out = npm(&["audit", "--json"]).await;
    assert!(said(&out).contains("It says hello."), "{}", said(&out));
    let posts = site.index.posts();
    assert!(posts.len() >= 2 && posts.iter().all(|(path, ..)| path == bulk));
    let lines = posts.iter().flat_map(|(_, lines, _)| lines);
    assert!(lines.clone().all(|line| !line.to_ascii_lowercase().starts_with("authorization")));

    // Nothing else with a body is passed on, and nothing that is too long.
    let post = async |target: &str, length: usize| {
        let lines =
            format!("POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{{}}");
        let answer = exchange(site.cache.address, &lines).await;
        String::from_utf8_lossy(&answer).split(' ').nth(1).unwrap().to_owned()
    };
    assert_eq!(post("/remap/index/-/npm/v1/security/advisories/bulk", 2).await, "200");
    assert_eq!(post("/remap/index/-/npm/v1/security/advisories/bulk", 5 << 20).await, "413");
    assert_eq!(post("/remap/index/-/npm/v1/security/advisories/../login", 2).await, "403");
    assert_eq!(post("/remap/index/hello-cache", 2).await, "405");
    assert_eq!(post(&site.index.url(bulk), 2).await, "405");
    assert_eq!(site.index.posts().len(), posts.len() + 1);
}
