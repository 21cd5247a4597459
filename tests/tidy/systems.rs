//! What only one operating system has stays in that system's folder below the agent's
//! `platform`, and its libraries are asked for on that system alone.

use super::{assert_none, code, dependencies, sources};

/// What only one operating system has.
const MARKS: [&str; 10] = [
    "libc::",
    "nix::",
    "rustix::",
    "windows_sys::",
    "std::os::",
    "os::unix",
    "signal::unix",
    "\"/proc",
    "\"/sys",
    "target_os",
];
const LIBRARIES: [&str; 4] = ["nix", "rustix", "libc", "windows-sys"];
/// The alias, which chooses among the systems.
const ALIAS: &str = "agent/src/platform/mod.rs";

#[test]
fn the_agent_calls_the_system_only_in_its_platform_folder() {
    let mut offences = Vec::new();
    for (path, text) in sources("agent/src") {
        let of_a_system = ["linux/", "windows/"]
            .iter()
            .any(|system| path.starts_with(&format!("agent/src/platform/{system}")));
        if of_a_system {
            continue;
        }
        let product = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
        for (number, line) in code(product) {
            let chooses = path == ALIAS && line.contains("target_os");
            if !chooses && MARKS.iter().any(|mark| line.contains(mark)) {
                offences.push(format!("{path}:{}: {}", number + 1, line.trim()));
            }
        }
    }
    assert_none(&offences, "What one system has lives in platform/, in that system's folder.");
}

#[test]
fn the_agent_has_systems_libraries_for_their_own_targets_alone() {
    let everywhere = dependencies("agent", true);
    let offences: Vec<String> =
        everywhere.into_iter().filter(|d| LIBRARIES.contains(&d.as_str())).collect();
    assert_none(&offences, "agent/Cargo.toml asks for these on every system:");
}
