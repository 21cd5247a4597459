//! `unifyit-cloud doctor`: what can be wrong, and how to mend it.
//!
//! It only looks (a probe file comes and goes in the state folder), so it runs
//! beside a running cloud. A finding that is ill makes the exit code 1.

mod database;
mod machine;
mod network;
#[cfg(test)]
mod tests;

use crate::config::Config;
use unifyit_protocol::doctor::Report;

/// Runs every check.
pub async fn examine(config: &Config) -> Report {
    let mut findings = vec![
        machine::state_folder(&config.state),
        machine::disk(&config.state),
        machine::master_key(config),
    ];
    findings.extend(database::examine(config).await);
    findings.extend(machine::certificate(config));
    // By TLS the port tells nothing to who does not trust its certificate; figures
    // and readiness are always in the clear.
    let answers = if config.speaks_tls() { config.admin_listen } else { config.listen };
    let running = network::alive(answers).await;
    findings.push(network::http_port(config.listen, running));
    findings.extend(network::redirect_port(config, running));
    findings.push(network::admin_port(config.admin_listen).await);
    let relays = config.libp2p_listen.iter();
    findings.extend(relays.map(|address| network::libp2p_port(address, running)));
    findings.push(network::public_url(config).await);
    Report { findings }
}
