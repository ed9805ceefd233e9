//! A clock on the wall that is set while a chain goes on: no block goes back in time, nobody is absent for it, and what
//! cannot be taken meanwhile is shed with a reason.

use std::num::NonZeroU32;

use crate::common::genesis;
use engine::genesis::Genesis;
use engine::io::{Alarm, AlarmLevel, Input, Offence, Output, ShedReason, Verdict};
use engine::limits::TIME_MS_MAX;
use engine::message::intent::{IntentBody, IntentKind};
use engine::{PeerId, TableId, Tick};
use order::keys::dev_keys;
use order::signature::PlayerKey;
use systems::exchange::Clock;
use systems::machine::Membership;
use systems::{Machine, Setup};

const TABLE: TableId = TableId(0);
const CHAIN: [u8; 32] = [9; 32];
/// A moment of the wall's clock.
const NOON: u64 = 1_800_000_000_000;

/// A lone validator whose clock the test sets.
struct Validator {
    machine: Machine,
    tick: u64,
    now_ms: u64,
    player: PlayerKey,
    number: u64,
    /// The times of its blocks, each with what its clock showed.
    blocks: Vec<(u64, u64)>,
    sheds: Vec<ShedReason>,
    verdicts: Vec<Verdict>,
    /// Peers that it put out.
    bans: usize,
    alarms: Vec<Alarm>,
}

impl Validator {
    fn new() -> Self {
        let keys = dev_keys(&[1; 32], NonZeroU32::MIN);
        let mut genesis = Genesis { start_ms: NOON, idle_ms: 20_000, ..genesis(1, 4, 10) };
        keys.install(&mut genesis);
        let player = keys.player(0);
        let [vote] = <[_; 1]>::try_from(keys.votes).expect("one validator");
        let [signer] = <[_; 1]>::try_from(keys.beacons).expect("one share");
        let mut drawn = 0;
        let secret = order::batch::BatchSecret::draw(|bytes| {
            drawn += 1;
            bytes.fill(drawn);
            Ok::<(), std::convert::Infallible>(())
        });
        let secret = secret.expect("it cannot fail");
        let member = Membership { vote, group: keys.group, signer, secret, peers: 1, network: None };
        let setup = Setup::new(genesis, CHAIN).expect("a genesis");
        let machine = Machine::validator(setup, 1, member).expect("a validator");
        let (blocks, sheds, verdicts) = (Vec::new(), Vec::new(), Vec::new());
        let alarms = Vec::new();
        Self { machine, tick: 0, now_ms: NOON, player, number: 0, blocks, sheds, verdicts, bans: 0, alarms }
    }

    /// Ticks of 5 ms.
    fn go_on(&mut self, ticks: u64) {
        (0..ticks).for_each(|_| self.tick_with(Vec::new()));
    }

    fn tick_with(&mut self, mut inputs: Vec<Input>) {
        self.tick += 1;
        self.now_ms += 5;
        // What was recorded in the tick before is on the disk.
        inputs.push(Input::Synced { group: self.tick - 1 });
        let mut outputs = Vec::new();
        let clock = Clock { tick: Tick(self.tick), now_ms: self.now_ms };
        self.machine.exchange(clock, &mut inputs, &mut outputs).expect("the order holds");
        self.machine.settle_ready(&mut outputs).expect("no invariant breaks");
        for output in outputs {
            match output {
                Output::Decided(decided) => self.blocks.push((decided.block.header.time_ms, self.now_ms)),
                Output::Shed { reason, .. } => self.sheds.push(reason),
                Output::Receipt { receipt, .. } => self.verdicts.push(receipt.verdict),
                Output::Ban { .. } => self.bans += 1,
                Output::Alarm(alarm) => self.alarms.push(alarm),
                _ => {}
            }
        }
    }

    /// Sends an intent that may wait for 40 s by the player's own clock.
    fn send(&mut self, kind: IntentKind, players_clock_ms: u64, fill: impl FnOnce(IntentBody) -> IntentBody) {
        self.number += 1;
        let expiry_s = u32::try_from(players_clock_ms / 1_000 + 40).expect("until 2106");
        let body = fill(IntentBody::new(kind, self.player.public(), self.number, expiry_s));
        let intents = vec![self.player.sign(body, &CHAIN)];
        self.tick_with(vec![Input::Intents { from: PeerId::LOCAL, intents }]);
    }

    fn sit(&mut self) {
        self.send(IntentKind::Open, self.now_ms, |body| body);
        self.go_on(20);
        self.send(IntentKind::Sit, self.now_ms, |body| body.at(TABLE).amount(5_000));
        self.go_on(20);
        assert_eq!(self.verdicts, [Verdict::Applied; 2]);
        self.verdicts.clear();
    }

    fn is_seated(&mut self) -> bool {
        self.machine.read(|rows| rows.seats[0].is_seated())
    }

    fn check_times(&self) {
        assert!(self.blocks.windows(2).all(|pair| pair[0].0 < pair[1].0), "no block goes back in time");
    }
}

#[test]
fn a_clock_that_is_set_forward_makes_nobody_absent() {
    let mut validator = Validator::new();
    validator.sit();
    for step in [3_600_000, 24 * 3_600_000] {
        validator.now_ms += step;
        validator.go_on(400);
        assert!(validator.is_seated(), "after {step} ms");
        let (time_ms, now_ms) = *validator.blocks.last().expect("blocks");
        assert!(now_ms.abs_diff(time_ms) <= 500, "block time follows the wall: {time_ms} at {now_ms}");
    }
    validator.check_times();
    // The same player is absent once those 20 s have been played.
    validator.go_on(4_500);
    assert!(!validator.is_seated());
}

#[test]
fn a_clock_that_is_set_back_stops_the_game_with_a_reason_until_it_has_caught_up() {
    let mut validator = Validator::new();
    validator.sit();
    validator.go_on(200);
    validator.now_ms -= 600_000;
    let behind_ms = validator.now_ms;
    for second in 0..5 {
        validator.send(IntentKind::Leave, behind_ms + 1_000 * second, |body| body.at(TABLE));
        validator.go_on(200);
    }
    assert_eq!(validator.sheds, [ShedReason::ClockBehind; 5]);
    assert_eq!(validator.verdicts, [], "none is refused for good");
    // The clock catches up, and the game goes on.
    validator.now_ms += 600_000;
    validator.go_on(200);
    validator.send(IntentKind::Leave, validator.now_ms, |body| body.at(TABLE));
    validator.go_on(20);
    assert_eq!(validator.verdicts, [Verdict::Applied]);
    validator.check_times();
}

/// Nobody reads a block after the year 2106: a lone validator that recorded one would have lost its session.
#[test]
fn a_clock_beyond_what_a_block_can_have_proposes_nothing_says_so_and_goes_on_once_it_is_right() {
    let mut validator = Validator::new();
    validator.sit();
    for beyond_ms in [TIME_MS_MAX + 1, u64::MAX / 2] {
        let (before_ms, blocks) = (validator.now_ms, validator.blocks.len());
        validator.now_ms = beyond_ms;
        validator.go_on(1_000);
        assert_eq!(validator.blocks.len(), blocks, "nothing is decided at {beyond_ms}");
        let is_of_the_clock = |alarm: &Alarm| {
            let names = matches!(alarm, Alarm::ClockTooLate { now_ms } if *now_ms > TIME_MS_MAX);
            names && alarm.level() == AlarmLevel::Stuck && alarm.to_string().contains("clock")
        };
        assert!(validator.alarms.iter().all(is_of_the_clock), "{:?}", validator.alarms);
        let told = validator.alarms.len();
        assert!((2..20).contains(&told), "it is told in each round, and no more: {told}");
        validator.alarms.clear();

        validator.now_ms = before_ms + 5_000;
        validator.go_on(1_000);
        validator.send(IntentKind::SetWorking, validator.now_ms, |body| body.at(TABLE));
        validator.go_on(200);
        assert_eq!(validator.verdicts.len(), 1, "it goes on once the clock is right");
        validator.verdicts.clear();
        assert!(validator.is_seated() && validator.blocks.len() > blocks);
        assert_eq!(validator.alarms, []);
    }
    validator.check_times();
    assert!(validator.blocks.iter().all(|(time_ms, now_ms)| time_ms.abs_diff(*now_ms) <= 500));
}

#[test]
fn a_clock_that_is_put_right_by_a_little_stops_nothing() {
    let mut validator = Validator::new();
    validator.sit();
    for round in 0..20 {
        validator.now_ms -= 300;
        validator.send(IntentKind::SetWorking, validator.now_ms, |body| body.at(TABLE));
        validator.go_on(200);
        assert_eq!(validator.verdicts.len(), round + 1, "each is answered");
    }
    assert_eq!(validator.sheds, []);
    validator.check_times();
}

/// Somebody offends every half a minute, which is forgiven in between: the clock on the wall neither keeps nor clears a score.
#[test]
fn a_clock_that_is_set_puts_nobody_out_and_forgives_nobody() {
    let mut validator = Validator::new();
    let peer = PeerId { slot: 0, generation: 1 };
    validator.tick_with(vec![Input::Joined { peer, key: [1; 32], address: [0; 16], node: false }]);
    let offend = |validator: &mut Validator| {
        validator.tick_with(vec![Input::Offended { peer, offence: Offence::Flood }]);
    };
    validator.now_ms -= 3_600_000;
    for _ in 0..10 {
        // The ticks between were missed.
        (validator.tick, validator.now_ms) = (validator.tick + 6_000, validator.now_ms + 30_000);
        offend(&mut validator);
    }
    assert_eq!(validator.bans, 0, "each of them was forgiven before the next");
    for _ in 0..3 {
        validator.now_ms += 3_600_000;
        offend(&mut validator);
    }
    assert_eq!(validator.bans, 1, "an hour on the wall is none");
}
