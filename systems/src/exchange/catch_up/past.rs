//! Whether the past is gone: everyone who is ahead has given up the height that comes next here.

use engine::io::{Alarm, Output};
use engine::message::node::RangeEntry;
use engine::{Height, PeerId};

use super::{ASK_MS, Asked, BEHIND_MS, CatchUp, Gone, InVain};
use crate::exchange::chain::Chain;
use crate::exchange::nodes::{NodePeer, Nodes};
use crate::exchange::order::Orderer;
use crate::exchange::tick::Outbox;

/// Milliseconds for which a node is not asked again for what it has no more.
const GONE_MS: u64 = 5_000;
/// Questions for the next height of which nothing comes, before nobody waits for that node any more.
const IN_VAIN_MAX: u32 = 3;

const _: () = assert!(BEHIND_MS < ASK_MS && ASK_MS < GONE_MS, "others are asked before one is asked again");
const _: () = assert!(IN_VAIN_MAX > 1, "one answer may get lost");

impl CatchUp {
    /// Whether everyone who is ahead has given up the height that comes next here, or never tells it, and more of them say that it is
    /// gone than may be liars.
    pub fn past_is_gone(&self) -> bool {
        self.is_gone
    }

    /// Takes note of what an answer says of the next height.
    pub(super) fn hear_of_next(&mut self, from: PeerId, entries: &[RangeEntry], decided: Height, now_ms: u64) {
        let was_asked = |asked: &[Asked]| asked.iter().any(|asked| asked.of == from);
        if entries.is_empty() {
            // It says that the heights were retired there. From a node that is not asked it means nothing.
            if !was_asked(&self.asked) {
                return;
            }
            self.gone.insert(from, Gone { after: decided, until_ms: now_ms + GONE_MS });
        } else if (was_asked(&self.asked) || was_asked(&self.late))
            && entries.iter().any(|entry| entry.decided.block.header.height == decided.next())
        {
            // Later heights may be there where the next one is not.
            self.gone.remove(&from);
        }
    }

    /// Takes note of who was asked for the next height, and told others only, or tells it late.
    pub(super) fn note_answered(&mut self, asked: &Asked, was_open: bool, decided: Height) {
        let next = decided.next();
        if !asked.covers(next) || self.verified(decided) >= next {
            return;
        }
        match self.came.get(&next) {
            // A question that lapsed counts already.
            None if was_open => self.note_in_vain(asked.of, decided),
            None => {}
            Some((from, _)) if *from == asked.of => _ = self.in_vain.remove(from),
            Some(_) => {}
        }
    }

    fn note_in_vain(&mut self, of: PeerId, decided: Height) {
        let before =
            self.in_vain.get(&of).filter(|before| before.after == decided).map_or(0, |before| before.questions);
        self.in_vain.insert(of, InVain { after: decided, questions: before.saturating_add(1) });
    }

    /// Of how many questions for the next height to a node nothing came.
    pub(super) fn in_vain(&self, of: &PeerId) -> u32 {
        self.in_vain.get(of).map_or(0, |asked| asked.questions)
    }

    /// Takes note of who lets a question for the next height lapse.
    pub(super) fn note_lapsed(&mut self, now_ms: u64, decided: Height) {
        let next = decided.next();
        let has_lapsed = |asked: &&Asked| asked.until_ms <= now_ms && asked.covers(next);
        let lapsed: Vec<PeerId> = self.asked.iter().filter(has_lapsed).map(|asked| asked.of).collect();
        lapsed.into_iter().for_each(|of| self.note_in_vain(of, decided));
    }

    /// Looks at who of those that are ahead could still tell the next height.
    pub(super) fn look_for_past(
        &mut self,
        now_ms: u64,
        nodes: &Nodes,
        chain: &Chain,
        orderer: &Orderer,
        outbox: &mut Outbox,
    ) {
        let is_of_use = |gone: &Gone| gone.until_ms > now_ms || gone.after == chain.decided;
        self.gone.retain(|peer, gone| is_of_use(gone) && nodes.get(*peer).is_some());
        self.in_vain.retain(|peer, asked| asked.after == chain.decided && nodes.get(*peer).is_some());
        assert!(self.gone.len() <= nodes.rows().len(), "nothing is remembered of whoever has left");
        assert!(self.in_vain.len() <= nodes.rows().len(), "nothing is remembered of whoever has left");
        self.is_gone = self.is_lost(nodes, chain, orderer);
        // A session without a height fetches a snapshot by itself; one that has some cannot, and needs its operator. Who comes and
        // goes among the others, and how often they are asked, is nothing new to that one.
        if self.is_gone && chain.decided > self.alarmed {
            self.alarmed = chain.decided;
            outbox.outputs.push(Output::Alarm(Alarm::PastGone { height: chain.decided }));
        }
    }

    /// Whether all who are ahead have given up the next height, and not only liars say so: anybody may come as a node, tell that
    /// the chain is further, and have nothing of it. One that never answers keeps nobody from believing the others, and says nothing
    /// itself.
    ///
    /// A validator believes as many others as there must be an honest one among. Whoever has no slot may know fewer of them, or
    /// only nodes that follow as it does: it believes those, if all that it knows agree, but for those that have nothing
    /// themselves. So does a lone validator that has nothing, which no other one can tell.
    fn is_lost(&self, nodes: &Nodes, chain: &Chain, orderer: &Orderer) -> bool {
        let is_ahead = |node: &NodePeer| node.standing.decided > chain.decided;
        let has_lost = |node: &NodePeer| self.gone.get(&node.id).is_some_and(|gone| gone.after == chain.decided);
        let says_so = |node: &NodePeer| is_ahead(node) && has_lost(node);
        let may_tell = |node: &NodePeer| self.in_vain(&node.id) < IN_VAIN_MAX;
        if nodes.rows().iter().any(|node| is_ahead(node) && !has_lost(node) && may_tell(node)) {
            return false;
        }
        let (own, believed) = (orderer.own_slot(), orderer.validators.faulty_max() + 1);
        let has_some = |node: &NodePeer| node.standing.decided > Height::GENESIS;
        let validators = nodes.others_of(own, has_some);
        let is_alone = orderer.validators.count() == 1 && chain.decided == Height::GENESIS;
        if !is_alone && (own.is_some() || validators > 0) {
            let needed = if own.is_some() { believed } else { believed.min(validators) };
            return nodes.others_of(own, says_so) >= needed;
        }
        let needed = believed.min(nodes.rows().iter().filter(|node| has_some(node)).count()).max(1);
        nodes.rows().iter().filter(|node| says_so(node)).count() >= needed
    }
}
