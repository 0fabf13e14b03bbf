//! Sentry and daprd of the lab's build as plain processes on loopback, each stopped when it goes out of scope.

#![allow(dead_code, reason = "each test target that includes it uses a part of it")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A running process, and the lines of its log.
pub struct Process {
    child: Child,
    lines: Receiver<String>,
}

/// A running Sentry.
pub struct Sentry {
    process: Process,
    port: u16,
}

/// A running sidecar.
pub struct Daprd {
    process: Process,
    port: u16,
}

/// An application with a sidecar. Its address stays when the sidecar is restarted: peers remember it for a while.
pub struct App {
    name: &'static str,
    /// Where the application listens, if it does.
    port: Option<u16>,
    address: u16,
}

impl App {
    /// An application that only calls.
    pub fn client() -> Self {
        Self { name: "client", port: None, address: free_port() }
    }

    /// An application that answers every request, on a thread of its own.
    pub fn server() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                std::thread::spawn(move || answer(stream));
            }
        });
        Self { name: "server", port: Some(port), address: free_port() }
    }

    /// Where its sidecar is called by other sidecars.
    pub fn address(&self) -> u16 {
        self.address
    }
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("a binary of the lab starts");
        let out = child.stdout.take().expect("it was asked for");
        let (send, lines) = channel();
        std::thread::spawn(move || BufReader::new(out).lines().map_while(Result::ok).try_for_each(|l| send.send(l)));
        Self { child, lines }
    }

    /// Waits for a line that has one of these in it. Fails after half a minute, or when the process ends.
    #[track_caller]
    pub fn says(&self, wanted: &[&str]) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        let mut heard = Vec::new();
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if wanted.iter().any(|wanted| line.contains(wanted)) {
                return line;
            }
            heard.push(line);
        }
        panic!("it never said any of {wanted:?}:\n{}", heard.join("\n"));
    }

    /// The next line of its log. Errors where none comes in that time, and where it has ended.
    pub fn line(&self, time: Duration) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(time)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Sentry {
    /// Starts on the files in `certs`.
    pub fn start(certs: &Path, scratch: &Path) -> Self {
        let port = free_port();
        let process = Process::start(sentry(port, certs).arg("--config").arg(settings(scratch)));
        Self { process, port }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for a line of its log.
    #[track_caller]
    pub fn says(&self, wanted: &[&str]) -> String {
        self.process.says(wanted)
    }
}

impl Daprd {
    /// Starts the sidecar of `app`, which trusts `anchors`.
    pub fn start(app: &App, anchors: &str, sentry: &Sentry, scratch: &Path) -> Self {
        let http = free_port();
        let mut command = Command::new(binary("daprd"));
        command
            .args(["--app-id", app.name, "--enable-mtls", "--control-plane-trust-domain", "cluster.local"])
            .args(["--sentry-address", &format!("127.0.0.1:{}", sentry.port)])
            .args(["--dapr-http-port", &http.to_string(), "--dapr-listen-addresses", "127.0.0.1"])
            .args(["--dapr-grpc-port", &free_port().to_string()])
            .args(["--dapr-internal-grpc-port", &app.address.to_string()])
            .args(["--metrics-port", &free_port().to_string(), "--metrics-listen-address", "127.0.0.1"])
            .args(["--placement-host-address", ""])
            .arg("--config")
            .arg(settings(scratch))
            .env("DAPR_TRUST_ANCHORS", anchors)
            .env("NAMESPACE", "default");
        if let Some(port) = app.port {
            command.args(["--app-port", &port.to_string()]);
        }
        let daprd = Self { process: Process::start(&mut command), port: http };
        daprd.process.says(&["dapr initialized"]);
        daprd
    }

    /// Calls the application `app` through both sidecars. Errors with what this sidecar answers instead.
    pub fn call(&self, app: &str) -> Result<String, String> {
        get(self.port, &format!("/v1.0/invoke/{app}/method/echo"))
    }

    /// The lines of its log since the last time, as far as they tell of a refused certificate.
    pub fn refusals(&self) -> Vec<String> {
        let marks = ["x509: ", "tls: ", "authentication handshake failed"];
        let mut found = Vec::new();
        loop {
            match self.process.lines.recv_timeout(Duration::ZERO) {
                Ok(line) if marks.iter().any(|mark| line.contains(mark)) => found.push(line),
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return found,
            }
        }
    }
}

/// What is answered on a port of this machine. Errors with what is answered in place of 200.
pub fn get(port: u16, path: &str) -> Result<String, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|why| why.to_string())?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").map_err(|why| why.to_string())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(|why| why.to_string())?;
    let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(|| format!("no answer: {answer}"))?;
    if head.contains(" 200 ") { Ok(body.to_owned()) } else { Err(answer) }
}

/// Answers the requests of one connection, none of which has a body.
fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while let Some(line) = lines.next().transpose()? {
        if line.is_empty() {
            stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\necho")?;
        }
    }
    Ok(())
}

/// Sentry on loopback, with its files in `certs`.
pub fn sentry(port: u16, certs: &Path) -> Command {
    let mut command = Command::new(binary("sentry"));
    command
        .args(["--listen-address", "127.0.0.1", "--healthz-listen-address", "127.0.0.1"])
        .args(["--metrics-listen-address", "127.0.0.1", "--trust-domain", "cluster.local"])
        .args(["--port", &port.to_string()])
        .args(["--healthz-port", &free_port().to_string(), "--metrics-port", &free_port().to_string()])
        .arg("--issuer-credentials")
        .arg(certs);
    command
}

/// A binary that `tests/lab/up` has built.
pub fn binary(name: &str) -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").expect("there is a home directory")).join(".cache");
    let cache = || std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("mtls-lab");
    let state = std::env::var_os("MTLS_LAB_DIR").map_or_else(cache, PathBuf::from);
    let binary = state.join("bin").join(name);
    if !binary.exists() {
        let up = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/lab/up");
        assert!(Command::new(up).status().expect("the lab can be started").success(), "tests/lab/up failed");
    }
    binary
}

fn settings(scratch: &Path) -> PathBuf {
    let file = scratch.join("config.yaml");
    let settings = "apiVersion: dapr.io/v1alpha1\nkind: Configuration\nmetadata:\n  name: daprsystem\nspec:\n  mtls:\n    enabled: true\n";
    std::fs::write(&file, settings).expect("the scratch directory takes a file");
    file
}

/// A port that nobody listens on and that was given to nobody here: one that is asked for is not bound at once, and the
/// system may give it out again.
pub fn free_port() -> u16 {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        if GIVEN.lock().expect("no holder of this lock panics").insert(port) {
            return port;
        }
    }
}
