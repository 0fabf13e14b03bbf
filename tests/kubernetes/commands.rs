//! Whole commands against a server on a port of this machine.

use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;

use super::apiserver::{ApiServer, Fault, NAMESPACE};
use super::{CONFIG_MAP, FENCED, SECRET, cluster, pin_helm_values};

/// What a command left behind.
pub struct Ended {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
    /// The most memory that it had at once, in kilobytes.
    memory: u64,
}

/// Runs the built binary against `server`.
pub async fn mtls(server: &ApiServer, arguments: &[&str]) -> Ended {
    let home = tempfile::tempdir().unwrap();
    let kubeconfig = home.path().join("config");
    std::fs::write(&kubeconfig, server.listen().await).unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mtls"));
    command.args(arguments).arg("--kubeconfig").arg(&kubeconfig).env("HOME", home.path()).env_remove("KUBECONFIG");
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", child.id().unwrap());
    let (mut out, mut err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let (mut stdout, mut stderr, mut memory) = (String::new(), String::new(), 0);
    let code = {
        let ended = async { tokio::join!(out.read_to_string(&mut stdout), err.read_to_string(&mut stderr)) };
        tokio::pin!(ended);
        loop {
            tokio::select! {
                _ = &mut ended => break child.wait().await.unwrap().code().unwrap(),
                () = tokio::time::sleep(std::time::Duration::from_millis(2)) => {
                    memory = peak(&status).unwrap_or(memory);
                }
            }
        }
    };
    Ended { code, stdout, stderr, memory }
}

fn peak(status: &str) -> Option<u64> {
    let status = std::fs::read_to_string(status).ok()?;
    status.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok())
}

/// Pods as an API server lists them: most of it is of no interest.
fn many_pods(server: &ApiServer, number: usize) {
    let mut pod = server.get("/api/v1/namespaces/shop/pods/server-1");
    pod["metadata"]["managedFields"] = json!([{ "manager": "kubelet", "fieldsV1": { "f:status": "x".repeat(3000) } }]);
    for at in 0..number {
        server.put(&format!("/api/v1/namespaces/shop/pods/pod-{at:05}"), pod.clone());
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn ten_thousand_pods_fit_in_forty_megabytes() {
    let (server, _) = cluster();
    let small = mtls(&server, &["status", "-k"]).await;
    assert_eq!(small.code, 0, "{}", small.stderr);
    many_pods(&server, 10_000);
    server.fail_nth("GET api/v1/pods", Fault::Gone, 20);
    server.forget();
    let large = mtls(&server, &["status", "-k", "-o", "json"]).await;
    assert_eq!(large.code, 0, "{}", large.stderr);
    let status: Value = serde_json::from_str(&large.stdout).unwrap();
    assert_eq!(status["consumers"]["seen"], 10_001, "the list was begun anew, and nobody counted twice");
    let pages = server.log().iter().filter(|seen| seen.query.contains("limit=250")).count();
    assert!((59..=61).contains(&pages), "some pages twice, after the list had grown too old: {pages}");
    let more = large.memory.saturating_sub(small.memory);
    assert!(small.memory > 0 && more <= 40 * 1024, "{} kB, and {more} kB more", small.memory);
}

#[tokio::test]
async fn very_verbose_names_every_request_and_repeats_none() {
    let (server, ca) = cluster();
    let plain = mtls(&server, &["status", "-k"]).await;
    let looks = mtls(&server, &["status", "-k", "-v"]).await;
    server.forget();
    let all = mtls(&server, &["status", "-k", "-vv"]).await;
    assert!(!plain.stderr.contains("looked") && looks.stderr.contains("looked: Secret at version"), "{}", looks.stderr);
    assert!(!looks.stderr.contains("GET "), "{}", looks.stderr);
    assert!(all.stderr.contains(&format!("GET {SECRET}: 200 (")), "{}", all.stderr);
    assert_eq!(all.stderr.lines().filter(|line| line.starts_with("GET ")).count(), server.log().len());
    let key = ca.issuer.key.to_pem();
    let line = key.lines().nth(1).unwrap();
    assert!(!all.stderr.contains(line) && !all.stderr.contains(&STANDARD.encode(line)[..20]), "a body was repeated");
}

#[tokio::test]
async fn the_control_plane_is_found_or_asked_for() {
    let (server, _) = cluster();
    assert!(mtls(&server, &["status", "-k"]).await.stdout.contains("dapr-sentry"));
    let wrong = mtls(&server, &["status", "-k", "-n", "shop"]).await;
    assert_eq!(wrong.code, 1);
    assert!(wrong.stderr.contains("no Dapr control plane in namespace `shop`"), "{}", wrong.stderr);
    assert!(wrong.stderr.contains("leave `-n` out"), "{}", wrong.stderr);

    let sentry = server.get("/apis/apps/v1/namespaces/dapr-system/deployments/dapr-sentry");
    server.put("/apis/apps/v1/namespaces/dapr-two/deployments/dapr-sentry", sentry);
    let several = mtls(&server, &["status", "-k"]).await;
    assert_eq!(several.code, 1);
    assert!(several.stderr.contains("dapr-system, dapr-two"), "{}", several.stderr);
    assert!(several.stderr.contains("mtls status -n dapr-system"), "{}", several.stderr);
    assert_eq!(mtls(&server, &["status", "-k", "-n", NAMESPACE]).await.code, 0);

    let none = mtls(&ApiServer::new(), &["status", "-k"]).await;
    assert_eq!(none.code, 1);
    assert!(none.stderr.contains("app=dapr-sentry in any namespace"), "{}", none.stderr);
    assert!(none.stderr.contains("--self-hosted"), "{}", none.stderr);
}

/// Marks both objects as written by `manager`.
pub fn owned_by(server: &ApiServer, manager: &str) {
    for path in [SECRET, CONFIG_MAP] {
        let mut object = server.get(path);
        let fields = json!({ "f:data": { "f:ca.crt": {} } });
        object["metadata"]["managedFields"] =
            json!([{ "manager": manager, "time": "2026-05-31T00:00:00Z", "fieldsV1": fields }]);
        server.put(path, object);
    }
}

pub const RENEW: [&str; 4] = ["renew-certificate", "-k", "--propagation-wait", "0"];

#[tokio::test]
async fn the_record_is_kept_before_anything_is_published() {
    let (server, _) = cluster();
    let ended = mtls(&server, &RENEW).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let counts = |write: &&str| !write.contains("leases") && !write.ends_with(" dry");
    let writes = server.writes();
    let writes: Vec<&str> = writes.iter().map(String::as_str).filter(counts).collect();
    let expected = ["POST secrets"].into_iter().chain(FENCED).filter(counts);
    assert_eq!(writes, expected.collect::<Vec<_>>());
}

#[tokio::test]
async fn an_abrupt_replacement_says_what_fails_meanwhile_and_who_is_still_to_be_restarted() {
    let (server, _) = cluster();
    let ended = mtls(&server, &[&RENEW[..], &["--strategy", "replace", "--yes"]].concat()).await;
    assert_eq!(ended.code, 4, "{}{}", ended.stdout, ended.stderr);
    let fails = "calls between a restarted and a not yet restarted pod fail until everything has been restarted";
    assert!(ended.stderr.contains(fails), "{}", ended.stderr);
    assert!(ended.stdout.contains("sidecar shop/server-1: refuses the new chain"), "{}", ended.stdout);
}

#[tokio::test]
async fn what_somebody_else_owns_is_not_written() {
    for (manager, who) in [("argocd-controller", "Argo CD"), ("kustomize-controller", "Flux")] {
        let (server, _) = cluster();
        owned_by(&server, manager);
        let refused = mtls(&server, &RENEW).await;
        assert_eq!(refused.code, 1);
        assert!(refused.stderr.contains(who) && refused.stderr.contains("--ignore-owners"), "{}", refused.stderr);
        assert_eq!(server.writes(), [""; 0]);
        let ignored = mtls(&server, &[&RENEW[..], &["--ignore-owners"]].concat()).await;
        assert_eq!(ignored.code, 0, "{}", ignored.stderr);
        assert!(ignored.stderr.contains("writing all the same"), "{}", ignored.stderr);
        assert!(server.writes().contains(&"PATCH secrets/dapr-trust-bundle".to_owned()));
    }
    let (server, _) = cluster();
    let mut secret = server.get(SECRET);
    secret["data"]["issuer.next.crt"] = json!("eA==");
    server.put(SECRET, secret);
    let refused = mtls(&server, &[&RENEW[..], &["--ignore-owners"]].concat()).await;
    assert_eq!(refused.code, 1);
    assert!(refused.stderr.contains("issuer.next.crt"), "{}", refused.stderr);
    assert_eq!(server.writes(), [""; 0]);
}

#[tokio::test]
async fn where_nothing_is_open_nothing_is_resumed() {
    let (server, _) = cluster();
    for _ in 0..2 {
        let refused = mtls(&server, &["renew-certificate", "-k", "--resume"]).await;
        assert_eq!((refused.code, server.writes()), (1, Vec::new()));
        let why = "error: no rotation is open, so there is nothing to resume\n\
                   hint: `mtls status -k` shows where the mesh stands";
        assert!(refused.stderr.contains(why), "{}", refused.stderr);
        assert_eq!(mtls(&server, &RENEW).await.code, 0);
        server.forget();
    }
}

#[tokio::test]
async fn a_fence_that_cannot_be_given_back_is_work_left_over() {
    let (server, _) = cluster();
    // The third time that the Role is written, after the dry run and the fence.
    server.fail_nth("PATCH roles", Fault::Forbidden, 3);
    server.fail("PATCH roles", Fault::Forbidden, 100);
    let ended = mtls(&server, &RENEW).await;
    assert_eq!(ended.code, 4, "{}", ended.stderr);
    assert!(ended.stderr.contains("Role `dapr-system/dapr-sentry` is still fenced"), "{}", ended.stderr);
    assert!(ended.stderr.contains("mtls restart --stale -k"), "{}", ended.stderr);
}

#[tokio::test]
async fn pinned_helm_values_are_warned_of_before_the_first_write() {
    let (server, _) = cluster();
    pin_helm_values(&server);
    let ended = mtls(&server, &RENEW).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let requests = server.log().len();
    assert!(requests <= 45, "with 15 for nudges and probes of five pods a rotation stays below 60: {requests}");
    let place = |what: &str| ended.stderr.find(what).unwrap_or_else(|| panic!("no `{what}` in {}", ended.stderr));
    assert!(place("Helm release dapr-system/dapr pin certificates") < place("publish the trust bundle"));
}

#[tokio::test]
async fn a_server_that_never_answers_is_given_up() {
    let (server, _) = cluster();
    server.fail("GET", Fault::Silent, 100);
    let ended = mtls(&server, &["status", "-k", "--request-timeout", "200ms"]).await;
    assert_eq!(ended.code, 1);
    assert!(ended.stderr.contains("no answer within 0.2 s"), "{}", ended.stderr);
}

#[tokio::test]
async fn a_context_without_a_kubeconfig_is_not_the_pods_own_account() {
    let home = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_mtls"));
    command.args(["status", "-k", "--context", "prod"]).env("HOME", home.path()).env_remove("KUBECONFIG");
    let ended = command.env("KUBERNETES_SERVICE_HOST", "127.0.0.1").output().await.unwrap();
    let stderr = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(ended.status.code(), Some(1));
    assert!(stderr.contains("no kubeconfig that could have a context `prod`"), "{stderr}");
}
