//! Makes sure that there is a console to embed: without a web build, a page
//! that says how to make one.

use std::{fs, io, path::Path};

const PLACEHOLDER: &str = "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
<title>UnifyIT</title><h1>UnifyIT cloud</h1>\
<p>The console is not in this build. Run <code>make web</code> and build again. \
The API is at <a href=\"/api/docs\">/api/docs</a>.</p></html>\n";

fn main() -> io::Result<()> {
    let folder = Path::new(&std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default())
        .join("../web/dist/console");
    fs::create_dir_all(&folder)?;
    let page = folder.join("index.html");
    if !page.exists() {
        fs::write(&page, PLACEHOLDER)?;
    }
    println!("cargo::rerun-if-changed={}", folder.display());
    println!("cargo::rerun-if-changed=migrations");
    // Clones that share a target folder take each other's results for their own; this
    // tells them apart, so that none shows the console of another.
    println!("cargo::rerun-if-env-changed=UNIFYIT_CLONE");
    Ok(())
}
