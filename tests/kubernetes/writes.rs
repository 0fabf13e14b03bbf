//! The pair and the issuer: order, preconditions, and writes that come to no clear end.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mtls::error::Kind;
use mtls::kubernetes::Kubernetes;
use mtls::mesh::{Observed, Pair};
use mtls::pki::TrustBundle;
use mtls::rotation::{Mesh, Move, Record, Trio};
use serde_json::json;

use super::apiserver::{ApiServer, Fault, START};
use super::{ALL, CONFIG_MAP, ROLE, SECRET, about_to_write, ca, cluster, goal, is_equal_pair, is_fenced};

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
    for fault in [Fault::Forbidden, Fault::ServerError] {
        let (server, ca) = cluster();
        let (mut mesh, step, seen) = about_to_write(&server, true).await;
        server.fail_nth("PATCH secrets/dapr-trust-bundle", fault, 2);
        server.fail("PATCH secrets/dapr-trust-bundle", fault, 1000);
        let error = mesh.apply(&step, &seen).await.unwrap_err();
        assert_eq!(error.kind(), Kind::Unfinished, "{error}");
        mesh.unlock().await.unwrap();
        assert!(is_equal_pair(&server) && !is_fenced(&server), "{fault:?}");
        assert_eq!(server.get(CONFIG_MAP)["data"]["ca.crt"], ca.trust.to_pem(), "{fault:?}");
    }
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
    let (mut mesh, _, _) = about_to_write(&server, true).await;
    let (goal, seen) = goal(&mut mesh).await;
    let Trio { trust, issuer } = goal.target;
    mesh.apply(&Move::PublishTrust { bundle: trust, issuer: Some(issuer) }, &seen).await.unwrap();
    assert_eq!(server.writes().last().unwrap(), "POST events");
}

/// Whoever loses the record still knows which roots were this mesh's.
#[tokio::test(start_paused = true)]
async fn the_note_remembers_every_root_that_was_published_until_it_is_retired_which_an_event_tells() {
    let (server, _) = cluster();
    let (mut mesh, _, _) = about_to_write(&server, true).await;
    let (goal, seen) = goal(&mut mesh).await;
    mesh.save(&Record::open(goal.clone())).await.unwrap();
    let Trio { trust, mut issuer } = goal.target;
    let roots = |seen: &Observed| seen.published.noted_roots.clone();
    mesh.apply(&Move::PublishTrust { bundle: trust.clone(), issuer: None }, &seen).await.unwrap();
    let seen = mesh.observe(&ALL).await.unwrap();
    assert_eq!(roots(&seen), trust.fingerprints().into_iter().collect::<Vec<_>>(), "those that the record names");
    mesh.apply(&Move::PublishIssuer { issuer: issuer.clone() }, &seen).await.unwrap();
    let seen = mesh.observe(&ALL).await.unwrap();
    assert_eq!(roots(&seen), trust.fingerprints().into_iter().collect::<Vec<_>>());

    let note = |server: &ApiServer| server.get(SECRET)["metadata"]["annotations"]["mtls.dapr.io/rotation"].clone();
    let noted = note(&server);
    issuer.chain.truncate(1);
    server.forget();
    mesh.apply(&Move::PublishIssuer { issuer }, &seen).await.unwrap();
    assert_eq!(note(&server), noted, "a shorter chain is no switch");
    assert_eq!(server.writes(), ["PATCH secrets/dapr-trust-bundle"], "nor an event");
    let seen = mesh.observe(&ALL).await.unwrap();
    let bundle = TrustBundle::from_anchors(vec![trust.anchors()[0].clone()]).unwrap();
    server.forget();
    mesh.apply(&Move::PublishTrust { bundle, issuer: None }, &seen).await.unwrap();
    let event = server.log().into_iter().find(|seen| seen.line() == "POST events").unwrap().body;
    assert!(event.contains("AnchorRetired") && event.contains(&trust.anchors()[1].fingerprint().short()), "{event}");
}

/// As after Sentry has overwritten both objects: the root was there before the rotation on record, and is published again.
#[tokio::test(start_paused = true)]
async fn another_meshes_root_is_never_noted_as_an_own_one_and_an_own_one_until_it_is_retired() {
    let (server, own) = cluster();
    let mut mesh = server.mesh(true);
    let (mut goal, _) = goal(&mut mesh).await;
    let foreign = ca().trust;
    goal.target.trust = goal.target.trust.merged(&foreign).unwrap();
    mesh.lock().await.unwrap();
    mesh.save(&Record::open(goal.clone())).await.unwrap();
    let publish = async |mesh: &mut Kubernetes, bundle: &TrustBundle| {
        let seen = mesh.observe(&ALL).await.unwrap();
        mesh.apply(&Move::PublishTrust { bundle: bundle.clone(), issuer: None }, &seen).await.unwrap();
        mesh.observe(&ALL).await.unwrap().published.noted_roots
    };
    let mut roots = [goal.target.root(), own.root()].map(|root| root.unwrap().fingerprint());
    roots.sort();
    assert_eq!(publish(&mut mesh, &goal.target.trust).await, roots);

    let invented = ca().trust;
    let mut secret = server.get(SECRET);
    secret["data"]["ca.crt"] = json!(STANDARD.encode(invented.to_pem()));
    server.put(SECRET, secret);
    let mut map = server.get(CONFIG_MAP);
    map["data"]["ca.crt"] = json!(invented.to_pem());
    server.put(CONFIG_MAP, map);
    assert_eq!(publish(&mut mesh, &invented.merged(&foreign).unwrap()).await, roots, "somebody else took them out");
    publish(&mut mesh, &goal.target.trust.merged(&invented).unwrap()).await;
    assert_eq!(publish(&mut mesh, &own.trust).await, [own.root().unwrap().fingerprint()]);
    mesh.unlock().await.unwrap();
}
