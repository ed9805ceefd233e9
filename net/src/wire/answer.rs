//! What a node answers to an intent.

use bytemuck::{Pod, Zeroable};
use engine::Height;
use engine::bytes::{DecodeError, zeros};
use engine::io::{Receipt, ShedReason, Verdict};
use engine::limits::MESSAGE_ANSWERS_MAX;
use engine::message::check_height;
use engine::message::intent::IntentId;
use engine::message::refusal::Refusal;

use super::field::value;
use super::payload::Body;

/// Layout: 72 bytes, no padding.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C)]
pub struct AnswerBody {
    key: [u8; 32],
    number: u64,
    mark: [u8; 16],
    height: u64,
    index: u32,
    verdict: u8,
    code: u8,
    reserved: [u8; 2],
}

const _: () = assert!(size_of::<AnswerBody>() == 72);

/// What became of an intent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Answer {
    /// Which intent it answers.
    pub id: IntentId,
    /// What became of it.
    pub verdict: AnswerVerdict,
}

/// What a node can answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AnswerVerdict {
    /// It waits for a block; it may still die with this node.
    Acknowledged,
    /// Its receipt: durable.
    Receipt {
        /// The height that applied or refused it; genesis where it was refused before any block.
        height: Height,
        /// Its place in the block.
        index: u32,
        /// What became of it.
        verdict: Verdict,
    },
    /// This node did not take it.
    Shed(ShedReason),
}

impl Answer {
    /// A receipt.
    pub fn receipt(receipt: &Receipt) -> Self {
        let Receipt { id, height, index, verdict } = *receipt;
        Self { id, verdict: AnswerVerdict::Receipt { height, index, verdict } }
    }

    /// Whether it is the last word: a receipt, or nothing was taken.
    pub fn is_final(&self) -> bool {
        self.verdict != AnswerVerdict::Acknowledged
    }
}

impl Body for Answer {
    type Bytes = AnswerBody;
    const LIST_MAX: usize = MESSAGE_ANSWERS_MAX;

    fn to_bytes(&self) -> AnswerBody {
        let IntentId { key, number, mark } = self.id;
        let body = AnswerBody { key, number, mark, ..AnswerBody::zeroed() };
        match self.verdict {
            AnswerVerdict::Acknowledged => AnswerBody { verdict: 1, ..body },
            AnswerVerdict::Receipt { height, index, verdict } => {
                let (verdict, code) = match verdict {
                    Verdict::Applied => (2, 0),
                    Verdict::OddsReturned => (3, 0),
                    Verdict::Refused(refusal) => (4, refusal as u8),
                };
                AnswerBody { height: height.0, index, verdict, code, ..body }
            }
            AnswerVerdict::Shed(reason) => AnswerBody { verdict: 5, code: reason as u8, ..body },
        }
    }

    fn of_bytes(body: &AnswerBody) -> Result<Self, DecodeError> {
        zeros("answer", &body.reserved)?;
        // A message has one encoding: a field that its verdict does not have is zero.
        if body.verdict == 1 || body.verdict == 5 {
            zeros("answer without a receipt", &body.height.to_le_bytes())?;
            zeros("answer without a receipt", &body.index.to_le_bytes())?;
        }
        if body.verdict < 4 {
            zeros("answer without a code", &[body.code])?;
        }
        let height = check_height(Height(body.height))?;
        let receipt = |verdict| AnswerVerdict::Receipt { height, index: body.index, verdict };
        let code = |field| value(field, body.code);
        let verdict = match body.verdict {
            1 => AnswerVerdict::Acknowledged,
            2 => receipt(Verdict::Applied),
            3 => receipt(Verdict::OddsReturned),
            4 => {
                let known = Refusal::ALL.into_iter().find(|(refusal, ..)| *refusal as u8 == body.code);
                receipt(Verdict::Refused(known.ok_or_else(|| code("refusal"))?.0))
            }
            5 => AnswerVerdict::Shed(ShedReason::try_from(body.code).map_err(|_| code("reason of shedding"))?),
            found => return Err(value("verdict", found)),
        };
        Ok(Self { id: IntentId { key: body.key, number: body.number, mark: body.mark }, verdict })
    }

    #[cfg(test)]
    fn samples() -> Vec<Self> {
        let receipt = |verdict| AnswerVerdict::Receipt { height: Height(11), index: 3, verdict };
        let verdicts = [
            AnswerVerdict::Acknowledged,
            receipt(Verdict::Applied),
            receipt(Verdict::OddsReturned),
            receipt(Verdict::Refused(Refusal::NumberUsed)),
            AnswerVerdict::Shed(ShedReason::NoCredit),
        ];
        verdicts
            .into_iter()
            .zip(1..)
            .map(|(verdict, number)| Self { id: IntentId { key: [2; 32], number, mark: [3; 16] }, verdict })
            .collect()
    }
}
