//! Pledges: what players bring to the dice of pledged tables, on its way into a block.
//!
//! ```text
//!  row -> would it be applied now? --yes--> signature -> its lane -> block
//!              |-- it is behind, or another's ---------> refused, with the code that a block would give
//!              |-- of a forfeited roll ----------------> signature -> the lane of late ones, once
//!              '-- it came from another node, which has settled more -> early, until this one has
//! ```
//! The state is asked before the signature: what nobody may bring costs a look at a few rows, and takes no place.

use std::collections::BTreeMap;

use bevy_ecs::system::{Res, ResMut};
use engine::columns::{Columns, Rows};
use engine::io::{Offence, Output, Receipt, ShedReason, Verdict};
use engine::limits::{NODE_CHECKS_MAX, NODE_PLEDGES_MAX};
use engine::message::intent::IntentId;
use engine::message::node::NodeMessage;
use engine::message::pledge::PledgeRow;
use engine::message::refusal::Refusal;
use engine::{Height, PeerId};
use order::signature::{SignedItem, encoding_is_acceptable, verify_batch};

use super::chain::Chain;
use super::lanes::{Early, PledgeLane, PledgeLanes};
use super::order::Orderer;
use super::sender::{Origin, Sender};
use super::tick::{Clock, Inbox, Outbox, Pending};
use super::verify::VerifySecret;
use crate::state::accounts::AccountIndex;
use crate::state::pledges::{Forfeits, check_pledge};
use crate::state::setup::Setup;

const _: () = assert!(NODE_PLEDGES_MAX <= NODE_CHECKS_MAX, "of one message all pledges are verified");

/// What a row is held against.
struct Door<'a, 'r> {
    setup: &'a Setup,
    rows: &'a Rows<'r>,
    index: &'a AccountIndex,
    forfeits: &'a Forfeits,
}

impl Door<'_, '_> {
    /// Where a row would wait, if it would be applied as things stand, or is of use to the record.
    fn fits(&self, row: &PledgeRow) -> Result<PledgeLane, Refusal> {
        let id = self.index.find(&row.key, self.rows.keys).ok_or(Refusal::UnknownAccount)?;
        match check_pledge(row, id, self.rows, self.setup, false) {
            Ok(_) if row.is_opening() => Ok(PledgeLane::Opening),
            Ok(_) => Ok(PledgeLane::Pledge),
            Err(Refusal::StaleRoll) if self.forfeits.is_late(row, &self.setup.chain) => Ok(PledgeLane::Late),
            Err(refusal) => Err(refusal),
        }
    }

    /// Whether a row that is refused may be right once more is settled.
    fn is_early(&self, row: &PledgeRow, refusal: Refusal) -> bool {
        match refusal {
            Refusal::UnknownAccount | Refusal::UnknownPlayer | Refusal::NothingToOpen => true,
            // A roll that is ahead of this node's table is one that it has not settled yet; one behind it is gone for
            // good.
            Refusal::StaleRoll => self.rows.tables[row.table as usize].roll_number + 1 < row.roll,
            _ => false,
        }
    }

    /// Sorts what arrived: what waits already is accepted, what nobody may bring is refused, what may be right later is kept. The
    /// rest is to be verified, with the lane in which it would wait.
    fn sort(
        &self,
        arrived: Vec<Early>,
        lanes: &mut PledgeLanes,
        validators: usize,
        said: &mut Said<'_>,
    ) -> Vec<(Sender, PledgeRow, PledgeLane)> {
        let mut taken = Vec::new();
        let mut checks: BTreeMap<Origin, usize> = BTreeMap::new();
        for early in arrived {
            let Early { sender, row, .. } = early;
            if lanes.knows(&row, &sender) {
                said.accept(&sender, &row);
                continue;
            }
            match self.fits(&row) {
                Ok(lane) => {
                    let checked = checks.entry(sender.origin).or_default();
                    *checked += 1;
                    // Of another node no more is verified in a tick than of its votes.
                    if sender.origin == Origin::Here || *checked <= NODE_CHECKS_MAX {
                        taken.push((sender, row, lane));
                    }
                }
                Err(refusal) if sender.origin != Origin::Here && self.is_early(&row, refusal) => {
                    lanes.keep_early(early, validators);
                }
                Err(refusal) => said.refuse(sender.waits(), row.id(), refusal),
            }
        }
        taken
    }
}

/// System: verifies what came in and may wait, passes on what entered here, and lets go what fits no more.
pub fn take_pledges(
    setup: Res<'_, Setup>,
    clock: Res<'_, Clock>,
    chain: Res<'_, Chain>,
    secret: Res<'_, VerifySecret>,
    orderer: Res<'_, Orderer>,
    index: Res<'_, AccountIndex>,
    forfeits: Res<'_, Forfeits>,
    mut columns: Columns<'_, '_>,
    mut inbox: ResMut<'_, Inbox>,
    mut pending: ResMut<'_, Pending>,
    mut outbox: ResMut<'_, Outbox>,
) {
    let Inbox { pledges, offences, closed, .. } = &mut *inbox;
    let lanes = &mut pending.pledges;
    if pledges.is_empty() && lanes.is_empty() {
        return;
    }
    // Other nodes are not answered: whoever sent them their rows asked there.
    if let Some(reason) = turned_away(&setup, *closed) {
        let own = pledges.drain(..).filter(|(sender, _)| sender.origin == Origin::Here);
        own.for_each(|(sender, row)| outbox.shed_id(sender.peer, row.id(), reason));
        return;
    }
    let rows = &columns.rows();
    let door = Door { setup: &setup, rows, index: &index, forfeits: &forfeits };
    let (now_ms, validators) = (clock.elapsed_ms(), orderer.validators.count());
    let mut said = Said { outbox: &mut outbox, passed_on: Vec::new() };
    let mut arrived =
        lanes.settle(chain.settled, now_ms, |row| door.fits(row), |to, id, refusal| said.refuse(to, id, refusal));
    arrived.extend(pledges.drain(..).map(|came| Early::at(now_ms, came)));
    let taken = door.sort(arrived, lanes, validators, &mut said);
    let verdicts = verified(&taken, &setup, &secret);
    assert_eq!(verdicts.len(), taken.len(), "each row has its verdict");
    for ((sender, row, lane), holds) in taken.into_iter().zip(verdicts) {
        if !holds {
            offences.push((sender.peer, Offence::BadSignature));
            said.refuse(sender.waits(), row.id(), Refusal::BadSignature);
            continue;
        }
        // The same row may have come twice in this tick.
        let waits = lanes.knows(&row, &sender)
            || lanes.take(lane, &row, &sender, |to, id| said.refuse(to, id, Refusal::PledgeBehind));
        if waits {
            said.accept(&sender, &row);
        } else {
            let refusal = if lane == PledgeLane::Pledge { Refusal::PledgeBehind } else { Refusal::NothingToOpen };
            said.refuse(sender.waits(), row.id(), refusal);
        }
    }
    for rows in said.passed_on.chunks(NODE_PLEDGES_MAX) {
        said.outbox.tell(NodeMessage::Pledges(rows.to_vec()));
    }
}

/// Which rows are signed by whom they name, with a key that every node reads alike.
fn verified(taken: &[(Sender, PledgeRow, PledgeLane)], setup: &Setup, secret: &VerifySecret) -> Vec<bool> {
    let items: Vec<SignedItem<'_>> = taken.iter().map(|(_, row, _)| SignedItem::pledge(row, &setup.chain)).collect();
    let mut verdicts = vec![false; items.len()];
    verify_batch(&items, &secret.0, &mut verdicts);
    verdicts.into_iter().zip(taken).map(|(holds, (_, row, _))| holds && encoding_is_acceptable(&row.key)).collect()
}

/// Why nothing of this is taken at all.
fn turned_away(setup: &Setup, closed: bool) -> Option<ShedReason> {
    if setup.has_pledged() { closed.then_some(ShedReason::Closed) } else { Some(ShedReason::NoPledges) }
}

/// What is said about rows that came, and which of them go on to other nodes.
struct Said<'a> {
    outbox: &'a mut Outbox,
    passed_on: Vec<PledgeRow>,
}

impl Said<'_> {
    /// A row waits here. What entered here is passed on, also when it comes again: another node may have lost it.
    fn accept(&mut self, sender: &Sender, row: &PledgeRow) {
        if sender.origin == Origin::Here {
            self.outbox.outputs.push(Output::Acknowledged { to: sender.peer, id: row.id() });
            self.passed_on.push(*row);
        }
    }

    /// No block will have it from here: what a block would say of it is said at once.
    fn refuse(&mut self, to: PeerId, id: IntentId, refusal: Refusal) {
        if to != PeerId::NONE {
            let receipt = Receipt { id, height: Height::GENESIS, index: 0, verdict: Verdict::Refused(refusal) };
            self.outbox.outputs.push(Output::Receipt { to, receipt });
        }
    }
}
