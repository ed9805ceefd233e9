//! Errands: what takes longer than a packet and is done beside the turns: names, signatures of records, the local network.
//!
//! The results come back as [`Done`], and wake whoever turns.

use std::net::SocketAddr;
use std::sync::Arc;

use engine::limits::{ERRANDS_DONE_MAX, RECORD_LISTS_UNVERIFIED_MAX};
use engine::{Hash, PeerId};
use tokio::sync::{Notify, mpsc};

use super::nodes::Candidate;
use crate::lan::{Found, Lan};
use crate::tls::KeyRules;
use crate::transport::reachable;
use crate::wire::PeerRecord;

/// Records of a peer that this node has not seen.
type News = (PeerId, Vec<PeerRecord>);

/// What an errand brought.
pub(super) enum Done {
    /// The address of a node to be dialled.
    Resolved(Candidate, Result<SocketAddr, String>),
    /// Records whose signatures hold; and whether a peer told others too.
    Verified { peer: PeerId, held: Vec<PeerRecord>, has_false: bool },
    /// A node on the local network.
    Nearby(Found),
}

/// The errands of one server.
pub(super) struct Errands {
    done: mpsc::Receiver<Done>,
    results: Results,
    news: mpsc::Sender<News>,
}

/// Where results go.
#[derive(Clone)]
struct Results {
    done: mpsc::Sender<Done>,
    wake: Arc<Notify>,
}

impl Results {
    async fn tell(&self, done: Done) {
        // A server that is gone needs no result.
        if self.done.send(done).await.is_ok() {
            self.wake.notify_one();
        }
    }
}

impl Errands {
    /// Starts what runs all the time, inside the caller's runtime.
    pub(super) fn start(rules: KeyRules, chain: Hash, wake: Arc<Notify>) -> Self {
        let (sender, done) = mpsc::channel(ERRANDS_DONE_MAX);
        let results = Results { done: sender, wake };
        let (news, unverified) = mpsc::channel(RECORD_LISTS_UNVERIFIED_MAX);
        tokio::spawn(verify(unverified, rules, chain, results.clone()));
        Self { done, results, news }
    }

    /// The next result.
    pub(super) fn take(&mut self) -> Option<Done> {
        self.done.try_recv().ok()
    }

    /// Has records verified, one list after another. While too many wait, they are left out: they come again.
    pub(super) fn verify(&self, peer: PeerId, news: Vec<PeerRecord>) {
        if !news.is_empty() {
            // It is told again every few seconds, so waiting for room here would only let others wait.
            let _ = self.news.try_send((peer, news));
        }
    }

    /// Asks for the address of a node, one that a socket at `own` can reach.
    pub(super) fn resolve(&self, candidate: Candidate, own: SocketAddr) {
        let results = self.results.clone();
        tokio::spawn(async move {
            let found = tokio::net::lookup_host(&candidate.address).await.map_err(|error| error.to_string());
            let at = found.and_then(|found| {
                let at = reachable(own.ip(), found);
                at.ok_or_else(|| format!("it has no address that a socket at {own} can reach"))
            });
            results.tell(Done::Resolved(candidate, at)).await;
        });
    }

    /// Looks for nodes on the local network from now on.
    pub(super) fn browse(&self, lan: Lan) {
        let results = self.results.clone();
        tokio::spawn(async move {
            let mut found = lan.browse();
            while let Some(node) = found.recv().await {
                results.tell(Done::Nearby(node)).await;
            }
        });
    }
}

/// Verifies what peers told of other nodes, on a thread that carries no packets: a signature takes longer than a packet.
async fn verify(mut unverified: mpsc::Receiver<News>, rules: KeyRules, chain: Hash, results: Results) {
    while let Some((peer, news)) = unverified.recv().await {
        let verify = move || {
            let holds = |record: &PeerRecord| {
                (rules.accept)(&record.key)
                    && (rules.verify)(&record.key, &record.signed_bytes(&chain), &record.signature)
            };
            news.into_iter().partition::<Vec<PeerRecord>, _>(holds)
        };
        // A runtime that ends breaks the work off, and nobody is there to hear of it.
        let Ok((held, false_ones)) = tokio::task::spawn_blocking(verify).await else { return };
        results.tell(Done::Verified { peer, held, has_false: !false_ones.is_empty() }).await;
    }
}
