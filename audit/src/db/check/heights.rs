//! What a journal says of its heights: whether each follows the one before it, and settles what it decided.

use std::collections::BTreeMap;

use engine::limits::{CHECK_PROBLEMS_MAX, UNSETTLED_RECORDED_MAX};
use engine::message::DecodeError;
use engine::message::block::{Decided, Header, Retired};
use engine::message::certificate::{Certificate, ChainLink, Settled, verdicts_hash};
use engine::message::evidence::Evidence;
use engine::message::note::ChainNote;
use engine::{Hash, Height};
use storage::snapshot::Catalog;
use storage::{Frame, FrameKind};

/// What is the same in a block and in what stays of it.
fn header_and_certificate(kind: FrameKind, body: &[u8]) -> Result<Retired, DecodeError> {
    if kind == FrameKind::Retired { Retired::decode(body) } else { Decided::decode(body).map(Retired::of) }
}

/// What the journal says of its heights.
#[derive(Default)]
pub(super) struct Heights {
    pub(super) decided: Height,
    pub(super) settled: Height,
    parent: Hash,
    /// Headers of decided heights that are not settled yet.
    waiting: BTreeMap<Height, Header>,
    /// Root chains that blocks name of heights that are not settled yet: a restart decides again what its log has, and settles
    /// then.
    named: BTreeMap<Height, Hash>,
    /// Root chains of the last settled height and of the one before it.
    root_chains: [Hash; 2],
    pub(super) roots: Roots,
    /// What is wrong, as far as it is told.
    pub(super) problems: Vec<String>,
    /// Problems beside those.
    pub(super) more: u64,
}

/// Roots that snapshots are compared with: of each height that has a snapshot, once the journal has said it. Of all other heights
/// nothing is kept, since there may be any number of them; a snapshot that comes while the journal is read is not compared.
#[derive(Clone, Default)]
pub(super) struct Roots(BTreeMap<Height, Option<Hash>>);

impl Roots {
    /// Roots that the snapshots of a session are to be compared with, none of them known yet.
    pub(super) fn wanted(catalog: &Catalog) -> Self {
        Self(catalog.snapshots.keys().map(|height| (*height, None)).collect())
    }

    /// Takes the root that the journal has at a height.
    fn take(&mut self, height: Height, root: Hash) {
        if let Some(wanted) = self.0.get_mut(&height) {
            *wanted = Some(root);
        }
    }

    pub(super) fn recorded(&self, height: Height) -> Option<Hash> {
        self.0.get(&height).copied().flatten()
    }
}

impl Heights {
    /// Those of a journal that is read from its beginning, for snapshots with these roots.
    pub(super) fn wanting(roots: Roots) -> Self {
        Self { roots, ..Self::default() }
    }

    /// Takes the next frame of the journal.
    pub(super) fn take(&mut self, frame: &Frame) {
        let Frame { kind, height, body } = frame;
        let problem = match kind {
            FrameKind::Decided | FrameKind::Retired => match header_and_certificate(*kind, body) {
                Ok(Retired { header, certificate, .. }) => self.decided(*height, header, &certificate),
                Err(error) => Some(error.to_string()),
            },
            FrameKind::Settled => match Settled::decode(body) {
                Ok(settled) => self.settled(*height, settled),
                Err(error) => Some(error.to_string()),
            },
            FrameKind::Base => match ChainNote::decode(body) {
                Ok(note) => self.begins_at(*height, &note),
                Err(error) => Some(error.to_string()),
            },
            // What validators did beside the chain says nothing about its heights. A node writes only what contradicts itself, of which
            // it verified both signatures; that they hold is for whoever exports it.
            FrameKind::Evidence => Evidence::decode(body).err().map(|error| error.to_string()),
        };
        match problem {
            // A frame takes fewer bytes than what is said of it: a journal of nothing but wrong ones must not fill the memory.
            Some(problem) if self.problems.len() < CHECK_PROBLEMS_MAX => {
                self.problems.push(format!("the {kind:?} frame of height {height}: {problem}"));
            }
            Some(_) => self.more += 1,
            None => {}
        }
    }

    /// What is wrong with a decided block, or with what stays of it.
    fn decided(&mut self, height: Height, header: Header, certificate: &Certificate) -> Option<String> {
        let follows = header.parent == self.parent && height == self.decided.next();
        let own = header.height == height && certificate.block == header.hash();
        let after = height.back(2);
        let root_chain = match self.settled.0.checked_sub(after.0) {
            // The first two blocks name no state: two heights before them there is none.
            _ if after == Height::GENESIS => [0; 32],
            None => *self.named.entry(after).or_insert(header.root_chain),
            Some(later) => self.root_chains[usize::from(later > 0)],
        };
        self.parent = header.hash();
        self.decided = height;
        self.waiting.insert(height, header);
        // A record that decides without end must not fill the memory, whatever else is wrong with it: what waits is forgotten, and
        // that is told.
        let is_endless = self.waiting.len().max(self.named.len()) > UNSETTLED_RECORDED_MAX;
        if is_endless {
            self.waiting.clear();
            self.named.clear();
        }
        match () {
            () if !follows || !own => Some("it does not follow the height before it".to_owned()),
            () if is_endless => Some("too many heights before it are not settled".to_owned()),
            () if header.root_chain != root_chain => {
                Some("it was decided after another state than the record has".to_owned())
            }
            () => None,
        }
    }

    /// What is wrong with what the record says that a block led to.
    fn settled(&mut self, height: Height, settled: Settled) -> Option<String> {
        let header = self.waiting.remove(&height);
        let fits =
            settled.height == height && header.is_some_and(|header| header.fits_verdicts(settled.verdicts.len()));
        let Settled { beacon, root, root_chain, verdicts, .. } = settled;
        let block = header.map_or([0; 32], |header| header.hash());
        let verdicts = verdicts_hash(verdicts.into_iter());
        let link = ChainLink { height, block: &block, beacon: &beacon, root: &root, verdicts: &verdicts };
        let chained = link.after(&self.root_chains[0]);
        self.settled = height;
        self.root_chains = [root_chain, self.root_chains[0]];
        self.roots.take(height, root);
        let named = self.named.remove(&height).unwrap_or(root_chain);
        match () {
            () if named != root_chain => Some("a block was decided after another state".to_owned()),
            () if !fits => Some("it does not settle a block that was decided".to_owned()),
            () if root_chain != chained => Some("its root chain is not that of what it holds".to_owned()),
            () => None,
        }
    }

    /// What is wrong with the snapshot that a journal begins at.
    fn begins_at(&mut self, height: Height, note: &ChainNote) -> Option<String> {
        let first = self.decided == Height::GENESIS && note.height == height;
        (self.decided, self.settled, self.parent) = (note.height, note.height, note.block);
        self.root_chains = note.root_chains;
        self.roots.take(note.height, note.root);
        (!first).then(|| "a journal begins at a snapshot with its first frame, or not at all".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use engine::message::vote::{Vote, VoteBody, VoteKind};

    use super::*;

    /// What gave up its oldest bodies has their heads, and what began at a snapshot says so with its first frame.
    #[test]
    fn a_journal_without_its_beginning_follows_nothing() {
        let header = Header { height: Height(5), ..Header::zeroed() };
        let certificate = Certificate { height: Height(5), round: 0, block: header.hash(), signatures: Vec::new() };
        let problem = Heights::default().decided(Height(5), header, &certificate);
        assert!(problem.is_some_and(|problem| problem.contains("does not follow")));
    }

    #[test]
    fn evidence_that_is_none_is_found() {
        let vote = |block| Vote { body: VoteBody::new(VoteKind::Prevote, Height(3), 0, block, 0), signature: [7; 64] };
        let mut body = Vec::new();
        Evidence::Votes(vote(None), vote(Some([1; 32]))).encode(&mut body);
        let mut same = Vec::new();
        Evidence::Votes(vote(None), vote(None)).encode(&mut same);
        let zeros = vec![0; body.len()];
        let found = |body: &Vec<u8>| {
            let mut heights = Heights::default();
            heights.take(&Frame { kind: FrameKind::Evidence, height: Height(4), body: body.clone() });
            heights.problems
        };
        assert!(found(&body).is_empty(), "{:?}", found(&body));
        for (body, says) in [(&same, "proves nothing"), (&zeros, "evidence kind"), (&Vec::new(), "evidence")] {
            let problems = found(body);
            assert!(problems.len() == 1 && problems[0].contains(says), "{problems:?}");
            assert!(problems[0].starts_with("the Evidence frame of height 4: "), "{problems:?}");
        }
    }

    #[test]
    fn a_record_that_leaves_heights_out_keeps_none_of_them() {
        let certificate = Certificate { height: Height(1), round: 0, block: [0; 32], signatures: Vec::new() };
        for is_settled in [false, true] {
            let mut heights = Heights::default();
            for height in (1..=400).map(|number| Height(5 * number)) {
                let header = Header { height, ..Header::zeroed() };
                heights.decided(height, header, &certificate).expect("it follows nothing");
                if is_settled {
                    heights.waiting.clear();
                    heights.settled = height;
                }
                let kept = heights.waiting.len().max(heights.named.len());
                assert!(kept <= UNSETTLED_RECORDED_MAX, "{kept} at {height}");
            }
        }
    }

    #[test]
    fn what_is_kept_of_a_journal_does_not_grow_with_it() {
        let wanted = BTreeMap::from([(Height(7), None), (Height(9_000), None)]);
        let mut read = Heights::wanting(Roots(wanted));
        for height in 1..=10_000 {
            let settled = Settled {
                height: Height(height),
                beacon: [0; 48],
                root: [height as u8; 32],
                root_chain: [0; 32],
                verdicts: Vec::new(),
            };
            let body = settled.encode();
            read.take(&Frame { kind: FrameKind::Settled, height: Height(height), body });
        }
        // None of them settles a block that was decided.
        assert_eq!((read.problems.len(), read.more), (CHECK_PROBLEMS_MAX, 10_000 - CHECK_PROBLEMS_MAX as u64));
        assert_eq!(read.roots.0.len(), 2);
        assert_eq!(read.roots.recorded(Height(7)), Some([7; 32]));
        assert_eq!(read.roots.recorded(Height(9_000)), Some([9_000_u64 as u8; 32]));
        assert_eq!(read.roots.recorded(Height(8)), None);
    }
}
