//! Writing the journal: groups of frames, in segments.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use engine::Hash;

use crate::backend::Backend;
use crate::file::GroupFile;
use crate::frame::{Frame, encode};
use crate::reader::{End, Tail, segment_header};
use crate::session::{OpenError, Session, name};

/// Bytes after which a new segment begins.
pub const SEGMENT_BYTES: u64 = 64 << 20;

/// The end of the journal, where groups are appended.
pub struct JournalWriter {
    backend: Arc<dyn Backend>,
    folder: PathBuf,
    chain: Hash,
    number: u32,
    file: Option<GroupFile>,
    previous: Hash,
    segment_bytes: u64,
    buffer: Vec<u8>,
    written: bool,
}

impl JournalWriter {
    /// Goes on where a journal ends; a torn tail is cut.
    ///
    /// # Errors
    /// If the system refuses.
    pub fn open(session: &Session, end: &End, segment_bytes: u64) -> Result<Self, OpenError> {
        let folder = session.dir().join("journal");
        let backend = session.backend().clone();
        let mut writer = Self {
            backend: backend.clone(),
            folder,
            chain: session.chain(),
            number: 0,
            file: None,
            previous: end.previous,
            segment_bytes,
            buffer: Vec::new(),
            written: false,
        };
        if let Some((number, path, data_end)) = &end.segment {
            if matches!(end.tail, Tail::Torn { .. }) && *data_end == 0 {
                // The segment's own header never reached the disk: it is made again.
                backend.remove(path).map_err(OpenError::io(path))?;
                writer.number = number - 1;
            } else {
                writer.number = *number;
                writer.file = Some(GroupFile::reopen(&*backend, path, *data_end).map_err(OpenError::io(path))?);
            }
        }
        Ok(writer)
    }

    /// Appends frames as one group. They are on disk after [`JournalWriter::sync`].
    ///
    /// # Errors
    /// What the system says; nothing may be appended afterwards.
    pub fn append(&mut self, frames: &[Frame]) -> io::Result<()> {
        if frames.is_empty() {
            return Ok(());
        }
        if self.file.as_ref().is_none_or(|file| file.end() >= self.segment_bytes) {
            self.next_segment()?;
        }
        self.buffer.clear();
        for frame in frames {
            self.previous = encode(frame, &self.previous, &mut self.buffer);
        }
        self.written = true;
        self.file.as_mut().expect("a segment was begun").append(&mut self.buffer)
    }

    fn next_segment(&mut self) -> io::Result<()> {
        if let Some(mut full) = self.file.take() {
            full.seal()?;
        }
        self.number += 1;
        let mut file = GroupFile::create(&*self.backend, &self.folder.join(name(self.number, "seg")))?;
        file.append(&mut segment_header(self.number, &self.chain, &self.previous))?;
        file.sync()?;
        self.backend.sync_dir(&self.folder)?;
        self.file = Some(file);
        Ok(())
    }

    /// Waits until all groups are on disk.
    ///
    /// # Errors
    /// What the system says.
    pub fn sync(&mut self) -> io::Result<()> {
        match &self.file {
            Some(file) if std::mem::take(&mut self.written) => file.sync(),
            _ => Ok(()),
        }
    }

    /// Cuts the zeros ahead of the data: the session ends here for now.
    ///
    /// # Errors
    /// What the system says.
    pub fn seal(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), GroupFile::seal)
    }
}
