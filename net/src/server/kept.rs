//! What the tick gave out and the router has no room for yet.

use engine::io::Output;
use engine::limits::EDGE_UPDATES_MAX;

/// What the router takes at once.
#[derive(Default, Debug)]
pub(super) struct Batch {
    /// In the order in which it came about.
    pub(super) outputs: Vec<Output>,
    /// Updates were left out: whoever watches something must be told the whole of it again.
    pub(super) missed: bool,
}

/// Outputs that wait for the router.
#[derive(Default, Debug)]
pub(super) struct Undelivered(Batch);

impl Undelivered {
    /// Takes the outputs of a tick.
    pub(super) fn append(&mut self, outputs: &mut Vec<Output>) {
        let Batch { outputs: kept, missed } = &mut self.0;
        if kept.len() + outputs.len() <= EDGE_UPDATES_MAX {
            return kept.append(outputs);
        }
        for output in outputs.drain(..) {
            // What changed can be told as a whole later; a receipt that is left out is told by nothing else.
            if matches!(output, Output::Table(_) | Output::Account { .. }) {
                *missed = true;
            } else {
                kept.push(output);
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.outputs.is_empty() && !self.0.missed
    }

    /// Everything, for the router.
    pub(super) fn take(&mut self) -> Batch {
        std::mem::take(&mut self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::message::intent::IntentId;
    use engine::{Height, PeerId};

    #[test]
    fn while_the_router_stands_updates_are_left_out_and_no_answer_is() {
        let peer = PeerId { slot: 0, generation: 1 };
        let account = Output::Account { to: peer, key: [1; 32], height: Height(1), account: None };
        let id = IntentId { key: [2; 32], number: 7, mark: [0; 16] };
        let answer = Output::Acknowledged { to: peer, id };
        let mut kept = Undelivered::default();
        for _ in 0..1_000 {
            let mut tick: Vec<Output> = vec![account.clone(); 200];
            tick.push(answer.clone());
            kept.append(&mut tick);
            assert!(tick.is_empty() && !kept.is_empty());
        }
        let batch = kept.take();
        assert!(batch.missed, "those who watch must be told the whole");
        assert!(batch.outputs.len() <= EDGE_UPDATES_MAX + 1_000, "{}", batch.outputs.len());
        assert_eq!(batch.outputs.iter().filter(|output| **output == answer).count(), 1_000);
        assert!(kept.is_empty() && !kept.take().missed);
    }
}
