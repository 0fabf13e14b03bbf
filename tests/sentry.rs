//! A real Sentry and real sidecars as processes on loopback: they take what this tool makes, and follow a rotation.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use process::{App, Daprd, Sentry};

#[path = "sentry/process.rs"]
mod process;

fn mtls(args: &[&str]) {
    let output = Command::new(env!("CARGO_BIN_EXE_mtls")).args(args).output().expect("mtls runs");
    assert!(output.status.success(), "mtls {args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

const INVENTED: &str = "generating self signed CA";
const SERVES: &str = "Running gRPC server";
const RELOADS: &str = "Issuer credentials changed; reloading";

#[test]
#[ignore = "needs the lab's Sentry"]
fn a_real_sentry_takes_what_is_minted_and_follows_a_rotation() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let certs = scratch.path().join("certs");
    let dir = certs.to_str().expect("a scratch path is text");
    mtls(&["renew-certificate", "--certs-dir", dir, "--valid-until", "90"]);
    let minted = std::fs::read(certs.join("ca.crt")).expect("it was written");
    let sentry = Sentry::start(&certs, scratch.path());
    let line = sentry.says(&[INVENTED, SERVES]);
    assert!(line.contains(SERVES), "{line}");
    assert_eq!(std::fs::read(certs.join("ca.crt")).expect("it is there"), minted);
    for _ in 0..3 {
        mtls(&["renew-certificate", "--certs-dir", dir, "--valid-until", "90"]);
        let published = std::fs::read(certs.join("ca.crt")).expect("it is there");
        sentry.says(&[RELOADS]);
        let line = sentry.says(&[INVENTED, SERVES]);
        assert!(line.contains(SERVES), "{line}");
        assert_eq!(std::fs::read(certs.join("ca.crt")).expect("it is there"), published);
    }
}

#[test]
#[ignore = "needs the lab's Sentry"]
fn a_real_sentry_starts_on_what_was_exported() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let [certs, out] = ["certs", "out"].map(|name| scratch.path().join(name));
    let [dir, exported] = [&certs, &out].map(|path| path.to_str().expect("a scratch path is text"));
    mtls(&["renew-certificate", "--certs-dir", dir]);
    mtls(&["export", "--certs-dir", dir, "-o", exported]);
    let sentry = Sentry::start(&out, scratch.path());
    let line = sentry.says(&[INVENTED, SERVES]);
    assert!(line.contains(SERVES), "{line}");
}

/// The client's sidecar is never restarted; the server's is, and trusts what is published then.
#[test]
#[ignore = "needs the lab's Sentry and daprd"]
fn two_sidecars_go_on_calling_through_rotations_of_a_directory() {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let certs = scratch.path().join("certs");
    let dir = certs.to_str().expect("a scratch path is text");
    let anchors = |certs: &Path| std::fs::read_to_string(certs.join("ca.crt")).expect("it was written");
    mtls(&["renew-certificate", "--certs-dir", dir]);
    let sentry = Sentry::start(&certs, scratch.path());
    sentry.says(&[SERVES]);
    let (app, caller) = (App::server(), App::client());
    let start = |app| Daprd::start(app, &anchors(&certs), &sentry, scratch.path());
    let mut server = start(&app);
    let client = start(&caller);
    until_answered(&client);
    for _ in 0..2 {
        mtls(&["renew-certificate", "--certs-dir", dir]);
        sentry.says(&[RELOADS]);
        sentry.says(&[SERVES]);
        assert_all_answered(&client);
        drop(server);
        server = start(&app);
        until_answered(&client);
        assert_all_answered(&client);
    }
    assert_eq!(client.refusals(), [""; 0]);
    assert_eq!(server.refusals(), [""; 0]);
}

/// Until the client finds the server; no call may fail because of a certificate meanwhile.
#[track_caller]
fn until_answered(client: &Daprd) {
    let end = Instant::now() + Duration::from_secs(40);
    while let Err(why) = client.call("server") {
        assert!(!why.contains("x509") && !why.contains("handshake"), "{why}");
        assert!(Instant::now() < end, "no call is answered: {why}");
    }
}

#[track_caller]
fn assert_all_answered(client: &Daprd) {
    for call in 1..=100 {
        let answer = client.call("server");
        assert_eq!(answer.as_deref(), Ok("echo"), "call {call}");
    }
}
