//! Building a world: resources first, then every row of every kind, and no structural change ever after.

use bevy_ecs::world::World;
use bytemuck::Zeroable;

use crate::chips::Chips;
use crate::columns::Capacity;
use crate::component::{
    Account, AccountKey, Bets, GroupKey, House, MoreBets, Peer, PeerKey, RulesHash, Seat, Table, Validator,
};
use crate::genesis::Genesis;
use crate::ids::Height;
use crate::image::{DirtyMap, GroupSaver, ImageLayout, RootTree};
use crate::limits::{RULES_MAX, VALIDATORS_MAX};
use crate::message::Hash;
use crate::pool::Arenas;

/// Puts genesis into an empty world: the image's resources, then all rows. The caller has inserted its own resources
/// before, since resources take entity ids too, and inserts none afterwards. `peers` is how many rows connections have.
///
/// # Panics
/// If genesis was not checked, or there is no hash for each of its rules.
pub fn spawn(world: &mut World, genesis: &Genesis, rules_hashes: &[Hash], peers: u32, workers: usize) {
    assert!(genesis.check().is_ok(), "genesis is checked where it is read");
    assert!(rules_hashes.len() == genesis.rules.len(), "each set of rules has a hash");
    let capacity = Capacity::of(genesis);
    let layout = ImageLayout::new(capacity);
    world.insert_resource(capacity);
    world.insert_resource(DirtyMap::new(layout.clone()));
    world.insert_resource(GroupSaver::new(layout.clone()));
    world.insert_resource(RootTree::new(layout));
    world.insert_resource(Arenas::new(workers));

    world.spawn_batch([(house(genesis), GroupKey { key: genesis.group_key.0, epoch: 0, reserved: [0; 24] })]);
    world.spawn_batch((0..VALIDATORS_MAX as usize).map(|slot| validator(genesis, slot)).collect::<Vec<_>>());
    let rules = |row| RulesHash { hash: rules_hashes.get(row).copied().unwrap_or_default(), reserved: [0; 32] };
    world.spawn_batch((0..RULES_MAX).map(rules).collect::<Vec<_>>());
    world.spawn_batch((0..genesis.tables).map(|id| table(genesis, id)).collect::<Vec<_>>());
    let seats = capacity.tables * capacity.seats;
    world.spawn_batch((0..seats).map(|_| (Seat::EMPTY, Bets::zeroed(), MoreBets::zeroed())));
    world.spawn_batch((0..capacity.accounts).map(|_| (Account::zeroed(), AccountKey::zeroed())));
    world.spawn_batch((0..peers).map(|_| (Peer::zeroed(), PeerKey::zeroed())));
    world.flush();
}

fn house(genesis: &Genesis) -> House {
    let banks = Chips(genesis.bank_target * u64::from(genesis.tables));
    House {
        supply: Chips(genesis.supply),
        treasury: Chips(genesis.supply) - banks,
        cages: Chips::ZERO,
        rails: Chips::ZERO,
        felts: Chips::ZERO,
        banks,
        height: Height::GENESIS,
        time_ms: genesis.start_ms,
        active_ms: 0,
        accounts_open: 0,
        reserved: [0; 52],
    }
}

fn validator(genesis: &Genesis, slot: usize) -> Validator {
    genesis.validators.get(slot).map_or_else(Validator::zeroed, |validator| Validator {
        vote_key: validator.vote_key.0,
        voting_power: 1,
        reserved: [0; 28],
    })
}

fn table(genesis: &Genesis, id: u32) -> Table {
    Table {
        bank: Chips(genesis.bank_target),
        next_roll_ms: Table::NEVER,
        hand_number: 0,
        shooter: Table::NO_SHOOTER,
        rules: u8::try_from(genesis.rules_of(id)).expect("genesis bounds the sets of rules"),
        ..Table::zeroed()
    }
}
