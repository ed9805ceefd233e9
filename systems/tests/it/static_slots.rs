//! Why rows are static slots: a query's order is not a promise, and what the columns do when somebody breaks the rule.

use bevy_ecs::component::Component;
use bevy_ecs::system::SystemState;
use bevy_ecs::world::World;
use engine::columns::Columns;

#[derive(Component, Clone, Copy, PartialEq, Debug)]
struct Row(u32);

#[derive(Component)]
struct Mark;

/// The same rows, spawned into the same two kinds, but with the kinds first met in another order: as after a restore
/// that rebuilds the world from what it finds.
#[test]
fn query_order_follows_the_history_of_the_world_not_the_rows() {
    let order = |marked_first: bool| -> Vec<u32> {
        let mut world = World::new();
        if marked_first {
            world.spawn((Row(99), Mark)).despawn();
        }
        world.spawn(Row(0));
        world.spawn((Row(1), Mark));
        world.query::<&Row>().iter(&world).map(|row| row.0).collect()
    };
    assert_eq!(order(false), [0, 1]);
    assert_eq!(order(true), [1, 0]);
}

#[test]
fn a_column_in_two_archetypes_stops_the_node() {
    let genesis = crate::common::genesis(4, 8, 10);
    let mut world = World::new();
    engine::world::spawn(&mut world, &genesis, &[[1; 32]], 0, 1);
    let mut state = SystemState::<Columns<'_, '_>>::new(&mut world);
    assert_eq!(state.get_mut(&mut world).expect("columns").rows().tables.len(), 4);

    let mut tables =
        world.query_filtered::<bevy_ecs::entity::Entity, bevy_ecs::query::With<engine::component::Table>>();
    let table = tables.iter(&world).next().expect("a table");
    world.entity_mut(table).insert(Mark);
    let mut state = SystemState::<Columns<'_, '_>>::new(&mut world);
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        state.get_mut(&mut world).expect("columns").rows().tables.len()
    }));
    let message = broken.expect_err("the columns refuse to be used");
    assert!(message.downcast_ref::<&str>().is_some_and(|text| text.contains("static slots")));
}

#[test]
fn a_despawned_row_stops_the_node() {
    let genesis = crate::common::genesis(4, 8, 10);
    let mut world = World::new();
    engine::world::spawn(&mut world, &genesis, &[[1; 32]], 0, 1);
    let mut seats = world.query_filtered::<bevy_ecs::entity::Entity, bevy_ecs::query::With<engine::component::Seat>>();
    let seat = seats.iter(&world).next().expect("a seat");
    world.despawn(seat);
    let mut state = SystemState::<Columns<'_, '_>>::new(&mut world);
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        state.get_mut(&mut world).expect("columns").rows().seats.len()
    }));
    let message = broken.expect_err("the columns refuse to be used");
    assert!(message.downcast_ref::<String>().is_some_and(|text| text.contains("rows of Seat")));
}
