//! `mtls restart`: in order, each complete before the next, and no call fails meanwhile.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::bindings::Bindings;
use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE, User};
use crate::prunes::PRUNE;
use crate::rotations::RENEW;
use crate::run::Run;
use crate::traffic::stays;
use crate::wait::until;

/// The control plane in the order in which it is restarted.
pub const ORDER: [(&str, &str); 5] = [
    ("deployment", "dapr-sentry"),
    ("deployment", "dapr-operator"),
    ("statefulset", "dapr-placement-server"),
    ("statefulset", "dapr-scheduler-server"),
    ("deployment", "dapr-sidecar-injector"),
];

#[test]
#[ignore = "needs the lab"]
fn each_service_is_complete_before_the_next_is_restarted_and_no_call_fails() {
    let lab = Lab::calm(0);
    // The annotation and the condition have whole seconds.
    let began = Timestamp::from_second(Timestamp::now().as_second()).expect("a second has a start");
    lab.mtls(&["restart", "-k"]).succeeds().says("All control plane services have restarted successfully!");
    let mut ready = began;
    for (kind, name) in ORDER {
        let restarted = restarted_at(&lab, kind, name).expect("kubectl's annotation is there");
        assert!(restarted >= ready, "{name} was restarted at {restarted}, and the one before was ready at {ready}");
        ready = newest_is_ready_at(&lab, name);
    }
    lab.assert_no_failed_call();
}

/// The operator's mount is made one that no kubelet refreshes; then it holds the root that it was started with.
#[test]
#[ignore = "needs the lab"]
fn stale_restarts_only_what_does_not_hold_the_live_trust_and_nothing_the_second_time() {
    let lab = Lab::calm(1);
    let mounts = |path: &str, sub: &str| {
        let mount = json!([
            {"op": "replace", "path": "/spec/template/spec/containers/0/volumeMounts/0/mountPath", "value": path},
            {"op": "add", "path": "/spec/template/spec/containers/0/volumeMounts/0/subPath", "value": sub},
        ]);
        let patch = mount.to_string();
        lab.kubectl(&["-n", CONTROL_PLANE, "patch", "deploy", "dapr-operator", "--type", "json", "-p", &patch]);
        lab.kubectl(&["-n", CONTROL_PLANE, "rollout", "status", "deploy/dapr-operator", "--timeout=60s"]);
        lab.until_control_plane_is_ready();
    };
    mounts("/var/run/secrets/dapr.io/tls/ca.crt", "ca.crt");
    lab.mtls(&[&RENEW[..], &["--propagation-wait", "20"]].concat()).succeeds().says("dapr-operator");

    let mark = lab.mark();
    let run = lab.mtls(&["restart", "-k", "--stale"]).succeeds();
    assert_eq!(restarted(&lab, mark), ["dapr-operator"], "{run}");
    let mark = lab.mark();
    let run = lab.mtls(&["restart", "-k", "--stale"]).succeeds();
    assert!(restarted(&lab, mark).is_empty(), "the second time: {run}");
    mounts("/var/run/secrets/dapr.io/tls", "");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn what_cannot_be_restarted_is_named_before_anything_is() {
    let lab = Lab::calm(0);
    let rollout = |verb: &str| lab.kubectl(&["-n", CONTROL_PLANE, "rollout", verb, "deploy/dapr-operator"]);
    let placement_changes = |strategy: &str| {
        let patch = json!({"spec": {"updateStrategy": {"type": strategy, "rollingUpdate": null}}});
        lab.patch("statefulset", "dapr-placement-server", &patch);
    };
    rollout("pause");
    stops_at(&lab, &["restart", "-k"], 1, &[]).says("dapr-operator").says("paused");
    rollout("resume");
    placement_changes("OnDelete");
    stops_at(&lab, &["restart", "-k"], 1, &[]).says("dapr-placement-server").says("OnDelete");
    placement_changes("RollingUpdate");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn a_rollout_that_does_not_end_stops_it_and_is_named() {
    let lab = Lab::calm(0);
    let nodes = |verb: &str| lab.kubectl(&[verb, "--selector", "kubernetes.io/hostname"]);
    nodes("cordon");
    stops_at(&lab, &["restart", "-k", "--timeout", "5"], 4, &["dapr-sentry"]).says("the rollout of dapr-sentry");
    nodes("uncordon");
    lab.until_control_plane_is_ready();
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn an_append_that_restarts_everything_switches_by_itself_and_fails_no_call() {
    let lab = Lab::calm(1);
    let (issuer, pods) = (lab.secret(TRUST_BUNDLE, "issuer.crt"), app_pods(&lab));
    let append = [&RENEW[..], &["--strategy", "append", "--restart=all"]].concat();
    lab.mtls(&append).exits(2).says("--yes");
    let run = lab.mtls(&[&append[..], &["--yes"]].concat()).succeeds();
    for app in ["client", "server"] {
        assert!(run.has(&format!("restart apps/deploy/{app}")), "{app} is not told of: {run}");
    }
    assert!(app_pods(&lab).iter().all(|pod| !pods.contains(pod)), "left as it was: {run}");
    assert_ne!(lab.secret(TRUST_BUNDLE, "issuer.crt"), issuer, "switched");
    assert_eq!(lab.record_status(), "done", "{run}");
    assert_apps_hold_the_new_root(&lab);
    lab.follow_new_pods();
    lab.restart_app("server");
    lab.restart_app("client");
    lab.mtls(&["restart", "-k"]).succeeds();
    lab.mtls(&PRUNE).succeeds();
    assert_eq!(lab.anchors(), 1, "what the append has put beside the new root is retired");
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

/// Also that the rights in `tests/lab/ci-rights.yaml` are enough.
#[test]
#[ignore = "needs the lab"]
fn applications_that_hold_older_trust_are_restarted_and_none_the_second_time() {
    let lab = Lab::calm(1);
    lab.mtls(&RENEW).succeeds();
    let apps = ["restart", "-k", "--apps", "--stale", "--yes"];
    lab.mtls_as(User::Ci, &apps).exits(1).says("not allowed to list").says("sets.apps in all namespaces");
    let rights = Bindings::of(&lab, "mtls-ci-applications", &["clusterrole"]);
    let ci = format!("--as=system:serviceaccount:{CONTROL_PLANE}:mtls-ci");
    until(10, "the right", || lab.try_kubectl(&["auth", "can-i", "list", "daemonsets.apps", "-A", &ci]).is_ok());

    let mark = lab.mark();
    let run = lab.mtls_as(User::Ci, &apps).succeeds().says("Restarted apps/deploy/client");
    assert_eq!(restarted_apps(&lab, mark), ["client", "server"], "{run}");
    assert_apps_hold_the_new_root(&lab);
    lab.follow_new_pods();
    let mark = lab.mark();
    let run = lab.mtls_as(User::Ci, &apps).succeeds();
    assert!(restarted_apps(&lab, mark).is_empty(), "the second time: {run}");
    drop(rights);
    lab.assert_no_failed_call();
}

/// The pods of the applications that stay.
fn app_pods(lab: &Lab) -> Vec<String> {
    let mut pods = lab.list(&["-n", "apps", "get", "pods"]);
    pods.retain(stays);
    pods.iter().filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect()
}

/// Asserts that each pod of the applications that stays was given the anchor in front of the published ones.
#[track_caller]
fn assert_apps_hold_the_new_root(lab: &Lab) {
    let anchors = lab.config_map(TRUST_BUNDLE, "ca.crt");
    let end = "-----END CERTIFICATE-----";
    let (newest, _) = anchors.split_once(end).expect("an anchor is published");
    for pod in app_pods(lab) {
        let pod = lab.get(&["-n", "apps", "get", "pod", &pod]);
        assert!(pod.to_string().contains(&newest.trim().replace('\n', "\\n")), "it holds older anchors: {pod:#}");
    }
}

/// The applications that `mtls` has restarted since `mark`.
fn restarted_apps(lab: &Lab, mark: crate::audit::Mark) -> Vec<&'static str> {
    let writes = lab.writes(mark);
    let was = |name: &str| writes.iter().any(|write| write.what == format!("patch deployments  {name}"));
    ["client", "server"].into_iter().filter(|name| was(name)).collect()
}

/// Runs a restart that ends with `code` once it has restarted only `before`.
fn stops_at(lab: &Lab, args: &[&str], code: i32, before: &[&str]) -> Run {
    let mark = lab.mark();
    let run = lab.mtls(args).exits(code);
    assert_eq!(restarted(lab, mark), before, "{run}");
    run
}

/// The services that `mtls` has restarted since `mark`.
fn restarted(lab: &Lab, mark: crate::audit::Mark) -> Vec<&'static str> {
    let writes = lab.writes(mark);
    let was = |name: &str| {
        writes.iter().any(|write| {
            write.what.ends_with(&format!(" {name}"))
                && (write.what.contains("deployments") || write.what.contains("statefulsets"))
        })
    };
    ORDER.iter().map(|(_, name)| *name).filter(|name| was(name)).collect()
}

fn restarted_at(lab: &Lab, kind: &str, name: &str) -> Option<Timestamp> {
    let object = lab.get(&["-n", CONTROL_PLANE, "get", kind, name]);
    time_of(&object["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"])
}

/// When the pod that a service has now became ready.
fn newest_is_ready_at(lab: &Lab, service: &str) -> Timestamp {
    let pods = lab.pods(CONTROL_PLANE, &format!("app={service}"));
    let live = pods.iter().filter(|pod| stays(pod));
    let ready = live.filter_map(|pod| {
        let conditions = pod["status"]["conditions"].as_array()?;
        time_of(&conditions.iter().find(|c| c["type"] == json!("Ready"))?["lastTransitionTime"])
    });
    ready.max().expect("a service has a pod that is ready")
}

fn time_of(value: &Value) -> Option<Timestamp> {
    value.as_str()?.parse().ok()
}
