//! A consumer that reads its anchors from a mounted `ConfigMap`: in the model, and as a process on a directory.

use std::process::Command;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use mtls::mesh::Role;
use mtls::pki::TrustBundle;

use crate::model::Watcher;
use crate::mount::{Mount, anchors};
use crate::names::Names;
use crate::process::{Process, binary, get};

#[derive(Debug)]
pub enum Step {
    /// The roots with these names are written into the `ConfigMap`.
    Write(&'static str),
    /// The mount gets what was written.
    Swap,
    /// The process starts again, on the mount that it had.
    Restart,
}

/// How long a change that is not seen is waited for: both kits batch events of a file for half a second, and no event
/// says that there will be none.
const UNSEEN: Duration = Duration::from_secs(3);

/// What a consumer with that watcher holds after each step.
pub fn on_the_model(watcher: Watcher, script: &[Step]) -> Vec<String> {
    let (mut mesh, mut names) = crate::small_mesh(watcher, 1);
    crate::trace(script, |step| {
        let at = mesh.processes.iter().position(|process| process.role == Role::Operator).expect("an operator");
        match step {
            Step::Write(roots) => mesh.config_map = names.bundle(roots).anchors().to_vec(),
            Step::Swap => {
                mesh.processes[at].refresh = Some(mesh.now);
                mesh.pass(SignedDuration::from_secs(1));
            }
            Step::Restart => {
                let name = mesh.processes[at].name.clone();
                mesh.crash(&name);
            }
        }
        vec![format!("holds {}", names.of(&mesh.processes[at].held))]
    })
}

/// What the consumer that this binary is holds after each step.
pub fn on_the_real_one(binary: &str, script: &[Step]) -> Vec<String> {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut names = Names::new(Timestamp::now());
    let mut mount = Mount::new(&scratch.path().join("mount"));
    let mut config_map = names.bundle("A");
    mount.write(anchors(&config_map));
    let mut consumer = Consumer::start(binary, &mount);
    crate::trace(script, |step| {
        let before = consumer.holds();
        match step {
            Step::Write(roots) => config_map = names.bundle(roots),
            Step::Swap => {
                mount.write(anchors(&config_map));
                let began = Instant::now();
                while consumer.holds() == before && began.elapsed() < UNSEEN {
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
            Step::Restart => consumer = Consumer::start(binary, &mount),
        }
        vec![format!("holds {}", names.of(consumer.holds().anchors()))]
    })
}

struct Consumer {
    _process: Process,
    status: u16,
}

impl Consumer {
    fn start(name: &str, mount: &Mount) -> Self {
        let mut command = Command::new(binary(name));
        command.arg("--ca").arg(mount.path().join("ca.crt"));
        command.args(["--listen", "127.0.0.1:0", "--status", "127.0.0.1:0"]);
        let process = Process::start(&mut command);
        let line = process.says(&["\"status\":"]);
        let line: serde_json::Value = serde_json::from_str(&line).expect("it says where it listens");
        let port = line["status"].as_str().and_then(|status| status.rsplit(':').next()?.parse().ok());
        Self { _process: process, status: port.expect("an address with a port") }
    }

    /// Waits for the process to have read its file, if it has just started.
    fn holds(&self) -> TrustBundle {
        let pem = get(self.status, "/anchors").expect("it says what it holds");
        TrustBundle::parse(pem.as_bytes()).expect("it holds anchors")
    }
}
