//! Index pages whose links lead to other remaps: the links are made to lead
//! through this cache. What is stored stays as the upstream sent it.

use super::{
    flight::Phase, index::Entry, policy::Resource, request::Method, respond::Answer, transfer,
};
use std::io;

/// Longest page whose links are rewritten.
pub(super) const MAX_REWRITE: u64 = 64 * 1024 * 1024;

impl Answer<'_> {
    pub(super) async fn along_rewritten(
        &mut self,
        mut rx: tokio::sync::watch::Receiver<Phase>,
    ) -> io::Result<bool> {
        let over = rx.wait_for(Phase::is_over).await.map_err(io::Error::other)?.clone();
        let Phase::Kept(_, entry) = over else {
            return self.page(502, "The upstream broke off. Try again.").await;
        };
        let body = self.cache.contents.get(&entry.content);
        let page = tokio::task::spawn_blocking(move || body.map(|b| b.read_all()));
        match page.await.map_err(io::Error::other)? {
            Some(Ok(page)) if entry.size <= MAX_REWRITE => self.rewritten(&entry, &page).await,
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

    pub(super) async fn rewritten(&mut self, entry: &Entry, page: &[u8]) -> io::Result<bool> {
        let host = self.request.host.as_deref().unwrap_or("");
        let safe = host.bytes().all(|b| b.is_ascii_alphanumeric() || b".:-[]".contains(&b));
        let mut text = String::from_utf8_lossy(page).into_owned();
        if safe && !host.is_empty() {
            for (name, base) in self.cache.policy().remaps() {
                text = text.replace(&format!("{base}/"), &format!("http://{host}/remap/{name}/"));
            }
        }
        let mut entry = entry.clone();
        entry.size = text.len() as u64;
        if self.not_modified(&entry) {
            return self.head(304, &entry, None, false).await;
        }
        let keep = self.head(200, &entry, Some((0, entry.size)), false).await?;
        if self.request.method == Method::Get {
            transfer::write(self.stream, text.as_bytes()).await?;
        }
        Ok(keep)
    }
}
