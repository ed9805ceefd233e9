//! One connection of a client, from the handshake until it is lost or ended.

use std::time::Duration;

use engine::io::{ChainProgress, Watched};
use engine::limits::RECEIVE_WINDOW;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};

use super::lost::Lost;
use super::{Client, Command, Ended, Event, PATIENCE};
use crate::session::CloseCode;
use crate::tls::{Key, proven_key};
use crate::wire::{AnswerVerdict, Decoder, Hello, Role, TableMessage, ToClient, ToNode, Welcome};

/// How long a client waits until it asks a node that is behind again for what it shows.
const WATCH_AGAIN: Duration = Duration::from_millis(250);
/// Heights by which a node may be behind what another one has shown: it has them before anybody waits long.
const BEHIND_HEIGHTS: u64 = 200;

impl Client {
    pub(super) async fn connected(
        &mut self,
        commands: &mut mpsc::Receiver<Command>,
        hear: &mut (impl FnMut(Event) + Send),
    ) -> Ended {
        match self.connect().await {
            Ok((quic, node)) => {
                let ended = self.talk(&quic, node, commands, hear).await;
                quic.close(VarInt::from_u32(CloseCode::Done as u32), b"");
                ended
            }
            Err(lost) => Ended::Lost(lost),
        }
    }

    async fn connect(&self) -> Result<(quinn::Connection, Key), Lost> {
        let address = &self.config.address;
        let unknown = |problem: String| Lost::Address { address: address.clone(), problem };
        let mut addresses = tokio::net::lookup_host(address).await.map_err(|error| unknown(error.to_string()))?;
        // A socket of IPv4 cannot reach an address of IPv6, and a name often has one of each: the first that can be
        // reached is taken.
        let only_v4 = self.endpoint.local_addr().is_ok_and(|local| local.is_ipv4());
        let at = addresses.find(|at| at.is_ipv4() || !only_v4);
        let at = at.ok_or_else(|| unknown("the name has no address that this machine can reach".into()))?;
        let connecting = self
            .endpoint
            .connect_with(self.quic.clone(), at, "bitcraps")
            .map_err(|error| Lost::Other(error.to_string()))?;
        let silent = || Lost::Silent(address.clone());
        let quic = timeout(PATIENCE, connecting).await.map_err(|_| silent())?;
        let quic = quic.map_err(|error| Lost::of(&error, address))?;
        let found = proven_key(quic.peer_identity()).ok_or_else(|| Lost::Other("the node proved no key".into()))?;
        // TLS proves that the node has its key, and not that it is the node that was meant: only this comparison does.
        if let Some(expected) = self.config.node
            && expected != found
        {
            quic.close(VarInt::from_u32(CloseCode::Done as u32), b"another key was expected");
            return Err(Lost::Key { expected, found });
        }
        Ok((quic, found))
    }

    async fn talk(
        &mut self,
        quic: &quinn::Connection,
        node: Key,
        commands: &mut mpsc::Receiver<Command>,
        hear: &mut (impl FnMut(Event) + Send),
    ) -> Ended {
        let address = self.config.address.clone();
        let lost = || {
            let reason = quic.close_reason();
            Ended::Lost(reason.map_or(Lost::Other("the connection ended".into()), |error| Lost::of(&error, &address)))
        };
        let Ok((mut send, mut recv)) = quic.open_bi().await else { return lost() };
        let mut out = Vec::new();
        let program = self.config.program.clone();
        ToNode::Hello(Hello { chain: self.config.chain, program, role: Role::Client }).encode(&mut out);
        let mut welcomed = false;
        let mut updates: Option<RecvStream> = None;
        let mut answers_decoder = Decoder::for_opener(Role::Client);
        let mut updates_decoder = Decoder::for_updates(Role::Client);
        let deadline = tokio::time::sleep(PATIENCE);
        tokio::pin!(deadline);
        loop {
            if welcomed {
                self.send_intents(&mut out);
                self.watch_again(&mut out);
            }
            if !out.is_empty() {
                // A node that does not read is found silent by QUIC's own timer.
                if send.write_all(&out).await.is_err() {
                    return lost();
                }
                out.clear();
            }
            let resumes = self.resumes_at();
            // Whoever watches nothing has no second stream to look at.
            let watches = !self.watching.is_empty();
            let (decoder, chunk) = tokio::select! {
                biased;
                chunk = recv.read_chunk(RECEIVE_WINDOW as usize, true) => (&mut answers_decoder, chunk),
                chunk = read_updates(quic, &mut updates), if watches => (&mut updates_decoder, chunk),
                command = commands.recv(), if welcomed => match self.obey(command, commands, &mut send, &mut out, hear).await {
                    Some(ended) => return ended,
                    None => continue,
                },
                () = tokio::time::sleep_until(resumes.unwrap_or(self.started)), if resumes.is_some() => continue,
                () = &mut deadline, if !welcomed => return Ended::Lost(Lost::Silent(self.config.address.clone())),
            };
            let Ok(Some(chunk)) = chunk else { return lost() };
            decoder.push(&chunk.bytes);
            while let Some(message) = decoder.next_message().transpose() {
                match message {
                    Ok(ToClient::Welcome(welcome)) => {
                        if let Err(lost) = self.accept(&welcome) {
                            return Ended::Lost(lost);
                        }
                        welcomed = true;
                        hear(Event::Up { welcome, node, address: address.clone(), rtt: quic.rtt() });
                        self.resume(&mut out);
                    }
                    Ok(message) => self.hear(message, hear),
                    // Nothing behind bytes that are no message can be understood: the node hears why, and another
                    // connection begins anew.
                    Err(error) => {
                        quic.close(VarInt::from_u32(CloseCode::Malformed as u32), error.to_string().as_bytes());
                        return Ended::Lost(Lost::Wire(error));
                    }
                }
            }
        }
    }

    /// When something is to be sent though nothing was heard: what a busy node did not take, or what is watched again.
    fn resumes_at(&self) -> Option<Instant> {
        let sending = self.sending.resumes_at(self.started.elapsed());
        sending.into_iter().chain(self.watched_again_at).min().map(|at| self.started + at)
    }

    /// Does what was asked, and what else was asked meanwhile, so that it leaves in one packet. Says how the connection ended, if
    /// that was asked.
    async fn obey(
        &mut self,
        first: Option<Command>,
        commands: &mut mpsc::Receiver<Command>,
        send: &mut SendStream,
        out: &mut Vec<u8>,
        hear: &mut (impl FnMut(Event) + Send),
    ) -> Option<Ended> {
        match first {
            None | Some(Command::Close) => {
                // What was sent before is on its way; the node has it, or the next connection sends it.
                let _ = send.finish();
                return Some(Ended::Asked);
            }
            Some(Command::Reconnect) => return Some(Ended::Again),
            Some(command) => self.take(command, out, hear),
        }
        while let Some(command) = (out.len() < 4_096).then(|| commands.try_recv().ok()).flatten() {
            if matches!(command, Command::Close | Command::Reconnect) {
                // Intents that were asked for before the end are not lost with it.
                self.send_intents(out);
                let _ = send.write_all(out).await;
                let _ = send.finish();
                return Some(if matches!(command, Command::Close) { Ended::Asked } else { Ended::Again });
            }
            self.take(command, out, hear);
        }
        None
    }

    /// Takes up what the node said first, if it keeps the chain that this client wants and is not too far behind.
    fn accept(&mut self, welcome: &Welcome) -> Result<(), Lost> {
        if let Some(chain) = self.config.chain
            && chain != welcome.chain
        {
            let text = format!("it keeps {}", engine::hex(&welcome.chain));
            return Err(Lost::Closed { code: CloseCode::Chain, text });
        }
        // An intent is signed for one chain: a later connection must be to the same one, also where none was named.
        self.config.chain = Some(welcome.chain);
        let behind = self.seen.0.saturating_sub(welcome.standing.settled.0);
        // Where there are other nodes, one that is far behind is left for the next: here receipts would come late, or
        // never.
        if behind > BEHIND_HEIGHTS && !self.config.others.is_empty() {
            return Err(Lost::Behind(behind));
        }
        self.sending.connected(welcome.credit);
        self.node_clock = (welcome.standing.now_ms, self.started.elapsed());
        Ok(())
    }

    /// Something that the node showed is older than what was seen before: it is watched again after a while.
    fn doubt(&mut self, what: Watched) {
        self.doubted.insert(what);
        self.watched_again_at = self.watched_again_at.or(Some(self.started.elapsed() + WATCH_AGAIN));
    }

    /// Asks again for the whole of what was doubted, once it is time.
    fn watch_again(&mut self, out: &mut Vec<u8>) {
        if self.watched_again_at.is_some_and(|at| at <= self.started.elapsed()) {
            self.watched_again_at = None;
            let doubted = std::mem::take(&mut self.doubted);
            let again: Vec<(Watched, bool)> =
                doubted.into_iter().filter(|what| self.watching.contains(what)).map(|what| (what, true)).collect();
            if !again.is_empty() {
                ToNode::Watch(again).encode(out);
            }
        }
    }

    /// After a connect: everything watched is watched again. The intents follow, as credit allows.
    fn resume(&mut self, out: &mut Vec<u8>) {
        // What the node before showed is forgotten: this one is asked for the whole of everything.
        self.doubted.clear();
        self.watched_again_at = None;
        if self.genesis_wanted {
            ToNode::AskGenesis.encode(out);
        }
        let watching: Vec<(Watched, bool)> = self.watching.iter().map(|what| (*what, true)).collect();
        if !watching.is_empty() {
            ToNode::Watch(watching).encode(out);
        }
    }

    fn hear(&mut self, message: ToClient, hear: &mut (impl FnMut(Event) + Send)) {
        match message {
            ToClient::Answers(answers) => {
                for answer in answers {
                    if let AnswerVerdict::Receipt { height, .. } = answer.verdict {
                        self.seen = self.seen.max(height);
                    }
                    if self.sending.answered(&answer, self.started.elapsed()) {
                        hear(Event::Answer(answer));
                    }
                }
            }
            ToClient::Genesis(bytes) => {
                self.genesis_wanted = false;
                hear(Event::Genesis(bytes));
            }
            // What a node that is behind shows was so before what this client has seen already: it is asked again for
            // the whole, until it has caught up.
            ToClient::Account(account) if account.height < self.seen => self.doubt(Watched::Account(account.key)),
            ToClient::Table(TableMessage { update, .. }) if update.height < self.seen => {
                self.doubt(Watched::Table(update.id));
            }
            ToClient::Account(account) => {
                self.seen = account.height;
                hear(Event::Account(account));
            }
            // A change without the table that it changes is of no use: the whole was asked for, and comes.
            ToClient::Table(TableMessage { update, whole: false })
                if self.doubted.contains(&Watched::Table(update.id)) => {}
            ToClient::Table(TableMessage { update, whole }) => {
                self.seen = update.height;
                hear(Event::Table { update, whole });
            }
            ToClient::Standing(ChainProgress { now_ms, .. }) => {
                let (then_ms, then) = self.node_clock;
                let moment = self.started.elapsed();
                let expected_ms = then_ms.saturating_add((moment - then).as_millis() as u64);
                self.node_clock = (now_ms, moment);
                hear(Event::ClockSet { by_ms: now_ms.wrapping_sub(expected_ms) as i64, now_ms });
            }
            ToClient::Status(status) => hear(Event::Status(status)),
            // The decoder lets none of these through: they are said to nodes, or first.
            ToClient::Welcome(_) | ToClient::Peers(_) => {}
        }
    }
}

/// The next bytes of the node's own stream, which it opens once something is watched.
async fn read_updates(
    quic: &quinn::Connection,
    updates: &mut Option<RecvStream>,
) -> Result<Option<quinn::Chunk>, quinn::ReadError> {
    if updates.is_none() {
        *updates = Some(quic.accept_uni().await?);
    }
    updates.as_mut().expect("accepted above").read_chunk(RECEIVE_WINDOW as usize, true).await
}
