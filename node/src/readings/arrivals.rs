//! When the intents came that wait for their receipts: what players wait for is measured from here.

use std::time::{Duration, Instant};

use engine::limits::PENDING_MAX;
use engine::message::intent::IntentId;

/// Places of the table: twice what may wait, so that few of two share one.
const PLACES: usize = 2 * PENDING_MAX;
/// An intent that has waited for so long was forgotten by whoever waited: its place is free again.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

const _: () = assert!(PLACES.is_power_of_two());

/// A table of fixed size, in which an intent has the place that its signature says. Where the place is taken the later one is
/// not measured: what is measured is a sample, which is no better than the whole. Nothing is asked of the allocator after
/// the start, and the system gives a page of it only once it is written.
pub(super) struct Arrivals {
    places: Box<[Arrival]>,
    began: Instant,
}

/// Layout: 16 bytes; all zero is nobody.
#[derive(Clone, Copy, Default)]
struct Arrival {
    /// The second half of the intent's mark, never 0.
    tag: u64,
    /// When the intent came, in microseconds since the table was made.
    at_us: u64,
}

const _: () = assert!(size_of::<Arrival>() == 16);

impl Arrivals {
    pub fn new() -> Self {
        Self { places: vec![Arrival::default(); PLACES].into_boxed_slice(), began: Instant::now() }
    }

    fn place(&mut self, id: &IntentId) -> (&mut Arrival, u64) {
        // The lowest bit of a tag is always set: it would otherwise be the zero of a free place once in a while.
        let [place, tag] = bytemuck::cast::<[u8; 16], [u64; 2]>(id.mark);
        (&mut self.places[place as usize % PLACES], tag | 1)
    }

    /// An intent came. One that was sent again counts from the first time.
    pub fn note(&mut self, id: &IntentId, at: Instant) {
        let at_us = at.saturating_duration_since(self.began).as_micros() as u64;
        let (place, tag) = self.place(id);
        if place.tag == 0 || at_us.saturating_sub(place.at_us) > FORGOTTEN_AFTER.as_micros() as u64 {
            *place = Arrival { tag, at_us };
        }
    }

    /// For how long an intent has waited that goes on to wait, if it was noted.
    pub fn waits(&mut self, id: &IntentId, now: Instant) -> Option<Duration> {
        let began = self.began;
        let (place, tag) = self.place(id);
        (place.tag == tag).then(|| now.saturating_duration_since(began + Duration::from_micros(place.at_us)))
    }

    /// For how long an intent has waited that waits no more, if it was noted.
    pub fn take(&mut self, id: &IntentId, now: Instant) -> Option<Duration> {
        let waited = self.waits(id, now)?;
        *self.place(id).0 = Arrival::default();
        Some(waited)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(place: u64, tag: u64) -> IntentId {
        IntentId { key: [0; 32], number: 0, mark: bytemuck::cast([place, tag]) }
    }

    #[test]
    fn an_intent_is_measured_once_from_the_first_time_that_it_came() {
        let (mut arrivals, second) = (Arrivals::new(), Duration::from_secs(1));
        let began = arrivals.began;
        arrivals.note(&id(7, 3), began + second);
        arrivals.note(&id(7, 3), began + 2 * second);
        arrivals.note(&id(7, 5), began + 2 * second);
        assert_eq!(arrivals.take(&id(7, 5), began + 4 * second), None, "another one has its place");
        assert_eq!(arrivals.waits(&id(7, 3), began + 3 * second), Some(2 * second));
        assert_eq!(arrivals.take(&id(7, 3), began + 4 * second), Some(3 * second));
        assert_eq!(arrivals.take(&id(7, 3), began + 4 * second), None);
        assert_eq!(arrivals.take(&id(8, 0), began + 4 * second), None, "nobody was there");
    }

    #[test]
    fn a_place_that_nobody_asks_for_is_free_again() {
        let mut arrivals = Arrivals::new();
        let (first, later) = (arrivals.began, arrivals.began + FORGOTTEN_AFTER + Duration::from_secs(1));
        arrivals.note(&id(7, 3), first);
        arrivals.note(&id(7, 5), later);
        assert_eq!(arrivals.take(&id(7, 5), later + Duration::from_secs(2)), Some(Duration::from_secs(2)));
    }
}
