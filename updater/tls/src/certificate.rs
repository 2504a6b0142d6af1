//! Judging a server's certificate on a machine whose clock may not be set.

use crate::provider;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme, version,
};
use std::sync::Arc;

/// Whether the machine knows what time it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Certificates must be valid now.
    Set,
    /// The dates of certificates are not judged: without a clock there is no "expired". The chain, the name and the
    /// signatures are.
    Unset,
}

/// How often a chain is judged at another moment: once per certificate whose dates disagree.
const MOMENTS_MAX: usize = 8;

/// A client that trusts `roots`. The error says why the certificates cannot be used.
pub fn client(roots: RootCertStore, clock: Clock) -> Result<ClientConfig, Error> {
    let provider = Arc::new(provider());
    let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
        .build()
        .map_err(|error| Error::General(format!("cannot use the trusted certificates: {error}")))?;
    let config = ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&version::TLS13])?;
    Ok(match clock {
        Clock::Set => config.with_webpki_verifier(inner),
        Clock::Unset => config.dangerous().with_custom_certificate_verifier(Arc::new(Timeless(inner))),
    }
    .with_no_client_auth())
}

/// Judges everything but the dates: where they are wrong for one moment, another is tried at which they are right.
#[derive(Debug)]
struct Timeless(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for Timeless {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        mut now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verify = |now| self.0.verify_server_cert(end_entity, intermediates, name, ocsp, now);
        let mut answer = verify(now);
        for _ in 0..MOMENTS_MAX {
            let moment = match &answer {
                Err(Error::InvalidCertificate(CertificateError::ExpiredContext { not_after, .. })) => {
                    *not_after
                }
                Err(Error::InvalidCertificate(CertificateError::NotValidYetContext {
                    not_before, ..
                })) => *not_before,
                Ok(_) | Err(_) => break,
            };
            now = moment;
            answer = verify(now);
        }
        answer
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
