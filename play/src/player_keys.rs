//! The keys of a player, and where they lie.

use std::path::{Path, PathBuf};

use anyhow::Context;
use keys::keyfile::{self, Seed};
use order::signature::{NetKey, PlayerKey};
use words::Failure;

/// The keys of a player: the account's, and the program's on the network.
pub struct PlayerKeys {
    pub(super) account: PlayerKey,
    pub(super) net: NetKey,
    /// Where the key lies: what is pledged lies beside it.
    pub(super) path: PathBuf,
}

impl PlayerKeys {
    /// Reads the player's key file, or makes it: `true` if it was made.
    ///
    /// # Errors
    /// If it cannot be read or made.
    pub fn open(path: &Path, encrypt: bool) -> anyhow::Result<(Self, bool)> {
        let exists = path.exists();
        let seed: Seed = if exists {
            keyfile::read(path, || keyfile::passphrase(&path.display().to_string(), false))?
        } else {
            let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
            if let Some(folder) = folder {
                std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
            }
            let passphrase = if encrypt {
                Some(keyfile::passphrase(&format!("the new key {}", path.display()), true)?)
            } else {
                None
            };
            keyfile::create(path, passphrase.as_ref().map(|passphrase| passphrase.as_str()))?
        };
        let (account, net) = (PlayerKey::from_seed(&seed), NetKey::from_seed(&seed));
        Ok((Self { account, net, path: path.to_owned() }, !exists))
    }

    /// The account's public key.
    pub fn public(&self) -> [u8; 32] {
        self.account.public()
    }
}

/// Where a player's key lies when nothing was said.
///
/// # Errors
/// If the environment names no place: a key in whatever folder this is would not be found again from another one.
pub fn default_key_path() -> Result<PathBuf, Failure> {
    let absolute = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
    let nowhere =
        || Failure::Usage("neither XDG_DATA_HOME nor HOME says where your key lies: name it with --key".into());
    Ok(data.ok_or_else(nowhere)?.join("bitcraps/player.pem"))
}
