//! Secret seeds at rest: PKCS#8 PEM of an Ed25519 key, encrypted or plain, as other tools write and read them.
//!
//! Written is version 1, without the public half, and PBES2 of PBKDF2-HMAC-SHA256 and AES-256-CBC: what every tool reads
//! (docs/operating.md has the table). Read is what other tools write, scrypt and version 2 too.

use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};

use aside::{Readers, Wanted, with_owner, write_new};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::KeypairBytes;
use engine::limits::{KEY_FILE_BYTES_MAX, PASSPHRASE_BYTES_MAX};
use pkcs8::pkcs5::pbes2;
use pkcs8::{
    DecodePrivateKey, EncodePrivateKey, EncryptedPrivateKeyInfoRef, KeyError, LineEnding, PrivateKeyInfoRef,
    SecretDocument,
};
use thiserror::Error;
use zeroize::Zeroizing;

use crate::prompt;

/// A secret of 32 bytes, wiped when it is dropped. The keys of every role follow from it.
pub type Seed = Zeroizing<[u8; 32]>;

/// A passphrase, wiped when it is dropped.
pub type Passphrase = Zeroizing<String>;

/// The label of an encrypted key.
const ENCRYPTED: &str = "BEGIN ENCRYPTED PRIVATE KEY";
/// The label of an encrypted key, as it is written.
const ENCRYPTED_LABEL: &str = "ENCRYPTED PRIVATE KEY";
/// Rounds of PBKDF2 with SHA-256: what OWASP recommends, a third of a second.
const ROUNDS: u32 = 600_000;

/// Why there is no key.
#[derive(Error, Debug)]
pub enum KeyFileError {
    /// The file is there already, or cannot be made.
    #[error("{path}: cannot be made: {error}")]
    Create {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// The file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        error: io::Error,
    },
    /// A folder is no file.
    #[error("{path}: this is a folder; a key is a file, such as net.pem")]
    Folder {
        /// The folder.
        path: PathBuf,
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
    #[error("{path}: the passphrase does not open this key{over}")]
    Passphrase {
        /// The file.
        path: PathBuf,
        /// That another one was told too, if so.
        over: &'static str,
    },
    /// The file that the environment names for a passphrase is not there, or is none.
    #[error("BITCRAPS_PASSPHRASE_FILE: {path}: {problem}")]
    PassphraseFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
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
    let seed = draw()?;
    store(path, &seed, passphrase)?;
    Ok(seed)
}

/// A new secret, from the system's entropy.
///
/// # Errors
/// If the system gives none.
pub fn draw() -> Result<Seed, KeyFileError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(&mut *seed).map_err(|error| KeyFileError::Entropy(error.to_string()))?;
    Ok(seed)
}

/// Writes a secret where no file is yet, encrypted if there is a passphrase.
///
/// # Errors
/// If the file exists or cannot be written.
pub fn store(path: &Path, seed: &Seed, passphrase: Option<&str>) -> Result<(), KeyFileError> {
    let key = pkcs8_pem(seed, passphrase).map_err(KeyFileError::Entropy)?;
    let failed = |error| KeyFileError::Create { path: path.to_owned(), error };
    write_new(path, key.as_bytes(), Readers::Owner).map_err(failed)
}

fn pkcs8_pem(seed: &Seed, passphrase: Option<&str>) -> Result<Zeroizing<String>, String> {
    let problem = |error: &dyn std::fmt::Display| error.to_string();
    let key = KeypairBytes { secret_key: **seed, public_key: None };
    let Some(passphrase) = passphrase else { return key.to_pkcs8_pem(LineEnding::LF).map_err(|error| problem(&error)) };
    let (mut salt, mut iv) = ([0; 16], [0; 16]);
    getrandom::fill(&mut salt).and_then(|()| getrandom::fill(&mut iv)).map_err(|error| problem(&error))?;
    let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(ROUNDS, &salt, iv);
    encrypted_pem(&key, passphrase, parameters.map_err(|error| problem(&error))?).map_err(|error| problem(&error))
}

fn encrypted_pem(
    key: &KeypairBytes,
    passphrase: &str,
    parameters: pbes2::Parameters,
) -> pkcs8::Result<Zeroizing<String>> {
    let plain = key.to_pkcs8_der()?;
    let encrypted = PrivateKeyInfoRef::try_from(plain.as_bytes())?.encrypt_with_params(parameters, passphrase)?;
    Ok(encrypted.to_pem(ENCRYPTED_LABEL, LineEnding::LF)?)
}

/// Reads a key. `ask` is called only if the file is encrypted.
///
/// # Errors
/// If the file is missing, may be read by others, or holds no key that the passphrase opens.
pub fn read(path: &Path, ask: impl FnOnce() -> Result<Passphrase, KeyFileError>) -> Result<Seed, KeyFileError> {
    let text = text_of(path)?;
    let form = |error: pkcs8::Error| {
        // Of nothing at all the decoder says something about a byte that is not there.
        let problem = if text.trim().is_empty() { "the file is empty".into() } else { error.to_string() };
        KeyFileError::Form { path: path.to_owned(), problem }
    };
    if !text.contains(ENCRYPTED) {
        return SigningKey::from_pkcs8_pem(&text).map(|key| Zeroizing::new(key.to_bytes())).map_err(form);
    }
    let (_, document) = SecretDocument::from_pem(&text).map_err(|error| form(error.into()))?;
    let encrypted = EncryptedPrivateKeyInfoRef::try_from(document.as_bytes()).map_err(form)?;
    match decrypted(&encrypted, &ask()?) {
        Ok(key) => Ok(Zeroizing::new(key.to_bytes())),
        // A wrong passphrase is seen by what it decrypts to, and that may be anything: one time in 256 it ends as it should, and is
        // no key, or not even a document.
        Err(
            pkcs8::Error::EncryptedPrivateKey(_)
            | pkcs8::Error::KeyMalformed(KeyError::Invalid)
            | pkcs8::Error::Asn1(_),
        ) => Err(KeyFileError::Passphrase { path: path.to_owned(), over: told_over() }),
        Err(error) => Err(form(error)),
    }
}

fn decrypted(encrypted: &EncryptedPrivateKeyInfoRef<'_>, passphrase: &str) -> pkcs8::Result<SigningKey> {
    SigningKey::from_pkcs8_der(encrypted.decrypt(passphrase)?.as_bytes())
}

/// Whether a key could be read, as far as that can be said without a passphrase.
///
/// # Errors
/// As [`read`], but that an encrypted key is looked at from outside.
pub fn look(path: &Path) -> Result<(), KeyFileError> {
    // What is encrypted reads no further than to the question.
    match read(path, || Err(KeyFileError::NoPassphrase(String::new()))) {
        Ok(_) | Err(KeyFileError::NoPassphrase(_)) => Ok(()),
        Err(error) => Err(error),
    }
}

/// The variables that tell a passphrase. The first goes over the second.
const TOLD_BY: [&str; 2] = ["BITCRAPS_PASSPHRASE", "BITCRAPS_PASSPHRASE_FILE"];

/// Whether a passphrase can be had without asking anybody.
pub fn is_told() -> bool {
    TOLD_BY.iter().any(|name| std::env::var_os(name).is_some())
}

/// Which passphrase it was, where two are told: one that was forgotten in the environment hides the other.
fn told_over() -> &'static str {
    match TOLD_BY.iter().all(|name| std::env::var_os(name).is_some()) {
        true => "; it is that of BITCRAPS_PASSPHRASE, which goes over BITCRAPS_PASSPHRASE_FILE",
        false => "",
    }
}

/// What a file that only its owner may read has in it.
fn text_of(path: &Path) -> Result<Zeroizing<String>, KeyFileError> {
    let failed = |error| KeyFileError::Read { path: path.to_owned(), error: with_owner(path, Wanted::Read, error) };
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    // Before its mode: who took a folder's rights away, as that of a file asks for, could not get into it any more.
    if metadata.is_dir() {
        return Err(KeyFileError::Folder { path: path.to_owned() });
    }
    #[cfg(unix)]
    if std::os::unix::fs::PermissionsExt::mode(&metadata.permissions()) & 0o077 != 0 {
        return Err(KeyFileError::Mode { path: path.to_owned() });
    }
    let mut text = Zeroizing::new(String::new());
    file.take(KEY_FILE_BYTES_MAX).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

/// The passphrase for what is encrypted: from the environment, from the first line of the file that it names, or typed. A
/// new one is typed twice, and is not empty.
///
/// # Errors
/// If there is none.
pub fn passphrase(what: &str, new: bool) -> Result<Passphrase, KeyFileError> {
    let (passphrase, from) = match (std::env::var_os(TOLD_BY[0]), std::env::var_os(TOLD_BY[1])) {
        (Some(passphrase), _) => {
            let text = passphrase.into_string();
            let text = text.map_err(|_| KeyFileError::NoPassphrase("BITCRAPS_PASSPHRASE is no UTF-8 text".into()))?;
            (Zeroizing::new(text), "BITCRAPS_PASSPHRASE is empty")
        }
        (None, Some(path)) => (first_line(Path::new(&path))?, "the first line of BITCRAPS_PASSPHRASE_FILE is empty"),
        (None, None) => (typed(what, new)?, "nothing was typed"),
    };
    if new && passphrase.is_empty() {
        return Err(KeyFileError::NoPassphrase(format!(
            "an empty passphrase protects nothing: {from}; nothing was made. `--plain-keys` of `init` writes keys without one"
        )));
    }
    Ok(passphrase)
}

/// The first line of the file that the environment names, without its end.
fn first_line(path: &Path) -> Result<Passphrase, KeyFileError> {
    let wrong = |problem| KeyFileError::PassphraseFile { path: path.to_owned(), problem };
    let failed = |error: io::Error| wrong(with_owner(path, Wanted::Read, error).to_string());
    let mut line = Zeroizing::new(String::new());
    let file = File::open(path).map_err(failed)?;
    BufReader::new(file.take(PASSPHRASE_BYTES_MAX)).read_line(&mut line).map_err(failed)?;
    if line.len() as u64 == PASSPHRASE_BYTES_MAX {
        return Err(wrong(format!("a passphrase of {PASSPHRASE_BYTES_MAX} bytes or more is too long")));
    }
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).to_owned()))
}

/// A passphrase that a person types.
fn typed(what: &str, new: bool) -> Result<Passphrase, KeyFileError> {
    if !io::stdin().is_terminal() {
        return Err(KeyFileError::NoPassphrase(format!(
            "a passphrase is needed for {what}: set BITCRAPS_PASSPHRASE, or BITCRAPS_PASSPHRASE_FILE, or run this in a \
             terminal"
        )));
    }
    let passphrase = ask(&format!("Passphrase for {what}: "))?;
    if new && *ask("The same again: ")? != *passphrase {
        return Err(KeyFileError::NoPassphrase("the two passphrases differ; nothing was made".into()));
    }
    Ok(passphrase)
}

/// Asks without an echo.
fn ask(text: &str) -> Result<Passphrase, KeyFileError> {
    prompt::passphrase(text).map_err(|error| KeyFileError::NoPassphrase(format!("no passphrase was typed: {error}")))
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
    fn an_empty_file_is_called_empty() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("k.pem");
        for (text, is_empty) in [("", true), ("\n", true), ("-----BEGIN", false)] {
            write(&path, text);
            let problem = read(&path, never).expect_err("no key").to_string();
            assert_eq!(problem.ends_with("no Ed25519 key in PKCS#8 PEM (the file is empty)"), is_empty, "{problem}");
        }
    }

    #[test]
    fn whatever_a_wrong_passphrase_decrypts_to_it_is_called_one() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret.pem");
        let key = KeypairBytes { secret_key: [7; 32], public_key: None };
        let parameters = pbes2::Parameters::generate_pbkdf2_sha256_aes256cbc(1, &[1; 16], [2; 16]).expect("parameters");
        let pem = encrypted_pem(&key, "right", parameters).expect("encrypted");
        write_new(&path, pem.as_bytes(), Readers::Owner).expect("written");
        let open = |passphrase: String| read(&path, || Ok(Zeroizing::new(passphrase)));
        assert_eq!(*open("right".into()).expect("the key"), [7; 32]);
        for number in 0..2_000 {
            let wrong = open(format!("wrong {number}")).expect_err("another passphrase");
            assert!(matches!(wrong, KeyFileError::Passphrase { .. }), "{number}: {wrong:?}");
        }
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

    /// What this program wrote before: version 2, with the public half, and scrypt; the key of RFC 8410 again.
    #[test]
    fn older_key_files_are_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let key = SigningKey::from_pkcs8_pem(PLAIN).expect("a key");
        let plain = key.to_pkcs8_pem(LineEnding::LF).expect("version 2");
        let secret = key.to_pkcs8_encrypted_pem("correct horse", LineEnding::LF).expect("scrypt");
        for (name, text) in [("plain.pem", plain), ("secret.pem", secret)] {
            let path = dir.path().join(name);
            write(&path, &text);
            let seed = read(&path, || Ok(Zeroizing::new("correct horse".to_owned()))).expect("a key");
            assert_eq!(*seed, key.to_bytes());
        }
    }

    #[test]
    fn keys_are_written_as_every_tool_reads_them() {
        let seed = Zeroizing::new(SigningKey::from_pkcs8_pem(PLAIN).expect("a key").to_bytes());
        assert_eq!(*pkcs8_pem(&seed, None).expect("a key"), PLAIN, "version 1, to the byte");
        let secret = pkcs8_pem(&seed, Some("x")).expect("a key");
        let (_, der) = SecretDocument::from_pem(&secret).expect("a document");
        let info = EncryptedPrivateKeyInfoRef::try_from(der.as_bytes()).expect("an encrypted key");
        let parameters = info.encryption_algorithm.pbes2().expect("PBES2");
        let kdf = parameters.kdf.pbkdf2().expect("PBKDF2");
        assert_eq!((kdf.iteration_count, kdf.prf), (ROUNDS, pbes2::Pbkdf2Prf::HmacWithSha256));
        assert!(matches!(parameters.encryption, pbes2::EncryptionScheme::Aes256Cbc { .. }));
    }

    #[test]
    fn the_first_line_of_a_passphrase_file_counts() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("secret");
        for (text, line) in [
            ("horse", "horse"),
            ("horse\n", "horse"),
            ("horse\r\nbattery\n", "horse"),
            ("\nhorse\n", ""),
            (" a b \nc", " a b "),
        ] {
            write(&path, text);
            assert_eq!(*first_line(&path).expect("a line"), line, "{text:?}");
        }
        write(&path, &"x".repeat(1 << 20));
        assert!(first_line(&path).expect_err("a megabyte").to_string().contains("too long"));
        // Nobody typed this path: it is said where it is from.
        let missing = first_line(&dir.path().join("none")).expect_err("no file").to_string();
        assert!(missing.starts_with("BITCRAPS_PASSPHRASE_FILE: ") && missing.contains("none: "), "{missing}");
    }

    #[test]
    fn nothing_is_overwritten_and_nothing_loose_is_read() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("k.pem");
        create(&path, None).expect("a key");
        assert!(matches!(create(&path, None), Err(KeyFileError::Create { .. })));
        #[cfg(unix)]
        for mode in [0o640, 0o620, 0o610, 0o604, 0o602, 0o601] {
            std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode)).expect("a mode");
            assert!(read(&path, never).expect_err("loose").to_string().contains("chmod 600"), "{mode:o}");
        }
        write(&path, "no key at all");
        assert!(matches!(read(&path, never), Err(KeyFileError::Form { .. })));
        let folder = read(dir.path(), never).expect_err("a folder").to_string();
        assert!(folder.ends_with("this is a folder; a key is a file, such as net.pem"), "{folder}");
    }

    #[test]
    fn a_look_asks_for_no_passphrase_and_finds_what_no_passphrase_mends() {
        let dir = tempfile::tempdir().expect("a folder");
        let of = |name: &str| dir.path().join(name);
        create(&of("plain.pem"), None).expect("a key");
        create(&of("secret.pem"), Some("correct horse")).expect("a key");
        write(&of("other.pem"), "no key at all");
        for (name, is_good) in [("plain.pem", true), ("secret.pem", true), ("other.pem", false), ("none.pem", false)] {
            assert_eq!(look(&of(name)).is_ok(), is_good, "{name}");
        }
    }
}
