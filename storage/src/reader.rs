//! Reading the journal: frames in order, and what the end looks like.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use engine::{Genesis, Hash};

use crate::backend::{Access, Backend, FileBackend};
use crate::frame::{ALIGN, BODY_MAX, Frame, HEADER, MAGIC, decode_body, decode_header};
use crate::session::{OpenError, genesis_bytes_on, numbered};
use crate::{BLOCK, Damage, align_up};

/// First bytes of every segment.
pub const SEGMENT_MAGIC: [u8; 8] = *b"BCSEGM01";
/// The version of segments that this code writes and reads.
pub const SEGMENT_VERSION: u32 = 1;

/// How a segment begins: one block.
///
/// Layout: magic 8, version u32, number u32, chain id 32, hash of the last frame header before 32, hash of the 80
/// bytes before 32, zeros to 4096.
pub fn segment_header(number: u32, chain: &Hash, previous: &Hash) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(BLOCK as usize);
    bytes.extend_from_slice(&SEGMENT_MAGIC);
    bytes.extend_from_slice(&SEGMENT_VERSION.to_le_bytes());
    bytes.extend_from_slice(&number.to_le_bytes());
    bytes.extend_from_slice(chain);
    bytes.extend_from_slice(previous);
    let hash = *blake3::hash(&bytes).as_bytes();
    bytes.extend_from_slice(&hash);
    bytes.resize(BLOCK as usize, 0);
    bytes
}

/// What follows the last frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Tail {
    /// Nothing: zeros, or the end of the file.
    Clean,
    /// Bytes of a group that was never completed. They were never synced, and nothing valid follows them.
    Torn {
        /// Where they begin, and why they are no frame.
        at: Damage,
        /// How many there are up to the last that is not zero.
        bytes: u64,
    },
}

/// Where the journal ends.
#[derive(Clone, Debug)]
pub struct End {
    /// The last segment, and where its data ends; none in an empty journal.
    pub segment: Option<(u32, PathBuf, u64)>,
    /// Hash of the last frame's header; zero before the first.
    pub previous: Hash,
    /// What follows.
    pub tail: Tail,
}

/// The frames of a session's journal, in order. A segment is in memory at a time.
pub struct JournalReader {
    backend: Arc<dyn Backend>,
    dir: PathBuf,
    chain: Hash,
    segments: Vec<(u32, PathBuf)>,
    next_segment: usize,
    bytes: Vec<u8>,
    at: usize,
    previous: Hash,
    end: Option<End>,
}

impl JournalReader {
    /// The journal of a session.
    ///
    /// # Errors
    /// If the directory is no session.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        Self::open_on(Arc::new(FileBackend), dir)
    }

    /// The journal of a session that is elsewhere than on the file system.
    ///
    /// # Errors
    /// If the directory is no session.
    pub fn open_on(backend: Arc<dyn Backend>, dir: &Path) -> Result<Self, OpenError> {
        let chain = Genesis::chain_id(&genesis_bytes_on(&*backend, dir)?);
        let segments = numbered(&*backend, &dir.join("journal"), "seg")?;
        Ok(Self {
            backend,
            dir: dir.to_owned(),
            chain,
            segments,
            next_segment: 0,
            bytes: Vec::new(),
            at: 0,
            previous: [0; 32],
            end: None,
        })
    }

    /// The next frame, or `None` after the last; [`JournalReader::end`] then tells how the journal ends.
    ///
    /// # Errors
    /// Damage: bytes that are wrong before the end of what was written.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, OpenError> {
        if self.end.is_some() {
            return Ok(None);
        }
        loop {
            if self.at >= self.bytes.len() && !self.open_segment()? {
                return Ok(None);
            }
            let aligned = self.at.next_multiple_of(ALIGN).min(self.bytes.len());
            if let Some(dirt) = self.bytes[self.at..aligned].iter().position(|byte| *byte != 0) {
                return self.bad(self.at + dirt, "padding is not zero".into());
            }
            self.at = aligned;
            // Padding to the end of a block, or the zeros ahead.
            let magic = self.bytes.get(self.at..self.at + 4);
            if magic.is_none_or(|magic| magic == [0; 4]) {
                let block_end = (align_up(self.at as u64) as usize).min(self.bytes.len());
                if let Some(dirt) = self.bytes[self.at.min(block_end)..block_end].iter().position(|byte| *byte != 0) {
                    return self.bad(self.at + dirt, "padding is not zero".into());
                }
                if self.at < block_end {
                    self.at = block_end;
                    continue;
                }
                // A whole block that starts with zeros: nothing was written from here on.
                match self.bytes[self.at..].iter().position(|byte| *byte != 0) {
                    Some(dirt) => return self.bad(self.at + dirt, "zeros ahead are not zero".into()),
                    None if self.next_segment < self.segments.len() && self.at < self.bytes.len() => {
                        return self.bad(self.at, "a sealed segment ends in zeros".into());
                    }
                    None => {
                        self.finish(self.at, Tail::Clean);
                        if self.next_segment >= self.segments.len() {
                            return Ok(None);
                        }
                        self.end = None;
                        self.at = self.bytes.len();
                        continue;
                    }
                }
            }
            return match self.frame_at(self.at, Some(self.previous)) {
                Ok((frame, end, hash)) => {
                    self.at = end;
                    self.previous = hash;
                    Ok(Some(frame))
                }
                Err(problem) => self.bad(self.at, problem),
            };
        }
    }

    /// How the journal ends; known after the last frame.
    pub fn end(&self) -> Option<&End> {
        self.end.as_ref()
    }

    /// Bytes of all segments.
    pub fn total_bytes(&self) -> u64 {
        let length = |path: &Path| self.backend.open(path, Access::Read).and_then(|file| file.len());
        self.segments.iter().filter_map(|(_, path)| length(path).ok()).sum()
    }

    fn segment_name(&self, index: usize) -> String {
        self.segments[index].1.strip_prefix(&self.dir).unwrap_or(&self.segments[index].1).display().to_string()
    }

    fn damage(&self, offset: usize, problem: String) -> Damage {
        Damage { file: self.segment_name(self.next_segment - 1), offset: offset as u64, problem }
    }

    fn frame_at(&self, at: usize, previous: Option<Hash>) -> Result<(Frame, usize, Hash), String> {
        let header = self.bytes.get(at..at + HEADER).ok_or("the frame header is cut short")?;
        let header = decode_header(header.try_into().expect("a header's bytes"))?;
        if previous.is_some_and(|previous| previous != header.previous) {
            return Err("the frame does not follow the one before it".into());
        }
        let end = at + HEADER + header.stored;
        let stored = self.bytes.get(at + HEADER..end).ok_or("the frame body is cut short")?;
        let body = decode_body(&header, stored)?;
        Ok((Frame { kind: header.kind, height: header.height, body }, end, header.hash))
    }

    fn finish(&mut self, at: usize, tail: Tail) {
        let (number, path) = &self.segments[self.next_segment - 1];
        let segment = Some((*number, path.clone(), at as u64));
        self.end = Some(End { segment, previous: self.previous, tail });
    }

    /// Bytes that are wrong: the torn end of the journal if nothing valid follows, else damage.
    fn bad(&mut self, at: usize, problem: String) -> Result<Option<Frame>, OpenError> {
        let damage = self.damage(at, problem);
        let newer = damage.problem.contains("this program reads version");
        let later = self.next_segment < self.segments.len() || self.valid_frame_after(at);
        if later || newer {
            return Err(damage.into());
        }
        let last = self.bytes.iter().rposition(|byte| *byte != 0).unwrap_or(at);
        let bytes = (last + 1).saturating_sub(at) as u64;
        // The frames of the last block stay; what is torn begins behind them.
        let data_end = self.at;
        self.finish(data_end, Tail::Torn { at: damage, bytes });
        Ok(None)
    }

    fn valid_frame_after(&self, at: usize) -> bool {
        let from = (at + 1).next_multiple_of(ALIGN);
        (from..self.bytes.len().saturating_sub(HEADER))
            .step_by(ALIGN)
            .filter(|at| self.bytes[*at..*at + 4] == MAGIC.to_le_bytes())
            .any(|at| self.frame_at(at, None).is_ok())
    }

    /// Loads the next segment; false after the last.
    fn open_segment(&mut self) -> Result<bool, OpenError> {
        let Some((number, path)) = self.segments.get(self.next_segment).cloned() else {
            if self.next_segment == 0 {
                self.end = Some(End { segment: None, previous: [0; 32], tail: Tail::Clean });
            } else {
                self.finish(self.bytes.len(), Tail::Clean);
            }
            return Ok(false);
        };
        self.bytes = self.backend.read(&path).map_err(OpenError::io(&path))?;
        self.next_segment += 1;
        self.at = 0;
        let header = self.bytes.get(..BLOCK as usize).unwrap_or(&self.bytes);
        let expected = segment_header(number, &self.chain, &self.previous);
        let in_order = number as usize == self.next_segment;
        if header != expected || !in_order {
            let problem = self.header_problem(number, in_order);
            let written = self.bytes.get(BLOCK as usize..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0));
            let first = self.next_segment == 1;
            let last = self.next_segment == self.segments.len();
            // A segment that was being made when the machine stopped holds nothing yet.
            if last && !written && in_order && !problem.contains("version") && (!first || self.bytes.is_empty()) {
                let damage = self.damage(0, problem);
                let bytes = self.bytes.len() as u64;
                self.finish(0, Tail::Torn { at: damage, bytes });
                return Ok(false);
            }
            return Err(self.damage(0, problem).into());
        }
        self.at = BLOCK as usize;
        Ok(true)
    }

    fn header_problem(&self, number: u32, in_order: bool) -> String {
        let bytes = &self.bytes;
        let word =
            |at: usize| bytes.get(at..at + 4).map_or(0, |word| u32::from_le_bytes(word.try_into().expect("4 bytes")));
        match () {
            () if !in_order => format!("segment {number} stands where segment {} belongs", self.next_segment),
            () if bytes.len() < BLOCK as usize => "the segment header is cut short".into(),
            () if bytes[..8] != SEGMENT_MAGIC => "this is no journal segment".into(),
            () if *blake3::hash(&bytes[..80]).as_bytes() != bytes[80..112] => {
                "the segment header's hash is wrong".into()
            }
            () if word(8) != SEGMENT_VERSION => {
                format!("the segment has version {}, this program reads version {SEGMENT_VERSION}", word(8))
            }
            () if bytes[16..48] != self.chain => "the segment belongs to another genesis".into(),
            () if bytes[48..80] != self.previous => "the segment does not follow the one before it".into(),
            () => "the segment header's padding is not zero".into(),
        }
    }
}

const _: () = assert!(BODY_MAX as u64 > BLOCK);
