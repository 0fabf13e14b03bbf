//! What is asked of the API server: method, path, preconditions, number and order, and what becomes of its faults.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails here")]

mod apiserver;

use std::time::Duration;

use apiserver::{ApiServer, Fault, NAMESPACE, START, Seen, within};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use mtls::error::Kind;
use mtls::interrupt::Interrupts;
use mtls::kubernetes::Kubernetes;
use mtls::mesh::{Fence, Observed, Owner, Pair};
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
    let start: Timestamp = START.parse().unwrap();
    let validity = Validity {
        not_before: start - SignedDuration::from_mins(15),
        not_after: start + SignedDuration::from_hours(8760),
    };
    let (root_key, key) = (PrivateKey::generate(&mut entropy()), PrivateKey::generate(&mut entropy()));
    let root = pki::root("cluster.local", &root_key, &validity, &mut entropy()).unwrap();
    let issuer = pki::issuer(&root, &root_key, "cluster.local", NAMESPACE, &key, &validity, &mut entropy()).unwrap();
    let trust = TrustBundle::from_anchors(vec![root]).unwrap();
    Trio { trust, issuer: Issuer { chain: vec![issuer], key } }
}

/// A cluster as Dapr's chart leaves it, with one application; the pair was written a day ago.
fn cluster() -> (ApiServer, Trio) {
    let server = ApiServer::new();
    let ca = ca();
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
    (server, ca)
}

const ALL: Need =
    Need { consumers: true, served: false, held: false, owners: true, control_plane: true, accepts: None, holds: None };

async fn goal(mesh: &mut Kubernetes) -> (Goal, Observed) {
    let seen = mesh.observe(&ALL).await.unwrap();
    let request = Request {
        inputs: Inputs::Fresh,
        strategy: None,
        valid_for: SignedDuration::from_hours(24 * 90),
        restart: None,
        timeout: SignedDuration::from_secs(300),
        digest: "inputs".to_owned(),
    };
    (choose(&request, &seen, None, &mut entropy()).unwrap().goal, seen)
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
    let limits = Limits { propagation: SignedDuration::ZERO, rollout: SignedDuration::ZERO };
    let seen = mesh.observe(&ALL).await.unwrap();
    let ended = run(&mut mesh, &mut record, seen, limits, &mut entropy(), &mut |_| ()).await.unwrap();
    assert!(matches!(ended.outcome, Outcome::Done(_)));
    mesh.unlock().await.unwrap();
    let mut writes = server.writes();
    writes[..2].sort();
    assert_eq!(
        writes,
        [
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
        ]
    );
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
    assert_eq!(noted, roots, "whoever may not read the record reads the note");

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

#[tokio::test(start_paused = true)]
async fn a_look_is_few_requests_and_never_lists_what_is_in_secrets() {
    let (server, _) = cluster();
    let sentry = "/apis/apps/v1/namespaces/dapr-system/deployments/dapr-sentry";
    let mut deployment = server.get(sentry);
    deployment["metadata"]["annotations"] = json!({ "meta.helm.sh/release-name": "dapr" });
    server.put(sentry, deployment);
    let release = STANDARD.encode(STANDARD.encode(r#"{"config":{"dapr_sentry":{"tls":{"root":{"certPEM":"x"}}}}}"#));
    server.put(
        "/api/v1/namespaces/dapr-system/secrets/sh.helm.release.v1.dapr.v1",
        json!({ "metadata": { "labels": { "owner": "helm", "status": "deployed", "version": "1" } }, "data": { "release": release } }),
    );
    let mut mesh = server.reader();
    let seen = mesh.observe(&ALL).await.unwrap();
    mesh.load().await.unwrap();
    let log = server.log();
    assert!(log.len() <= 12, "status makes {} requests", log.len());
    assert!(log.iter().all(|seen| seen.method == "GET"));
    for seen in log.iter().filter(|seen| seen.path.ends_with("/secrets")) {
        assert!(seen.accept.contains("PartialObjectMetadataList"), "{seen:?}");
    }
    assert_eq!(seen.owners, [Owner::HelmValues { release: "dapr-system/dapr".to_owned() }]);
    assert_eq!(seen.consumers.iter().filter(|c| c.held.proven().is_some()).count(), 1);
    assert_eq!(seen.now.to_string(), START, "the API server's clock, not ours");

    server.forget();
    let mut mesh = server.reader();
    mesh.observe(&Need { consumers: true, ..Need::default() }).await.unwrap();
    mesh.load().await.unwrap();
    assert!(server.log().len() <= 6, "expiry makes {} requests", server.log().len());
}

#[tokio::test(start_paused = true)]
async fn a_missing_right_is_data_to_a_reader_and_an_error_to_a_writer() {
    let (server, _) = cluster();
    for what in ["secrets/dapr-trust-bundle", "pods", "roles"] {
        server.fail(what, Fault::Forbidden, 10);
    }
    let seen = server.reader().observe(&ALL).await.unwrap();
    assert!(matches!(seen.published.pair, Pair::Unknown(_)), "{:?}", seen.published.pair);
    assert_eq!(seen.published.anchors.len(), 1, "the ConfigMap's half is shown");
    assert!(!seen.consumers_complete);
    let grants: Vec<&str> = seen.denied.iter().map(|denied| denied.grant.as_str()).collect();
    assert!(grants.contains(&"get secrets/dapr-trust-bundle in namespace dapr-system"), "{grants:?}");
    assert!(grants.contains(&"list pods in all namespaces"), "{grants:?}");
    assert!(grants.contains(&"get roles.rbac.authorization.k8s.io/dapr-sentry in namespace dapr-system"), "{grants:?}");
    let error = server.mesh(true).observe(&ALL).await.err().expect("a writer must see what it changes");
    assert_eq!(error.to_string(), "not allowed to get secrets/dapr-trust-bundle in namespace dapr-system");
}

#[tokio::test(start_paused = true)]
async fn a_busy_server_is_asked_again_when_it_says_so() {
    let (server, _) = cluster();
    server.fail("GET secrets/dapr-trust-bundle", Fault::Busy(3), 2);
    let before = tokio::time::Instant::now();
    server.reader().observe(&Need::default()).await.unwrap();
    assert_eq!(before.elapsed().as_secs(), 6);
    server.fail("GET secrets/dapr-trust-bundle", Fault::Busy(3), 100);
    let error = within(Duration::from_secs(60), async { server.reader().observe(&Need::default()).await.err() }).await;
    assert!(error.unwrap().to_string().contains("too busy"));
}

#[tokio::test(start_paused = true)]
async fn a_lost_answer_is_no_no() {
    for (what, fault) in [
        ("PATCH configmaps/dapr-trust-bundle", Fault::LostAnswer),
        ("PATCH secrets/dapr-trust-bundle", Fault::LostAnswer),
        ("PATCH configmaps/dapr-trust-bundle", Fault::LostRequest),
        ("PATCH secrets/dapr-trust-bundle", Fault::LostRequest),
        ("PATCH roles/dapr-sentry", Fault::LostAnswer),
        ("PATCH roles/dapr-sentry", Fault::LostRequest),
    ] {
        for nth in [2, 3] {
            let (server, _) = cluster();
            let rules = server.get(ROLE)["rules"].clone();
            let (mut mesh, step, seen) = about_to_write(&server, true).await;
            // The first one is the dry run.
            server.fail_nth(what, fault, nth);
            mesh.apply(&step, &seen).await.unwrap_or_else(|why| panic!("{what} {fault:?} {nth}: {why}"));
            mesh.unlock().await.unwrap_or_else(|why| panic!("{what} {fault:?} {nth}: {why}"));
            assert_eq!(server.get(ROLE)["rules"], rules, "{what} {fault:?} {nth}");
            assert!(is_equal_pair(&server) && !is_fenced(&server), "{what} {fault:?}");
            let anchors = mesh.observe(&ALL).await.unwrap().published.anchors.len();
            assert_eq!(anchors, 2, "{what} {fault:?}: published once");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_conflict_changes_nothing_and_says_who_wrote() {
    let (server, _) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    let before = server.get(SECRET)["data"].clone();
    server.fail_nth("PATCH configmaps/dapr-trust-bundle", Fault::WrittenBefore("data/ca.crt"), 2);
    let error = mesh.apply(&step, &seen).await.unwrap_err();
    assert!(error.to_string().contains("`somebody` at 2026-06-01T00:00:00Z"), "{error}");
    assert_eq!(error.kind(), Kind::Failed, "nothing was changed");
    assert_eq!(server.get(SECRET)["data"], before);
    mesh.unlock().await.unwrap();
    assert!(!is_fenced(&server), "the fence is given back");
}

#[tokio::test(start_paused = true)]
async fn somebody_elses_mark_on_the_secret_does_not_tear_the_pair() {
    let (server, _) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    server.fail_nth("PATCH secrets/dapr-trust-bundle", Fault::WrittenBefore("data/jwt.key"), 2);
    mesh.apply(&step, &seen).await.unwrap();
    assert!(is_equal_pair(&server));
    assert_eq!(server.get(SECRET)["data"]["jwt.key"], "c29tZWJvZHk=", "what they wrote stays");
}

#[tokio::test(start_paused = true)]
async fn a_secret_that_cannot_be_written_takes_the_config_map_back() {
    let (server, ca) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    server.fail_nth("PATCH secrets/dapr-trust-bundle", Fault::Forbidden, 2);
    let error = mesh.apply(&step, &seen).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unfinished, "{error}");
    mesh.unlock().await.unwrap();
    assert!(is_equal_pair(&server) && !is_fenced(&server));
    assert_eq!(server.get(CONFIG_MAP)["data"]["ca.crt"], ca.trust.to_pem());
}

#[tokio::test(start_paused = true)]
async fn what_was_lost_once_stays_lost_whatever_is_answered_later() {
    for later in [Fault::Refused, Fault::Busy(1), Fault::ServerError, Fault::Silent, Fault::Forbidden] {
        let (server, _) = cluster();
        let (mut mesh, step, seen) = about_to_write(&server, true).await;
        server.fail_nth("PATCH secrets/dapr-trust-bundle", Fault::LostAnswer, 2);
        server.fail("PATCH secrets/dapr-trust-bundle", later, 1000);
        mesh.apply(&step, &seen).await.unwrap_or_else(|why| panic!("it took place, whatever {later:?} says: {why}"));
        assert!(is_equal_pair(&server), "{later:?}");
        assert_eq!(mesh.observe(&ALL).await.unwrap().published.anchors.len(), 2, "{later:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_config_map_of_which_nothing_is_known_is_made_to_follow_the_secret() {
    let (server, ca) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    server.fail_nth("PATCH configmaps/dapr-trust-bundle", Fault::LostAnswer, 2);
    server.fail("PATCH configmaps/dapr-trust-bundle", Fault::Refused, 24);
    server.fail("GET configmaps/dapr-trust-bundle", Fault::Refused, 8);
    let error = mesh.apply(&step, &seen).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Unfinished, "{error}");
    assert!(is_equal_pair(&server));
    assert_eq!(server.get(CONFIG_MAP)["data"]["ca.crt"], ca.trust.to_pem());
    mesh.unlock().await.unwrap();
    assert!(!is_fenced(&server));
}

#[tokio::test(start_paused = true)]
async fn the_fence_stands_around_a_torn_pair_until_it_is_repaired() {
    let (server, _) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    server.fail_nth("PATCH secrets/dapr-trust-bundle", Fault::Forbidden, 2);
    server.fail_nth("PATCH configmaps/dapr-trust-bundle", Fault::Forbidden, 3);
    server.fail("PATCH configmaps/dapr-trust-bundle", Fault::Forbidden, 1000);
    let before = tokio::time::Instant::now();
    let error = mesh.apply(&step, &seen).await.unwrap_err();
    assert!(before.elapsed() >= Duration::from_secs(60), "it was not given up early");
    assert_eq!(error.kind(), Kind::Unfinished);
    let left = mesh.unlock().await.unwrap_err();
    assert_eq!(left.kind(), Kind::Unfinished);
    assert!(left.to_string().contains("stays taken"), "{left}");
    assert!(left.hints()[0].contains("mtls renew-certificate --resume"), "{:?}", left.hints());
    assert!(!is_equal_pair(&server) && is_fenced(&server));

    server.heal();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    assert!(is_fenced(&server), "taking the lock repairs no pair");
    mesh.apply(&step, &seen).await.unwrap();
    mesh.unlock().await.unwrap();
    assert!(is_equal_pair(&server) && !is_fenced(&server));
}

#[tokio::test(start_paused = true)]
async fn a_secret_without_a_trust_bundle_does_not_empty_the_config_map() {
    let (server, ca) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    server.fail_nth("PATCH secrets/dapr-trust-bundle", Fault::WrittenBefore("data/ca.crt"), 2);
    server.fail("PATCH secrets/dapr-trust-bundle", Fault::Forbidden, 10);
    server.keep_alive(SECRET, |secret, _| secret["data"]["ca.crt"] = json!(""));
    mesh.apply(&step, &seen).await.unwrap_err();
    assert_eq!(server.get(CONFIG_MAP)["data"]["ca.crt"], ca.trust.to_pem());
}

#[tokio::test(start_paused = true)]
async fn the_fence_outlasts_a_reload_that_was_about_to_begin() {
    let (server, _) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    mesh.apply(&step, &seen).await.unwrap();
    let (goal, seen) = goal(&mut mesh).await;
    mesh.apply(&Move::PublishIssuer { issuer: seen.published.issuer().unwrap() }, &seen).await.unwrap();
    drop(goal);
    let seen = mesh.observe(&ALL).await.unwrap();
    mesh.apply(&Move::Nudge, &seen).await.unwrap();
    assert!(is_fenced(&server), "a Sentry that read one half before may still store a CA of its own");
    mesh.pause().await;
    assert!(!is_fenced(&server), "its reload is over");

    let (server, _) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    mesh.apply(&step, &seen).await.unwrap();
    let before = tokio::time::Instant::now();
    mesh.unlock().await.unwrap();
    assert!((1000..1500).contains(&before.elapsed().as_millis()), "{:?}", before.elapsed());
    assert!(!is_fenced(&server));
}

#[tokio::test(start_paused = true)]
async fn rules_that_somebody_wrote_over_the_fence_stay() {
    let (server, _) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    mesh.apply(&step, &seen).await.unwrap();
    let mut role = server.get(ROLE);
    role["rules"] = json!([{ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "update", "patch"] }]);
    server.put(ROLE, role.clone());
    mesh.unlock().await.unwrap();
    assert_eq!(server.get(ROLE)["rules"], role["rules"]);
    assert!(server.get(ROLE)["metadata"]["annotations"]["mtls.dapr.io/fence"].is_null());
}

#[tokio::test(start_paused = true)]
async fn the_fence_of_another_run_is_left_to_it() {
    let (server, _) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    mesh.apply(&step, &seen).await.unwrap();
    let mut role = server.get(ROLE);
    let mark = &mut role["metadata"]["annotations"]["mtls.dapr.io/fence"];
    let mut theirs: Value = serde_json::from_str(mark.as_str().unwrap()).unwrap();
    theirs["by"] = json!("ann@host/1/0");
    *mark = json!(theirs.to_string());
    server.put(ROLE, role);
    mesh.unlock().await.unwrap();
    assert!(is_fenced(&server));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_changed_since_it_was_read_is_read_once_more_and_fenced() {
    for nth in [1, 2] {
        let (server, _) = cluster();
        let (mut mesh, step, seen) = about_to_write(&server, true).await;
        server.fail_nth("PATCH roles/dapr-sentry", Fault::WrittenBefore("metadata/uid"), nth);
        mesh.apply(&step, &seen).await.unwrap();
        assert!(is_fenced(&server), "{nth}");
        mesh.unlock().await.unwrap();
        assert!(!is_fenced(&server), "{nth}");
    }
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

/// A cluster with a running Sentry whose Role the caller may not change.
fn unfenceable(written: &Value) -> ApiServer {
    let (server, _) = cluster();
    control_plane_pod(&server, "dapr-sentry");
    let mut secret = server.get(SECRET);
    secret["metadata"]["managedFields"][0]["time"] = written.clone();
    server.put(SECRET, secret);
    server.fail("PATCH roles/dapr-sentry", Fault::Forbidden, 10);
    server
}

#[tokio::test(start_paused = true)]
async fn who_may_not_fence_waits_until_sentry_is_at_rest() {
    let before_start = json!("2026-05-31T23:59:30Z");
    for (written, ttl, wait) in [
        (&before_start, Some("0"), 62),
        (&before_start, Some("30"), 92),
        (&json!("2026-05-31T23:55:00Z"), None, 92),
        (&Value::Null, Some("0"), 92),
    ] {
        let server = unfenceable(written);
        if let Some(ttl) = ttl {
            node(&server, ttl);
        }
        let (mut mesh, step, seen) = about_to_write(&server, true).await;
        let before = tokio::time::Instant::now();
        mesh.apply(&step, &seen).await.unwrap();
        let took = before.elapsed();
        assert!((wait..wait + 8).contains(&took.as_secs()), "written {written}, TTL {ttl:?}: {took:?}");
        assert!(is_equal_pair(&server));
        assert!(server.writes().iter().all(|line| line != "PATCH roles/dapr-sentry"), "the dry run was enough to know");
    }
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_seen_of_sentry_is_no_rest() {
    let server = unfenceable(&json!("2026-05-30T00:00:00Z"));
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    server.fail("GET pods", Fault::Forbidden, 10);
    let error = mesh.apply(&step, &seen).await.unwrap_err();
    assert_eq!(error.to_string(), "it cannot be seen whether Sentry is at rest");
    assert_eq!(error.hints()[0], "grant it in a Role or ClusterRole: list pods in namespace dapr-system");
    assert!(server.writes().iter().all(|line| line.ends_with(" dry")), "{:?}", server.writes());
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
    server.fail("PATCH pods/dapr-operator-0", Fault::ServerError, 100);
    mesh.apply(&Move::Nudge, &seen).await.unwrap();
    let mark = seen.published.mark();
    let sent: Vec<Value> = server.log().iter().map(|seen| serde_json::from_str(&seen.body).unwrap()).collect();
    let nudge = json!({ "metadata": { "annotations": { "mtls.dapr.io/nudged": mark } } });
    assert!(!sent.is_empty() && sent.iter().all(|body| *body == nudge), "an annotation and no more: {sent:?}");
    assert_eq!(server.get(&pods[1])["metadata"]["annotations"]["mtls.dapr.io/nudged"], mark);

    let seen = mesh.observe(&ALL).await.unwrap();
    assert!(!seen.nudge_refused, "the other pod was reached");
    assert!(seen.consumers.iter().all(|consumer| !consumer.awaits_nudge(&mark)), "it was tried often enough");
    assert_eq!(seen.mount_lag, SignedDuration::from_secs(135));
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

#[tokio::test(start_paused = true)]
async fn a_torn_pair_is_repaired_without_a_wait() {
    let (server, ca) = cluster();
    let mut secret = server.get(SECRET);
    secret["metadata"]["managedFields"][0]["time"] = json!(START);
    secret["data"]["ca.crt"] = json!(STANDARD.encode(self::ca().trust.to_pem() + &ca.trust.to_pem()));
    server.put(SECRET, secret);
    let (mut mesh, step, seen) = about_to_write(&server, false).await;
    assert!(matches!(seen.published.pair, Pair::Unequal(_)));
    let before = tokio::time::Instant::now();
    mesh.apply(&step, &seen).await.unwrap();
    assert!(before.elapsed() < Duration::from_secs(1));
    assert!(is_equal_pair(&server));
    assert!(server.writes().iter().all(|line| !line.contains("roles")), "no fence was asked for");
}

#[tokio::test(start_paused = true)]
async fn a_fence_left_behind_is_seen_and_removed_by_the_next_writer() {
    let (server, _) = cluster();
    let mut role = server.get(ROLE);
    let kept = role["rules"].clone();
    let mark = json!({ "by": "ann@host/1/0", "rules": kept });
    role["metadata"]["annotations"] = json!({ "mtls.dapr.io/fence": mark.to_string() });
    role["rules"][0]["verbs"] = json!(["get"]);
    role["rules"][1]["verbs"] = json!(["get", "watch", "list"]);
    server.put(ROLE, role);
    assert_eq!(server.reader().observe(&ALL).await.unwrap().fence, Fence::Left);
    let mut mesh = server.mesh(true);
    mesh.observe(&ALL).await.unwrap();
    let whole = server.get(CONFIG_MAP);
    server.put(CONFIG_MAP, json!({ "data": { "ca.crt": "torn" }, "metadata": {} }));
    mesh.lock().await.unwrap();
    assert!(is_fenced(&server), "the pair was torn after the look, and is looked at under the lock");
    server.put(CONFIG_MAP, whole);
    mesh.unlock().await.unwrap();
    assert_eq!(server.get(ROLE)["rules"], kept);
    mesh.lock().await.unwrap();
    assert_eq!(server.get(ROLE)["rules"], kept);
    assert_eq!(mesh.observe(&ALL).await.unwrap().fence, Fence::Down);
}

fn lease(renewed: &str) -> Value {
    json!({ "metadata": {}, "spec": { "holderIdentity": "ann@host/1/0", "leaseDurationSeconds": 15, "renewTime": renewed } })
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_refused_by_a_holder_that_lives_and_taken_over_from_one_that_is_silent() {
    let (server, _) = cluster();
    server.put(LEASE, lease(START));
    server.keep_alive(LEASE, |lease, now| lease["spec"]["renewTime"] = json!(format!("{now:.6}")));
    let error = within(Duration::from_secs(10), async { server.mesh(true).lock().await.unwrap_err() }).await;
    assert!(error.to_string().contains("ann@host/1/0"), "{error}");
    assert_eq!(server.writes(), [""; 0]);

    let (server, _) = cluster();
    let mut first = server.mesh(true);
    first.lock().await.unwrap();
    let mut second = server.mesh(true);
    let (refused, ()) = tokio::join!(second.lock(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.unlock().await.unwrap();
    });
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("or was until just now"), "it worked while the second one waited: {text}");

    let (server, _) = cluster();
    server.put(LEASE, lease(START));
    let before = tokio::time::Instant::now();
    let mut mesh = server.mesh(true);
    mesh.lock().await.unwrap();
    assert!((15..17).contains(&before.elapsed().as_secs()), "15 s after it was last heard of: {:?}", before.elapsed());
    mesh.unlock().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_the_wait_for_the_lock() {
    let (server, _) = cluster();
    server.put(LEASE, lease(START));
    let interrupts = Interrupts::default();
    let mut mesh = server.mesh(true).interrupted_by(interrupts.clone());
    let (refused, ()) = tokio::join!(mesh.lock(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        interrupts.note(15);
    });
    assert_eq!(refused.unwrap_err().kind(), Kind::Interrupted(15));
    assert_eq!(server.get(LEASE)["spec"]["holderIdentity"], "ann@host/1/0");
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_believed_no_longer_than_the_server_keeps_it() {
    let leases = |server: &ApiServer| -> Vec<String> {
        server.log().iter().filter(|seen| seen.path.contains("leases")).map(Seen::line).collect()
    };
    let (server, _) = cluster();
    let mut mesh = server.mesh(true);
    let record = Record::open(goal(&mut mesh).await.0);
    server.fail("POST leases", Fault::Late(10), 1);
    mesh.lock().await.unwrap();
    server.forget();
    mesh.save(&record).await.unwrap();
    assert_eq!(leases(&server), ["PATCH leases/mtls-rotation"], "it runs from before the request was sent");

    server.forget();
    server.fail("PATCH leases", Fault::LostAnswer, 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let [patch, get] = ["PATCH leases/mtls-rotation", "GET leases/mtls-rotation"];
    assert_eq!(leases(&server), [patch, patch, get, patch], "when the lost one arrived is not known");
    mesh.unlock().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn the_issuer_is_not_switched_beside_a_config_map_that_changed() {
    let (server, _) = cluster();
    let (mut mesh, _, seen) = about_to_write(&server, true).await;
    let issuer = seen.published.issuer().unwrap();
    let mut map = server.get(CONFIG_MAP);
    map["metadata"]["managedFields"] = json!([{ "manager": "helm", "time": START, "fieldsV1": {} }]);
    server.put(CONFIG_MAP, map);
    let error = mesh.apply(&Move::PublishIssuer { issuer }, &seen).await.unwrap_err();
    assert!(error.to_string().contains("was changed since it was looked at, by `helm`"), "{error}");
    assert_eq!(server.writes(), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn an_issuer_that_goes_along_with_the_trust_is_told_as_an_event() {
    let (server, _) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    let Move::PublishTrust { bundle, .. } = step else { panic!("a trust write") };
    let step = Move::PublishTrust { bundle, issuer: seen.published.issuer() };
    mesh.apply(&step, &seen).await.unwrap();
    assert_eq!(server.writes().last().unwrap(), "POST events");
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_lost_the_lock_writes_no_more() {
    let (server, _) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    server.put(LEASE, lease(START));
    // Its renewals fail from now on, as they would for a process that slept.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let error = mesh.apply(&step, &seen).await.unwrap_err();
    assert!(error.to_string().contains("taken over by ann@host/1/0"), "{error}");
    assert_eq!(server.writes().iter().filter(|line| !line.ends_with(" dry")).count(), 0);
    let record = Record::open(goal(&mut mesh).await.0);
    assert!(mesh.save(&record).await.is_err());
    assert_eq!(server.get(RECORD), Value::Null);
    mesh.unlock().await.unwrap();
    assert_eq!(server.get(LEASE)["spec"]["holderIdentity"], "ann@host/1/0", "the other's lock is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_record_that_cannot_be_used_stops_a_writer_and_is_told_to_a_reader() {
    let stored = |kind: &str, meta: &str| {
        let data = json!({ "rotation.json": STANDARD.encode(meta) });
        json!({ "type": kind, "metadata": {}, "data": data })
    };
    for (object, why) in [
        (stored("Opaque", "{}"), "somebody else's"),
        (stored("mtls.dapr.io/rotation", r#"{"version":99}"#), "the record has version 99"),
        (stored("mtls.dapr.io/rotation", "not JSON"), "is missing or damaged"),
    ] {
        let (server, _) = cluster();
        server.put(RECORD, object);
        let mut reader = server.reader();
        let seen = reader.observe(&ALL).await.unwrap();
        let trouble = seen.record_trouble.unwrap();
        assert!(trouble.contains(why), "{trouble}");
        assert!(reader.load().await.unwrap().is_none());
        assert!(server.reader().load().await.unwrap().is_none(), "nor without a look before");
        let mut writer = server.mesh(true);
        writer.observe(&ALL).await.unwrap();
        assert!(writer.load().await.is_err(), "{why}");
    }
    let (server, _) = cluster();
    server.fail("GET secrets/mtls-rotation", Fault::Forbidden, 10);
    let mut reader = server.reader();
    let seen = reader.observe(&ALL).await.unwrap();
    assert_eq!(seen.denied[0].what, "whether a rotation is open");
    assert_eq!(seen.denied[0].grant, "get secrets/mtls-rotation in namespace dapr-system");
    assert!(reader.load().await.unwrap().is_none());
    assert!(server.mesh(true).load().await.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_record_is_never_written_over_somebody_elses() {
    let (server, _) = cluster();
    let mut mesh = server.mesh(true);
    let (goal, _) = goal(&mut mesh).await;
    let record = Record::open(goal);
    mesh.lock().await.unwrap();
    server.fail("POST secrets", Fault::LostAnswer, 1);
    mesh.save(&record).await.unwrap();
    let kept = server.get(RECORD);
    assert_eq!(kept["type"], "mtls.dapr.io/rotation");
    assert_eq!(kept["metadata"]["labels"]["app.kubernetes.io/managed-by"], "mtls");
    server.fail("PUT secrets/mtls-rotation", Fault::WrittenBefore("data/rotation.json"), 1);
    assert!(mesh.save(&record).await.is_err());
    assert_eq!(server.get(RECORD)["data"]["rotation.json"], "c29tZWJvZHk=");
}
