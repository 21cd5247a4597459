//! rpm's indexes: `repomd.xml` names the metadata files, `primary.xml` the
//! packages. Both are relative to the folder above `repodata/`.

use super::{Fact, MAX_FACTS, folder};
use crate::cache::content::unhex;
use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};

/// Facts of a `repomd.xml`: each `<data>` with its checksum and location.
///
/// # Errors
/// A sentence when it is not XML.
pub fn repomd(path: &str, body: &[u8]) -> Result<Vec<Fact>, String> {
    items(path, body, "data")
}

/// Facts of a `primary.xml`: each `<package>`.
///
/// # Errors
/// A sentence when it is not XML.
pub fn primary(path: &str, body: &[u8]) -> Result<Vec<Fact>, String> {
    items(path, body, "package")
}

/// Collects `checksum type="sha256"`, `size` and `location href` of each `item`.
fn items(path: &str, body: &[u8], item: &str) -> Result<Vec<Fact>, String> {
    let root = folder(path).strip_suffix("repodata/").unwrap_or_else(|| folder(path));
    let mut reader = Reader::from_reader(body);
    let mut facts = Vec::new();
    let mut found = Found::default();
    let mut in_checksum = false;
    let mut buffer = Vec::new();
    loop {
        buffer.clear();
        match reader.read_event_into(&mut buffer) {
            Ok(Event::Start(tag) | Event::Empty(tag)) => match tag.local_name().as_ref() {
                name if name == item => found = Found::default(),
                "checksum" => in_checksum = attribute(&tag, "type").as_deref() == Some("sha256"),
                "location" => found.href = attribute(&tag, "href"),
                "size" => found.size = attribute(&tag, "package").and_then(|s| s.parse().ok()),
                _ => {}
            },
            Ok(Event::Text(text)) if in_checksum => {
                found.sha256 = unhex(text.trim());
            }
            Ok(Event::End(tag)) => match tag.local_name().as_ref() {
                "checksum" => in_checksum = false,
                name if name == item => facts.extend(found.take(root)),
                _ => {}
            },
            Ok(Event::Eof) => return Ok(facts),
            Ok(_) => {}
            Err(e) => return Err(format!("the index is not readable XML: {e}")),
        }
        if facts.len() >= MAX_FACTS {
            return Ok(facts);
        }
    }
}

#[derive(Default)]
struct Found {
    sha256: Option<[u8; 32]>,
    href: Option<String>,
    size: Option<u64>,
}

impl Found {
    fn take(&mut self, root: &str) -> Option<Fact> {
        let (sha256, href) = (self.sha256.take()?, self.href.take()?);
        let climbs = href.starts_with('/') || href.split('/').any(|part| part == "..");
        (!climbs).then(|| Fact { path: format!("{root}{href}"), sha256, size: self.size.take() })
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    attribute.normalized_value(XmlVersion::Explicit1_0).ok().map(|value| value.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";

    #[test]
    fn repomd_and_primary_name_files_above_repodata() {
        let repomd_body = format!(
            r#"<repomd><data type="primary"><checksum type="sha256">{ONE}</checksum><open-checksum type="sha256">00</open-checksum><location href="repodata/{ONE}-primary.xml.gz"/></data></repomd>"#
        );
        let facts = repomd("/r/repodata/repomd.xml", repomd_body.as_bytes());
        assert_eq!(facts.as_ref().map(Vec::len), Ok(1));
        assert_eq!(
            facts.ok().and_then(|f| f.first().map(|f| f.path.clone())),
            Some(format!("/r/repodata/{ONE}-primary.xml.gz"))
        );
        let primary_body = format!(
            r#"<metadata><package type="rpm"><checksum type="sha256" pkgid="YES">{ONE}</checksum><size package="7" installed="9"/><location href="a&amp;b.rpm"/></package></metadata>"#
        );
        let facts = primary("/r/repodata/x-primary.xml", primary_body.as_bytes());
        assert_eq!(
            facts,
            Ok(vec![Fact { path: "/r/a&b.rpm".into(), sha256: [0x11; 32], size: Some(7) }])
        );
    }
}
