//! `top`: a running node in this terminal.

use std::net::SocketAddr;

use clap::Args;
use net::settings::parse_address;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps top                     the node of this machine\n  bitcraps top 127.0.0.1:7481      another one, by `monitoring.listen` of its configuration\n\nq ends it."
)]
pub struct TopArgs {
    /// Where the node serves its dashboard.
    #[arg(default_value = "127.0.0.1:7480", value_parser = parse_address)]
    address: SocketAddr,
}

/// Runs the command.
pub fn run(args: &TopArgs) -> anyhow::Result<()> {
    Ok(operate::top::run(args.address)?)
}
