//! Secret seeds at rest: PKCS#8 PEM of an Ed25519 key, encrypted or plain, as other tools write and read them.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use pkcs8::{DecodePrivateKey, EncodePrivateKey, KeyError, LineEnding};
use thiserror::Error;
use zeroize::Zeroizing;

/// A secret of 32 bytes, wiped when it is dropped. The keys of every role follow from it.
pub type Seed = Zeroizing<[u8; 32]>;

/// A passphrase, wiped when it is dropped.
pub type Passphrase = Zeroizing<String>;

/// The label of an encrypted key.
const ENCRYPTED: &str = "BEGIN ENCRYPTED PRIVATE KEY";
/// The largest key file that is read.
const BYTES_MAX: u64 = 16 * 1024;

/// Why there is no key.
#[derive(Error, Debug)]
pub enum KeyFileError {
    /// The file is there already, or cannot be made.
    #[error("{path}: cannot be made: {error}; nothing is ever overwritten")]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// Others may read the file.
    #[error("{path}: others may read this secret key; run `chmod 600 {path}`")]
    Mode {
        /// The file.
        path: PathBuf,
    },
    /// The file holds something else.
    #[error("{path}: no Ed25519 key in PKCS#8 PEM ({problem})")]
    Form {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        problem: String,
    },
    /// The passphrase is another one.
    #[error("{path}: the passphrase does not open this key")]
    Passphrase {
        /// The file.
        path: PathBuf,
    },
    /// There is no passphrase.
    #[error("{0}")]
    NoPassphrase(String),
    /// The system gives no randomness.
    #[error("the system gives no randomness: {0}")]
    Entropy(String),
}

/// Makes a new key, encrypted if there is a passphrase, and writes it where no file is yet.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn create(path: &Path, passphrase: Option<&str>) -> Result<Seed, KeyFileError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| KeyFileError::Entropy(error.to_string()))?;
    let key = pkcs8_pem(&seed, passphrase).map_err(|problem| KeyFileError::Entropy(problem.to_string()))?;
    let failed = |error| KeyFileError::Create { path: path.to_owned(), error };
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let mut file = options.open(path).map_err(failed)?;
    file.write_all(key.as_bytes()).and_then(|()| file.sync_all()).map_err(failed)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(failed)?;
    Ok(seed)
}

fn pkcs8_pem(seed: &Seed, passphrase: Option<&str>) -> pkcs8::Result<Zeroizing<String>> {
    let key = SigningKey::from_bytes(seed);
    match passphrase {
        Some(passphrase) => key.to_pkcs8_encrypted_pem(passphrase, LineEnding::LF),
        None => key.to_pkcs8_pem(LineEnding::LF),
    }
}

/// Reads a key. `ask` is called only if the file is encrypted.
///
/// # Errors
/// If the file is missing, may be read by others, or holds no key that the passphrase opens.
pub fn read(path: &Path, ask: impl FnOnce() -> Result<Passphrase, KeyFileError>) -> Result<Seed, KeyFileError> {
    let failed = |error| KeyFileError::Read { path: path.to_owned(), error };
    let file = File::open(path).map_err(failed)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().map_err(failed)?.permissions());
        if mode & 0o077 != 0 {
            return Err(KeyFileError::Mode { path: path.to_owned() });
        }
    }
    let mut text = Zeroizing::new(String::new());
    file.take(BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    let key = if text.contains(ENCRYPTED) {
        let passphrase = ask()?;
        SigningKey::from_pkcs8_encrypted_pem(&text, passphrase.as_bytes())
    } else {
        SigningKey::from_pkcs8_pem(&text)
    };
    match key {
        Ok(key) => Ok(Zeroizing::new(key.to_bytes())),
        // What a wrong passphrase decrypts to is no key: the library cannot tell the two apart.
        Err(pkcs8::Error::EncryptedPrivateKey(_) | pkcs8::Error::KeyMalformed(KeyError::Invalid))
            if text.contains(ENCRYPTED) =>
        {
            Err(KeyFileError::Passphrase { path: path.to_owned() })
        }
        Err(error) => Err(KeyFileError::Form { path: path.to_owned(), problem: error.to_string() }),
    }
}

/// The passphrase for what is encrypted: from the environment, from the file that it names, or typed. A new one is typed
/// twice.
///
/// # Errors
/// If there is none.
pub fn passphrase(what: &str, new: bool) -> Result<Passphrase, KeyFileError> {
    if let Ok(passphrase) = std::env::var("BITCRAPS_PASSPHRASE") {
        return Ok(Zeroizing::new(passphrase));
    }
    if let Some(path) = std::env::var_os("BITCRAPS_PASSPHRASE_FILE").map(PathBuf::from) {
        let read = std::fs::read_to_string(&path).map(Zeroizing::new);
        let text = read.map_err(|error| KeyFileError::Read { path, error })?;
        return Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()));
    }
    if !io::stdin().is_terminal() {
        return Err(KeyFileError::NoPassphrase(format!(
            "a passphrase is needed for {what}: set BITCRAPS_PASSPHRASE, or BITCRAPS_PASSPHRASE_FILE, or run this in a \
             terminal"
        )));
    }
    let typed = |prompt: &str| {
        let failed = |error: io::Error| KeyFileError::NoPassphrase(format!("no passphrase was typed: {error}"));
        rpassword::prompt_password(prompt).map(Zeroizing::new).map_err(failed)
    };
    let passphrase = typed(&format!("Passphrase for {what}: "))?;
    if new && *typed("The same again: ")? != *passphrase {
        return Err(KeyFileError::NoPassphrase("the two passphrases differ; nothing was made".into()));
    }
    Ok(passphrase)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What `openssl genpkey -algorithm ed25519` writes; the key of RFC 8410, section 10.3.
    const PLAIN: &str = "-----BEGIN PRIVATE KEY-----\n\
        MC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n\
        -----END PRIVATE KEY-----\n";

    fn write(path: &Path, text: &str) {
        std::fs::write(path, text).expect("a file");
        #[cfg(unix)]
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("its mode");
    }

    fn never() -> Result<Passphrase, KeyFileError> {
        panic!("a plain key needs no passphrase")
    }

    #[test]
    fn a_key_of_another_tool_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("k.pem");
        write(&path, PLAIN);
        let seed = read(&path, never).expect("a key");
        assert_eq!(engine::hex(&*seed), "d4ee72dbf913584ad5b6d8f1f769f8ad3afe7c28cbf1d4fbe097a88f44755842");
    }

    #[test]
    fn keys_come_back_and_only_for_their_passphrase() {
        let dir = tempfile::tempdir().expect("a folder");
        let (plain, secret) = (dir.path().join("plain.pem"), dir.path().join("secret.pem"));
        let seed = create(&plain, None).expect("a key");
        assert_eq!(*read(&plain, never).expect("the key"), *seed);
        let seed = create(&secret, Some("correct horse")).expect("a key");
        let ask = |text: &str| Ok(Zeroizing::new(text.to_owned()));
        assert_eq!(*read(&secret, || ask("correct horse")).expect("the key"), *seed);
        let wrong = read(&secret, || ask("battery")).expect_err("another passphrase");
        assert!(matches!(wrong, KeyFileError::Passphrase { .. }), "{wrong:?}");
        assert!(std::fs::read_to_string(&secret).expect("text").contains(ENCRYPTED));
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_loose_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("k.pem");
        create(&path, None).expect("a key");
        assert!(matches!(create(&path, None), Err(KeyFileError::Create { .. })));
        #[cfg(unix)]
        {
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).expect("a mode");
            assert!(read(&path, never).expect_err("loose").to_string().contains("chmod 600"));
        }
        write(&path, "no key at all");
        assert!(matches!(read(&path, never), Err(KeyFileError::Form { .. })));
    }
}
