//! A real Sentry as a process on loopback: it takes what this tool makes, and follows a rotation without a restart.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// The binary that `tests/lab/up` has built.
fn sentry_binary() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("there is a home directory")).join(".cache");
    let cache = || std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("mtls-lab");
    let state = std::env::var_os("MTLS_LAB_DIR").map_or_else(cache, PathBuf::from);
    let binary = state.join("bin/sentry");
    if !binary.exists() {
        let up = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/up");
        assert!(Command::new(up).status().expect("the lab can be started").success(), "tests/lab/up failed");
    }
    binary
}

/// A running Sentry; stopped when it goes out of scope.
struct Sentry {
    process: Child,
    lines: Receiver<String>,
}

impl Sentry {
    fn start(certs: &Path, scratch: &Path) -> Self {
        let config = scratch.join("config.yaml");
        let settings = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: daprsystem\nspec:\n  mtls:\n    enabled: true\n";
        std::fs::write(&config, settings).expect("the scratch directory takes a file");
        let mut process = Command::new(sentry_binary())
            .args(["--listen-address", "127.0.0.1", "--healthz-listen-address", "127.0.0.1"])
            .args(["--metrics-listen-address", "127.0.0.1", "--trust-domain", "cluster.local"])
            .args(["--port", &free_port(), "--healthz-port", &free_port(), "--metrics-port", &free_port()])
            .arg("--config")
            .arg(&config)
            .arg("--issuer-credentials")
            .arg(certs)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the lab's Sentry starts");
        let out = process.stdout.take().expect("it was asked for");
        let (send, lines) = channel();
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|l| send.send(l)));
        Self { process, lines }
    }

    /// Waits for a line of its log that has one of these in it. Fails after half a minute, or when Sentry ends.
    fn says(&self, wanted: &[&str]) -> String {
        let mut heard = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(Duration::from_secs(30)) {
            if wanted.iter().any(|wanted| line.contains(wanted)) {
                return line;
            }
            heard.push(line);
        }
        panic!("Sentry never said any of {wanted:?}:\n{}", heard.join("\n"));
    }
}

impl Drop for Sentry {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    listener.local_addr().expect("it is bound").port().to_string()
}

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
