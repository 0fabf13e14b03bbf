//! File-era sidecars: one whose watch lives and one whose watch dies after a change, calling each other.

use serde_json::{Value, json};

use crate::authority::leaf;
use crate::handshake::accepts;
use crate::lab::{Lab, TRUST_BUNDLE};
use crate::traffic::number;
use crate::wait::until;

/// Their namespace.
pub const FILED: &str = "filed";
/// The applications, by what becomes of their watch.
pub const APPS: [&str; 2] = ["living", "dying"];
/// What each injected pod carries.
const INJECTED: &str = "dapr.io/sidecar-injected=true";

/// Two sidecars, which go with the namespace when the distributor that feeds them does.
pub struct Filed<'a> {
    lab: &'a Lab,
}

impl<'a> Filed<'a> {
    /// Starts them and returns once they answer each other. Their namespace must get its anchors from somebody.
    pub fn start(lab: &'a Lab) -> Self {
        let filed = Self { lab };
        filed.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": FILED}}));
        // Before the pods: a mount that is empty at first is filled a minute later.
        filed.give_svids();
        lab.kubectl(&["apply", "-f", concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/manifests/file-era.yaml")]);
        for app in APPS {
            lab.kubectl(&["-n", FILED, "rollout", "status", &format!("deploy/{app}"), "--timeout=90s"]);
        }
        until(30, "the sidecars to answer each other", || APPS.iter().all(|app| filed.is_answered(app)));
        filed
    }

    /// Gives each an SVID of the live issuer, with the chain that Sentry would send. They show it from the next refresh
    /// of their mounts on.
    pub fn give_svids(&self) {
        let [chain, key] = ["issuer.crt", "issuer.key"].map(|file| self.lab.secret(TRUST_BUNDLE, file));
        let svid = |app: &str| {
            leaf(self.lab, &format!("spiffe://cluster.local/ns/{FILED}/{app}"), &chain, &key);
            let [leaf, key] = ["leaf.pem", "leaf.key"].map(|name| std::fs::read_to_string(self.lab.path(name)));
            [leaf.expect("a leaf"), chain.clone(), key.expect("its key")].concat()
        };
        let metadata = json!({"name": "file-era-svids", "namespace": FILED});
        let data: Value = APPS.iter().map(|app| (format!("{app}.pem"), json!(svid(app)))).collect();
        self.apply(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": data}));
    }

    /// Makes one a new pod.
    pub fn restart(&self, app: &str) {
        self.lab.kubectl(&["-n", FILED, "rollout", "restart", &format!("deploy/{app}")]);
        self.lab.kubectl(&["-n", FILED, "rollout", "status", &format!("deploy/{app}"), "--timeout=90s"]);
    }

    fn apply(&self, object: &Value) {
        let file = self.lab.path("filed.json");
        std::fs::write(&file, object.to_string()).expect("a file can be written");
        self.lab.kubectl(&["apply", "-f", &file]);
    }

    /// Makes the kubelet refresh their mounts now.
    pub fn nudge(&self) {
        self.lab.nudge_in(FILED, INJECTED);
    }

    /// Whether an application accepts what an issuer has signed, sent with this issuer alone.
    pub fn accepts(&self, app: &str, issuer: [&str; 2]) -> bool {
        let pods = self.lab.pods(FILED, &format!("app={app}"));
        let pod = pods.into_iter().find(crate::traffic::stays).expect("an application has a pod");
        let address = format!("{}:50002", pod["status"]["podIP"].as_str().unwrap_or_default());
        accepts(self.lab, &address, issuer, issuer[0])
    }

    /// What an application counts of its calls.
    pub fn stats(&self, app: &str) -> Value {
        self.ask(app, "stats")
    }

    fn ask(&self, app: &str, what: &str) -> Value {
        let path = format!("/api/v1/namespaces/{FILED}/services/{app}:8080/proxy/{what}");
        self.lab.read(&path).ok().and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default()
    }

    /// Whether a second of calls were all answered. Counts anew after a failure.
    fn is_answered(&self, app: &str) -> bool {
        let stats = self.stats(app);
        if number(&stats, "failures") > 0 {
            self.ask(app, "reset");
        }
        number(&stats, "failures") == 0 && number(&stats, "answers") >= 5
    }

    /// Asserts that they go on answering each other and that no call has failed since they began.
    #[track_caller]
    pub fn assert_no_failed_call(&self) {
        for app in APPS {
            let before = number(&self.stats(app), "answers");
            until(20, format!("more answers to {app}"), || number(&self.stats(app), "answers") >= before + 5);
            let stats = self.stats(app);
            assert_eq!(number(&stats, "failures"), 0, "calls of {app} failed: {stats}");
        }
    }
}
