//! Reaches the API server that the caller's kubeconfig (or the pod's own environment) names.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::header::{HeaderValue, USER_AGENT};
use jiff::SignedDuration;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use serde::Deserialize;

use super::api::{Api, Change};
use super::failure::credentials;
use super::resource::SELF_REVIEWS;
use super::transport::Transport;
use crate::error::Error;

/// How to reach a cluster: the flags of the command line, in kubectl's meaning.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--kubeconfig`: the one file to read; else those that `KUBECONFIG` lists; else `~/.kube/config`.
    pub kubeconfig: Option<PathBuf>,
    /// `--context`.
    pub context: Option<String>,
    /// `--namespace`: where the control plane is; `None`: it is looked for.
    pub namespace: Option<String>,
    /// `--as`.
    pub as_user: Option<String>,
    /// `--as-group`.
    pub as_groups: Vec<String>,
    /// `--request-timeout`; zero: no limit.
    pub request_timeout: Option<SignedDuration>,
}

/// A way to the API server.
pub struct Connection {
    pub(super) api: Api,
    /// The kubeconfig context; `in-cluster` where the pod's own account is used.
    pub context: String,
    /// The API server's address.
    pub server: String,
    /// Why nothing may be written over this connection; `None`: it may.
    pub read_only: Option<String>,
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

impl Connection {
    /// Reads the configuration. No request is sent yet.
    pub async fn open(options: &Options) -> Result<Self, Error> {
        // Two providers at once would make rustls panic; an error here says that ours is installed already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (mut config, context) = configuration(options).await?;
        let timeout = match options.request_timeout {
            None => Some(REQUEST_TIMEOUT),
            Some(none) if none.is_zero() => None,
            Some(limit) => Some(limit.unsigned_abs()),
        };
        config.connect_timeout = Some(timeout.map_or(CONNECT_TIMEOUT, |limit| limit.min(CONNECT_TIMEOUT)));
        config.read_timeout = timeout;
        config.reset_reader_on_write = true;
        config.default_retry = false;
        config.headers.push((USER_AGENT, HeaderValue::from_static(concat!("mtls/", env!("CARGO_PKG_VERSION")))));
        if let Some(user) = &options.as_user {
            config.auth_info.impersonate = Some(user.clone());
        }
        if !options.as_groups.is_empty() {
            config.auth_info.impersonate_groups = Some(options.as_groups.clone());
        }
        let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
        let read_only = read_only(&config);
        let transport = Transport::new(config).map_err(|why| {
            Error::failed(format!("cannot prepare a connection to `{server}`"))
                .because(credentials(&why).unwrap_or_else(|| why.to_string()))
                .hint("the credentials in the kubeconfig may be damaged or of a kind that is not supported")
        })?;
        Ok(Self { api: Api::new(transport, timeout), context, server, read_only })
    }

    /// Over a client made elsewhere.
    pub fn over(client: Client, context: impl Into<String>) -> Self {
        Self {
            api: Api::new(client.into(), Some(REQUEST_TIMEOUT)),
            context: context.into(),
            server: String::new(),
            read_only: None,
        }
    }

    /// Who asks, as the API server names it. One POST that leaves nothing behind; empty where it may not be asked.
    pub(super) async fn caller(&self) -> String {
        #[derive(Deserialize)]
        struct Review {
            status: Status,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Status {
            user_info: User,
        }
        #[derive(Deserialize)]
        struct User {
            username: String,
        }
        let body = br#"{"apiVersion":"authentication.k8s.io/v1","kind":"SelfSubjectReview"}"#;
        let review: Result<Review, _> = self.api.change(SELF_REVIEWS.within(None), Change::Create, body, false).await;
        review.map(|review| review.status.user_info.username).unwrap_or_default()
    }

    /// Errors if this connection may not carry a key.
    pub(super) fn may_write(&self) -> Result<(), Error> {
        match &self.read_only {
            None => Ok(()),
            Some(why) => Err(Error::failed(format!("nothing is written to `{}`: {why}", self.server))
                .hint("private keys would travel where others can read them; use a kubeconfig with https and a CA")),
        }
    }
}

async fn configuration(options: &Options) -> Result<(Config, String), Error> {
    let Some(kubeconfig) = kubeconfig(options)? else {
        if let Some(context) = &options.context {
            return Err(Error::failed(format!("there is no kubeconfig that could have a context `{context}`"))
                .hint("name one with `--kubeconfig FILE` or KUBECONFIG"));
        }
        return match Config::incluster() {
            Ok(config) => Ok((config, "in-cluster".to_owned())),
            Err(why) => Err(Error::failed("no kubeconfig was found, and this is not a pod of a cluster")
                .because(why)
                .hint("name one with `--kubeconfig FILE` or KUBECONFIG")
                .hint("for a self-hosted Dapr: `mtls status --self-hosted`")),
        };
    };
    let name = options.context.clone().or_else(|| kubeconfig.current_context.clone()).unwrap_or_default();
    let known: Vec<String> = kubeconfig.contexts.iter().map(|context| context.name.clone()).collect();
    if !known.contains(&name) {
        let error = if name.is_empty() {
            Error::failed("the kubeconfig names no current context")
        } else {
            Error::failed(format!("the kubeconfig has no context `{name}`"))
        };
        return Err(if known.is_empty() {
            error.hint("name another file with `--kubeconfig FILE`")
        } else {
            error.hint(format!("choose one with `--context`: {}", known.join(", ")))
        });
    }
    let wanted = KubeConfigOptions { context: Some(name.clone()), ..KubeConfigOptions::default() };
    let config = Config::from_custom_kubeconfig(kubeconfig, &wanted)
        .await
        .map_err(|why| Error::failed(format!("context `{name}` of the kubeconfig cannot be used")).because(why))?;
    Ok((config, name))
}

/// The kubeconfig, merged as kubectl merges them: of a list, files that are not there are passed over.
fn kubeconfig(options: &Options) -> Result<Option<Kubeconfig>, Error> {
    if let Some(path) = &options.kubeconfig {
        return read(path).map(Some);
    }
    let listed = std::env::var_os("KUBECONFIG").filter(|list| !list.is_empty());
    let paths: Vec<PathBuf> = match &listed {
        Some(list) => std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect(),
        None => std::env::home_dir().map(|home| home.join(".kube/config")).into_iter().collect(),
    };
    let mut merged: Option<Kubeconfig> = None;
    for path in paths.iter().filter(|path| path.exists()) {
        let next = read(path)?;
        merged = Some(match merged {
            None => next,
            Some(first) => first.merge(next).map_err(|why| {
                Error::failed(format!("kubeconfig `{}` does not go with the ones before it", path.display()))
                    .because(why)
            })?,
        });
    }
    match (merged, listed) {
        (None, Some(list)) => Err(Error::failed(format!(
            "none of the files that KUBECONFIG lists is there: `{}`",
            list.to_string_lossy()
        ))
        .hint("name one with `--kubeconfig FILE`")),
        (merged, _) => Ok(merged),
    }
}

fn read(path: &Path) -> Result<Kubeconfig, Error> {
    Kubeconfig::read_from(path).map_err(|why| {
        let error = Error::failed(format!("cannot read kubeconfig `{}`", path.display()));
        // The parser quotes lines of the file, which may be credentials: its words are not repeated.
        match why {
            kube::config::KubeconfigError::ReadConfig(io, _) => error.because(io),
            _ => error.because("it is not valid YAML of kind Config"),
        }
    })
}

fn read_only(config: &Config) -> Option<String> {
    let host = config.cluster_url.host().unwrap_or_default().trim_matches(['[', ']']);
    if host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) {
        return None;
    }
    if config.cluster_url.scheme_str() == Some("http") {
        return Some("the connection is not encrypted (http)".to_owned());
    }
    config.accept_invalid_certs.then(|| "the kubeconfig sets insecure-skip-tls-verify".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(server: &str, insecure: bool) -> Config {
        let mut config = Config::new(server.parse().unwrap());
        config.accept_invalid_certs = insecure;
        config
    }

    #[test]
    fn keys_do_not_travel_in_the_clear() {
        assert!(read_only(&config("http://10.0.0.1:8080", false)).is_some());
        assert!(read_only(&config("https://api.example.org", true)).is_some());
        assert!(read_only(&config("https://api.example.org", false)).is_none());
        assert!(read_only(&config("http://127.0.0.1:8001", false)).is_none());
        assert!(read_only(&config("http://[::1]:8001", false)).is_none());
        assert!(read_only(&config("https://localhost:6443", true)).is_none());
    }

    #[tokio::test]
    async fn an_unknown_context_is_answered_with_those_that_are_there() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: here\ncontexts:\n- name: here\n  context: {cluster: c, user: u}\nclusters:\n- name: c\n  cluster: {server: 'https://127.0.0.1:6443'}\nusers:\n- name: u\n  user: {token: hush}\n";
        std::fs::write(file.path(), text).unwrap();
        let options = Options { kubeconfig: Some(file.path().to_owned()), ..Options::default() };
        let connection = Connection::open(&options).await.unwrap();
        assert_eq!((connection.context.as_str(), connection.server.as_str()), ("here", "https://127.0.0.1:6443"));
        let options = Options { context: Some("there".into()), ..options };
        let error = Connection::open(&options).await.err().unwrap();
        assert_eq!(error.to_string(), "the kubeconfig has no context `there`");
        assert_eq!(error.hints(), ["choose one with `--context`: here"]);
    }

    #[tokio::test]
    async fn a_damaged_kubeconfig_is_not_quoted() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "users:\n- name: u\n  user: {token: [hush\n").unwrap();
        let options = Options { kubeconfig: Some(file.path().to_owned()), ..Options::default() };
        let text = Connection::open(&options).await.err().unwrap().in_full();
        assert!(!text.contains("hush"), "{text}");
    }

    #[tokio::test]
    async fn an_exec_plugin_that_fails_is_not_quoted() {
        for (script, why) in [("echo hush; exit 3", "exit status: 3"), ("echo '{hush: [hush'", "no ExecCredential")] {
            let file = tempfile::NamedTempFile::new().unwrap();
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: c\ncontexts:\n- name: c\n  context: {{cluster: c, user: u}}\nclusters:\n- name: c\n  cluster: {{server: 'https://127.0.0.1:6443'}}\nusers:\n- name: u\n  user:\n    exec:\n      apiVersion: client.authentication.k8s.io/v1\n      interactiveMode: Never\n      command: sh\n      args: [-c, \"{script}\"]\n      env: [{{name: TOKEN, value: hush}}]\n"
            );
            std::fs::write(file.path(), text).unwrap();
            let options = Options { kubeconfig: Some(file.path().to_owned()), ..Options::default() };
            let text = Connection::open(&options).await.err().unwrap().in_full();
            assert!(text.contains(why) && !text.contains("hush"), "{text}");
        }
    }
}
