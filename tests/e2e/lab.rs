//! The lab: starts it, brings it back to a fresh state, and runs `mtls` and kubectl on it.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::time::Instant;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::api::Api;
use crate::rotations::RENEW;
use crate::run::{Run, Running};
use crate::traffic::{Traffic, stays};
use crate::wait::{figure, until};

/// The namespace of the control plane.
pub const CONTROL_PLANE: &str = "dapr-system";
/// The Secret and the `ConfigMap`.
pub const TRUST_BUNDLE: &str = "dapr-trust-bundle";
/// So many anchors come of the eight bridges beyond which a rotation is refused.
const MOST_ANCHORS: usize = 9;

static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
static STARTED: Once = Once::new();
/// Whether a test has left the mesh so that no other can begin on it: it failed, or it says so.
static SPOILED: AtomicBool = AtomicBool::new(false);

/// Who runs `mtls`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum User {
    /// A cluster-admin by RBAC: may fence, is not in `system:masters`.
    ClusterAdmin,
    /// The CI `ServiceAccount` with the least rights: may not fence.
    Ci,
}

/// A mesh under traffic that belongs to one test.
pub struct Lab {
    place: Place,
    api: Api,
    scratch: TempDir,
    pub traffic: RefCell<Traffic>,
    said: RefCell<Vec<u8>>,
    began: Instant,
    _alone: MutexGuard<'static, ()>,
}

/// Where the cluster is.
enum Place {
    /// The lab on this machine; its directory.
    Lab(PathBuf),
    /// Another cluster, by a context of the usual kubeconfig.
    Context(String),
}

impl Lab {
    /// A mesh at rest with room for `rotations` more; what earlier tests rotated stays, which spares a reset.
    pub fn calm(rotations: usize) -> Self {
        let lab = Self::open();
        if !lab.is_calm(rotations) {
            lab.reset();
        }
        lab.begin()
    }

    fn open() -> Self {
        let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
        let place = Place::find();
        STARTED.call_once(|| place.start());
        let lab = Self {
            api: place.api(),
            place,
            scratch: TempDir::new().expect("a scratch directory"),
            traffic: RefCell::default(),
            said: RefCell::default(),
            began: Instant::now(),
            _alone: alone,
        };
        let marked = lab.try_kubectl(&["-n", "kube-system", "get", "configmap", "mtls-lab", "-o", "name"]);
        assert!(marked.is_ok(), "kube-system/mtls-lab is missing: this cluster is not for tests ({marked:?})");
        lab
    }

    /// Makes the mesh fresh where no `rotations` more fit in. Whoever calls has seen that it is at rest.
    pub fn make_room(&self, rotations: usize) {
        if self.anchors() + rotations > MOST_ANCHORS {
            self.reset();
            self.traffic.borrow_mut().begin(self);
        }
    }

    /// Makes the next test begin with a fresh mesh.
    pub fn spoil() {
        SPOILED.store(true, Ordering::Relaxed);
    }

    fn reset(&self) {
        self.place.reset(self);
        SPOILED.store(false, Ordering::Relaxed);
    }

    fn begin(self) -> Self {
        self.traffic.borrow_mut().begin(&self);
        self
    }

    /// Whether nothing is open, torn or left over, calls flow, and `rotations` more fit in and can be made.
    fn is_calm(&self, rotations: usize) -> bool {
        let anchors = self.secret(TRUST_BUNDLE, "ca.crt");
        !SPOILED.load(Ordering::Relaxed)
            && self.record_status() != "open"
            && !anchors.is_empty()
            && anchors == self.config_map(TRUST_BUNDLE, "ca.crt")
            && certificates(&anchors) + rotations <= MOST_ANCHORS
            && self.sentry_may("update")
            && self.is_complete()
            && self.mtls(&[&RENEW[..], &["--dry-run"]].concat()).code == Some(0)
            && Traffic::flows(self)
    }

    /// Whether every workload of the control plane and of the applications runs what it should, once.
    fn is_complete(&self) -> bool {
        [(CONTROL_PLANE, 5), ("apps", 2)].iter().all(|(namespace, count)| {
            let mut pods = self.pods(namespace, "");
            pods.retain(stays);
            pods.len() == *count && pods.iter().all(is_ready)
        })
    }

    /// A path in this test's own directory.
    pub fn path(&self, name: &str) -> String {
        self.scratch.path().join(name).to_str().expect("a path in UTF-8").to_owned()
    }

    /// Runs `mtls` as the cluster-admin.
    pub fn mtls(&self, args: &[&str]) -> Run {
        self.mtls_as(User::ClusterAdmin, args)
    }

    /// Runs `mtls` as `user`.
    pub fn mtls_as(&self, user: User, args: &[&str]) -> Run {
        self.finish(self.start_as(user, args))
    }

    /// Starts `mtls` as `user`.
    pub fn start_as(&self, user: User, args: &[&str]) -> Running {
        self.start_with(&self.place.access(user), args)
    }

    /// Starts `mtls` with flags that say which cluster and as whom.
    pub fn start_with(&self, access: &[String], args: &[&str]) -> Running {
        let all: Vec<&str> = args.iter().copied().chain(access.iter().map(String::as_str)).collect();
        Running::start(&all, self.scratch.path())
    }

    /// Waits for the end of a run. What any run says is looked through for keys.
    #[track_caller]
    pub fn finish(&self, running: Running) -> Run {
        self.noted(running.finish())
    }

    /// Keeps what a run said for [`Lab::everything_said`].
    #[track_caller]
    pub fn noted(&self, run: Run) -> Run {
        assert!(!run.has("PRIVATE KEY-----"), "a key is shown: {run}");
        self.said.borrow_mut().extend(&run.bytes);
        run
    }

    /// All that `mtls` has printed in this test, as it came.
    pub fn everything_said(&self) -> Vec<u8> {
        self.said.borrow().clone()
    }

    /// Runs kubectl as an administrator; panics where it fails.
    #[track_caller]
    pub fn kubectl(&self, args: &[&str]) -> String {
        self.try_kubectl(args).unwrap_or_else(|why| panic!("kubectl {}: {why}", args.join(" ")))
    }

    /// Runs kubectl as an administrator.
    pub fn try_kubectl(&self, args: &[&str]) -> Result<String, String> {
        let out = self.kubectl_command().args(args).output().map_err(|why| why.to_string())?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        if out.status.success() { Ok(text(&out.stdout)) } else { Err(text(&out.stderr)) }
    }

    /// The kubectl of the lab with the flags that lead to it.
    pub fn kubectl_command(&self) -> Command {
        self.place.kubectl()
    }

    /// An object as JSON.
    #[track_caller]
    pub fn get(&self, args: &[&str]) -> Value {
        let all: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        serde_json::from_str(&self.kubectl(&all)).expect("kubectl prints JSON")
    }

    /// The items of a list as JSON.
    #[track_caller]
    pub fn list(&self, args: &[&str]) -> Vec<Value> {
        self.get(args)["items"].as_array().cloned().unwrap_or_default()
    }

    /// What the API server has at a path.
    pub fn read(&self, path: &str) -> Result<String, String> {
        self.api.read(path)
    }

    /// The pods of a namespace that a label selector selects; all, where it is empty.
    #[track_caller]
    pub fn pods(&self, namespace: &str, selector: &str) -> Vec<Value> {
        let list = self.object(&format!("/api/v1/namespaces/{namespace}/pods?labelSelector={selector}"));
        list["items"].as_array().cloned().unwrap_or_default()
    }

    #[track_caller]
    fn object(&self, path: &str) -> Value {
        let text = self.read(path).unwrap_or_else(|why| panic!("{path}: {why}"));
        serde_json::from_str(&text).expect("objects are JSON")
    }

    /// Applies a JSON merge patch to an object of the control plane.
    #[track_caller]
    pub fn patch(&self, kind: &str, name: &str, patch: &Value) {
        let patch = patch.to_string();
        self.kubectl(&["-n", CONTROL_PLANE, "patch", kind, name, "--type", "merge", "-p", &patch]);
    }

    /// One value of a Secret of the control plane; empty where there is none.
    pub fn secret(&self, name: &str, key: &str) -> String {
        let secret = self.object(&format!("/api/v1/namespaces/{CONTROL_PLANE}/secrets/{name}"));
        let value = STANDARD.decode(secret["data"][key].as_str().unwrap_or_default()).expect("data are base64");
        String::from_utf8(value).expect("PEM is text")
    }

    /// One value of a `ConfigMap` of the control plane; empty where there is none.
    pub fn config_map(&self, name: &str, key: &str) -> String {
        let map = self.object(&format!("/api/v1/namespaces/{CONTROL_PLANE}/configmaps/{name}"));
        map["data"][key].as_str().unwrap_or_default().to_owned()
    }

    /// How many anchors are published; the pair must be equal.
    #[track_caller]
    pub fn anchors(&self) -> usize {
        let anchors = self.secret(TRUST_BUNDLE, "ca.crt");
        assert_eq!(anchors, self.config_map(TRUST_BUNDLE, "ca.crt"), "the pair is unequal");
        certificates(&anchors)
    }

    /// Returns once Sentry may write again: the API server hears of a changed Role a moment later.
    #[track_caller]
    pub fn until_unfenced(&self) {
        until(5, "the fence to be gone", || self.sentry_may("update"));
    }

    /// Whether Sentry has a verb on the Secret: `update` is what the fence takes.
    pub fn sentry_may(&self, verb: &str) -> bool {
        let who = format!("--as=system:serviceaccount:{CONTROL_PLANE}:dapr-sentry");
        let what = format!("secret/{TRUST_BUNDLE}");
        self.try_kubectl(&["-n", CONTROL_PLANE, "auth", "can-i", verb, &what, &who])
            .is_ok_and(|yes| yes.trim() == "yes")
    }

    /// The lab's directory. Panics on another cluster: what only the lab has can't be looked at there.
    #[track_caller]
    pub fn dir(&self) -> &Path {
        match &self.place {
            Place::Lab(dir) => dir,
            Place::Context(context) => panic!("context {context} is not the lab: it has no audit log and no proxy"),
        }
    }

    /// The kubeconfig of a user of the lab.
    #[track_caller]
    pub fn kubeconfig(&self, user: User) -> PathBuf {
        self.dir().join("run").join(user.file())
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        figure(format!("after {:.0} s", self.began.elapsed().as_secs_f64()));
        if std::thread::panicking() {
            Self::spoil();
        }
    }
}

/// Whether a pod is ready.
pub fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array().cloned().unwrap_or_default();
    conditions.iter().any(|c| c["type"] == json!("Ready") && c["status"] == json!("True"))
}

/// How many certificates a PEM text has.
pub fn certificates(pem: &str) -> usize {
    pem.matches("-----BEGIN CERTIFICATE-----").count()
}

impl User {
    fn file(self) -> &'static str {
        match self {
            Self::ClusterAdmin => "cluster-admin.kubeconfig",
            Self::Ci => "ci.kubeconfig",
        }
    }
}

impl Place {
    fn find() -> Self {
        if let Ok(context) = std::env::var("MTLS_E2E_CONTEXT") {
            return Self::Context(context);
        }
        let dir = std::env::var_os("MTLS_LAB_DIR").map(PathBuf::from);
        let cache = || std::env::var_os("XDG_CACHE_HOME").map(|cache| PathBuf::from(cache).join("mtls-lab"));
        let home = || PathBuf::from(std::env::var_os("HOME").expect("HOME is set")).join(".cache/mtls-lab");
        Self::Lab(dir.or_else(cache).unwrap_or_else(home))
    }

    fn start(&self) {
        if let Self::Lab(_) = self {
            script("up");
        }
    }

    fn reset(&self, lab: &Lab) {
        match self {
            Self::Lab(_) => script("reset"),
            Self::Context(_) => {
                // A foreign cluster keeps its CA; its applications are made anew so that they hold what is published.
                for app in ["server", "client"] {
                    crate::traffic::roll(lab, app);
                }
            }
        }
    }

    fn access(&self, user: User) -> Vec<String> {
        match (self, user) {
            (Self::Lab(dir), _) => {
                let file = dir.join("run").join(user.file());
                vec!["--kubeconfig".to_owned(), file.to_str().expect("a path in UTF-8").to_owned()]
            }
            (Self::Context(context), user) => {
                let config = usual_kubeconfig();
                let mut flags = vec!["--kubeconfig".to_owned(), config, "--context".to_owned(), context.clone()];
                if user == User::Ci {
                    flags.extend(["--as".to_owned(), format!("system:serviceaccount:{CONTROL_PLANE}:mtls-ci")]);
                }
                flags
            }
        }
    }

    fn api(&self) -> Api {
        match self {
            Self::Lab(dir) => Api::open(&dir.join("run/admin.kubeconfig"), None),
            Self::Context(context) => Api::open(Path::new(&usual_kubeconfig()), Some(context.clone())),
        }
    }

    fn kubectl(&self) -> Command {
        match self {
            Self::Lab(dir) => {
                let mut command = Command::new(dir.join("bin/kubectl"));
                command.env_remove("KUBECONFIG");
                command.arg("--kubeconfig").arg(dir.join("run/admin.kubeconfig"));
                command.arg("--cache-dir").arg(dir.join("run/kubectl-cache"));
                command
            }
            Self::Context(context) => {
                let mut command = Command::new("kubectl");
                command.args(["--kubeconfig", &usual_kubeconfig(), "--context", context]);
                command
            }
        }
    }
}

fn usual_kubeconfig() -> String {
    std::env::var("KUBECONFIG")
        .unwrap_or_else(|_| format!("{}/.kube/config", std::env::var("HOME").unwrap_or_default()))
}

/// Runs one of the lab's scripts; its talk is the test's.
fn script(name: &str) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab").join(name);
    let status = Command::new(&script).status().expect("the lab's scripts can be run");
    assert!(status.success(), "{} failed", script.display());
}
