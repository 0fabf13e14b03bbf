//! Runs that are killed, cut off or in each other's way. Sentry keeps its CA or has the new one, no call fails, the
//! next run completes, and no second CA is minted.

use crate::lab::{Lab, TRUST_BUNDLE, User};
use crate::proxy::{Fault, Proxy};
use crate::rotations::RENEW;
use crate::wait::figure;

#[test]
#[ignore = "needs the lab"]
fn cut_off_after_any_write_a_rotation_completes() {
    break_at_every_write(User::ClusterAdmin, &[Fault::CutAfter]);
}

/// What a kill leaves behind is what has been written. So a kill after each write, and one before the first, cover
/// the kills before each write too.
#[test]
#[ignore = "needs the lab"]
fn killed_before_or_after_any_write_the_next_run_completes() {
    let lab = Lab::calm(1);
    let proxy = Proxy::start(&lab, User::ClusterAdmin);
    break_one(&lab, &proxy, Fault::KillBefore, 1, true);
    drop((proxy, lab));
    break_at_every_write(User::ClusterAdmin, &[Fault::KillAfter]);
}

#[test]
#[ignore = "needs the lab"]
fn without_the_right_to_fence_a_run_that_is_killed_or_cut_off_completes() {
    break_at_every_write(User::Ci, &[Fault::CutAfter, Fault::KillAfter]);
}

#[test]
#[ignore = "needs the lab"]
fn of_two_runs_at_once_one_works_and_the_other_says_who() {
    let lab = Lab::calm(1);
    for round in 1..=20 {
        lab.make_room(1);
        let before = lab.anchors();
        let runs = [lab.start_as(User::ClusterAdmin, &RENEW), lab.start_as(User::ClusterAdmin, &RENEW)];
        let [one, two] = runs.map(|run| lab.finish(run));
        let (works, other) = if one.code == Some(0) { (one, two) } else { (two, one) };
        assert_eq!(works.code, Some(0), "round {round}: none worked {works} {other}");
        assert_eq!(other.code, Some(1), "round {round}: {works} {other}");
        assert!(other.has("mtls-cluster-admin") && other.has("another"), "round {round}: it does not say who: {other}");
        assert_eq!(lab.anchors(), before + 1, "round {round}: one rotation {works} {other}");
    }
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

/// The signal comes while the second write of the pair is on its way: that one is still made, and no further.
#[test]
#[ignore = "needs the lab"]
fn interrupted_between_the_two_writes_of_the_pair_a_run_leaves_it_whole() {
    let lab = Lab::calm(1);
    let (before, proxy) = (lab.anchors(), Proxy::start(&lab, User::ClusterAdmin));
    let run = proxy.interrupt_at(&lab, "/api/v1/namespaces/dapr-system/secrets/dapr-trust-bundle", &RENEW).exits(130);
    assert!(run.has("the same command continues"), "it does not say how to go on: {run}");
    assert_eq!(lab.anchors(), before + 1, "the pair is whole: {run}");
    assert!(lab.sentry_may("update"), "the fence still stands: {run}");
    lab.restart_app("server");
    lab.mtls(&RENEW).succeeds();
    assert_eq!(lab.anchors(), before + 1, "the same rotation went on");
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

/// Breaks one rotation after another, each at another write.
fn break_at_every_write(user: User, faults: &[Fault]) {
    let lab = Lab::calm(1);
    let proxy = Proxy::start(&lab, user);
    settle_for(user, &lab);
    let writes = proxy.record(&lab, &RENEW);
    let objects =
        ["leases/mtls-rotation", "secrets/mtls-rotation", "configmaps/dapr-trust-bundle", "secrets/dapr-trust-bundle"];
    for object in objects {
        assert!(writes.iter().any(|what| what.ends_with(object)), "{object} is not written: {writes:?}");
    }
    for fault in faults {
        for at in positions(&writes) {
            lab.make_room(1);
            settle_for(user, &lab);
            break_one(&lab, &proxy, *fault, at, false);
        }
    }
}

/// All writes, from 1, but of the nudges, which come all at once, only the first and the last.
fn positions(writes: &[String]) -> Vec<usize> {
    let nudge = |at: usize| writes.get(at).is_some_and(|what| what.contains("/pods/"));
    let inner = |at: usize| nudge(at) && at > 0 && nudge(at - 1) && nudge(at + 1);
    (0..writes.len()).filter(|at| !inner(*at)).map(|at| at + 1).collect()
}

fn settle_for(user: User, lab: &Lab) {
    if user == User::Ci {
        lab.let_sentry_settle();
    }
}

/// Breaks one rotation at its `at`-th write; the next run finds the lock of one that was killed as it is if `honest`,
/// else run out already.
fn break_one(lab: &Lab, proxy: &Proxy, fault: Fault, at: usize, honest: bool) {
    let before = lab.anchors();
    let (kept, key) = (lab.secret(TRUST_BUNDLE, "issuer.crt"), lab.secret(TRUST_BUNDLE, "issuer.key"));
    let (run, what) = proxy.break_at(lab, fault, at, &RENEW);
    figure(format!("{fault:?} at {at}, {what}: ended with {:?} after {:.1} s", run.code, run.took.as_secs_f64()));
    let finished = lab.record_status() == "done" && lab.secret(TRUST_BUNDLE, "issuer.crt") != kept;
    assert!(finished || run.code != Some(0), "{what}: it says that it worked: {run}");
    if fault != Fault::CutAfter && !honest {
        lab.let_lock_run_out();
    }
    if !finished {
        lab.finish(lab.start_with(proxy.access(), &RENEW)).succeeds();
    }
    assert_eq!(lab.anchors(), before + 1, "{what}: a second CA was minted, or one was lost: {run}");
    assert_ne!(lab.secret(TRUST_BUNDLE, "issuer.key"), key, "{what}: not switched: {run}");
    assert!(lab.sentry_may("update"), "{what}: the fence still stands: {run}");
    if what.ends_with(TRUST_BUNDLE) {
        lab.restart_app("server");
    }
    lab.assert_no_failed_call();
}
