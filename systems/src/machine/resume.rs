//! A session that goes on: what its journal and its consensus log hold, and what a validator may sign after that.

use engine::Height;
use engine::io::Output;
use engine::message::block::Decided;
use engine::message::certificate::{Beacon, Settled};
use engine::message::snapshot::SnapshotProof;
use order::certificate::proves_snapshot;

use super::Machine;
use crate::exchange::answers::Answers;
use crate::exchange::catch_up::CatchUp;
use crate::exchange::chain::Chain;
use crate::exchange::fault::ExchangeError;
use crate::exchange::logged::LoggedHeight;
use crate::exchange::order::Orderer;
use crate::exchange::recover::recover;
use crate::exchange::verify::VerifySecret;

impl Machine {
    /// Takes a decided block from the record of a session that goes on; with its beacon it is settled too, and what
    /// it led to is returned.
    pub fn restore(&mut self, decided: &Decided, beacon: Option<Beacon>) -> Option<Settled> {
        let mut chain = self.world.resource_mut::<Chain>();
        chain.decide(decided.clone(), 0);
        chain.unsettled.back_mut().expect("decided above").beacon = beacon;
        // Nobody is connected before the first tick, so nobody waits under another mark; and nobody ever asks a machine that
        // only settles what became of an intent.
        let mut answers = self.world.get_resource_mut::<Answers>();
        let is_asked = answers.is_some();
        if let Some(answers) = &mut answers {
            decided.block.intents.iter().for_each(|intent| answers.decide(intent));
        }
        beacon.map(|_| {
            let settled = self.settle_next();
            assert_eq!(
                settled.height, decided.block.header.height,
                "a height is recorded as settled after all before it"
            );
            if is_asked {
                self.answer_receipts();
            }
            settled
        })
    }

    /// Hears the consensus log again, before the first tick of a session that goes on; nothing is signed at or below
    /// `fence`, whatever it holds. A validator among others listens to them first, and hears its log in a later tick.
    /// Returns what must be recorded.
    ///
    /// # Errors
    /// If the log leads elsewhere than where this validator signed: the node must stop.
    pub fn recover(&mut self, logged: Vec<LoggedHeight>, fence: Height) -> Result<Vec<Output>, ExchangeError> {
        let decided = self.chain().decided;
        let mut orderer = self.world.resource_mut::<Orderer>();
        orderer.fence = fence;
        // The log may be older than what was signed: the others know what this validator said. A lone one has nobody to
        // listen to, and a log that ends below the fence says nothing of the heights between.
        if orderer.is_voting() && orderer.validators.count() > 1 {
            orderer.listen(logged);
        } else if fence > decided {
            orderer.follow_up_to(fence);
        } else {
            return recover(&mut self.world, logged, None);
        }
        Ok(Vec::new())
    }

    /// This validator's log is lost, and its operator answers for it: it signed nothing above `fence`. Returns what must be
    /// on the disk before anything else. The disk has the fence alone: that it is an operator's word, this process tells the others,
    /// and no later one.
    pub fn sign_above(&mut self, fence: Height) -> Vec<Output> {
        let mut orderer = self.world.resource_mut::<Orderer>();
        orderer.follow_up_to(fence);
        orderer.by_operator = true;
        vec![Output::Fence { height: fence }]
    }

    /// This validator's log is lost, or older than its journal: it cannot know what it signed, so it follows. It votes again
    /// three heights above what a quorum of the others tells of. Says whether it may: where no validator may be faulty, no
    /// rule is safe.
    pub fn follow(&mut self) -> bool {
        self.world.resource_mut::<Orderer>().follow()
    }

    /// Starts no height above this one: with a quorum that does the same, the chain stops there.
    pub fn halt_at(&mut self, height: Height) {
        self.world.resource_mut::<Orderer>().halt_at = Some(height);
    }

    /// Whether this node votes.
    pub fn is_voting(&self) -> bool {
        self.world.resource::<Orderer>().is_voting()
    }

    /// Whether this validator knows all that it ever signed above its fence: it votes, or listens before it does.
    pub fn knows_its_votes(&self) -> bool {
        self.world.resource::<Orderer>().knows_its_votes()
    }

    /// Whether everyone who is ahead has given up the height that comes next here, and not only liars say so: only a snapshot
    /// leads on.
    pub fn past_is_gone(&self) -> bool {
        self.world.resource::<CatchUp>().past_is_gone()
    }

    /// A snapshot comes instead of the heights that are gone: none is asked for any more, and what came of them is forgotten.
    pub fn await_snapshot(&mut self) {
        self.world.resource_mut::<CatchUp>().pause();
    }

    /// Whether a proof of a snapshot that another node gave proves its root.
    ///
    /// # Panics
    /// If this machine was made to settle only.
    pub fn is_proven(&self, proof: &SnapshotProof) -> bool {
        let (validators, secret) =
            (&self.world.resource::<Orderer>().validators, self.world.resource::<VerifySecret>());
        proves_snapshot(proof, validators, &self.setup().chain, &secret.0)
    }
}
