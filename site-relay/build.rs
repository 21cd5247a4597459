//! Makes the folder of the local UI's pages when they have not been built, so
//! that the relay compiles without Node; it then says how to build them.

use std::{fs, io, path::Path};

const PAGE: &str = "<!doctype html><meta charset=\"utf-8\"><title>UnifyIT site</title><p>The pages are not built. Run <code>make web</code>, then build the relay again.</p>\n";

fn main() -> io::Result<()> {
    let folder = Path::new("../web/dist/site");
    println!("cargo::rerun-if-changed={}", folder.display());
    // Clones that share a target folder take each other's results for their own; this
    // tells them apart, so that none shows the pages of another.
    println!("cargo::rerun-if-env-changed=UNIFYIT_CLONE");
    fs::create_dir_all(folder)?;
    let page = folder.join("index.html");
    if !page.exists() {
        fs::write(page, PAGE)?;
    }
    Ok(())
}
