//! What is asked of the API server: method, path, preconditions, number and order, and what becomes of its faults.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

#[path = "../apiserver/mod.rs"]
mod apiserver;
mod append;
mod applications;
#[path = "../model/chance.rs"]
mod chance;
mod commands;
mod distribution;
mod fence;
mod lock;
mod looks;
mod prune;
mod races;
mod rest;
mod restore;
mod writes;

use apiserver::{ApiServer, Fault, NAMESPACE, START};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use mtls::kubernetes::Kubernetes;
use mtls::mesh::Observed;
use mtls::pki::{self, Issuer, PrivateKey, TrustBundle, Validity};
use mtls::rotation::strategy::{Inputs, Request, choose};
use mtls::rotation::{Goal, Limits, Mesh, Move, Need, Outcome, Record, Trio, run};
use serde_json::{Value, json};

const SECRET: &str = "/api/v1/namespaces/dapr-system/secrets/dapr-trust-bundle";
const CONFIG_MAP: &str = "/api/v1/namespaces/dapr-system/configmaps/dapr-trust-bundle";
const ROLE: &str = "/apis/rbac.authorization.k8s.io/v1/namespaces/dapr-system/roles/dapr-sentry";
const LEASE: &str = "/apis/coordination.k8s.io/v1/namespaces/dapr-system/leases/mtls-rotation";
const RECORD: &str = "/api/v1/namespaces/dapr-system/secrets/mtls-rotation";

fn entropy() -> impl FnMut(&mut [u8]) {
    let random = ring::rand::SystemRandom::new();
    move |buffer| ring::rand::SecureRandom::fill(&random, buffer).unwrap()
}

fn ca() -> Trio {
    ca_for(8760)
}

/// A CA that ends after so many hours.
fn ca_for(hours: i64) -> Trio {
    let start: Timestamp = START.parse().unwrap();
    let validity = Validity {
        not_before: start - SignedDuration::from_mins(15),
        not_after: start + SignedDuration::from_hours(hours),
    };
    let (root_key, key) = (PrivateKey::generate(&mut entropy()), PrivateKey::generate(&mut entropy()));
    let root = pki::root("cluster.local", &root_key, &validity, &mut entropy()).unwrap();
    let issuer = pki::issuer(&root, &root_key, "cluster.local", NAMESPACE, &key, &validity, &mut entropy()).unwrap();
    let trust = TrustBundle::from_anchors(vec![root]).unwrap();
    Trio { trust, issuer: Issuer { chain: vec![issuer], key } }
}

/// A cluster as Dapr's chart leaves it, with one application; the pair was written a day ago.
fn cluster() -> (ApiServer, Trio) {
    let ca = ca();
    (cluster_of(&ca), ca)
}

/// The same with that CA.
fn cluster_of(ca: &Trio) -> ApiServer {
    let server = ApiServer::new();
    let base64 = |text: &str| STANDARD.encode(text);
    let written =
        json!([{ "manager": "sentry", "time": "2026-05-31T00:00:00Z", "fieldsV1": { "f:data": { "f:ca.crt": {} } } }]);
    server.put(
        "/apis/apps/v1/namespaces/dapr-system/deployments/dapr-sentry",
        json!({ "metadata": { "labels": { "app": "dapr-sentry" } }, "spec": { "replicas": 1, "template": { "spec": {
            "serviceAccountName": "dapr-sentry",
            "containers": [{ "name": "dapr-sentry", "image": "dapr:1.14.0", "args": ["--trust-domain", "cluster.local"] }] } } },
            "status": { "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1 } }),
    );
    server.put(
        SECRET,
        json!({ "type": "Opaque", "metadata": { "uid": "u", "labels": { "app": "dapr-sentry", "team": "x" },
            "annotations": { "kept": "as it is" }, "managedFields": written },
            "data": { "ca.crt": base64(&ca.trust.to_pem()), "issuer.crt": base64(&ca.issuer.chain_pem()),
                "issuer.key": base64(&ca.issuer.key.to_pem()), "jwt.key": "Zm9yZWlnbg==", "jwks.json": "e30=" } }),
    );
    server.put(CONFIG_MAP, json!({ "data": { "ca.crt": ca.trust.to_pem(), "jwks.json": "{}" }, "metadata": {} }));
    let role = json!({ "metadata": {}, "rules": [
        { "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "update", "delete"], "resourceNames": ["dapr-trust-bundle"] },
        { "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "update", "watch", "list"] },
        { "apiGroups": ["dapr.io"], "resources": ["configurations"], "verbs": ["list", "get", "watch"] }] });
    server.put(ROLE, role);
    server.put(
        "/api/v1/namespaces/shop/pods/server-1",
        json!({ "metadata": { "labels": { "dapr.io/app-id": "server" }, "creationTimestamp": "2026-05-31T00:00:00Z" },
            "spec": { "containers": [{ "name": "daprd", "image": "daprd:1.14.0", "env": [
                { "name": "DAPR_CONTROLPLANE_NAMESPACE", "value": NAMESPACE },
                { "name": "DAPR_TRUST_ANCHORS", "value": ca.trust.to_pem() }] }] },
            "status": { "phase": "Running" } }),
    );
    server
}

/// Makes it a mesh that Helm installed with certificates among its values.
fn pin_helm_values(server: &ApiServer) {
    let sentry = "/apis/apps/v1/namespaces/dapr-system/deployments/dapr-sentry";
    let mut deployment = server.get(sentry);
    deployment["metadata"]["annotations"] = json!({ "meta.helm.sh/release-name": "dapr" });
    server.put(sentry, deployment);
    let release = STANDARD.encode(STANDARD.encode(r#"{"config":{"dapr_sentry":{"tls":{"root":{"certPEM":"x"}}}}}"#));
    server.put(
        "/api/v1/namespaces/dapr-system/secrets/sh.helm.release.v1.dapr.v1",
        json!({ "metadata": { "labels": { "owner": "helm", "status": "deployed", "version": "1" } }, "data": { "release": release } }),
    );
}

const ALL: Need = Need {
    consumers: true,
    everyone: false,
    applications: false,
    distribution: false,
    served: false,
    held: false,
    svids: false,
    signed_histories: false,
    owners: true,
    control_plane: true,
    accepts: None,
    holds: None,
    former: None,
};

/// The writes of a fenced run once its record is open: trust, then the issuer.
const FENCED: [&str; 10] = [
    "PATCH configmaps/dapr-trust-bundle dry",
    "PATCH secrets/dapr-trust-bundle dry",
    "PATCH roles/dapr-sentry dry",
    "PATCH roles/dapr-sentry",
    "PATCH configmaps/dapr-trust-bundle",
    "PATCH secrets/dapr-trust-bundle",
    "PATCH secrets/dapr-trust-bundle",
    "POST events",
    "PUT secrets/mtls-rotation",
    "PATCH roles/dapr-sentry",
];

/// A renewal with inputs of that digest.
fn renewal(digest: &str) -> Request {
    Request {
        inputs: Inputs::Fresh,
        strategy: None,
        valid_for: SignedDuration::from_hours(24 * 90),
        restart: None,
        window: SignedDuration::ZERO,
        timeout: SignedDuration::from_secs(300),
        digest: digest.to_owned(),
    }
}

async fn goal(mesh: &mut Kubernetes) -> (Goal, Observed) {
    let seen = mesh.observe(&ALL).await.unwrap();
    (choose(&renewal("inputs"), &seen, None, &mut entropy()).unwrap().goal, seen)
}

/// A mesh that has the lock, and the trust write that a rotation would begin with.
async fn about_to_write(server: &ApiServer, fence: bool) -> (Kubernetes, Move, Observed) {
    let mut mesh = server.mesh(fence);
    let (goal, _) = goal(&mut mesh).await;
    mesh.lock().await.unwrap();
    let seen = mesh.observe(&ALL).await.unwrap();
    server.forget();
    let bundle = goal.bundle(&seen);
    (mesh, Move::PublishTrust { bundle, issuer: None }, seen)
}

fn is_equal_pair(server: &ApiServer) -> bool {
    let secret = STANDARD.decode(server.get(SECRET)["data"]["ca.crt"].as_str().unwrap()).unwrap();
    server.get(CONFIG_MAP)["data"]["ca.crt"].as_str().unwrap().as_bytes() == secret
}

fn is_fenced(server: &ApiServer) -> bool {
    !server.get(ROLE)["rules"][0]["verbs"].as_array().unwrap().contains(&json!("update"))
}

#[tokio::test(start_paused = true)]
async fn a_rotation_writes_config_map_then_secret_then_the_issuer_and_touches_nothing_else() {
    let (server, ca) = cluster();
    let before = server.get(SECRET);
    let mut mesh = server.mesh(true);
    let (goal, _) = goal(&mut mesh).await;
    let mut record = Record::open(goal);
    mesh.lock().await.unwrap();
    mesh.save(&record).await.unwrap();
    server.forget();
    let limits = Limits { propagation: SignedDuration::ZERO, rollout: SignedDuration::ZERO, parallel: 10 };
    let seen = mesh.observe(&ALL).await.unwrap();
    let ended = run(&mut mesh, &mut record, seen, limits, &mut entropy(), &mut |_| ()).await.unwrap();
    assert!(matches!(ended.outcome, Outcome::Done(_)));
    mesh.unlock().await.unwrap();
    let mut writes = server.writes();
    writes[..2].sort();
    assert_eq!(writes, FENCED);
    let conditional =
        |body: &str| !serde_json::from_str::<Value>(body).unwrap()["metadata"]["resourceVersion"].is_null();
    assert!(
        server
            .log()
            .iter()
            .filter(|seen| ["PATCH", "PUT"].contains(&seen.method.as_str()))
            .all(|s| conditional(&s.body))
    );
    let after = server.get(SECRET);
    for (pointer, why) in [
        ("/data/jwt.key", "a foreign key"),
        ("/data/jwks.json", "a foreign key"),
        ("/metadata/labels", "labels"),
        ("/metadata/annotations/kept", "an annotation"),
        ("/type", "the type"),
    ] {
        assert_eq!(after.pointer(pointer), before.pointer(pointer), "{why}");
    }
    assert_eq!(server.get(CONFIG_MAP)["data"]["jwks.json"], "{}");
    assert!(is_equal_pair(&server) && !is_fenced(&server));
    let note: Value =
        serde_json::from_str(after["metadata"]["annotations"]["mtls.dapr.io/rotation"].as_str().unwrap()).unwrap();
    assert_eq!(note["by"], "tester");
    assert_eq!(note["before"], ca.issuer.certificate().fingerprint().to_string());
    let roots = [&ca, &record.goal.target].map(|trio| trio.trust.anchors()[0].fingerprint());
    assert_eq!(note["rootBefore"], roots[0].to_string());
    let noted = server.reader().observe(&Need::default()).await.unwrap().published.noted_roots;
    assert!(
        noted.len() == 2 && roots.iter().all(|root| noted.contains(root)),
        "whoever may not read the record reads it"
    );

    assert_eq!(server.get(LEASE)["spec"]["holderIdentity"], "", "the lock is given back");
    let log = server.log();
    let keys = [&ca.issuer.key, &record.goal.target.issuer.key].map(|key| {
        let pem = key.to_pem();
        let lines: Vec<String> = pem.lines().filter(|line| !line.starts_with('-')).map(str::to_owned).collect();
        lines[0][20..].to_owned()
    });
    for seen in log.iter().filter(|seen| !seen.path.contains("/secrets")) {
        let text = format!("{} {} {}", seen.path, seen.query, seen.body);
        assert!(!keys.iter().any(|key| text.contains(key)), "a key travels in {}", seen.line());
    }
    let second = server.mesh(true).load().await.unwrap().expect("the record is there");
    assert_eq!(second.goal.inputs, "inputs");
}

/// A pod of the control plane that has been ready for a day.
fn control_plane_pod(server: &ApiServer, app: &str) -> String {
    let path = format!("/api/v1/namespaces/dapr-system/pods/{app}-0");
    let since = "2026-05-31T00:00:00Z";
    let volumes = json!([{ "configMap": { "name": "dapr-trust-bundle" } }]);
    server.put(
        &path,
        json!({ "metadata": { "labels": { "app": app }, "creationTimestamp": since },
            "spec": { "nodeName": "n1", "volumes": volumes, "containers": [{ "name": app, "image": "dapr:1.14.0" }] },
            "status": { "phase": "Running", "conditions": [{ "type": "Ready", "status": "True" }],
                "containerStatuses": [{ "name": app, "state": { "running": { "startedAt": since } } }] } }),
    );
    path
}

fn node(server: &ApiServer, ttl: &str) {
    server.put("/api/v1/nodes/n1", json!({ "metadata": { "annotations": { "node.alpha.kubernetes.io/ttl": ttl } } }));
}

#[tokio::test(start_paused = true)]
async fn a_nudge_marks_the_pod_and_what_it_did_not_reach_lags() {
    let (server, _) = cluster();
    node(&server, "45");
    let pods = ["dapr-operator", "dapr-placement-server"].map(|app| control_plane_pod(&server, app));
    let mut mesh = server.mesh(true);
    let seen = mesh.observe(&ALL).await.unwrap();
    mesh.lock().await.unwrap();
    server.forget();
    server.fail("PATCH pods/dapr-operator-0", Fault::ServerError, 4);
    mesh.apply(&Move::Nudge, &seen).await.unwrap();
    let [mark, again] = seen.published.marks();
    let sent: Vec<Value> = server.log().iter().map(|seen| serde_json::from_str(&seen.body).unwrap()).collect();
    let nudge = json!({ "metadata": { "annotations": { "mtls.dapr.io/nudged": mark } } });
    assert!(!sent.is_empty() && sent.iter().all(|body| *body == nudge), "an annotation and no more: {sent:?}");
    assert_eq!(server.get(&pods[1])["metadata"]["annotations"]["mtls.dapr.io/nudged"], mark);
    let mut longer = seen.published.clone();
    longer.chain.extend_from_slice(&seen.published.anchors);
    assert_ne!(longer.marks()[0], mark, "whoever was nudged for a longer chain is nudged for the shorter one");

    let seen = mesh.observe(&ALL).await.unwrap();
    assert!(!seen.nudge_refused, "the other pod was reached");
    assert_eq!(seen.mount_lag, SignedDuration::from_secs(135));
    let once_more = seen.nudge().unwrap();
    assert_eq!((once_more.is_first, once_more.pods.len()), (false, 2), "both were marked with what is published");
    mesh.apply(&Move::Nudge, &seen).await.unwrap();
    assert_eq!(server.get(&pods[1])["metadata"]["annotations"]["mtls.dapr.io/nudged"], again);
    let seen = mesh.observe(&ALL).await.unwrap();
    assert_eq!((seen.nudge(), seen.mount_lag), (None, SignedDuration::ZERO), "both were reached, and often enough");
    mesh.unlock().await.unwrap();

    server.fail("PATCH pods", Fault::Forbidden, 100);
    let mut mesh = server.mesh(true);
    let mut seen = mesh.observe(&ALL).await.unwrap();
    assert_eq!(seen.mount_lag, SignedDuration::ZERO);
    mesh.lock().await.unwrap();
    seen.consumers.iter_mut().for_each(|consumer| consumer.nudged = None);
    mesh.apply(&Move::Nudge, &seen).await.unwrap();
    assert!(mesh.observe(&ALL).await.unwrap().nudge_refused, "a right that is lacking is lacking everywhere");
}
