//! Rotations under traffic: whatever is restarted and in whatever order, no call fails because of a certificate.

use serde_json::Value;

use crate::authority::Recipe;
use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE, User};
use crate::restarts::ORDER;
use crate::run::Run;
use crate::traffic::stays;

/// The main job, as an operator types it.
pub const RENEW: [&str; 4] = ["renew-certificate", "-k", "--valid-until", "90"];

#[test]
#[ignore = "needs the lab"]
fn three_in_a_row_fail_no_call() {
    let lab = Lab::calm(3);
    let before = lab.anchors();
    for _ in 0..3 {
        let run = lab.mtls(&RENEW).succeeds();
        assert!(run.stdout.contains("Certificate rotation is successful!"), "{run}");
        lab.restart_app("server");
    }
    lab.restart_app("client");
    lab.assert_no_failed_call();
    assert_eq!(lab.anchors(), before + 3, "no anchor leaves but by prune");
}

#[test]
#[ignore = "needs the lab"]
fn three_with_two_sentry_replicas_and_a_restart_of_the_control_plane_fail_no_call() {
    let lab = Lab::calm(3);
    let scale = |replicas: &str| {
        lab.kubectl(&["-n", CONTROL_PLANE, "scale", "deploy/dapr-sentry", "--replicas", replicas]);
        lab.kubectl(&["-n", CONTROL_PLANE, "rollout", "status", "deploy/dapr-sentry", "--timeout=60s"]);
    };
    scale("2");
    for _ in 0..3 {
        let before = control_plane_pods(&lab);
        let run = lab.mtls(&[&RENEW[..], &["--restart"]].concat()).succeeds();
        let told: Vec<usize> =
            ORDER.iter().filter_map(|(_, name)| run.stderr.find(&format!("restart {name}"))).collect();
        assert!(told.len() == ORDER.len() && told.is_sorted(), "not restarted in order: {run}");
        let after = control_plane_pods(&lab);
        assert!(after.iter().all(|pod| !before.contains(pod)), "left as it was: {before:?} {after:?} {run}");
    }
    lab.restart_app("server");
    lab.restart_app("client");
    scale("1");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn a_private_key_twice_on_top_of_a_bridge_fails_no_call() {
    let lab = Lab::calm(3);
    Recipe::root(&lab);
    let key = lab.path("root.key");
    let json = ["-o", "json"];
    let with_key = [&RENEW[..], &["--private-key", &key], &json].concat();
    let mut strategies = Vec::new();
    for args in [[&RENEW[..], &json].concat(), with_key.clone(), with_key] {
        let run = lab.mtls(&args).succeeds();
        strategies.push(run.json()["strategy"].clone());
        lab.restart_app("server");
    }
    assert_eq!(strategies, ["bridge", "bridge", "same-key"]);
    lab.restart_app("client");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn an_abort_after_the_switch_fails_no_call() {
    let lab = Lab::calm(1);
    let (issuer, anchors) = (lab.secret(TRUST_BUNDLE, "issuer.crt"), lab.anchors());
    lab.mtls(&RENEW).succeeds();
    assert_ne!(lab.secret(TRUST_BUNDLE, "issuer.crt"), issuer);
    lab.restart_app("server");
    lab.mtls(&["renew-certificate", "-k", "--abort", "--yes"]).succeeds();
    assert_eq!(lab.secret(TRUST_BUNDLE, "issuer.crt"), issuer, "the previous issuer is back");
    assert_eq!(lab.anchors(), anchors + 1, "anchors stay");
    lab.restart_app("client");
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn certificates_of_daprs_openssl_recipe_are_bridged_then_renewed_and_where_that_cannot_be_appended_to() {
    let lab = Lab::calm(2);
    let recipe = Recipe::root(&lab);
    recipe.issuer("one");
    recipe.issuer("two");

    let run = give(&lab, &recipe, "one").succeeds();
    assert_eq!(run.json()["strategy"], "bridge", "{run}");
    lab.restart_app("server");
    let run = give(&lab, &recipe, "two").succeeds();
    assert_eq!(run.json()["strategy"], "issuer", "{run}");
    lab.restart_app("server");

    let append = [&RENEW[..], &["--restart"]].concat();
    let (secret, map) = (bundle(&lab, "secret"), bundle(&lab, "configmap"));
    lab.mtls(&[&append[..], &["--dry-run"]].concat()).succeeds().says("Would use strategy append");
    assert_eq!((bundle(&lab, "secret"), bundle(&lab, "configmap")), (secret, map), "nothing was changed");

    let issuer = lab.secret(TRUST_BUNDLE, "issuer.crt");
    let run = lab.mtls(&append).exits(4).says("strategy append").says("deploy/server").says("deploy/client");
    assert!(run.has("allows 0 further certificates below it"), "it does not say why: {run}");
    lab.restart_app("client");
    let run = lab.mtls(&append).exits(4).says("deploy/server");
    assert!(!run.has("deploy/client"), "it holds the new root: {run}");
    assert_eq!(lab.secret(TRUST_BUNDLE, "issuer.crt"), issuer, "not before everybody holds the new root");
    lab.restart_app("server");
    lab.mtls(&append).succeeds();
    assert_ne!(lab.secret(TRUST_BUNDLE, "issuer.crt"), issuer);
    lab.restart_app("server");
    lab.restart_app("client");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn the_ci_account_gets_the_same_result_without_a_fence() {
    let lab = Lab::calm(1);
    lab.let_sentry_settle();
    let anchors = lab.anchors();
    let run = lab.mtls_as(User::Ci, &[&RENEW[..], &["--restart"]].concat()).succeeds();
    assert!(run.has("not fenced"), "it says that it could not fence: {run}");
    assert_eq!(lab.anchors(), anchors + 1);
    lab.mtls_as(User::Ci, &["status", "-k"]).succeeds();
    lab.restart_app("server");
    lab.restart_app("client");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn status_says_what_is_true_before_and_after() {
    let lab = Lab::calm(1);
    let layers = |status: &Value| {
        let all = status["certificates"].as_array().cloned().unwrap_or_default();
        all.iter().filter(|layer| layer["layer"] == "trust anchor").count()
    };
    let status = || lab.mtls(&["status", "-k", "-o", "json"]).succeeds().json();
    let before = layers(&status());
    assert_eq!(before, lab.anchors());
    lab.mtls(&RENEW).succeeds();
    assert_eq!(layers(&status()), before + 1);
    let text = lab.mtls(&["status", "-k"]).succeeds();
    let columns = ["NAME", "NAMESPACE", "HEALTHY", "STATUS", "REPLICAS", "VERSION", "AGE", "CREATED"];
    let head: Vec<&str> = text.stdout.lines().next().unwrap_or_default().split_whitespace().collect();
    assert_eq!(head, columns, "{text}");
    lab.mtls(&["-k"]).succeeds().says("Mutual TLS is enabled in your Kubernetes cluster");
    lab.assert_no_failed_call();
}

fn give(lab: &Lab, recipe: &Recipe, issuer: &str) -> Run {
    let flags = recipe.flags(issuer);
    let mut args = vec!["renew-certificate", "-k", "-o", "json"];
    args.extend(flags.iter().map(String::as_str));
    lab.mtls(&args)
}

fn bundle(lab: &Lab, kind: &str) -> Value {
    lab.get(&["-n", CONTROL_PLANE, "get", kind, TRUST_BUNDLE])
}

/// The pods of the control plane that stay.
fn control_plane_pods(lab: &Lab) -> Vec<String> {
    let mut pods = lab.pods(CONTROL_PLANE, "");
    pods.retain(stays);
    pods.iter().filter_map(|pod| pod["metadata"]["uid"].as_str().map(str::to_owned)).collect()
}
