//! Runs that are killed, cut off or in each other's way. Sentry keeps its CA or has the new one, no call fails, the
//! next run completes, and no second CA is minted.

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::authority::{from_now, two_under_one_root};
use crate::chain::Chain;
use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE, User};
use crate::proxy::{Fault, Loss, Proxy};
use crate::rotations::RENEW;

#[test]
#[ignore = "needs the lab"]
fn cut_off_after_each_of_its_writes_a_rotation_completes() {
    cut_off(User::ClusterAdmin);
}

#[test]
#[ignore = "needs the lab"]
fn cut_off_after_each_of_its_writes_a_rotation_without_a_fence_completes() {
    cut_off(User::Ci);
}

fn cut_off(user: User) {
    let lab = Lab::calm(1);
    let (before, proxy) = (lab.anchors(), Proxy::start(&lab, user));
    settle_for(user, &lab);
    let run = proxy.lose_each(&lab, Loss::Cut, 10, &RENEW).succeeds();
    assert_eq!(lab.anchors(), before + 1, "a second CA was minted, or one was lost: {run}");
    lab.until_unfenced();
    assert_eq!(lab.record_status(), "done");
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

/// Run after run goes on where the one before was killed. What is published is written once.
#[test]
#[ignore = "needs the lab"]
fn killed_before_or_after_each_of_its_writes_a_rotation_completes() {
    let lab = Lab::calm(2);
    // The kubelets' timers begin anew, so that no mount is refreshed by itself before a run can do it.
    lab.nudge("app.kubernetes.io/part-of=dapr");
    let before = lab.anchors();
    let mut chain = Chain::start(&lab, User::ClusterAdmin, &RENEW);
    chain.kill(Fault::KillBefore, "leases");
    chain.kill(Fault::KillAfter, "leases");
    chain.kill(Fault::KillAfter, "secrets");
    chain.kill(Fault::KillAfter, "roles");
    // Behind the fence, beside a torn pair, Sentry exits at its next reload: a pod that is born now waits for the repair.
    chain.kill(Fault::KillAfter, "configmaps");
    lab.begin_restart("server");
    chain.kill(Fault::KillAfter, "secrets");
    lab.until_restarted("server");
    chain.kill(Fault::KillAfter, "roles");
    chain.kill(Fault::KillAfter, "secrets");
    lab.restart_app("server");
    chain.kill(Fault::KillAfter, "pods");
    chain.kill(Fault::KillAfter, "secrets");
    chain.ends(before + 1);

    chain.kill(Fault::KillAfter, "events");
    chain.kill(Fault::KillAfter, "secrets");
    chain.ends(before + 2);
}

#[test]
#[ignore = "needs the lab"]
fn without_the_right_to_fence_a_rotation_that_is_killed_after_each_of_its_writes_completes() {
    let lab = Lab::calm(1);
    lab.let_sentry_settle();
    let before = lab.anchors();
    let mut chain = Chain::start(&lab, User::Ci, &RENEW);
    chain.kill(Fault::KillAfter, "secrets");
    chain.kill(Fault::KillAfter, "configmaps");
    chain.kill(Fault::KillAfter, "secrets");
    lab.restart_app("server");
    chain.kill(Fault::KillAfter, "secrets");
    lab.restart_app("server");
    chain.kill(Fault::KillAfter, "secrets");
    chain.ends(before + 1);
}

/// Nobody can say whether the holder of a lock is dead or slow before its time is up.
#[test]
#[ignore = "needs the lab"]
fn the_lock_of_a_run_that_was_killed_is_taken_over_once_its_time_is_up() {
    let lab = Lab::calm(1);
    let (before, proxy) = (lab.anchors(), Proxy::start(&lab, User::ClusterAdmin));
    proxy.kill_at(&lab, "/api/v1/namespaces/dapr-system/secrets", &RENEW);
    let lease = || lab.get(&["-n", CONTROL_PLANE, "get", "lease", "mtls-rotation"])["spec"].clone();
    let time = |value: &Value| value.as_str().and_then(|text| text.parse::<Timestamp>().ok()).expect("a time");
    let dead = lease();
    let lasts = SignedDuration::from_secs(dead["leaseDurationSeconds"].as_i64().expect("a lock lasts"));
    let run = lab.mtls(&RENEW).succeeds();
    assert!(time(&lease()["acquireTime"]) >= time(&dead["renewTime"]) + lasts, "taken from one that may live: {run}");
    assert_eq!(lab.anchors(), before + 1);
    lab.assert_no_failed_call();
}

/// The first round is a bridge to a root of its own; in the others each run brings another issuer under that root, so
/// that no anchor is added and no round needs a fresh mesh.
#[test]
#[ignore = "needs the lab"]
fn of_two_runs_at_once_one_works_and_the_other_says_who() {
    let lab = Lab::calm(1);
    let trios = two_under_one_root(from_now(24 * 90));
    let flags = [("one", &trios[0]), ("two", &trios[1])].map(|(name, trio)| trio.flags(&lab, name));
    let args = flags.each_ref().map(|flags| {
        let flags = flags.iter().map(String::as_str);
        ["renew-certificate", "-k"].into_iter().chain(flags).collect::<Vec<_>>()
    });
    for round in 0..20 {
        let before = lab.secret(TRUST_BUNDLE, "issuer.key");
        let args = &args[round % 2];
        let runs = [lab.start_as(User::ClusterAdmin, args), lab.start_as(User::ClusterAdmin, args)];
        let [one, two] = runs.map(|run| lab.finish(run));
        let (works, other) = if one.code == Some(0) { (one, two) } else { (two, one) };
        assert_eq!(works.code, Some(0), "round {round}: none worked {works} {other}");
        assert_eq!(other.code, Some(1), "round {round}: {works} {other}");
        assert!(
            other.has("another mtls is at work") && other.has(" holds the lock"),
            "round {round}: it does not say who: {other}"
        );
        assert_ne!(lab.secret(TRUST_BUNDLE, "issuer.key"), before, "round {round}: one rotation {works} {other}");
    }
    lab.restart_app("server");
    lab.assert_no_failed_call();
    // Each rotation makes Sentry reload four times, two seconds apart: it will be at that for more than a minute.
    Lab::spoil();
}

/// The signal comes while the second write of the pair is on its way: that one is still made, and no further.
#[test]
#[ignore = "needs the lab"]
fn interrupted_between_the_two_writes_of_the_pair_a_run_leaves_it_whole() {
    let lab = Lab::calm(3);
    let proxy = Proxy::start(&lab, User::ClusterAdmin);
    for (signal, code) in [("INT", 130), ("TERM", 143), ("HUP", 129)] {
        let before = lab.anchors();
        let secret = "/api/v1/namespaces/dapr-system/secrets/dapr-trust-bundle";
        let run = proxy.interrupt_at(&lab, signal, secret, &RENEW).exits(code);
        assert!(run.has("the same command continues"), "it does not say how to go on: {run}");
        assert_eq!(lab.anchors(), before + 1, "the pair is whole: {run}");
        lab.until_unfenced();
        lab.mtls(&RENEW).succeeds();
        assert_eq!(lab.anchors(), before + 1, "the same rotation went on");
        lab.restart_app("server");
        lab.assert_no_failed_call();
    }
}

fn settle_for(user: User, lab: &Lab) {
    if user == User::Ci {
        lab.let_sentry_settle();
    }
}
