//! A session that a thread writes, with what it held: all of its frames, since the sessions of tests are short.

use engine::Height;
use storage::{Disk, Frame, JournalReader, LogFound, OpenError, Session, Storage, Writing};

pub struct Opened {
    pub storage: Storage,
    pub frames: Vec<Frame>,
    pub log: LogFound,
}

impl Opened {
    pub fn of(session: Session) -> Result<Self, OpenError> {
        Self::written(session, Writing::default())
    }

    pub fn written(session: Session, writing: Writing) -> Result<Self, OpenError> {
        let mut reader = JournalReader::of(&session, Height::GENESIS)?;
        let mut frames = Vec::new();
        while let Some(frame) = reader.next_frame()? {
            frames.push(frame);
        }
        let opened = Disk::start(session, reader, writing)?;
        Ok(Self { storage: Storage::of(opened.disk)?, frames, log: opened.log })
    }
}
