//! A settled height, stage by stage, against the same arithmetic over plain arrays in the same run; intents on one core;
//! the root when few tables roll; memory.
//!
//! `cargo test` shrinks everything: then the figures mean nothing.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use benches::beside::{alone, beside, group, pooled, readable, time};
use benches::raw::{RawTable, Split, SplitSeat, Whole, resolve};
use benches::{World, favourites, key, resident_mib, tiny};
use bevy_ecs::schedule::{IntoScheduleConfigs, Schedule};
use criterion::{Criterion, Throughput};
use engine::component::BetRow;
use engine::message::intent::{Intent, IntentBody, IntentKind, Working};
use engine::{BetId, Puck, TableId};
use order::dice::DiceRoller;
use rayon::prelude::*;
use systems::catalogue::{BETS, Catalogue};
use systems::schedule::{SYSTEMS, ScheduleBuilder, SystemTimes};
use systems::settle::{crossing, idle, intake, invariants, resolve as resolving, roll, root::update_root};
use systems::{Draw, Machine, chained};

const SEATS: u32 = 8;

fn main() {
    let tables = if tiny() { 600 } else { 100_000 };
    for threads in [1, 2] {
        pooled(threads, |criterion| whole_heights(criterion, tables, threads));
    }
    pooled(1, |criterion| {
        intents(criterion, if tiny() { 50 } else { 1_000 });
        intents(criterion, tables);
    });
    pooled(2, |criterion| roots(criterion, tables));
    pooled(1, |criterion| notes(criterion, if tiny() { 10 } else { 10_000 }));
}

/// Systems of a settled height.
const SETTLING: usize = 10;

/// What it costs to note how long each system takes: ten that do nothing, with a clock as a node lends it. The limit is the same chain
/// without notes.
fn notes(criterion: &mut Criterion, times: usize) {
    fn nanoseconds() -> u64 {
        static BEGAN: LazyLock<Instant> = LazyLock::new(Instant::now);
        BEGAN.elapsed().as_nanos() as u64
    }
    let names = &SYSTEMS[SYSTEMS.len() - SETTLING..];
    let chain = names.iter().fold(ScheduleBuilder::beginning(names[0]), |chain, name| chain.then(name, || {}));
    let (mut noted, mut world) = (chain.end(), bevy_ecs::world::World::new());
    world.init_resource::<SystemTimes>();
    world.resource_mut::<SystemTimes>().lend(nanoseconds);
    let (mut bare, mut empty) = (chained(), bevy_ecs::world::World::new());
    bare.add_systems((|| {}, || {}, || {}, || {}, || {}, || {}, || {}, || {}, || {}, || {}).chain());
    let mut group = criterion.benchmark_group("settle/notes");
    let name = format!("systems={SETTLING}");
    let ours = || time(|| (0..times).for_each(|_| noted.run(&mut world)));
    let limit = || time(|| (0..times).for_each(|_| bare.run(&mut empty)));
    let done = beside(&mut group, &name, ours, limit);
    group.finish();
    done.print(&format!("settle/notes/{name}"), "without notes");
    if !done.ours.is_empty() {
        let more = (done.ours.median() - done.limit.median()) / (times * SETTLING) as f64;
        println!("settle/notes/{name}: {} for each system", readable(more.max(0.0)));
    }
}

fn stage<M>(systems: impl IntoScheduleConfigs<bevy_ecs::system::ScheduleSystem, M>) -> Schedule {
    let mut schedule = chained();
    schedule.add_systems(systems);
    schedule
}

/// The stages of a height after its intents, in their order.
fn stages() -> [(&'static str, Schedule); 4] {
    [
        ("dice", stage(roll::roll_dice)),
        ("resolve", stage((resolving::resolve_bets, crossing::settle_accounts).chain())),
        ("checks", stage((idle::free_idle_accounts, invariants::check_invariants).chain())),
        ("root", stage(update_root)),
    ]
}

/// Every table rolls at every height; the world is put back before each run, which is not timed.
fn whole_heights(criterion: &mut Criterion, tables: u32, threads: usize) {
    let mut world = World::new(tables, SEATS, 1, threads);
    println!("settle/memory/tables={tables}: {} MiB of RssAnon and RssShmem", resident_mib());
    let image = world.image();
    let (next, due_ms) = (world.next, world.due_ms);
    let machine = &mut world.machine;
    let bets: u64 = machine.read(|rows| rows.seats.iter().map(|seat| u64::from(seat.spots.count())).sum());
    let raw = Raw::new(machine, tables);
    let mut runs = 0;
    // Puts the world back, runs a whole height, and times one of its stages.
    let mut run = |wanted: usize| -> Duration {
        runs += 1;
        machine.import(&image).expect("its own image");
        machine.root();
        machine.begin(next, due_ms, Vec::new(), Draw::Beacon([runs as u8; 48]));
        let mut took = Duration::ZERO;
        for (place, (_, mut stage)) in stages().into_iter().enumerate() {
            let ran = time(|| machine.run(&mut stage));
            if place == wanted {
                took = ran;
            }
        }
        assert_eq!(machine.report().counts.rolls, u64::from(tables));
        took
    };
    let name = format!("settle/threads={threads}");
    let mut group = group(criterion, name.clone(), Throughput::Elements(bets));
    for (place, (stage, _)) in stages().iter().enumerate() {
        if *stage != "resolve" {
            alone(&mut group, stage, || run(place));
            continue;
        }
        let mut whole = Vec::new();
        let resolved = beside(
            &mut group,
            stage,
            || run(place),
            || {
                whole.push(raw.whole_rows().as_secs_f64());
                raw.split_rows()
            },
        );
        resolved.print(&format!("{name}/resolve"), "plain arrays in the same layout");
        if !resolved.ours.is_empty() {
            let mut whole = resolved.ours.counted(&whole).to_vec();
            whole.sort_by(f64::total_cmp);
            println!(
                "{name}/resolve: {:.0} million bets examined/s of {bets}; plain arrays in rows of 320 bytes {:.1} ms",
                bets as f64 / resolved.ours.median() / 1e6,
                whole[whole.len() / 2] * 1e3,
            );
        }
    }
    group.finish();
}

/// The same tables, bets and dice in plain arrays.
struct Raw {
    tables: u32,
    catalogue: Catalogue,
    dice: DiceRoller,
    bets: Vec<Vec<BetRow>>,
}

const PER_TABLE: usize = SEATS as usize;
const CHUNK: usize = engine::limits::CHUNK_TABLES;

impl Raw {
    fn new(machine: &mut Machine, tables: u32) -> Self {
        let catalogue = Catalogue::new(&machine.setup().genesis.rules[0]).expect("rules");
        let dice = DiceRoller::new(&[1; 48], &catalogue.hash());
        let seats = tables as usize * PER_TABLE;
        let bets_of = |seat: usize| -> Vec<BetRow> { machine.read(|rows| rows.seat_bets(seat).iter().collect()) };
        let bets = (0..seats).map(bets_of).collect();
        Self { tables, catalogue, dice, bets }
    }

    fn tables(&self) -> Vec<RawTable> {
        let table = |id| RawTable {
            bank: 1 << 40,
            felt: 0,
            exposure: 0,
            puck: Puck::Off,
            dice: self.dice.dice(TableId(id), 1),
        };
        (0..self.tables).map(table).collect()
    }

    /// What a roll takes with 8 hot and 24 cold bets of a seat apart, as the world has them.
    fn split_rows(&self) -> Duration {
        let mut tables = self.tables();
        let mut seats: Vec<SplitSeat> =
            self.bets.iter().map(|bets| SplitSeat::new(bets.iter().map(|bet| bet.spot).collect())).collect();
        let mut hot = vec![[BetRow::default(); 8]; seats.len()];
        hot.iter_mut().zip(&self.bets).for_each(|(hot, all)| hot[..all.len()].copy_from_slice(all));
        let mut cold = vec![[BetRow::default(); 24]; seats.len()];
        time(|| {
            let examined: u64 = tables
                .par_chunks_mut(CHUNK)
                .zip(seats.par_chunks_mut(CHUNK * PER_TABLE))
                .zip(hot.par_chunks_mut(CHUNK * PER_TABLE))
                .zip(cold.par_chunks_mut(CHUNK * PER_TABLE))
                .map(|(((tables, seats), hot), cold)| {
                    let rows =
                        seats.chunks_mut(PER_TABLE).zip(hot.chunks_mut(PER_TABLE)).zip(cold.chunks_mut(PER_TABLE));
                    let each = tables.iter_mut().zip(rows).map(|(table, ((seats, hot), cold))| {
                        let seats = seats.iter_mut().zip(hot).zip(cold);
                        resolve(table, seats.map(|((seat, hot), cold)| Split { seat, hot, cold }), &self.catalogue)
                    });
                    each.sum::<u64>()
                })
                .sum();
            assert!(examined > 0);
        })
    }

    /// What a roll takes with all 32 bets of a seat in one row.
    fn whole_rows(&self) -> Duration {
        let mut tables = self.tables();
        let mut seats: Vec<Whole> = self
            .bets
            .iter()
            .map(|bets| Whole::new(bets.iter().map(|bet| bet.spot).collect(), bets.iter().copied()))
            .collect();
        time(|| {
            let examined: u64 = tables
                .par_chunks_mut(CHUNK)
                .zip(seats.par_chunks_mut(CHUNK * PER_TABLE))
                .map(|(tables, seats)| {
                    let each = tables.iter_mut().zip(seats.chunks_mut(PER_TABLE));
                    each.map(|(table, seats)| resolve(table, seats.iter_mut(), &self.catalogue)).sum::<u64>()
                })
                .sum();
            assert!(examined > 0);
        })
    }
}

/// Bets and settings of players all over the tables, in blocks as a chain has them. All are applied: what is refused takes less.
fn intents(criterion: &mut Criterion, tables: u32) {
    let mut world = World::new(tables, SEATS, 1, 1);
    let players = tables * SEATS;
    let count = players.min(7_000);
    let (mut next, mut time_ms) = (world.next, 1_000_001 + world.next.0);
    let mut blocks = Blocks { count, numbers: vec![10; players as usize], made: 0 };
    let mut apply = stage(intake::apply_intents);
    let mut group = group(criterion, "settle/intents".to_owned(), Throughput::Elements(count.into()));
    let runs = alone(&mut group, &format!("tables={tables}"), || {
        world.machine.begin(next, time_ms, blocks.next(time_ms), Draw::Beacon([0; 48]));
        let took = time(|| world.machine.run(&mut apply));
        assert_eq!(world.machine.report().counts.applied, u64::from(count), "the workload is applied in full");
        // The rest of the height, which is not timed.
        world.machine.run(&mut stage((crossing::settle_accounts, update_root).chain()));
        next = next.next();
        time_ms += 1;
        took
    });
    group.finish();
    if !runs.is_empty() {
        println!(
            "settle/intents/tables={tables}: {:.2} million/s on one core ({count} a block, all applied)",
            f64::from(count) / runs.median() / 1e6
        );
    }
}

/// Blocks of intents of players all over the tables.
struct Blocks {
    count: u32,
    /// The last number of each player: of numbers that nobody used only some are open.
    numbers: Vec<u64>,
    made: u64,
}

impl Blocks {
    fn next(&mut self, time_ms: u64) -> Vec<Intent> {
        self.made += 1;
        (0..self.count).map(|index| self.intent(index, time_ms)).collect()
    }

    fn intent(&mut self, index: u32, time_ms: u64) -> Intent {
        let players = self.numbers.len() as u64;
        // A stride that is coprime to the number of players meets them all, in no order that a cache would like.
        let player = ((u64::from(index) * 7_919 + self.made * 31) % players) as u32;
        let number = &mut self.numbers[player as usize];
        *number += 1;
        // One of those that lie there, and that may be turned off: a setting of a bet that a player has not is refused.
        let own = favourites(player).into_iter().find(|bet| BETS[usize::from(*bet)].family.toggles());
        let own = BetId(own.expect("every player has such a bet"));
        let another = BetId(43 + (self.made % 10) as u8);
        let body = |kind| {
            IntentBody::new(kind, key(player), *number, (time_ms / 1_000 + 30) as u32).at(TableId(player / SEATS))
        };
        let body = match index % 4 {
            0 | 1 => body(IntentKind::Bet).on(another, 0).amount(5),
            2 => body(IntentKind::SetWorking).on(own, 0).working(Working::Off),
            // Up by a chip, and at times down again: nobody runs out of chips.
            _ => body(IntentKind::SetAmount).on(own, 0).amount(60 + self.made % 64),
        };
        Intent { body, signature: [0; 64] }
    }
}

/// The root when a twentieth of the tables roll: as neighbours of one clock phase, and scattered.
fn roots(criterion: &mut Criterion, tables: u32) {
    let mut world = World::new(tables, SEATS, 20, 2);
    let (image, next) = (world.image(), world.next);
    let machine = &mut world.machine;
    let mut group = group(criterion, "settle/root".to_owned(), Throughput::Elements(u64::from(tables) / 20));
    for (name, scattered) in [("neighbours", false), ("scattered", true)] {
        let (mut before, mut groups, mut number) = (Duration::ZERO, 0, 0_u8);
        let runs = alone(&mut group, name, || {
            number = number.wrapping_add(1);
            machine.import(&image).expect("its own image");
            machine.root();
            let (time_ms, intents) =
                if scattered { scattered_rolls(tables) } else { (machine.next_due_ms().expect("due"), Vec::new()) };
            machine.begin(next, time_ms, intents, Draw::Beacon([number; 48]));
            // The rows that the calls touched are hashed before: what is timed is the root of 5,000 rolls.
            machine.run(&mut stage(intake::apply_intents));
            machine.root();
            let mut before_root = stage(
                (
                    roll::roll_dice,
                    resolving::resolve_bets,
                    crossing::settle_accounts,
                    idle::free_idle_accounts,
                    invariants::check_invariants,
                )
                    .chain(),
            );
            before = time(|| machine.run(&mut before_root));
            let took = time(|| machine.run(&mut stage(update_root)));
            groups = machine.touched_groups();
            let rolled = machine.report().counts.rolls;
            assert!(rolled.abs_diff(u64::from(tables / 20)) < 40, "{rolled} tables rolled");
            took
        });
        if runs.is_empty() {
            continue;
        }
        let root = machine.report().root;
        assert_eq!(root, full_root(machine), "the incremental root is the hash of the whole image");
        println!(
            "settle/root/{name}: {:.2} ms for {groups} of {} groups, {:.0}% of the settled height",
            runs.median() * 1e3,
            machine.layout().groups(),
            100.0 * runs.median() / (runs.median() + before.as_secs_f64()),
        );
    }
    group.finish();
}

fn full_root(machine: &mut Machine) -> engine::Hash {
    let mut hasher = blake3::Hasher::new();
    let all: Result<(), ()> = machine.export(|part| {
        hasher.update_rayon(part);
        Ok(())
    });
    all.expect("hashing cannot fail");
    *hasher.finalize().as_bytes()
}

/// The shooters of every twentieth table call their roll, before any phase is due.
fn scattered_rolls(tables: u32) -> (u64, Vec<Intent>) {
    let roll = |table: u32| {
        let body = IntentBody::new(IntentKind::Roll, key(table * SEATS), 50, 1_030).at(TableId(table));
        Intent { body, signature: [0; 64] }
    };
    (1_000_000 + 1_500, (0..tables).filter(|table| table % 20 == (table / 20 * 7) % 20).map(roll).collect())
}
