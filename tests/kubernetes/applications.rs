//! Applications: how they are found, and what a wave of restarts sends.

use std::time::Duration;

use mtls::error::Kind;
use mtls::kubernetes::Applications;
use mtls::rotation::{Mesh, Move, Need};
use serde_json::{Value, json};

use super::apiserver::{ApiServer, Fault, START};
use super::commands::mtls;
use super::{ALL, cluster};

const APPLICATIONS: Need = Need { everyone: true, applications: true, ..ALL };

/// A workload with one pod that has a sidecar, or that asks for one and has none.
fn application(server: &ApiServer, plural: &str, name: &str, with_sidecar: bool) {
    let status = json!({ "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1,
        "desiredNumberScheduled": 1, "updatedNumberScheduled": 1, "numberReady": 1, "numberAvailable": 1 });
    server.put(
        &format!("/apis/apps/v1/namespaces/shop/{plural}/{name}"),
        json!({ "metadata": { "labels": { "team": "x" } }, "spec": { "replicas": 1 }, "status": status }),
    );
    let (kind, owner) = match plural {
        "deployments" => ("ReplicaSet", format!("{name}-5d")),
        "statefulsets" => ("StatefulSet", name.to_owned()),
        _ => ("DaemonSet", name.to_owned()),
    };
    let mut pod = server.get("/api/v1/namespaces/shop/pods/server-1");
    pod["metadata"]["labels"]["pod-template-hash"] = json!("5d");
    pod["metadata"]["ownerReferences"] = json!([{ "kind": kind, "name": owner }]);
    pod["metadata"]["annotations"] = json!({ "dapr.io/enabled": "true" });
    if !with_sidecar {
        pod["spec"]["containers"] = json!([{ "name": "app", "image": "app" }]);
    }
    server.put(&format!("/api/v1/namespaces/shop/pods/{name}-0"), pod);
}

/// A cluster with an application of each kind and a bare pod.
fn shop() -> ApiServer {
    let (server, _) = cluster();
    for (plural, name) in [("deployments", "web"), ("statefulsets", "db"), ("daemonsets", "agent")] {
        application(&server, plural, name, true);
    }
    application(&server, "deployments", "bare", false);
    server.put("/apis/apps/v1/namespaces/shop/deployments/without", json!({ "metadata": {}, "spec": {} }));
    server
}

fn wave(names: &[&str]) -> Move {
    Move::RestartApplications { workloads: names.iter().map(|name| (*name).to_owned()).collect() }
}

#[tokio::test(start_paused = true)]
async fn workloads_with_a_sidecar_are_listed_before_their_pods() {
    let server = shop();
    let seen = server.mesh(true).observe(&APPLICATIONS).await.unwrap();
    let paths: Vec<String> = seen.applications.iter().map(mtls::mesh::Workload::path).collect();
    assert_eq!(paths, ["shop/deploy/bare", "shop/deploy/web", "shop/ds/agent", "shop/pod/server-1", "shop/sts/db"]);
    assert!(seen.applications.iter().all(|workload| workload.complete && workload.version.is_empty()));
    assert_eq!(seen.uninjected.iter().map(|pod| pod.name.as_str()).collect::<Vec<_>>(), ["shop/bare-0"]);
    let log = server.log();
    let asked = |path: &str, query: &str| log.iter().position(|seen| seen.path == path && seen.query == query).unwrap();
    let pods = asked("/api/v1/pods", "limit=250");
    for plural in ["deployments", "statefulsets", "daemonsets"] {
        assert!(asked(&format!("/apis/apps/v1/{plural}"), "limit=250") < pods, "{plural} after the pods");
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_and_labels_choose_applications() {
    let server = shop();
    let which = Applications { namespaces: vec!["shop".to_owned()], selector: Some("team=x,tier!=web".to_owned()) };
    server.mesh(true).of_applications(which).observe(&APPLICATIONS).await.unwrap();
    let log = server.log();
    for plural in ["deployments", "statefulsets", "daemonsets"] {
        let path = format!("/apis/apps/v1/namespaces/shop/{plural}");
        let asked: Vec<&str> = log.iter().filter(|seen| seen.path == path).map(|seen| seen.query.as_str()).collect();
        assert_eq!(asked, ["labelSelector=team%3Dx%2Ctier%21%3Dweb&limit=250"]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wave_marks_each_template_as_kubectl_does() {
    let server = shop();
    let mut mesh = server.mesh(true);
    let seen = mesh.observe(&APPLICATIONS).await.unwrap();
    mesh.lock().await.unwrap();
    server.forget();
    mesh.apply(&wave(&["shop/deploy/web", "shop/sts/db", "shop/ds/agent"]), &seen).await.unwrap();
    let mut writes = server.writes();
    writes.sort();
    assert_eq!(writes, ["PATCH daemonsets/agent", "PATCH deployments/web", "PATCH statefulsets/db"]);
    let annotations = json!({ "kubectl.kubernetes.io/restartedAt": START });
    let body = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } });
    for sent in server.log().iter().filter(|seen| seen.method == "PATCH") {
        assert_eq!(serde_json::from_str::<Value>(&sent.body).unwrap(), body, "an annotation and no more");
    }
    let seen = mesh.observe(&Need { applications: true, ..Need::default() }).await.unwrap();
    let restarted = |name: &str| seen.applications.iter().find(|workload| workload.name == name).unwrap().restarted;
    assert_eq!(restarted("web").unwrap().to_string(), START);
    assert_eq!(restarted("bare"), None);
}

#[tokio::test(start_paused = true)]
async fn five_hundred_restarts_are_sent_within_a_second() {
    let (server, _) = cluster();
    let names: Vec<String> = (0..500).map(|n| format!("app-{n:03}")).collect();
    for name in &names {
        application(&server, "deployments", name, true);
    }
    let mut mesh = server.mesh(true);
    let seen = mesh.observe(&APPLICATIONS).await.unwrap();
    mesh.lock().await.unwrap();
    server.forget();
    server.fail("PATCH deployments", Fault::Late(1), 500);
    let before = tokio::time::Instant::now();
    let workloads = names.iter().map(|name| format!("shop/deploy/{name}")).collect();
    mesh.apply(&Move::RestartApplications { workloads }, &seen).await.unwrap();
    assert_eq!(before.elapsed(), Duration::from_secs(1), "each is answered after a second, all of them together");
    assert_eq!(server.writes().len(), 500);
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_names_verb_and_resource() {
    let server = shop();
    server.fail("GET apis/apps/v1/daemonsets", Fault::Forbidden, 1);
    let error = server.mesh(true).observe(&APPLICATIONS).await.err().unwrap();
    assert_eq!(error.to_string(), "not allowed to list daemonsets.apps in all namespaces");

    let mut mesh = server.mesh(true);
    let seen = mesh.observe(&APPLICATIONS).await.unwrap();
    mesh.lock().await.unwrap();
    server.fail("PATCH deployments", Fault::Forbidden, 2);
    let error = mesh.apply(&wave(&["shop/deploy/web"]), &seen).await.unwrap_err();
    assert_eq!(error.to_string(), "not allowed to patch deployments.apps/web in namespace shop");
    assert_eq!(error.kind(), Kind::Failed, "nothing was changed");
    let error = mesh.apply(&wave(&["shop/deploy/web", "shop/sts/db"]), &seen).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unfinished, "the other one was restarted");
}

#[tokio::test(start_paused = true)]
async fn an_application_that_has_gone_meanwhile_needs_no_restart() {
    let server = shop();
    let mut mesh = server.mesh(true);
    let seen = mesh.observe(&APPLICATIONS).await.unwrap();
    mesh.lock().await.unwrap();
    server.remove("/apis/apps/v1/namespaces/shop/deployments/web");
    mesh.apply(&wave(&["shop/deploy/web", "shop/sts/db"]), &seen).await.unwrap();
}

#[tokio::test]
async fn applications_are_restarted_only_when_somebody_says_yes_and_the_injector_is_proven() {
    let server = shop();
    let unasked = mtls(&server, &["restart", "--apps"]).await;
    assert_eq!(unasked.code, 2, "{}", unasked.stderr);
    assert!(unasked.stderr.contains("--yes"), "{}", unasked.stderr);
    assert_eq!(server.writes(), [""; 0]);

    let dry = mtls(&server, &["restart", "--apps", "--dry-run", "-o", "json"]).await;
    assert_eq!((dry.code, server.writes().len()), (0, 0), "{}", dry.stderr);
    assert!(dry.stderr.contains("3 applications are due"), "no injector is there: {}", dry.stderr);
    let blocked = serde_json::from_str::<Value>(&dry.stdout).unwrap()["blocked"].clone();
    let named: Vec<&str> = blocked.as_array().unwrap().iter().filter_map(|it| it["workload"].as_str()).collect();
    assert_eq!(named, ["shop/deploy/bare", "shop/pod/server-1"]);

    let stopped = mtls(&server, &["restart", "--apps", "--yes"]).await;
    assert_eq!(stopped.code, 4, "{}", stopped.stderr);
    assert!(stopped.stderr.contains("shop/pod/server-1 will not be restarted"), "{}", stopped.stderr);
    assert!(stopped.stderr.contains("no application is restarted: no sidecar injector"), "{}", stopped.stderr);
    assert_eq!(server.writes(), ["PATCH deployments/dapr-sentry"]);
}
