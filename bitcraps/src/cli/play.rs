//! `play`: a terminal client for a person, and lines for a program.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Args;
use crossbeam_channel::{Receiver, TryRecvError};
use engine::genesis::Opening;
use engine::message::intent::IntentKind;
use engine::{TableId, hex, unhex};
use net::client::Lost;
use net::lan;

use super::signals::stop_signals;
use play::action::Action;
use play::known_nodes::{Known, KnownNodes};
use play::lines::{Event, ScriptStep, event_line, parse_line};
use play::model::{Game, IN_FLIGHT_MAX};
use play::player::{NodeAt, Player};
use play::player_keys::{PlayerKeys, default_key_path};
use play::terminal::{Terminal, Typed, typed};
use play::theme::Theme;
use play::ui::{self, Ui};
use words::Failure;
use words::sentences::Severity;
use words::wish::Wish;

#[derive(Args, Debug)]
#[command(
    after_help = "Examples:\n  bitcraps play                                  the node on this machine, or on the local network\n  bitcraps play craps.example.org:7400 --table 3\n  bitcraps play KEY@craps.example.org:7400       only the node with this network key\n  bitcraps play 127.0.0.1:7400 127.0.0.1:7401    the second one when the first is lost\n  printf 'sit 1000\\nbet pass_line 5\\nwait receipt\\n' | bitcraps play 127.0.0.1:7400 --script\n\nThe key is made on first use; whoever has it has the account. Keys and commands: `?` in the client, or docs/play.md."
)]
pub struct PlayArgs {
    /// The node: HOST:PORT, or KEY@HOST:PORT. Without it, the local network is asked, then this machine. Of several nodes of
    /// one chain the next one is taken when one is lost, and everything goes on with the same numbers.
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    /// The table to watch first. Without it, the first one from 0 on that has a free seat, if one of the first few has.
    #[arg(long)]
    table: Option<u32>,
    /// The player's secret key. Without it, bitcraps/player.pem in $XDG_DATA_HOME, else in ~/.local/share; made on first use.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Ask for a passphrase when the key is made.
    #[arg(long)]
    encrypt: bool,
    /// Read commands from standard input, a line each, and write what happens, a JSON object a line.
    #[arg(long)]
    script: bool,
}

/// How long the local network is asked.
const LAN_PATIENCE: Duration = Duration::from_millis(1_500);
/// Where a node listens when nothing was said.
const HERE: &str = "127.0.0.1:7400";
/// How often the screen is drawn at least.
const FRAME: Duration = Duration::from_millis(100);

/// Runs the command.
pub fn run(args: &PlayArgs) -> anyhow::Result<()> {
    if !args.script && !std::io::stdout().is_terminal() {
        let problem = "standard output is no terminal; `play --script` is for programs";
        return Err(Failure::Usage(problem.into()).into());
    }
    let nodes = find_nodes(&args.nodes)?;
    let path = args.key.clone().map_or_else(default_key_path, Ok)?;
    let (keys, made) = PlayerKeys::open(&path, args.encrypt)?;
    let mut say = |problem: &str| super::out::remark(format_args!("bitcraps: {problem}"));
    let (mut player, mut game) = Player::connect(&nodes, keys, TableId(args.table.unwrap_or(0)), &mut say)?;
    // Whoever started a script sees no log.
    let note = |game: &mut Game, severity: Severity, words: String| {
        if args.script {
            super::out::remark(format_args!("bitcraps: {words}"));
        }
        game.say(severity, words);
    };
    if made {
        let words = format!("a new key was made: {}; keep it, it is your account", path.display());
        note(&mut game, Severity::Good, words);
    }
    let known = KnownNodes::beside(&path);
    let mut met = 0;
    let mut meet_all = |player: &Player, game: &mut Game| -> anyhow::Result<()> {
        // Another one is met when the first is lost.
        if player.met().count() != std::mem::replace(&mut met, player.met().count()) {
            for (address, key) in player.met() {
                let pinned = nodes.iter().any(|node| node.address == address && node.key.is_some());
                if let Some(words) = meet(&known, address, key, game, pinned)? {
                    note(game, Severity::Info, words);
                }
            }
        }
        Ok(())
    };
    let seeks = args.table.is_none();
    let played = meet_all(&player, &mut game).and_then(|()| match args.script {
        true => script(&mut player, &mut game, seeks, &mut meet_all),
        false => screen(&mut player, &mut game, seeks, &mut meet_all),
    });
    // However it ended: a node that is not told waits until it hears nothing.
    player.close();
    played
}

/// Remembers a node that is met for the first time, and says so; refuses one that shows another key for its chain than before.
fn meet(nodes: &KnownNodes, address: &str, key: [u8; 32], game: &Game, pinned: bool) -> anyhow::Result<Option<String>> {
    let chain = game.setup().chain;
    let known = nodes.known(address, &chain).with_context(|| nodes.path().display().to_string())?;
    let words = match known {
        Known::Key(known) if known == key || pinned => return Ok(None),
        Known::Key(known) => {
            let lost = Lost::Key { expected: known, found: key };
            return Err(Failure::Unreachable(format!(
                "{lost}. It names the chain that was played at {address} before: either the node has a new key now, or \
                 somebody pretends to be it. If you know that the key changed, remove the line of {address} with {} from {}",
                hex(&known),
                nodes.path().display()
            ))
            .into());
        }
        Known::New => format!("this node's key is {}; another one will be refused for this chain", hex(&key)),
        Known::OtherChain => format!(
            "another chain than before is played here, {}: a new game, with a new account",
            game.setup().genesis.name
        ),
    };
    nodes.remember(address, &chain, &key).with_context(|| nodes.path().display().to_string())?;
    Ok(Some(words))
}

/// Looks at nodes that were met since the last time.
type Meet<'a> = &'a mut dyn FnMut(&Player, &mut Game) -> anyhow::Result<()>;

fn find_nodes(asked: &[String]) -> anyhow::Result<Vec<NodeAt>> {
    let Some(first) = asked.first() else { return Ok(vec![find_node()?]) };
    let others = (1..asked.len()).filter(|at| !asked[..*at].contains(&asked[*at])).map(|at| &asked[at]);
    std::iter::once(first).chain(others).map(|text| Ok(parse_node(text)?)).collect()
}

fn find_node() -> anyhow::Result<NodeAt> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    Ok(node_of(runtime.block_on(lan::find(LAN_PATIENCE)))?)
}

/// The node that was found on the local network, or the one on this machine. Anybody there can announce any key: none is
/// asked for, as none is where a person types an address alone, and what the node proves is held against the nodes that are known.
fn node_of(mut found: Vec<lan::Found>) -> Result<NodeAt, Failure> {
    found.sort_by_key(|node| node.address);
    let address = match &found[..] {
        [] => HERE.to_owned(),
        [node] => node.address.to_string(),
        several => {
            let list: Vec<String> = several.iter().map(|node| format!("{} ({})", node.address, node.name)).collect();
            let problem = format!("several nodes are on the local network, say which:\n  {}", list.join("\n  "));
            return Err(Failure::Usage(problem));
        }
    };
    Ok(NodeAt { address, key: None })
}

fn parse_node(text: &str) -> Result<NodeAt, Failure> {
    let (key, address) = match text.split_once('@') {
        None => (None, text),
        Some((key, address)) => match unhex(key) {
            Some(key) => (Some(key), address),
            None => return Err(Failure::Usage(format!("`{key}` is no network key: it has 64 hex digits"))),
        },
    };
    if address.rsplit_once(':').is_none_or(|(_, port)| port.parse::<u16>().is_err()) {
        let hint = match Path::new(text).is_file() {
            true => "; a script is read from standard input: `--script <FILE`",
            false => "",
        };
        return Err(Failure::Usage(format!("`{address}` is no address: HOST:PORT, such as {HERE}{hint}")));
    }
    Ok(NodeAt { address: address.to_owned(), key })
}

/// Whether an account is to be opened for the player: there is none, and it is free.
fn is_to_open(game: &Game) -> bool {
    game.account.is_none() && matches!(game.setup().genesis.opening, Opening::Free { .. })
}

/// Tables that are passed by at the beginning because every seat of theirs is taken, at most.
const TABLES_PASSED_MAX: u32 = 16;

/// Hears the node until it told of the table, so that what follows knows whether there is an account. Whoever `seeks` a seat
/// begins at a table that has one.
fn first_look(player: &mut Player, game: &mut Game, seeks: bool, tell: &mut dyn FnMut(String)) -> anyhow::Result<()> {
    hear_table(player, game, tell)?;
    let first = game.watched;
    // Where all of them are full, this leads back to the first one.
    for _ in 0..game.setup().genesis.tables.min(TABLES_PASSED_MAX) {
        if !seeks || !player.pass_full_table(game) {
            break;
        }
        hear_table(player, game, tell)?;
    }
    if game.watched != first && !game.is_full() {
        let here = game.watched;
        game.say(Severity::Info, format!("every seat of table {first} is taken: this is table {here}"));
    }
    Ok(())
}

fn hear_table(player: &mut Player, game: &mut Game, tell: &mut dyn FnMut(String)) -> anyhow::Result<()> {
    let until = Instant::now() + Duration::from_secs(2);
    while game.table.is_none() && Instant::now() < until {
        player.hear(Duration::from_millis(20), game, tell)?;
    }
    player.hear(Duration::from_millis(20), game, tell)?;
    Ok(())
}

fn screen(player: &mut Player, game: &mut Game, seeks: bool, meet: Meet<'_>) -> anyhow::Result<()> {
    first_look(player, game, seeks, &mut |_| {})?;
    if is_to_open(game) {
        player.send(Wish::new(IntentKind::Open), game);
    }
    // What every bet is worth takes a second to compute, which the screen does not wait for.
    let (odds, rules) = (Arc::clone(&game.odds), game.rules());
    std::thread::spawn(move || odds.fill(rules));
    let mut ui = Ui::new(Theme::from_env(|name| std::env::var(name).ok()));
    // Before the terminal is taken: one that hangs up is given back too.
    let stop = super::signals::stop_at(&[signal_hook::consts::SIGHUP]).context("signals")?;
    let mut terminal = Terminal::open()?;
    let mut drawn: Option<Instant> = None;
    while !stop.load(Ordering::Relaxed) {
        let mut news = player.hear(Duration::from_millis(5), game, &mut |_| {})?;
        meet(player, game)?;
        while let Some(typed) = typed(Duration::from_millis(10))? {
            news = true;
            let action = match typed {
                Typed::Key(key) => ui::key(key, game, &mut ui),
                Typed::Paste(text) => {
                    ui.paste(&text);
                    None
                }
                Typed::Redraw => None,
            };
            match action {
                Some(Action::Quit) => return Ok(()),
                // The keys name tables that there are.
                Some(Action::Watch(table)) => player.watch(table, game).map_err(Failure::Usage)?,
                Some(Action::Wish(wish)) if game.may_send() => _ = player.send(wish, game),
                Some(Action::Wish(wish)) => game.say(Severity::Warning, not_sent(&wish)),
                Some(Action::Help) | None => {}
            }
        }
        if news || drawn.is_none_or(|drawn| drawn.elapsed() >= FRAME) {
            terminal.draw(game, &ui)?;
            drawn = Some(Instant::now());
        }
    }
    Ok(())
}

fn not_sent(wish: &Wish) -> String {
    format!("{}: not sent, {IN_FLIGHT_MAX} intents are without an answer; wait for one", wish.words())
}

/// What a script waits for.
enum Waiting {
    Roll(u32),
    Receipt,
    Until(Instant),
    /// An intent for which there is room once one of those on their way has its receipt.
    Room(Wish),
}

fn script(player: &mut Player, game: &mut Game, seeks: bool, meet: Meet<'_>) -> anyhow::Result<()> {
    let mut written = Ok(());
    let mut tell = |line: String| {
        if written.is_ok() {
            written = super::out::line(format_args!("{line}"));
        }
    };
    let played = play_script(player, game, seeks, meet, &mut tell);
    // However it ended, nothing that was sent stays without a word.
    for sent in &game.in_flight {
        tell(event_line(Event::Unanswered(sent.id.number, &sent.wish)));
    }
    written?;
    match played? {
        (0, _) => Ok(()),
        (wrong, number) => Err(Failure::Usage(format!("{wrong} of {number} lines were no commands")).into()),
    }
}

/// Does what a script says. Gives how many of its lines were wrong, and how many there were.
fn play_script(
    player: &mut Player,
    game: &mut Game,
    seeks: bool,
    meet: Meet<'_>,
    tell: &mut dyn FnMut(String),
) -> anyhow::Result<(u64, u64)> {
    first_look(player, game, seeks, tell)?;
    let mut opens = is_to_open(game);
    let stop = stop_signals()?;
    let lines = lines();
    let mut waiting: Option<Waiting> = None;
    let mut number = 0;
    let mut wrong = 0;
    while !stop.load(Ordering::Relaxed) {
        player.hear(Duration::from_millis(5), game, tell)?;
        meet(player, game)?;
        let rolled = game.rolls.back().map_or(0, |roll| roll.roll_number);
        let over = match &waiting {
            None => true,
            // Not the higher one: the last node may have told of a roll that there never was.
            Some(Waiting::Roll(before)) => rolled != *before,
            Some(Waiting::Receipt) => game.in_flight.is_empty(),
            Some(Waiting::Until(until)) => Instant::now() >= *until,
            Some(Waiting::Room(_)) => game.may_send(),
        };
        if !over {
            continue;
        }
        if let Some(Waiting::Room(wish)) = waiting.take() {
            send(player, game, wish, &mut opens, tell);
        }
        match lines.try_recv() {
            Err(TryRecvError::Empty) => {}
            // The end of the script: what was sent gets its receipts first.
            Err(TryRecvError::Disconnected) if game.in_flight.is_empty() => break,
            Err(TryRecvError::Disconnected) => waiting = Some(Waiting::Receipt),
            Ok(line) => {
                number += 1;
                let mut refuse = |problem: &str| {
                    wrong += 1;
                    tell(event_line(Event::Error(number, problem)));
                };
                match parse_line(&line?) {
                    Ok(None | Some(ScriptStep::Act(Action::Help))) => {}
                    Ok(Some(ScriptStep::Act(Action::Quit))) => break,
                    Ok(Some(ScriptStep::Act(Action::Watch(table)))) => {
                        if let Err(problem) = player.watch(table, game) {
                            refuse(&problem);
                        }
                    }
                    Ok(Some(ScriptStep::Act(Action::Wish(wish)))) if game.may_send() => {
                        send(player, game, wish, &mut opens, tell);
                    }
                    Ok(Some(ScriptStep::Act(Action::Wish(wish)))) => waiting = Some(Waiting::Room(wish)),
                    Ok(Some(ScriptStep::WaitRoll)) => waiting = Some(Waiting::Roll(rolled)),
                    Ok(Some(ScriptStep::WaitReceipt)) => waiting = Some(Waiting::Receipt),
                    Ok(Some(ScriptStep::Sleep { ms })) => {
                        waiting = Some(Waiting::Until(Instant::now() + Duration::from_millis(ms)));
                    }
                    Err(error) => refuse(&error.to_string()),
                }
            }
        }
    }
    Ok((wrong, number))
}

/// Sends what a line wishes. Where it is the first and there is no account yet, one is opened before: whoever only looks takes
/// none from those who play.
fn send(player: &mut Player, game: &mut Game, wish: Wish, opens: &mut bool, tell: &mut dyn FnMut(String)) {
    let open = std::mem::take(opens) && wish.kind != IntentKind::Open && game.account.is_none();
    for wish in open.then_some(Wish::new(IntentKind::Open)).into_iter().chain([wish]) {
        let sent = player.send(wish, game);
        tell(event_line(Event::Sent(sent, &wish)));
    }
}

/// The lines of standard input, from a thread that waits for them. One that is no text is a wrong line like another.
fn lines() -> Receiver<std::io::Result<Vec<u8>>> {
    let (lines_in, lines) = crossbeam_channel::bounded(64);
    std::thread::spawn(move || {
        for line in std::io::stdin().lock().split(b'\n') {
            if lines_in.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

#[cfg(test)]
mod tests {
    use load::dev::{DevConfig, genesis};
    use systems::Setup;

    use super::*;

    fn found(key: u8, port: u16) -> lan::Found {
        let address = ([127, 0, 0, 1], port).into();
        lan::Found { key: [key; 32], chain: [5; 32], name: "somebody".into(), address }
    }

    #[test]
    fn what_multicast_says_is_no_key_that_a_person_asked_for() {
        let node = node_of(vec![found(2, 7_400)]).expect("a node");
        assert_eq!(node, NodeAt { address: HERE.into(), key: None });
        assert_eq!(node_of(Vec::new()).expect("this machine"), node);
        let several = node_of(vec![found(2, 7_401), found(1, 7_400)]).expect_err("which?").to_string();
        assert!(several.ends_with("say which:\n  127.0.0.1:7400 (somebody)\n  127.0.0.1:7401 (somebody)"), "{several}");
        // Another key than before is refused there, and taken where a person typed it.
        let dir = tempfile::tempdir().expect("a directory");
        let nodes = KnownNodes::beside(&dir.path().join("player.pem"));
        let setup = Setup::new(genesis(&DevConfig::default()), [5; 32]).expect("a genesis");
        let game = Game::new(setup, "dev".into(), HERE.into(), [7; 32]);
        meet(&nodes, HERE, [1; 32], &game, false).expect("a new one");
        meet(&nodes, HERE, [1; 32], &game, false).expect("the same one");
        let pinned = node.key.is_some();
        let refused = meet(&nodes, HERE, [2; 32], &game, pinned).expect_err("another one").to_string();
        assert!(refused.contains("somebody pretends to be it"), "{refused}");
        let typed = parse_node(&format!("{}@{HERE}", "02".repeat(32))).expect("a node");
        meet(&nodes, HERE, [2; 32], &game, typed.key.is_some()).expect("the one that was asked for");
    }
}
