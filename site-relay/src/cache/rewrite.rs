//! Index pages whose links lead to other remaps: the links are made to lead
//! through this cache. What is stored stays as the upstream sent it.
//!
//! `PyPI`'s pages (PEP 503 and 691) and npm's documents name their files by whole
//! addresses, mostly of another host. A client that followed those would go past
//! the cache, or out to an internet that it cannot reach. Hashes and signatures
//! in the pages are not touched: the client still checks what it gets.

use super::{
    flight::Phase, index::Entry, policy::Resource, request::Method, respond::Answer, transfer,
};
use std::{collections::BTreeMap, io};

/// Longest page whose links are rewritten.
pub(super) const MAX_REWRITE: u64 = 64 * 1024 * 1024;

impl Answer<'_> {
    pub(super) async fn along_rewritten(
        &mut self,
        resource: &Resource,
        mut rx: tokio::sync::watch::Receiver<Phase>,
    ) -> io::Result<bool> {
        let over = rx.wait_for(Phase::is_over).await.map_err(io::Error::other)?.clone();
        let Phase::Kept(_, entry) = over else {
            return self.page(502, "The upstream broke off. Try again.").await;
        };
        let body = self.cache.contents.get(&entry.content);
        let page = tokio::task::spawn_blocking(move || body.map(|b| b.read_all()));
        match page.await.map_err(io::Error::other)? {
            Some(Ok(page)) if entry.size <= MAX_REWRITE => {
                self.rewritten(resource, &entry, &page, false).await
            }
            _ => self.page(502, "The repository's page is too large to be cached.").await,
        }
    }

    /// Whether the page's links lead to other remaps and must lead through here.
    pub(super) fn rewrites(&self, resource: &Resource, content_type: Option<&str>) -> bool {
        let kind = content_type.unwrap_or("").split(';').next().unwrap_or("").trim();
        (kind == "text/html"
            || kind == "application/json"
            || kind.ends_with("+json")
            || kind.ends_with("+html"))
            && self.cache.policy().remaps().contains_key(&resource.repository)
    }

    pub(super) async fn rewritten(
        &mut self,
        resource: &Resource,
        entry: &Entry,
        page: &[u8],
        stale: bool,
    ) -> io::Result<bool> {
        let host = self.request.host.as_deref().unwrap_or("");
        let safe = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b));
        let mut text = String::from_utf8_lossy(page).into_owned();
        if safe && !host.is_empty() {
            text = lead_through(&text, &resource.repository, host, self.cache.policy().remaps());
        }
        // This page is another than the upstream's, so its validators are its own.
        let tag = blake3::hash(text.as_bytes()).to_hex();
        let entry = Entry {
            size: text.len() as u64,
            etag: Some(format!("\"{}\"", tag.get(..32).unwrap_or(&tag))),
            last_modified: None,
            ..entry.clone()
        };
        if self.not_modified(&entry) {
            return self.head(304, &entry, None, stale).await;
        }
        let keep = self.head(200, &entry, Some((0, entry.size)), stale).await?;
        if self.request.method == Method::Get {
            transfer::write(self.stream, text.as_bytes()).await?;
            self.served(resource, entry.size);
        }
        Ok(keep)
    }
}

/// Makes links to what the site remaps lead to `host`, which is this cache as the
/// client calls it.
fn lead_through(page: &str, own: &str, host: &str, remaps: &BTreeMap<String, String>) -> String {
    let mut bases: Vec<_> = remaps.iter().collect();
    // Of two addresses of which one continues the other, the longer is meant.
    bases.sort_by_key(|(_, base)| std::cmp::Reverse(base.len()));
    let mut page = page.to_owned();
    for (name, base) in &bases {
        let here = format!("http://{host}/remap/{name}/");
        page = page.replace(&format!("{base}/"), &here);
        // JSON may write a slash as `\/`.
        let escaped = |text: &str| text.replace('/', "\\/");
        page = page.replace(&escaped(&format!("{base}/")), &escaped(&here));
    }
    // Links from the root of the upstream's host: this cache's root is not that.
    let Some(base) = remaps.get(own) else { return page };
    let path = base.split_once("://").and_then(|(_, rest)| rest.find('/').map(|at| &rest[at..]));
    let root = format!("{}/", path.unwrap_or(""));
    for quoted in
        ["href=\"", "href='", "\"url\":\"", "\"url\": \"", "\"tarball\":\"", "\"tarball\": \""]
    {
        page = from_root(&page, quoted, &root, &format!("http://{host}/remap/{own}/"));
    }
    page
}

/// Replaces `before` + `root` by `before` + `here`, but not where another slash
/// makes it the name of a host.
fn from_root(page: &str, before: &str, root: &str, here: &str) -> String {
    let sought = format!("{before}{root}");
    let mut out = String::with_capacity(page.len());
    let mut rest = page;
    while let Some(at) = rest.find(&sought) {
        let (head, tail) = rest.split_at(at);
        let tail = tail.get(sought.len()..).unwrap_or("");
        out.push_str(head);
        out.push_str(before);
        out.push_str(if tail.starts_with('/') { root } else { here });
        rest = tail;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn through(page: &str, own: &str) -> String {
        let remaps = [
            ("pypi", "https://pypi.org"),
            ("files", "https://files.pythonhosted.org"),
            ("corp", "https://nexus.corp/repository/npm"),
            ("corp-old", "https://nexus.corp/repository"),
        ];
        let remaps = remaps.iter().map(|(n, b)| ((*n).to_owned(), (*b).to_owned())).collect();
        lead_through(page, own, "relay:3142", &remaps)
    }

    #[test]
    fn links_to_what_is_remapped_lead_through_the_cache_and_others_stay() {
        let page = r#"<a href="https://files.pythonhosted.org/p/a.whl#sha256=1">a</a><a href="https://elsewhere.org/b">b</a>"#;
        assert_eq!(
            through(page, "pypi"),
            r#"<a href="http://relay:3142/remap/files/p/a.whl#sha256=1">a</a><a href="https://elsewhere.org/b">b</a>"#
        );
        let json = r#"{"tarball":"https:\/\/nexus.corp\/repository\/npm\/a.tgz"}"#;
        assert_eq!(
            through(json, "corp"),
            r#"{"tarball":"http:\/\/relay:3142\/remap\/corp\/a.tgz"}"#
        );
    }

    #[test]
    fn links_from_the_root_lead_to_the_remap_they_were_found_in() {
        let page = r#"<a href="/packages/a.whl"><a href="//cdn.org/b"><a href="c.whl">"#;
        assert_eq!(
            through(page, "pypi"),
            r#"<a href="http://relay:3142/remap/pypi/packages/a.whl"><a href="//cdn.org/b"><a href="c.whl">"#
        );
        let json = r#"{"url": "/repository/npm/a.tgz", "other": {"url": "/x"}}"#;
        assert_eq!(
            through(json, "corp"),
            r#"{"url": "http://relay:3142/remap/corp/a.tgz", "other": {"url": "/x"}}"#
        );
    }
}
