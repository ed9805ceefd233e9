//! The replicated state machine: decided blocks and beacons in, receipts and roots out.

mod build;
mod resume;
mod image;
mod reading;

use bevy_ecs::schedule::Schedule;
use bevy_ecs::system::{Res, ResMut, SystemState};
use bevy_ecs::world::World;
use engine::Height;
use engine::columns::Columns;
use engine::image::{ImageLayout, Saved};
use engine::io::{Input, Output, Receipt, Verdict};
use engine::message::certificate::Settled;
use engine::message::intent::Intent;
use engine::message::refusal::Refusal;
use engine::panics;
use engine::pool::Arenas;

use crate::exchange::answers::{Answers, Hears};
use crate::exchange::catch_up::take_told;
use crate::exchange::chain::{Chain, Closings};
use crate::exchange::fault::ExchangeError;
use crate::exchange::nodes::Nodes;
use crate::exchange::order::Orderer;
use crate::exchange::recover::recover;
use crate::exchange::tick::{Clock, Inbox, Outbox, Pending};
use crate::settle::block::{BlockPart, Current, Draw, Report};
use crate::state::accounts::AccountIndex;
use crate::state::saving::Saving;

pub use self::build::{JoinError, Membership};
pub use self::reading::HeldBytes;

/// One world and its two schedules: `exchange` for a validator's tick, `settle` for a decided height.
pub struct Machine {
    pub(crate) world: World,
    exchange: Schedule,
    settle: Schedule,
    pub(crate) columns: SystemState<Columns<'static, 'static>>,
    lookup: SystemState<(Columns<'static, 'static>, Res<'static, AccountIndex>)>,
    pub(crate) layout: ImageLayout,
    pub(crate) saving: Saving,
    /// A height is ready and waits for the snapshot that is under way.
    held: Saved,
    /// What the block that is settled next holds; nothing for heights that are settled without a block.
    part: BlockPart,
}

impl Machine {
    /// Settles one height.
    ///
    /// # Panics
    /// If an invariant is broken, or the height is not the next one: the state must not be recorded.
    pub fn settle(&mut self, height: Height, time_ms: u64, intents: Vec<Intent>, draw: Draw) -> &Report {
        self.begin(height, time_ms, intents, draw);
        self.settle.run(&mut self.world);
        self.world.resource_mut::<Arenas>().reset();
        self.world.resource::<Report>()
    }

    /// What the block of the height that is settled next holds beside its intents.
    pub fn of_block(&mut self, part: BlockPart) {
        self.part = part;
    }

    /// Takes up a height: [`Machine::settle`] without its systems. With [`Machine::run`], for those who time the systems
    /// one by one.
    ///
    /// # Panics
    /// If the height is not the next one, or time does not move forward.
    pub fn begin(&mut self, height: Height, time_ms: u64, intents: Vec<Intent>, draw: Draw) {
        let house = self.read(|rows| *rows.house);
        assert_eq!(height, house.height.next(), "heights are settled one after another");
        let active_ms = house.active_at(time_ms, self.setup().genesis.idleness.gap_max_ms);
        let opening_ms = if self.setup().has_pledged() { house.opening_at(time_ms) } else { 0 };
        // Taken, so that a height without a block does not get the pledges of the one before it.
        let part = std::mem::take(&mut self.part);
        let mut current = self.world.resource_mut::<Current>();
        *current = Current { height, time_ms, active_ms, opening_ms, part, intents, draw };
        // Cleared and not made anew: the lists keep their room, and most heights allocate nothing.
        let mut report = self.world.resource_mut::<Report>();
        report.receipts.clear();
        report.pledge_receipts.clear();
        report.openings.clear();
        report.closed.clear();
        report.rolls.clear();
        report.resolutions.clear();
        report.leavings.clear();
        report.lapses.clear();
        report.felt.clear();
        report.forfeited.clear();
        report.counts = Default::default();
    }

    /// Runs some systems of a height that was taken up.
    pub fn run(&mut self, systems: &mut Schedule) {
        systems.run(&mut self.world);
    }

    /// One tick of a validator, but for settling: takes the inputs, verifies, orders blocks. What must be recorded and sent
    /// is appended to `outputs`; the inputs are taken.
    ///
    /// # Errors
    /// If the order of blocks contradicts itself, or what a quorum says contradicts this node: it must stop, and records
    /// nothing of the tick.
    ///
    /// # Panics
    /// If this machine was made to settle only.
    pub fn exchange(
        &mut self,
        clock: Clock,
        inputs: &mut Vec<Input>,
        outputs: &mut Vec<Output>,
    ) -> Result<(), ExchangeError> {
        *self.world.resource_mut::<Clock>() = clock;
        self.world.resource_mut::<Inbox>().inputs.append(inputs);
        let others = self.world.resource::<Nodes>().others(self.world.resource::<Orderer>().own_slot());
        let decided = self.chain().decided;
        if let Some(logged) = self.world.resource_mut::<Orderer>().take_listened(&clock, others, decided) {
            outputs.append(&mut recover(&mut self.world, logged, Some(clock))?);
        }
        self.exchange.run(&mut self.world);
        // What a tick that failed wanted to say stays unsaid: its outputs are left where they are.
        if let Some(fault) = self.world.resource_mut::<Orderer>().fault.take() {
            return Err(fault);
        }
        outputs.append(&mut self.world.resource_mut::<Outbox>().outputs);
        Ok(())
    }

    /// Settles the first decided block if its beacon is known, and if a snapshot that is under way has room for what it
    /// overwrites; what must be recorded and sent is appended to `outputs`. A node that is behind decides first what others
    /// told it. Returns whether it settled a height.
    ///
    /// # Errors
    /// If an invariant breaks: the machine is of no use any more, and nothing of the height may be recorded.
    pub fn settle_ready(&mut self, outputs: &mut Vec<Output>) -> Result<bool, ExchangeError> {
        if self.is_behind() {
            take_told(&mut self.world, outputs);
        }
        self.held = Saved::All;
        let mut chain = self.world.resource_mut::<Chain>();
        let Some(next) = chain.unsettled.pop_front_if(|block| block.beacon.is_some()) else { return Ok(false) };
        let (height, block) = (next.block.header.height, next.hash);
        // Before it is settled: a group that the height overwrote first would be lost to the snapshot.
        self.held = self.save_before(&next.block);
        self.world.resource_mut::<Chain>().unsettled.push_front(next);
        if self.is_held() {
            return Ok(false);
        }
        // What was broken is told with the block that broke it. The world is half way through a height then, and nobody looks
        // at it again.
        let settled = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.settle_next()));
        let settled = settled.map_err(|panic| {
            let problem = panics::words(&*panic).unwrap_or("it panicked");
            ExchangeError::Poison { height, block, problem: problem.to_owned() }
        })?;
        outputs.push(Output::Settled(Box::new(settled)));
        outputs.append(&mut self.answer_receipts());
        Ok(true)
    }

    /// Whether a height is ready and waits until a snapshot has saved what it overwrites.
    pub fn is_held(&self) -> bool {
        self.held != Saved::All
    }

    /// Whether a height waits for room in the snapshot's pool: for blocks that come back.
    pub fn waits_for_room(&self) -> bool {
        self.held == Saved::NoRoom
    }

    /// Takes no intents any more: the node ends, and those it took get their receipts.
    pub fn close_intake(&mut self) {
        self.world.resource_mut::<Inbox>().closed = true;
    }

    /// Settles the first decided block, whose beacon is known.
    fn settle_next(&mut self) -> Settled {
        let mut next = self.world.resource_mut::<Chain>().unsettled.pop_front().expect("a block is ready");
        let beacon = next.beacon.expect("its beacon is known");
        assert_eq!(next.block.header.height, self.chain().settled.next(), "the oldest decided block is settled first");
        let (intents, pledges) = (std::mem::take(&mut next.block.intents), std::mem::take(&mut next.block.pledges));
        let header = next.block.header;
        let has_pledges = !pledges.is_empty();
        self.part = BlockPart { round: header.round, hash: next.hash, pledges };
        let root = self.settle(header.height, header.time_ms, intents, Draw::Beacon(beacon)).root;
        let Report { receipts, pledge_receipts, counts, closed, .. } = self.world.resource::<Report>();
        let verdicts: Vec<Verdict> = receipts.iter().chain(pledge_receipts).map(|receipt| receipt.verdict).collect();
        let closes = !closed.is_empty();
        let is_live = counts.rolls > 0 || counts.forfeits > 0 || has_pledges;
        if closes {
            self.world.resource_mut::<Closings>().keep(next.hash, &next.block.header, &next.certificate);
        }
        let root_chain = self.world.resource_mut::<Chain>().settle(next, &beacon, &root, &verdicts, is_live);
        let stands = (self.read(|rows| rows.house.height), self.chain().settled);
        assert_eq!(stands, (header.height, header.height), "the chain stands where its image does");
        Settled { height: header.height, beacon, root, root_chain, verdicts }
    }

    /// The receipts of the last settled height, each for whoever waits for it.
    fn answer_receipts(&mut self) -> Vec<Output> {
        let receipts = std::mem::take(&mut self.world.resource_mut::<Report>().receipts);
        let (height, time_ms) = (self.chain().settled, self.world.resource::<Current>().time_ms);
        let last = receipts.last().map_or(height, |receipt| receipt.height);
        assert_eq!(last, height, "receipts are of the height that was settled");
        let is_new_second = self.world.resource_mut::<Chain>().is_new_second(time_ms);
        let mut state = SystemState::<(ResMut<'_, Answers>, ResMut<'_, Pending>)>::new(&mut self.world);
        let (mut answers, mut pending) = state.get_mut(&mut self.world).expect("the world has its resources");
        let mut outputs = Vec::with_capacity(receipts.len());
        let refused = |id, refusal| Receipt { id, height, index: 0, verdict: Verdict::Refused(refusal) };
        for receipt in &receipts {
            let Hears { to, other, sender } = answers.answer(receipt);
            if !matches!(receipt.verdict, Verdict::Refused(_)) {
                sender.iter().for_each(|sender| pending.trust.prove(sender));
            }
            outputs.push(Output::Receipt { to, receipt: *receipt });
            // Two intents of one account had one number: whoever waits for the other one hears that it was used.
            if let Some((to, id)) = other {
                outputs.push(Output::Receipt { to, receipt: refused(id, Refusal::NumberUsed) });
            }
        }
        // Expiry is in seconds, so once a second is often enough.
        if is_new_second {
            let late = answers.expire(time_ms);
            // An intent that was told to be too late must not be proposed any more.
            if !late.is_empty() {
                pending.retain(|intent| answers.is_open(&intent.id()));
            }
            outputs.extend(
                late.into_iter().map(|(to, id)| Output::Receipt { to, receipt: refused(id, Refusal::Expired) }),
            );
        }
        let pledges = std::mem::take(&mut self.world.resource_mut::<Report>().pledge_receipts);
        for receipt in &pledges {
            let to = self.world.resource_mut::<Pending>().pledges.answer(&receipt.id);
            outputs.extend(to.map(|to| Output::Receipt { to, receipt: *receipt }));
        }
        // They go back: whoever looks at the report after this still finds them.
        let mut report = self.world.resource_mut::<Report>();
        (report.receipts, report.pledge_receipts) = (receipts, pledges);
        outputs
    }
}
