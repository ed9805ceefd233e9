//! One connection of a client, from the handshake until it is lost or ended.

use engine::limits::RECEIVE_WINDOW;
use quinn::{RecvStream, SendStream, VarInt};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until};

use super::dial::{PATIENCE, dial};
use super::lost::Lost;
use super::{Client, Command, Ended, Event};
use crate::session::CloseCode;
use crate::tls::{Key, proven_key};
use crate::transport::reachable;
use crate::wire::{Decoder, Role, ToClient};

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
        let address = &self.redial.address;
        let unknown = |problem: String| Lost::Address { address: address.clone(), problem };
        let addresses = tokio::net::lookup_host(address).await.map_err(|error| unknown(error.to_string()))?;
        let local = self.endpoint.local_addr().map_err(|error| Lost::Other(error.to_string()))?;
        let at = reachable(local.ip(), addresses);
        let at = at.ok_or_else(|| unknown(format!("it has no address that a socket at {} can reach", local.ip())))?;
        let quic = dial(&self.endpoint, self.quic.clone(), at, address).await?;
        let found = proven_key(quic.peer_identity()).ok_or_else(|| Lost::Other("the node proved no key".into()))?;
        // TLS proves that the node has its key, and not that it is the node that was meant: only this comparison does.
        if let Some(expected) = self.redial.node
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
        let address = self.redial.address.clone();
        let lost = || {
            let reason = quic.close_reason();
            Ended::Lost(reason.map_or(Lost::Other("the connection ended".into()), |error| Lost::of(&error, &address)))
        };
        let Ok((mut send, mut recv)) = quic.open_bi().await else { return lost() };
        let mut out = Vec::new();
        self.dialogue.say_hello(&mut out);
        let mut welcomed = false;
        let mut updates: Option<RecvStream> = None;
        let mut answers_decoder = Decoder::for_opener(Role::Client);
        let mut updates_decoder = Decoder::for_updates(Role::Client);
        let deadline = Instant::now() + PATIENCE;
        loop {
            if welcomed {
                if self.dialogue.gives_up(self.started.elapsed()) {
                    return Ended::Lost(Lost::Silent(address));
                }
                self.dialogue.go_on(self.started.elapsed(), &mut out);
            }
            if !out.is_empty() {
                // A node that reads nothing and is there all the same is not found silent by QUIC.
                let silent_at = self.dialogue.silent_at().filter(|_| welcomed).map(|at| self.started + at);
                tokio::select! {
                    biased;
                    written = send.write_all(&out) => if written.is_err() { return lost() },
                    () = reached(silent_at) => {
                        self.dialogue.gives_up(self.started.elapsed());
                        return Ended::Lost(Lost::Silent(address));
                    }
                }
                out.clear();
            }
            let resumes =
                self.dialogue.resumes_at(self.started.elapsed()).filter(|_| welcomed).map(|at| self.started + at);
            let watches = self.dialogue.watches();
            let (decoder, chunk) = tokio::select! {
                biased;
                chunk = recv.read_chunk(RECEIVE_WINDOW as usize, true) => (&mut answers_decoder, chunk),
                chunk = read_updates(quic, &mut updates), if watches => (&mut updates_decoder, chunk),
                command = commands.recv(), if welcomed => match self.obey(command, commands, &mut send, &mut out, hear).await {
                    Some(ended) => return ended,
                    None => continue,
                },
                () = reached(resumes) => continue,
                () = reached((!welcomed).then_some(deadline)) => return Ended::Lost(Lost::Silent(address.clone())),
            };
            let Ok(Some(chunk)) = chunk else { return lost() };
            decoder.push(&chunk.bytes);
            match self.hear_all(decoder, quic, node, &mut out, hear) {
                Ok(is_welcome) => welcomed |= is_welcome,
                Err(lost) => return Ended::Lost(lost),
            }
        }
    }

    /// Takes every message that has come as a whole. Says whether the node bade this client welcome.
    fn hear_all(
        &mut self,
        decoder: &mut Decoder<ToClient>,
        quic: &quinn::Connection,
        node: Key,
        out: &mut Vec<u8>,
        hear: &mut (impl FnMut(Event) + Send),
    ) -> Result<bool, Lost> {
        let mut is_welcome = false;
        while let Some(message) = decoder.next_message().transpose() {
            match message {
                Ok(ToClient::Welcome(welcome)) => {
                    self.dialogue.welcomed(&welcome, self.started.elapsed(), out)?;
                    is_welcome = true;
                    self.redial.came_up(self.started.elapsed());
                    let address = self.redial.address.clone();
                    hear(Event::Up { welcome, node, address, rtt: quic.rtt() });
                }
                Ok(message) => self.dialogue.hear(message, self.started.elapsed(), &mut *hear),
                // Nothing behind bytes that are no message can be understood: the node hears why, and another
                // connection begins anew.
                Err(error) => {
                    quic.close(VarInt::from_u32(CloseCode::Malformed as u32), error.to_string().as_bytes());
                    return Err(Lost::Wire(error));
                }
            }
        }
        Ok(is_welcome)
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
        // Whoever drops the sender of commands ends the client too.
        let first = first.unwrap_or(Command::Close);
        if let Some(ended) = self.ended_by(&first) {
            // What was sent before is on its way; the node has it, or the next connection sends it.
            let _ = send.finish();
            return Some(ended);
        }
        self.dialogue.take(first, self.started.elapsed(), out, &mut *hear);
        while let Some(command) = (out.len() < 4_096).then(|| commands.try_recv().ok()).flatten() {
            if let Some(ended) = self.ended_by(&command) {
                // Intents that were asked for before the end are not lost with it.
                self.dialogue.send_intents(self.started.elapsed(), out);
                let _ = send.write_all(out).await;
                let _ = send.finish();
                return Some(ended);
            }
            self.dialogue.take(command, self.started.elapsed(), out, &mut *hear);
        }
        None
    }

    /// How the connection ends by a command, if it does.
    fn ended_by(&self, command: &Command) -> Option<Ended> {
        match command {
            Command::Close => Some(Ended::Asked),
            Command::Reconnect => Some(Ended::Again),
            Command::Leave(why) if self.dialogue.has_others() => Some(Ended::Lost(Lost::Other((*why).into()))),
            _ => None,
        }
    }
}

/// Waits until a moment is reached; for ever where there is none to wait for.
async fn reached(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
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
