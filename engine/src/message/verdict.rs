//! What became of an intent, in a byte.

use super::DecodeError;
use super::refusal::Refusal;

/// The answer to an intent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Applied.
    Applied,
    /// A take-down was applied, and the bet's odds went back with it.
    OddsReturned,
    /// Nothing changed but, where the code says so, the number.
    Refused(Refusal),
}

// A refusal's byte is neither that of an applied intent nor that of another refusal.
const _: () = assert!(Refusal::BadSignature as u8 + Verdict::REFUSED > 1);
const _: () = assert!(Refusal::ALL[Refusal::ALL.len() - 1].0 as u8 <= u8::MAX - Verdict::REFUSED);

impl Verdict {
    /// What a refusal's code is moved by, so that verdicts fit a byte.
    const REFUSED: u8 = 0x10;

    /// How rows and messages name it: `applied`, `odds_returned`, or the refusal's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Applied => "applied",
            Self::OddsReturned => "odds_returned",
            Self::Refused(refusal) => refusal.name(),
        }
    }

    /// The byte that settled frames hold: 0 applied, 1 odds returned, else the refusal's code and 16.
    pub fn to_byte(self) -> u8 {
        match self {
            Self::Applied => 0,
            Self::OddsReturned => 1,
            Self::Refused(refusal) => refusal as u8 + Self::REFUSED,
        }
    }
}

impl TryFrom<u8> for Verdict {
    type Error = DecodeError;

    fn try_from(byte: u8) -> Result<Self, Self::Error> {
        let refusal = |code| Refusal::ALL.into_iter().find(|(refusal, ..)| *refusal as u8 == code);
        match byte {
            0 => Ok(Self::Applied),
            1 => Ok(Self::OddsReturned),
            _ => byte
                .checked_sub(Self::REFUSED)
                .and_then(refusal)
                .map(|(refusal, ..)| Self::Refused(refusal))
                .ok_or(DecodeError::Value { field: "verdict", found: byte.into() }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_verdict_has_a_byte_of_its_own_and_other_bytes_are_none() {
        let refused = Refusal::ALL.into_iter().map(|(refusal, ..)| Verdict::Refused(refusal));
        let all: Vec<Verdict> = [Verdict::Applied, Verdict::OddsReturned].into_iter().chain(refused).collect();
        for verdict in &all {
            assert_eq!(Verdict::try_from(verdict.to_byte()), Ok(*verdict));
        }
        let known = (0..=u8::MAX).filter(|byte| Verdict::try_from(*byte).is_ok()).count();
        assert_eq!(known, all.len());
    }
}
