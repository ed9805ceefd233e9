//! What both ends say first.

use bytemuck::{Pod, Zeroable};
use engine::Hash;
use engine::bytes::{DecodeError, zeros};
use engine::genesis::KeySource;
use engine::io::ChainProgress;

use super::field::{read_text, text, value};
use super::payload::Body;
use super::status::StandingBody;

/// Layout: 64 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct HelloBody {
    chain: [u8; 32],
    program: [u8; 24],
    role: u8,
    reserved: [u8; 7],
}

/// Layout: 152 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct WelcomeBody {
    chain: [u8; 32],
    standing: StandingBody,
    name: [u8; 32],
    tables: u32,
    credit: u32,
    intents_per_s: u32,
    seats: u8,
    keys: u8,
    reserved: [u8; 2],
}

const _: () = assert!(size_of::<HelloBody>() == 64 && size_of::<WelcomeBody>() == 152);

/// Who opens a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Role {
    /// A player's program.
    Client = 1,
    /// Another node.
    Node = 2,
}

/// The first message to a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// The chain it is about, or `None` for whichever the node keeps.
    pub chain: Option<Hash>,
    /// Name and version of the program, at most 24 bytes of UTF-8.
    pub program: String,
    /// Who opens the connection.
    pub role: Role,
}

impl Body for Hello {
    type Bytes = HelloBody;

    fn to_bytes(&self) -> HelloBody {
        let chain = self.chain.unwrap_or_default();
        HelloBody { chain, program: text(&self.program), role: self.role as u8, reserved: [0; 7] }
    }

    fn of_bytes(body: &HelloBody) -> Result<Self, DecodeError> {
        zeros("hello", &body.reserved)?;
        let role = match body.role {
            1 => Role::Client,
            2 => Role::Node,
            found => return Err(value("role", found)),
        };
        let chain = (body.chain != [0; 32]).then_some(body.chain);
        Ok(Self { chain, program: read_text("program", &body.program)?, role })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![Self { chain: Some([1; 32]), program: "bitcraps 0.1.0".into(), role: Role::Client }]
    }
}

/// The first message from a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Welcome {
    /// The chain that the node keeps.
    pub chain: Hash,
    /// Where it stands.
    pub standing: ChainProgress,
    /// The node's name, at most 32 bytes of UTF-8.
    pub name: String,
    /// Craps tables.
    pub tables: u32,
    /// Seats of each.
    pub seats: u8,
    /// Intents that may be without an answer.
    pub credit: u32,
    /// Intents a second that the connection may send.
    pub intents_per_s: u32,
    /// Where the keys come from.
    pub keys: KeySource,
}

impl Body for Welcome {
    type Bytes = WelcomeBody;

    fn to_bytes(&self) -> WelcomeBody {
        WelcomeBody {
            chain: self.chain,
            standing: self.standing.to_bytes(),
            name: text(&self.name),
            tables: self.tables,
            credit: self.credit,
            intents_per_s: self.intents_per_s,
            seats: self.seats,
            keys: self.keys as u8,
            reserved: [0; 2],
        }
    }

    fn of_bytes(body: &WelcomeBody) -> Result<Self, DecodeError> {
        zeros("welcome", &body.reserved)?;
        // A player lays out its tables by this number: one that cannot be must not get so far.
        if body.seats == 0 || u32::from(body.seats) > engine::limits::SEATS_MAX {
            return Err(value("seats", body.seats));
        }
        Ok(Self {
            chain: body.chain,
            standing: ChainProgress::of_bytes(&body.standing)?,
            name: read_text("name", &body.name)?,
            tables: body.tables,
            seats: body.seats,
            credit: body.credit,
            intents_per_s: body.intents_per_s,
            keys: KeySource::try_from(body.keys).map_err(|_| value("key source", body.keys))?,
        })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        vec![Self {
            chain: [1; 32],
            standing: ChainProgress::samples()[0],
            name: "Tisch Süd".into(),
            tables: 4,
            seats: 8,
            credit: 64,
            intents_per_s: 100,
            keys: KeySource::Dealer,
        }]
    }
}
