//! What a test does to the mesh by hand: nudges, torn pairs, CAs from elsewhere.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::authority::Trio;
use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE, is_ready};
use crate::traffic::{Traffic, roll};
use crate::wait::until;

impl Lab {
    /// Writes a CA into both objects at once, as nobody should: the one before it is gone.
    pub fn replace_ca(&self, trio: &Trio) {
        self.patch("configmap", TRUST_BUNDLE, &json!({"data": {"ca.crt": trio.root}}));
        let data = json!({"ca.crt": trio.root, "issuer.crt": trio.issuer, "issuer.key": trio.key});
        self.patch("secret", TRUST_BUNDLE, &json!({"stringData": data}));
    }

    /// Adds an anchor to the `ConfigMap` alone. Sentry does not look until something else makes it.
    pub fn tear_quietly(&self, anchor: &str) {
        let torn = format!("{}{anchor}", self.config_map(TRUST_BUNDLE, "ca.crt"));
        self.patch("configmap", TRUST_BUNDLE, &json!({"data": {"ca.crt": torn}}));
    }

    /// Adds an anchor to the Secret alone and makes Sentry look: it invents a CA. Returns the invented `ca.crt`.
    pub fn let_sentry_invent(&self, anchor: &str) -> String {
        let torn = format!("{}{anchor}", self.secret(TRUST_BUNDLE, "ca.crt"));
        let patch = json!({"data": {"ca.crt": STANDARD.encode(&torn)}});
        self.patch("secret", TRUST_BUNDLE, &patch);
        self.nudge("app=dapr-sentry");
        let invented = || {
            let now = self.secret(TRUST_BUNDLE, "ca.crt");
            now != torn && now == self.config_map(TRUST_BUNDLE, "ca.crt")
        };
        until(100, "Sentry to invent a CA", invented);
        self.secret(TRUST_BUNDLE, "ca.crt")
    }

    /// Makes the kubelet refresh the mounts of the control plane's pods with `label` now.
    pub fn nudge(&self, label: &str) {
        self.nudge_in(CONTROL_PLANE, label);
    }

    /// Makes the kubelet refresh the mounts of the pods of a namespace with `label` now.
    pub fn nudge_in(&self, namespace: &str, label: &str) {
        let stamp = format!("mtls-lab/nudge={:?}", std::time::SystemTime::now());
        self.kubectl(&["-n", namespace, "annotate", "pods", "-l", label, "--overwrite", &stamp]);
    }

    /// Waits until every pod of the control plane is ready.
    pub fn until_control_plane_is_ready(&self) {
        until(120, "the control plane to be ready", || {
            let pods = self.pods(CONTROL_PLANE, "");
            !pods.is_empty() && pods.iter().all(is_ready)
        });
    }

    /// A mesh that has lived on this CA from the start: every process is new, and calls flow.
    pub fn install_ca(&self, trio: &Trio) {
        self.replace_ca(trio);
        self.restart_control_plane(&trio.root);
        for app in ["server", "client"] {
            roll(self, app);
        }
        until(40, "calls to flow", || Traffic::flows(self));
        self.traffic.borrow_mut().begin(self);
    }

    /// Restarts all of the control plane at once; then new pods are born under `bundle`.
    pub fn restart_control_plane(&self, bundle: &str) {
        self.kubectl(&["-n", CONTROL_PLANE, "delete", "pods", "--all", "--grace-period=1"]);
        self.until_control_plane_is_ready();
        self.until_injector_takes(bundle);
    }

    /// Returns once new pods are born under `bundle`.
    pub fn until_injector_takes(&self, bundle: &str) {
        let wanted = STANDARD.encode(bundle);
        until(100, "the injector to take the CA", || {
            let webhook = self.get(&["get", "mutatingwebhookconfiguration", "dapr-sidecar-injector"]);
            webhook["webhooks"][0]["clientConfig"]["caBundle"] == json!(wanted)
        });
    }

    /// Whether a container of Sentry's has ended with an error.
    pub fn sentry_has_failed(&self) -> bool {
        let pods = self.pods(CONTROL_PLANE, "app=dapr-sentry");
        pods.iter().any(|pod| pod["status"]["containerStatuses"][0]["restartCount"].as_u64() > Some(0))
    }

    /// The status of the record, empty without one.
    pub fn record_status(&self) -> String {
        let record = self.read(&format!("/api/v1/namespaces/{CONTROL_PLANE}/secrets/mtls-rotation"));
        let record: Value = record.map(|text| serde_json::from_str(&text).unwrap_or_default()).unwrap_or_default();
        let meta = STANDARD.decode(record["data"]["rotation.json"].as_str().unwrap_or_default()).unwrap_or_default();
        let meta: Value = serde_json::from_slice(&meta).unwrap_or_default();
        meta["status"].as_str().unwrap_or_default().to_owned()
    }

    /// Dates the last renewal of the lock back, so that a run need not wait until a killed holder's time is up.
    pub fn let_lock_run_out(&self) {
        self.patch("lease", "mtls-rotation", &json!({"spec": {"renewTime": "2020-01-01T00:00:00.000000Z"}}));
    }

    /// Brings Sentry to rest at once, where a run without a fence would wait longer than a minute for it: its mount is
    /// made fresh and no reload is under way or to come; then the last write to its Secret is dated back.
    pub fn let_sentry_settle(&self) {
        let mut nudged = Instant::now();
        self.nudge("app=dapr-sentry");
        until(60, "Sentry to be at rest", || {
            let fresh = self.sentry_mount_is_fresh();
            // A nudge that outruns the kubelet's own watch refreshes nothing.
            if !fresh && nudged.elapsed() > Duration::from_secs(3) {
                self.nudge("app=dapr-sentry");
                nudged = Instant::now();
            }
            fresh && self.sentry_does_not_reload()
        });
        let mut secret = self.get(&["-n", CONTROL_PLANE, "get", "secret", TRUST_BUNDLE, "--show-managed-fields"]);
        for entry in secret["metadata"]["managedFields"].as_array_mut().into_iter().flatten() {
            entry["time"] = json!("2020-01-01T00:00:00Z");
            // The API server takes a change of nothing but times for none.
            entry["manager"] = json!(format!("settled-{:?}", std::time::SystemTime::now()));
        }
        let file = self.path("settled.json");
        std::fs::write(&file, secret.to_string()).expect("a file can be written");
        self.kubectl(&["replace", "-f", &file]);
        std::fs::remove_file(file).expect("a file can be removed");
    }

    /// Whether every Sentry has what is published in its mount, and has for so long that the first reload which that led
    /// to has begun. Further ones come every two seconds.
    fn sentry_mount_is_fresh(&self) -> bool {
        let pods = self.pods(CONTROL_PLANE, "app=dapr-sentry");
        let published = ["ca.crt", "issuer.crt"].map(|file| (file, self.secret(TRUST_BUNDLE, file)));
        pods.iter().all(|pod| {
            let Some(uid) = pod["metadata"]["uid"].as_str() else { return false };
            let mount = self.dir().join("run/kubelet/pods").join(uid).join("volumes/kubernetes.io~secret/credentials");
            let swapped = std::fs::symlink_metadata(mount.join("..data")).and_then(|data| data.modified());
            let age = swapped.ok().and_then(|swapped| swapped.elapsed().ok()).unwrap_or_default();
            let is =
                |(file, text): &(&str, String)| std::fs::read_to_string(mount.join(file)).is_ok_and(|it| it == *text);
            age > Duration::from_secs(6) && published.iter().all(is)
        })
    }

    fn sentry_does_not_reload(&self) -> bool {
        let logs = ["-n", CONTROL_PLANE, "logs", "-l", "app=dapr-sentry", "--since=7s", "--tail=-1"];
        self.try_kubectl(&logs).is_ok_and(|log| !log.contains("reloading") && !log.contains("Starting Dapr Sentry"))
    }
}
