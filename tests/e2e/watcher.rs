//! The lab's consumer whose watch dies after one change, as the services of Dapr 1.16 and later: what it holds after a
//! first and a second change of its mount, asked by handshakes.

use std::fs;
use std::time::{Duration, Instant};

use crate::handshake::accepts;
use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE};
use crate::rotations::RENEW;
use crate::wait::until;

#[test]
#[ignore = "needs the lab"]
fn a_dead_watcher_sees_one_change_and_the_bridge_carries_it_over_the_next() {
    let lab = Lab::calm(2);
    let mut watcher = Watcher::start(&lab);
    assert!(watcher.accepts(&lab, Shown::IssuerAlone), "it holds what it was started with");

    lab.mtls(&RENEW).succeeds();
    watcher.is_mounted_afresh(&lab);
    until(10, "the first change to be seen", || watcher.accepts(&lab, Shown::IssuerAlone));

    lab.mtls(&RENEW).succeeds();
    watcher.is_mounted_afresh(&lab);
    let began = Instant::now();
    // The first change was seen half a second after the mount.
    while began.elapsed() < Duration::from_secs(5) {
        assert!(!watcher.accepts(&lab, Shown::IssuerAlone), "its watch lives");
        assert!(watcher.accepts(&lab, Shown::WholeChain), "the bridge does not carry it");
    }
    Watcher::stop(&lab);
    watcher = Watcher::start(&lab);
    assert!(watcher.accepts(&lab, Shown::IssuerAlone), "a new process holds what is published");
    Watcher::stop(&lab);
    lab.assert_no_failed_call();
}

/// What is sent behind the leaf.
#[derive(Clone, Copy)]
enum Shown {
    /// The issuer that the newest root signed: asks whether that root is held.
    IssuerAlone,
    /// All that Sentry sends: asks whether calls would be answered.
    WholeChain,
}

struct Watcher {
    uid: String,
    address: String,
}

impl Watcher {
    fn start(lab: &Lab) -> Self {
        let manifest = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/manifests/watcher.yaml");
        lab.kubectl(&["apply", "-f", manifest]);
        lab.kubectl(&["-n", CONTROL_PLANE, "wait", "--for=condition=Ready", "pod/watcher", "--timeout=60s"]);
        let pod = lab.get(&["-n", CONTROL_PLANE, "get", "pod", "watcher"]);
        let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
        Self { uid: text(&pod["metadata"]["uid"]), address: text(&pod["status"]["podIP"]) }
    }

    fn stop(lab: &Lab) {
        lab.kubectl(&["-n", CONTROL_PLANE, "delete", "pod", "watcher", "--wait"]);
    }

    /// Returns once its mount has what is published.
    fn is_mounted_afresh(&self, lab: &Lab) {
        lab.nudge("app=watcher");
        let volume = "volumes/kubernetes.io~configmap/dapr-trust-bundle/ca.crt";
        let file = lab.dir().join("run/kubelet/pods").join(&self.uid).join(volume);
        let published = lab.config_map(TRUST_BUNDLE, "ca.crt");
        until(30, "the watcher's mount", || fs::read_to_string(&file).is_ok_and(|mounted| mounted == published));
    }

    /// Offers a leaf of the live issuer as client certificate.
    fn accepts(&self, lab: &Lab, shown: Shown) -> bool {
        let [chain, key] = ["issuer.crt", "issuer.key"].map(|file| lab.secret(TRUST_BUNDLE, file));
        let sent = match shown {
            Shown::IssuerAlone => chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap_or_default(),
            Shown::WholeChain => &chain,
        };
        accepts(lab, &format!("{}:6500", self.address), [&chain, &key], sent)
    }
}
