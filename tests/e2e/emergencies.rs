//! What has gone wrong already: CAs that were replaced, invented, torn or left to expire, and what brings calls back.

use serde_json::{Value, json};

use crate::authority::{ends, from_now, stranger, yesterday};
use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE};
use crate::rotations::RENEW;
use crate::traffic::roll;
use crate::wait::until;

/// The negative control: this harness sees failures where there are some.
#[test]
#[ignore = "needs the lab"]
fn an_abrupt_replacement_is_seen() {
    let lab = Lab::calm(0);
    let run = lab.mtls(&[&RENEW[..], &["--strategy", "replace", "--yes"]].concat());
    assert_eq!(lab.anchors(), 1, "the old root is gone: {run}");
    roll(&lab, "server");
    until(60, "failed calls", || !lab.failed_calls().is_empty());
    until(60, "refused handshakes", || !lab.refused_handshakes().is_empty());
    roll(&lab, "client");
    lab.assert_calls_flow();
}

#[test]
#[ignore = "needs the lab"]
fn after_sentry_invented_a_ca_one_rotation_and_the_restarts_it_names_bring_all_calls_back() {
    let lab = Lab::calm(2);
    lab.mtls(&RENEW).succeeds();
    let kept = lab.secret(TRUST_BUNDLE, "ca.crt");
    let invented = lab.let_sentry_invent(&stranger());
    assert!(!kept.contains(&invented), "Sentry took a CA of its own");
    // A control plane of the invented CA, without which no pod could be born under it.
    lab.restart_control_plane(&invented);
    roll(&lab, "server");
    until(40, "failed calls: the server's SVID is of the invented CA", || !lab.failed_calls().is_empty());
    lab.mtls(&["status", "-k"]).says("Sentry has invented a CA").says("apps/client-");

    let run = lab.mtls(&[&RENEW[..], &["-o", "json"]].concat());
    let named = to_restart(&run.json());
    assert!(named.contains(&("apps".to_owned(), "deploy/server".to_owned())), "it names the server: {run}");
    let published = lab.secret(TRUST_BUNDLE, "ca.crt");
    assert!(published.contains(&invented) && published.contains(&kept), "both sides stay trusted");
    for (namespace, workload) in named {
        lab.until_injected();
        lab.kubectl(&["-n", &namespace, "rollout", "restart", &workload]);
        lab.kubectl(&["-n", &namespace, "rollout", "status", &workload, "--timeout=120s"]);
    }
    lab.assert_calls_flow();
    lab.traffic.borrow_mut().begin(&lab);
    lab.restart_app("server");
    lab.restart_app("client");
    lab.assert_no_failed_call();
}

/// Nobody was restarted while the invented CA was the live one, so that nobody is to be restarted now.
#[test]
#[ignore = "needs the lab"]
fn a_restore_brings_the_kept_ca_back_before_a_call_fails() {
    let lab = Lab::calm(2);
    lab.mtls(&RENEW).succeeds();
    let (kept, key) = (lab.secret(TRUST_BUNDLE, "ca.crt"), lab.secret(TRUST_BUNDLE, "issuer.key"));
    let invented = lab.let_sentry_invent(&stranger());
    lab.mtls(&["status", "-k"]).says("`mtls restore -k`");

    let run = lab.mtls(&["restore", "-k"]).succeeds().says("The CA on record signs again");
    assert_eq!(lab.secret(TRUST_BUNDLE, "issuer.key"), key, "no new issuer: {run}");
    assert_eq!(lab.secret(TRUST_BUNDLE, "ca.crt"), format!("{kept}{invented}"), "both sides stay trusted: {run}");
    let mark = lab.mark();
    lab.mtls(&["restore", "-k"]).succeeds().says("Nothing to restore");
    assert!(lab.writes(mark).is_empty(), "once is enough: {:?}", lab.writes(mark));
    lab.restart_app("server");
    lab.restart_app("client");
    lab.assert_no_failed_call();
}

/// The kept CA's key is gone, so that no certificate can be made that pods of both sides accept.
#[test]
#[ignore = "needs the lab"]
fn without_a_record_it_says_whom_an_invented_ca_has_cut_off_before_it_goes_on() {
    let lab = Lab::calm(1);
    let invented = lab.let_sentry_invent(&stranger());
    lab.kubectl(&["-n", CONTROL_PLANE, "delete", "secret", "mtls-rotation", "--ignore-not-found"]);
    lab.restart_control_plane(&invented);
    roll(&lab, "server");
    until(40, "failed calls: the client holds only the kept root", || !lab.failed_calls().is_empty());

    let run = lab.mtls(&RENEW);
    let (warned, _) = run.stderr.split_once("publish the trust bundle").expect("it goes on");
    assert!(warned.contains("apps/client-"), "it does not say who is cut off: {run}");
    for app in ["server", "client"] {
        roll(&lab, app);
    }
    lab.assert_calls_flow();
    lab.traffic.borrow_mut().begin(&lab);
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn an_expired_ca_is_replaced_by_one_command() {
    let lab = Lab::calm(0);
    lab.replace_ca(&ends(yesterday()));
    lab.kubectl(&["-n", CONTROL_PLANE, "delete", "pods", "--all", "--grace-period=1"]);
    until(60, "Sentry to fail on the expired CA", || lab.sentry_has_failed());
    lab.mtls(&["status", "-k"]).says("expired");

    let run = lab.mtls(&[&RENEW[..], &["--yes"]].concat()).exits(4);
    lab.until_control_plane_is_ready();
    assert!(
        run.stdout.contains("deploy/server") && run.stdout.contains("deploy/client"),
        "it names whom to restart: {run}"
    );
    for app in ["server", "client"] {
        roll(&lab, app);
    }
    lab.assert_calls_flow();
    lab.traffic.borrow_mut().begin(&lab);
    lab.mtls(&RENEW).succeeds();
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn a_torn_pair_is_named_and_repaired_while_calls_go_on() {
    let lab = Lab::calm(2);
    let (stranger, anchors) = (stranger(), lab.anchors());
    lab.tear_quietly(&stranger);
    lab.mtls(&["status", "-k"]).says("not equal");
    lab.mtls(&RENEW).succeeds();
    assert_eq!(lab.anchors(), anchors + 1, "the stray anchor is not promoted");
    assert!(!lab.secret(TRUST_BUNDLE, "ca.crt").contains(&stranger));
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn a_fence_that_was_left_behind_is_named_and_removed() {
    let lab = Lab::calm(1);
    let rights = || lab.get(&["-n", CONTROL_PLANE, "get", "role", "dapr-sentry"])["rules"].clone();
    let before = rights();
    let proxy = crate::proxy::Proxy::start(&lab, crate::lab::User::ClusterAdmin);
    // Killed with its first write to the ConfigMap in flight: fenced, nothing written.
    proxy.kill_at(&lab, "/api/v1/namespaces/dapr-system/configmaps/", &RENEW);
    assert!(!lab.sentry_may("update"), "the fence stands");
    lab.mtls(&["status", "-k"]).says("was taken away by a run that was killed");
    lab.mtls(&RENEW).succeeds();
    assert_eq!(rights(), before, "the Role is as Dapr's chart has it");
    lab.until_unfenced();
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn the_nightly_job_leaves_a_fresh_ca_alone_and_names_pods_that_need_an_old_root() {
    let nightly = ["renew-certificate", "-k", "--if-expires-within", "30d"];
    let lab = Lab::calm(0);
    let mark = lab.mark();
    lab.mtls(&nightly).succeeds().says("nothing is due");
    assert!(lab.writes(mark).is_empty(), "a night without work: {:?}", lab.writes(mark));

    lab.install_ca(&ends(from_now(36)));
    lab.mtls(&RENEW).succeeds();
    let mark = lab.mark();
    let run = lab.mtls(&nightly).exits(3);
    assert!(run.has("apps/server-") && run.has("apps/client-"), "it names who needs the old root: {run}");
    assert!(lab.writes(mark).is_empty(), "it only tells: {:?}", lab.writes(mark));
    lab.restart_app("server");
    lab.restart_app("client");
    let mark = lab.mark();
    let run = lab.mtls(&nightly);
    assert!(!run.has("apps/server-") && !run.has("apps/client-"), "they have been restarted: {run}");
    assert!(lab.writes(mark).is_empty());
    lab.assert_no_failed_call();
    assert_eq!(json!(run.code), json!(0), "{run}");
}

/// The workloads whose SVIDs come from the invented CA, by namespace, in the order in which they are named.
fn to_restart(report: &Value) -> Vec<(String, String)> {
    let left = report["left"].as_array().cloned().unwrap_or_default();
    let mut named = Vec::new();
    for pod in left.iter().filter(|left| left["concern"] == "invented-svid") {
        let namespace =
            pod["name"].as_str().and_then(|name| name.split_once('/')).map_or("", |(namespace, _)| namespace);
        let workload = (namespace.to_owned(), pod["restart"].as_str().unwrap_or_default().to_owned());
        if !named.contains(&workload) {
            named.push(workload);
        }
    }
    named
}
