//! What the bytes of a segment are, place by place.

use std::io;

use engine::limits::{SEARCH_LENGTHS, SEGMENT_WINDOW_BYTES};
use engine::{Hash, Height};

use super::frame::{ALIGN, Frame, FrameHeader, HEADER, MAGIC, decode_body, decode_header};
use super::index::{FrameMarks, Index};
use crate::backend::{FileBytes, Handle};
use crate::{BLOCK, Problem, align_up};

/// What a place holds.
pub enum ScanItem {
    /// A frame.
    Frame(Frame),
    /// The index, and with it the end of the segment.
    Sealed,
    /// Nothing was written from here on.
    End,
    /// What must not be there.
    Bad {
        /// Where.
        at: usize,
        /// Why it is wrong.
        problem: Problem,
    },
}

/// What lies ahead of the bytes in memory. The file stays open: its name may come to mean what stays of the segment.
pub struct Ahead {
    file: Box<dyn Handle>,
    /// Where it ended when it was opened.
    end: u64,
}

impl Ahead {
    /// The first [`SEGMENT_WINDOW_BYTES`] of a file from an offset on, and what lies ahead of them, if anything does.
    ///
    /// # Errors
    /// If the system refuses, or the file is compressed and wrong.
    pub fn begin(file: Box<dyn Handle>, from: u64, end: u64) -> io::Result<(Vec<u8>, Option<Self>)> {
        let count = SEGMENT_WINDOW_BYTES.min(end.saturating_sub(from) as usize);
        let bytes = file.read_range(from, count)?;
        let is_whole = from + bytes.len() as u64 >= end;
        Ok((bytes, (!is_whole).then_some(Self { file, end })))
    }
}

/// A segment's bytes, and a place in them.
#[derive(Default)]
pub struct Scan {
    /// The bytes from `base` on.
    pub bytes: FileBytes,
    /// Where in the segment they begin; a multiple of the block.
    pub base: u64,
    /// The place in them.
    pub at: usize,
    /// Hash of the last frame's header.
    pub previous: Hash,
    /// The highest height so far.
    pub highest: Height,
    /// The marks of the frames that passed by.
    pub marks: FrameMarks,
    /// Whether these are what stays of a segment: its frames are a chain of their own.
    pub head: bool,
    /// Where the group of the last frame begins in the segment; unknown where the place was jumped to.
    group: Option<u64>,
    /// Bytes that may still be hashed in search of what follows a bad place.
    search_left: u64,
}

impl Scan {
    /// Takes up another segment at an offset that a frame begins at.
    pub fn load(&mut self, bytes: impl Into<FileBytes>, base: u64, offset: u64) {
        assert!(base <= offset, "the bytes that are taken up hold the place");
        assert!(base.is_multiple_of(BLOCK), "bytes are taken up from a block on");
        self.bytes = bytes.into();
        self.base = base;
        self.at = (offset - base) as usize;
        self.group = (offset == 0).then_some(0);
        self.marks = FrameMarks::default();
        self.search_left = SEARCH_LENGTHS * self.bytes.len() as u64;
    }

    /// Takes up more of the segment, from the place that was reached; all of it, where nothing in memory could be made of what
    /// begins there. False where all is in memory.
    ///
    /// # Errors
    /// If the system refuses, or the file is compressed and wrong.
    pub fn read_on(&mut self, ahead: &mut Option<Ahead>) -> io::Result<bool> {
        let Some(Ahead { file, end }) = ahead.take() else { return Ok(false) };
        let base = self.offset(self.at) / BLOCK * BLOCK;
        assert!(base >= self.base, "a window goes forward");
        let rest = end.saturating_sub(base) as usize;
        let count = if base == self.base { rest } else { SEGMENT_WINDOW_BYTES.min(rest) };
        let bytes = file.read_range(base, count)?;
        // One that is shorter now was cut at its end.
        let is_whole = bytes.len() < count || count == rest;
        self.go_on(bytes, base);
        *ahead = (!is_whole).then_some(Ahead { file, end });
        Ok(true)
    }

    /// Goes on in other bytes of the same segment, which hold the place.
    fn go_on(&mut self, bytes: Vec<u8>, base: u64) {
        let offset = self.offset(self.at);
        assert!(base <= offset, "no byte is passed over");
        assert!(base.is_multiple_of(BLOCK), "what lies at a multiple in memory does in the segment");
        self.bytes = bytes.into();
        self.base = base;
        // A file that somebody has cut below the place that was reached ends where it ends now.
        self.at = ((offset - base) as usize).min(self.bytes.len());
        self.search_left = SEARCH_LENGTHS * self.bytes.len() as u64;
    }

    /// The offset in the segment of a place.
    pub fn offset(&self, at: usize) -> u64 {
        self.base + at as u64
    }

    /// What comes next.
    pub fn step(&mut self) -> ScanItem {
        loop {
            let aligned = self.at.next_multiple_of(ALIGN).min(self.bytes.len());
            if let Some(bad) = self.zeros(self.at, aligned, "padding is not zero") {
                return bad;
            }
            self.at = aligned;
            let rest = &self.bytes[self.at..];
            if rest.len() >= 4 && rest[..4] != [0; 4] {
                return if Index::begins(rest) { self.index() } else { self.frame() };
            }
            // Padding to the end of a block, or the zeros ahead.
            let block_end = (align_up(self.at as u64) as usize).min(self.bytes.len());
            if let Some(bad) = self.zeros(self.at, block_end, "padding is not zero") {
                return bad;
            }
            if self.at == block_end {
                return self.zeros(self.at, self.bytes.len(), "zeros ahead are not zero").unwrap_or(ScanItem::End);
            }
            self.at = block_end;
        }
    }

    fn zeros(&self, from: usize, to: usize, problem: &str) -> Option<ScanItem> {
        let dirt = self.bytes[from..to].iter().position(|byte| *byte != 0)?;
        Some(ScanItem::Bad { at: from + dirt, problem: problem.into() })
    }

    fn frame(&mut self) -> ScanItem {
        let at = self.at;
        assert!(at.is_multiple_of(ALIGN), "frames are looked for where they can begin");
        match self.frame_at(at) {
            Ok((_, header)) if header.previous != self.previous => {
                ScanItem::Bad { at, problem: "the frame does not follow the one before it".into() }
            }
            Ok((_, FrameHeader { group, .. }))
                if self.group.is_some_and(|last| group != last && group != self.offset(at)) =>
            {
                ScanItem::Bad { at, problem: "the frame says that it was synced with others".into() }
            }
            Ok((frame, header)) => {
                self.marks.pass(self.base + at as u64, self.highest, &self.previous);
                self.previous = header.hash;
                self.highest = self.highest.max(frame.height);
                self.group = Some(header.group);
                self.at = at + HEADER + header.stored;
                assert!(self.at <= self.bytes.len(), "a frame that was read lies in the bytes");
                ScanItem::Frame(frame)
            }
            Err(problem) => ScanItem::Bad { at, problem },
        }
    }

    fn index(&mut self) -> ScanItem {
        let at = self.at;
        let wrong = |problem: &str| ScanItem::Bad { at, problem: problem.into() };
        if !at.is_multiple_of(BLOCK as usize) {
            return wrong("an index does not begin a block");
        }
        match Index::decode(&self.bytes[at..], self.offset(at)) {
            Err(problem) => ScanItem::Bad { at, problem },
            Ok(index) if !self.head && index.previous != self.previous || index.last != self.highest => {
                wrong("the index is not that of the frames before it")
            }
            // Whoever came in by a mark has not seen them all.
            Ok(index) if !index.marks.ends_with(&self.marks.marks) => {
                wrong("the index marks other frames than there are")
            }
            Ok(index) => {
                // What follows goes on from the segment's own last frame, also where only its head stayed.
                self.previous = index.previous;
                self.at = self.bytes.len();
                ScanItem::Sealed
            }
        }
    }

    fn header_at(&self, at: usize) -> Result<FrameHeader, Problem> {
        let header = self.bytes.get(at..at + HEADER).ok_or("the frame header is cut short")?;
        decode_header(header.try_into().expect("a header's bytes"))
    }

    /// The frame at a place in a search, if there is one and the search may go on.
    fn search_at(&mut self, at: usize) -> Option<(Frame, FrameHeader)> {
        let header = self.header_at(at).ok()?;
        self.search_left = self.search_left.saturating_sub((HEADER + header.stored) as u64);
        if self.search_left == 0 { None } else { self.frame_at(at).ok() }
    }

    /// The frame at a place.
    fn frame_at(&self, at: usize) -> Result<(Frame, FrameHeader), Problem> {
        let header = self.header_at(at)?;
        let stored = self.bytes.get(at + HEADER..at + HEADER + header.stored).ok_or("the frame body is cut short")?;
        let body = decode_body(&header, stored)?;
        Ok((Frame { kind: header.kind, height: header.height, body }, header))
    }

    /// Whether a frame or an index behind a bad place shows that the bad place had been synced: one that belongs to a
    /// later group does. Disks write in any order, so that one of the same group shows nothing.
    /// Where too much looks like frames to look at all of it, the answer is yes: nothing is cut then.
    pub fn was_synced(&mut self, at: usize) -> bool {
        let from = (at + 1).next_multiple_of(ALIGN);
        for place in (from..self.bytes.len().saturating_sub(HEADER)).step_by(ALIGN) {
            let start = &self.bytes[place..];
            let sealed = place.is_multiple_of(BLOCK as usize)
                && Index::begins(start)
                && Index::decode(start, self.offset(place)).is_ok();
            let frame = if start.starts_with(&MAGIC.to_le_bytes()) { self.search_at(place) } else { None };
            let later = frame.is_some_and(|(_, header)| header.group > self.offset(at));
            if sealed || later || self.search_left == 0 {
                return true;
            }
        }
        false
    }

    /// Goes to the next whole frame or index behind a bad place, whatever should come before it; false if there is none, or
    /// too much looks like one.
    pub fn resume(&mut self, at: usize) -> bool {
        let from = (at + 1).next_multiple_of(ALIGN);
        for place in (from..self.bytes.len()).step_by(ALIGN) {
            let rest = &self.bytes[place..];
            let index = place.is_multiple_of(BLOCK as usize) && Index::begins(rest);
            let frame = if rest.starts_with(&MAGIC.to_le_bytes()) { self.search_at(place) } else { None };
            if self.search_left == 0 {
                return false;
            }
            // What it follows is lost: from here on the chain is the one that it says.
            if let Some((_, header)) = &frame {
                self.previous = header.previous;
            }
            if index || frame.is_some() {
                (self.at, self.group, self.marks) = (place, None, FrameMarks::default());
                return true;
            }
        }
        false
    }

    /// Bytes from a place up to the last that is not zero.
    pub fn dirty_bytes(&self, at: usize) -> u64 {
        let last = self.bytes.iter().rposition(|byte| *byte != 0).unwrap_or(at);
        (last + 1).saturating_sub(at) as u64
    }
}
