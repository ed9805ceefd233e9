//! `top`: a running node in this terminal.

use std::net::SocketAddr;

use clap::Args;
use net::settings::parse_address_like;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps top                     the node of this machine\n  bitcraps top 127.0.0.1:7481      another one, by `monitoring.listen` of its configuration\n\nUp, Down, PageUp and PageDown show what has no room; q ends it."
)]
pub struct TopArgs {
    /// Where the node serves its dashboard.
    #[arg(default_value = "127.0.0.1:7480", value_parser = parse_dashboard)]
    address: SocketAddr,
}

/// The address of a dashboard, also as `node` prints it: a URL for a browser.
fn parse_dashboard(text: &str) -> Result<SocketAddr, String> {
    let address = text.strip_prefix("http://").unwrap_or(text);
    parse_address_like(address.strip_suffix('/').unwrap_or(address), "127.0.0.1:7480")
}

/// Runs the command.
pub fn run(args: &TopArgs) -> anyhow::Result<()> {
    Ok(operate::top::run(args.address)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dashboard_is_named_as_the_node_prints_it_or_by_its_address() {
        let here = Ok(SocketAddr::from(([127, 0, 0, 1], 7_481)));
        for text in ["127.0.0.1:7481", "http://127.0.0.1:7481/", "http://127.0.0.1:7481"] {
            assert_eq!(parse_dashboard(text), here, "{text}");
        }
        assert_eq!(
            parse_dashboard("http://localhost/"),
            Err("`localhost` is no address such as 127.0.0.1:7480".into())
        );
    }
}
