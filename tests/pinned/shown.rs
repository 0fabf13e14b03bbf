//! TLS connections that ask a process what it serves and whom it accepts, and trust everybody themselves.

use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mtls::pki::Certificate;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, SignatureScheme};

/// The chain behind the leaf that is served on this port, whose server may be about to start.
pub fn served(port: u16) -> Vec<Certificate> {
    let end = Instant::now() + Duration::from_secs(10);
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(why) => assert!(Instant::now() < end, "nobody serves: {why}"),
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    let mut connection = connection(config().with_no_client_auth());
    connection.complete_io(&mut stream).expect("a handshake, and what is sent right after it");
    let chain = connection.peer_certificates().expect("a server shows a chain");
    chain.iter().skip(1).map(|der| Certificate::from_der(der).expect("a certificate")).collect()
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
