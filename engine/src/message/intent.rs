//! A signed request of a player: 128 bytes, two cache lines, the second of them the signature.

use bytemuck::{Pod, Zeroable};

use super::signed::signed_bytes;
use super::{DecodeError, Hash};
use crate::ids::{AccountId, BetId, TableId};
use crate::limits::EXPIRY_AHEAD_S_MAX;

/// What every intent's signature covers first, so that it is valid for nothing else.
pub const INTENT_DOMAIN: [u8; 32] = *b"bitcraps intent 1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

/// The unsigned part of an [`Intent`]. Layout: 64 bytes, no padding.
///
/// `target` is a table, or the recipient's account in a transfer, or the issuer in an open with a voucher. Fields that
/// a kind does not use are zero.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C)]
pub struct IntentBody {
    /// The account's Ed25519 public key.
    pub key: [u8; 32],
    /// The intent's number: any unused one in the account's window of 64.
    pub number: u64,
    /// Chips: buy-in, wager, new total, or transfer.
    pub amount: u64,
    /// Block time, in whole seconds since the Unix epoch, up to which the intent may be applied.
    pub expiry_s: u32,
    /// The roll that the intent is for, or 0 for any; rolls of a table are numbered from 1. In a transfer the recipient's
    /// [`generation`](crate::component::Account::generation), or 0 for whoever has the account by then.
    pub roll: u32,
    /// Table, recipient or issuer.
    pub target: u32,
    /// An [`IntentKind`].
    pub kind: u8,
    /// A bet of the catalogue.
    pub bet: u8,
    /// The bet's box number, 0 for none.
    pub box_number: u8,
    /// A [`Working`].
    pub working: u8,
}

/// A signed request. Layout: 128 bytes; the body, then the signature over [`IntentBody::signed_bytes`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Pod, Zeroable)]
#[repr(C, align(64))]
pub struct Intent {
    /// What is asked.
    pub body: IntentBody,
    /// Ed25519, of the account's key; of the issuer's where the kind is `OpenVoucher`.
    pub signature: [u8; 64],
}

/// The first 16 bytes of a signature: what tells an intent from another with its key and number.
pub type IntentMark = [u8; 16];

/// Which intent something is about. Two intents may have one key and number, signed on two machines of one player; only
/// one of them is ever applied, and the mark says which.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct IntentId {
    /// The key that the intent names.
    pub key: [u8; 32],
    /// Any unused one in the account's window of 64.
    pub number: u64,
    /// The first 16 bytes of its signature.
    pub mark: IntentMark,
}

const _: () = assert!(size_of::<IntentBody>() == 64);
const _: () = assert!(size_of::<Intent>() == 128);
const _: () = assert!(align_of::<Intent>() == 64);

/// What an intent asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum IntentKind {
    /// Open an account; grants chips.
    Open = 1,
    /// Open an account by voucher: signed by the issuer named in `target`.
    OpenVoucher = 2,
    /// Take a seat at table `target` with a buy-in of `amount`.
    Sit = 3,
    /// Leave table `target`.
    Leave = 4,
    /// Bet `amount` more.
    Bet = 5,
    /// Take a bet down.
    TakeDown = 6,
    /// Set a bet's total to `amount`.
    SetAmount = 7,
    /// Set a bet working, off, or back to its default.
    SetWorking = 8,
    /// Roll the dice; only the shooter.
    Roll = 9,
    /// Pass the dice; only the shooter, with the puck OFF.
    PassDice = 10,
    /// Send `amount` from the cage to account `target`.
    Transfer = 11,
}

// A list of all kinds that lacks one would refuse its byte.
const _: () = {
    let mut index = 0;
    while index < IntentKind::ALL.len() {
        assert!(IntentKind::ALL[index] as usize == index + 1);
        index += 1;
    }
};

impl IntentKind {
    /// All kinds, in order.
    pub const ALL: [Self; 11] = [
        Self::Open,
        Self::OpenVoucher,
        Self::Sit,
        Self::Leave,
        Self::Bet,
        Self::TakeDown,
        Self::SetAmount,
        Self::SetWorking,
        Self::Roll,
        Self::PassDice,
        Self::Transfer,
    ];
}

impl TryFrom<u8> for IntentKind {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        Self::ALL
            .into_iter()
            .find(|kind| *kind as u8 == byte)
            .ok_or(DecodeError::Value { field: "intent kind", found: byte.into() })
    }
}

/// Whether a bet acts on rolls (RULES.md R3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(u8)]
pub enum Working {
    /// In a bet: nothing said. In `SetWorking`: back to the default.
    #[default]
    Default = 0,
    /// Working in both phases.
    On = 1,
    /// Off in both phases.
    Off = 2,
}

impl TryFrom<u8> for Working {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, DecodeError> {
        match byte {
            0 => Ok(Self::Default),
            1 => Ok(Self::On),
            2 => Ok(Self::Off),
            _ => Err(DecodeError::Value { field: "working", found: byte.into() }),
        }
    }
}

/// Whether an intent may be applied at a time.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expiry {
    /// It may.
    Within,
    /// Its expiry has passed.
    Passed,
    /// Its expiry lies further ahead than [`EXPIRY_AHEAD_S_MAX`].
    TooFar,
}

// A block has the bodies of its intents in one column, and their signatures in another.
const _: () = assert!(std::mem::offset_of!(Intent, signature) == size_of::<IntentBody>());

impl Intent {
    /// What tells this intent from every other.
    pub fn id(&self) -> IntentId {
        let mark = std::array::from_fn(|byte| self.signature[byte]);
        IntentId { key: self.body.key, number: self.body.number, mark }
    }
}

/// Whether an expiry has passed for good at a block of this time: neither it nor any after it may hold the intent.
pub const fn is_past(expiry_s: u32, block_ms: u64) -> bool {
    (expiry_s as u64) < block_ms / 1_000
}

impl IntentBody {
    /// An intent of `kind` from `key`, all else zero.
    pub fn new(kind: IntentKind, key: [u8; 32], number: u64, expiry_s: u32) -> Self {
        Self { key, number, expiry_s, kind: kind as u8, ..Self::zeroed() }
    }

    /// The same for table `table`.
    pub fn at(self, table: TableId) -> Self {
        Self { target: table.0, ..self }
    }

    /// The same for a bet.
    pub fn on(self, bet: BetId, box_number: u8) -> Self {
        Self { bet: bet.0, box_number, ..self }
    }

    /// The same with an amount of chips.
    pub fn amount(self, amount: u64) -> Self {
        Self { amount, ..self }
    }

    /// The same with a working setting.
    pub fn working(self, working: Working) -> Self {
        Self { working: working as u8, ..self }
    }

    /// The same for roll number `roll` only.
    pub fn roll(self, roll: u32) -> Self {
        Self { roll, ..self }
    }

    /// The same for an owner of the recipient's slot, who is told by their generation.
    pub fn generation(self, generation: u32) -> Self {
        Self { roll: generation, ..self }
    }

    /// The same with a recipient.
    pub fn to(self, account: AccountId) -> Self {
        Self { target: account.0, ..self }
    }

    /// The bytes that the signature covers: domain, chain id, body.
    pub fn signed_bytes(&self, chain: &Hash) -> [u8; 128] {
        signed_bytes(&INTENT_DOMAIN, chain, &bytemuck::cast(*self))
    }

    /// Whether the intent may be applied at `now_ms`, as intake asks: to the millisecond.
    pub fn expiry(&self, now_ms: u64) -> Expiry {
        let expiry_ms = u64::from(self.expiry_s) * 1_000;
        // The clock may be set to anything: the sum with it must not wrap, and let an intent of any expiry in.
        if now_ms > expiry_ms {
            Expiry::Passed
        } else if expiry_ms > now_ms.saturating_add(EXPIRY_AHEAD_S_MAX * 1_000) {
            Expiry::TooFar
        } else {
            Expiry::Within
        }
    }

    /// Whether a block of this time may hold the intent. It asks for the beginning of its second: whoever builds it need not know to
    /// the millisecond when it will be decided, and half a second must not end an intent that its own second still holds.
    pub fn expiry_in_block(&self, block_ms: u64) -> Expiry {
        self.expiry(block_ms / 1_000 * 1_000)
    }

    /// Checks everything about the form of an intent that needs no state: known kind and working, unused fields zero.
    ///
    /// # Errors
    /// Names the first field that cannot be so.
    pub fn check_form(&self) -> Result<IntentKind, DecodeError> {
        use IntentKind as K;
        let kind = K::try_from(self.kind)?;
        Working::try_from(self.working)?;
        let table = !matches!(kind, K::Open | K::OpenVoucher | K::Transfer);
        let bet = matches!(kind, K::Bet | K::TakeDown | K::SetAmount | K::SetWorking);
        let amount = matches!(kind, K::Sit | K::Bet | K::SetAmount | K::Transfer);
        let working = matches!(kind, K::Bet | K::SetWorking);
        let target = table || matches!(kind, K::OpenVoucher | K::Transfer);
        let unused = [
            ("target", target, u64::from(self.target)),
            ("roll", table || kind == K::Transfer, u64::from(self.roll)),
            ("bet", bet, u64::from(self.bet)),
            ("box_number", bet, u64::from(self.box_number)),
            ("amount", amount, self.amount),
            ("working", working, u64::from(self.working)),
        ];
        // One request has one form: a field that may be anything would give it many, each to be signed, sent and
        // refused anew.
        match unused.into_iter().find(|(_, used, value)| !used && *value != 0) {
            Some((field, _, found)) => Err(DecodeError::Value { field, found }),
            None => Ok(kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_round_trips_and_others_are_refused() {
        let known: Vec<u8> = (0..=255).filter(|byte| IntentKind::try_from(*byte).is_ok()).collect();
        assert_eq!(known, (1..=11).collect::<Vec<u8>>());
    }

    #[test]
    fn an_expiry_counts_to_its_last_millisecond_and_60_s_ahead() {
        let body = IntentBody::new(IntentKind::Open, [7; 32], 0, 100);
        let at = |now_ms| body.expiry(now_ms);
        assert_eq!((at(39_999), at(40_000)), (Expiry::TooFar, Expiry::Within));
        assert_eq!((at(100_000), at(100_001)), (Expiry::Within, Expiry::Passed));
        assert_eq!(at(u64::MAX), Expiry::Passed);
    }

    #[test]
    fn an_expiry_is_past_where_no_block_may_hold_the_intent_any_more() {
        let body = IntentBody::new(IntentKind::Open, [7; 32], 0, 100);
        let at = |block_ms| (body.expiry_in_block(block_ms), is_past(100, block_ms));
        assert_eq!((at(39_999), at(40_999)), ((Expiry::TooFar, false), (Expiry::Within, false)));
        assert_eq!((at(100_999), at(101_000)), ((Expiry::Within, false), (Expiry::Passed, true)));
        assert_eq!((at(0), at(u64::MAX)), ((Expiry::TooFar, false), (Expiry::Passed, true)));
    }

    #[test]
    fn unused_fields_must_be_zero() {
        let open = IntentBody::new(IntentKind::Open, [7; 32], 0, 9);
        assert_eq!(open.check_form(), Ok(IntentKind::Open));
        assert_eq!(open.amount(1).check_form(), Err(DecodeError::Value { field: "amount", found: 1 }));
        let roll = IntentBody::new(IntentKind::Roll, [7; 32], 0, 9).at(TableId(3)).roll(4);
        assert_eq!(roll.check_form(), Ok(IntentKind::Roll));
        assert!(roll.working(Working::On).check_form().is_err());
        let transfer = IntentBody::new(IntentKind::Transfer, [7; 32], 0, 9).to(AccountId(3)).amount(1);
        assert_eq!(transfer.generation(2).check_form(), Ok(IntentKind::Transfer));
        assert_eq!(open.generation(2).check_form(), Err(DecodeError::Value { field: "roll", found: 2 }));
    }
}
