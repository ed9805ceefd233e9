//! TLS 1.3 with raw public keys (RFC 7250): both sides prove an Ed25519 key, and no certificate authority is asked.

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use ::aws_lc_rs::hmac;
use quinn::EndpointConfig;
use quinn::crypto::rustls::{NoInitialCipherSuite, QuicClientConfig, QuicServerConfig};
use quinn_proto::HashedConnectionIdGenerator;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{AlwaysResolvesClientRawPublicKeys, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{AlwaysResolvesServerRawPublicKeys, NoServerSessionStorage};
use rustls::sign::CertifiedKey;
use rustls::version::TLS13;
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use thiserror::Error as ThisError;

use crate::wire::ALPN;

/// An Ed25519 public key.
pub type Key = [u8; 32];

/// What stands before the key in a SubjectPublicKeyInfo of Ed25519 (RFC 8410).
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// What stands before the seed in a PKCS#8 key of Ed25519 (RFC 8410).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// What this crate asks of Ed25519, given by whoever has the one verdict on signatures.
#[derive(Clone, Copy)]
pub struct KeyRules {
    /// Whether a key may enter: canonical, a point, not of small order.
    pub accept: fn(&Key) -> bool,
    /// Whether a signature over 128 bytes verifies.
    pub verify: fn(&Key, &[u8; 128], &[u8; 64]) -> bool,
}

type Sign = dyn Fn(&[u8; 128]) -> [u8; 64] + Send + Sync;

/// Who we are on the network.
#[derive(Clone)]
pub struct Identity {
    /// Our public key.
    pub key: Key,
    sign: Arc<Sign>,
    certified: Arc<CertifiedKey>,
    reset: hmac::Key,
    rules: KeyRules,
}

impl fmt::Debug for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Identity({})", engine::hex(&self.key))
    }
}

/// A key that no handshake can be made with.
#[derive(ThisError, Debug)]
pub enum IdentityError {
    /// The library refuses it.
    #[error("the network key cannot be used: {0}")]
    Key(#[from] Error),
    /// A public key that is not that of the seed, or may not enter.
    #[error("the network key's public half is not acceptable")]
    Public,
    /// The library lacks a cipher that QUIC starts with.
    #[error("the TLS library has no cipher for QUIC: {0}")]
    Cipher(#[from] NoInitialCipherSuite),
}

impl Identity {
    /// From a secret seed, its public key, and a way to sign 128 bytes with it.
    ///
    /// # Errors
    /// If the key may not enter, or the library refuses it.
    pub fn new(
        seed: &[u8; 32],
        key: Key,
        sign: impl Fn(&[u8; 128]) -> [u8; 64] + Send + Sync + 'static,
        rules: KeyRules,
    ) -> Result<Self, IdentityError> {
        let pkcs8 = [&PKCS8_PREFIX[..], seed].concat();
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
        let signer = aws_lc_rs::sign::any_eddsa_type(match &private {
            PrivateKeyDer::Pkcs8(der) => der,
            _ => unreachable!("made as PKCS#8 above"),
        })?;
        let spki = [&SPKI_PREFIX[..], &key].concat();
        let public = signer.public_key().ok_or(IdentityError::Public)?;
        // A node that signs with one key and is known by another would be refused by everybody, and not know why.
        if public.as_ref() != spki || !(rules.accept)(&key) {
            return Err(IdentityError::Public);
        }
        let certified = Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki)], signer));
        // The key of resets follows from the seed, so that a node that starts again can end connections of its earlier
        // life.
        let reset = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, seed), b"bitcraps stateless reset");
        let reset = hmac::Key::new(hmac::HMAC_SHA256, reset.as_ref());
        Ok(Self { key, sign: Arc::new(sign), certified, reset, rules })
    }

    /// Signs the record by which nodes tell each other where this one is reached.
    pub fn sign(&self, bytes: &[u8; 128]) -> [u8; 64] {
        (self.sign)(bytes)
    }

    /// What is asked of keys and signatures.
    pub fn rules(&self) -> KeyRules {
        self.rules
    }

    /// For a node's endpoint: who was connected before a restart is told at its next packet that the connection is gone
    /// (RFC 9000, 10.3), instead of waiting until it finds out.
    pub(crate) fn endpoint_config(&self) -> EndpointConfig {
        let ids = hmac::sign(&self.reset, b"connection ids");
        let ids = u64::from_le_bytes(*ids.as_ref().first_chunk().expect("a tag has 32 bytes"));
        let mut config = EndpointConfig::new(Arc::new(self.reset.clone()));
        config.cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)));
        config
    }

    /// For a node: asks every client for its key.
    pub(crate) fn server_config(&self) -> Result<QuicServerConfig, IdentityError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(AnyKey::new(&provider, self.rules));
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(AlwaysResolvesServerRawPublicKeys::new(Arc::clone(&self.certified))));
        config.alpn_protocols = vec![ALPN.to_vec()];
        // A resumed connection would prove no key.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(config.try_into()?)
    }

    /// For a client: proves our key, and takes any of the node's; whoever connects compares it.
    pub(crate) fn client_config(&self, alpn: &[u8]) -> Result<QuicClientConfig, IdentityError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let verifier = Arc::new(AnyKey::new(&provider, self.rules));
        let mut config = rustls::ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(&[&TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_client_cert_resolver(Arc::new(AlwaysResolvesClientRawPublicKeys::new(Arc::clone(&self.certified))));
        config.alpn_protocols = vec![alpn.to_vec()];
        // A resumed connection would prove no key, as on the other side.
        config.resumption = Resumption::disabled();
        Ok(config.try_into()?)
    }
}

/// The key in a SubjectPublicKeyInfo, if it is one of Ed25519.
fn key_of(spki: &[u8]) -> Option<Key> {
    spki.strip_prefix(&SPKI_PREFIX)?.try_into().ok()
}

/// The key that the other side of a connection proved, in what its handshake says of that side.
pub(crate) fn proven_key(identity: Option<Box<dyn Any>>) -> Option<Key> {
    let identity = identity?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
    key_of(identity.first()?)
}

/// Takes every acceptable Ed25519 key that its holder proves, and nothing else.
struct AnyKey {
    provider: Arc<CryptoProvider>,
    rules: KeyRules,
}

impl fmt::Debug for AnyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnyKey")
    }
}

impl AnyKey {
    fn new(provider: &Arc<CryptoProvider>, rules: KeyRules) -> Self {
        Self { provider: Arc::clone(provider), rules }
    }

    fn check(&self, spki: &[u8], intermediates: &[CertificateDer<'_>]) -> Result<(), Error> {
        let key = key_of(spki).ok_or(Error::InvalidCertificate(CertificateError::BadEncoding))?;
        // A raw key has no chain of certificates: one that comes with it was asked for by nobody.
        if !intermediates.is_empty() {
            return Err(Error::InvalidCertificate(CertificateError::BadEncoding));
        }
        if !(self.rules.accept)(&key) {
            return Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure));
        }
        Ok(())
    }

    fn verify(
        &self,
        message: &[u8],
        spki: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(spki.as_ref());
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature_with_raw_key(message, &spki, signature, algorithms)
    }
}

fn no_tls12() -> Result<HandshakeSignatureValid, Error> {
    // Only TLS 1.3 is offered, so nothing reaches this; the trait asks for it.
    Err(Error::General("TLS 1.3 only".into()))
}

impl ServerCertVerifier for AnyKey {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for AnyKey {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(end_entity, intermediates)?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        no_tls12()
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verify(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}
