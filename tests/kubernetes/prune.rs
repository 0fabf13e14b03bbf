//! `mtls prune`: what the objects of a cluster say that stands in its way.

use jiff::SignedDuration;
use mtls::mesh::Answer;
use mtls::rotation::{Mesh, Need};
use serde_json::{Value, json};

use super::apiserver::ApiServer;
use super::append::APPEND;
use super::commands::mtls;
use super::restore::rotated;
use super::{ALL, cluster};

const PRUNE: [&str; 5] = ["prune", "-k", "--yes", "--propagation-wait", "0"];

/// Configurations as a cluster has them: Dapr's own with two token validators, and those of three applications.
fn configure(server: &ApiServer) {
    let validator =
        |name: &str| json!({ "name": name, "options": { "minRefreshInterval": "2m", "source": "https://a" } });
    let features = |name: &str, enabled: bool| json!({ "features": [{ "name": "Resiliency", "enabled": true }, { "name": name, "enabled": enabled }] });
    let system = json!({ "mtls": { "enabled": true, "workloadCertTTL": "1h", "allowedClockSkew": "5m",
        "sentryAddress": "dapr-sentry.dapr-system.svc.cluster.local:443", "controlPlaneTrustDomain": "cluster.local",
        "tokenValidators": [validator("jwks"), validator("kubernetes")] }, "metric": { "enabled": true } });
    let put = |namespace: &str, name: &str, spec: Value| {
        let path = format!("/apis/dapr.io/v1alpha1/namespaces/{namespace}/configurations/{name}");
        server.put(&path, json!({ "kind": "Configuration", "metadata": {}, "spec": spec }));
    };
    put("dapr-system", "daprsystem", system);
    put("shop", "signed", features("WorkflowHistorySigning", true));
    put("shop", "unsigned", features("WorkflowHistorySigning", false));
    put("shop", "other", features("WorkflowsClusteredDeployment", true));
}

#[tokio::test(start_paused = true)]
async fn configurations_tell_how_long_svids_live_who_else_joins_and_whose_history_is_signed() {
    let (server, _) = cluster();
    configure(&server);
    let seen = server.reader().observe(&Need { signed_histories: true, ..ALL }).await.unwrap();
    assert_eq!(seen.settings.token_validators, 2);
    assert_eq!(seen.settings.workload_cert_ttl, SignedDuration::from_hours(1));
    assert_eq!(seen.settings.allowed_clock_skew, SignedDuration::from_mins(5));
    assert_eq!(seen.signed_histories, Answer::Proven(vec!["shop/signed".to_owned()]));
}

#[tokio::test]
async fn whoever_joins_by_a_token_and_whose_history_is_signed_stands_in_the_way() {
    let server = rotated().await;
    configure(&server);
    let refused = mtls(&server, &PRUNE).await;
    assert_eq!((refused.code, server.writes()), (1, Vec::new()), "{}", refused.stderr);
    let unseen = "of Configuration `daprsystem` stands for others, and what those hold and show cannot be seen";
    for named in [
        format!("token validator 1 {unseen}"),
        format!("token validator 2 {unseen}"),
        "Configuration shop/signed has workflow history signed".to_owned(),
    ] {
        assert!(refused.stderr.contains(&format!("warning: {named}")), "{named}: {}", refused.stderr);
    }
    assert!(!refused.stderr.contains("unsigned") && !refused.stderr.contains("shop/other"), "{}", refused.stderr);
    assert!(!refused.stderr.contains("`--force="), "no number allows a signed history: {}", refused.stderr);
}

#[tokio::test]
async fn what_an_open_rotation_needs_is_not_retired() {
    let (server, _) = cluster();
    let waits = mtls(&server, &APPEND).await;
    assert_eq!(waits.code, 4, "{}", waits.stderr);
    server.forget();
    let refused = mtls(&server, &PRUNE).await;
    assert_eq!((refused.code, server.writes()), (1, Vec::new()), "{}", refused.stderr);
    let why = "error: a rotation (strategy append) is open since ";
    let told = ", and what it still needs cannot be retired\n\
                hint: go on with `mtls renew-certificate --resume -k`, or back with `mtls renew-certificate --abort -k`";
    assert!(refused.stderr.contains(why) && refused.stderr.contains(told), "{}", refused.stderr);
}
