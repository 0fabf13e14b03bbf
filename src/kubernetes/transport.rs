//! How bytes get to the API server and back.
//!
//! # Why
//! kube's own client speaks HTTP/1.1 and leaves Nagle's algorithm on: each of a look's concurrent requests makes a TLS
//! connection of its own, and the first request on it waits until the end of the handshake is acknowledged, which takes
//! Linux 40 ms. Requests here share one HTTP/2 connection, as kubectl's do. A port-forward upgrades its connection,
//! which HTTP/2 cannot.

use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_timeout::TimeoutConnector;
use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use kube::client::{Body, ClientBuilder, ConfigExt as _};
use kube::{Client, Config};
use rustls::pki_types::ServerName;
use tower::{BoxError, ServiceBuilder};

/// The clients for the API server, with the same credentials.
#[derive(Clone)]
pub struct Transport {
    /// For requests: they share a connection.
    pub requests: Client,
    /// For what needs a connection of its own.
    pub streams: Client,
}

/// A connection that several requests share must not outlive its peer unnoticed: while one waits on it for this long it
/// is asked, and given up when it does not answer for as long again.
const KEEP_ALIVE: Duration = Duration::from_secs(5);

impl Transport {
    /// Sends nothing yet, but runs the kubeconfig's exec plugin, if it has one. Behind a proxy, of which kube knows all
    /// kinds, its own client does everything.
    pub fn new(config: Config) -> kube::Result<Self> {
        if config.proxy_url.is_some() {
            return Client::try_from(config).map(Self::from);
        }
        let auth = config.auth_layer()?;
        let client = |connector: HttpsConnector<HttpConnector>| -> kube::Result<Client> {
            // Names, TCP and TLS together.
            let mut connector = TimeoutConnector::new(connector);
            connector.set_connect_timeout(config.connect_timeout);
            let http: Http<_, Body> = Http::builder(TokioExecutor::new())
                .timer(TokioTimer::new())
                .http2_keep_alive_interval(KEEP_ALIVE)
                .http2_keep_alive_timeout(KEEP_ALIVE)
                .build(connector);
            let service = ServiceBuilder::new()
                .layer(config.base_uri_layer())
                .option_layer(auth.as_ref())
                .layer(config.extra_headers_layer()?)
                .map_err(BoxError::from)
                .service(http);
            Ok(ClientBuilder::new(service, config.default_namespace.clone()).build())
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let (settings, name) = (config.rustls_client_config()?, server_name(&config)?);
        let tls = || {
            let builder = HttpsConnectorBuilder::new().with_tls_config(settings.clone()).https_or_http();
            match &name {
                Some(name) => builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone())),
                None => builder,
            }
        };
        Ok(Self {
            requests: client(tls().enable_all_versions().wrap_connector(tcp.clone()))?,
            streams: client(tls().enable_http1().wrap_connector(tcp))?,
        })
    }
}

/// Whose certificate to expect, where that is not the server's address.
fn server_name(config: &Config) -> kube::Result<Option<ServerName<'static>>> {
    let parse = |name: &String| {
        ServerName::try_from(name.clone())
            .map_err(|why| kube::Error::Service(format!("tls-server-name `{name}`: {why}").into()))
    };
    config.tls_server_name.as_ref().map(parse).transpose()
}

impl From<Client> for Transport {
    fn from(client: Client) -> Self {
        Self { requests: client.clone(), streams: client }
    }
}
