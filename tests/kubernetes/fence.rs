//! Sentry's Role while the pair is written: taken, given back, and never around a torn pair.

use std::time::Duration;

use jiff::SignedDuration;
use mtls::error::Kind;
use mtls::interrupt::Interrupts;
use mtls::mesh::Fence;
use mtls::rotation::{Event, Limits, Mesh, Move, Outcome, Record, run};
use serde_json::{Value, json};

use super::apiserver::Fault;
use super::{ALL, CONFIG_MAP, ROLE, about_to_write, cluster, entropy, goal, is_equal_pair, is_fenced};

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
    assert!(left.hints()[0].contains("mtls restart --stale -k"), "{:?}", left.hints());
    assert!(!is_equal_pair(&server) && is_fenced(&server));

    server.heal();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    assert!(is_fenced(&server), "taking the lock repairs no pair");
    server.fail_nth("PATCH configmaps/dapr-trust-bundle", Fault::Forbidden, 2);
    mesh.apply(&step, &seen).await.unwrap_err();
    assert_eq!(mesh.unlock().await.unwrap_err().kind(), Kind::Unfinished);
    assert!(is_fenced(&server), "a repair that came to nothing leaves the pair as torn as it was");

    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    mesh.apply(&step, &seen).await.unwrap();
    mesh.unlock().await.unwrap();
    assert!(is_equal_pair(&server) && !is_fenced(&server));
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
async fn a_signal_right_after_the_trust_write_leaves_no_fence() {
    let (server, _) = cluster();
    let interrupts = Interrupts::default();
    let mut mesh = server.mesh(true).interrupted_by(interrupts.clone());
    let mut record = Record::open(goal(&mut mesh).await.0);
    mesh.lock().await.unwrap();
    let seen = mesh.observe(&ALL).await.unwrap();
    let limits = Limits { propagation: SignedDuration::ZERO, rollout: SignedDuration::ZERO, parallel: 10 };
    let mut tell = |event: Event| {
        if matches!(event, Event::Moved(_)) {
            interrupts.note(15);
        }
    };
    let ended = run(&mut mesh, &mut record, seen, limits, &mut entropy(), &mut tell).await.unwrap();
    assert!(matches!(ended.outcome, Outcome::Interrupted(15)) && ended.moves == 1);
    assert!(is_fenced(&server), "a second has not passed yet");
    mesh.unlock().await.unwrap();
    assert!(is_equal_pair(&server) && !is_fenced(&server));
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
async fn rules_that_somebody_wrote_over_a_fence_that_was_left_are_fenced_anew_for_the_repair() {
    let (server, _) = cluster();
    let mut role = server.get(ROLE);
    let theirs = role["rules"].clone();
    let mark = json!({ "by": "ann@host/1/0", "rules": [] });
    role["metadata"]["annotations"] = json!({ "mtls.dapr.io/fence": mark.to_string() });
    server.put(ROLE, role);
    server.put(CONFIG_MAP, json!({ "data": { "ca.crt": "torn" }, "metadata": {} }));
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    assert!(server.get(ROLE)["metadata"]["annotations"]["mtls.dapr.io/fence"].is_null());
    mesh.apply(&step, &seen).await.unwrap();
    assert!(is_fenced(&server) && server.get(ROLE)["rules"] != theirs);
    mesh.unlock().await.unwrap();
    assert!(is_equal_pair(&server) && !is_fenced(&server));
    assert_eq!(server.get(ROLE)["rules"], theirs);
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
