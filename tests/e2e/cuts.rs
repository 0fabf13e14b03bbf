//! Appends and prunes that are killed or hear nothing at each of their writes: the same command goes on, what is
//! published is written once, and no call fails.

use std::time::Duration;

use crate::chain::Chain;
use crate::lab::{Lab, TRUST_BUNDLE, User};
use crate::proxy::{Fault, Loss, Proxy};
use crate::prunes::PRUNE;
use crate::rotations::RENEW;

/// An append that restarts whatever it needs to.
pub const APPEND: [&str; 8] =
    ["renew-certificate", "-k", "--valid-until", "90", "--strategy", "append", "--restart=all", "--yes"];

/// An append that waits until somebody else has restarted the applications.
pub const APPEND_IN_PHASES: [&str; 6] = ["renew-certificate", "-k", "--valid-until", "90", "--strategy", "append"];

#[test]
#[ignore = "needs the lab"]
fn killed_after_each_of_its_writes_an_append_completes_and_restarts_nothing_twice() {
    let lab = Lab::calm(1);
    let (before, issuer) = (lab.anchors(), lab.secret(TRUST_BUNDLE, "issuer.crt"));
    let mut chain = Chain::start(&lab, User::ClusterAdmin, &APPEND);
    for kind in ["leases", "secrets", "roles", "configmaps", "secrets", "roles", "pods"] {
        chain.kill(Fault::KillAfter, kind);
    }
    for kind in ["deployments", "deployments", "statefulsets", "statefulsets", "deployments"] {
        chain.kill(Fault::KillAfter, kind);
    }
    chain.kill_in_a_wave();
    assert_eq!(lab.secret(TRUST_BUNDLE, "issuer.crt"), issuer, "switched before everybody held the new root");
    chain.kill(Fault::KillBefore, "secrets");
    chain.kill(Fault::KillAfter, "secrets");
    assert_ne!(lab.secret(TRUST_BUNDLE, "issuer.crt"), issuer, "not switched");
    for kind in ["pods", "secrets"] {
        chain.kill(Fault::KillAfter, kind);
    }
    chain.ends(before + 1);
}

#[test]
#[ignore = "needs the lab"]
fn where_each_answer_is_lost_an_append_and_a_prune_complete() {
    let lab = Lab::calm(1);
    let proxy = Proxy::start(&lab, User::ClusterAdmin);
    for (of_append, of_prune) in [(Loss::Cut, Loss::Unavailable), (Loss::Unavailable, Loss::Cut)] {
        let before = lab.anchors();
        proxy.lose_each(&lab, of_append, 15, &APPEND).succeeds();
        lab.follow_new_pods();
        assert_eq!((lab.record_status().as_str(), lab.anchors()), ("done", before + 1));
        lab.assert_no_failed_call();
        lab.mtls(&["restart", "-k", "--apps", "--yes"]).succeeds();
        lab.follow_new_pods();
        proxy.lose_each(&lab, of_prune, 10, &PRUNE).succeeds();
        assert_eq!((lab.record_status().as_str(), lab.anchors()), ("done", 1));
        lab.until_unfenced();
        lab.restart_app("server");
        lab.assert_no_failed_call();
    }
}

/// An abort puts back what went, so that each round begins where the one before it began. The last ones go on.
#[test]
#[ignore = "needs the lab"]
fn killed_after_any_write_a_prune_goes_back_or_on() {
    let lab = Lab::calm(8);
    let proxy = Proxy::start(&lab, User::ClusterAdmin);
    lab.mtls(&RENEW).succeeds();
    lab.mtls(&["restart", "-k", "--apps", "--yes"]).succeeds();
    lab.follow_new_pods();
    let published = || ["ca.crt", "issuer.crt"].map(|key| lab.secret(TRUST_BUNDLE, key));
    let before = published();
    // The record and the chain are the first two writes of Secrets, the bundle and the closed record the next two.
    for (kind, nth) in [("secrets", 1), ("secrets", 2), ("pods", 1), ("roles", 1), ("configmaps", 1), ("secrets", 3)] {
        let run = proxy.break_at_nth(&lab, Fault::KillAfter, kind, nth, &PRUNE);
        lab.let_lock_run_out();
        lab.mtls(&["status", "-k"]).says("a rotation (strategy prune) is open");
        lab.mtls(&["renew-certificate", "-k", "--abort", "--yes"]).succeeds();
        assert_eq!(published(), before, "{nth} of {kind}: {run}");
        lab.until_unfenced();
        lab.assert_no_failed_call();
    }
    drop(proxy);

    let mut chain = Chain::start(&lab, User::ClusterAdmin, &PRUNE);
    let bundle = format!("secrets/{TRUST_BUNDLE}");
    for kind in ["leases", "secrets", &bundle, "roles", "configmaps"] {
        chain.kill(Fault::KillAfter, kind);
    }
    // Sentry exits at each start, beside a torn pair and behind the fence: it cannot be waited for.
    let took = chain.kill(Fault::KillBefore, &bundle);
    assert!(took < Duration::from_secs(20), "the pair stays torn for {took:?}");
    for kind in [&bundle, "roles"] {
        chain.kill(Fault::KillAfter, kind);
    }
    lab.mtls(&PRUNE).succeeds();
    chain.is_done(1);
}
