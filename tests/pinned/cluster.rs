//! The API server in memory on a thread of its own, with what Sentry asks of it, and the two objects.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::channel::oneshot;
use mtls::pki::{PrivateKey, TrustBundle, parse_chain};
use serde_json::{Value, json};

use crate::apiserver::{ApiServer, Fault, NAMESPACE};
use crate::mount::Files;
use crate::names::Objects;

/// Stopped when it goes out of scope.
pub struct Cluster {
    api: ApiServer,
    pub kubeconfig: PathBuf,
    _stop: oneshot::Sender<()>,
}

const KEYS: [&str; 3] = ["ca.crt", "issuer.crt", "issuer.key"];

impl Cluster {
    pub fn start(scratch: &Path) -> Self {
        let api = ApiServer::new();
        api.put("/api/v1", resource("v1", "pods", "Pod"));
        api.put("/apis/dapr.io/v1alpha1", resource("dapr.io/v1alpha1", "configurations", "Configuration"));
        let configurations = format!("/apis/dapr.io/v1alpha1/namespaces/{NAMESPACE}/configurations");
        api.put(&format!("{configurations}/daprsystem"), json!({ "spec": { "mtls": { "enabled": true } } }));
        let (stop, stopped) = oneshot::channel::<()>();
        let (listens, address) = std::sync::mpsc::channel();
        let server = api.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                listens.send(server.listen().await).expect("it is waited for");
                let _ = stopped.await;
            });
        });
        let kubeconfig = scratch.join("kubeconfig");
        std::fs::write(&kubeconfig, address.recv().expect("it listens")).expect("the scratch directory takes a file");
        let cluster = Self { api, kubeconfig, _stop: stop };
        cluster.empty();
        cluster
    }

    /// Both objects without data, as the chart installs them.
    pub fn empty(&self) {
        for kind in ["secrets", "configmaps"] {
            self.api.put(&path(kind), json!({}));
        }
    }

    /// Whether Sentry may update the Secret.
    pub fn allow(&self, update: bool) {
        self.api.heal();
        if !update {
            self.api.fail("PUT secrets/dapr-trust-bundle", Fault::Forbidden, usize::MAX);
        }
    }

    pub fn write_config_map(&self, bundle: &TrustBundle) {
        self.api.put(&path("configmaps"), json!({ "data": { "ca.crt": bundle.to_pem() } }));
    }

    /// These files, beside the others that are there.
    pub fn write_secret(&self, files: impl IntoIterator<Item = (&'static str, String)>) {
        let mut all = self.secret();
        all.extend(files);
        self.put_secret(&all);
    }

    pub fn drop_key(&self) {
        let mut files = self.secret();
        files.remove("issuer.key").expect("there is a key");
        self.put_secret(&files);
    }

    fn put_secret(&self, files: &Files) {
        let encoded = files.iter().map(|(name, text)| ((*name).to_owned(), json!(STANDARD.encode(text))));
        self.api.put(&path("secrets"), json!({ "data": encoded.collect::<serde_json::Map<String, Value>>() }));
    }

    /// What the Secret has, which is what a kubelet mounts.
    pub fn secret(&self) -> Files {
        let secret = self.api.get(&path("secrets"));
        let text = |name: &str| {
            let bytes = STANDARD.decode(secret["data"][name].as_str()?).expect("a Secret is base64");
            Some(String::from_utf8(bytes).expect("PEM is text"))
        };
        KEYS.into_iter().filter_map(|name| Some((name, text(name)?))).collect()
    }

    pub fn published(&self) -> Objects {
        let anchors = |pem: &str| TrustBundle::parse(pem.as_bytes()).expect("anchors").anchors().to_vec();
        let (secret, config_map) = (self.secret(), self.api.get(&path("configmaps")));
        let [trust, issuer, key] = KEYS.map(|name| secret.get(name).map(String::as_str));
        let chain = issuer.map(|pem| parse_chain(pem.as_bytes()).expect("a chain")).unwrap_or_default();
        if let (Some(first), Some(key)) = (chain.first(), key) {
            assert!(PrivateKey::parse(key.as_bytes()).expect("a key").matches(first), "the key of another issuer");
        }
        Objects {
            secret: trust.map(anchors).unwrap_or_default(),
            config_map: config_map["data"]["ca.crt"].as_str().map(anchors).unwrap_or_default(),
            chain,
            has_key: key.is_some(),
        }
    }
}

fn path(kind: &str) -> String {
    format!("/api/v1/namespaces/{NAMESPACE}/{kind}/dapr-trust-bundle")
}

/// A part of discovery: that there is such a resource.
fn resource(version: &str, plural: &str, kind: &str) -> Value {
    json!({ "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": [
        { "name": plural, "singularName": kind.to_lowercase(), "namespaced": true, "kind": kind,
          "verbs": ["get", "list", "watch"] }] })
}
