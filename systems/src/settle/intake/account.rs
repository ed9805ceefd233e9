use bytemuck::Zeroable;
use engine::columns::Column;
use engine::component::{Account, AccountKey, AccountStatus, count_on};
use engine::genesis::Opening;
use engine::io::Verdict;
use engine::message::intent::{IntentBody, IntentKind};
use engine::message::refusal::Refusal;
use engine::{AccountId, Chips};

use super::{Applied, Intake};

impl Intake<'_, '_> {
    /// Opens an account in the lowest free slot and grants its chips from the treasury.
    pub(super) fn open(&mut self, kind: IntentKind, body: &IntentBody) -> Applied {
        if let Some(id) = self.index.find(&body.key, self.rows.keys) {
            // The owner signed this one, so its number is used up. A voucher is an issuer's: it must not use up numbers
            // of an account that it does not own.
            if kind == IntentKind::Open {
                let account = &mut self.rows.accounts[id.index()];
                account.check_number(body.number)?;
                account.use_number(body.number);
                self.dirty.mark(Column::Accounts, id.index());
            }
            return Err(Refusal::AccountExists);
        }
        // A new account has used no number: one that is too far ahead would lock its owner out of all below.
        Account::zeroed().check_number(body.number)?;
        match &self.setup.genesis.opening {
            Opening::Free { .. } if kind == IntentKind::OpenVoucher => return Err(Refusal::VoucherNeeded),
            Opening::Free { per_height } if self.accounts_opened >= *per_height => return Err(Refusal::OpenLimit),
            Opening::Free { .. } => {}
            Opening::Voucher { issuers } => {
                let listed = (body.target as usize) < issuers.len();
                if kind == IntentKind::Open || !listed {
                    return Err(Refusal::VoucherNeeded);
                }
            }
        }
        let id = self.index.lowest_free().ok_or(Refusal::HouseFull)?.index();
        let grant = Chips(self.setup.genesis.grant);
        if self.rows.house.treasury < grant {
            return Err(Refusal::TreasuryEmpty);
        }
        // Whoever had the slot before must have left nothing in it: this account would own it.
        assert_eq!(self.rows.keys[id].key, [0; 32], "a free slot is nobody's");
        let slot = &mut self.rows.accounts[id];
        assert!(!slot.is_open(), "a slot is opened once");
        assert_eq!(slot.cage, Chips::ZERO, "a free slot holds nothing");
        assert_eq!(slot.seats, 0, "a free slot has no seat");
        *slot = Account {
            cage: Chips::ZERO,
            number_highest: 0,
            numbers_used: 0,
            granted: grant,
            wagered: Chips::ZERO,
            last_intent_ms: self.active_ms,
            generation: count_on(slot.generation),
            seats: 0,
            status: AccountStatus::Open as u8,
            reserved: [0; 3],
            opened_s: u32::try_from(self.active_ms / 1_000).expect("a chain is active for less than 136 years"),
        };
        slot.use_number(body.number);
        self.rows.keys[id] = AccountKey { key: body.key, reserved: [0; 32] };
        self.dirty.mark(Column::AccountKeys, id);
        self.index.insert(AccountId(id as u32), self.rows.keys);
        self.rows.house.accounts_open += 1;
        self.accounts_opened += 1;
        assert!(self.rows.house.accounts_open as usize <= self.rows.accounts.len(), "no more are open than slots");
        assert_eq!(self.index.find(&body.key, self.rows.keys), Some(AccountId(id as u32)), "a new account is found");
        // By number, or nodes would differ in who has which slot.
        assert!(self.index.lowest_free().is_none_or(|next| next.index() > id), "accounts take the lowest free slots");
        self.post(|to| to.treasury_to_cage(id, grant));
        let account = &self.rows.accounts[id];
        assert_eq!(account.cage, grant, "a new account has its grant and nothing else");
        assert_eq!(account.transferable(), Chips::ZERO, "a grant is bet before it is sent on");
        // A transfer that names no owner of a slot has a zero there.
        assert!(account.generation > 0, "every owner of a slot can be named");
        Ok(Verdict::Applied)
    }

    /// Sends chips from the sender's cage to another account's.
    pub(super) fn transfer(&mut self, id: AccountId, body: &IntentBody) -> Applied {
        let to = AccountId(body.target);
        // Slots are given on: who signed for one owner of it must not pay the next.
        let is_meant = |row: &Account| row.is_open() && (body.roll == 0 || body.roll == row.generation);
        let open = self.rows.accounts.get(to.index()).is_some_and(is_meant);
        // A posting has two rows: a transfer to oneself would be both sides of one.
        if !open || to == id {
            return Err(Refusal::UnknownRecipient);
        }
        let chips = Chips(body.amount);
        if chips == Chips::ZERO {
            return Err(Refusal::NothingToTransfer);
        }
        let account = &self.rows.accounts[id.index()];
        // A grant cannot be gathered from many accounts that never bet.
        if chips <= account.cage && chips > account.transferable() {
            return Err(Refusal::GrantLocked);
        }
        if chips > account.cage {
            return Err(Refusal::InsufficientFunds);
        }
        self.post(|book| book.cage_to_cage(id.index(), to.index(), chips));
        let account = &self.rows.accounts[id.index()];
        assert!(account.cage >= account.granted.saturating_sub(account.wagered), "what is not bet of a grant stays");
        Ok(Verdict::Applied)
    }
}
