//! What a peer may not do.

/// What a peer may not do. Each is an event that its authenticated connection proves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[repr(u8)]
pub enum Offence {
    /// It sent an intent, or a word or certificate of a node, whose signature does not verify.
    BadSignature = 1,
    /// It sent bytes that are no message, or a message out of place.
    Malformed = 2,
    /// It went on sending a whole burst above its rate or credit.
    Flood = 3,
    /// It told of a peer under a signature that does not verify.
    FalsePeer = 4,
    /// It told of a decided block, or of evidence, that its signatures do not prove.
    FalseChain = 5,
}

// A list of all offences that lacks one would count it nowhere.
const _: () = {
    let mut index = 0;
    while index < Offence::ALL.len() {
        assert!(Offence::ALL[index] as usize == index + 1);
        index += 1;
    }
};

impl Offence {
    /// All offences.
    pub const ALL: [Self; 5] = [Self::BadSignature, Self::Malformed, Self::Flood, Self::FalsePeer, Self::FalseChain];

    /// The name that output uses.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadSignature => "bad_signature",
            Self::Malformed => "malformed",
            Self::Flood => "flood",
            Self::FalsePeer => "false_peer",
            Self::FalseChain => "false_chain",
        }
    }
}
