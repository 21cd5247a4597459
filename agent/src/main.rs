//! `unifyit-agent`: parses the command line, runs it, says how it ended.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Somebody waits for a keeper, which has nothing else to read and speaks to no relay.
    if let Some(code) = unifyit_agent::cli::keep() {
        return code;
    }
    unifyit_agent::enroll::tls::install_provider();
    unifyit_agent::cli::main()
}
