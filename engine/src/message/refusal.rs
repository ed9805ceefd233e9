//! The answers to intents, and the one order in which their reasons are looked for.

/// Why an intent was refused. The discriminants are part of receipts and never change meaning.
///
/// **Precedence**: reasons are looked for in the order in which they stand here; the first that holds is the answer.
/// Up to [`Refusal::NumberAhead`] the number is not used up. Within a bet the order is that of RULES.md R3.
/// Three operations have an order of their own inside it, as R3 says: `set_amount` and `take_down` answer
/// `NO_SUCH_BET` before any reason of a bet (an unknown bet and an unseated player too), and so does `set_working`.
/// Pledges and openings have their own order, that of R13.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// The signature does not verify, or the key is not canonical or of small order.
    BadSignature = 1,
    /// No account has this key.
    UnknownAccount = 2,
    /// Block time is past the intent's expiry.
    Expired = 3,
    /// The expiry lies more than 60 s ahead of block time.
    ExpiresTooLate = 4,
    /// The number was used before.
    NumberUsed = 5,
    /// The number is below the account's window.
    NumberBehind = 6,
    /// The number is more than 64 above the highest one used.
    NumberAhead = 7,

    /// An account with this key exists.
    AccountExists = 20,
    /// Accounts open only by voucher here, or the voucher names no listed issuer.
    VoucherNeeded = 21,
    /// As many accounts as may open in one height have opened.
    OpenLimit = 22,
    /// Every account slot is taken.
    HouseFull = 23,
    /// The treasury cannot pay the grant.
    TreasuryEmpty = 24,

    /// No account has the recipient's number, or it is the sender, or another owner's than the one that the transfer names.
    UnknownRecipient = 30,
    /// Nothing to transfer.
    NothingToTransfer = 31,
    /// Granted chips must be wagered once before they can be transferred.
    GrantLocked = 32,

    /// No table has this number.
    UnknownTable = 40,
    /// The intent is for a roll that is over, or that has not come yet.
    StaleRoll = 41,
    /// The account sits at this table.
    AlreadySeated = 42,
    /// Every seat of the table is taken.
    TableFull = 43,
    /// The buy-in is below the table's smallest bet.
    BuyInTooSmall = 44,
    /// A roll of the table waits for its opening: until it is open or forfeited, nothing else is accepted there.
    Frozen = 45,

    /// No bet has this number in the catalogue.
    UnknownBet = 60,
    /// The account has no seat at the table.
    UnknownPlayer = 61,
    /// There is no such bet on this seat.
    NoSuchBet = 62,
    /// Below the table's smallest bet, or nothing.
    BetTooSmall = 63,
    /// The total is above the table's largest bet.
    BetTooLarge = 64,
    /// The puck forbids it: a come-out bet with a point on, or a point bet without.
    WrongPhase = 65,
    /// A contract bet stays as it is.
    ContractBet = 66,
    /// A hand bet that has seen a roll stays as it is.
    LockedBet = 67,
    /// The odds need a box number.
    BadTarget = 68,
    /// There is no flat bet for these odds to stand on.
    NoParentBet = 69,
    /// More than the table's multiple of the flat bet.
    OddsLimitExceeded = 70,
    /// The seat holds 32 bets.
    TooManyBets = 71,
    /// Not enough chips: on the rail for a bet, in the cage for a buy-in or a transfer.
    InsufficientFunds = 72,
    /// The table's bank could not pay the win.
    BankLimit = 73,
    /// This bet always works.
    NotToggleable = 74,

    /// Only the shooter rolls and passes the dice.
    NotShooter = 80,
    /// The roll was called already.
    RollCalled = 81,
    /// The betting window is open: no roll before its minimum.
    WindowOpen = 82,
    /// There is no other player to take the dice.
    NoOtherPlayer = 83,
    /// A roll of a pledged table needs a pledge first.
    NotPledged = 84,
    /// A roll of a pledged table needs a bet.
    NoBet = 85,

    /// The dice of this table follow from the beacon alone.
    TakesNoPledge = 90,
    /// The pledge's number is not above that of the last one.
    PledgeBehind = 91,
    /// No roll of the table waits for an opening.
    NothingToOpen = 92,
    /// The opening is for another block than the one that closed the bets.
    OtherBlock = 93,
    /// The opened value is not what was pledged.
    WrongValue = 94,
    /// The opening came after its deadline.
    OpenedLate = 95,
}

// Reasons are looked for in the order of their codes, and which of them use a number up follows from their order too.
const _: () = {
    let mut index = 1;
    while index < Refusal::ALL.len() {
        assert!((Refusal::ALL[index - 1].0 as u8) < Refusal::ALL[index].0 as u8);
        index += 1;
    }
};
const _: () = assert!(Refusal::NumberAhead as u8 + 1 < Refusal::AccountExists as u8);
const _: () = assert!((Refusal::AccountExists as u8) < Refusal::TreasuryEmpty as u8);

impl Refusal {
    /// All refusals in precedence order, with the name and the sentence that a person reads.
    pub const ALL: [(Self, &'static str, &'static str); 48] = [
        (Self::BadSignature, "BAD_SIGNATURE", "the signature does not verify under the intent's key"),
        (Self::UnknownAccount, "UNKNOWN_ACCOUNT", "no account has this key; open one first"),
        (Self::Expired, "EXPIRED", "the intent's expiry has passed; sign a new one"),
        (Self::ExpiresTooLate, "EXPIRES_TOO_LATE", "the expiry lies more than 60 s ahead; choose a nearer one"),
        (Self::NumberUsed, "NUMBER_USED", "this number was used before; an intent is applied once"),
        (Self::NumberBehind, "NUMBER_BEHIND", "the number lies below the window of 64; use a higher one"),
        (Self::NumberAhead, "NUMBER_AHEAD", "the number lies more than 64 above the highest used; use a lower one"),
        (Self::AccountExists, "ACCOUNT_EXISTS", "an account with this key is open already"),
        (Self::VoucherNeeded, "VOUCHER_NEEDED", "accounts open here only by a voucher of a listed issuer"),
        (Self::OpenLimit, "OPEN_LIMIT", "no more accounts open in this height; try again in the next"),
        (Self::HouseFull, "HOUSE_FULL", "every account is taken"),
        (Self::TreasuryEmpty, "TREASURY_EMPTY", "the treasury cannot pay the opening grant"),
        (Self::UnknownRecipient, "UNKNOWN_RECIPIENT", "the recipient is no other open account"),
        (Self::NothingToTransfer, "NOTHING_TO_TRANSFER", "a transfer sends at least 1 chip"),
        (Self::GrantLocked, "GRANT_LOCKED", "granted chips can be transferred after they were wagered once"),
        (Self::UnknownTable, "UNKNOWN_TABLE", "there is no such table"),
        (Self::StaleRoll, "STALE_ROLL", "the table is not at the roll that the intent names"),
        (Self::AlreadySeated, "ALREADY_SEATED", "this account sits at the table already"),
        (Self::TableFull, "TABLE_FULL", "every seat of the table is taken"),
        (Self::BuyInTooSmall, "BUY_IN_TOO_SMALL", "the buy-in is below the table's smallest bet"),
        (Self::Frozen, "FROZEN", "the table's roll waits for its opening; nothing else is accepted until then"),
        (Self::UnknownBet, "UNKNOWN_BET", "there is no such bet"),
        (Self::UnknownPlayer, "UNKNOWN_PLAYER", "this account has no seat at the table"),
        (Self::NoSuchBet, "NO_SUCH_BET", "there is no such bet on this seat"),
        (Self::BetTooSmall, "BET_TOO_SMALL", "the wager is below the table's smallest bet"),
        (Self::BetTooLarge, "BET_TOO_LARGE", "the total is above the table's largest bet"),
        (Self::WrongPhase, "WRONG_PHASE", "the bet is not open in this phase of the hand"),
        (Self::ContractBet, "CONTRACT_BET", "a contract bet stays until it is decided"),
        (Self::LockedBet, "LOCKED_BET", "a hand bet is locked once it has seen a roll"),
        (Self::BadTarget, "BAD_TARGET", "these odds need a box number: 4, 5, 6, 8, 9 or 10"),
        (Self::NoParentBet, "NO_PARENT_BET", "there is no flat bet for these odds to stand on"),
        (Self::OddsLimitExceeded, "ODDS_LIMIT_EXCEEDED", "more odds than the table's multiple of the flat bet"),
        (Self::TooManyBets, "TOO_MANY_BETS", "a seat holds at most 32 bets"),
        (Self::InsufficientFunds, "INSUFFICIENT_FUNDS", "there are not enough chips"),
        (Self::BankLimit, "BANK_LIMIT", "the table's bank could not pay the win"),
        (Self::NotToggleable, "NOT_TOGGLEABLE", "this bet always works"),
        (Self::NotShooter, "NOT_SHOOTER", "only the shooter rolls and passes the dice"),
        (Self::RollCalled, "ROLL_CALLED", "the roll was called already"),
        (Self::WindowOpen, "WINDOW_OPEN", "the betting window has not been open for its minimum"),
        (Self::NoOtherPlayer, "NO_OTHER_PLAYER", "there is no other player to take the dice"),
        (Self::NotPledged, "NOT_PLEDGED", "nothing is pledged for this roll; pledge first"),
        (Self::NoBet, "NO_BET", "this table rolls only for a bet; place one first"),
        (Self::TakesNoPledge, "TAKES_NO_PLEDGE", "the dice of this table follow from the beacon alone"),
        (Self::PledgeBehind, "PLEDGE_BEHIND", "a newer pledge stands; its number must be above the last one's"),
        (Self::NothingToOpen, "NOTHING_TO_OPEN", "no roll of the table waits for an opening"),
        (Self::OtherBlock, "OTHER_BLOCK", "the opening is for another block than the one that closed the bets"),
        (Self::WrongValue, "WRONG_VALUE", "the opened value is not what was pledged"),
        (Self::OpenedLate, "OPENED_LATE", "the opening came after its deadline"),
    ];

    /// The code's name, as output and docs write it.
    pub fn name(self) -> &'static str {
        self.entry().1
    }

    /// What it means and what to do, in a sentence.
    pub fn sentence(self) -> &'static str {
        self.entry().2
    }

    /// Whether the intent's number is used up for certain, so that the same intent is never applied. Not before the number was
    /// found good, and not where there is no account yet whose number it could be. `AccountExists` uses up the number of the
    /// owner's own open and of no voucher: the code alone does not say which it was.
    pub fn uses_number(self) -> bool {
        self > Self::NumberAhead && !(self >= Self::AccountExists && self <= Self::TreasuryEmpty)
    }

    fn entry(self) -> &'static (Self, &'static str, &'static str) {
        Self::ALL.iter().find(|entry| entry.0 == self).expect("ALL lists every refusal")
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_stand_in_precedence_order_with_distinct_names() {
        assert!(Refusal::ALL.windows(2).all(|pair| (pair[0].0 as u8) < (pair[1].0 as u8)));
        for (refusal, name, sentence) in Refusal::ALL {
            assert_eq!(refusal.name(), name);
            assert!(!sentence.is_empty());
            assert_eq!(Refusal::ALL.iter().filter(|entry| entry.1 == name).count(), 1);
        }
    }
}
