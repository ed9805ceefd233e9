//! Slots: the rows in which the tick knows connections. One that was left is taken again last.

use std::collections::VecDeque;

use engine::PeerId;

/// Which connection has each slot.
pub(super) struct Slots {
    /// Connections that had the slot, and the row of the one that has it.
    rows: Vec<(u32, Option<usize>)>,
    free: VecDeque<u32>,
    taken: u32,
}

impl Slots {
    pub(super) fn new(count: u32) -> Self {
        Self { rows: vec![(0, None); count as usize], free: (0..count).collect(), taken: 0 }
    }

    /// The slot for a new connection. There are as many as connections are let in.
    pub(super) fn take(&mut self, row: usize) -> Option<PeerId> {
        let slot = self.free.pop_front()?;
        let (generation, has) = &mut self.rows[slot as usize];
        assert!(has.is_none(), "a free slot has no connection");
        // Whatever is still said to the one before finds another generation here, and goes to nobody.
        *generation += 1;
        *has = Some(row);
        self.taken += 1;
        Some(PeerId { slot, generation: *generation })
    }

    /// The row of a connection, if it is open still.
    pub(super) fn row(&self, peer: PeerId) -> Option<usize> {
        let (generation, row) = self.rows.get(peer.slot as usize)?;
        if *generation == peer.generation { *row } else { None }
    }

    /// The connection has ended; its slot is kept until the tick knows.
    pub(super) fn end(&mut self, peer: PeerId) {
        assert_eq!(self.rows[peer.slot as usize].0, peer.generation, "a slot is kept until the tick knows");
        let row = self.rows[peer.slot as usize].1.take();
        assert!(row.is_some(), "a connection ends once");
        self.taken -= 1;
    }

    /// The tick knows that it has ended.
    pub(super) fn free(&mut self, peer: PeerId) {
        assert!(self.rows[peer.slot as usize].1.is_none(), "its connection has ended");
        assert!(self.free.len() < self.rows.len(), "a slot is given back once");
        self.free.push_back(peer.slot);
    }

    /// Connections that are open.
    pub(super) fn taken(&self) -> u32 {
        self.taken
    }
}
