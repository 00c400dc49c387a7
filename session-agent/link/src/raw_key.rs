//! TLS 1.3 with bare Ed25519 public keys (RFC 7250) instead of certificates.
//!
//! A machine *is* its key, so a certificate would only wrap that key in names and dates that nobody
//! checks. Each side proves that it holds the private key; the other either compares the key with
//! the one it expects ([`Expect::Only`]) or takes any and asks the caller to judge
//! ([`Expect::Anyone`], for pairing). Refused: every other key type, TLS below 1.3.

use std::sync::Arc;

use roam_api::session::MachineKey;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme, client, server,
};

/// The DER of an Ed25519 SubjectPublicKeyInfo up to the key itself.
const SPKI_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
/// The DER of an Ed25519 PKCS#8 v1 private key up to the seed itself.
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// Whom a handshake accepts on the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// The holder of this key and nobody else.
    Only(MachineKey),
    /// Whoever proves to hold the key it shows; the caller looks at the key afterwards.
    Anyone,
}

/// An Ed25519 key pair made from its seed.
#[derive(Clone)]
pub struct RawKey {
    signing: ed25519_dalek::SigningKey,
}

impl std::fmt::Debug for RawKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "RawKey({})", self.public().short())
    }
}

impl RawKey {
    /// The key pair of a seed.
    #[must_use]
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self { signing: ed25519_dalek::SigningKey::from_bytes(seed) }
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> MachineKey {
        MachineKey(self.signing.verifying_key().to_bytes())
    }

    /// A key of its own for another purpose, always the same for the same purpose. `purpose` says which, in words that
    /// nothing else uses (BLAKE3's key derivation).
    #[must_use]
    pub(crate) fn derived(&self, purpose: &str) -> [u8; 32] {
        blake3::derive_key(purpose, self.signing.as_bytes())
    }

    fn certified(&self, provider: &CryptoProvider) -> Result<Arc<CertifiedKey>, Error> {
        let mut pkcs8 = PKCS8_PREFIX.to_vec();
        pkcs8.extend_from_slice(self.signing.as_bytes());
        let private = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(pkcs8));
        let key = provider.key_provider.load_private_key(private)?;
        Ok(Arc::new(CertifiedKey::new(vec![CertificateDer::from(spki(self.public()))], key)))
    }
}

fn spki(key: MachineKey) -> Vec<u8> {
    let mut der = SPKI_PREFIX.to_vec();
    der.extend_from_slice(&key.0);
    der
}

/// The key in a peer's raw "certificate"; none if it is anything but a plain Ed25519 key.
#[must_use]
pub fn key_of(certificate: &CertificateDer<'_>) -> Option<MachineKey> {
    let key = certificate.as_ref().strip_prefix(&SPKI_PREFIX)?;
    Some(MachineKey(key.try_into().ok()?))
}

fn provider() -> Arc<CryptoProvider> {
    let mut provider = rustls::crypto::ring::default_provider();
    // AES-128 first: lanes carry gigabytes, and 128 bits are beyond reach.
    provider
        .cipher_suites
        .sort_by_key(|suite| suite.suite() != rustls::CipherSuite::TLS13_AES_128_GCM_SHA256);
    Arc::new(provider)
}

/// The TLS settings of the side that connects.
///
/// # Errors
/// If the key can't be loaded into the TLS library.
pub fn client_config(own: &RawKey, expect: Expect) -> Result<rustls::ClientConfig, Error> {
    let provider = provider();
    let certified = own.certified(&provider)?;
    let verifier = Arc::new(Verifier { expect, algorithms: provider.signature_verification_algorithms });
    Ok(rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(Arc::new(client::AlwaysResolvesClientRawPublicKeys::new(certified))))
}

/// The TLS settings of the side that accepts. The other side must show a key.
///
/// # Errors
/// If the key can't be loaded into the TLS library.
pub fn server_config(own: &RawKey, expect: Expect) -> Result<rustls::ServerConfig, Error> {
    let provider = provider();
    let certified = own.certified(&provider)?;
    let verifier = Arc::new(Verifier { expect, algorithms: provider.signature_verification_algorithms });
    Ok(rustls::ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_cert_resolver(Arc::new(server::AlwaysResolvesServerRawPublicKeys::new(certified))))
}

/// Checks the other side's key; rustls checks with our algorithms that it really holds it.
#[derive(Debug)]
struct Verifier {
    expect: Expect,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Verifier {
    fn judge(&self, certificate: &CertificateDer<'_>) -> Result<(), Error> {
        let shown = key_of(certificate).ok_or(CertificateError::BadEncoding)?;
        match self.expect {
            Expect::Anyone => Ok(()),
            Expect::Only(key) if key == shown => Ok(()),
            Expect::Only(_) => Err(CertificateError::ApplicationVerificationFailure.into()),
        }
    }

    fn signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let spki = SubjectPublicKeyInfoDer::from(certificate.as_ref());
        verify_tls13_signature_with_raw_key(message, &spki, signed, &self.algorithms)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.judge(end_entity).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

impl ClientCertVerifier for Verifier {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.judge(end_entity).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _cert: &CertificateDer<'_>,
        _dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(Error::General("TLS 1.2 is not spoken".into()))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_key_survives_its_der() {
        let key = RawKey::from_seed(&[7; 32]).public();
        assert_eq!(key_of(&CertificateDer::from(spki(key))), Some(key));
    }

    proptest! {
        #[test]
        fn foreign_der_is_no_key(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            if !bytes.starts_with(&SPKI_PREFIX) {
                prop_assert_eq!(key_of(&CertificateDer::from(bytes)), None);
            }
        }
    }
}
