//! The session against a model that keeps every message and every unit, in time that only the test moves.

use std::collections::BTreeSet;

use engine::TableId;
use engine::limits::{MESSAGE_INTENTS_MAX, MESSAGE_PLEDGES_MAX, PEER_PLEDGE_CREDIT};
use engine::message::intent::{IntentBody, IntentKind};

use super::*;
use crate::budget::{ENTRY_COST, EXCESS_OFFENCE, WATCH_COST};
use crate::wire::Role;

const PEER: PeerId = PeerId { slot: 3, generation: 1 };
const PER_S: NonZeroU32 = NonZeroU32::new(100).expect("not zero");
const PATIENCE: Duration = Duration::from_secs(5);
const START: Duration = Duration::from_secs(70);

fn session() -> Session {
    let opens_per_min = NonZeroU32::new(6).expect("not zero");
    Session::new(PEER, &SessionBounds { intents_per_s: PER_S, opens_per_min, patience: PATIENCE }, START)
}

fn bytes(message: &ToNode) -> Vec<u8> {
    let mut bytes = Vec::new();
    message.encode(&mut bytes);
    bytes
}

fn hello(role: Role) -> Vec<u8> {
    bytes(&ToNode::Hello(Hello { chain: None, program: "test".into(), role }))
}

fn intent(number: u64) -> Intent {
    let body = IntentBody::new(IntentKind::Leave, [7; 32], number, 1_000_000).at(TableId(0));
    Intent { body, signature: [1; 64] }
}

fn open(role: Role) -> Session {
    let mut session = session();
    let mut events = Vec::new();
    session.take(&hello(role), START, &mut events).expect("a hello");
    assert!(matches!(events[..], [Event::Hello(_)]));
    session
}

fn intents_of(events: &[Event]) -> Vec<u64> {
    let of = |event: &Event| match event {
        Event::Input(Input::Intents { from, intents }) => {
            assert_eq!(*from, PEER);
            intents.iter().map(|intent| intent.body.number).collect()
        }
        _ => Vec::new(),
    };
    events.iter().flat_map(of).collect()
}

fn sheds_of(events: &[Event]) -> Vec<ShedReason> {
    let of = |event: &Event| match event {
        Event::Answer(Answer { verdict: AnswerVerdict::Shed(reason), .. }) => Some(*reason),
        _ => None,
    };
    events.iter().filter_map(of).collect()
}

fn offences_of(events: &[Event]) -> usize {
    let is = |event: &&Event| matches!(event, Event::Input(Input::Offended { peer: PEER, offence: Offence::Flood }));
    events.iter().filter(is).count()
}

#[test]
fn a_message_has_one_deadline_however_many_pieces_it_comes_in() {
    let mut session = session();
    let mut events = Vec::new();
    assert_eq!(session.deadline(), Some(START + PATIENCE), "something must be said");
    let hello = hello(Role::Client);
    let (last, rest) = hello.split_last().expect("a message");
    for (index, byte) in rest.iter().enumerate() {
        let now = START + Duration::from_millis(50) * index as u32;
        session.take(&[*byte], now, &mut events).expect("a piece");
        assert_eq!(session.deadline(), Some(START + PATIENCE), "piece {index}");
        assert_eq!(session.unfinished(), index + 1, "what has come of it is held");
    }
    let later = START + Duration::from_secs(4);
    session.take(&[*last], later, &mut events).expect("the last piece");
    assert_eq!((session.deadline(), session.unfinished()), (None, 0), "nothing has begun");
    // The end of one message and the beginning of the next: the next has a deadline of its own.
    let watch = bytes(&ToNode::Watch(vec![(Watched::Table(TableId(1)), true)]));
    let at = |seconds| later + Duration::from_secs(seconds);
    session.take(&watch[..20], at(10), &mut events).expect("a piece");
    assert_eq!(session.deadline(), Some(at(15)));
    session.take(&[&watch[20..], &watch[..3]].concat(), at(14), &mut events).expect("a piece");
    assert_eq!(session.deadline(), Some(at(19)));
    session.take(&watch[3..10], at(18), &mut events).expect("a piece");
    assert_eq!(session.deadline(), Some(at(19)));
}

#[test]
fn of_any_mix_of_messages_no_more_is_handled_than_the_budget_pays_and_the_rest_is_an_offence() {
    [Role::Client, Role::Node].into_iter().for_each(mix);
}

fn mix(role: Role) {
    let mut session = open(role);
    assert_eq!(session.take_handled(), Handled { handled: 1, dropped: 0 }, "the hello");
    let (mut events, mut now, mut state) = (Vec::new(), START, 9u64);
    let (mut units, mut offered, mut next) = (0u64, 0u64, 1);
    let pledge = PledgeRow { roll: 1, kind: 1, value: [2; 32], ..bytemuck::Zeroable::zeroed() };
    let lasts = Duration::from_secs(30);
    while now < START + lasts {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        let message = match state >> 61 {
            0..4 if role == Role::Node => ToNode::Peers(vec![bytemuck::Zeroable::zeroed(); 5]),
            _ if role == Role::Node => ToNode::Standing(engine::io::ChainProgress::default()),
            0 | 1 => {
                let count = 1 + (state >> 40) % MESSAGE_INTENTS_MAX as u64;
                next += count;
                ToNode::Intents((next - count..next).map(intent).collect())
            }
            2 | 3 => ToNode::Watch(vec![(Watched::Table(TableId((state >> 50) as u32 % 8)), state >> 59 & 1 == 0)]),
            4 | 5 => ToNode::Pledges(vec![pledge; 1 + (state >> 40) as usize % MESSAGE_PLEDGES_MAX]),
            _ => ToNode::AskGenesis,
        };
        events.clear();
        session.take(&bytes(&message), now, &mut events).expect("a message");
        let price = u64::from(match &message {
            ToNode::Intents(intents) => INTENT_COST * intents.len() as u32,
            message => message.price().expect("paid for as a whole"),
        });
        offered += price;
        if matches!(message, ToNode::Intents(_)) {
            let shed = sheds_of(&events).iter().filter(|reason| **reason == ShedReason::RateLimit).count() as u64;
            units += price - shed * u64::from(INTENT_COST);
            // Everything is answered, so that credit bounds nothing here.
            for number in intents_of(&events) {
                session.answered(&Answer { id: intent(number).id(), verdict: AnswerVerdict::Shed(ShedReason::Busy) });
            }
        } else {
            units += price * u64::from(session.take_handled().handled);
        }
        session.take_handled();
        now += Duration::from_micros(state >> 20 & 0x7fff);
    }
    let most = u64::from(ENTRY_COST) + (2 + lasts.as_secs()) * 100 * u64::from(INTENT_COST);
    assert!(units <= most, "{units} of {most} units");
    assert!(units * 10 > most * 9, "the budget can be spent: {units} of {most}");
    assert!(2 * offered > 3 * most, "it was a flood: {offered} of {most}");
}

#[test]
fn a_flood_is_an_offence_each_time_that_its_excess_is_worth_256_intents() {
    let mut session = open(Role::Client);
    let (mut events, mut said) = (Vec::new(), 0u32);
    let watch = bytes(&ToNode::Watch(vec![(Watched::Table(TableId(1)), true)]));
    let budget = ENTRY_COST + 200 * INTENT_COST - crate::budget::SMALL_COST;
    while offences_of(&events) < 4 {
        session.take(&watch, START, &mut events).expect("a message");
        said += 1;
    }
    let handled = events.iter().filter(|event| matches!(event, Event::Input(Input::Watch { .. }))).count() as u32;
    assert_eq!(handled, budget / WATCH_COST);
    let each = EXCESS_OFFENCE.div_ceil(WATCH_COST);
    assert_eq!(said, handled + 4 * each);
}

#[test]
fn intents_within_rate_and_credit_go_on_and_each_other_one_has_an_answer() {
    let mut session = open(Role::Client);
    let (mut events, mut now, mut state) = (Vec::new(), START, 1u64);
    let mut waiting = BTreeSet::new();
    let mut next = 1;
    let (mut taken, mut shed) = (0usize, 0usize);
    for _ in 0..3_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        now += Duration::from_micros(state >> 40 & 0xffff);
        events.clear();
        let count = 1 + (state >> 33) % 16;
        let numbers: Vec<u64> = (next..next + count).collect();
        next += count;
        session
            .take(&bytes(&ToNode::Intents(numbers.iter().map(|n| intent(*n)).collect())), now, &mut events)
            .expect("intents");
        let went = intents_of(&events);
        waiting.extend(went.iter().copied());
        assert!(waiting.len() <= PEER_CREDIT as usize);
        assert_eq!(went.len() + sheds_of(&events).len(), numbers.len(), "each has gone on or has its answer");
        taken += went.len();
        shed += sheds_of(&events).len();
        // Receipts come for some of those that wait; an acknowledgement gives no credit back.
        while state % 3 != 0 && waiting.len() > (state >> 20) as usize % 60 {
            let number = waiting.pop_first().expect("some wait");
            session.answered(&Answer { id: intent(number).id(), verdict: AnswerVerdict::Acknowledged });
            session.answered(&Answer { id: intent(number).id(), verdict: AnswerVerdict::Shed(ShedReason::Busy) });
        }
    }
    assert!(taken > 5_000 && shed > 500, "{taken} taken, {shed} shed");
}

#[test]
fn messages_of_intents_that_come_together_are_one_batch_as_large_as_a_message() {
    let mut session = open(Role::Client);
    let mut events = Vec::new();
    let of = |numbers: std::ops::Range<u64>| bytes(&ToNode::Intents(numbers.map(intent).collect()));
    session.take(&[of(0..1), of(1..3)].concat(), START, &mut events).expect("intents");
    assert_eq!((events.len(), intents_of(&events)), (1, vec![0, 1, 2]));
    // What was said between them stays between them.
    events.clear();
    session.take(&[of(3..4), bytes(&ToNode::AskGenesis), of(4..5)].concat(), START, &mut events).expect("intents");
    assert_eq!((events.len(), intents_of(&events)), (3, vec![3, 4]));
    let mut session = open(Role::Client);
    events.clear();
    let again: Vec<u8> = (0..3).flat_map(|_| of(0..MESSAGE_INTENTS_MAX as u64 / 2)).collect();
    session.take(&again, START, &mut events).expect("intents");
    assert_eq!(events.len(), 2, "the third is beyond what a batch may have");
}

#[test]
fn pledges_have_a_credit_of_their_own_and_what_has_waited_for_long_holds_none() {
    const CREDIT: usize = PEER_PLEDGE_CREDIT as usize;
    let mut session = open(Role::Client);
    let row = |roll: u32| PledgeRow {
        signature: [roll as u8; 64],
        ..PledgeRow::pledge([7; 32], TableId(0), roll, 1, [2; 32])
    };
    let say = |session: &mut Session, rolls: std::ops::Range<u32>, now: Duration| {
        let mut events = Vec::new();
        session.take(&bytes(&ToNode::Pledges(rolls.map(row).collect())), now, &mut events).expect("pledges");
        let of = |event: &Event| match event {
            Event::Input(Input::Pledges { from: PEER, pledges }) => pledges.len(),
            _ => 0,
        };
        assert!(sheds_of(&events).iter().all(|reason| *reason == ShedReason::NoCredit));
        (events.iter().map(of).sum::<usize>(), sheds_of(&events).len())
    };
    assert_eq!(say(&mut session, 1..41, START), (CREDIT, 40 - CREDIT));
    assert_eq!(session.unanswered(), CREDIT);
    assert_eq!(say(&mut session, 1..6, START), (5, 0), "those wait already");
    let mut events = Vec::new();
    session.take(&bytes(&ToNode::Intents(vec![intent(1)])), START, &mut events).expect("an intent");
    assert_eq!((intents_of(&events), session.unanswered()), (vec![1], CREDIT + 1), "intents have theirs");
    session.answered(&Answer { id: row(1).id(), verdict: AnswerVerdict::Acknowledged });
    assert_eq!(say(&mut session, 50..51, START), (0, 1));
    session.answered(&Answer { id: row(2).id(), verdict: AnswerVerdict::Shed(ShedReason::Busy) });
    let later = START + PLEDGE_WAITS - Duration::from_millis(1);
    assert_eq!(say(&mut session, 51..53, later), (1, 1), "one has its answer");
    assert_eq!(say(&mut session, 53..93, START + PLEDGE_WAITS), (CREDIT - 1, 40 - (CREDIT - 1)));
    assert_eq!(session.unanswered(), CREDIT + 1);
}

#[test]
fn a_connection_asks_for_a_few_accounts_a_minute() {
    let mut session = open(Role::Client);
    let asked = |session: &mut Session, first: u64, now| {
        let asks = (first..first + 20).map(|number| {
            let body = IntentBody::new(IntentKind::Open, [7; 32], number, 1_000_000);
            Intent { body, signature: [1; 64] }
        });
        let mut events = Vec::new();
        session.take(&bytes(&ToNode::Intents(asks.collect())), now, &mut events).expect("intents");
        let sheds = sheds_of(&events);
        assert!(sheds.iter().all(|reason| *reason == ShedReason::OpenRate));
        assert_eq!(sheds.len() + intents_of(&events).len(), 20, "each has gone on or has its answer");
        20 - sheds.len()
    };
    assert_eq!(asked(&mut session, 1, START), 6);
    assert_eq!(asked(&mut session, 21, START + Duration::from_secs(30)), 3);
    assert_eq!(asked(&mut session, 41, START + Duration::from_secs(600)), 6);
}

#[test]
fn messages_out_of_place_end_the_connection() {
    let place = |session: &mut Session, message: &[u8]| {
        let mut events = Vec::new();
        session.take(message, START, &mut events).map_err(|close| close.code)
    };
    let standing = bytes(&ToNode::Standing(engine::io::ChainProgress::default()));
    assert_eq!(place(&mut session(), &bytes(&ToNode::AskGenesis)), Err(CloseCode::Malformed), "before hello");
    assert_eq!(place(&mut open(Role::Client), &hello(Role::Client)), Err(CloseCode::Malformed), "a second hello");
    assert_eq!(place(&mut open(Role::Client), &standing), Err(CloseCode::Malformed), "a player is no node");
    assert_eq!(place(&mut open(Role::Node), &standing), Ok(()));
    let too_many = (0..=PEER_WATCHES_MAX as u32).map(|table| (Watched::Table(TableId(table)), true));
    assert_eq!(place(&mut open(Role::Client), &bytes(&ToNode::Watch(too_many.collect()))), Err(CloseCode::Malformed));
}

#[test]
fn a_close_code_is_read_back_from_its_number_and_has_words_of_its_own() {
    let said: BTreeSet<_> = CloseCode::ALL.map(|(code, ..)| (code.name(), code.sentence())).into();
    assert_eq!(said.len(), CloseCode::ALL.len(), "no two say the same: {said:?}");
    assert!(said.iter().all(|(name, sentence)| *name == name.to_uppercase() && sentence.contains(' ')), "{said:?}");
    for (number, (code, name, sentence)) in (0..).zip(CloseCode::ALL) {
        assert_eq!(CloseCode::of(number), Some(code));
        assert_eq!((code as u64, code.name(), code.sentence()), (number, name, sentence));
    }
    assert_eq!(CloseCode::of(CloseCode::ALL.len() as u64), None, "a number of a later version");
    assert_eq!(CloseCode::of(1 << 32), None, "no digit of a number is left out");
}

/// What may be spent, counted as a pile that grows with time up to a bound.
struct Pile {
    grows_per_s: u64,
    most: u64,
    /// In billionths, so that what grows in a nanosecond is whole.
    has: u64,
    last: Duration,
}

const BILLION: u64 = 1_000_000_000;

impl Pile {
    fn full(grows_per_s: u64, most: u64) -> Self {
        Self { grows_per_s, most, has: most * BILLION, last: START }
    }

    fn spend(&mut self, units: u64, now: Duration) -> bool {
        let grown = u64::try_from((now - self.last).as_nanos()).expect("a test of minutes") * self.grows_per_s;
        self.has = (self.has + grown).min(self.most * BILLION);
        self.last = now;
        let pays = self.has >= units * BILLION;
        self.has -= if pays { units * BILLION } else { 0 };
        pays
    }
}

/// A connection as the page about the protocol has it, with nothing packed or counted cleverly.
struct Model {
    budget: Pile,
    /// Ten times what it is: one account in ten seconds is less than one in a second.
    opens: Pile,
    unanswered: BTreeSet<u64>,
    watching: BTreeSet<u32>,
    excess: u64,
    /// What the budget paid for and what it did not, since the session was last asked.
    counted: Handled,
}

/// What a session says, as far as a model has it.
#[derive(PartialEq, Eq, Debug)]
enum Said {
    Intent(u64),
    Shed(u64, ShedReason),
    Watch(u32, bool),
    Genesis,
    Flood,
}

impl Model {
    fn new() -> Self {
        let per_s = u64::from(PER_S.get() * INTENT_COST);
        let mut budget = Pile::full(per_s, 2 * per_s + u64::from(ENTRY_COST));
        assert!(budget.spend(crate::budget::SMALL_COST.into(), START), "the hello");
        let opens = Pile::full(1, 60);
        let counted = Handled { handled: 1, dropped: 0 };
        Self { budget, opens, unanswered: BTreeSet::new(), watching: BTreeSet::new(), excess: 0, counted }
    }

    /// Takes intents, of which each fourth asks for an account.
    fn intents(&mut self, numbers: &[u64], now: Duration, said: &mut Vec<Said>) {
        let mut sheds = Vec::new();
        for number in numbers {
            let again = self.unanswered.contains(number);
            let reason = if !self.pays(INTENT_COST, now) {
                Some(ShedReason::RateLimit)
            } else if !again && self.unanswered.len() == PEER_CREDIT as usize {
                self.excess += u64::from(INTENT_COST);
                Some(ShedReason::NoCredit)
            } else if number.is_multiple_of(4) && !again && !self.opens.spend(10, now) {
                Some(ShedReason::OpenRate)
            } else {
                None
            };
            match reason {
                Some(reason) => sheds.push(Said::Shed(*number, reason)),
                None => {
                    self.unanswered.insert(*number);
                    said.push(Said::Intent(*number));
                }
            }
        }
        said.extend(sheds);
    }

    /// Pays for a message as a whole, or for one of its intents.
    fn pays(&mut self, price: u32, now: Duration) -> bool {
        let paid = self.budget.spend(price.into(), now);
        if paid {
            self.counted.handled += 1;
        } else {
            self.counted.dropped += 1;
            self.excess += u64::from(price);
        }
        paid
    }

    /// Says the offence at the end of what was taken together.
    fn offence(&mut self, said: &mut Vec<Said>) {
        if self.excess >= u64::from(EXCESS_OFFENCE) {
            self.excess = 0;
            said.push(Said::Flood);
        }
    }
}

fn asking(number: u64) -> Intent {
    let kind = if number.is_multiple_of(4) { IntentKind::Open } else { IntentKind::Leave };
    Intent { body: IntentBody::new(kind, [7; 32], number, 1_000_000).at(TableId(0)), signature: [1; 64] }
}

/// Intents of a message first, then what was shed of it: the order within a message is nobody's business.
fn said_by(events: &[Event]) -> Vec<Said> {
    let (mut said, mut sheds) = (Vec::new(), Vec::new());
    for event in events {
        match event {
            Event::Answer(Answer { id, verdict: AnswerVerdict::Shed(reason) }) => {
                sheds.push(Said::Shed(id.number, *reason));
                continue;
            }
            Event::Input(Input::Intents { intents, .. }) => {
                said.extend(intents.iter().map(|intent| Said::Intent(intent.body.number)));
            }
            Event::Input(Input::Watch { what: Watched::Table(table), on, .. }) => said.push(Said::Watch(table.0, *on)),
            Event::AskGenesis => said.push(Said::Genesis),
            Event::Input(Input::Offended { offence: Offence::Flood, .. }) => {
                said.append(&mut sheds);
                said.push(Said::Flood);
            }
            other => panic!("{other:?} was not asked for"),
        }
    }
    said.append(&mut sheds);
    said
}

#[test]
fn a_session_says_what_a_plain_model_says_whatever_is_mixed_and_cut() {
    let mut seen = [0u32; 7];
    for seed in 1..=6u64 {
        let (mut session, mut model) = (open(Role::Client), Model::new());
        let (mut now, mut state) = (START, seed);
        let mut draw = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        for _ in 0..2_000 {
            // Quiet times and floods.
            let longest = if draw(400) == 0 { 20_000_000 } else { 60_000 };
            now += Duration::from_micros(draw(longest));
            let mut expected = Vec::new();
            let message = match draw(8) {
                0..3 => {
                    let first = draw(400);
                    let numbers: Vec<u64> = (first..first + 1 + draw(24)).collect();
                    model.intents(&numbers, now, &mut expected);
                    ToNode::Intents(numbers.into_iter().map(asking).collect())
                }
                3..5 => {
                    let (table, on) = (draw(12) as u32, draw(2) == 0);
                    if model.pays(WATCH_COST, now) {
                        let was = if on { !model.watching.insert(table) } else { model.watching.remove(&table) };
                        (on || was).then(|| expected.push(Said::Watch(table, on)));
                    }
                    ToNode::Watch(vec![(Watched::Table(TableId(table)), on)])
                }
                5 => {
                    if model.pays(crate::budget::GENESIS_COST, now) {
                        expected.push(Said::Genesis);
                    }
                    ToNode::AskGenesis
                }
                // Answers, last ones and others, to what waits and to what does not.
                _ => {
                    for _ in 0..draw(20) {
                        let number = draw(400);
                        let is_last = draw(3) > 0;
                        let verdict =
                            if is_last { AnswerVerdict::Shed(ShedReason::Busy) } else { AnswerVerdict::Acknowledged };
                        session.answered(&Answer { id: asking(number).id(), verdict });
                        is_last.then(|| model.unanswered.remove(&number));
                    }
                    continue;
                }
            };
            model.offence(&mut expected);
            let (bytes, mut events) = (bytes(&message), Vec::new());
            let cut = draw(bytes.len() as u64) as usize;
            for piece in [&bytes[..cut], &bytes[cut..]] {
                session.take(piece, now, &mut events).expect("a message");
            }
            let said = said_by(&events);
            assert_eq!(said, expected, "seed {seed}, at {now:?}");
            // Now and then, so that several messages are counted together.
            if draw(3) == 0 {
                assert_eq!(session.take_handled(), std::mem::take(&mut model.counted), "seed {seed}, at {now:?}");
            }
            let watching: BTreeSet<u32> = session
                .watching()
                .iter()
                .map(|what| match what {
                    Watched::Table(table) => table.0,
                    Watched::Account(_) => panic!("no account is watched"),
                })
                .collect();
            assert_eq!(watching, model.watching, "seed {seed}");
            for one in said {
                seen[match one {
                    Said::Intent(_) => 0,
                    Said::Shed(_, ShedReason::RateLimit) => 1,
                    Said::Shed(_, ShedReason::NoCredit) => 2,
                    Said::Shed(..) => 3,
                    Said::Watch(..) => 4,
                    Said::Genesis => 5,
                    Said::Flood => 6,
                }] += 1;
            }
        }
    }
    assert!(seen.iter().all(|count| *count > 20), "each happens often: {seen:?}");
}
