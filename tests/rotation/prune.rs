//! Prunes on the mesh in memory: what goes, who stands in the way, and every place to be cut off at.

use jiff::SignedDuration;
use mtls::error::Error;
use mtls::mesh::{Answer, Consumer, Denied, Observed, Role};
use mtls::rotation::strategy::{Inputs, Request};
use mtls::rotation::{Ask, Goal, Mesh, Outcome, Scope, Status, Strategy, obstacles};

use super::cuts::Case;
use super::model::{self, Chance, Cut, Model, Watcher, make_ca, prunable};
use super::{block_on, go, request};

fn rotate(mesh: &mut Model, ask: Ask) -> Result<(), Error> {
    block_on(go(mesh, ask, &request(Inputs::Fresh, 90))).map(drop)
}

/// What the command finds before it begins.
pub fn look(mesh: &mut Model) -> (Goal, Observed) {
    let (goal, seen, _) = block_on(prunable(mesh)).unwrap().unwrap();
    (goal, seen)
}

pub fn prune(mesh: &mut Model, force: usize) -> Result<(), Error> {
    match block_on(model::prune(mesh, force))?.unwrap().outcome {
        Outcome::Done(_) => Ok(()),
        other => Err(Error::failed(format!("{other:?}"))),
    }
}

pub fn who(mesh: &mut Model) -> Vec<(String, String)> {
    let (_, _, found) = block_on(prunable(mesh)).unwrap().unwrap();
    found.into_iter().map(|found| (found.consumer, found.why)).collect()
}

pub fn bridged(seed: u64, watcher: Watcher, times: usize) -> Model {
    let mut mesh = Model::new(seed, 365, watcher);
    for _ in 0..times {
        rotate(&mut mesh, Ask::Renew).unwrap();
        mesh.pass(SignedDuration::from_secs(30));
    }
    mesh
}

pub fn restart_everything(mesh: &mut Model) {
    mesh.restart_control_plane();
    for name in sidecars(mesh) {
        mesh.restart(&name);
    }
}

fn sidecars(mesh: &Model) -> Vec<String> {
    let sidecars = mesh.processes.iter().filter(|process| matches!(process.role, Role::Sidecar { .. }));
    sidecars.map(|process| process.name.clone()).collect()
}

#[test]
fn what_nobody_needs_goes_and_no_handshake_fails_then_or_later() {
    for seed in 0..6 {
        for watcher in [Watcher::Alive, Watcher::Dead] {
            let mut mesh = bridged(seed, watcher, 3);
            restart_everything(&mut mesh);
            mesh.restless = true;
            let root = mesh.secret.root().unwrap().clone();
            prune(&mut mesh, 0).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            assert_eq!(mesh.secret.trust.anchors(), [root]);
            assert_eq!((mesh.secret.issuer.chain.len(), mesh.invented), (1, 0));
            (0..40).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
            let record = block_on(mesh.load()).unwrap().unwrap();
            assert_eq!((record.status, record.goal.previous.is_none()), (Status::Done, true), "no way back is kept");
            rotate(&mut mesh, Ask::Renew).unwrap();
        }
    }
}

#[test]
fn whoever_holds_only_an_older_root_is_named_and_nothing_goes() {
    let mut mesh = bridged(1, Watcher::Alive, 1);
    let found = who(&mut mesh);
    let (old, new): (Vec<_>, Vec<_>) = found.iter().partition(|(_, why)| why == "holds only older trust anchors");
    let names: Vec<&str> = old.into_iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, sidecars(&mesh));
    let control_plane =
        |(name, why): &&(String, String)| name.starts_with("dapr-system/") && why.starts_with("shows an SVID");
    assert!(new.iter().all(control_plane), "it sees its mounts change, and shows old SVIDs: {new:?}");
    let (anchors, chain) = (mesh.secret.trust.anchors().len(), mesh.secret.issuer.chain.len());
    prune(&mut mesh, 0).unwrap_err();
    assert_eq!((mesh.secret.trust.anchors().len(), mesh.secret.issuer.chain.len()), (anchors, chain));
}

#[test]
fn processes_with_a_dead_watcher_are_named_until_they_are_restarted() {
    let mut mesh = bridged(2, Watcher::Dead, 1);
    for name in sidecars(&mesh) {
        mesh.restart(&name);
    }
    let names: Vec<String> = who(&mut mesh).into_iter().map(|(name, _)| name).collect();
    assert!(names.contains(&"dapr-system/operator".to_owned()), "{names:?}");
    prune(&mut mesh, 0).unwrap_err();
    restart_everything(&mut mesh);
    prune(&mut mesh, 0).unwrap();
}

/// A sidecar that holds both roots and was not issued anew: pods that are born after the prune would refuse it.
#[test]
fn an_svid_of_a_former_issuer_holds_the_root_back_until_its_time_is_up() {
    let mut mesh = bridged(3, Watcher::Alive, 1);
    let old = mesh.processes.iter().find(|process| process.name == "apps/pod-0").unwrap().shows.clone();
    restart_everything(&mut mesh);
    let keeps_it = |mesh: &mut Model| {
        mesh.processes.iter_mut().find(|process| process.name == "apps/pod-0").unwrap().shows.clone_from(&old);
    };
    keeps_it(&mut mesh);
    let found = who(&mut mesh);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].1.starts_with("shows an SVID of a former issuer, until 2026-03-02T12:"), "{found:?}");
    prune(&mut mesh, 0).unwrap_err();
    assert_eq!((mesh.secret.trust.anchors().len(), mesh.secret.issuer.chain.len()), (2, 3), "all or nothing");

    mesh.pass(SignedDuration::from_hours(25));
    prune(&mut mesh, 0).unwrap();
    assert_eq!(mesh.secret.trust.anchors().len(), 1);
}

#[test]
fn as_many_as_were_counted_may_break() {
    let mut mesh = bridged(4, Watcher::Alive, 1);
    restart_everything(&mut mesh);
    let name = "apps/pod-0";
    let old = mesh.secret.trust.anchors()[1].clone();
    mesh.processes.iter_mut().find(|process| process.name == name).unwrap().held = vec![old];
    prune(&mut mesh, 0).unwrap_err();
    prune(&mut mesh, 1).unwrap();
    assert_eq!(mesh.secret.trust.anchors().len(), 1);
    mesh.restart("apps/pod-1");
    assert!(mesh.refusals() > 0, "it was one of them");
}

#[test]
fn another_meshes_anchor_stays_and_stands_for_somebody_unseen() {
    let mut mesh = bridged(5, Watcher::Alive, 1);
    let foreign = make_ca(&mut Chance::new(77), mesh.now, 300).trust.anchors()[0].clone();
    mesh.secret.trust = mesh.secret.trust.with(&foreign).unwrap();
    mesh.config_map = mesh.secret.trust.anchors().to_vec();
    restart_everything(&mut mesh);
    let found = who(&mut mesh);
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(found[0].0, foreign.fingerprint().short());
    prune(&mut mesh, 1).unwrap();
    assert_eq!(mesh.secret.trust.anchors().len(), 2);
    assert!(mesh.secret.trust.contains(foreign.fingerprint()));
}

/// A root that was renewed with its own key, and then left behind without a bridge: nothing names it but its key.
#[test]
fn a_former_root_is_known_by_its_key() {
    let mut mesh = Model::new(11, 365, Watcher::Alive);
    let key = mesh.root_keys[0].clone();
    block_on(go(&mut mesh, Ask::Renew, &request(Inputs::Key(key), 400))).unwrap();
    mesh.pass(SignedDuration::from_secs(30));
    let digest = "another".to_owned();
    let (strategy, restart) = (Some(Strategy::Append), Some(Scope::All));
    let append = Request { strategy, restart, digest, ..request(Inputs::Fresh, 90) };
    block_on(go(&mut mesh, Ask::Renew, &append)).unwrap();
    assert_eq!(mesh.secret.trust.anchors().len(), 3);
    restart_everything(&mut mesh);
    mesh.noted.clear();
    prune(&mut mesh, 0).unwrap();
    assert_eq!(mesh.secret.trust.anchors().len(), 1, "neither stands for another mesh");
}

#[test]
fn an_anchor_that_somebody_adds_while_a_prune_is_open_stays() {
    let mut mesh = bridged(8, Watcher::Alive, 1);
    restart_everything(&mut mesh);
    mesh.cut = Some((mesh.steps() + 2, Cut::Before));
    prune(&mut mesh, 0).unwrap_err();
    mesh.cut = None;
    let foreign = make_ca(&mut Chance::new(78), mesh.now, 300).trust.anchors()[0].clone();
    mesh.secret.trust = mesh.secret.trust.with(&foreign).unwrap();
    mesh.config_map = mesh.secret.trust.anchors().to_vec();
    assert_eq!(who(&mut mesh), [(foreign.fingerprint().short(), OUTSIDER.to_owned())]);
    prune(&mut mesh, 1).unwrap();
    assert_eq!(mesh.secret.trust.anchors().len(), 2, "the old root went");
    assert!(mesh.secret.trust.contains(foreign.fingerprint()));
}

const OUTSIDER: &str = "stands for others, and what those hold and show cannot be seen";

/// Each reason to refuse, one at a time, in the words that an operator reads.
#[test]
fn whatever_stands_in_the_way_is_told_in_words() {
    let mut mesh = bridged(9, Watcher::Alive, 1);
    restart_everything(&mut mesh);
    let (goal, ready) = look(&mut mesh);
    assert_eq!(obstacles(&goal, &ready).len(), 0, "nobody stands in the way");
    let pod = |seen: &mut Observed, change: &dyn Fn(&mut Consumer)| {
        seen.consumers.iter_mut().filter(|consumer| consumer.name == "apps/pod-0").for_each(change);
    };
    let operator = |seen: &mut Observed, change: &dyn Fn(&mut Consumer)| {
        seen.consumers.iter_mut().filter(|consumer| consumer.role == Role::Operator).for_each(change);
    };
    let sentry = |seen: &mut Observed, change: &dyn Fn(&mut Consumer)| {
        seen.consumers.iter_mut().filter(|consumer| consumer.role == Role::Sentry).take(1).for_each(change);
    };
    let foreign = make_ca(&mut Chance::new(79), mesh.now, 300).trust.anchors()[0].clone();
    let unknown = || "no answer within 10 s".to_owned();
    let told = |change: &dyn Fn(&mut Observed)| {
        let mut seen = ready.clone();
        change(&mut seen);
        let found = obstacles(&goal, &seen);
        let words = found.iter().map(|found| {
            let force = if found.may_be_allowed { "" } else { " (not by force)" };
            format!("{} {} {}{force}", found.role, found.consumer, found.why)
        });
        words.collect::<Vec<_>>().join("; ")
    };
    let denied = Denied { what: "settings".to_owned(), grant: "get configurations.dapr.io/daprsystem".to_owned() };
    let end = goal.former_svids_end.expect("every Sentry was seen to have switched");
    let says = |change: &dyn Fn(&mut Observed), words: &str| assert_eq!(told(change), words);
    says(
        &|seen| pod(seen, &|pod| pod.served = Answer::Unknown(unknown())),
        &format!("sidecar apps/pod-0 may show an SVID of a former issuer, until {end}: no answer within 10 s"),
    );
    says(
        &|seen| pod(seen, &|pod| pod.held = Answer::Unknown(unknown())),
        "sidecar apps/pod-0 is not seen to hold the root that stays: no answer within 10 s",
    );
    says(
        &|seen| operator(seen, &|operator| operator.holds = Answer::Proven(false)),
        "operator dapr-system/operator holds only older trust anchors",
    );
    says(
        &|seen| sentry(seen, &|sentry| sentry.served = Answer::Unknown(unknown())),
        "sentry dapr-system/sentry-0 is not seen to serve the live chain: no answer within 10 s (not by force)",
    );
    says(
        &|seen| seen.published.anchors.push(foreign.clone()),
        &format!("foreign trust anchor {} {OUTSIDER}", foreign.fingerprint().short()),
    );
    says(
        &|seen| seen.consumers_complete = false,
        "sidecar that cannot be seen is not seen to hold the root that stays: not everybody can be seen here (not by force)",
    );
    says(
        &|seen| seen.settings.token_validators = 1,
        "token validator 1 of Configuration `daprsystem` stands for others, and what those hold and show cannot be seen",
    );
    says(
        &|seen| seen.denied.push(denied.clone()),
        "Configuration `daprsystem` cannot be seen (not allowed to get configurations.dapr.io/daprsystem) (not by force)",
    );
    says(
        &|seen| seen.signed_histories = Answer::Proven(vec!["shop/signed".to_owned()]),
        "Configuration shop/signed has workflow history signed, and what a former issuer signed verifies never again \
             without its root (not by force)",
    );
    says(
        &|seen| seen.signed_histories = Answer::Forbidden("list configurations.dapr.io".to_owned()),
        "signed history of workflows cannot be ruled out: not allowed to list configurations.dapr.io (not by force)",
    );
    says(
        &|seen| seen.consumers.retain(|consumer| consumer.role != Role::Sentry),
        "no Sentry replica is seen, so that nobody knows which chain is served (not by force)",
    );
    let later = |seen: &mut Observed| {
        pod(seen, &|pod| pod.served = Answer::Unknown(unknown()));
        seen.now += SignedDuration::from_hours(25);
    };
    assert_eq!(told(&later), "", "the time counts where nobody answers");
}

#[test]
fn an_open_prune_stands_in_the_way_of_no_renewal() {
    let mut mesh = bridged(10, Watcher::Alive, 1);
    restart_everything(&mut mesh);
    mesh.cut = Some((mesh.steps() + 2, Cut::Before));
    prune(&mut mesh, 0).unwrap_err();
    mesh.cut = None;
    rotate(&mut mesh, Ask::Renew).unwrap();
    let record = block_on(mesh.load()).unwrap().unwrap();
    assert_eq!((record.goal.strategy, record.status), (Strategy::Bridge, Status::Done));
}

#[test]
fn cut_off_at_any_write_an_open_prune_is_resumed_or_goes_back() {
    let start = Case::of(Strategy::Prune, Watcher::Alive);
    for (ask, chain, anchors) in [(Ask::Abort, 5, 3), (Ask::Resume, 1, 1)] {
        start.each_cut(&Cut::ALL, |mut case, _, context| {
            if !case.is_open() {
                return;
            }
            rotate(&mut case.mesh, ask).unwrap_or_else(|why| panic!("{context}, then {ask:?}: {why}"));
            let mesh = &mut case.mesh;
            let left = (mesh.secret.issuer.chain.len(), mesh.secret.trust.anchors().len(), mesh.invented);
            assert_eq!(left, (chain, anchors, 0), "{context}, then {ask:?}");
            restart_everything(mesh);
        });
    }
}

#[test]
fn a_ca_that_sentry_invents_meanwhile_is_bridged_and_ends_the_prune() {
    let mut mesh = bridged(7, Watcher::Alive, 1);
    restart_everything(&mut mesh);
    mesh.invents_after = Some(mesh.steps() + 1);
    prune(&mut mesh, 0).unwrap();
    let record = block_on(mesh.load()).unwrap().unwrap();
    assert_eq!((record.goal.strategy, record.status), (Strategy::Bridge, Status::Done));
    restart_everything(&mut mesh);
    assert_eq!(mesh.refusals(), 0, "both sides accept each other once they were restarted");
}
