//! Sentry under its two objects and its mount: in the model, and as a process in Kubernetes mode.

use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use mtls::pki::Certificate;

use crate::apiserver::NAMESPACE;
use crate::cluster::Cluster;
use crate::model::Watcher;
use crate::mount::{Mount, anchors, signing};
use crate::names::{Names, Objects};
use crate::process::{Process, free_port, sentry};
use crate::shown::served;

#[derive(Clone, Copy, Debug)]
pub enum Step {
    /// Roots are written into both objects, into one of them; an issuer is written.
    WritePair(&'static str),
    WriteSecretOnly(&'static str),
    WriteConfigMapOnly(&'static str),
    WriteIssuer(char),
    EmptyBoth,
    DropKey,
    /// Whether Sentry may update the Secret.
    TakeRight,
    GiveRight,
    /// Its container starts, again where it runs.
    Start,
    /// Its mount gets what the Secret has now.
    RefreshMount,
    /// The same, and the next step comes before Sentry has reloaded.
    BeginRefresh,
    /// Nothing is done.
    Wait,
}

/// By then a model's Sentry has done all that one refresh of its mount leads to, and its next own refresh is not due.
const SETTLES: SignedDuration = SignedDuration::from_secs(15);

pub fn on_the_model(script: &[Step]) -> Vec<String> {
    let (mut mesh, mut names) = crate::small_mesh(Watcher::Alive, 1);
    mesh.sentries[0].starts = Some(Timestamp::MAX);
    crate::trace(script, |step| {
        mesh.diary.clear();
        match *step {
            Step::WritePair(roots) => {
                mesh.secret.trust = names.bundle(roots);
                mesh.config_map = names.bundle(roots).anchors().to_vec();
            }
            Step::WriteSecretOnly(roots) => mesh.secret.trust = names.bundle(roots),
            Step::WriteConfigMapOnly(roots) => mesh.config_map = names.bundle(roots).anchors().to_vec(),
            Step::WriteIssuer(name) => mesh.secret.issuer = names.issuer(name),
            Step::EmptyBoth => mesh.emptied = true,
            Step::DropKey => mesh.lacks_key = true,
            Step::TakeRight => mesh.fenced = Some(mesh.now),
            Step::GiveRight => mesh.fenced = None,
            Step::Start => mesh.start_sentry(0),
            Step::RefreshMount | Step::BeginRefresh => {
                let now = mesh.now;
                mesh.sentries[0].refresh(now);
            }
            Step::Wait => {}
        }
        let mut facts = Vec::new();
        if let Step::Start | Step::RefreshMount | Step::Wait = step {
            let end = mesh.now + SETTLES;
            let is_up = mesh.sentries[0].is_up();
            while mesh.now < end && mesh.sentries[0].is_up() == is_up {
                mesh.pass(SignedDuration::from_secs(1));
            }
            // Why: the script says when the mount is refreshed.
            mesh.sentries[0].refreshes.clear();
            let said = [
                ("reads the pair", READS),
                ("reads an unequal pair", FINDS_NONE),
                ("invents a CA", INVENTS),
                ("may not store a CA, and exits", MAY_NOT),
                ("refuses the CA, and exits", REFUSES),
            ];
            facts.extend(mesh.diary.iter().filter_map(|line| fact(line, &said)));
        }
        let seen = mesh.published();
        let has_key = seen.key.is_some();
        let (secret, config_map, chain) = (seen.anchors, seen.mirror, seen.chain);
        facts.push(names.objects(&Objects { secret, config_map, chain, has_key }));
        if let Step::Start | Step::RefreshMount | Step::Wait = step {
            let sentry = &mesh.sentries[0];
            facts.push(serves(&names, sentry.is_up().then_some(&sentry.loaded.issuer.chain)));
        }
        facts
    })
}

const READS: &str = "reads the pair";
const FINDS_NONE: &str = "finds no pair";
const INVENTS: &str = "invents a CA";
const MAY_NOT: &str = "may not store a CA, and exits";
const REFUSES: &str = "refuses the CA, and exits";

fn fact(line: &str, said: &[(&str, &str)]) -> Option<String> {
    said.iter().find(|(words, _)| line.contains(words)).map(|(_, fact)| (*fact).to_owned())
}

fn serves(names: &Names, chain: Option<&Vec<Certificate>>) -> String {
    chain.map_or_else(|| "is down".to_owned(), |chain| format!("serves {}", names.of(chain)))
}

pub fn on_the_real_one(script: &[Step]) -> Vec<String> {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut names = Names::new(Timestamp::now());
    let cluster = Cluster::start(scratch.path());
    cluster.write_config_map(&names.bundle("A"));
    cluster.write_secret(anchors(&names.bundle("A")).into_iter().chain(signing(&names.issuer('A'))));
    let mut mount = Mount::new(&scratch.path().join("mount"));
    mount.write(cluster.secret());
    let mut sentry = None;
    crate::trace(script, |step| {
        match *step {
            Step::WritePair(roots) => {
                cluster.write_config_map(&names.bundle(roots));
                cluster.write_secret(anchors(&names.bundle(roots)));
            }
            Step::WriteSecretOnly(roots) => cluster.write_secret(anchors(&names.bundle(roots))),
            Step::WriteConfigMapOnly(roots) => cluster.write_config_map(&names.bundle(roots)),
            Step::WriteIssuer(name) => cluster.write_secret(signing(&names.issuer(name))),
            Step::EmptyBoth => cluster.empty(),
            Step::DropKey => cluster.drop_key(),
            Step::TakeRight => cluster.allow(false),
            Step::GiveRight => cluster.allow(true),
            Step::Start => {
                drop(sentry.take());
                sentry = Some(Sentry::start(&mount, &cluster));
            }
            Step::RefreshMount | Step::BeginRefresh => mount.write(cluster.secret()),
            Step::Wait => {}
        }
        let mut facts = Vec::new();
        if let (Step::Start | Step::RefreshMount | Step::Wait, Some(running)) = (step, &sentry) {
            facts = running.settles();
            if facts.last().is_some_and(|last| last.contains("exits")) {
                sentry = None;
            }
        }
        facts.push(names.objects(&cluster.published()));
        if let Step::Start | Step::RefreshMount | Step::Wait = step {
            facts.push(serves(&names, sentry.as_ref().map(|sentry| served(sentry.port)).as_ref()));
        }
        facts
    })
}

struct Sentry {
    process: Process,
    port: u16,
}

/// How long nothing more is waited for: a reload comes two and a half seconds after the mount, or two after the one
/// before, and no line says that there will be none.
const QUIET: Duration = Duration::from_secs(4);

impl Sentry {
    /// Starts as the chart starts it.
    fn start(mount: &Mount, cluster: &Cluster) -> Self {
        let port = free_port();
        let mut command = sentry(port, mount.path());
        command
            .arg("--kubeconfig")
            .arg(&cluster.kubeconfig)
            .env("NAMESPACE", NAMESPACE)
            // Why: that there is such a variable is how it knows that it is in Kubernetes; without a port beside it, it
            // goes by its kubeconfig.
            .env("KUBERNETES_SERVICE_HOST", "127.0.0.1")
            .env_remove("KUBERNETES_SERVICE_PORT");
        Self { process: Process::start(&mut command), port }
    }

    /// What it does until it does nothing more.
    fn settles(&self) -> Vec<String> {
        let said = [
            ("Root and issuer certs found", READS),
            ("Root and issuer certs not found", FINDS_NONE),
            ("certs generated and persisted", INVENTS),
        ];
        let mut facts = Vec::new();
        let (mut end, mut last) = (Instant::now() + QUIET, String::new());
        loop {
            match self.process.line(end.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(fact) = fact(&line, &said) {
                        facts.push(fact);
                        end = Instant::now() + QUIET;
                    }
                    last = line;
                }
                Err(RecvTimeoutError::Timeout) => return facts,
                Err(RecvTimeoutError::Disconnected) => {
                    let why = [("no such right", MAY_NOT), ("does not belong to trust anchors", REFUSES)];
                    facts.push(fact(&last, &why).unwrap_or_else(|| format!("exits: {last}")));
                    return facts;
                }
            }
        }
    }
}
