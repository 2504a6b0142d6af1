//! The cipher suites of TLS 1.3 (RFC 8446 §5.2, §B.4).

use crate::hash::{Sha256, Sha384};
use aes_gcm::{Aes128Gcm, Aes256Gcm};
use chacha20poly1305::ChaCha20Poly1305;
use chacha20poly1305::aead::{AeadInOut, KeyInit};
use rustls::crypto::CipherSuiteCommon;
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, MessageDecrypter, MessageEncrypter, Nonce,
    OutboundOpaqueMessage, OutboundPlainMessage, PrefixedPayload, Tls13AeadAlgorithm,
    UnsupportedOperationError, make_tls13_aad,
};
use rustls::crypto::tls13::HkdfUsingHmac;
use rustls::{
    CipherSuite, ConnectionTrafficSecrets, ContentType, Error, ProtocolVersion, SupportedCipherSuite,
    Tls13CipherSuite,
};
use std::marker::PhantomData;

/// Bytes of the tag that all three append.
const TAG_BYTES: usize = 16;
/// Messages after which a key of AES-GCM is spent (RFC 8446 §5.5).
const GCM_MESSAGES: u64 = 1 << 24;

/// What is offered, best first: processors without AES instructions are what this runs on.
pub(crate) const SUITES: [SupportedCipherSuite; 3] = [
    SupportedCipherSuite::Tls13(&Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS13_CHACHA20_POLY1305_SHA256,
            hash_provider: &Sha256,
            confidentiality_limit: u64::MAX,
        },
        hkdf_provider: &HkdfUsingHmac(&Sha256),
        aead_alg: &Aead::<ChaCha20Poly1305>(32, PhantomData),
        quic: None,
    }),
    SupportedCipherSuite::Tls13(&Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS13_AES_128_GCM_SHA256,
            hash_provider: &Sha256,
            confidentiality_limit: GCM_MESSAGES,
        },
        hkdf_provider: &HkdfUsingHmac(&Sha256),
        aead_alg: &Aead::<Aes128Gcm>(16, PhantomData),
        quic: None,
    }),
    SupportedCipherSuite::Tls13(&Tls13CipherSuite {
        common: CipherSuiteCommon {
            suite: CipherSuite::TLS13_AES_256_GCM_SHA384,
            hash_provider: &Sha384,
            confidentiality_limit: GCM_MESSAGES,
        },
        hkdf_provider: &HkdfUsingHmac(&Sha384),
        aead_alg: &Aead::<Aes256Gcm>(32, PhantomData),
        quic: None,
    }),
];

/// One algorithm and the bytes of its key.
struct Aead<A>(usize, PhantomData<fn() -> A>);

/// One direction of a connection. Without a cipher (a key of the wrong length, which rustls never hands over) every
/// message fails.
struct Direction<A> {
    cipher: Option<A>,
    iv: Iv,
}

impl<A: KeyInit> Direction<A> {
    fn new(key: &AeadKey, iv: Iv) -> Self {
        Self { cipher: A::new_from_slice(key.as_ref()).ok(), iv }
    }
}

impl<A: AeadInOut + KeyInit + Send + Sync + 'static> Tls13AeadAlgorithm for Aead<A> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        Box::new(Direction::<A>::new(&key, iv))
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Direction::<A>::new(&key, iv))
    }

    fn key_len(&self) -> usize {
        self.0
    }

    fn extract_keys(&self, _: AeadKey, _: Iv) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        Err(UnsupportedOperationError)
    }
}

impl<A: AeadInOut + Send + Sync> MessageEncrypter for Direction<A> {
    fn encrypt(
        &mut self,
        message: OutboundPlainMessage<'_>,
        sequence: u64,
    ) -> Result<OutboundOpaqueMessage, Error> {
        let total = self.encrypted_payload_len(message.payload.len());
        let mut payload = PrefixedPayload::with_capacity(total);
        payload.extend_from_chunks(&message.payload);
        payload.extend_from_slice(&message.typ.to_array());
        let cipher = self.cipher.as_ref().ok_or(Error::EncryptError)?;
        let nonce = nonce::<A>(&self.iv, sequence).ok_or(Error::EncryptError)?;
        let tag = cipher
            .encrypt_inout_detached(&nonce, &make_tls13_aad(total), payload.as_mut().into())
            .or(Err(Error::EncryptError))?;
        payload.extend_from_slice(&tag);
        Ok(OutboundOpaqueMessage::new(ContentType::ApplicationData, ProtocolVersion::TLSv1_2, payload))
    }

    fn encrypted_payload_len(&self, payload: usize) -> usize {
        payload + 1 + TAG_BYTES
    }
}

impl<A: AeadInOut + Send + Sync> MessageDecrypter for Direction<A> {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        sequence: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let total = message.payload.len();
        let plain = total.checked_sub(TAG_BYTES).ok_or(Error::DecryptError)?;
        let cipher = self.cipher.as_ref().ok_or(Error::DecryptError)?;
        let nonce = nonce::<A>(&self.iv, sequence).ok_or(Error::DecryptError)?;
        let (text, tag) = message.payload.split_at_mut(plain);
        let tag = (&*tag).try_into().or(Err(Error::DecryptError))?;
        cipher
            .decrypt_inout_detached(&nonce, &make_tls13_aad(total), text.into(), tag)
            .or(Err(Error::DecryptError))?;
        message.payload.truncate(plain);
        message.into_tls13_unpadded_message()
    }
}

fn nonce<A: AeadInOut>(iv: &Iv, sequence: u64) -> Option<chacha20poly1305::aead::Nonce<A>> {
    Nonce::new(iv, sequence).0.as_slice().try_into().ok()
}
