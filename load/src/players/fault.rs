//! Intents that are wrong on purpose: the reckless try what the engine must refuse.

use engine::message::intent::{Intent, IntentBody, IntentKind};
use engine::{AccountId, Hash, TableId};
use order::signature::PlayerKey;

use super::player::Player;
use crate::users::expiry_s;

/// Sends one wrong intent. Returns how many stranger's keys were used up.
pub(super) fn inject(
    player: &mut Player,
    stranger: &PlayerKey,
    tables: u32,
    chain: &Hash,
    now_ms: u64,
    intents: &mut Vec<Intent>,
) -> Option<u32> {
    let late = expiry_s(now_ms / 1_000 + 300);
    let early = expiry_s(now_ms / 1_000 - 1);
    let kind = player.rng.below(13);
    let highest = player.next_number;
    let body = match kind {
        0 => IntentBody { number: highest.saturating_sub(2), ..player.body(IntentKind::Leave, now_ms).at(player.home) },
        1 => {
            IntentBody { number: highest.saturating_sub(80), ..player.body(IntentKind::Leave, now_ms).at(player.home) }
        }
        2 => IntentBody { number: highest + 500, ..player.body(IntentKind::Leave, now_ms).at(player.home) },
        3 => IntentBody { expiry_s: early, ..player.body(IntentKind::Leave, now_ms).at(player.home) },
        4 => IntentBody { expiry_s: late, ..player.body(IntentKind::Leave, now_ms).at(player.home) },
        5 => player.body(IntentKind::Leave, now_ms).at(TableId(u32::MAX)),
        6 => {
            let to = AccountId(player.rng.below(100) as u32);
            let amount = *player.rng.pick(&[0, 1, 100, 1_000_000_000]);
            player.body(IntentKind::Transfer, now_ms).to(to).amount(amount)
        }
        7 => {
            let table = TableId(player.home.0.wrapping_add(1));
            let kind = *player.rng.pick(&[IntentKind::Roll, IntentKind::Sit]);
            player.body(kind, now_ms).at(table)
        }
        8 => player.body(IntentKind::Open, now_ms),
        9 => {
            let body = player.body(IntentKind::OpenVoucher, now_ms);
            intents.push(player.key.sign(body, chain));
            return None;
        }
        11 => {
            // Looks in at some table, and would have somebody else shoot.
            let table = TableId(player.rng.below(tables.into()) as u32);
            for kind in [IntentKind::Sit, IntentKind::PassDice] {
                let amount = if kind == IntentKind::Sit { 100 } else { 0 };
                let body = player.body(kind, now_ms).at(table).amount(amount);
                intents.push(player.key.sign(body, chain));
            }
            player.body(IntentKind::Leave, now_ms).at(table)
        }
        10 => {
            // A stranger opens an account, and is never seen again.
            let body = IntentBody { key: stranger.public(), number: 1, ..player.body(IntentKind::Open, now_ms) };
            intents.push(stranger.sign(body, chain));
            return Some(1);
        }
        _ => {
            let body = IntentBody { key: stranger.public(), number: 1, ..player.body(IntentKind::Leave, now_ms) };
            intents.push(stranger.sign(body.at(player.home), chain));
            // And a signature that was altered on the way.
            let leave = player.body(IntentKind::Leave, now_ms).at(player.home);
            let mut forged = player.key.sign(leave, chain);
            forged.signature[40] ^= 1;
            intents.push(forged);
            return None;
        }
    };
    intents.push(player.key.sign(body, chain));
    None
}
