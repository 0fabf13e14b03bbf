//! An append that nobody asked for by name, and one that somebody lets break those whom nobody restarts.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::apiserver::{ApiServer, Fault};
use super::commands::mtls;
use super::{CONFIG_MAP, RECORD, SECRET, ca_for, cluster, cluster_of, control_plane_pod, node};

pub const APPEND: [&str; 8] =
    ["renew-certificate", "-k", "--strategy", "append", "--valid-until", "90", "--propagation-wait", "1s"];

fn issuer(server: &ApiServer) -> Value {
    server.get(SECRET)["data"]["issuer.crt"].clone()
}

/// Another sidecar, with the trust anchors that one of `shop` has, or with those that are published now.
fn sidecar(server: &ApiServer, name: &str, is_new: bool) {
    let pods = "/api/v1/namespaces/shop/pods";
    let mut pod = server.get(&format!("{pods}/server-1"));
    if is_new {
        let bundle = STANDARD.decode(server.get(SECRET)["data"]["ca.crt"].as_str().unwrap()).unwrap();
        pod["spec"]["containers"][0]["env"][1]["value"] = json!(String::from_utf8(bundle).unwrap());
    }
    server.put(&format!("{pods}/{name}"), pod);
}

#[tokio::test]
async fn as_many_may_break_as_somebody_says_and_no_more() {
    let (server, _) = cluster();
    sidecar(&server, "server-2", false);
    let before = issuer(&server);
    let waits = mtls(&server, &APPEND).await;
    assert_eq!(waits.code, 4, "{}", waits.stderr);
    assert!(waits.stderr.contains("`--force=2` switches now"), "{}", waits.stderr);

    server.remove("/api/v1/namespaces/shop/pods/server-2");
    sidecar(&server, "server-3", true);
    let force = |more: &[&'static str]| [&APPEND[..], more].concat();
    let dry = mtls(&server, &force(&["--force=1", "--dry-run"])).await;
    assert_eq!((dry.code, issuer(&server)), (0, before.clone()), "{}", dry.stderr);
    let unasked = mtls(&server, &force(&["--force=1"])).await;
    assert_eq!((unasked.code, issuer(&server)), (2, before.clone()), "{}", unasked.stderr);
    assert!(unasked.stderr.contains("sidecar shop/server-1 would refuse the new chain"), "{}", unasked.stderr);

    sidecar(&server, "server-4", false);
    let refused = mtls(&server, &force(&["--force=1", "--yes"])).await;
    assert_eq!((refused.code, issuer(&server)), (1, before.clone()), "{}", refused.stderr);
    assert!(refused.stderr.contains("2 may refuse the new chain, named above"), "{}", refused.stderr);

    let forced = mtls(&server, &force(&["--force=2", "--yes"])).await;
    assert_eq!(forced.code, 0, "{}{}", forced.stdout, forced.stderr);
    assert_ne!(issuer(&server), before);
    let named = |name: &str| forced.stdout.contains(&format!("sidecar shop/{name}:"));
    assert!(named("server-1") && named("server-4") && !named("server-3"), "{}", forced.stdout);
}

/// Clients that joined through a token validator, and a mesh that shares its root with this one.
#[tokio::test]
async fn whoever_takes_part_unseen_is_named_and_counts_among_those_that_may_break() {
    let mut ca = ca_for(300);
    let foreign = ca_for(200).trust;
    ca.trust = ca.trust.merged(&foreign).unwrap();
    let server = cluster_of(&ca);
    server.put(
        "/apis/dapr.io/v1alpha1/namespaces/dapr-system/configurations/daprsystem",
        json!({ "metadata": {}, "spec": { "mtls": { "tokenValidators": [{ "name": "jwks" }] } } }),
    );
    let before = issuer(&server);
    assert_eq!(mtls(&server, &APPEND).await.code, 4);
    sidecar(&server, "server-2", true);
    server.remove("/api/v1/namespaces/shop/pods/server-1");

    let waits = mtls(&server, &APPEND).await;
    assert_eq!((waits.code, issuer(&server)), (4, before.clone()), "{}", waits.stderr);
    let unseen = "stands for others, and what those hold and show cannot be seen";
    let validator = format!("token validator 1 of Configuration `daprsystem`: {unseen}");
    let anchor = format!("foreign trust anchor {}: {unseen}", foreign.anchors()[0].fingerprint().short());
    assert!(waits.stdout.contains(&validator) && waits.stdout.contains(&anchor), "{}", waits.stdout);
    assert!(waits.stderr.contains("`--force=2` switches now"), "{}", waits.stderr);

    server.fail("GET configurations/daprsystem", Fault::Forbidden, 1000);
    let hidden = mtls(&server, &APPEND).await;
    assert_eq!((hidden.code, issuer(&server)), (4, before.clone()), "{}", hidden.stderr);
    let why = "Configuration `daprsystem`: cannot be seen (not allowed to get configurations.dapr.io/daprsystem";
    assert!(hidden.stdout.contains(why) && !hidden.stderr.contains("--force"), "{}{}", hidden.stdout, hidden.stderr);

    let refused = mtls(&server, &[&APPEND[..], &["--force=2", "--yes"]].concat()).await;
    assert_eq!((refused.code, issuer(&server)), (1, before.clone()), "{}", refused.stderr);
    assert!(refused.stderr.contains("no `--force` passes over it"), "{}", refused.stderr);

    server.heal();
    let forced = mtls(&server, &[&APPEND[..], &["--force=2", "--yes"]].concat()).await;
    assert_eq!(forced.code, 0, "{}{}", forced.stdout, forced.stderr);
    assert_ne!(issuer(&server), before);
}

#[tokio::test]
async fn beside_a_torn_pair_a_prune_does_not_say_that_all_is_well() {
    let (server, _) = cluster();
    let mut torn = server.get(CONFIG_MAP);
    torn["data"]["ca.crt"] = json!(ca_for(300).trust.to_pem());
    server.put(CONFIG_MAP, torn);
    let refused = mtls(&server, &["prune", "-k", "--yes"]).await;
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("`mtls restart --stale -k` repairs the pair"), "{}", refused.stderr);
}

#[tokio::test]
async fn whoever_every_later_pod_depends_on_is_not_among_those_that_may_break() {
    let (server, _) = cluster();
    server.remove("/api/v1/namespaces/shop/pods/server-1");
    node(&server, "0");
    control_plane_pod(&server, "dapr-sidecar-injector");
    let waits = mtls(&server, &APPEND).await;
    assert_eq!(waits.code, 4, "{}", waits.stderr);
    let before = issuer(&server);
    let refused = mtls(&server, &[&APPEND[..], &["--force=1", "--yes"]].concat()).await;
    assert_eq!((refused.code, issuer(&server)), (1, before), "{}", refused.stderr);
    let named = "warning: injector dapr-system/dapr-sidecar-injector-0 would refuse the new chain";
    let why = "error: 1 may refuse the new chain, named above; one of them stands for more than itself, and no `--force` \
               passes over it";
    assert!(refused.stderr.contains(named) && refused.stderr.contains(why), "{}", refused.stderr);
}

#[tokio::test]
async fn a_nightly_job_appends_where_no_bridge_is_possible_and_goes_on_until_everybody_was_restarted() {
    let nightly = ["renew-certificate", "-k", "--if-expires-within", "30d", "--propagation-wait", "1s"];
    let server = cluster_of(&ca_for(12));
    let before = issuer(&server);
    let dry = mtls(&server, &[&nightly[..], &["--dry-run"]].concat()).await;
    assert_eq!(dry.code, 0, "{}", dry.stderr);
    assert!(
        dry.stdout.contains("strategy append") && dry.stdout.contains("once everybody is seen to hold"),
        "{}",
        dry.stdout
    );
    assert_eq!(server.writes(), [""; 0]);

    let waits = mtls(&server, &nightly).await;
    assert_eq!((waits.code, issuer(&server)), (4, before.clone()), "{}", waits.stderr);
    let why = "strategy append: everybody is made to hold the new root before the switch, since bridge is not safe here: \
               the bridge would end 2026-06-01T12:00:00Z";
    assert!(waits.stderr.contains(why), "{}", waits.stderr);
    assert!(waits.stdout.contains("sidecar shop/server-1"), "{}", waits.stdout);

    let record = server.get(RECORD);
    let goes_on = mtls(&server, &nightly).await;
    assert_eq!((goes_on.code, server.get(RECORD)), (4, record), "{}", goes_on.stderr);
    assert!(goes_on.stderr.contains("(strategy append)"), "{}", goes_on.stderr);
    sidecar(&server, "server-2", true);
    server.remove("/api/v1/namespaces/shop/pods/server-1");
    let switched = mtls(&server, &nightly).await;
    assert_eq!(switched.code, 0, "{}{}", switched.stdout, switched.stderr);
    assert_ne!(issuer(&server), before);
}
