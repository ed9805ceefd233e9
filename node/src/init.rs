//! `init`: a node of its own: keys, a genesis with one validator, a configuration.

use std::path::{Path, PathBuf};

use anyhow::Context;
use aside::NewDir;
use engine::Hash;
use engine::TableRules;
use engine::genesis::{GENESIS_VERSION, Genesis, HexBytes, KeySource, Opening};
use engine::rules::{BonusPaytable, Commission, FieldPaytable, FirePaytable};
use order::keys::{NodeKeys, NodeSeeds, node_keys};
use order::signature::NetKey;
use storage::Session;
use systems::Setup;

use crate::config::Config;
use keys::keyfile::{self, KeyFileError, Passphrase, Seed};
use storage::read_genesis;
use words::Failure;

/// What a new chain fixes.
#[derive(Clone, Debug)]
pub struct NewChain {
    /// A name for people.
    pub name: String,
    /// Craps tables.
    pub tables: u32,
    /// Seats of each.
    pub seats: u32,
    /// Account slots.
    pub accounts: u32,
    /// Chips granted to an account that opens.
    pub grant: u64,
    /// Accounts that may open in one height.
    pub per_height: u32,
    /// Milliseconds after which a table rolls by itself.
    pub window_ms: u64,
}

/// The name of the configuration's file.
const CONFIG: &str = "bitcraps.toml";
/// Chips a bank is filled to.
const BANK: u64 = 1_000_000;
/// A day.
const DAY_MS: u64 = 24 * 3_600_000;

/// Three kinds of tables: CANON-1, commission in advance with a worse field, and the longer shots.
pub fn rules() -> Vec<TableRules> {
    let max_bet = 5_000;
    vec![
        TableRules { max_bet, ..TableRules::default() },
        TableRules {
            commission: Commission::Upfront,
            field_paytable: FieldPaytable::TwoTwo,
            bar: 2,
            min_bet: 2,
            max_bet,
            ..TableRules::default()
        },
        TableRules {
            bonus_paytable: BonusPaytable::ThirtyFour,
            fire_paytable: FirePaytable::B,
            ride_line_paytable: 7,
            take_odds_max: [10; 6],
            max_bet,
            ..TableRules::default()
        },
    ]
}

/// What was made.
pub struct Created {
    /// The configuration's file.
    pub config: PathBuf,
    /// The chain id.
    pub chain: Hash,
    /// The network key.
    pub net_key: [u8; 32],
}

fn genesis(new: &NewChain, keys: &NodeKeys, start_ms: u64) -> anyhow::Result<Genesis> {
    let too_much = || Failure::Usage("so many tables, accounts and chips are more than 64 bits can count".into());
    let banks = u64::from(new.tables).checked_mul(BANK).ok_or_else(too_much)?;
    let grants = u64::from(new.accounts).checked_mul(new.grant).ok_or_else(too_much)?;
    Ok(Genesis {
        version: GENESIS_VERSION,
        name: new.name.clone(),
        keys: KeySource::Own,
        start_ms,
        supply: banks.checked_add(grants).ok_or_else(too_much)?,
        tables: new.tables,
        seats: new.seats,
        accounts: new.accounts,
        grant: new.grant,
        opening: Opening::Free { per_height: new.per_height },
        rules: rules(),
        bank_target: BANK,
        window_min_ms: new.window_ms / 4,
        window_max_ms: new.window_ms,
        clock_phases: new.tables.min(10),
        idle_ms: (8 * new.window_ms).max(120_000),
        account_idle_ms: 30 * DAY_MS,
        idleness: Default::default(),
        block_interval_ms: 10,
        validators: vec![keys.genesis_row(&new.name)],
        group_key: HexBytes(keys.group.key()),
    })
}

/// Makes a node in a folder that is empty or not there: all of it, or nothing. Nothing is overwritten.
///
/// # Errors
/// If something is there, or the chain cannot be so.
pub fn create(
    dir: &Path,
    new: &NewChain,
    mut config: Config,
    passphrase: Option<Passphrase>,
) -> anyhow::Result<Created> {
    // Everything that can be wrong is found before anything is written.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("the clock is before 1970")?;
    let any = NodeSeeds { vote: &[1; 32], dealer: &[1; 32], beacon: &[1; 32] };
    let probe = genesis(new, &node_keys(any), now.as_millis() as u64)?;
    probe.check().map_err(|error| Failure::Usage(error.to_string()))?;

    let failed = |error| Failure::Data(format!("{}: {error}", dir.display()));
    let new_dir = NewDir::create(dir).map_err(failed)?;
    let place = new_dir.place();
    std::fs::create_dir(place.join("keys")).map_err(failed)?;
    let secret = passphrase.as_ref().map(|passphrase| passphrase.as_str());
    let make = |path: &Path| keyfile::create(&place.join(path), secret);
    let (vote, dealer) = (make(&config.keys.validator)?, make(&config.keys.dkg)?);
    let (beacon, net) = (make(&config.keys.beacon)?, make(&config.keys.net)?);
    let validator = node_keys(NodeSeeds { vote: &vote, dealer: &dealer, beacon: &beacon });
    let genesis = genesis(new, &validator, probe.start_ms)?;
    let mut bytes = serde_json::to_vec_pretty(&genesis).context("genesis is plain data")?;
    bytes.push(b'\n');
    drop(Session::create(&place.join(&config.node.data), &bytes)?);
    config.net.name.clone_from(&new.name);
    std::fs::write(place.join(CONFIG), config.text()).map_err(failed)?;
    new_dir.publish().map_err(failed)?;
    Ok(Created {
        config: dir.join(CONFIG),
        chain: Genesis::chain_id(&bytes),
        net_key: NetKey::from_seed(&net).public(),
    })
}

/// The keys of a node.
pub struct OpenedKeys {
    /// Its validator's keys.
    pub validator: NodeKeys,
    /// Its network key.
    pub net: NetKey,
}

/// Reads a node's keys, and checks that they are those of its session's genesis. A passphrase is asked for once.
///
/// # Errors
/// If a key cannot be read, or is another.
pub fn open_keys(config: &Config) -> anyhow::Result<(OpenedKeys, Setup)> {
    let (genesis, chain) = read_genesis(&config.node.data)?;
    let mut asked: Option<Passphrase> = None;
    let mut read = |path: &Path| -> Result<Seed, KeyFileError> {
        keyfile::read(path, || match &asked {
            Some(passphrase) => Ok(passphrase.clone()),
            None => Ok(asked.insert(keyfile::passphrase("the node's keys", false)?).clone()),
        })
    };
    let (vote, dealer) = (read(&config.keys.validator)?, read(&config.keys.dkg)?);
    let (beacon, net) = (read(&config.keys.beacon)?, read(&config.keys.net)?);
    let validator = node_keys(NodeSeeds { vote: &vote, dealer: &dealer, beacon: &beacon });
    let row = genesis.validators.iter().find(|row| row.vote_key.0 == validator.vote.public());
    let keys = [
        ("validator", &config.keys.validator, row.is_some()),
        ("dkg", &config.keys.dkg, row.is_some_and(|row| row.dkg_key.0 == validator.dealer.public())),
        ("beacon", &config.keys.beacon, genesis.group_key.0 == validator.group.key()),
    ];
    if let Some((key, path, _)) = keys.into_iter().find(|(.., is_ours)| !is_ours) {
        return Err(Failure::Config(format!(
            "{} is not the key of the validator in {}/genesis.json: `keys.{key}` and `node.data` belong to two nodes",
            path.display(),
            config.node.data.display()
        ))
        .into());
    }
    let net = NetKey::from_seed(&net);
    Ok((OpenedKeys { validator, net }, Setup::new(genesis, chain)?))
}
