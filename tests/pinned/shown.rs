//! TLS connections that ask a process what it serves and whom it accepts, and trust everybody themselves.

use std::io::Read as _;
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtls::pki::{Certificate, Issuer, LeafName, PrivateKey, Validity, leaf};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme, Stream};

use crate::model::Chance;

/// The chain behind the leaf that is served on this port, whose server may be about to start.
pub fn served(port: u16) -> Vec<Certificate> {
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match try_served(port) {
            Ok(chain) => return chain,
            Err(why) => assert!(Instant::now() < end, "nobody serves: {why}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn try_served(port: u16) -> std::io::Result<Vec<Certificate>> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let mut connection = connection(config().with_no_client_auth());
    let ended = connection.complete_io(&mut stream);
    // Why: who is shown no certificate may hang up right behind the handshake.
    let Some(chain) = connection.peer_certificates() else { return Err(ended.expect_err("a server shows a chain")) };
    Ok(chain.iter().skip(1).map(|der| Certificate::from_der(der).expect("a certificate")).collect())
}

/// Whether the server on this port accepts a leaf of this issuer, sent with the issuer's chain. In TLS 1.3 the handshake
/// is over before the server has looked: what it sends first, frames or an alert, is its verdict.
pub fn accepts(port: u16, issuer: &Issuer) -> bool {
    let mut chance = Chance::new(u64::from(port));
    let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let key = PrivateKey::generate(&mut entropy);
    let name = LeafName::Spiffe("spiffe://public/ns/default/canary".to_owned());
    let validity = Validity { not_before: issuer.chain[0].not_before(), not_after: issuer.chain[0].not_after() };
    let leaf = leaf(issuer, name, &key, &validity, &mut entropy).expect("an issuer signs leaves");
    let chain = std::iter::once(&leaf).chain(&issuer.chain).map(|certificate| certificate.der().to_vec().into());
    let key = PrivateKeyDer::from_pem_slice(key.to_pem().as_bytes()).expect("our own PEM");
    let config = config().with_client_auth_cert(chain.collect(), key).expect("a key of a type that is known");
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a sidecar listens");
    stream.set_read_timeout(Some(Duration::from_secs(10))).expect("a time that is not zero");
    let mut connection = connection(config);
    match Stream::new(&mut connection, &mut stream).read(&mut [0; 9]) {
        Ok(read) if read > 0 => true,
        Err(why) if why.to_string().contains("alert") => false,
        other => panic!("no verdict: {other:?}"),
    }
}

fn connection(mut config: ClientConfig) -> ClientConnection {
    config.alpn_protocols = vec![b"h2".to_vec()];
    ClientConnection::new(Arc::new(config), ServerName::try_from("anybody").expect("a name")).expect("a client")
}

fn config() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider));
    let builder = builder.with_safe_default_protocol_versions().expect("ring has them");
    builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider)))
}

#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
