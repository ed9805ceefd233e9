//! A settled height, stage by stage, against the same arithmetic over plain arrays in the same run; intents on one core;
//! the root when few tables roll; memory.
//!
//! `cargo test` shrinks everything: then the figures mean nothing.

use benches::raw::{RawTable, Split, SplitSeat, Whole, resolve};
use benches::{World, key, median, resident_mib, tiny};
use bevy_ecs::schedule::{IntoScheduleConfigs, Schedule};
use engine::component::BetRow;
use engine::message::intent::{Intent, IntentBody, IntentKind, Working};
use engine::{BetId, Puck, TableId};
use order::dice::DiceRoller;
use rayon::prelude::*;
use systems::catalogue::Catalogue;
use systems::settle::{crossing, idle, intake, invariants, resolve as resolving, roll, root::update_root};
use systems::{Draw, chained};

const SEATS: u32 = 8;

fn main() {
    let (tables, runs) = if tiny() { (600, 2) } else { (100_000, 9) };
    for threads in [1, 2] {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let pool = engine::pool::build(threads).expect("a pool");
                pool.install(|| whole_heights(tables, threads, runs));
            });
        });
    }
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pool = engine::pool::build(1).expect("a pool");
            pool.install(|| {
                intents(if tiny() { 50 } else { 1_000 }, runs);
                intents(tables, runs);
            });
        });
    });
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let pool = engine::pool::build(2).expect("a pool");
            pool.install(|| roots(tables, runs));
        });
    });
}

fn stage<M>(systems: impl IntoScheduleConfigs<bevy_ecs::system::ScheduleSystem, M>) -> Schedule {
    let mut schedule = chained();
    schedule.add_systems(systems);
    schedule
}

/// Every table rolls at every height; the world is put back before each run, which is not timed.
fn whole_heights(tables: u32, threads: usize, runs: usize) {
    let mut world = World::new(tables, SEATS, 1, threads);
    println!("settle::memory/tables={tables}: {} MiB of RssAnon and RssShmem", resident_mib());
    let image = world.image();
    let (next, due_ms) = (world.next, world.due_ms);
    let machine = &mut world.machine;
    let mut bets = 0;
    let mut seconds = [const { Vec::new() }; 4];
    for run in 0..runs {
        machine.import(&image).expect("its own image");
        machine.root();
        machine.begin(next, due_ms, Vec::new(), Draw::Beacon([run as u8; 48]));
        bets = machine.read(|rows| rows.seats.iter().map(|seat| u64::from(seat.spots.count())).sum());
        let stages = [
            stage(roll::roll_dice),
            stage((resolving::resolve_bets, crossing::settle_accounts).chain()),
            stage((idle::free_idle_accounts, invariants::check_invariants).chain()),
            stage(update_root),
        ];
        for (seconds, mut stage) in seconds.iter_mut().zip(stages) {
            let began = std::time::Instant::now();
            machine.run(&mut stage);
            seconds.push(began.elapsed().as_secs_f64());
        }
        assert_eq!(machine.report().counts.rolls, u64::from(tables));
    }
    let decided = machine.report().counts.bets_resolved;
    let [dice, resolving, checks, root] = seconds.map(|mut seconds| {
        seconds.sort_by(f64::total_cmp);
        seconds[seconds.len() / 2]
    });
    let (split, whole) = raw_loops(machine, &image, tables, runs);
    let rate = |seconds: f64| bets as f64 / seconds / 1e6;
    println!(
        "settle::resolve/threads={threads}: {:.1} ms, {:.0} million bets examined/s ({bets} bets, {decided} decided); \
         plain arrays in the same layout {:.1} ms, in rows of 320 bytes {:.1} ms; ratio to plain arrays {:.2}",
        resolving * 1e3,
        rate(resolving),
        split * 1e3,
        whole * 1e3,
        split / resolving,
    );
    println!(
        "settle::stages/threads={threads}: dice {:.1} ms, resolve and settle {:.1} ms, checks {:.2} ms, root {:.1} ms; \
         {:.0} million bets/s from dice to checks",
        dice * 1e3,
        resolving * 1e3,
        checks * 1e3,
        root * 1e3,
        rate(dice + resolving + checks),
    );
}

/// The same tables, bets and dice in plain arrays.
fn raw_loops(machine: &mut systems::Machine, image: &[u8], tables: u32, runs: usize) -> (f64, f64) {
    machine.import(image).expect("its own image");
    let catalogue = Catalogue::new(&machine.setup().genesis.rules[0]).expect("rules");
    let rollers: Vec<DiceRoller> = (0..runs).map(|run| DiceRoller::new(&[run as u8; 48], &catalogue.hash())).collect();
    let raw = |run: usize| -> Vec<RawTable> {
        let table = |id| RawTable {
            bank: 1 << 40,
            felt: 0,
            exposure: 0,
            puck: Puck::Off,
            dice: rollers[run].dice(TableId(id), 1),
        };
        (0..tables).map(table).collect()
    };
    let seats = tables as usize * SEATS as usize;
    let bets_of = |machine: &mut systems::Machine, seat: usize| -> Vec<BetRow> {
        machine.read(|rows| rows.seat_bets(seat).iter().collect())
    };
    let all: Vec<Vec<BetRow>> = (0..seats).map(|seat| bets_of(machine, seat)).collect();
    let spots = |seat: usize| all[seat].iter().map(|bet| bet.spot).collect();

    let chunk = engine::limits::CHUNK_TABLES;
    let split = median(
        runs,
        |run| {
            let split: Vec<SplitSeat> = (0..seats).map(|seat| SplitSeat::new(spots(seat))).collect();
            let mut hot = vec![[BetRow::default(); 8]; seats];
            hot.iter_mut().zip(&all).for_each(|(hot, all)| hot[..all.len()].copy_from_slice(all));
            (raw(run), split, hot, vec![[BetRow::default(); 24]; seats])
        },
        |(tables, seats, hot, cold)| {
            let per = SEATS as usize;
            let examined: u64 = tables
                .par_chunks_mut(chunk)
                .zip(seats.par_chunks_mut(chunk * per))
                .zip(hot.par_chunks_mut(chunk * per))
                .zip(cold.par_chunks_mut(chunk * per))
                .map(|(((tables, seats), hot), cold)| {
                    let rows = seats.chunks_mut(per).zip(hot.chunks_mut(per)).zip(cold.chunks_mut(per));
                    let each = tables.iter_mut().zip(rows).map(|(table, ((seats, hot), cold))| {
                        let seats = seats.iter_mut().zip(hot).zip(cold);
                        resolve(table, seats.map(|((seat, hot), cold)| Split { seat, hot, cold }), &catalogue)
                    });
                    each.sum::<u64>()
                })
                .sum();
            assert!(examined > 0);
        },
    );
    let whole = median(
        runs,
        |run| {
            let seats: Vec<Whole> = (0..seats).map(|seat| Whole::new(spots(seat), all[seat].iter().copied())).collect();
            (raw(run), seats)
        },
        |(tables, seats)| {
            let per = SEATS as usize;
            let examined: u64 = tables
                .par_chunks_mut(chunk)
                .zip(seats.par_chunks_mut(chunk * per))
                .map(|(tables, seats)| {
                    let each = tables.iter_mut().zip(seats.chunks_mut(per));
                    each.map(|(table, seats)| resolve(table, seats.iter_mut(), &catalogue)).sum::<u64>()
                })
                .sum();
            assert!(examined > 0);
        },
    );
    (split, whole)
}

/// Bets, settings and take-downs of players all over the tables, in blocks as a chain has them.
fn intents(tables: u32, runs: usize) {
    let mut world = World::new(tables, SEATS, 1, 1);
    let players = tables * SEATS;
    let count = players.min(7_000);
    let expiry_s = 1_030;
    let (mut next, mut time_ms, mut number) = (world.next, 1_000_001 + world.next.0, 10);
    let mut apply = stage(intake::apply_intents);
    let mut block = || -> Vec<Intent> {
        number += 1;
        let intent = |index: u32| {
            // A stride that is coprime to the number of players meets them all, in no order that a cache would like.
            let player = (u64::from(index) * 7_919 + number * 31) as u32 % players;
            let (kind, bet) = match index % 4 {
                0 | 1 => (IntentKind::Bet, 43 + (number as u8) % 10),
                2 => (IntentKind::SetWorking, 66),
                _ => (IntentKind::SetAmount, 66),
            };
            let body =
                IntentBody::new(kind, key(player), number, expiry_s).at(TableId(player / SEATS)).on(BetId(bet), 0);
            let body = match kind {
                IntentKind::SetWorking => body.working(Working::Off),
                IntentKind::SetAmount => body.amount(60 + number),
                _ => body.amount(5),
            };
            Intent { body, signature: [0; 64] }
        };
        (0..count).map(intent).collect()
    };
    let mut applied = 0;
    let mut seconds = Vec::new();
    for _ in 0..runs * 3 {
        world.machine.begin(next, time_ms, block(), Draw::Beacon([0; 48]));
        let began = std::time::Instant::now();
        world.machine.run(&mut apply);
        seconds.push(began.elapsed().as_secs_f64());
        applied = world.machine.report().counts.applied;
        // The rest of the height, which is not timed.
        world.machine.run(&mut stage((crossing::settle_accounts, update_root).chain()));
        next = next.next();
        time_ms += 1;
    }
    seconds.sort_by(f64::total_cmp);
    let median = seconds[seconds.len() / 2];
    println!(
        "settle::intents/tables={tables}: {:.2} million/s on one core ({count} a block, {applied} of them applied)",
        f64::from(count) / median / 1e6
    );
}

/// The root when a twentieth of the tables roll: as neighbours of one clock phase, and scattered.
fn roots(tables: u32, runs: usize) {
    let mut world = World::new(tables, SEATS, 20, 2);
    let (image, next) = (world.image(), world.next);
    let machine = &mut world.machine;
    for scattered in [false, true] {
        let mut shares = Vec::new();
        let mut groups = 0;
        for run in 0..runs {
            machine.import(&image).expect("its own image");
            machine.root();
            let (time_ms, intents) =
                if scattered { scattered_rolls(tables) } else { (machine.next_due_ms().expect("due"), Vec::new()) };
            machine.begin(next, time_ms, intents, Draw::Beacon([run as u8; 48]));
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
            let began = std::time::Instant::now();
            machine.run(&mut before_root);
            let before = began.elapsed().as_secs_f64();
            let began = std::time::Instant::now();
            machine.run(&mut stage(update_root));
            shares.push((began.elapsed().as_secs_f64(), before));
            groups = machine.touched_groups();
            let rolled = machine.report().counts.rolls;
            assert!(rolled.abs_diff(u64::from(tables / 20)) < 40, "{rolled} tables rolled");
        }
        let root = machine.report().root;
        let full = benches_full_root(machine);
        assert_eq!(root, full, "the incremental root is the hash of the whole image");
        shares.sort_by(|a, b| a.0.total_cmp(&b.0));
        let (root, before) = shares[shares.len() / 2];
        println!(
            "settle::root/{}: {:.2} ms for {groups} of {} groups, {:.0}% of the settled height",
            if scattered { "scattered" } else { "neighbours" },
            root * 1e3,
            machine.layout().groups(),
            100.0 * root / (root + before),
        );
    }
}

fn benches_full_root(machine: &mut systems::Machine) -> engine::Hash {
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
