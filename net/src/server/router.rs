//! Router: what the tick gave out, to the connections it concerns.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use engine::io::{Input, Output};
use engine::{PeerId, TableId};
use tokio::sync::mpsc;

use super::ack_batching::AckBatching;
use super::connection::Connection;
use super::kept::Batch;
use super::visitors::{Kind, Visit};
use super::{Counters, Shared, lock};
use crate::session::{Close, CloseCode};
use crate::wire::{AccountRow, Answer, AnswerVerdict, ToClient, encode_table};

/// How often round trips are measured, and nodes told where this one stands.
const SAMPLE: Duration = Duration::from_secs(5);

/// Gives outputs to their connections, as long as the tick sends some.
pub(super) async fn route(mut batches: mpsc::Receiver<Batch>, shared: Arc<Shared>) {
    let mut sample = tokio::time::interval(SAMPLE);
    sample.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut second = tokio::time::interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut bytes = Vec::new();
    let mut batching = AckBatching::new(shared.now());
    loop {
        let due = batching.next_due();
        tokio::select! {
            biased;
            batch = batches.recv() => match batch {
                Some(Batch { outputs, missed }) => {
                    let now = shared.now();
                    outputs.into_iter().for_each(|output| deliver(output, &shared, &mut batching, now, &mut bytes));
                    if missed {
                        shared.connections().iter().for_each(|connection| connection.catch_up(now));
                    }
                }
                None => return,
            },
            () = tokio::time::sleep_until(shared.started + due.unwrap_or_default()), if due.is_some() => {}
            _ = sample.tick() => sample_connections(&shared),
            _ = second.tick() => shared.visitors.tell_untold(shared.now()),
        }
        let now = shared.now();
        while let Some(peer) = batching.take_due(now) {
            shared.connection(peer).iter().for_each(|connection| connection.send_held());
        }
    }
}

fn deliver(output: Output, shared: &Shared, batching: &mut AckBatching, now: Duration, bytes: &mut Vec<u8>) {
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
                Some(connection) if batching.count_and_defer(to, now) => connection.hold(acknowledged),
                Some(connection) => connection.answer(acknowledged),
                None => {}
            }
        }
        Output::Shed { to, id, reason } => answer(to, Answer { id, verdict: AnswerVerdict::Shed(reason) }),
        Output::Table(update) => {
            encode_table(&update, bytes);
            match update.to {
                Some(peer) => shared.connection(peer).iter().for_each(|connection| connection.update(bytes, now)),
                None => watchers(shared, update.id).iter().for_each(|connection| connection.update(bytes, now)),
            }
        }
        Output::Account { to, key, height, account } => {
            ToClient::Account(AccountRow { key, height, account }).encode(bytes);
            shared.connection(to).iter().for_each(|connection| connection.update(bytes, now));
        }
        Output::Ban { peer, key, address, offence } => {
            Counters::add(&shared.counters.banned, 1);
            lock(&shared.admission).ban(key, address, now);
            let text = format!("too much of {}", offence.name());
            let visit = Visit { kind: Kind::Banned, reason: offence.name(), text: &text, address, key: Some(key) };
            shared.visitors.note(now, &visit);
            if let Some(connection) = shared.connection(peer) {
                connection.put_out(Close::new(CloseCode::Banned, text));
            }
        }
        // Those are for the disk.
        Output::Decided(_) | Output::Settled(_) | Output::Log { .. } | Output::Evidence(_) => {}
        Output::Fence { .. } | Output::Serve { .. } => {}
        // Those are for other nodes, to which no stream leads yet, and for the operator.
        Output::ToNode { .. } | Output::Alarm(_) => {}
    }
}

fn watchers(shared: &Shared, table: TableId) -> Vec<Arc<Connection>> {
    let peers = lock(&shared.watchers).get(&table).cloned().unwrap_or_default();
    peers.into_iter().filter_map(|peer| shared.connection(peer)).collect()
}

/// The round trip of every connection, and for the nodes that opened one, where this one stands and whom it knows.
fn sample_connections(shared: &Shared) {
    let connections = shared.connections();
    let mut known = None;
    for connection in connections {
        let micros = u32::try_from(connection.quic.rtt().as_micros()).unwrap_or(u32::MAX);
        // A sample that the tick has no room for is not worth waiting for.
        let _ = shared.events.try_send(Input::RoundTrip { peer: connection.id, micros });
        if connection.is_node.load(Ordering::Relaxed) {
            connection.control(&ToClient::Standing(shared.standing()));
            let known = known.get_or_insert_with(|| shared.nodes.records(shared));
            if !known.is_empty() {
                connection.control(&ToClient::Peers(known.clone()));
            }
        }
    }
}
