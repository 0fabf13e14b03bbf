//! `mtls restore`: what it writes, in which order, and what it leaves alone.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use mtls::rotation::Trio;
use serde_json::{Value, json};

use super::apiserver::ApiServer;
use super::commands::{RENEW, mtls, owned_by};
use super::{CONFIG_MAP, FENCED, RECORD, SECRET, ca, cluster, is_equal_pair, is_fenced};

const RESTORE: [&str; 6] = ["restore", "-k", "--propagation-wait", "0", "-o", "json"];

/// A cluster that was rotated once.
pub async fn rotated() -> ApiServer {
    let (server, _) = cluster();
    let ended = mtls(&server, &RENEW).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    server.forget();
    server
}

fn value(server: &ApiServer, key: &str) -> String {
    let value = STANDARD.decode(server.get(SECRET)["data"][key].as_str().unwrap_or_default()).unwrap();
    String::from_utf8(value).unwrap()
}

/// What Sentry does to both objects where it invents a CA.
fn overwrite(server: &ApiServer, invented: &Trio) {
    let mut secret = server.get(SECRET);
    let bundle = invented.trust.to_pem();
    let values = [
        ("ca.crt", bundle.clone()),
        ("issuer.crt", invented.issuer.chain_pem()),
        ("issuer.key", invented.issuer.key.to_pem().to_string()),
    ];
    for (key, text) in values {
        secret["data"][key] = json!(STANDARD.encode(text));
    }
    server.put(SECRET, secret);
    let mut map = server.get(CONFIG_MAP);
    map["data"]["ca.crt"] = json!(bundle);
    server.put(CONFIG_MAP, map);
}

#[tokio::test]
async fn the_kept_issuer_comes_back_over_an_invented_ca_and_nothing_else_is_touched() {
    let server = rotated().await;
    let (key, bundle) = (value(&server, "issuer.key"), value(&server, "ca.crt"));
    let invented = ca();
    overwrite(&server, &invented);
    let status = mtls(&server, &["status", "-k"]).await;
    assert!(status.stdout.contains("`mtls restore -k`"), "{}", status.stdout);

    let planned = mtls(&server, &[&RESTORE[..], &["--dry-run"]].concat()).await;
    assert_eq!(planned.code, 0, "{}", planned.stderr);
    let planned: Value = serde_json::from_str(&planned.stdout).unwrap();
    assert_eq!((&planned["result"], planned["moves"].as_array().unwrap().len()), (&json!("planned"), 2));
    assert_eq!(server.writes(), [""; 0]);

    let ended = mtls(&server, &RESTORE).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((&report["result"], &report["strategy"]), (&json!("done"), &json!("restore")));
    let mut writes = server.writes();
    writes[1..3].sort();
    assert_eq!(writes, [&["PUT secrets/mtls-rotation"], &FENCED[..]].concat());
    assert_eq!(value(&server, "issuer.key"), key);
    assert_eq!(value(&server, "ca.crt"), format!("{bundle}{}", invented.trust.to_pem()), "both stay trusted");
    assert!(value(&server, "issuer.crt").ends_with(&invented.issuer.chain_pem()));
    assert_eq!(server.get(SECRET)["data"]["jwt.key"], "Zm9yZWlnbg==", "a foreign key");
    assert!(is_equal_pair(&server) && !is_fenced(&server));

    server.forget();
    let again = mtls(&server, &RESTORE).await;
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(serde_json::from_str::<Value>(&again.stdout).unwrap()["result"], "nothing-due");
    assert_eq!(server.writes(), [""; 0]);
}

#[tokio::test]
async fn what_was_emptied_is_filled_from_the_record_in_one_pair_of_writes() {
    let server = rotated().await;
    let before = ["ca.crt", "issuer.crt", "issuer.key"].map(|key| value(&server, key));
    for path in [SECRET, CONFIG_MAP] {
        let mut object = server.get(path);
        object["data"] = json!({ "jwks.json": object["data"]["jwks.json"] });
        server.put(path, object);
    }
    let status = mtls(&server, &["status", "-k"]).await;
    assert!(status.stdout.contains("put the kept CA back with `mtls restore -k`"), "{}", status.stdout);
    let ended = mtls(&server, &RESTORE).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(["ca.crt", "issuer.crt", "issuer.key"].map(|key| value(&server, key)), before);
    let published =
        server.writes().into_iter().filter(|line| line.contains("dapr-trust-bundle") && !line.ends_with("dry"));
    assert_eq!(
        published.collect::<Vec<_>>(),
        ["PATCH configmaps/dapr-trust-bundle", "PATCH secrets/dapr-trust-bundle"]
    );
    assert!(is_equal_pair(&server) && !is_fenced(&server));
}

#[tokio::test]
async fn what_cannot_be_restored_or_is_somebody_elses_is_left_alone() {
    let server = rotated().await;
    overwrite(&server, &ca());
    owned_by(&server, "argocd-controller");
    let refused = mtls(&server, &RESTORE).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("Argo CD") && refused.stderr.contains("--ignore-owners"), "{}", refused.stderr);
    server.remove(RECORD);
    let refused = mtls(&server, &[&RESTORE[..], &["--ignore-owners"]].concat()).await;
    assert_eq!(refused.code, 1);
    let why = "error: no CA is kept that could be restored: there is no record of a rotation\n\
               hint: if you have it as files: `mtls renew-certificate --ca-root-certificate ca.crt";
    assert!(refused.stderr.contains(why), "{}", refused.stderr);
    assert_eq!(server.writes(), [""; 0]);
}
