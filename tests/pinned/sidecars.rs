//! Two sidecars whose anchors were given to them when they started: in the model, and as processes on a directory.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use mtls::pki::{Certificate, Profile, Shown, Svid, verify};

use crate::model::Watcher;
use crate::mount::{Files, Mount, anchors, signing};
use crate::names::Names;
use crate::process::{App, Daprd, Sentry};
use crate::shown::{accepts, served};

#[derive(Debug)]
pub enum Step {
    /// Nothing is done.
    Look,
    /// The roots with these names are written, beside the issuer that is there; an issuer is.
    WriteRoots(&'static str),
    WriteIssuer(char),
    RestartClient,
    RestartServer,
}

/// The roots that sidecars are asked about.
const ASKED: [char; 3] = ['A', 'B', 'C'];

/// By then every mount of the model is fresh, and so is what its injector gives new pods.
const SETTLES: SignedDuration = SignedDuration::from_secs(100);

pub fn on_the_model(script: &[Step]) -> Vec<String> {
    let (mut mesh, mut names) = crate::small_mesh(Watcher::Alive, 2);
    crate::trace(script, |step| {
        match step {
            Step::Look => {}
            Step::WriteRoots(roots) => {
                mesh.secret.trust = names.bundle(roots);
                mesh.config_map = names.bundle(roots).anchors().to_vec();
                mesh.written_now();
            }
            Step::WriteIssuer(name) => {
                mesh.secret.issuer = names.issuer(*name);
                mesh.written_now();
            }
            Step::RestartClient => mesh.restart("apps/pod-0"),
            Step::RestartServer => mesh.restart("apps/pod-1"),
        }
        mesh.pass(SETTLES);
        let [client, server] = ["apps/pod-0", "apps/pod-1"]
            .map(|name| mesh.processes.iter().find(|process| process.name == name).expect("it is there"));
        let accepts = |held: &[Certificate], chain: &[Certificate]| {
            let app = [Svid::new("spiffe://public/ns/default/app")];
            verify(Shown::Synthetic(&app), chain, held, Profile::Spiffe, mesh.now).is_ok()
        };
        let mut facts = Vec::new();
        for (name, process) in [("client", client), ("server", server)] {
            let accepted =
                ASKED.into_iter().filter(|root| accepts(&process.held, &names.issuer(*root).chain)).collect::<String>();
            facts.push(told(name, &accepted, &names, &process.shows));
        }
        facts.push(answered(accepts(&client.held, &server.shows) && accepts(&server.held, &client.shows)));
        facts
    })
}

fn told(name: &str, accepted: &str, names: &Names, shows: &[Certificate]) -> String {
    format!("the {name} accepts {accepted} and shows {}", names.of(shows))
}

fn answered(is_answered: bool) -> String {
    format!("calls are {}", if is_answered { "answered" } else { "refused" })
}

pub fn on_the_real_ones(script: &[Step]) -> Vec<String> {
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let mut names = Names::new(Timestamp::now());
    let mut files = signing(&names.issuer('A'));
    files.extend(anchors(&names.bundle("A")));
    let mut certs = Mount::new(&scratch.path().join("certs"));
    certs.write(files.clone());
    let sentry = Sentry::start(certs.path(), scratch.path());
    let apps = [App::client(), App::server()];
    let start = |app: &App, files: &Files| {
        // Why: it may be reloading, and a sidecar that does not find it waits for long.
        served(sentry.port());
        Daprd::start(app, &files["ca.crt"], &sentry, scratch.path())
    };
    let mut sidecars = [0, 1].map(|which| Some(start(&apps[which], &files)));
    crate::trace(script, |step| {
        match step {
            Step::Look => {}
            Step::WriteRoots(roots) => {
                files.extend(anchors(&names.bundle(roots)));
                certs.write(files.clone());
            }
            Step::WriteIssuer(name) => {
                files.extend(signing(&names.issuer(*name)));
                certs.write(files.clone());
                until(|| names.of(&served(sentry.port())) == name.to_string());
            }
            Step::RestartClient | Step::RestartServer => {
                let which = usize::from(matches!(step, Step::RestartServer));
                drop(sidecars[which].take());
                sidecars[which] = Some(start(&apps[which], &files));
            }
        }
        let mut facts = Vec::new();
        for (name, app) in ["client", "server"].into_iter().zip(&apps) {
            let is_accepted = |root: &char| accepts(app.address(), &names.issuer(*root));
            let accepted = ASKED.into_iter().filter(is_accepted).collect::<String>();
            facts.push(told(name, &accepted, &names, &served(app.address())));
        }
        facts.push(answered(is_answered(sidecars[0].as_ref().expect("it was started"))));
        facts
    })
}

/// Whether a call goes through, once the client has found the server.
fn is_answered(client: &Daprd) -> bool {
    let mut verdict = None;
    until(|| {
        verdict = match client.call("server") {
            Ok(_) => Some(true),
            Err(why) if why.contains("x509") || why.contains("handshake") => Some(false),
            Err(_) => None,
        };
        verdict.is_some()
    });
    verdict.expect("it was waited for")
}

#[track_caller]
fn until(mut comes: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(40);
    while !comes() {
        assert!(Instant::now() < end, "it was waited for in vain");
        std::thread::sleep(Duration::from_millis(100));
    }
}
