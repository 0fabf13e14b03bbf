//! The calls from client to server, and what both sidecars say about refused handshakes.

use std::fs::File;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::lab::{CONTROL_PLANE, Lab};
use crate::wait::{Tick, until, until_with};

const CLIENT: &str = "/api/v1/namespaces/apps/services/client:8080/proxy";

/// What a sidecar writes when it refuses a peer's certificate, or when a peer refuses its own.
const REFUSALS: [&str; 6] = [
    "x509: ",
    "tls: bad certificate",
    "tls: unknown certificate",
    "tls: certificate required",
    "tls: failed to verify certificate",
    "certificate signed by unknown authority",
];

/// The logs of all sidecars of a test, those of pods that are gone included, and the failures of clients that are gone.
#[derive(Default)]
pub struct Traffic {
    sidecars: Vec<Sidecar>,
    failed_before: Vec<String>,
}

/// A follower of one sidecar's log.
struct Sidecar {
    pod: String,
    log: String,
    follower: Child,
    /// How many refusals were there before the test began.
    before: usize,
    /// Whether it was being deleted then: it may hold trust that was no good, and nobody relies on it any more.
    is_leaving: bool,
}

impl Traffic {
    /// Counts from here.
    pub fn begin(&mut self, lab: &Lab) {
        self.sidecars.clear();
        self.failed_before.clear();
        self.follow(lab);
        let before = self.refused(lab);
        let leaving: Vec<String> = names(&lab.pods("apps", ""), |pod| !stays(pod));
        for sidecar in &mut self.sidecars {
            sidecar.is_leaving = leaving.contains(&sidecar.pod);
            sidecar.before = before.iter().filter(|line| line.starts_with(&sidecar.pod)).count();
        }
        lab.read(&format!("{CLIENT}/reset")).expect("the client answers");
    }

    /// A second of calls that were all answered.
    pub fn flows(lab: &Lab) -> bool {
        if lab.read(&format!("{CLIENT}/reset")).is_err() {
            return false;
        }
        let began = Instant::now();
        until_with(Duration::from_secs(20), Tick::Long, "a second of calls", || {
            let stats = try_stats(lab).unwrap_or_default();
            let (answers, failures) = (number(&stats, "answers"), number(&stats, "failures"));
            let is_mute = began.elapsed() > Duration::from_secs(10);
            (is_mute || answers + failures >= 20).then_some(failures == 0 && answers >= 20)
        })
    }

    fn follow(&mut self, lab: &Lab) {
        for pod in pods(lab) {
            if self.sidecars.iter().any(|sidecar| sidecar.pod == pod) {
                continue;
            }
            let log = lab.path(&format!("{pod}.log"));
            let follower = lab
                .kubectl_command()
                .args(["-n", "apps", "logs", "-f", &pod, "-c", "daprd"])
                .stdout(File::create(&log).expect("a log file"))
                .stderr(Stdio::null())
                .stdin(Stdio::null())
                .spawn()
                .expect("kubectl starts");
            self.sidecars.push(Sidecar { pod, log, follower, before: 0, is_leaving: false });
        }
    }

    /// The lines of all sidecars, dead or alive, that tell of a refused certificate.
    fn refused(&mut self, lab: &Lab) -> Vec<String> {
        let alive = pods(lab);
        let mut lines = Vec::new();
        for sidecar in self.sidecars.iter_mut().filter(|sidecar| !sidecar.is_leaving) {
            let live = alive.contains(&sidecar.pod);
            let log = format!("/api/v1/namespaces/apps/pods/{}/log?container=daprd", sidecar.pod);
            let text = live.then(|| lab.read(&log).ok()).flatten();
            let text = text.unwrap_or_else(|| sidecar.last_words());
            let refusals = text.lines().filter(|line| REFUSALS.iter().any(|mark| line.contains(mark)));
            lines.extend(refusals.skip(sidecar.before).map(|line| format!("{}: {line}", sidecar.pod)));
        }
        lines
    }
}

impl Sidecar {
    /// The whole log of a pod that is gone: its follower has come to the end.
    fn last_words(&mut self) -> String {
        until(20, format!("the end of the log of {}", self.pod), || {
            self.follower.try_wait().expect("a child can be asked").is_some()
        });
        std::fs::read_to_string(&self.log).expect("the log was written")
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.follower.kill();
        let _ = self.follower.wait();
    }
}

impl Lab {
    /// What the client counts since the last reset of its counts.
    #[track_caller]
    pub fn stats(&self) -> Value {
        until_with(Duration::from_secs(20), Tick::Long, "the client's counts", || try_stats(self))
    }

    /// Calls that failed because of a certificate, by what the clients saw, those that are gone included.
    #[track_caller]
    pub fn failed_calls(&self) -> Vec<String> {
        let mut failed = self.traffic.borrow().failed_before.clone();
        failed.extend(failures(&self.stats()));
        failed
    }

    /// Handshakes that a sidecar refused since the test began.
    #[track_caller]
    pub fn refused_handshakes(&self) -> Vec<String> {
        self.traffic.borrow_mut().refused(self)
    }

    /// Asserts that calls flow, that none failed because of a certificate and that no handshake was refused.
    #[track_caller]
    pub fn assert_no_failed_call(&self) {
        let (failed, refused) = (self.failed_calls(), self.refused_handshakes());
        assert!(failed.is_empty() && refused.is_empty(), "calls failed: {failed:#?}\nhandshakes refused: {refused:#?}");
        self.assert_calls_flow();
    }

    /// Asserts that calls are answered. After failed handshakes that may take a while: grpc waits longer before each
    /// further attempt to connect, 1.6 times as long, up to 120 s (grpc doc/connection-backoff.md).
    #[track_caller]
    pub fn assert_calls_flow(&self) {
        let before = number(&self.stats(), "answers");
        until(120, "10 more answers", || number(&self.stats(), "answers") >= before + 10);
    }

    /// Goes on counting after `mtls` itself has replaced the pods of the applications.
    pub fn follow_new_pods(&self) {
        until(40, "the client's counts", || try_stats(self).is_some());
        self.traffic.borrow_mut().follow(self);
    }

    /// Restarts `server` or `client` and returns once calls are answered through the new pod.
    #[track_caller]
    pub fn restart_app(&self, app: &str) {
        self.begin_restart(app);
        self.until_restarted(app);
    }

    /// Returns once new pods get a sidecar. One that is born before the API server reaches the injector gets none, and
    /// nobody says so.
    pub fn until_injected(&self) {
        let mut pod = self.get(&["-n", "apps", "get", "deploy", "server"])["spec"]["template"].clone();
        (pod["apiVersion"], pod["kind"], pod["metadata"]["name"]) = (json!("v1"), json!("Pod"), json!("canary"));
        let file = self.path("canary.json");
        std::fs::write(&file, pod.to_string()).expect("a file can be written");
        // The injector serves whoever makes pods for others, and this group.
        let as_master = ["--as=lab", "--as-group=system:masters"];
        let create = ["-n", "apps", "create", "--dry-run=server", "-o", "json", "-f", &file];
        until(60, "new pods to get a sidecar", || {
            let injectors = self.pods(CONTROL_PLANE, "app=dapr-sidecar-injector");
            let none_leaves = injectors.iter().all(stays);
            let born = || self.try_kubectl(&[&create[..], &as_master].concat()).ok();
            let born = none_leaves.then(born).flatten().and_then(|text| serde_json::from_str::<Value>(&text).ok());
            born.is_some_and(|pod| pod["spec"]["containers"].as_array().map(Vec::len) == Some(2))
        });
    }

    /// Begins to restart `server` or `client`.
    #[track_caller]
    pub fn begin_restart(&self, app: &str) {
        if app == "client" {
            let failed = failures(&self.stats());
            self.traffic.borrow_mut().failed_before.extend(failed);
        }
        self.until_injected();
        self.kubectl(&["-n", "apps", "rollout", "restart", &format!("deploy/{app}")]);
    }

    /// Returns once a restart of `server` or `client` has come to its end and calls are answered through the new pod.
    #[track_caller]
    pub fn until_restarted(&self, app: &str) {
        until_rolled(self, app);
        self.traffic.borrow_mut().follow(self);
        let new = newest(self, app)["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let mut last = Value::Null;
        let answered = || {
            last = self.stats();
            let by_server = &last["by_server"];
            if app == "server" { by_server[&new].as_u64() >= Some(20) } else { number(&last, "answers") >= 20 }
        };
        until(40, format!("calls through the new {app} {new}"), answered);
    }
}

/// Replaces the pod of an application, whether or not anything answers afterwards. The old server goes on answering
/// for as long as it has calls; that is not waited for.
#[track_caller]
pub fn roll(lab: &Lab, app: &str) {
    lab.until_injected();
    lab.kubectl(&["-n", "apps", "rollout", "restart", &format!("deploy/{app}")]);
    until_rolled(lab, app);
}

#[track_caller]
fn until_rolled(lab: &Lab, app: &str) {
    lab.kubectl(&["-n", "apps", "rollout", "status", &format!("deploy/{app}"), "--timeout=120s"]);
    let pod = newest(lab, app);
    let containers = pod["spec"]["containers"].as_array().map_or(0, Vec::len);
    assert_eq!(containers, 2, "{app} came up without a sidecar");
    until(40, "the client's counts", || try_stats(lab).is_some());
}

fn newest(lab: &Lab, app: &str) -> Value {
    let pods = lab.pods("apps", &format!("app={app}"));
    pods.into_iter().find(stays).expect("a rollout that is complete has one pod that stays")
}

fn pods(lab: &Lab) -> Vec<String> {
    names(&lab.pods("apps", ""), |_| true)
}

fn names(pods: &[Value], which: impl Fn(&Value) -> bool) -> Vec<String> {
    pods.iter().filter(|pod| which(pod)).filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// Whether a pod is not being deleted.
pub fn stays(pod: &Value) -> bool {
    pod["metadata"].get("deletionTimestamp").is_none()
}

fn try_stats(lab: &Lab) -> Option<Value> {
    let text = lab.read(&format!("{CLIENT}/stats")).ok()?;
    serde_json::from_str(&text).ok()
}

fn failures(stats: &Value) -> Vec<String> {
    let causes = ["certificate", "handshake"];
    let counted = causes.iter().filter_map(|cause| {
        let count = stats["by_cause"][cause].as_u64().unwrap_or(0);
        (count > 0).then(|| format!("{count} by {cause}: {} {}", stats["texts"], stats["last_error"]))
    });
    counted.collect()
}

/// A count of the client's.
pub fn number(stats: &Value, name: &str) -> u64 {
    stats[name].as_u64().unwrap_or(0)
}
