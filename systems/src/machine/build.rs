//! Making a machine: one that settles what others decided, one that takes part in deciding, one that follows.

use bevy_ecs::system::SystemState;
use bevy_ecs::world::World;
use engine::Height;
use engine::image::{DirtyMap, ImageLayout, Saved};
use order::batch::BatchSecret;
use order::beacon::{BeaconGroup, BeaconSigner, BeaconVerifier};
use order::consensus::{ConsensusConfig, ConsensusError, TimeoutConfig};
use order::signature::VoteKey;
use order::validators::{Validators, ValidatorsError};
use thiserror::Error;

use super::Machine;
use crate::exchange::answers::Answers;
use crate::exchange::beacon::{BeaconPart, Shares};
use crate::exchange::bodies::Bodies;
use crate::exchange::catch_up::CatchUp;
use crate::exchange::chain::{Chain, Closings};
use crate::exchange::evidence::EvidenceKept;
use crate::exchange::exchange_schedule;
use crate::exchange::nodes::{Heard, Nodes};
use crate::exchange::order::Orderer;
use crate::exchange::peers::DepartedScores;
use crate::exchange::planted::{Planted, Sound};
use crate::exchange::tally::Tally;
use crate::exchange::tick::{Clock, Inbox, Outbox, Pending};
use crate::exchange::verify::{SenderKeys, VerifySecret};
use crate::exchange::watch::Watches;
use crate::schedule::SystemTimes;
use crate::settle::block::{BlockPart, Current, Draw, Report};
use crate::settle::ledger::Ledger;
use crate::settle::mark::WrittenGroups;
use crate::settle::openings::Opened;
use crate::settle::resolve::Crossing;
use crate::settle::roll::Rolled;
use crate::settle::settle_schedule;
use crate::settle::turns::Turns;
use crate::state::accounts::AccountIndex;
use crate::state::activity::Activity;
use crate::state::due::DueTimes;
use crate::state::pledges::Forfeits;
use crate::state::setup::Setup;

/// Keys that do not fit genesis.
#[derive(Error, Clone, PartialEq, Eq, Debug)]
pub enum JoinError {
    /// The validators of genesis cannot be.
    #[error(transparent)]
    Validators(#[from] ValidatorsError),
    /// The vote key is none of genesis.
    #[error("the vote key is not that of a validator of this genesis")]
    NoValidator,
    /// The beacon's group is another.
    #[error("the beacon key is not the group key of this genesis")]
    GroupKey,
    /// The order of blocks refuses.
    #[error(transparent)]
    Order(#[from] ConsensusError),
}

/// What makes a machine a validator: its keys, and where the chain stands.
pub struct Membership {
    /// The key of its votes and proposals.
    pub vote: VoteKey,
    /// The beacon's group.
    pub group: BeaconGroup,
    /// The validator's share of the group's key.
    pub signer: BeaconSigner,
    /// For the coefficients of batch verification.
    pub secret: BatchSecret,
    /// Connections that this node may have at once: rows of the peer columns.
    pub peers: u32,
    /// The network key of this node; none where it speaks to no other.
    pub network: Option<[u8; 32]>,
}

impl Machine {
    /// A world at genesis that settles what others decided. `workers` changes nothing but speed.
    pub fn new(setup: Setup, workers: usize) -> Self {
        Self::build::<Sound>(World::new(), setup, 0, workers)
    }

    /// A world at genesis that takes part in deciding.
    ///
    /// # Errors
    /// If a key is not the one that genesis has.
    pub fn validator(setup: Setup, workers: usize, member: Membership) -> Result<Self, JoinError> {
        Self::planted::<Sound>(setup, workers, member)
    }

    /// A world at genesis that takes part in deciding, with the faults that a type plants in it: for simulations.
    ///
    /// # Errors
    /// As [`Machine::validator`].
    pub fn planted<P: Planted>(setup: Setup, workers: usize, member: Membership) -> Result<Self, JoinError> {
        let validators = Validators::of_genesis(&setup.genesis)?;
        let slot = validators.slot_of(&member.vote.public()).ok_or(JoinError::NoValidator)?;
        // Shares of another group would make beacons that no node takes, and the chain would stand still.
        if member.group.key() != setup.genesis.group_key.0 {
            return Err(JoinError::GroupKey);
        }
        let config = ConsensusConfig {
            chain: setup.chain,
            validators: validators.clone(),
            own: Some((slot, member.vote.clone())),
            timeouts: TimeoutConfig::default(),
            quorum: P::QUORUM,
            secret: member.secret.clone(),
        };
        let orderer = Orderer::new(validators, Some(config))?;
        let claim = member.network.map(|network| member.vote.sign_claim(slot, network, &setup.chain));
        let part = (Some(member.group), Some((member.signer, member.vote)));
        Self::exchanging::<P>(setup, workers, orderer, part, Nodes::claiming(claim), member.secret, member.peers)
    }

    /// A world at genesis that votes on nothing: it hears from other nodes what was decided, verifies all of it, and settles
    /// it.
    ///
    /// # Errors
    /// If the validators or the group key of genesis cannot be.
    pub fn follower(setup: Setup, workers: usize, secret: BatchSecret, peers: u32) -> Result<Self, JoinError> {
        let orderer = Orderer::new(Validators::of_genesis(&setup.genesis)?, None)?;
        Self::exchanging::<Sound>(setup, workers, orderer, (None, None), Nodes::default(), secret, peers)
    }

    fn exchanging<P: Planted>(
        setup: Setup,
        workers: usize,
        orderer: Orderer,
        (group, own): (Option<BeaconGroup>, Option<(BeaconSigner, VoteKey)>),
        nodes: Nodes,
        secret: BatchSecret,
        peers: u32,
    ) -> Result<Self, JoinError> {
        let verifier = BeaconVerifier::new(&setup.genesis.group_key.0).map_err(|_| JoinError::GroupKey)?;
        let mut world = World::new();
        world.insert_resource(orderer);
        world.insert_resource(Activity::of(&setup.genesis));
        world.insert_resource(BeaconPart { group, verifier, own });
        world.insert_resource(VerifySecret(secret));
        world.init_resource::<SenderKeys>();
        world.insert_resource(nodes);
        world.insert_resource(Answers::of(&setup.genesis));
        Ok(Self::build::<P>(world, setup, peers, workers))
    }

    fn build<P: Planted>(mut world: World, setup: Setup, peers: u32, workers: usize) -> Self {
        world.init_resource::<Activity>();
        world.init_resource::<Nodes>();
        world.init_resource::<Heard>();
        world.init_resource::<Tally>();
        world.init_resource::<Bodies>();
        world.init_resource::<EvidenceKept>();
        world.init_resource::<Shares>();
        world.init_resource::<CatchUp>();
        world.insert_resource(Clock::default());
        world.init_resource::<SystemTimes>();
        world.insert_resource(Inbox::default());
        world.insert_resource(Pending::default());
        world.insert_resource(Outbox::default());
        world.insert_resource(Watches::default());
        world.insert_resource(DepartedScores::default());
        world.insert_resource(Chain::genesis(&setup.genesis));
        world.insert_resource(Closings::default());
        let (height, draw) = (Height::GENESIS, Draw::Beacon([0; 48]));
        let part = BlockPart::default();
        world.insert_resource(Current {
            height,
            time_ms: 0,
            active_ms: 0,
            opening_ms: 0,
            part,
            intents: Vec::new(),
            draw,
        });
        world.insert_resource(Turns::none(&setup.genesis));
        world.insert_resource(Report::default());
        world.insert_resource(Crossing::default());
        world.insert_resource(Opened::default());
        world.insert_resource(Forfeits::default());
        world.insert_resource(Rolled::none(setup.genesis.tables as usize));
        world.insert_resource(DueTimes::default());
        world.insert_resource(AccountIndex::default());
        world.insert_resource(Ledger::default());
        let layout = ImageLayout::new(engine::columns::Capacity::of(&setup.genesis));
        world.insert_resource(WrittenGroups { map: DirtyMap::clean(layout.clone()), of: None });
        world.insert_resource(setup.clone());
        // The rows come after all resources, which take entity ids too: every world has its rows under the same ones.
        engine::world::spawn(&mut world, &setup.genesis, &setup.rules_hashes(), peers, workers);
        let columns = SystemState::new(&mut world);
        let lookup = SystemState::new(&mut world);
        let saving = SystemState::new(&mut world);
        let (exchange, settle) = (exchange_schedule::<P>(), settle_schedule());
        let mut machine = Self {
            world,
            exchange,
            settle,
            columns,
            lookup,
            layout,
            saving,
            held: Saved::All,
            part: BlockPart::default(),
        };
        machine.derive();
        machine
    }
}
