//! `unifyit-agent`: parses the command line, runs it, says how it ended.

use std::process::ExitCode;

fn main() -> ExitCode {
    unifyit_agent::enroll::tls::install_provider();
    unifyit_agent::cli::main()
}
