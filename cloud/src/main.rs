//! Parses, builds, runs, drains.

use clap::Parser;
use unifyit_cloud::cli::Cli;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    // One cryptography provider for everything, before anything uses TLS.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    Cli::parse().run().await
}
