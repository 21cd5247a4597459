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
    // Another release under the same name, as an upgrade of the package puts there,
    // changes nothing of what is handed out, and both are after the next start.
    fs::write(from.join("unifyit-agent-x86_64"), b"another one").unwrap();
    let path = |text: &[u8]| downloads.path(&blake3::hash(text));
    assert_eq!(fs::read(path(b"the program")).unwrap(), b"the program");
    for _starts in 0..2 {
        let newer = Downloads::publish(&from, &state).unwrap();
        assert_ne!(newer.script().unwrap(), script);
        assert_eq!(fs::read(path(b"another one")).unwrap(), b"another one");
        assert_eq!(fs::read(path(b"the program")).unwrap(), b"the program");
        assert_eq!(fs::read(path(text.as_bytes())).unwrap(), text.as_bytes());
    }
    // The release before that one is handed out no more.
    fs::write(from.join("unifyit-agent-x86_64"), b"the third").unwrap();
    Downloads::publish(&from, &state).unwrap();
    assert!(path(b"another one").exists() && path(b"the third").exists());
    assert!(!path(b"the program").exists() && !path(text.as_bytes()).exists());
}

/// Runs a line with programs in place of curl and sudo, as somebody who is not
/// root, in a shell that has `aliases`.
fn run_line(line: &str, curl: &str, shell: &str) -> (String, String) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("curl", curl),
        ("wget", "exit 1"),
        ("id", "echo 1000"),
        ("sudo", "echo \"sudo: $*\" | tr '\\n' ' '; echo; exec env -u https_proxy \"$@\""),
    ] {
        let path = folder.path().join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        Command::new("chmod").arg("755").arg(&path).status().unwrap();
    }
    // Neither does the helper of apt that this machine may have ask anybody.
    let line = line.replace("/usr/lib/apt/apt-helper", "false");
    let path = format!("{}:/usr/bin:/bin", folder.path().display());
    let (program, before) = shell.split_once(' ').unwrap_or((shell, ""));
    let out = Command::new(program)
        .args(["-c", &format!("{before}\n{line}\n")])
        .env("PATH", path)
        .env("https_proxy", "http://proxy.example:3128")
        .env("ASIDE", folder.path())
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (text(out.stdout), text(out.stderr))
}

/// A curl that writes `body` to the file that it is given, and notes how it was
/// called; what it is asked of `away.example` arrives damaged.
fn curl(body: &str) -> String {
    // The file is what follows `-o`, the address the last word.
    format!(
        "for a; do url=$a; [ \"$last\" = -o ] && file=$a; last=$a; done\n\
         echo \"$# ${{https_proxy-none}} $url\" >>\"$ASIDE/asked\"\n\
         case $url in *away*) echo damaged >\"$file\"; exit ;; esac\necho '{body}' >\"$file\""
    )
}

#[test]
fn the_line_runs_the_script_that_it_names_and_no_other() {
    let script = "read -r token; echo \"ran $* $token\"; cat \"$ASIDE/asked\"";
    let pin = pin_of(format!("{script}\n").as_bytes());
    let bases =
        ["https://away.example/install".to_owned(), "https://[::1]:8443/install".to_owned()];
    let line = line(&pin, "agent", &bases, "UIT1.ab-c_d");
    // Aliases of sudo, which many have so that aliases work after it.
    for shell in ["sh", "bash", "bash shopt -s expand_aliases; alias sudo='sudo '"] {
        let (out, err) = run_line(&line, &curl(script), shell);
        let said: Vec<&str> = out.lines().collect();
        assert!(said[0].starts_with("sudo: sh /tmp/"), "{shell}: {out}{err}");
        let ran = "ran agent --from https://[::1]:8443/install --token - UIT1.ab-c_d";
        assert_eq!(said[1], ran, "{shell}: {err}");
        assert!(!said[0].contains("UIT1"), "the token is no argument: {out}");
        // Past the proxy of the person's shell: a relay is on the LAN.
        assert_eq!(said[3], format!("6 none https://[::1]:8443/install/{}", pin.blake3));
    }
    let (out, err) = run_line(&line, &curl("echo something else"), "sh");
    assert_eq!(out, "");
    assert!(err.contains("could not be fetched from https://away.example/install"), "{err}");
}

#[test]
fn a_relays_line_goes_by_the_proxy_and_hands_it_on() {
    let script = "read -r token; read -r proxy; echo \"$token $proxy\"; cat \"$ASIDE/asked\"";
    let pin = pin_of(format!("{script}\n").as_bytes());
    let line = line(&pin, "relay", &["https://rmm.example/install".to_owned()], "UIT1.x");
    let (out, err) = run_line(&line, &curl(script), "sh");
    let said: Vec<&str> = out.lines().skip(1).collect();
    assert_eq!(said[0], "UIT1.x http://proxy.example:3128", "{err}");
    assert!(said[1].starts_with("6 http://proxy.example:3128 https://rmm.example/"), "{out}");
}

#[test]
fn a_line_cannot_be_broken_out_of() {
    let script = "echo \"from $3\"; cat \"$ASIDE/asked\"";
    let pin = pin_of(format!("{script}\n").as_bytes());
    for evil in [
        "https://a:1/a -o /tmp/zz https://a:1",
        "https://a';echo broken;'b",
        "https://a\";echo broken;\"b",
        "https://$(echo broken)`echo broken`$HOME",
        "https://*/../../*?[a-z]",
        "https://a\\'; echo broken #",
        "https://a\necho broken\n",
    ] {
        let line = line(&pin, "relay", &[evil.to_owned()], "t' $(echo broken) *");
        for shell in ["sh", "bash"] {
            let (out, err) = run_line(&line, &curl(script), shell);
            // It ran to its end, and curl was given one address: the whole text.
            let said = out.split_once('\n').unwrap_or_default().1;
            let asked = format!("6 http://proxy.example:3128 {evil}/{}\n", pin.blake3);
            assert_eq!(said, format!("from {evil}\n{asked}"), "{shell} {line}\n{err}");
            let (out, err) = run_line(&line, "exit 1", shell);
            assert_eq!(out, "", "{shell} {line}");
            assert!(err.contains("could not be fetched"), "{err}");
        }
    }
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
