//! Building a world: resources first, then every row of every kind, and no structural change ever after.

use bevy_ecs::world::World;
use bytemuck::Zeroable;

use crate::columns::{Capacity, spawn_rows};
use crate::component::{ChainStart, Peer, PeerKey};
use crate::genesis::Genesis;
use crate::image::{DirtyMap, GroupSaver, ImageLayout, RootTree};
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

    // Behind all resources, which take entity ids too: a slot has the same id in every world.
    spawn_rows(world, &ChainStart { genesis, rules_hashes });
    world.spawn_batch((0..peers).map(|_| (Peer::zeroed(), PeerKey::zeroed())));
    world.flush();
}
