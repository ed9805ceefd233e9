//! `dev`: everything on this machine with no configuration, watched in a terminal.

pub mod args;
mod house;
mod status;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use engine::limits::DEV_GUESTS_MAX;
use engine::{Genesis, Hash, Height, hex};
use load::cluster;
use load::dev::{DevConfig, DevNode, next_session, open_seen};
use net::server::StartError;
use node::config::{AlertsConfig, CacheSection};
use node::open::SessionFound;
use node::totals::Totals;
use operate::monitor::Monitor;
use operate::reading::Sources;
use operate::watching::MonitorConfig;
use serde_json::json;
use storage::backend::FileBackend;
use storage::read_genesis;
use words::{Failure, counted, thousands};

use self::args::{DevArgs, Pace, WINDOW_REAL_MS};
use self::house::{Rest, dashboard_at, listen, listen_at, server_config};
use self::status::Status;
use super::bars::Opening;
use super::out::paragraph;
use super::past::past_of;
use super::phrases::{program, try_next, with_counts};
use super::signals::stop_signals;
use crate::allocator;

/// Milliseconds of a window that keeps simulated players busy.
const WINDOW_MAX_MS: u64 = 1_000;

/// Runs the command.
pub fn run(args: &DevArgs) -> anyhow::Result<()> {
    if args.nodes > 1 {
        return super::cluster::run(args);
    }
    allocator::take_small_pages();
    allocator::leave_to_monitor();
    let listens = listen_at(args)?;
    args.check_players(listens.is_some())?;
    let stop = stop_signals()?;
    let dir = args.data.clone().unwrap_or_else(next_session);
    check_there(args, &dir)?;
    let config = config(args, &dir);
    let listening = dashboard_at(args)?;
    let pool = Arc::new(engine::pool::build(args.threads)?);
    // Before the session is begun: where nobody can listen, none is left behind. The address is given back until the node
    // knows its time, since an intent that is dated before that has expired when it arrives.
    if let Some(address) = listens {
        std::net::UdpSocket::bind(address).map_err(|error| StartError::Bind { address, error })?;
    }
    let DevNode { mut node, genesis, chain, found } =
        open_seen(Arc::new(FileBackend), &dir, &config, Opening::new().on_step())?;
    let network = listens.map(|address| listen(&dir, &config, address)).transpose()?;
    let listens = network.as_ref().map(|network| network.address);
    let past = Some(past_of(&dir, &CacheSection::default()));
    let mut sources = Sources { pool: Some(pool), past, ..Sources::of(&node, &dir, allocator::MEMORY) };
    if let Some(network) = network {
        sources = sources.with_network(&network, &server_config(&config, network.address));
        node.listen(network);
    }
    // Whoever wants heights and no page has no use for alerts either.
    let monitor = listening.map(|listening| Monitor::start(Some(listening), watching(args), sources)).transpose()?;
    let at = monitor.as_ref().and_then(|monitor| monitor.address);
    let begun = Begun {
        session: dir.display().to_string(),
        again: args.again(),
        players: config.players,
        listens: listens.map(|address| address.to_string()),
        dashboard: at.map(|address| format!("http://{address}/")),
        genesis,
        chain,
        found,
    };
    let people = args.output.is_for_people();
    if people {
        introduce(args, &begun)?;
    }
    let first_height = begun.found.as_ref().map_or(0, |found| found.height.0);
    if let Some(wanted) = args.heights.filter(|wanted| *wanted < first_height) {
        super::out::remark(format_args!(
            "bitcraps: the session stands at height {first_height}, above --heights {wanted}: nothing is played"
        ));
    }
    let mut status = Status::new(args.output, args.heights, begun.genesis.start_ms, first_height);
    let mut rest = Rest::new(config.window_ms);
    let result = node.run(args.heights, &stop, |totals, machine, now_ms| {
        status.show(totals, machine, now_ms);
        // Whoever asked for heights is not kept waiting for some that nobody plays for any more.
        let mut people = || machine.read_peers(|peers| peers.iter().any(|peer| peer.is_connected()));
        let waits = totals.disk_full.is_some() || people();
        if args.heights.is_some() && rest.is_for_good(totals.height, waits, now_ms) {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let played_s = status.end();
    drop(monitor);
    let totals = node.close();
    result?;
    if people {
        summary(&totals, &begun, played_s)?;
    } else {
        say!("{}", with_counts(as_json(&totals, &begun), &totals));
    }
    match args.heights.filter(|_| rest.ended) {
        Some(wanted) => Err(short_of(wanted, totals.height).into()),
        None => Ok(()),
    }
}

fn short_of(wanted: u64, height: Height) -> Failure {
    let text = format!("nobody plays any more: the session ends at height {height} and does not come to {wanted}");
    Failure::Target(text)
}

fn watching(args: &DevArgs) -> MonitorConfig {
    let title = format!("dev, seed {}", args.seed);
    MonitorConfig { hosts: Vec::new(), title, alerts: AlertsConfig::default(), memory_budget: 0 }
}

/// Refuses what goes on otherwise than it is asked for: the folder of a cluster is no session, and a session has its own tables.
fn check_there(args: &DevArgs, dir: &Path) -> Result<(), Failure> {
    match cluster::size_of(dir) {
        // A session that cannot be opened is named where it is opened.
        0 | 1 => read_genesis(dir).map_or(Ok(()), |(begun, _)| args.check_begun(dir, &begun)),
        several => Err(Failure::Data(format!(
            "{} has a cluster of {several} validators: say --nodes {several}",
            dir.display()
        ))),
    }
}

fn config(args: &DevArgs, dir: &Path) -> DevConfig {
    let begun = read_genesis(dir).ok().map(|(genesis, _)| genesis);
    DevConfig {
        tables: args.tables(),
        players: args.players_at(begun.as_ref()),
        seed: args.seed,
        threads: args.threads,
        pace: match args.pace {
            Pace::Real => node::clock::Pace::Real,
            Pace::Max => node::clock::Pace::Max,
        },
        window_ms: args.window.unwrap_or(if args.pace == Pace::Max { WINDOW_MAX_MS } else { WINDOW_REAL_MS }),
        dice: args.dice().into(),
        peers: DEV_GUESTS_MAX,
        ..DevConfig::default()
    }
}

/// What was begun, or goes on, and where.
struct Begun {
    session: String,
    /// What goes on with it, beside its directory.
    again: String,
    players: u32,
    listens: Option<String>,
    dashboard: Option<String>,
    genesis: Genesis,
    chain: Hash,
    found: Option<SessionFound>,
}

fn introduce(args: &DevArgs, begun: &Begun) -> std::io::Result<()> {
    let Begun { session, players, listens, dashboard, genesis, chain, found, again: _ } = begun;
    let tables = counted(genesis.tables.into(), "craps table");
    let players = counted((*players).into(), "simulated player");
    say!("BitCraps: {tables}, {players}, one validator; seed {}.\n", args.seed);
    say!("  session   {session}");
    say!("  chain     {}", hex(chain));
    match found {
        Some(found) => say!("  goes on   from height {} ({})", thousands(found.height.0), found.path()),
        None => say!("  begins    at height 1"),
    }
    if let Some(address) = listens {
        say!("  listens   {address}");
        say!("  play      {} play {address}   in another terminal", program());
    }
    if let Some(dashboard) = dashboard {
        say!("  dashboard {dashboard}");
    }
    for repaired in found.iter().flat_map(|found| &found.repaired) {
        say!("  repaired  {repaired}");
    }
    say!("");
    if genesis.has_pledged() {
        paragraph(
            "Each table has one seat, and its player brings half of the dice: what you pledge, nobody can foresee.",
        )?;
        say!("");
    }
    paragraph(
        "Play chips only. The keys follow from the seed, so anyone can foresee these dice; and with one validator, whoever \
         runs it could choose them. Nobody is asked to trust: every roll can be checked.",
    )?;
    say!("");
    if args.heights.is_none() {
        say!("Ctrl-C ends it cleanly.\n");
    }
    Ok(())
}

fn as_json(totals: &Totals, begun: &Begun) -> serde_json::Value {
    let settled = totals.height > Height::GENESIS;
    json!({
        "height": totals.height.0,
        "root": settled.then(|| hex(&totals.root)),
        "root_chain": settled.then(|| hex(&totals.root_chain)),
        "session": begun.session,
        "tables": begun.genesis.tables,
        "players": begun.players,
        "refusals": totals.refusals,
        "keys": begun.genesis.keys.name(),
        "listen": begun.listens,
        "dashboard": begun.dashboard,
    })
}

/// What became of intents. Where simulated players are not `alone`, what others sent is among the answers, and nobody counted it.
fn intents(totals: &Totals, alone: bool) -> String {
    let (applied, refused) = (totals.counts.applied, totals.counts.refused + totals.turned_away);
    let open = totals.sent.saturating_sub(applied + refused);
    let [sent, applied, refused] = [totals.sent, applied, refused].map(thousands);
    match open {
        _ if !alone => format!("{applied} applied, {refused} refused; simulated players sent {sent}"),
        0 => format!("{sent} sent, {applied} applied, {refused} refused"),
        open => format!("{sent} sent, {applied} applied, {refused} refused, {} had no answer yet", thousands(open)),
    }
}

fn summary(totals: &Totals, begun: &Begun, played_s: u64) -> std::io::Result<()> {
    let counts = &totals.counts;
    say!("Stopped at height {} after {} s of play.", thousands(totals.height.0), thousands(played_s));
    say!("  rolls         {}", thousands(counts.rolls));
    say!(
        "  bets          {} placed or raised, {} decided",
        thousands(counts.bets_placed),
        thousands(counts.bets_resolved)
    );
    say!("  chips         {} lost by players, {} paid to them", thousands(counts.lost), thousands(counts.paid));
    // Pledges that no block took are among the refused too, and nobody counts how many are sent.
    let alone = begun.listens.is_none() && !begun.genesis.has_pledged();
    say!("  intents       {}", intents(totals, alone));
    let mut refusals: Vec<(&str, u64)> = totals.refusals.iter().map(|(code, count)| (*code, *count)).collect();
    refusals.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let most: Vec<String> =
        refusals.iter().take(4).map(|(code, count)| format!("{code} {}", thousands(*count))).collect();
    if !most.is_empty() {
        paragraph(&format!("                most of them {}", most.join(", ")))?;
    }
    if totals.height == Height::GENESIS {
        say!("  root          none: nothing was settled");
        return Ok(());
    }
    say!("  root          {}", hex(&totals.root));
    say!("  root chain    {}", hex(&totals.root_chain));
    let dir = &begun.session;
    try_next(&[
        (format!("replay {dir}"), "re-run it: every roll, payout and signature"),
        (format!("export {dir} --image state.img"), "the state; `b3sum state.img` prints the root"),
        (format!("{} --data {dir}", begun.again), "go on where it ended"),
        ("odds".into(), "what every bet is worth, exactly"),
    ])
}

#[cfg(test)]
mod tests {
    use systems::Counts;

    use super::*;

    #[test]
    fn what_was_sent_is_held_against_the_answers_only_where_nobody_else_played() {
        let counts = Counts { applied: 1_431, refused: 850, ..Counts::default() };
        let totals = |sent| Totals { sent, turned_away: 36, counts, ..Totals::default() };
        assert_eq!(intents(&totals(2_317), true), "2,317 sent, 1,431 applied, 886 refused");
        assert_eq!(intents(&totals(2_320), true), "2,320 sent, 1,431 applied, 886 refused, 3 had no answer yet");
        for sent in ["0", "2,292", "2,320"] {
            let said = intents(&totals(sent.replace(',', "").parse().expect("a number")), false);
            assert_eq!(said, format!("1,431 applied, 886 refused; simulated players sent {sent}"));
        }
    }
}
