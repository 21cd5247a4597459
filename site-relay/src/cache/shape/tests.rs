//! What a body looks like against what its name says.

use super::*;

const PORTAL: &[u8] = b"\n<!DOCTYPE html><html><title>Log in</title></html>";

fn judged(path: &str, start: &[u8], kind: Option<&str>) -> Verdict {
    let resource = Resource {
        repository: "r".into(),
        place: "https://r".into(),
        path: path.into(),
        url: String::new(),
    };
    judge(&resource, look(start, kind), start, false)
}

#[test]
fn a_page_is_neither_a_package_nor_an_index() {
    for path in [
        "/a_1_amd64.deb",
        "/a-1.whl",
        "/a-1.tgz",
        "/a-1.noarch.rpm",
        "/d/InRelease",
        "/d/Release.gpg",
        "/r/repodata/repomd.xml",
        "/d/Packages",
        "/d/Packages.xz",
        "/a.unknown",
        "/extra.db",
    ] {
        assert_eq!(judged(path, PORTAL, None), Verdict::Posing("a web page"), "{path}");
        let typed = judged(path, b"please log in", Some("text/html; charset=utf-8"));
        assert!(matches!(typed, Verdict::Posing(_)), "{path}");
    }
    for path in ["/simple/six/", "/simple/zope.interface", "/six", "/index.html", "/node-v1.2"] {
        assert_eq!(judged(path, PORTAL, None), Verdict::Fine, "{path}");
    }
}

#[test]
fn a_server_that_calls_everything_a_page_does_not_make_it_one() {
    let html = Some("text/html; charset=utf-8");
    for (path, start) in [
        ("/d/Release", &b"Origin: Vendor\nSuite: stable\nSHA256:\n"[..]),
        ("/d/Packages", b"Package: a\nVersion: 1\n"),
        ("/d/Packages", b"Package: a\nDescription: a\n b\n"),
        ("/d/InRelease", b"-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n"),
        ("/d/Release.gpg", b"-----BEGIN PGP SIGNATURE-----\n"),
        ("/r/repodata/repomd.xml", b"<?xml version=\"1.0\"?>\n<repomd xmlns=\"x\"/>"),
        ("/a.deb", b"!<arch>\n"),
    ] {
        assert_eq!(judged(path, start, html), Verdict::Fine, "{path}");
    }
    for start in [
        &b"Error: please log in"[..],
        b"Error: please log in\n<html>",
        b"<?xml version=\"1.0\"?><!DOCTYPE html PUBLIC><x/>",
        b"Error: log in\nplease",
    ] {
        assert_eq!(judged("/d/Release", start, html), Verdict::Posing("a web page"));
    }
}

#[test]
fn names_promise_marks_and_what_breaks_the_promise_is_not_kept() {
    for (path, start) in [
        ("/a.deb", &b"!<arch>\ndebian"[..]),
        ("/a.whl", b"PK\x03\x04"),
        ("/a.tar.gz", b"\x1f\x8b\x08"),
        ("/a.rpm", b"\xed\xab\xee\xdb\x03"),
        ("/a.deb", b"\x07\x08\x09 no mark that is known"),
        ("/d/InRelease", b"-----BEGIN PGP SIGNED MESSAGE-----"),
        ("/d/InRelease", b"Origin: Debian\n"),
        ("/d/Packages", b""),
        ("/r/repomd.xml", b"<?xml version=\"1.0\"?><repomd/>"),
        ("/six", b"{\"name\": 1}"),
        ("/file", b"text"),
    ] {
        assert_eq!(judged(path, start, None), Verdict::Fine, "{path}");
    }
    for (path, start) in [
        ("/a.deb", &b"busy, come again"[..]),
        ("/a.whl", b""),
        ("/a.tgz", b"{\"error\": 1}"),
        ("/a.rpm", b"PK\x03\x04"),
        ("/d/InRelease", b"busy"),
    ] {
        assert!(matches!(judged(path, start, None), Verdict::Doubtful(_)), "{path}");
    }
    assert!(matches!(judged("/d/InRelease", b"{}", None), Verdict::Posing(_)));
}

#[test]
fn what_is_here_is_replaced_by_its_kind_only() {
    let of = |start: &[u8]| look(start, None);
    let listing = b"<html><a href=\"a.whl#sha256=00\">";
    let mut tar = [0; ENOUGH];
    tar[TAR_AT..TAR_AT + 5].copy_from_slice(b"ustar");
    for (new, old) in [
        (&b"PK\x03\x04b"[..], &b"PK\x03\x04a"[..]),
        (b"{}", b"{\"a\":1}"),
        (b"-----BEGIN PGP SIGNED MESSAGE-----", b"Origin: x\n"),
        (b"text", b"\x01\x02"),
        (b"\x01", b"text"),
        (listing, PORTAL),
        (b"{}", PORTAL),
        (b"\x28\xb5\x2f\xfd", b"\x1f\x8b"),
        (&tar, b"\x1f\x8b"),
    ] {
        assert!(replaces(of(new), of(old)), "{new:?}");
    }
    for (new, old) in [
        (PORTAL, &b"PK\x03\x04a"[..]),
        (b"busy", b"PK\x03\x04a"),
        (b"\x1f\x8b", b"PK\x03\x04a"),
        (b"PK\x03\x04a", b"\x1f\x8b"),
        (PORTAL, b"{}"),
        (PORTAL, b"\x01\x02"),
        (PORTAL, b"text"),
        (b"", b"text"),
        (b"{}", b"text"),
        (PORTAL, listing),
    ] {
        assert!(!replaces(of(new), of(old)), "{new:?}");
    }
}
