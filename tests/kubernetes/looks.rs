//! What a look asks, and what becomes of missing rights and odd objects.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mtls::mesh::{Owner, Pair};
use mtls::rotation::{Mesh, Need};
use serde_json::json;

use super::apiserver::{Fault, START, within};
use super::{ALL, RECORD, cluster, pin_helm_values};

#[tokio::test(start_paused = true)]
async fn a_look_is_few_requests_and_never_lists_what_is_in_secrets() {
    let (server, _) = cluster();
    pin_helm_values(&server);
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
