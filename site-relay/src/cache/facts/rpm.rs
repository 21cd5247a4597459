//! rpm's indexes: `repomd.xml` names the metadata files, `primary.xml` the
//! packages. Both are relative to the folder above `repodata/`.

use super::{MAX_INDEX, MAX_LINE, Sink, folder, tell};
use crate::cache::content::unhex;
use quick_xml::{
    Reader, XmlVersion,
    events::{BytesStart, Event},
};
use std::io::{self, BufRead, Read};

/// Most elements within each other; rpm's have four.
const MAX_DEPTH: usize = 64;

/// Collects `checksum type="sha256"`, `size` and `location href` of each `item`:
/// `data` of a `repomd.xml`, `package` of a `primary.xml`.
///
/// # Errors
/// A sentence when it is not XML.
pub fn items(
    path: &str,
    body: impl BufRead,
    item: &str,
    sink: &mut Sink<'_>,
) -> Result<(), String> {
    let root = folder(path).strip_suffix("repodata/").unwrap_or_else(|| folder(path));
    let mut reader = Reader::from_reader(Bounded { body: body.take(MAX_INDEX), left: 0 });
    let mut found = Found::default();
    let mut in_checksum = false;
    let (mut buffer, mut depth) = (Vec::new(), 0_usize);
    loop {
        buffer.clear();
        reader.get_mut().left = MAX_LINE as usize;
        let event = reader.read_event_into(&mut buffer);
        match &event {
            Ok(Event::Start(_)) => depth += 1,
            Ok(Event::End(_)) => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(format!("the index has more than {MAX_DEPTH} elements within each other"));
        }
        match event {
            Ok(Event::Start(tag) | Event::Empty(tag)) => match tag.local_name().as_ref() {
                name if name == item => found = Found::default(),
                "checksum" => in_checksum = attribute(&tag, "type").as_deref() == Some("sha256"),
                // With a base of its own it is no file of this repository.
                "location" => {
                    found.href =
                        attribute(&tag, "href").filter(|_| attribute(&tag, "xml:base").is_none());
                }
                // A package's length in `primary.xml`, an index's in `repomd.xml`.
                "size" => found.size = attribute(&tag, "package").and_then(|s| s.parse().ok()),
                _ => {}
            },
            Ok(Event::Text(text)) if in_checksum => {
                found.sha256 = unhex(text.trim());
            }
            Ok(Event::End(tag)) => match tag.local_name().as_ref() {
                "checksum" => in_checksum = false,
                name if name == item => found.take(root, sink)?,
                _ => {}
            },
            Ok(Event::Eof) => return Ok(()),
            Ok(_) => {}
            Err(e) => return Err(format!("the index is not readable XML: {e}")),
        }
    }
}

/// Fails when one element, text or comment is longer than an index's line may be:
/// the reader of XML holds each as a whole.
struct Bounded<R> {
    body: R,
    left: usize,
}

impl<R: BufRead> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let from = self.fill_buf()?;
        let length = from.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(from) {
            *to = *from;
        }
        self.consume(length);
        Ok(length)
    }
}

impl<R: BufRead> BufRead for Bounded<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        let left = self.left;
        let all = self.body.fill_buf()?;
        if left == 0 && !all.is_empty() {
            return Err(io::Error::other(format!("a part of it is longer than {MAX_LINE} bytes")));
        }
        Ok(all.get(..left).unwrap_or(all))
    }

    fn consume(&mut self, length: usize) {
        self.left = self.left.saturating_sub(length);
        self.body.consume(length);
    }
}

#[derive(Default)]
struct Found {
    sha256: Option<[u8; 32]>,
    href: Option<String>,
    size: Option<u64>,
}

impl Found {
    fn take(&mut self, root: &str, sink: &mut Sink<'_>) -> Result<(), String> {
        let (Some(sha256), Some(href)) = (self.sha256.take(), self.href.take()) else {
            return Ok(());
        };
        if href.starts_with('/') {
            return Ok(());
        }
        tell(root, &href, sha256, self.size.take(), sink)
    }
}

fn attribute(tag: &BytesStart<'_>, name: &str) -> Option<String> {
    let attribute = tag.try_get_attribute(name).ok()??;
    attribute.normalized_value(XmlVersion::Explicit1_0).ok().map(|value| value.into_owned())
}

#[cfg(test)]
mod tests {
    use crate::cache::facts::{Fact, IndexKind, tests::all, zchunk::tests::zchunk};

    const ONE: &str = "1111111111111111111111111111111111111111111111111111111111111111";

    #[test]
    fn repomd_and_primary_name_files_above_repodata() {
        let repomd_body = format!(
            r#"<repomd><data type="primary"><checksum type="sha256">{ONE}</checksum><open-checksum type="sha256">00</open-checksum><location href="repodata/{ONE}-primary.xml.gz"/></data></repomd>"#
        );
        let facts = all(IndexKind::RpmRepomd, "/r/repodata/repomd.xml", repomd_body.as_bytes());
        assert_eq!(facts.as_ref().map(Vec::len), Ok(1));
        assert_eq!(
            facts.ok().and_then(|f| f.first().map(|f| f.path.clone())),
            Some(format!("/r/repodata/{ONE}-primary.xml.gz"))
        );
        let primary_body = format!(
            r#"<metadata><package type="rpm"><checksum type="sha256" pkgid="YES">{ONE}</checksum><size package="7" installed="9"/><location href="a&amp;b^1.rpm"/></package><package><checksum type="sha256">{ONE}</checksum><location xml:base="http://elsewhere/" href="c.rpm"/></package></metadata>"#
        );
        let right = vec![Fact { path: "/r/a&b%5E1.rpm".into(), sha256: [0x11; 32], size: Some(7) }];
        let plain =
            all(IndexKind::RpmPrimary, "/r/repodata/x-primary.xml", primary_body.as_bytes());
        assert_eq!(plain, Ok(right.clone()));
        let (first, rest) = primary_body.as_bytes().split_at(60);
        let folded = zchunk(&[first, rest], b"");
        assert_eq!(all(IndexKind::RpmPrimary, "/r/repodata/x-primary.xml.zck", &folded), Ok(right));
    }

    #[test]
    fn an_index_that_is_one_endless_part_or_ever_deeper_is_given_up() {
        let of =
            |body: &str| all(IndexKind::RpmPrimary, "/r/repodata/primary.xml", body.as_bytes());
        let package = format!(
            r#"<package><checksum type="sha256">{ONE}</checksum><location href="a.rpm"/></package>"#
        );
        let many = format!("<metadata>{}</metadata>", package.repeat(20_000));
        assert!(many.len() > 2 * 1024 * 1024, "long as a whole is not long in a part");
        assert_eq!(of(&many).map(|facts| facts.len()), Ok(20_000));
        let long = "x".repeat(2 * 1024 * 1024);
        for part in [format!("<a b=\"{long}\"/>"), format!("<!--{long}-->"), long] {
            let told = of(&format!("<metadata>{part}</metadata>"));
            assert!(told.is_err_and(|e| e.contains("longer than")));
        }
        let deep = of(&"<a>".repeat(1000));
        assert!(deep.is_err_and(|e| e.contains("within each other")));
    }

    #[test]
    fn what_zchunks_own_program_wrote_is_read() {
        // By `zck -s '<package '` 1.2.3, also with `-D` and with `-u`.
        for sample in [
            &include_bytes!("samples/plain.zck")[..],
            include_bytes!("samples/dictionary.zck"),
            include_bytes!("samples/sums.zck"),
        ] {
            let facts = all(IndexKind::RpmPrimary, "/r/repodata/a-primary.xml.zck", sample);
            let facts = facts.unwrap_or_default();
            let told: Vec<_> = facts.iter().map(|f| (f.path.as_str(), f.size)).collect();
            let right =
                [("/r/p/p0.rpm", Some(0)), ("/r/p/p1.rpm", Some(1)), ("/r/p/p2.rpm", Some(2))];
            assert_eq!(told, right);
        }
    }
}
