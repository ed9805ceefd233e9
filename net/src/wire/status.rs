//! Where a chain stands, and how a node is.

use bytemuck::{Pod, Zeroable};
use engine::Height;
use engine::bytes::{DecodeError, zeros};
use engine::io::{ChainProgress, NodeStatus, OrderProgress, SlotList};
use engine::limits::TIME_MS_MAX;
use engine::message::check_height;

use super::field::{switch, value};
use super::payload::Body;

/// Layout: 72 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct StandingBody {
    now_ms: u64,
    decided: u64,
    settled: u64,
    certified: u64,
    root_chain: [u8; 32],
    is_silent: u8,
    disk_full: u8,
    reserved: [u8; 6],
}

/// Layout: 168 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct StatusBody {
    standing: StandingBody,
    connections: u32,
    nodes: u32,
    behind: u32,
    round: u32,
    furthest_key: [u8; 32],
    furthest_settled: u64,
    receipts: u64,
    proposer: u32,
    slot: u32,
    validators: u32,
    heard: u32,
    missing_shares: [u8; 16],
}

const _: () = assert!(size_of::<StatusBody>() == 168 && size_of::<StandingBody>() == 72);

impl Body for ChainProgress {
    type Bytes = StandingBody;

    fn to_bytes(&self) -> StandingBody {
        StandingBody {
            // A clock that is beyond what any chain can have is its own node's fault, which the node says at home. Whoever read such
            // a time would take the message for a malformed one, and the node for a liar.
            now_ms: self.now_ms.min(TIME_MS_MAX),
            decided: self.decided.0,
            settled: self.settled.0,
            certified: self.certified.0,
            root_chain: self.root_chain,
            is_silent: self.is_silent.into(),
            disk_full: self.disk_full.into(),
            reserved: [0; 6],
        }
    }

    fn of_bytes(body: &StandingBody) -> Result<Self, DecodeError> {
        zeros("standing", &body.reserved)?;
        // A player's program counts on from this time, and its intents expire by it.
        if body.now_ms > TIME_MS_MAX {
            return Err(value("time", body.now_ms));
        }
        Ok(Self {
            now_ms: body.now_ms,
            decided: check_height(Height(body.decided))?,
            settled: check_height(Height(body.settled))?,
            certified: check_height(Height(body.certified))?,
            root_chain: body.root_chain,
            is_silent: switch(body.is_silent, "is_silent")?,
            disk_full: switch(body.disk_full, "disk_full")?,
        })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![Self {
            now_ms: 1_800_000_000_123,
            decided: Height(12),
            settled: Height(11),
            certified: Height(10),
            root_chain: [6; 32],
            is_silent: true,
            disk_full: true,
        }]
    }
}

/// The slot of a node that is no validator.
const NO_SLOT: u32 = u32::MAX;

impl Body for NodeStatus {
    type Bytes = StatusBody;

    fn to_bytes(&self) -> StatusBody {
        let (furthest_key, furthest_settled) = self.furthest.map_or(([0; 32], 0), |(key, height)| (key, height.0));
        StatusBody {
            standing: self.standing.to_bytes(),
            connections: self.connections,
            nodes: self.nodes,
            behind: self.behind,
            round: self.order.round,
            furthest_key,
            furthest_settled,
            receipts: self.order.receipts,
            proposer: self.order.proposer,
            slot: self.order.slot.unwrap_or(NO_SLOT),
            validators: self.order.validators,
            heard: self.order.heard,
            missing_shares: self.order.missing_shares.0.to_le_bytes(),
        }
    }

    fn of_bytes(body: &StatusBody) -> Result<Self, DecodeError> {
        // A message has one encoding: where nobody is behind, nobody is the furthest.
        if body.behind == 0 {
            zeros("nobody behind", &body.furthest_key)?;
            zeros("nobody behind", &body.furthest_settled.to_le_bytes())?;
        }
        let furthest = (body.furthest_key, check_height(Height(body.furthest_settled))?);
        Ok(Self {
            standing: ChainProgress::of_bytes(&body.standing)?,
            connections: body.connections,
            nodes: body.nodes,
            behind: body.behind,
            furthest: (body.behind > 0).then_some(furthest),
            order: OrderProgress {
                round: body.round,
                proposer: body.proposer,
                slot: (body.slot != NO_SLOT).then_some(body.slot),
                validators: body.validators,
                heard: body.heard,
                receipts: body.receipts,
                missing_shares: SlotList(u128::from_le_bytes(body.missing_shares)),
            },
        })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        let furthest = Some(([8; 32], Height(3)));
        let order = OrderProgress {
            round: 1,
            proposer: 3,
            slot: Some(2),
            validators: 4,
            heard: 3,
            receipts: 77,
            missing_shares: SlotList(0b1010),
        };
        vec![Self { standing: ChainProgress::samples()[0], connections: 40, nodes: 4, behind: 2, furthest, order }]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A clock that is set wrong costs a node no neighbour: all that it says can be read.
    #[test]
    fn a_node_whose_clock_is_beyond_what_a_chain_can_have_says_the_last_time_that_one_can() {
        for now_ms in [7, TIME_MS_MAX, TIME_MS_MAX + 1, u64::MAX] {
            let body = ChainProgress { now_ms, ..ChainProgress::default() }.to_bytes();
            let read = ChainProgress::of_bytes(&body).expect("it can be read");
            assert_eq!(read, ChainProgress { now_ms: now_ms.min(TIME_MS_MAX), ..ChainProgress::default() });
        }
    }
}
