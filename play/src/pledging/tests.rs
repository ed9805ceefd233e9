use std::num::NonZeroU32;

use bytemuck::Zeroable;
use engine::component::SeatStatus;
use engine::io::SeatUpdate;
use engine::message::block::Header;
use engine::message::certificate::{Certificate, CertificateSignature};
use engine::message::pledge::pledge_end;
use engine::message::vote::{VoteBody, VoteKind};
use engine::{Genesis, Height};
use order::keys::{DevKeys, dev_keys};

use super::*;

const CHAIN: Hash = [0xAB; 32];
const OWN: AccountId = AccountId(17);
const HERE: TableId = TableId(0);
const THERE: TableId = TableId(2);

/// How many nodes there are beside the one that is connected.
const OTHERS: usize = 2;

/// A player with a key, at a house of one validator.
struct Stage {
    dir: tempfile::TempDir,
    keys: DevKeys,
    key: PlayerKey,
    pledging: Pledging,
}

fn validators(keys: &DevKeys) -> Validators {
    let mut genesis: Genesis = crate::fixture::game().setup().genesis.as_ref().clone();
    keys.install(&mut genesis);
    Validators::of_genesis(&genesis).expect("validators")
}

fn pledging(dir: &Path, keys: &DevKeys, key: &PlayerKey) -> Pledging {
    Pledging::new(&dir.join("player.pem"), key.public(), CHAIN, validators(keys), OTHERS)
}

impl Stage {
    fn new() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let (keys, key) = (dev_keys(&[3; 32], NonZeroU32::MIN), PlayerKey::from_seed(&[5; 32]));
        let pledging = pledging(dir.path(), &keys, &key);
        Self { dir, keys, key, pledging }
    }

    /// The program ends, and starts again.
    fn restart(&mut self) {
        let nowhere = tempfile::tempdir().expect("a directory");
        self.pledging = pledging(nowhere.path(), &self.keys, &self.key);
        self.pledging = pledging(self.dir.path(), &self.keys, &self.key);
    }

    /// A block of a height, and its certificate.
    fn closing(&self, height: u64, time_ms: u64) -> Closing {
        let header = Header { chain: CHAIN, height: Height(height), time_ms, ..Header::zeroed() };
        let block = header.hash();
        let body = VoteBody::new(VoteKind::Precommit, Height(height), 0, Some(block), 0);
        let signature = self.keys.votes[0].sign_vote(body, &CHAIN).signature;
        let signatures = vec![CertificateSignature { slot: 0, signature }];
        Closing { header, certificate: Certificate { height: Height(height), round: 0, block, signatures } }
    }

    /// Shows a table at which the player sits, after so many rolls. Gives what is to be done.
    fn show(&mut self, id: TableId, rolls: u32, pledge: Pledge, closing: Option<Closing>) -> Vec<PledgeStep> {
        let row = Seat { account: OWN, status: SeatStatus::Seated as u8, ..Seat::EMPTY };
        let update = TableUpdate {
            to: None,
            id,
            height: Height(9),
            time_ms: 1,
            table: Table { roll_number: rolls, dice: [3, 4], ..Table::zeroed() },
            seats: vec![SeatUpdate { seat: 0, row, bets: Vec::new() }],
            roll: None,
            resolutions: Vec::new(),
            pledge: Some(pledge),
            closing: closing.map(Box::new),
        };
        self.pledging.show(&update, true, Some(OWN));
        self.pledging.steps(Some(OWN), HERE, &self.key, 1_000)
    }

    /// As if a while had passed since something was sent.
    fn wait(&mut self) {
        let shown = self.pledging.tables.get_mut(&HERE).expect("shown");
        shown.sent.iter_mut().for_each(|(_, at)| *at = at.checked_sub(AGAIN).expect("this machine is up for longer"));
    }

    /// Looks at a table where the player sits, and pledges for its next roll.
    fn pledged(&mut self, id: TableId, rolls: u32) -> PledgeRow {
        self.show(id, rolls, Pledge::zeroed(), None);
        self.pledging.tables.get_mut(&id).expect("shown").sent = None;
        sent(&self.pledging.steps(Some(OWN), id, &self.key, 1_000)).expect("a pledge")
    }
}

/// A roll that waits.
fn waits(pledge: &PledgeRow, closing: &Closing) -> Pledge {
    Pledge {
        end: pledge.value,
        block: closing.header.hash(),
        open_until_ms: 99,
        number: pledge.number,
        ..Pledge::zeroed()
    }
}

fn sent(steps: &[PledgeStep]) -> Option<PledgeRow> {
    steps.iter().find_map(|step| if let PledgeStep::Send(row) = step { Some(*row) } else { None })
}

fn said(steps: &[PledgeStep]) -> String {
    let texts = steps.iter().map(|step| if let PledgeStep::Say(_, text) = step { text.as_str() } else { "" });
    texts.collect()
}

#[test]
fn a_roll_is_opened_at_a_table_that_is_not_looked_at_any_more_and_after_a_restart() {
    let mut stage = Stage::new();
    let (pledge, closing) = (stage.pledged(THERE, 4), stage.closing(20, 1));
    assert!(sent(&stage.show(HERE, 0, Pledge::zeroed(), None)).is_some_and(|row| row.table == HERE.0));
    let opening = sent(&stage.show(THERE, 4, waits(&pledge, &closing), Some(closing.clone()))).expect("an opening");
    assert_eq!((opening.table, opening.roll, opening.block), (THERE.0, 5, closing.header.hash()));
    assert_eq!(pledge_end(&CHAIN, THERE, &stage.key.public(), 5, &opening.value), pledge.value);
    // Another start knows where a roll may wait, and opens it with the same bytes.
    stage.restart();
    assert_eq!(stage.pledging.tables(), [THERE, HERE]);
    let again = stage.show(THERE, 4, waits(&pledge, &closing), Some(closing));
    assert_eq!(sent(&again), Some(opening));
}

#[test]
fn a_roll_is_opened_only_for_a_block_that_a_quorum_certified_and_for_one_alone() {
    let mut stage = Stage::new();
    let pledge = stage.pledged(HERE, 0);
    let (closing, other) = (stage.closing(20, 1), stage.closing(20, 2));
    let uncertified = Closing { header: closing.header, certificate: other.certificate.clone() };
    let mut forged = closing.clone();
    forged.certificate.signatures[0].signature[3] ^= 1;
    for (pledge, shown) in [
        (waits(&pledge, &closing), None),
        (waits(&pledge, &closing), Some(other.clone())),
        (waits(&pledge, &closing), Some(uncertified)),
        (waits(&pledge, &closing), Some(forged)),
    ] {
        let steps = stage.show(HERE, 0, pledge, shown);
        assert_eq!(sent(&steps), None);
    }
    assert!(sent(&stage.show(HERE, 0, waits(&pledge, &closing), Some(closing.clone()))).is_some());
    // As if a while had passed.
    stage.pledging.tables.get_mut(&HERE).expect("shown").sent = None;
    let steps = stage.show(HERE, 0, waits(&pledge, &other), Some(other));
    assert_eq!(sent(&steps), None, "a second block at one height");
    assert!(said(&steps).contains("the node shows a second block at one height"), "{}", said(&steps));
}

#[test]
fn a_node_that_shows_no_decided_block_is_left_for_every_other_one_and_no_more() {
    let mut stage = Stage::new();
    let leaves = |steps: &[PledgeStep]| steps.iter().filter(|step| matches!(step, PledgeStep::Leave)).count();
    let pledge = stage.pledged(HERE, 0);
    let (closing, other) = (stage.closing(20, 1), stage.closing(20, 2));
    // Each time the table is shown by the next node.
    let mut left: Vec<usize> = Vec::new();
    for shown in [None, Some(other), None, None] {
        left.push(leaves(&stage.show(HERE, 0, waits(&pledge, &closing), shown)));
    }
    assert_eq!(left, [1, 1, 0, 0]);
    let steps = stage.show(HERE, 0, waits(&pledge, &closing), Some(closing));
    assert!(sent(&steps).is_some() && leaves(&steps) == 0, "{steps:?}");
    // The roll after has its own tries; what no node can mend has none.
    let (next, closing) = (stage.pledged(HERE, 7), stage.closing(30, 1));
    assert_eq!(leaves(&stage.show(HERE, 7, waits(&next, &closing), None)), 1);
    let others = PledgeRow { value: [9; 32], ..next };
    let steps = stage.show(HERE, 7, waits(&others, &closing), Some(closing));
    assert!(said(&steps).contains("is not known here") && leaves(&steps) == 0, "{steps:?}");
}

#[test]
fn a_lost_secret_opens_nothing_says_what_it_costs_and_is_followed_by_a_new_pledge() {
    let mut stage = Stage::new();
    let first = stage.show(HERE, 0, Pledge::zeroed(), None);
    let pledge = sent(&first).expect("a pledge");
    assert!(said(&first).contains("the bets on the table are lost, and nothing else"), "{}", said(&first));
    std::fs::remove_file(beside(&stage.dir.path().join("player.pem"))).expect("a book");
    stage.restart();
    let closing = stage.closing(20, 1);
    let steps = stage.show(HERE, 0, waits(&pledge, &closing), Some(closing.clone()));
    assert_eq!(sent(&steps), None);
    assert!(said(&steps).contains("is not opened, and its bets will be lost"), "{}", said(&steps));
    assert_eq!(said(&stage.show(HERE, 0, waits(&pledge, &closing), Some(closing))), "", "once");
    // The roll is used up, and the player sits down again.
    let anew = sent(&stage.show(HERE, 1, Pledge::zeroed(), None)).expect("a pledge");
    assert_eq!((anew.is_opening(), anew.roll), (false, 2));
    assert_ne!(anew.value, pledge.value);
    let closing = stage.closing(30, 3);
    assert!(sent(&stage.show(HERE, 1, waits(&anew, &closing), Some(closing))).is_some());
}

/// A node that is behind, or lies, shows a table without the pledge that stands on the chain.
#[test]
fn a_roll_is_opened_with_the_secret_that_stands_though_a_node_had_others_pledged_after_it() {
    for restarts in [false, true] {
        let mut stage = Stage::new();
        let (row, closing) = (stage.pledged(HERE, 6), stage.closing(20, 1));
        stage.restart();
        let again = sent(&stage.show(HERE, 6, Pledge::zeroed(), None)).expect("a pledge");
        assert_eq!((again.roll, again.value), (7, row.value), "of one roll there is one secret");
        assert!(again.number > row.number);
        for rolls in [3, 4, 5] {
            let other = sent(&stage.show(HERE, rolls, Pledge::zeroed(), None)).expect("a pledge");
            assert_ne!(other.value, row.value, "what opens roll 7 is shown for no other");
        }
        if restarts {
            stage.restart();
        }
        assert_eq!(sent(&stage.show(HERE, 6, stands_after(&row), None)), None, "it would open that");
        let steps = stage.show(HERE, 6, waits(&row, &closing), Some(closing));
        let opening = sent(&steps).expect("an opening");
        assert!(opening.is_opening() && opening.roll == 7, "{}", said(&steps));
        assert_eq!(pledge_end(&CHAIN, HERE, &stage.key.public(), 7, &opening.value), row.value);
    }
}

#[test]
fn a_book_that_another_program_held_is_taken_up_when_that_one_has_ended() {
    let mut stage = Stage::new();
    let (pledge, closing) = (stage.pledged(THERE, 0), stage.closing(20, 1));
    let second = pledging(stage.dir.path(), &stage.keys, &stage.key);
    let first = std::mem::replace(&mut stage.pledging, second);
    assert!(stage.pledging.tables().is_empty());
    let steps = stage.show(THERE, 0, waits(&pledge, &closing), Some(closing.clone()));
    assert!(sent(&steps).is_none() && said(&steps).contains("is held by another program"), "{}", said(&steps));
    std::thread::sleep(AGAIN);
    assert!(!stage.pledging.try_book(), "it is held still");
    drop(first);
    std::thread::sleep(AGAIN);
    assert!(stage.pledging.try_book());
    assert!(!stage.pledging.try_book(), "once");
    assert_eq!(stage.pledging.tables(), [THERE]);
    let opening = sent(&stage.show(THERE, 0, waits(&pledge, &closing), Some(closing))).expect("an opening");
    assert!(opening.is_opening() && opening.roll == 1);
}

/// What stands after a row took effect.
fn stands_after(row: &PledgeRow) -> Pledge {
    Pledge { end: row.value, number: row.number, ..Pledge::zeroed() }
}

#[test]
fn two_programs_with_copies_of_one_book_do_not_pledge_over_each_other_for_ever() {
    let (mut one, mut other) = (Stage::new(), Stage::new());
    let (pledge, closing) = (one.pledged(HERE, 0), one.closing(20, 1));
    let book = |stage: &Stage| beside(&stage.dir.path().join("player.pem"));
    std::fs::copy(book(&one), book(&other)).expect("a copy");
    other.restart();
    let mut stands = stands_after(&pledge);
    assert_eq!(sent(&other.show(HERE, 0, stands, None)), None, "it could open that roll itself");
    let opening = sent(&one.show(HERE, 0, waits(&pledge, &closing), Some(closing))).expect("an opening");
    stands = Pledge { end: opening.value, ..stands };
    // Each sees what the other did; a while passes before each look.
    let (mut rows, mut words) = (Vec::new(), String::new());
    for _ in 0..5 {
        for stage in [&mut other, &mut one] {
            stage.wait();
            let steps = stage.show(HERE, 1, stands, None);
            words.push_str(&said(&steps));
            rows.extend(sent(&steps));
            stands = rows.last().map_or(stands, stands_after);
        }
    }
    assert_eq!(rows.len(), 2, "{rows:?}");
    // The one that played has the last word, and the other one says so. Started again, that one is meant, and pledges.
    assert_eq!(sent(&one.show(HERE, 1, stands, None)), None);
    assert_eq!(words.matches("another program pledged with this key").count(), 1, "{words}");
    other.restart();
    let meant = sent(&other.show(HERE, 1, stands, None)).expect("a pledge");
    assert!(!meant.is_opening() && meant.number > stands.number);
}

#[test]
fn who_was_pledged_over_pledges_again_where_nothing_is_pledged_any_more() {
    let mut stage = Stage::new();
    let pledge = stage.pledged(HERE, 0);
    let others = Pledge { end: [7; 32], number: pledge.number + 1, ..Pledge::zeroed() };
    stage.wait();
    let steps = stage.show(HERE, 0, others, None);
    assert_eq!(sent(&steps), None, "another one stands");
    assert!(said(&steps).contains("another program pledged with this key"), "{}", said(&steps));
    // A roll was used up that nobody opened, or the player sat down again.
    assert!(sent(&stage.show(HERE, 1, Pledge::zeroed(), None)).is_some_and(|row| !row.is_opening()));
}

#[test]
fn a_book_that_is_damaged_is_told_once() {
    let mut stage = Stage::new();
    let path = beside(&stage.dir.path().join("player.pem"));
    let pledge = stage.pledged(HERE, 0);
    let stands = stands_after(&pledge);
    stage.restart();
    assert_eq!(said(&stage.show(HERE, 0, stands, None)), "", "it is whole");
    let mut bytes = std::fs::read(&path).expect("a book");
    bytes.extend_from_slice(b"op\xe5n 7\n");
    std::fs::write(&path, bytes).expect("written");
    stage.restart();
    let words = said(&stage.show(HERE, 0, stands, None));
    assert!(words.contains("is damaged: 1 of its lines are not what was written"), "{words}");
    assert_eq!(said(&stage.show(HERE, 0, stands, None)), "", "once");
}

#[test]
fn a_book_that_was_restored_pledges_anew_before_a_roll_that_it_could_not_open() {
    let mut stage = Stage::new();
    let path = beside(&stage.dir.path().join("player.pem"));
    let (pledge, closing) = (stage.pledged(HERE, 0), stage.closing(20, 1));
    let copy = std::fs::read(&path).expect("a book");
    let opening = sent(&stage.show(HERE, 0, waits(&pledge, &closing), Some(closing))).expect("an opening");
    let stands = Pledge { end: opening.value, number: pledge.number, ..Pledge::zeroed() };
    assert_eq!(sent(&stage.show(HERE, 1, stands, None)), None, "its own pledge stands");
    std::fs::write(&path, copy).expect("restored");
    stage.restart();
    let anew = sent(&stage.show(HERE, 1, stands, None)).expect("a pledge");
    assert_eq!((anew.is_opening(), anew.roll), (false, 2));
    assert!(anew.number > pledge.number && anew.value != stands.end);
    assert!(sent(&stage.show(HERE, 1, stands, None)).is_none_or(|row| row == anew), "it is on its way");
    let closing = stage.closing(30, 3);
    let opened = sent(&stage.show(HERE, 1, waits(&anew, &closing), Some(closing))).expect("an opening");
    assert!(opened.is_opening() && opened.roll == 2);
}

#[test]
fn a_number_that_no_program_counts_to_is_not_counted_on_from() {
    let mut stage = Stage::new();
    let book = beside(&stage.dir.path().join("player.pem"));
    let shows = |number| Pledge { end: [7; 32], number, ..Pledge::zeroed() };
    let bytes = || std::fs::metadata(&book).expect("a book").len();
    let before = bytes();
    for number in [u64::MAX, COUNTED_FROM_MAX + 1] {
        let steps = stage.show(HERE, 0, shows(number), None);
        assert!(sent(&steps).is_none() && said(&steps).contains("to which no honest program counts"), "{steps:?}");
    }
    assert_eq!(bytes(), before, "nothing of it is kept");
    // The most that a node can bring about, from where this program goes on by itself.
    let most = sent(&stage.show(HERE, 0, shows(COUNTED_FROM_MAX), None)).expect("a pledge");
    assert_eq!(most.number, COUNTED_FROM_MAX + 1);
    assert_eq!(sent(&stage.show(HERE, 0, stands_after(&most), None)), None, "its own stands");
    let after = Pledge { end: [0; 32], ..stands_after(&most) };
    let next = sent(&stage.show(HERE, 1, after, None)).expect("a pledge");
    assert_eq!((next.roll, next.number), (2, COUNTED_FROM_MAX + 2));
}

#[test]
fn a_table_whose_numbers_have_ended_has_nothing_pledged_and_a_book_keeps_the_last_of_them() {
    let mut stage = Stage::new();
    let most = u32::try_from(engine::limits::COUNTER_MAX).expect("half of its field");
    let steps = stage.show(HERE, most, Pledge::zeroed(), None);
    assert!(steps.is_empty(), "{steps:?}");
    let (last, closing) = (stage.pledged(HERE, most - 1), stage.closing(20, 1));
    assert_eq!(last.roll, most);
    stage.restart();
    let steps = stage.show(HERE, most - 1, waits(&last, &closing), Some(closing));
    assert!(sent(&steps).is_some_and(|row| row.is_opening()), "{}", said(&steps));
    stage.restart();
    assert_eq!(said(&stage.show(HERE, most, stands_after(&last), None)), "", "no line of the book is damaged");
}
