//! A package repository that publishes, republishes and names its files in an
//! index, as apt knows them; and a client that trusts only that index.

use super::{client, hex, proxy::Proxy, sha256, upstream::Upstream};
use bytes::Bytes;
use std::collections::BTreeMap;

const RELEASE: &str = "/debian/dists/stable/Release";
const PACKAGES: &str = "/debian/dists/stable/main/binary-amd64/Packages";

/// The repository and everything that it ever published.
#[derive(Debug)]
pub struct Repository {
    /// Where it is published.
    pub upstream: Upstream,
    /// Versions of each path, newest last.
    files: BTreeMap<String, Vec<Bytes>>,
}

/// What a client knows of the files: path to SHA-256.
pub type Index = BTreeMap<String, [u8; 32]>;

/// What became of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The bytes that the index names.
    Right,
    /// A whole answer of other bytes.
    Wrong(String),
    /// A fragment that is not the beginning of anything ever published.
    WrongFragment(String),
    /// A fragment: the client sees that it is one.
    Broken(String),
    /// An answer that says that there is no file now.
    Refused(u16),
}

impl Repository {
    /// An empty one.
    #[must_use]
    pub fn new(upstream: Upstream) -> Self {
        Self { upstream, files: BTreeMap::new() }
    }

    /// Publishes a file, without naming it in the index yet.
    pub fn put(&mut self, path: &str, body: Bytes) {
        self.upstream.put(path, body.clone());
        let versions = self.files.entry(path.to_owned()).or_default();
        versions.push(body);
        // What nobody can still have is no longer a legitimate beginning.
        let old = versions.len().saturating_sub(3);
        versions.drain(..old);
    }

    /// Notes content that the upstream publishes by itself, later.
    pub fn will_be(&mut self, path: &str, body: Bytes) {
        self.files.entry(path.to_owned()).or_default().push(body);
    }

    /// Takes a file out.
    pub fn remove(&mut self, path: &str) {
        self.files.remove(path);
        self.upstream.remove(path);
    }

    /// Paths of all files.
    #[must_use]
    pub fn paths(&self) -> Vec<String> {
        self.files.keys().cloned().collect()
    }

    /// Length of a file.
    #[must_use]
    pub fn size(&self, path: &str) -> usize {
        self.files.get(path).and_then(|v| v.last()).map_or(0, Bytes::len)
    }

    /// Names all files in the index, anew.
    pub fn index(&mut self) {
        use std::fmt::Write as _;
        let mut packages = String::new();
        for (path, versions) in &self.files {
            let Some(body) = versions.last() else { continue };
            let name = path.trim_start_matches("/debian/");
            // Writing to a string cannot fail.
            let _ = write!(
                packages,
                "Package: {}\nVersion: 1\nArchitecture: amd64\nFilename: {name}\nSize: {}\nSHA256: {}\n\n",
                name.replace(['/', '.'], "-"),
                body.len(),
                hex(&sha256(body)),
            );
        }
        let release = format!(
            "Origin: test\nSuite: stable\nComponents: main\nArchitectures: amd64\nSHA256:\n {} {} main/binary-amd64/Packages\n",
            hex(&sha256(packages.as_bytes())),
            packages.len(),
        );
        self.upstream.put(PACKAGES, packages.into());
        self.upstream.put(RELEASE, release.into());
    }

    /// What `apt-get update` does: the index, but only if all of it fits together.
    pub async fn update(&self, proxy: &Proxy) -> Result<Index, Verdict> {
        let release = text(proxy, RELEASE).await?;
        let packages = text(proxy, PACKAGES).await?;
        let named = release
            .lines()
            .find_map(|line| line.trim().strip_suffix(" main/binary-amd64/Packages"))
            .and_then(|line| line.split(' ').next());
        if named.is_none() {
            return Err(Verdict::Wrong("a Release that was never published".into()));
        }
        if named != Some(hex(&sha256(packages.as_bytes())).as_str()) {
            return Err(Verdict::Broken("Release and Packages do not fit together".into()));
        }
        let mut index = Index::new();
        let mut path = String::new();
        for line in packages.lines() {
            if let Some(name) = line.strip_prefix("Filename: ") {
                path = format!("/debian/{name}");
            } else if let Some(sum) = line.strip_prefix("SHA256: ") {
                index.insert(std::mem::take(&mut path), unhex(sum));
            }
        }
        Ok(index)
    }

    /// Judges an answer for a path, of which the client's index names `expected`.
    #[must_use]
    pub fn judge(
        &self,
        path: &str,
        expected: Option<&[u8; 32]>,
        got: anyhow::Result<client::Got>,
    ) -> Verdict {
        let got = match got {
            Ok(got) => got,
            Err(error) => return Verdict::Broken(format!("{error:#}")),
        };
        if got.status != 200 {
            return Verdict::Refused(got.status);
        }
        if got.whole {
            if Some(&sha256(&got.body)) == expected {
                return Verdict::Right;
            }
            let which = self.files.get(path).into_iter().flatten().rev();
            let which = which.enumerate().find(|(_, body)| ***body == *got.body);
            return Verdict::Wrong(match which {
                Some((0, _)) => {
                    format!("{path}: the newest version, which the index does not name yet")
                }
                Some((age, _)) => {
                    format!("{path}: the version {age} before the one that the index names")
                }
                None => format!("{path}: {} bytes that were never published", got.body.len()),
            });
        }
        let versions = self.files.get(path).into_iter().flatten();
        let begins = versions.clone().any(|body| body.starts_with(&got.body));
        if !begins {
            return Verdict::WrongFragment(format!("{path}: after {} bytes", got.body.len()));
        }
        Verdict::Broken(format!("{path}: broke off after {} bytes", got.body.len()))
    }
}

async fn text(proxy: &Proxy, path: &str) -> Result<String, Verdict> {
    // As apt asks for indexes.
    let fresh = [("Cache-Control", "max-age=0")];
    let got = client::get(proxy.address(), &proxy.target(path), &fresh)
        .await
        .map_err(|e| Verdict::Broken(format!("{e:#}")))?;
    match (got.status, got.whole) {
        (200, true) => Ok(String::from_utf8_lossy(&got.body).into_owned()),
        (200, false) => Err(Verdict::Broken(format!("{path} broke off"))),
        (status, _) => Err(Verdict::Refused(status)),
    }
}

fn unhex(text: &str) -> [u8; 32] {
    let mut out = [0; 32];
    for (n, byte) in out.iter_mut().enumerate() {
        *byte =
            text.get(2 * n..2 * n + 2).and_then(|t| u8::from_str_radix(t, 16).ok()).unwrap_or(0);
    }
    out
}
