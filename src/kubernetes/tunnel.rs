//! A TLS connection to a port of a pod, through the API server's port-forward.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::api::Portforwarder;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, DigitallySignedStruct, HandshakeKind, SignatureScheme};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::api::Api;
use super::failure::Failure;
use crate::pki::{Certificate, Issuer, LeafName, MintError, PrivateKey, Validity, leaf};

/// Why a connection came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum Trouble {
    /// The API server refused the port-forward.
    #[error(transparent)]
    Api(#[from] Failure),
    /// The port could not be reached in the pod.
    #[error("port {port}: {why}")]
    Port {
        /// The port.
        port: u16,
        /// The kubelet's words.
        why: String,
    },
    /// The peer broke off, or never answered.
    #[error("{0}")]
    Broken(String),
}

/// What a server did with a certificate that it was shown.
#[derive(Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It went on to speak HTTP/2.
    Accepted,
    /// It sent a TLS alert.
    Refused,
    /// It never asked for a certificate.
    NotAsked,
}

/// A short-lived client certificate with an identity that has no rights. Its key never leaves memory.
pub struct Canary(Arc<CertifiedKey>);

/// How long a canary is valid: longer than any probe takes, shorter than anybody could use it for.
const CANARY_LIFE: Duration = Duration::from_secs(300);
/// How long one connection may take in all.
pub const LIMIT: Duration = Duration::from_secs(5);

impl Canary {
    /// A leaf of `issuer`, shown with the issuer's whole chain. `not_before` is back-dated by the skew that the mesh
    /// allows; it is valid for five minutes from `now`.
    pub fn mint(
        issuer: &Issuer,
        trust_domain: &str,
        namespace: &str,
        now: jiff::Timestamp,
        skew: jiff::SignedDuration,
    ) -> Result<Self, MintError> {
        let random = ring::rand::SystemRandom::new();
        let mut entropy = |buffer: &mut [u8]| {
            ring::rand::SecureRandom::fill(&random, buffer).expect("the operating system has random numbers");
        };
        let key = PrivateKey::generate(&mut entropy);
        let name = LeafName::Spiffe(format!("spiffe://{trust_domain}/ns/{namespace}/mtls-canary"));
        let validity = Validity { not_before: now - skew, not_after: now + CANARY_LIFE };
        let certificate = leaf(issuer, name, &key, &validity, &mut entropy)?;
        let chain = std::iter::once(&certificate).chain(&issuer.chain);
        let chain = chain.map(|certificate| CertificateDer::from(certificate.der().to_vec())).collect();
        let key = PrivatePkcs8KeyDer::from_pem_slice(key.to_pem().as_bytes()).expect("our own PEM can be read");
        let key = rustls::crypto::ring::sign::any_supported_type(&PrivateKeyDer::Pkcs8(key))
            .expect("our own key is of a supported type");
        Ok(Self(Arc::new(CertifiedKey::new(chain, key))))
    }

    /// Shows the canary to a server, and looks what it does.
    ///
    /// # Why
    /// A handshake that succeeds proves nothing: in TLS 1.3 the client is done before the server has looked at its
    /// certificate. The first thing that is read tells: an HTTP/2 SETTINGS frame, which gRPC servers send unasked, or an
    /// alert. Without ALPN `h2` the servers hang up on everybody; a resumed session would show no certificate at all.
    ///
    /// Returns also the chain that the server sent, which is empty where it broke off before the handshake was over.
    pub async fn show(&self, api: &Api, pod: &str, port: u16) -> Result<(Verdict, Vec<Certificate>), Trouble> {
        let asked = Arc::new(AtomicBool::new(false));
        let resolver = Resolver { key: Arc::clone(&self.0), asked: Arc::clone(&asked) };
        let mut config = builder().with_client_cert_resolver(Arc::new(resolver));
        config.alpn_protocols = vec![b"h2".to_vec()];
        config.resumption = Resumption::disabled();
        let mut tunnel = match open(api, pod, port, config).await {
            Ok(tunnel) => tunnel,
            Err(Trouble::Broken(why)) if why == ALERT && asked.load(Ordering::SeqCst) => {
                return Ok((Verdict::Refused, Vec::new()));
            }
            Err(trouble) => return Err(trouble),
        };
        if tunnel.stream.get_ref().1.handshake_kind() == Some(HandshakeKind::Resumed) {
            return Err(Trouble::Broken("the session was resumed, so that no certificate was shown".to_owned()));
        }
        let mut frame = [0_u8; 9];
        let read = tunnel.stream.read_exact(&mut frame).await;
        // Frame type 4 on stream 0 (RFC 9113 §6.5).
        let verdict = match read {
            _ if !asked.load(Ordering::SeqCst) => Verdict::NotAsked,
            Ok(_) if frame[3] == 4 && frame[5..] == [0; 4] => Verdict::Accepted,
            Ok(_) => return Err(Trouble::Broken("it does not speak HTTP/2".to_owned())),
            Err(why) if is_alert(&why) => Verdict::Refused,
            Err(why) => return Err(tunnel.trouble(port, &why.to_string()).await),
        };
        Ok((verdict, tunnel.chain()?))
    }
}

/// The chain that a server sends.
pub async fn served(api: &Api, pod: &str, port: u16, alpn: &[u8]) -> Result<Vec<Certificate>, Trouble> {
    let config = without_certificate(alpn);
    open(api, pod, port, config).await?.chain()
}

/// Sends one request to an HTTPS server in a pod; returns the body of its answer, and the chain it sent.
pub async fn post(
    api: &Api,
    pod: &str,
    port: u16,
    path: &str,
    body: &str,
) -> Result<(Vec<u8>, Vec<Certificate>), Trouble> {
    let mut tunnel = open(api, pod, port, without_certificate(b"http/1.1")).await?;
    let chain = tunnel.chain()?;
    // HTTP/1.0: the answer ends with the connection, and is never chunked.
    let request = format!(
        "POST {path} HTTP/1.0\r\nHost: mtls\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut answer = Vec::new();
    let exchange = async {
        tunnel.stream.write_all(request.as_bytes()).await?;
        tunnel.stream.flush().await?;
        tunnel.stream.read_to_end(&mut answer).await
    };
    if let Err(why) = exchange.await
        && answer.is_empty()
    {
        return Err(tunnel.trouble(port, &why.to_string()).await);
    }
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n");
    let Some(end) = end else { return Err(Trouble::Broken("it does not speak HTTP".to_owned())) };
    let status = String::from_utf8_lossy(answer[..end].split(|byte| *byte == b'\r').next().unwrap_or_default());
    if status.split(' ').nth(1) != Some("200") {
        return Err(Trouble::Broken(format!("it answered `{status}`")));
    }
    Ok((answer.split_off(end + 4), chain))
}

struct Tunnel {
    stream: TlsStream<DuplexStream>,
    forwarder: Portforwarder,
}

impl Tunnel {
    fn chain(&self) -> Result<Vec<Certificate>, Trouble> {
        let sent = self.stream.get_ref().1.peer_certificates().unwrap_or_default();
        sent.iter()
            .map(|der| {
                Certificate::from_der(der).map_err(|why| Trouble::Broken(format!("a certificate it sent: {why}")))
            })
            .collect()
    }

    async fn trouble(&mut self, port: u16, why: &str) -> Trouble {
        trouble(&mut self.forwarder, port, why).await
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.forwarder.abort();
    }
}

/// What stands for an alert in [`Trouble::Broken`], where it comes during the handshake.
const ALERT: &str = "it sent a TLS alert";

async fn open(api: &Api, pod: &str, port: u16, config: ClientConfig) -> Result<Tunnel, Trouble> {
    let (namespace, name) = pod.split_once('/').unwrap_or(("", pod));
    let pods: kube::Api<Pod> = kube::Api::namespaced(api.streams(), namespace);
    let grant = format!("get pods/portforward of {name} in namespace {namespace}");
    let started = Instant::now();
    let opened = pods.portforward(name, &[port]).await.map_err(|why| Failure::of_transport(&grant, &why));
    let end = opened.as_ref().err().map_or_else(|| "101".to_owned(), ToString::to_string);
    let path = format!("/api/v1/namespaces/{namespace}/pods/{name}/portforward?ports={port}");
    api.tell_request("GET", &path, started, &end);
    let mut forwarder = opened?;
    let stream = forwarder
        .take_stream(port)
        .ok_or_else(|| Trouble::Port { port, why: "the API server opened no stream for it".to_owned() })?;
    let anybody = ServerName::try_from("mtls").expect("a host name");
    match TlsConnector::from(Arc::new(config)).connect(anybody, stream).await {
        Ok(stream) => Ok(Tunnel { stream, forwarder }),
        Err(why) if is_alert(&why) => Err(Trouble::Broken(ALERT.to_owned())),
        Err(why) => Err(trouble(&mut forwarder, port, &why.to_string()).await),
    }
}

/// A port that is closed in the pod looks like a stream that ends; the kubelet's reason comes beside it.
async fn trouble(forwarder: &mut Portforwarder, port: u16, why: &str) -> Trouble {
    if let Some(error) = forwarder.take_error(port)
        && let Ok(Some(reason)) = tokio::time::timeout(Duration::from_millis(200), error).await
    {
        return Trouble::Port { port, why: reason };
    }
    Trouble::Broken(why.to_owned())
}

fn is_alert(error: &std::io::Error) -> bool {
    error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<rustls::Error>())
        .is_some_and(|error| matches!(error, rustls::Error::AlertReceived(_)))
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::client::WantsClientCert> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring supports the default versions")
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Anybody(provider)))
}

fn without_certificate(alpn: &[u8]) -> ClientConfig {
    let mut config = builder().with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config
}

/// Takes whoever answers: the chain is what is asked for, and is judged elsewhere. That the peer holds the leaf's key
/// is checked.
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
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

struct Resolver {
    key: Arc<CertifiedKey>,
    asked: Arc<AtomicBool>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Resolver")
    }
}

impl ResolvesClientCert for Resolver {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::SeqCst);
        Some(Arc::clone(&self.key))
    }

    fn has_certs(&self) -> bool {
        true
    }
}
