//! The file era's distribution: trust-manager copies the anchors of a Secret of the control plane into a `ConfigMap` of
//! every namespace, five a second, and sidecars mount that.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::BufReader;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Deserializer, Value, json};

use crate::authority::{Trio, ends, from_now};
use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE};
use crate::traffic::stays;
use crate::wait::{Tick, figure, until_with, within};

/// The Secret, the Bundle and each `ConfigMap`.
pub const ROOT_CA: &str = "dapr-root-ca.crt";
/// The resource definition of Bundles.
const DEFINITION: &str = "bundles.trust.cert-manager.io";
/// Label of the namespaces that are there for distribution only.
const LABEL: &str = "mtls-lab=distribution";

/// trust-manager at work on a number of namespaces. Takes away all that it made when it is dropped.
pub struct Distributor<'a> {
    lab: &'a Lab,
    process: Child,
    copies: Copies,
}

impl<'a> Distributor<'a> {
    /// Starts it with what is published, makes so many `namespaces` besides those that are there, and returns once every
    /// namespace has the anchors.
    pub fn start(lab: &'a Lab, namespaces: usize) -> Self {
        remove(lab);
        let definition = lab.dir().join("chart/bundle-crd.yaml");
        lab.kubectl(&["apply", "-f", definition.to_str().expect("a path in UTF-8")]);
        lab.kubectl(&["wait", "--for=condition=Established", &format!("crd/{DEFINITION}"), "--timeout=30s"]);
        let distributor = Self { lab, process: trust_manager(lab), copies: Copies::watch(lab) };

        let anchors = lab.secret(TRUST_BUNDLE, "ca.crt");
        let mut objects: Vec<Value> = (0..namespaces).map(namespace).collect();
        objects.push(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {"name": ROOT_CA, "namespace": CONTROL_PLANE},
            "stringData": {"ca.crt": anchors},
        }));
        objects.push(json!({
            "apiVersion": "trust.cert-manager.io/v1alpha1", "kind": "Bundle",
            "metadata": {"name": ROOT_CA},
            "spec": {
                "sources": [{"secret": {"name": ROOT_CA, "key": "ca.crt"}}],
                "target": {"configMap": {"key": "ca.crt"}},
            },
        }));
        let file = lab.path("distribution.json");
        let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
        std::fs::write(&file, list.to_string()).expect("a file can be written");
        lab.kubectl(&["create", "-f", &file]);
        distributor.until_everywhere(&anchors);
        distributor
    }

    /// Returns once every namespace has these anchors, in whatever order.
    #[track_caller]
    pub fn until_everywhere(&self, anchors: &str) {
        let (wanted, namespaces) = (set(anchors), namespaces(self.lab));
        let bound = Duration::from_secs(60 + namespaces.len() as u64 / 2);
        until_with(bound, Tick::Short, "the anchors in every namespace", || {
            let seen = self.copies.seen();
            namespaces.iter().all(|name| seen.get(name).is_some_and(|copy| copy.anchors == wanted)).then_some(())
        });
    }

    /// When each namespace's `ConfigMap` was last seen to change.
    pub fn times(&self) -> BTreeMap<String, Instant> {
        self.copies.seen().iter().map(|(namespace, copy)| (namespace.clone(), copy.at)).collect()
    }

    /// Holds it: nothing is copied any more.
    pub fn stop(&self) {
        self.signal("-STOP");
    }

    /// Lets it go on after [`Distributor::stop`].
    pub fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let done = Command::new("kill").args([signal, &self.process.id().to_string()]).status();
        assert!(done.is_ok_and(|status| status.success()), "trust-manager could not be sent {signal}");
    }
}

impl Drop for Distributor<'_> {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        remove(self.lab);
    }
}

/// The `ConfigMap`s as a watch shows them.
struct Copies {
    watch: Child,
    seen: Arc<Mutex<Seen>>,
}

/// The `ConfigMap` of each namespace.
type Seen = BTreeMap<String, Copy>;

/// What a `ConfigMap` carries, and when it was seen to come.
struct Copy {
    anchors: BTreeSet<String>,
    at: Instant,
}

impl Copies {
    fn watch(lab: &Lab) -> Self {
        let name = format!("--field-selector=metadata.name={ROOT_CA}");
        let mut watch = lab
            .kubectl_command()
            .args(["get", "configmaps", "-A", &name, "--watch", "--output-watch-events", "-o", "json"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("kubectl starts");
        let seen = Arc::new(Mutex::new(Seen::new()));
        let (events, keeper) = (watch.stdout.take().expect("stdout is piped"), Arc::clone(&seen));
        std::thread::spawn(move || {
            let events = Deserializer::from_reader(BufReader::new(events)).into_iter::<Value>();
            for event in events.map_while(Result::ok) {
                note(&mut keeper.lock().unwrap_or_else(PoisonError::into_inner), &event);
            }
        });
        Self { watch, seen }
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Copies {
    fn drop(&mut self) {
        let _ = self.watch.kill();
        let _ = self.watch.wait();
    }
}

fn note(seen: &mut Seen, event: &Value) {
    let namespace = text(&event["object"]["metadata"]["namespace"]);
    if event["type"] == "DELETED" {
        seen.remove(&namespace);
    } else {
        let anchors = set(&text(&event["object"]["data"]["ca.crt"]));
        seen.insert(namespace, Copy { anchors, at: Instant::now() });
    }
}

/// Starts trust-manager, to be killed with the thread that starts it.
fn trust_manager(lab: &Lab) -> Child {
    // Without a pair for its webhook, which nobody calls, it does not start.
    let Trio { issuer, key, .. } = ends(from_now(24));
    for (name, text) in [("tls.crt", issuer), ("tls.key", key)] {
        std::fs::write(lab.path(name), text).expect("a file can be written");
    }
    let log = File::create(lab.path("trust-manager.log")).expect("a log file");
    Command::new("setpriv")
        .args(["--pdeathsig", "KILL"])
        .arg(lab.dir().join("bin/trust-manager"))
        .arg("--kubeconfig")
        .arg(lab.dir().join("run/admin.kubeconfig"))
        .args(["--trust-namespace", CONTROL_PLANE, "--leader-elect=false"])
        .args(["--metrics-port", "0", "--readiness-probe-port", "0"])
        // Its default port may be an API server's.
        .args(["--webhook-host", "127.0.0.1", "--webhook-port", "16443", "--webhook-certificate-dir", &lab.path("")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .spawn()
        .expect("trust-manager starts")
}

/// Takes away what a distributor that is not running any more has made, and waits until it is gone. Does not panic:
/// it also runs while a test fails.
fn remove(lab: &Lab) {
    let mut failed = Vec::new();
    // kubectl's own waiting takes 0.2 s for each.
    failed.extend(lab.try_kubectl(&["delete", "namespaces", "-l", LABEL, "--wait=false"]).err());
    let left = || lab.try_kubectl(&["get", "namespaces", "-l", LABEL, "-o", "name"]);
    let gone = || left().is_ok_and(|names| names.is_empty()).then_some(());
    if within(Duration::from_secs(180), Tick::Long, gone).is_none() {
        failed.push(format!("after 180 s: {:?}", left()));
    }
    let name = format!("--field-selector=metadata.name={ROOT_CA}");
    let rest: [&[&str]; 3] =
        [&["crd", DEFINITION], &["configmaps", "-A", &name], &["secret", "-n", CONTROL_PLANE, ROOT_CA]];
    for what in rest {
        failed.extend(lab.try_kubectl(&[&["delete", "--ignore-not-found"], what].concat()).err());
    }
    if !failed.is_empty() {
        figure(format!("a distributor left something behind: {failed:?}"));
        Lab::spoil();
    }
}

fn namespace(number: usize) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": {"name": format!("many-{number:03}"), "labels": {"mtls-lab": "distribution"}},
    })
}

fn namespaces(lab: &Lab) -> Vec<String> {
    let all = lab.list(&["get", "namespaces"]);
    all.iter().filter(|namespace| stays(namespace)).map(|namespace| text(&namespace["metadata"]["name"])).collect()
}

/// The certificates of a PEM text: trust-manager sorts them and leaves out what stands between.
fn set(pem: &str) -> BTreeSet<String> {
    let blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    blocks.map(|block| block.split("-----END").next().unwrap_or_default().split_whitespace().collect()).collect()
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
