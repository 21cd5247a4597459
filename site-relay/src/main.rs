//! `unifyit-relay`: the site relay.

use std::process::ExitCode;

fn main() -> ExitCode {
    unifyit_relay::cli::main(std::env::args_os())
}
