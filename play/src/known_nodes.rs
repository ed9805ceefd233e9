//! The nodes that a player has met.

use std::path::{Path, PathBuf};

use engine::limits::KNOWN_NODES_BYTES_MAX;
use engine::{Hash, hex, unhex};

/// The nodes that a player knows, by chain and address: a node of the same chain that shows another key than before is
/// not the same node. Another chain is another game, where the player has another account; `dev` begins one at every turn.
pub struct KnownNodes(PathBuf);

/// What is known of an address where a node was met.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    /// Nothing was met there yet.
    New,
    /// Only other chains were.
    OtherChain,
    /// The same chain, by a node with this key.
    Key([u8; 32]),
}

impl KnownNodes {
    /// Beside the player's key.
    pub fn beside(key: &Path) -> Self {
        Self(key.with_file_name("known_nodes"))
    }

    /// What a node of a chain was at this address.
    ///
    /// # Errors
    /// If there is a list that cannot be read: a node that may be known is not met as a new one.
    pub fn known(&self, address: &str, chain: &Hash) -> std::io::Result<Known> {
        let text = match words::text::read(&self.0, KNOWN_NODES_BYTES_MAX) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            read => read?,
        };
        let mut known = Known::New;
        for line in text.lines() {
            let mut words = line.split(' ');
            let (place, of, key) = (words.next(), words.next(), words.next());
            match (of.and_then(unhex), key.and_then(unhex)) {
                (Some(of), Some(key)) if place == Some(address) && of == *chain => known = Known::Key(key),
                (Some(_), Some(_)) if place == Some(address) && known == Known::New => known = Known::OtherChain,
                _ => {}
            }
        }
        Ok(known)
    }

    /// Remembers a node's key.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn remember(&self, address: &str, chain: &Hash, key: &[u8; 32]) -> std::io::Result<()> {
        use std::io::{Read, Seek, SeekFrom, Write};
        let mut file = std::fs::OpenOptions::new().read(true).create(true).append(true).open(&self.0)?;
        let mut last = [b'\n'];
        if file.metadata()?.len() > 0 {
            file.seek(SeekFrom::End(-1))?;
            file.read_exact(&mut last)?;
        }
        // A line that a full disk cut off must not take this one with it: the node would be met as a new one again.
        let apart = if last == [b'\n'] { "" } else { "\n" };
        file.write_all(format!("{apart}{address} {} {}\n", hex(chain), hex(key)).as_bytes())
    }

    /// Where it is written.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_off_takes_no_other_with_it() {
        let dir = tempfile::tempdir().expect("a directory");
        let nodes = KnownNodes::beside(&dir.path().join("player.pem"));
        let (here, there) = ("127.0.0.1:7400", "127.0.0.1:7401");
        nodes.remember(here, &[1; 32], &[11; 32]).expect("written");
        let whole = std::fs::read(nodes.path()).expect("a list");
        for cut in [1, 20, 100, whole.len() - 1] {
            std::fs::write(nodes.path(), [&whole[..], &whole[..cut]].concat()).expect("written");
            nodes.remember(there, &[1; 32], &[12; 32]).expect("written");
            assert_eq!(nodes.known(here, &[1; 32]).expect("a list"), Known::Key([11; 32]), "cut {cut}");
            assert_eq!(nodes.known(there, &[1; 32]).expect("a list"), Known::Key([12; 32]), "cut {cut}");
        }
    }

    #[test]
    fn a_key_is_known_for_its_chain_and_another_chain_is_another_game() {
        let dir = tempfile::tempdir().expect("a directory");
        let nodes = KnownNodes::beside(&dir.path().join("player.pem"));
        let (here, there) = ("127.0.0.1:7400", "127.0.0.1:7401");
        assert_eq!(nodes.known(here, &[1; 32]).expect("a list"), Known::New);
        nodes.remember(here, &[1; 32], &[11; 32]).expect("written");
        assert_eq!(nodes.known(here, &[1; 32]).expect("a list"), Known::Key([11; 32]));
        assert_eq!(nodes.known(here, &[2; 32]).expect("a list"), Known::OtherChain);
        assert_eq!(nodes.known(there, &[1; 32]).expect("a list"), Known::New);
        nodes.remember(here, &[2; 32], &[22; 32]).expect("written");
        assert_eq!(nodes.known(here, &[1; 32]).expect("a list"), Known::Key([11; 32]));
        assert_eq!(nodes.known(here, &[2; 32]).expect("a list"), Known::Key([22; 32]));
        // A list that cannot be read knows nobody, and is no reason to trust anybody.
        std::fs::remove_file(nodes.path()).expect("a list");
        std::fs::create_dir(nodes.path()).expect("something else");
        assert!(nodes.known(here, &[1; 32]).is_err());
    }
}
