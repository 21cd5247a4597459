//! Names, the line, and the installer on a computer of this kind.

use super::*;
use std::process::Command;

#[test]
fn names_of_packages_say_what_they_are_for() {
    let of = |name| named(name).map(|n| (n.program, n.form.word(), n.machine));
    assert_eq!(of("unifyit-agent_0.1.0_amd64.deb"), Some(("agent", "deb", "x86_64")));
    assert_eq!(of("unifyit-relay-0.1.0-1.aarch64.rpm"), Some(("relay", "rpm", "aarch64")));
    assert_eq!(of("unifyit-agent-x86_64"), Some(("agent", "raw", "x86_64")));
    for other in ["unifyit-cloud_0.1.0_amd64.deb", "unifyit-agent_0.1.0_i386.deb", "x_amd64.deb"] {
        assert_eq!(of(other), None, "{other}");
    }
}

#[test]
fn what_is_published_is_listed_by_hash_and_pinned_by_the_script() {
    let folder = tempfile::tempdir().unwrap();
    let (from, state) = (folder.path().join("from"), folder.path().join("state"));
    fs::create_dir_all(&from).unwrap();
    assert!(Downloads::publish(&from, &state).unwrap().script().is_none());
    fs::write(from.join("unifyit-agent-x86_64"), b"the program").unwrap();
    fs::write(from.join("README"), b"no package").unwrap();
    let downloads = Downloads::publish(&from, &state).unwrap();
    let script = downloads.script().unwrap();
    let text = fs::read_to_string(downloads.path(&script.blake3.parse().unwrap())).unwrap();
    let agent = pin_of(b"the program");
    let row = format!("agent raw x86_64 {} {}", agent.sha256, agent.blake3);
    assert!(text.lines().any(|line| line == row), "{text}");
    for place in ["@FILES@", "@UNIT-AGENT@", "@UNIT-RELAY@", "@OPENRC@", "@SYSV@"] {
        assert!(!text.contains(place), "{place} was not filled");
    }
    assert_eq!(pin_of(text.as_bytes()), *script);
    assert_eq!(fs::read(downloads.path(&blake3::hash(b"the program"))).unwrap(), b"the program");
    // One that is gone is not handed out after the next start.
    fs::remove_file(from.join("unifyit-agent-x86_64")).unwrap();
    let downloads = Downloads::publish(&from, &state).unwrap();
    assert!(!downloads.path(&blake3::hash(b"the program")).exists());
}

/// Runs a line with programs in place of curl and sudo.
fn run_line(line: &str, curl: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [("curl", curl), ("wget", "exit 1"), ("sudo", "exec \"$@\"")] {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        Command::new("chmod").arg("755").arg(&path).status().unwrap();
    }
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let out = Command::new("sh").args(["-c", line]).env("PATH", path).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(out.stdout), text(out.stderr))
}

#[test]
fn the_line_runs_the_script_that_it_names_and_no_other() {
    let script = "echo \"ran $*\"";
    let pin = pin_of(format!("{script}\n").as_bytes());
    let bases =
        ["https://away.example/install".to_owned(), "https://[::1]:8443/install".to_owned()];
    let line = line(&pin, "agent", &bases, "UIT1.ab-c_d");
    // The file is the fifth word from the end of `curl … -o FILE URL`.
    let serve = |body: &str| {
        format!(
            "for a; do url=$a; [ \"$last\" = -o ] && file=$a; last=$a; done\n\
             case $url in *away*) echo damaged >\"$file\"; exit ;; esac\necho '{body}' >\"$file\""
        )
    };
    let (out, err) = run_line(&line, &serve(script));
    assert_eq!(out, "ran agent --from https://[::1]:8443/install --token UIT1.ab-c_d\n", "{err}");
    let (out, err) = run_line(&line, &serve("echo something else"));
    assert_eq!(out, "");
    assert!(err.contains("could not be fetched from https://away.example/install"), "{err}");
}

#[test]
fn a_line_cannot_be_broken_out_of() {
    let pin = pin_of(b"x");
    let line = line(&pin, "relay", &["https://a';touch x;'/install".to_owned()], "t");
    let (out, _) = run_line(&line.replace("touch x", "echo broken"), "exit 1");
    assert!(!out.contains("broken"), "{line}");
}

#[test]
fn the_installer_says_what_is_wrong_and_installs_nothing() {
    let agent = Named { program: "agent", form: Form::Raw, machine: "riscv64" };
    let text = script::render(&[(agent, pin_of(b"x"))]);
    let run = |args: &[&str]| {
        let mut child = Command::new("sh");
        child.arg("-c").arg(&text).arg("install.sh").args(args);
        let out = child.output().unwrap();
        assert!(!out.status.success());
        String::from_utf8(out.stderr).unwrap()
    };
    assert!(run(&[]).contains("say what to install"));
    assert!(run(&["agent", "--from", "x"]).contains("Copy the whole line"));
    // Neither as root (no such computer) nor as anybody else does it go on.
    let said = run(&["agent", "--from", "http://127.0.0.1:1", "--token", "t"]);
    assert!(said.contains("There is one for: riscv64") || said.contains("needs root"), "{said}");
}
