//! The wait for a quiet Sentry, where its Role may not be changed.

use std::time::Duration;

use mtls::error::Kind;
use mtls::rotation::Mesh;
use serde_json::{Value, json};

use super::apiserver::{ApiServer, Fault, START};
use super::{LEASE, SECRET, about_to_write, cluster, control_plane_pod, is_equal_pair, node};

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
        (&before_start, Some("0"), 72),
        (&before_start, Some("30"), 105),
        (&json!("2026-05-31T23:55:00Z"), None, 105),
        (&Value::Null, Some("0"), 105),
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
async fn a_wait_that_is_too_long_says_what_would_shorten_it() {
    let server = unfenceable(&json!("2026-05-31T23:59:30Z"));
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    let error = mesh.apply(&step, &seen).await.unwrap_err();
    assert_eq!(error.kind(), Kind::Failed);
    assert!(error.hints().iter().any(|hint| hint.contains("right to get nodes")), "{:?}", error.hints());
    assert!(server.writes().iter().all(|line| line.ends_with(" dry")), "{:?}", server.writes());
}

#[tokio::test(start_paused = true)]
async fn who_lost_the_lock_while_it_waited_for_sentry_writes_nothing() {
    let server = unfenceable(&json!("2026-05-31T23:59:30Z"));
    node(&server, "0");
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    let (ended, ()) = tokio::join!(mesh.apply(&step, &seen), async {
        tokio::time::sleep(Duration::from_secs(30)).await;
        let spec = json!({"holderIdentity": "ann@host/1/0", "leaseDurationSeconds": 15, "renewTime": START});
        server.put(LEASE, json!({"metadata": {}, "spec": spec}));
    });
    let error = ended.unwrap_err();
    assert!(error.to_string().contains("taken over by ann@host/1/0"), "{error}");
    assert_eq!(server.writes().iter().filter(|line| !line.ends_with(" dry")).count(), 0);
}
