//! Rotations of a mesh with sidecars of the file era, fed by a real trust-manager in two hundred namespaces.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::audit::Request;
use crate::bindings::Bindings;
use crate::distribution::{Distributor, ROOT_CA};
use crate::filed::{APPS, FILED, Filed};
use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE, User, certificates};
use crate::prunes::PRUNE;
use crate::rotations::RENEW;
use crate::run::Run;
use crate::wait::{Tick, figure, until, until_with};

/// An append without restarts of its own: whoever owns the applications restarts them.
fn append() -> Vec<&'static str> {
    [&RENEW[..], &["--strategy", "append", "--propagation-wait", "20"]].concat()
}

#[test]
#[ignore = "needs the lab"]
fn an_append_waits_for_every_namespace_and_each_mount_then_a_prune_retires_the_old_root() {
    let lab = Lab::calm(2);
    let distributor = Distributor::start(&lab, 200);
    let filed = Filed::start(&lab);
    let before = lab.anchors();
    lab.mtls(&["status", "-k"]).succeeds().says("File era: ConfigMap dapr-root-ca.crt is up to date in 2");

    let mark = lab.mark();
    let run = append_while_applications_restart(&lab, || distributor.until_everywhere(&source(&lab)));
    run.succeeds().says("to carry the new root in every namespace").says(" namespaces have it");
    let last = distributor.times().into_values().max().expect("there are copies");
    let took = Instant::now().saturating_duration_since(last);
    figure(format!("the run ended {:.1} s after the last copy", took.as_secs_f64()));
    assert!(took < Duration::from_secs(15), "proven {took:?} after the last copy");
    assert_eq!(lab.anchors(), before + 1);
    assert_eq!(certificates(&source(&lab)), before + 1);
    let requests = lab.requests(mark);
    let copies = |verb: &str| {
        requests.iter().filter(|request| request.what.starts_with(&format!("{verb} configmaps  "))).count()
    };
    assert_eq!((copies("list"), copies("watch")), (1, 1), "one list and one watch: {requests:#?}");
    let writes_source = |request: &&Request| request.mutating && request.what == format!("patch secrets  {ROOT_CA}");
    assert_eq!(requests.iter().filter(writes_source).count(), 1, "{requests:#?}");
    assert_talk(&lab, &filed);

    // A distributor that stands still: the issuer is not switched, and nobody is cut off.
    let live = lab.secret(TRUST_BUNDLE, "issuer.crt");
    distributor.stop();
    let stuck = append_while_applications_restart(&lab, || ()).exits(4);
    let stuck =
        stuck.says("trust-manager (Bundle dapr-root-ca.crt) has written nothing for").says("kubectl get bundle");
    assert_eq!(lab.secret(TRUST_BUNDLE, "issuer.crt"), live, "{stuck}");
    lab.mtls(&["status", "-k"]).says("carries what is published in 0 of").says("a rotation (strategy append) is open");
    distributor.resume();

    // One whose watch is dead holds what it held until it is restarted.
    let named = lab.mtls(&append()).exits(4).says(&format!("sidecar {FILED}/dying-"));
    assert!(!named.has(&format!("sidecar {FILED}/living-")), "{named}");
    assert_eq!(lab.secret(TRUST_BUNDLE, "issuer.crt"), live, "{named}");
    filed.restart("dying");
    let rights = bind_rights(&lab);
    lab.mtls_as(User::Ci, &append()).succeeds();
    drop(rights);
    assert_ne!(lab.secret(TRUST_BUNDLE, "issuer.crt"), live);
    assert_talk(&lab, &filed);

    lab.mtls(&["restart", "-k"]).succeeds();
    lab.restart_app("server");
    lab.restart_app("client");
    let run = lab.mtls(&PRUNE).succeeds().says("publish it for the file era");
    assert_eq!((lab.anchors(), certificates(&source(&lab))), (1, 1), "{run}");
    distributor.until_everywhere(&source(&lab));
    filed.nudge();
    assert_talk(&lab, &filed);
    lab.assert_no_failed_call();
}

/// What the CI account needs here, and no more.
fn bind_rights(lab: &Lab) -> Bindings<'_> {
    let bindings = Bindings::of(lab, "mtls-ci-file-era", &["clusterrole", "role"]);
    let ci = format!("--as=system:serviceaccount:{CONTROL_PLANE}:mtls-ci");
    let may = |verb: &str, what: &str| lab.try_kubectl(&["auth", "can-i", verb, what, "-n", FILED, &ci]).is_ok();
    until(10, "the rights", || may("patch", "pods") && may("watch", &format!("configmaps/{ROOT_CA}")));
    bindings
}

/// What is copied into all namespaces.
fn source(lab: &Lab) -> String {
    lab.secret(ROOT_CA, "ca.crt")
}

/// What the API server holds of the injector, which is what the injector holds itself.
fn injected(lab: &Lab) -> String {
    let webhook = lab.get(&["get", "mutatingwebhookconfiguration", "dapr-sidecar-injector"]);
    let bundle = webhook["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
    String::from_utf8(STANDARD.decode(bundle).unwrap_or_default()).unwrap_or_default()
}

/// An append that runs while the applications of the environment era are restarted, and `then` something happens.
fn append_while_applications_restart(lab: &Lab, then: impl FnOnce()) -> Run {
    let anchors = certificates(&source(lab));
    let run = lab.start_as(User::ClusterAdmin, &append());
    until_with(Duration::from_secs(60), Tick::Short, "the source to carry the new root", || {
        (certificates(&source(lab)) > anchors).then_some(())
    });
    until(30, "the injector to have the new root", || certificates(&injected(lab)) > anchors);
    lab.restart_app("server");
    lab.restart_app("client");
    then();
    lab.finish(run)
}

/// Both sidecars hold the root in use, and answer each other with SVIDs of today.
fn assert_talk(lab: &Lab, filed: &Filed) {
    let [chain, key] = ["issuer.crt", "issuer.key"].map(|file| lab.secret(TRUST_BUNDLE, file));
    for app in APPS {
        assert!(filed.accepts(app, [&chain, &key]), "{app} does not hold the root in use");
    }
    filed.give_svids();
    filed.nudge();
    filed.assert_no_failed_call();
    lab.assert_no_failed_call();
}
