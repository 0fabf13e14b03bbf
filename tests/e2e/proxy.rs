//! The lab's proxy between `mtls` and the API server: it logs every request and breaks the one it is told to.

use std::io::{BufRead, BufReader, Read, Write as _};
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::lab::{CONTROL_PLANE, Lab, User};
use crate::run::{Run, Running};
use crate::wait::{figure, until};

/// What happens to one mutating request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// `mtls` is killed before the request reaches the API server.
    KillBefore,
    /// `mtls` is killed after the API server has carried it out and before it hears of it.
    KillAfter,
}

/// How the answer to a request that was carried out does not arrive.
#[derive(Clone, Copy, Debug)]
pub enum Loss {
    /// The connection ends.
    Cut,
    /// Something in between answers that the API server cannot be reached.
    Unavailable,
}

/// A write, by what it wrote to: a kind of object, and which of them where it says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    pub kind: String,
    pub name: String,
}

/// A running proxy.
pub struct Proxy {
    child: Child,
    control: String,
    access: Vec<String>,
}

impl Proxy {
    /// Starts a proxy for `user`.
    pub fn start(lab: &Lab, user: User) -> Self {
        let certificate = lab.path("proxy.crt");
        let upstream_ca = lab.dir().join("run/pki/ca.crt");
        let mut config = kubeconfig(lab, user);
        let cluster = &mut config["clusters"][0]["cluster"];
        let upstream = cluster["server"].as_str().expect("a cluster has a server").to_owned();
        let mut child = Command::new(lab.dir().join("bin/lab-proxy"))
            .args(["--upstream", &upstream, "--cert-out", &certificate, "--upstream-ca"])
            .arg(upstream_ca)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the proxy starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("stdout is piped");
        BufReader::new(stdout).read_line(&mut line).expect("the proxy says where it listens");
        let at: Value = serde_json::from_str(&line).expect("the proxy prints JSON");
        let address = |name: &str| at[name].as_str().expect("an address").to_owned();
        let ca = std::fs::read(&certificate).expect("the proxy wrote its certificate");
        cluster["server"] = json!(format!("https://{}", address("listen")));
        cluster["certificate-authority-data"] = json!(STANDARD.encode(ca));
        let file = lab.path("proxy.kubeconfig");
        std::fs::write(&file, config.to_string()).expect("a kubeconfig can be written");
        Self { child, control: address("control"), access: vec!["--kubeconfig".to_owned(), file] }
    }

    /// Runs `mtls` with a fault at its first write to objects of a kind, in the control plane's namespace; `applications`
    /// are the Deployments of the other one.
    #[track_caller]
    pub fn break_at(&self, lab: &Lab, fault: Fault, kind: &str, args: &[&str]) -> Run {
        self.break_at_nth(lab, fault, kind, 1, args)
    }

    /// Runs `mtls` with a fault at the `nth` of its writes to objects of a kind, from 1.
    #[track_caller]
    pub fn break_at_nth(&self, lab: &Lab, fault: Fault, kind: &str, nth: usize, args: &[&str]) -> Run {
        let mode = match fault {
            Fault::KillBefore => "hold-before",
            Fault::KillAfter => "hold-after",
        };
        let path = path_of(kind);
        self.forget();
        self.ask("PUT", "/fault", Some(&json!({"at": nth, "mode": mode, "path": path})));
        let run = self.kill_when_held(lab, lab.start_with(&self.access, args));
        assert!(self.fired(), "there was no write {nth} to {kind}: {run}");
        self.ask("DELETE", "/fault", None);
        self.ask("PUT", "/release", None);
        run
    }

    /// Runs `mtls` to its end. Each of its writes is carried out, and the answer lost, the first time that it is sent: at
    /// least `least` of them.
    #[track_caller]
    pub fn lose_each(&self, lab: &Lab, how: Loss, least: usize, args: &[&str]) -> Run {
        let mode = match how {
            Loss::Cut => "cut-after",
            Loss::Unavailable => "503-after",
        };
        self.forget();
        self.ask("PUT", "/fault", Some(&json!({"at": 1, "each": true, "mode": mode})));
        let run = lab.finish(lab.start_with(&self.access, args));
        self.ask("DELETE", "/fault", None);
        let lost = self.log().iter().filter(|entry| entry["fault"] == json!(mode)).count();
        let all = self.writes().len();
        figure(format!("{lost} of {all} answers were lost, and it took {:.1} s", run.took.as_secs_f64()));
        assert!(lost * 2 >= all && lost >= least, "{lost} of {all} answers were lost: {run}");
        run
    }

    /// The writes that the API server has carried out since [`Proxy::forget`].
    pub fn writes(&self) -> Vec<Write> {
        let log = self.log();
        let done = log.iter().filter(|entry| {
            entry["mutating"] == json!(true)
                && entry["upstream_status"].as_u64().is_some_and(|status| (200..300).contains(&status))
        });
        done.map(|entry| Write::of(entry["path"].as_str().unwrap_or_default())).collect()
    }

    /// Begins the log anew.
    pub fn forget(&self) {
        self.ask("DELETE", "/log", None);
    }

    /// Kills `mtls` while its first write to `path` has not reached the API server.
    #[track_caller]
    pub fn kill_at(&self, lab: &Lab, path: &str, args: &[&str]) -> Run {
        self.ask("PUT", "/fault", Some(&json!({"at": 1, "mode": "hold-before", "path": path})));
        let run = self.kill_when_held(lab, lab.start_with(&self.access, args));
        assert!(self.fired(), "nothing was written to {path}: {run}");
        self.ask("DELETE", "/fault", None);
        run
    }

    /// Interrupts `mtls` while its first write to `path` has not reached the API server, then lets it through.
    #[track_caller]
    pub fn interrupt_at(&self, lab: &Lab, signal: &str, path: &str, args: &[&str]) -> Run {
        self.forget();
        self.ask("PUT", "/fault", Some(&json!({"at": 1, "mode": "hold-before", "path": path})));
        let running = lab.start_with(&self.access, args);
        until(60, format!("a write to {path}"), || self.is_held());
        running.interrupt(signal);
        self.ask("PUT", "/release", None);
        let run = lab.finish(running);
        self.ask("DELETE", "/fault", None);
        run
    }

    fn kill_when_held(&self, lab: &Lab, mut running: Running) -> Run {
        let mut ended = false;
        until(420, "the request to break, or the end of the run", || {
            ended = running.has_ended();
            ended || self.is_held()
        });
        lab.noted(if ended { running.finish() } else { running.kill() })
    }

    /// Held: the fault has fired, and where it fires after the request the API server has answered.
    fn is_held(&self) -> bool {
        let held = |entry: &Value| match entry["fault"].as_str() {
            Some("hold-after") => entry["upstream_status"] != json!(0),
            other => other.is_some(),
        };
        self.fired() && self.log().iter().any(held)
    }

    fn fired(&self) -> bool {
        let fault: Value = serde_json::from_str(&self.ask("GET", "/fault", None)).unwrap_or_default();
        fault["fired"] == json!(true)
    }

    fn log(&self) -> Vec<Value> {
        serde_json::from_str(&self.ask("GET", "/log", None)).expect("the log is JSON")
    }

    fn ask(&self, method: &str, path: &str, body: Option<&Value>) -> String {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream = TcpStream::connect(&self.control).expect("the proxy listens");
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: lab\r\nContent-Length: {length}\r\n\r\n{body}")
            .expect("a request is sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the proxy answers");
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        assert!(head.contains(" 200 "), "{method} {path}: {answer}");
        body.to_owned()
    }
}

impl Write {
    fn of(path: &str) -> Self {
        let path = path.split('?').next().unwrap_or_default();
        let inside = format!("/namespaces/{CONTROL_PLANE}/");
        let (_, object) = path.split_once(&inside).unwrap_or(("", path));
        let (kind, name) = object.split_once('/').unwrap_or((object, ""));
        Self { kind: kind.to_owned(), name: name.to_owned() }
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn path_of(kind: &str) -> String {
    let (api, namespace, resource) = match kind {
        "leases" => ("/apis/coordination.k8s.io/v1", CONTROL_PLANE, kind),
        "roles" => ("/apis/rbac.authorization.k8s.io/v1", CONTROL_PLANE, kind),
        "deployments" | "statefulsets" => ("/apis/apps/v1", CONTROL_PLANE, kind),
        "applications" => ("/apis/apps/v1", "apps", "deployments"),
        _ => ("/api/v1", CONTROL_PLANE, kind),
    };
    format!("{api}/namespaces/{namespace}/{resource}")
}

fn kubeconfig(lab: &Lab, user: User) -> Value {
    let file = lab.kubeconfig(user);
    let file = file.to_str().expect("a path in UTF-8");
    let out = Command::new(lab.dir().join("bin/kubectl"))
        .args(["--kubeconfig", file, "config", "view", "--raw", "-o", "json"])
        .output()
        .expect("kubectl starts");
    serde_json::from_slice(&out.stdout).expect("kubectl prints JSON")
}
