//! Rotations that are killed and then taken back: the previous issuer signs, anchors stay, and no call fails.

use crate::cuts::{APPEND, APPEND_IN_PHASES};
use crate::lab::{Lab, TRUST_BUNDLE, User, certificates};
use crate::proxy::{Fault, Proxy};
use crate::rotations::RENEW;

const ABORT: [&str; 4] = ["renew-certificate", "-k", "--abort", "--yes"];

/// The writes up to the trust bundle, behind a fence. The first writes of Secrets are the record and the second half of
/// the trust bundle. Before the record there is nothing to go back from.
const UP_TO_THE_TRUST: [(&str, usize); 4] = [("secrets", 1), ("roles", 1), ("configmaps", 1), ("secrets", 2)];
/// Those after it: the issuer, who did it, the nudge, the record's end, and the fence's.
const TO_THE_END: [(&str, usize); 5] = [("secrets", 3), ("events", 1), ("pods", 1), ("secrets", 4), ("roles", 2)];

#[test]
#[ignore = "needs the lab"]
fn killed_at_any_write_a_bridge_is_taken_back() {
    let lab = Lab::calm(8);
    let proxy = Proxy::start(&lab, User::ClusterAdmin);
    for (kind, nth) in UP_TO_THE_TRUST.into_iter().chain(TO_THE_END) {
        is_taken_back(&lab, &proxy, kind, nth, &RENEW);
    }
    lab.restart_app("server");
    lab.restart_app("client");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn killed_at_any_write_an_append_is_taken_back() {
    let lab = Lab::calm(8);
    let proxy = Proxy::start(&lab, User::ClusterAdmin);
    for (kind, nth) in UP_TO_THE_TRUST.into_iter().chain([("pods", 1), ("roles", 2)]) {
        is_taken_back(&lab, &proxy, kind, nth, &APPEND_IN_PHASES);
    }
    lab.restart_app("server");
    lab.restart_app("client");
    lab.assert_no_failed_call();
}

/// Who has been restarted holds both roots, and so does everybody behind the switch: either issuer is accepted by all.
#[test]
#[ignore = "needs the lab"]
fn killed_at_a_restart_or_behind_its_switch_an_append_is_taken_back() {
    let lab = Lab::calm(8);
    let proxy = Proxy::start(&lab, User::ClusterAdmin);
    for (kind, nth) in [("deployments", 2), ("statefulsets", 1), ("applications", 1)] {
        is_taken_back(&lab, &proxy, kind, nth, &APPEND);
        lab.follow_new_pods();
    }
    for (kind, nth) in [("secrets", 1), ("events", 1), ("pods", 1), ("secrets", 2)] {
        let issuer = lab.secret(TRUST_BUNDLE, "issuer.crt");
        proxy.break_at_nth(&lab, Fault::KillBefore, "secrets", 3, &APPEND);
        lab.follow_new_pods();
        assert_eq!(lab.secret(TRUST_BUNDLE, "issuer.crt"), issuer, "it was killed behind its switch");
        lab.let_lock_run_out();
        let run = proxy.break_at_nth(&lab, Fault::KillAfter, kind, nth, &APPEND);
        assert_ne!(lab.secret(TRUST_BUNDLE, "issuer.crt"), issuer, "it was killed before its switch: {run}");
        is_aborted(&lab, &issuer);
    }
    lab.restart_app("client");
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

/// Kills a rotation after a write and aborts it.
#[track_caller]
fn is_taken_back(lab: &Lab, proxy: &Proxy, kind: &str, nth: usize, args: &[&str]) {
    let issuer = lab.secret(TRUST_BUNDLE, "issuer.crt");
    proxy.break_at_nth(lab, Fault::KillAfter, kind, nth, args);
    is_aborted(lab, &issuer);
}

/// Aborts what was killed, and asserts that an issuer signs as before.
#[track_caller]
fn is_aborted(lab: &Lab, issuer: &str) {
    let published = lab.secret(TRUST_BUNDLE, "ca.crt");
    lab.let_lock_run_out();
    let run = lab.mtls(&ABORT).succeeds();
    assert_eq!(lab.secret(TRUST_BUNDLE, "issuer.crt"), issuer, "another issuer signs: {run}");
    let stayed = lab.secret(TRUST_BUNDLE, "ca.crt");
    assert!(each(&published).all(|anchor| stayed.contains(anchor)), "an anchor left: {run}");
    assert!(lab.anchors() <= certificates(&published) + 1 && lab.record_status() != "open", "{run}");
    lab.until_unfenced();
    lab.assert_no_failed_call();
}

fn each(pem: &str) -> impl Iterator<Item = &str> {
    pem.split_inclusive("-----END CERTIFICATE-----\n")
}
