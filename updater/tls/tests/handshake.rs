//! Handshakes with a real server of another provider.
#![expect(clippy::tests_outside_test_module, clippy::unwrap_used, reason = "the whole crate is a test")]

use coracle_tls::Clock;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SignatureAlgorithm};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use std::sync::Arc;

/// A server's end of a connection, and what a client must trust to reach it.
struct Server {
    config: Arc<ServerConfig>,
    roots: RootCertStore,
}

fn server(
    provider: CryptoProvider,
    algorithm: &'static SignatureAlgorithm,
    change: impl FnOnce(&mut CertificateParams),
) -> Server {
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority =
        CertifiedIssuer::self_signed(authority, KeyPair::generate_for(algorithm).unwrap()).unwrap();
    let key = KeyPair::generate_for(algorithm).unwrap();
    let mut leaf = CertificateParams::new(vec!["updates.example".to_owned()]).unwrap();
    change(&mut leaf);
    let certificate = leaf.signed_by(&key, &authority).unwrap();
    let chain = vec![certificate.der().clone(), authority.der().clone()];
    of_chain(provider, chain, key.serialize_der(), authority.der())
}

fn of_chain(
    provider: CryptoProvider,
    chain: Vec<CertificateDer<'static>>,
    key: Vec<u8>,
    root: &CertificateDer<'_>,
) -> Server {
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key)))
        .unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(root.clone().into_owned()).unwrap();
    Server { config: Arc::new(config), roots }
}

/// Carries what one end writes to the other until both have nothing left to say.
fn exchange(client: &mut Connection, server: &mut Connection) -> Result<(), rustls::Error> {
    loop {
        let mut moved = false;
        for (from, to) in [(0, 1), (1, 0)] {
            let ends = [&mut *client, &mut *server];
            let [first, second] = ends;
            let (from, to) = if (from, to) == (0, 1) { (first, second) } else { (second, first) };
            let mut wire = Vec::new();
            while from.wants_write() {
                from.write_tls(&mut wire).unwrap();
            }
            let mut wire = wire.as_slice();
            while !wire.is_empty() {
                to.read_tls(&mut wire).unwrap();
                to.process_new_packets()?;
                moved = true;
            }
        }
        if !moved {
            return Ok(());
        }
    }
}

/// Connects, sends a line each way, and compares.
fn talk(server: &Server, name: &'static str, clock: Clock) -> Result<(), rustls::Error> {
    use std::io::{Read as _, Write as _};
    let config = Arc::new(coracle_tls::client(server.roots.clone(), clock)?);
    let mut client = Connection::Client(ClientConnection::new(config, name.try_into().unwrap())?);
    let mut server = Connection::Server(ServerConnection::new(Arc::clone(&server.config))?);
    exchange(&mut client, &mut server)?;
    let long = vec![7; 100_000];
    client.writer().write_all(b"from the client").unwrap();
    exchange(&mut client, &mut server)?;
    let mut heard = [0; 15];
    server.reader().read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"from the client");
    server.writer().write_all(&long[..16_000]).unwrap();
    exchange(&mut client, &mut server)?;
    let mut heard = vec![0; 16_000];
    client.reader().read_exact(&mut heard).unwrap();
    assert_eq!(heard, long[..16_000]);
    Ok(())
}

fn only_suite(index: usize) -> CryptoProvider {
    let own = coracle_tls::provider().cipher_suites[index].suite();
    let mut provider = ring::default_provider();
    provider.cipher_suites.retain(|suite| suite.suite() == own);
    assert_eq!(provider.cipher_suites.len(), 1);
    provider
}

#[test]
fn every_suite_carries_data_both_ways() {
    for index in 0..coracle_tls::provider().cipher_suites.len() {
        let server = server(only_suite(index), &rcgen::PKCS_ECDSA_P256_SHA256, |_| {});
        talk(&server, "updates.example", Clock::Set).unwrap();
    }
}

#[test]
fn every_group_agrees_on_a_key() {
    for group in coracle_tls::provider().kx_groups {
        let mut provider = ring::default_provider();
        provider.kx_groups.retain(|each| each.name() == group.name());
        assert_eq!(provider.kx_groups.len(), 1);
        let server = server(provider, &rcgen::PKCS_ED25519, |_| {});
        talk(&server, "updates.example", Clock::Set).unwrap();
    }
}

#[test]
fn elliptic_curve_certificates_are_accepted() {
    for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384, &rcgen::PKCS_ED25519] {
        let server = server(ring::default_provider(), algorithm, |_| {});
        talk(&server, "updates.example", Clock::Set).unwrap();
    }
}

#[test]
fn rsa_certificates_are_accepted() {
    let key = || -> Vec<u8> {
        let key = rsa::RsaPrivateKey::new(&mut Random, 2048).unwrap();
        rsa::pkcs8::EncodePrivateKey::to_pkcs8_der(&key).unwrap().as_bytes().to_vec()
    };
    let authority_key = KeyPair::try_from(key().as_slice()).unwrap();
    let leaf_key = key();
    let leaf_pair = KeyPair::try_from(leaf_key.as_slice()).unwrap();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, authority_key).unwrap();
    let leaf = CertificateParams::new(vec!["updates.example".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&leaf_pair, &authority).unwrap();
    let chain = vec![leaf.der().clone(), authority.der().clone()];
    let server = of_chain(ring::default_provider(), chain, leaf_key, authority.der());
    talk(&server, "updates.example", Clock::Set).unwrap();
}

#[test]
fn a_certificate_of_another_name_is_refused() {
    let server = server(ring::default_provider(), &rcgen::PKCS_ED25519, |_| {});
    for clock in [Clock::Set, Clock::Unset] {
        let error = talk(&server, "other.example", clock).unwrap_err();
        assert!(error.to_string().contains("not valid for name"), "{error}");
    }
}

#[test]
fn a_certificate_of_an_unknown_authority_is_refused() {
    let mut server = server(ring::default_provider(), &rcgen::PKCS_ED25519, |_| {});
    server.roots = self::server(ring::default_provider(), &rcgen::PKCS_ED25519, |_| {}).roots;
    for clock in [Clock::Set, Clock::Unset] {
        let error = talk(&server, "updates.example", clock).unwrap_err();
        assert!(error.to_string().contains("invalid peer certificate"), "{error}");
    }
}

#[test]
fn dates_count_only_when_the_clock_is_set() {
    let past = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2001, 1, 1);
        params.not_after = rcgen::date_time_ymd(2002, 1, 1);
    };
    let future = |params: &mut CertificateParams| {
        params.not_before = rcgen::date_time_ymd(2999, 1, 1);
        params.not_after = rcgen::date_time_ymd(3000, 1, 1);
    };
    let servers = [
        server(ring::default_provider(), &rcgen::PKCS_ED25519, past),
        server(ring::default_provider(), &rcgen::PKCS_ED25519, future),
    ];
    for server in servers {
        let error = talk(&server, "updates.example", Clock::Set).unwrap_err();
        assert!(error.to_string().contains("invalid peer certificate"), "{error}");
        talk(&server, "updates.example", Clock::Unset).unwrap();
    }
}

#[test]
fn a_server_that_knows_only_older_versions_is_refused() {
    let mut server = server(ring::default_provider(), &rcgen::PKCS_ED25519, |_| {});
    let key = KeyPair::generate().unwrap();
    let certificate =
        CertificateParams::new(vec!["updates.example".to_owned()]).unwrap().self_signed(&key).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS12])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    server.config = Arc::new(config);
    assert!(talk(&server, "updates.example", Clock::Set).is_err());
}

/// The kernel's random numbers for the RSA key generator.
struct Random;

impl rsa::rand_core::TryRng for Random {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        Ok(getrandom::u32().unwrap())
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        Ok(getrandom::u64().unwrap())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        getrandom::fill(bytes).unwrap();
        Ok(())
    }
}

impl rsa::rand_core::TryCryptoRng for Random {}
