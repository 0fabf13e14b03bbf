//! Runs that are killed, cut off or in each other's way. Sentry keeps its CA or has the new one, no call fails, the
//! next run completes, and no second CA is minted.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::authority::{from_now, two_under_one_root};
use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE, User};
use crate::proxy::{Fault, Position, Proxy, Write};
use crate::prunes::PRUNE;
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
    break_at_every_write(User::ClusterAdmin, &[Fault::KillBefore, Fault::KillAfter]);
}

#[test]
#[ignore = "needs the lab"]
fn without_the_right_to_fence_a_run_that_is_killed_or_cut_off_completes() {
    break_at_every_write(User::Ci, &[Fault::CutAfter, Fault::KillAfter]);
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
        assert!(other.has("mtls-cluster-admin") && other.has("another"), "round {round}: it does not say who: {other}");
        assert_ne!(lab.secret(TRUST_BUNDLE, "issuer.key"), before, "round {round}: one rotation {works} {other}");
    }
    lab.restart_app("server");
    lab.assert_no_failed_call();
    // Each rotation makes Sentry reload four times, two seconds apart: it will be at that for more than a minute.
    Lab::spoil();
}

/// An abort puts back what went, so that each round begins where the one before it began; the last one goes on.
#[test]
#[ignore = "needs the lab"]
fn killed_after_any_write_a_prune_goes_back_or_on() {
    let lab = Lab::calm(8);
    let proxy = Proxy::start(&lab, User::ClusterAdmin);
    make_prunable(&lab);
    let whole = proxy.record(&lab, &PRUNE);
    make_prunable(&lab);
    let published = || ["ca.crt", "issuer.crt"].map(|key| lab.secret(TRUST_BUNDLE, key));
    let before = published();
    let is_retired = |position: &&Position| position.write.kind == "secrets" && position.write.name == TRUST_BUNDLE;
    let mut positions = positions(&whole, User::ClusterAdmin);
    let last = positions.iter().rfind(is_retired).expect("the anchor is retired by a write").clone();
    positions.retain(|position| (&position.write, position.nth) != (&last.write, last.nth));
    for position in &positions {
        let run = proxy.break_at(&lab, Fault::KillAfter, position, &PRUNE);
        lab.let_lock_run_out();
        match lab.record_status().as_str() {
            "open" => drop(lab.mtls(&["renew-certificate", "-k", "--abort", "--yes"]).succeeds()),
            _ if published() != before => {
                assert_eq!(lab.anchors(), 1, "{position}: it was done: {run}");
                make_prunable(&lab);
                break;
            }
            _ => {}
        }
        assert_eq!(published(), before, "{position}: {run}");
        assert!(lab.sentry_may("update"), "{position}: the fence still stands");
        lab.assert_no_failed_call();
    }
    proxy.break_at(&lab, Fault::KillAfter, &last, &PRUNE);
    lab.let_lock_run_out();
    lab.mtls(&["status", "-k"]).says("a rotation (strategy prune) is open");
    lab.mtls(&PRUNE).succeeds();
    assert_eq!(lab.anchors(), 1);
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

/// A rotation, and everything restarted into it.
fn make_prunable(lab: &Lab) {
    lab.mtls(&RENEW).succeeds();
    lab.restart_app("server");
    lab.restart_app("client");
    lab.mtls(&["restart", "-k"]).succeeds();
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
    let whole = proxy.record(&lab, &RENEW);
    for (kind, name) in [
        ("leases", "mtls-rotation"),
        ("secrets", "mtls-rotation"),
        ("configmaps", TRUST_BUNDLE),
        ("secrets", TRUST_BUNDLE),
    ] {
        let written = whole.iter().any(|write| write.kind == kind && (write.name == name || write.name.is_empty()));
        assert!(written, "{kind}/{name} is not written: {whole:?}");
    }
    let mut superfluous = Vec::new();
    for fault in faults {
        let mut positions = positions(&whole, user);
        match fault {
            Fault::KillBefore => positions.truncate(1),
            // The record, whose lost answer the fence has no part in.
            Fault::CutAfter if user == User::Ci => drop(positions.remove(0)),
            Fault::CutAfter | Fault::KillAfter => {}
        }
        for position in positions {
            lab.make_room(1);
            settle_for(user, &lab);
            superfluous.extend(break_one(&lab, &proxy, *fault, &position, &whole));
        }
        lab.restart_app("server");
        lab.assert_no_failed_call();
    }
    assert!(superfluous.is_empty(), "the next run made more writes than were missing: {superfluous:#?}");
}

/// All writes; but of the nudges, which come all at once, and of the lock's, which is renewed while it is held, only
/// the first and the last. Without a fence only what it would guard, from the record before the pair to the issuer:
/// the other writes are the same for every caller.
fn positions(whole: &[Write], user: User) -> Vec<Position> {
    let mut positions = Position::of_all(whole);
    let last = |kind: &str| whole.iter().filter(|write| write.kind == kind).count();
    let ends = |position: &Position| position.nth == 1 || position.nth == last(&position.write.kind);
    positions.retain(|position| !["pods", "leases"].contains(&position.write.kind.as_str()) || ends(position));
    if user == User::Ci {
        positions.retain(|position| match position.write.kind.as_str() {
            "configmaps" => true,
            "secrets" => position.nth < last("secrets"),
            _ => false,
        });
    }
    positions
}

fn settle_for(user: User, lab: &Lab) {
    if user == User::Ci {
        lab.let_sentry_settle();
    }
}

/// Breaks one rotation at one of its writes; the next run completes it. Returns what was written if that is not, over
/// both runs, what one undisturbed run writes.
fn break_one(lab: &Lab, proxy: &Proxy, fault: Fault, position: &Position, whole: &[Write]) -> Option<String> {
    let before = lab.anchors();
    let (kept, key) = (lab.secret(TRUST_BUNDLE, "issuer.crt"), lab.secret(TRUST_BUNDLE, "issuer.key"));
    let run = proxy.break_at(lab, fault, position, &RENEW);
    figure(format!("{fault:?} at {position}: ended with {:?} after {:.1} s", run.code, run.took.as_secs_f64()));
    let finished = lab.record_status() == "done" && lab.secret(TRUST_BUNDLE, "issuer.crt") != kept;
    assert!(finished || run.code != Some(0), "{position}: it says that it worked: {run}");
    // A pod is born between the two runs. Behind a fence, beside a torn pair, Sentry exits at its next reload, so that
    // the pod may have to wait for the second run.
    let is_born = fault == Fault::KillAfter && position.write.name == TRUST_BUNDLE;
    if fault == Fault::KillAfter {
        lab.let_lock_run_out();
    }
    if is_born {
        lab.begin_restart("server");
    }
    if !finished {
        lab.finish(lab.start_with(proxy.access(), &RENEW)).succeeds();
    }
    if is_born {
        lab.until_restarted("server");
    }
    let (written, wanted) = (proxy.writes(), counts(whole));
    let written = counts(&written);
    // Where the answer was lost, the same request goes out again; the nudges share their connection.
    let again = |kind: &str, count: usize| match (fault, kind == position.write.kind) {
        (Fault::CutAfter, true) if kind == "pods" => count,
        (Fault::CutAfter, true) => 1,
        _ => 0,
    };
    let most = |kind: &str| wanted.get(kind).map_or(0, |count| count + again(kind, *count));
    let superfluous = written.iter().any(|(kind, count)| *count > most(kind));
    assert_eq!(lab.anchors(), before + 1, "{position}: a second CA was minted, or one was lost: {run}");
    assert_ne!(lab.secret(TRUST_BUNDLE, "issuer.key"), key, "{position}: not switched: {run}");
    assert!(lab.sentry_may("update"), "{position}: the fence still stands: {run}");
    lab.assert_no_failed_call();
    superfluous.then(|| format!("{fault:?} at {position}: {written:?} instead of {wanted:?}"))
}

/// How often each kind of object was written. Each run takes the lock and, where it must, the fence anew.
fn counts(writes: &[Write]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for write in writes.iter().filter(|write| !["leases", "roles"].contains(&write.kind.as_str())) {
        *counts.entry(write.kind.as_str()).or_default() += 1;
    }
    counts
}
