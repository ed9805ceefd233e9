//! Router: what the tick gave out, to the connections it concerns.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use engine::io::{Input, Output};
use engine::{PeerId, TableId};
use quinn::VarInt;
use tokio::sync::mpsc;

use super::connection::Connection;
use super::together::Together;
use super::{Counters, Shared, lock};
use crate::session::CloseCode;
use crate::wire::{AccountRow, Answer, AnswerVerdict, ToClient, encode_table};

/// How often round trips are measured, and nodes told where this one stands.
const SAMPLE: Duration = Duration::from_secs(5);

/// Gives outputs to their connections, as long as the tick sends some.
pub(super) async fn route(mut outputs: mpsc::Receiver<Vec<Output>>, shared: Arc<Shared>) {
    let mut sample = tokio::time::interval(SAMPLE);
    sample.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut bytes = Vec::new();
    let mut together = Together::new(Instant::now());
    loop {
        let due = together.next_due();
        tokio::select! {
            biased;
            batch = outputs.recv() => match batch {
                Some(batch) => {
                    let now = Instant::now();
                    batch.into_iter().for_each(|output| deliver(output, &shared, &mut together, now, &mut bytes));
                }
                None => return,
            },
            () = tokio::time::sleep_until(due.unwrap_or_else(Instant::now).into()), if due.is_some() => {}
            _ = sample.tick() => sample_connections(&shared),
        }
        let now = Instant::now();
        while let Some(peer) = together.take_due(now) {
            shared.connection(peer).iter().for_each(|connection| connection.send_held());
        }
    }
}

fn deliver(output: Output, shared: &Shared, together: &mut Together, now: Instant, bytes: &mut Vec<u8>) {
    let answer = |to: PeerId, answer: Answer| {
        if let Some(connection) = shared.connection(to) {
            connection.answer(answer);
        }
    };
    bytes.clear();
    match output {
        Output::Receipt { to, receipt } => answer(to, Answer::receipt(&receipt)),
        Output::Acknowledged { to, id } => {
            let acknowledged = Answer { id, verdict: AnswerVerdict::Acknowledged };
            match shared.connection(to) {
                Some(connection) if together.waits(to, now) => connection.hold(acknowledged),
                Some(connection) => connection.answer(acknowledged),
                None => {}
            }
        }
        Output::Shed { to, id, reason } => answer(to, Answer { id, verdict: AnswerVerdict::Shed(reason) }),
        Output::Table(update) => {
            encode_table(&update, bytes);
            match update.to {
                Some(peer) => shared.connection(peer).iter().for_each(|connection| connection.update(bytes)),
                None => watchers(shared, update.id).iter().for_each(|connection| connection.update(bytes)),
            }
        }
        Output::Account { to, key, height, account } => {
            ToClient::Account(AccountRow { key, height, account }).encode(bytes);
            shared.connection(to).iter().for_each(|connection| connection.update(bytes));
        }
        Output::Ban { peer, key, offence, .. } => {
            Counters::add(&shared.counters.banned, 1);
            if let Some(connection) = shared.connection(peer) {
                lock(&shared.doors).ban(key, connection.quic.remote_address().ip().to_canonical(), Instant::now());
                let text = format!("too much of {}", offence.name());
                connection.quic.close(VarInt::from_u32(CloseCode::Banned as u32), text.as_bytes());
            }
        }
        // Those are for the disk.
        Output::Decided(_) | Output::Settled(_) | Output::Log { .. } => {}
    }
}

fn watchers(shared: &Shared, table: TableId) -> Vec<Arc<Connection>> {
    let watchers = lock(&shared.watchers);
    let peers = watchers.get(&table).map_or(&[][..], Vec::as_slice);
    peers.iter().filter_map(|peer| shared.connection(*peer)).collect()
}

/// The round trip of every connection, and for other nodes where this one stands.
fn sample_connections(shared: &Shared) {
    let slots = shared.slots.read().unwrap_or_else(std::sync::PoisonError::into_inner);
    let connections: Vec<Arc<Connection>> = slots.rows.iter().filter_map(|(_, row)| row.clone()).collect();
    drop(slots);
    for connection in connections {
        let micros = u32::try_from(connection.quic.rtt().as_micros()).unwrap_or(u32::MAX);
        // A sample that the tick has no room for is not worth waiting for.
        let _ = shared.inputs.try_send(Input::RoundTrip { peer: connection.id, micros });
        if connection.is_node.load(Ordering::Relaxed) {
            connection.control(&ToClient::Standing(shared.standing()));
            let known = shared.nodes.records(shared);
            if !known.is_empty() {
                connection.control(&ToClient::Peers(known));
            }
        }
    }
}
