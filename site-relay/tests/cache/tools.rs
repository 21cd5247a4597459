//! The distribution's own programs, run as a computer at the site would.

use std::{
    path::Path,
    process::{Command, Output},
};

/// Whether a program is missing here; then says so, and which package has it.
/// `make test` installs them first, so that only another distribution skips.
pub fn missing(needed: &[(&str, &[&str], &str)]) -> bool {
    let mut any = false;
    for (program, probe, package) in needed {
        let there = Command::new(program).args(*probe).output().is_ok_and(|o| o.status.success());
        if !there {
            println!(
                "SKIPPED: {program} does not run here: install the package {package} (make install-deps)"
            );
            any = true;
        }
    }
    any
}

/// Runs a program as root, or as what looks like root to it, with nothing of this
/// process's environment that could lead it past the cache.
pub fn run(program: &str, args: &[&str], home: &Path) -> Output {
    let id = Command::new("id").arg("-u").output().unwrap();
    let mut command = if id.stdout.starts_with(b"0\n") {
        Command::new(program)
    } else {
        let mut command = Command::new("unshare");
        command.args(["--map-root-user", program]);
        command
    };
    let alone = home.join("apt.conf");
    let config = alone.exists().then_some(("APT_CONFIG", alone));
    command
        .args(args)
        .env_clear()
        .envs(config)
        .env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default()))
        .env("HOME", home)
        .env("GNUPGHOME", home)
        .env("LC_ALL", "C.UTF-8")
        .env("DEBIAN_FRONTEND", "noninteractive")
        .current_dir(home)
        .output()
        .unwrap_or_else(|e| panic!("{program} cannot be started ({e}): run `make install-deps`"))
}

/// As [`run`], for what has to succeed. Returns what it printed.
pub fn must(program: &str, args: &[&str], home: &Path) -> Vec<u8> {
    let out = run(program, args, home);
    assert!(out.status.success(), "{program} {args:?}: {}", said(&out));
    out.stdout
}

/// What a program printed, for a failure's message.
pub fn said(out: &Output) -> String {
    let text = [&out.stdout[..], &out.stderr[..]].concat();
    let text = String::from_utf8_lossy(&text);
    text.chars().rev().take(3000).collect::<String>().chars().rev().collect()
}

/// Runs a program off the async workers, because the cache runs on them.
pub async fn off(program: &str, args: &[impl AsRef<str>], home: &Path) -> Output {
    let (program, home) = (program.to_owned(), home.to_owned());
    let args: Vec<String> = args.iter().map(|a| a.as_ref().to_owned()).collect();
    tokio::task::spawn_blocking(move || {
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        run(&program, &args, &home)
    })
    .await
    .unwrap()
}

/// A path as a command line wants it.
pub fn text(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}
