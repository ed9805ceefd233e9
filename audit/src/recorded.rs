//! What a frame of the journal holds, decoded.

use engine::message::DecodeError;
use engine::message::block::{Decided, Retired};
use engine::message::certificate::Settled;
use engine::message::expect_height;
use engine::message::note::ChainNote;
use storage::{Frame, FrameKind};
use words::Failure;

/// A frame's content. Its height is that of the frame.
#[derive(Clone, PartialEq, Debug)]
pub enum Recorded {
    /// A block with the certificate by which its node saw it decided.
    Decided(Decided),
    /// What stays of one whose body was given up.
    Retired(Retired),
    /// What a block led to.
    Settled(Settled),
    /// Where the chain stood at the snapshot that the journal begins at.
    Base(ChainNote),
    /// What a validator did beside the chain.
    Evidence,
}

impl Recorded {
    /// Decodes a frame.
    ///
    /// # Errors
    /// If it holds something else than its kind says, or something of another height.
    pub fn of(frame: &Frame) -> Result<Self, Failure> {
        let Frame { kind, height, body } = frame;
        Self::decode(frame).map_err(|error: DecodeError| {
            Failure::Data(format!("the {kind:?} frame of height {height}, {} bytes: {error}", body.len()))
        })
    }

    fn decode(frame: &Frame) -> Result<Self, DecodeError> {
        let (recorded, height) = match frame.kind {
            FrameKind::Decided => {
                let decided = Decided::decode(&frame.body)?;
                let height = decided.block.header.height;
                (Self::Decided(decided), height)
            }
            FrameKind::Retired => {
                let retired = Retired::decode(&frame.body)?;
                let height = retired.header.height;
                (Self::Retired(retired), height)
            }
            FrameKind::Settled => {
                let settled = Settled::decode(&frame.body)?;
                let height = settled.height;
                (Self::Settled(settled), height)
            }
            FrameKind::Base => {
                let note = ChainNote::decode(&frame.body)?;
                let height = note.height;
                (Self::Base(note), height)
            }
            FrameKind::Evidence => (Self::Evidence, frame.height),
        };
        // A frame that stands under another height would be taken for it by whoever reads only its head.
        expect_height(height, frame.height)?;
        Ok(recorded)
    }
}
