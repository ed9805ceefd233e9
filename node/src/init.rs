//! `init`: a node of its own: keys, a genesis with one validator, a configuration.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use anyhow::Context;
use aside::{NewDir, Wanted, with_owner};
use engine::Hash;
use engine::TableRules;
use engine::genesis::{GENESIS_VERSION, Genesis, GenesisValidator, HexBytes, KeySource, Opening};
use engine::limits::{GROUP_FILE_BYTES_MAX, OPEN_MS_MAX, OPEN_MS_MIN, PROPOSAL_INTERVAL_MS_MIN};
use engine::rules::{BonusPaytable, Commission, DiceSource, FieldPaytable, FirePaytable};
use order::beacon::{BeaconGroup, BeaconSigner};
use order::keys::{NodeKeys, NodeSeeds, node_keys};
use order::signature::{DkgKey, NetKey, VoteKey};
use storage::Session;
use systems::Setup;

use crate::config::{Config, KeysConfig};
use crate::open::Keys;
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
    /// What the dice follow from.
    pub dice: DiceSource,
}

/// The name of the configuration's file.
pub(crate) const CONFIG: &str = "bitcraps.toml";
/// Chips a bank is filled to.
const BANK: u64 = 1_000_000;
/// Milliseconds between two blocks of several validators, at least: as fast as they agree over links of some milliseconds.
const BLOCK_INTERVAL_MS: u64 = 40;
/// A day.
const DAY_MS: u64 = 24 * 3_600_000;

/// Milliseconds that players have to open a roll, where nothing else is said: a lost connection is had again by then.
const OPEN_MS: u32 = 15_000;
// A genesis outside of these bounds would be refused by its own checks.
const _: () = assert!(OPEN_MS >= OPEN_MS_MIN);
const _: () = assert!(OPEN_MS <= OPEN_MS_MAX);
const _: () = assert!(BLOCK_INTERVAL_MS >= PROPOSAL_INTERVAL_MS_MIN);

/// Three kinds of tables: CANON-1, commission in advance with a worse field, and the longer shots; with dice of one source.
pub fn rules(dice: DiceSource) -> Vec<TableRules> {
    let max_bet = 5_000;
    let open_ms = if dice == DiceSource::Both { OPEN_MS } else { 0 };
    let kinds = vec![
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
    ];
    kinds.into_iter().map(|rules| TableRules { dice, open_ms, ..rules }).collect()
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
    new.genesis(KeySource::Own, vec![keys.genesis_row(&new.name)], HexBytes(keys.group.key()), start_ms)
}

/// Now, in milliseconds since the Unix epoch.
///
/// # Errors
/// If the clock is set before that.
pub fn now_ms() -> anyhow::Result<u64> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).context("the clock is before 1970")?;
    Ok(now.as_millis() as u64)
}

/// The folder for the keys of a node.
pub(crate) fn make_keys_dir(node: &Path) -> std::io::Result<()> {
    std::fs::create_dir(node.join("keys"))
}

impl NewChain {
    /// The genesis of these validators.
    ///
    /// # Errors
    /// If it would have more chips than can be counted.
    pub fn genesis(
        &self,
        keys: KeySource,
        validators: Vec<GenesisValidator>,
        group_key: HexBytes<96>,
        start_ms: u64,
    ) -> anyhow::Result<Genesis> {
        let new = self;
        let too_much = || Failure::Usage("so many tables, accounts and chips are more than 64 bits can count".into());
        let banks = u64::from(new.tables).checked_mul(BANK).ok_or_else(too_much)?;
        let grants = u64::from(new.accounts).checked_mul(new.grant).ok_or_else(too_much)?;
        Ok(Genesis {
            version: GENESIS_VERSION,
            name: new.name.clone(),
            keys,
            start_ms,
            supply: banks.checked_add(grants).ok_or_else(too_much)?,
            tables: new.tables,
            // A pledged table has one seat: others would lie empty.
            seats: if new.dice == DiceSource::Both { 1 } else { new.seats },
            accounts: new.accounts,
            grant: new.grant,
            opening: Opening::Free { per_height: new.per_height },
            rules: rules(new.dice),
            bank_target: BANK,
            window_min_ms: new.window_ms / 4,
            window_max_ms: new.window_ms,
            clock_phases: new.tables.min(10),
            idle_ms: (8 * new.window_ms).max(120_000),
            account_idle_ms: 30 * DAY_MS,
            idleness: Default::default(),
            block_interval_ms: if validators.len() > 1 { BLOCK_INTERVAL_MS } else { 10 },
            validators,
            group_key,
        })
    }
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
    let any = NodeSeeds { vote: &[1; 32], dealer: &[1; 32], beacon: &[1; 32] };
    let probe = genesis(new, &node_keys(any), now_ms()?)?;
    probe.check().map_err(|error| Failure::Usage(error.to_string()))?;

    let failed = |error| Failure::Data(format!("{}: {error}", dir.display()));
    let new_dir = NewDir::create(dir).map_err(failed)?;
    let place = new_dir.place();
    make_keys_dir(place).map_err(failed)?;
    let secret = passphrase.as_ref().map(|passphrase| passphrase.as_str());
    let make = |path: &Path| keyfile::create(&place.join(path), secret);
    let (vote, dealer) = (make(&config.keys.validator)?, make(&config.keys.dkg)?);
    let (beacon, net) = (make(&config.keys.beacon)?, make(&config.keys.net)?);
    let validator = node_keys(NodeSeeds { vote: &vote, dealer: &dealer, beacon: &beacon });
    // It begins when the probe did, so that what was checked above is what is written, but for its keys.
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
    /// The validator's keys for votes and beacons; none in a node that only follows.
    pub validator: Option<Keys>,
    /// The key that the node proves to whoever it speaks with.
    pub net: NetKey,
}

/// Reads a node's keys, and checks that they are those of its session's genesis. A passphrase is asked for once. One that
/// only follows needs its network key alone.
///
/// # Errors
/// If a key cannot be read, or is another.
pub fn open_keys(config: &Config, follows: bool) -> anyhow::Result<(OpenedKeys, Setup)> {
    open_asking(config, follows, || keyfile::passphrase("the node's keys", false))
}

/// Whether the files of a node's keys are there and look like keys, without a passphrase.
///
/// # Errors
/// What is wrong with one of them.
pub fn look_at_keys(config: &Config, follows: bool) -> Result<(), KeyFileError> {
    let KeysConfig { validator, dkg, beacon, net, .. } = &config.keys;
    let of_validator = [validator, dkg, beacon].into_iter().filter(|_| !follows);
    of_validator.chain([net]).try_for_each(|path| keyfile::look(path))
}

/// Whether [`open_keys`] would succeed, as far as that can be said without asking anybody: where a passphrase would have to be
/// typed, only from outside.
///
/// # Errors
/// As [`open_keys`].
pub fn check_keys(config: &Config, follows: bool) -> anyhow::Result<()> {
    look_at_keys(config, follows)?;
    let ask = || match keyfile::is_told() {
        true => keyfile::passphrase("the node's keys", false),
        false => Err(KeyFileError::NoPassphrase("nobody is asked".into())),
    };
    match open_asking(config, follows, ask) {
        // That somebody would have to type a passphrase says nothing against the keys.
        Err(error) if matches!(error.downcast_ref(), Some(KeyFileError::NoPassphrase(_))) => Ok(()),
        opened => opened.map(drop),
    }
}

fn open_asking(
    config: &Config,
    follows: bool,
    ask: impl Fn() -> Result<Passphrase, KeyFileError>,
) -> anyhow::Result<(OpenedKeys, Setup)> {
    let (genesis, chain) = read_genesis(&config.node.data)?;
    let mut asked: Option<Passphrase> = None;
    let mut read = |path: &Path| -> Result<Seed, KeyFileError> {
        keyfile::read(path, || match &asked {
            Some(passphrase) => Ok(passphrase.clone()),
            None => Ok(asked.insert(ask()?).clone()),
        })
    };
    let validator = if follows { None } else { Some(open_validator(config, &genesis, &mut read)?) };
    let seed = read(&config.keys.net)?;
    let net = NetKey::from_seed(&seed);
    Ok((OpenedKeys { validator, net }, Setup::new(genesis, chain)?))
}

fn open_validator(
    config: &Config,
    genesis: &Genesis,
    read: &mut impl FnMut(&Path) -> Result<Seed, KeyFileError>,
) -> anyhow::Result<Keys> {
    let keys = &config.keys;
    // Without any of the three this is most likely a follower, and the name of one missing file would not help its
    // operator.
    if [&keys.validator, &keys.dkg, &keys.beacon].iter().all(|path| !path.exists()) {
        return Err(Failure::Config(format!(
            "{}: there is no such file, and neither keys.dkg nor keys.beacon: this node has no validator's key; `--follow` \
             runs it as a follower",
            keys.validator.display()
        ))
        .into());
    }
    let (vote, dealer) = (read(&keys.validator)?, read(&keys.dkg)?);
    let beacon = read(&keys.beacon)?;
    let (vote_key, dealer_key) = (VoteKey::from_seed(&vote), DkgKey::from_seed(&dealer));
    let slot_of = |is_own: &dyn Fn(&GenesisValidator) -> bool| genesis.validators.iter().position(is_own);
    let no_one = |key: &str, path: &Path| {
        Failure::Config(format!(
            "{} is not the key of a validator in {}/genesis.json: `keys.{key}` and `node.data` belong to two nodes",
            path.display(),
            config.node.data.display()
        ))
    };
    let voter =
        slot_of(&|row| row.vote_key.0 == vote_key.public()).ok_or_else(|| no_one("validator", &keys.validator))?;
    let deals = slot_of(&|row| row.dkg_key.0 == dealer_key.public()).ok_or_else(|| no_one("dkg", &keys.dkg))?;
    let count = genesis.validators.len();
    let (group, beacon, shares) = if count == 1 {
        let NodeKeys { group, beacon, .. } = node_keys(NodeSeeds { vote: &vote, dealer: &dealer, beacon: &beacon });
        (group, beacon, 0)
    } else {
        let group = open_group(&keys.group, count)?;
        // The group is looked at before the share: no share fits the group of another chain, and the wrong file would
        // be blamed.
        if group.key() != genesis.group_key.0 {
            return Err(no_one("group", &keys.group).into());
        }
        let share = |slot: usize| Some((BeaconSigner::of_secret(&group, slot as u32, &beacon).ok()?, slot));
        // Its own slot first: a share is compared with one group element of each slot.
        let own = share(voter).or_else(|| (0..count).find_map(share));
        let (beacon, shares) = own.ok_or_else(|| no_one("beacon", &keys.beacon))?;
        (group, beacon, shares)
    };
    // The group of a lone validator follows from its beacon secret: this says whether that secret is the chain's.
    if group.key() != genesis.group_key.0 {
        return Err(no_one("beacon", &keys.beacon).into());
    }
    same_slot(keys, [voter, deals, shares])?;
    Ok(Keys { vote: vote_key, group, beacon })
}

/// Whether three keys are one validator's, whose slots these are: of votes, dealing and the beacon. The one that the other
/// two contradict is named.
fn same_slot(keys: &KeysConfig, [voter, deals, shares]: [usize; 3]) -> Result<(), Failure> {
    let odd = |name: &str, path: &Path, of: usize, others: usize| {
        Failure::Config(format!(
            "{}: `keys.{name}` is the key of validator {of}, and the other keys here are those of validator {others}",
            path.display()
        ))
    };
    if voter == deals && deals == shares {
        Ok(())
    } else if deals == shares {
        Err(odd("validator", &keys.validator, voter, deals))
    } else if voter == shares {
        Err(odd("dkg", &keys.dkg, deals, voter))
    } else if voter == deals {
        Err(odd("beacon", &keys.beacon, shares, voter))
    } else {
        Err(Failure::Config(format!(
            "`keys.validator` is the key of validator {voter}, `keys.dkg` of validator {deals}, and `keys.beacon` of validator \
             {shares}: all of them are one validator's"
        )))
    }
}

/// What is public of a beacon key that was dealt to so many validators.
fn open_group(path: &Path, validators: usize) -> anyhow::Result<BeaconGroup> {
    let name = path.display();
    let text = words::text::read(path, GROUP_FILE_BYTES_MAX)
        .map_err(|error| Failure::Config(format!("{name}: {}", with_owner(path, Wanted::Read, error))))?;
    let wrong = || Failure::Config(format!("{name}: not the shares' public keys, as `init --validators` writes them"));
    let count = u32::try_from(validators).ok().and_then(NonZeroU32::new).ok_or_else(wrong)?;
    let bytes = engine::unhex_all(text.trim()).ok_or_else(wrong)?;
    Ok(BeaconGroup::of_bytes(&bytes, count).map_err(|error| Failure::Config(format!("{name}: {error}")))?)
}
