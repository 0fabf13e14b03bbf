//! Applications that are restarted in waves, after the control plane and never against a stale injector.

use mtls::mesh::Phase;
use mtls::rotation::{Blocked, Limits, Outcome, Run, blocked, due};

use super::*;

fn all() -> Request {
    Request { restart: Some(Scope::All), ..append() }
}

async fn go_within(mesh: &mut Model, ask: Ask, request: &Request, limits: Limits) -> Result<Vec<Left>, Error> {
    mesh.limits = limits;
    go(mesh, ask, request).await
}

fn restart(mesh: &mut Model, scope: Scope, limits: Limits) -> (Goal, Run) {
    mesh.limits = limits;
    block_on(model::restart(mesh, scope)).unwrap()
}

fn stuck(ended: &Run) -> &str {
    match &ended.outcome {
        Outcome::Stuck(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn an_append_that_restarts_everything_completes_by_itself_and_breaks_no_handshake() {
    for watcher in [Watcher::Alive, Watcher::Dead] {
        for parallel in [1, 3, 10] {
            let mut mesh = Model::new(40, 365, watcher);
            mesh.restless = true;
            let issuer = mesh.secret.issuer.chain.clone();
            let limits = Limits { parallel, ..LIMITS };
            block_on(go_within(&mut mesh, Ask::Renew, &all(), limits)).unwrap();
            assert_ne!(mesh.secret.issuer.chain, issuer, "switched");
            assert_eq!(mesh.secret.issuer.chain.len(), 1, "no bridge");
            assert_eq!(mesh.restarts(), [1; 4], "each once");
            (0..40).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
            assert!(mesh.hands.pairs > 0 && mesh.invented == 0);
        }
    }
}

#[test]
fn an_append_waits_for_the_pods_that_a_slow_rollout_has_replaced() {
    let mut mesh = Model::new(53, 365, Watcher::Alive);
    mesh.apps.iter_mut().for_each(|app| app.takes = LIMITS.rollout - SignedDuration::from_secs(5));
    rotate(&mut mesh, &all()).unwrap();
    assert_eq!((mesh.restarts(), mesh.secret.issuer.chain.len()), (vec![1; 4], 1));
}

#[test]
fn a_bridge_restarts_applications_after_its_switch() {
    for watcher in [Watcher::Alive, Watcher::Dead] {
        let mut mesh = Model::new(41, 365, watcher);
        let request = Request { restart: Some(Scope::All), ..request(Inputs::Fresh, 90) };
        let left = rotate(&mut mesh, &request).unwrap();
        assert_eq!(mesh.restarts(), [1; 4]);
        assert!(left.iter().all(|left| left.concern == Concern::Leaving), "everybody holds the new root: {left:?}");
        let root = mesh.secret.root().unwrap().clone();
        let apps = mesh.processes.iter().filter(|process| process.name.starts_with("apps/") && !process.leaving);
        assert!(apps.clone().count() == 4 && apps.clone().all(|app| app.held.contains(&root)));
        assert!(apps.clone().all(|app| app.shows == mesh.secret.issuer.chain), "restarted under the new issuer");
    }
}

#[test]
fn a_wave_that_does_not_end_stops_those_after_it_and_is_named() {
    let mut mesh = Model::new(43, 365, Watcher::Alive);
    mesh.apps[1].hangs = true;
    let limits = Limits { parallel: 2, ..LIMITS };
    let before = mesh.now;
    let (_, ended) = restart(&mut mesh, Scope::All, limits);
    assert!(stuck(&ended).contains("the rollout of apps/deploy/app-1 did not come to an end"), "{}", stuck(&ended));
    assert_eq!(mesh.restarts(), [1, 1, 0, 0]);
    assert_eq!(ended.applications, ["apps/deploy/app-0", "apps/deploy/app-1"]);
    assert!(mesh.now >= before + limits.rollout, "it had its time");
}

#[test]
fn a_restart_that_somebody_undoes_is_not_made_for_ever() {
    let mut mesh = Model::new(54, 365, Watcher::Alive);
    mesh.apps[2].undone = true;
    let (_, ended) = restart(&mut mesh, Scope::All, LIMITS);
    assert!(stuck(&ended).contains("undoes the restart of apps/deploy/app-2"), "{}", stuck(&ended));
    assert_eq!(mesh.restarts(), [1, 1, 3, 1]);
}

#[test]
fn an_application_that_was_broken_before_comes_last() {
    let mut mesh = Model::new(44, 365, Watcher::Alive);
    (mesh.apps[0].whole, mesh.apps[0].hangs) = (false, true);
    let (_, ended) = restart(&mut mesh, Scope::All, Limits { parallel: 1, ..LIMITS });
    assert!(stuck(&ended).contains("app-0"), "{}", stuck(&ended));
    assert_eq!(mesh.restarts(), [1; 4], "it kept no other waiting");
}

#[test]
fn stale_restarts_what_holds_older_trust_and_nothing_the_second_time() {
    let mut mesh = Model::new(45, 365, Watcher::Alive);
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    mesh.restart("apps/pod-2");
    let (_, ended) = restart(&mut mesh, Scope::AllStale, LIMITS);
    assert!(matches!(ended.outcome, Outcome::Done(_)));
    assert_eq!(mesh.restarts(), [1, 1, 0, 1], "pod-2 was born after the rotation");
    let (_, ended) = restart(&mut mesh, Scope::AllStale, LIMITS);
    assert_eq!((ended.moves, mesh.restarts()), (0, vec![1, 1, 0, 1]));
}

#[test]
fn no_application_is_restarted_while_the_injector_is_stale() {
    for scope in [Scope::All, Scope::AllStale] {
        let mut mesh = Model::new(46, 365, Watcher::Dead);
        mesh.stale_injector = true;
        rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
        let (_, ended) = restart(&mut mesh, scope, LIMITS);
        assert!(stuck(&ended).contains("dapr-system/injector gives new pods older trust anchors"), "{}", stuck(&ended));
        assert_eq!(mesh.restarts(), [0; 4]);
        assert!(ended.services.contains(&"dapr-sidecar-injector".to_owned()), "that one was, and it did not help");
    }
    let mut mesh = Model::new(47, 365, Watcher::Dead);
    mesh.stale_injector = true;
    let why = rotate(&mut mesh, &all()).unwrap_err().to_string();
    assert!(why.contains("dapr-sidecar-injector"), "the append waits for its webhook: {why}");
    assert_eq!(mesh.restarts(), [0; 4]);
}

#[test]
fn an_injector_that_may_not_be_asked_is_taken_for_stale() {
    let mut mesh = Model::new(48, 365, Watcher::Alive);
    let (goal, _) = restart(&mut mesh, Scope::Stale, LIMITS);
    let goal = Goal { restart: goal.restart.map(|it| mtls::rotation::Restart { scope: Scope::All, ..it }), ..goal };
    let seen = block_on(mesh.observe(&Need::default())).unwrap();
    let mut seen = block_on(mesh.observe(&need(&goal, &seen))).unwrap();
    seen.control_plane.clear();
    seen.now += LIMITS.propagation;
    let step = |seen: &mtls::mesh::Observed| next(&goal, seen, true, LIMITS.propagation, LIMITS);
    assert!(matches!(step(&seen), Step::Do(Move::RestartApplications { .. })));
    let of = |role: Role| seen.consumers.iter().position(|consumer| consumer.role == role).unwrap();
    let (injector, webhook) = (of(Role::Injector), of(Role::Webhook));
    for (at, answer) in [
        (injector, Answer::Forbidden("get pods/portforward".to_owned())),
        (webhook, Answer::Forbidden("get mutatingwebhookconfigurations".to_owned())),
    ] {
        let mut seen = seen.clone();
        seen.consumers[at].held = answer;
        assert!(matches!(step(&seen), Step::Stuck(why) if why.contains("not allowed to get")));
    }
    let mut replaced = seen.clone();
    let former = Consumer { phase: Phase::Terminating, name: "former".to_owned(), ..seen.consumers[injector].clone() };
    replaced.consumers.push(former);
    assert!(matches!(step(&replaced), Step::Do(_)), "it takes long to go, and nobody asks it any more");
    replaced.consumers[injector].started = Some(seen.now);
    assert!(matches!(step(&replaced), Step::Wait(why, _) if why.contains("former is being deleted")));
    seen.consumers.remove(webhook);
    assert!(matches!(step(&seen), Step::Stuck(why) if why.contains("no webhook")));
}

#[test]
fn a_pod_that_comes_up_without_a_sidecar_stops_it_after_the_first_wave() {
    let mut mesh = Model::new(49, 365, Watcher::Alive);
    mesh.bypassed = true;
    let (_, ended) = restart(&mut mesh, Scope::All, Limits { parallel: 1, ..LIMITS });
    assert!(stuck(&ended).contains("apps/pod-0 came up without a sidecar"), "{}", stuck(&ended));
    assert_eq!(mesh.restarts(), [1, 0, 0, 0]);
    mesh.bypassed = false;
    let (goal, ended) = restart(&mut mesh, Scope::All, LIMITS);
    assert_eq!(mesh.restarts(), [1, 1, 1, 1], "whether it has a sidecar is not up to a restart");
    let named = blocked(&goal, &ended.seen);
    assert!(named.iter().any(|it| it.workload == "apps/deploy/app-0" && it.why.contains("have none")), "{named:?}");
}

#[test]
fn an_application_that_got_older_trust_all_the_same_stops_it() {
    let mut mesh = Model::new(50, 365, Watcher::Alive);
    let old = mesh.config_map.clone();
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    let (goal, ended) = restart(&mut mesh, Scope::All, LIMITS);
    assert!(matches!(ended.outcome, Outcome::Done(_)) && due(&goal, &ended.seen).is_empty());
    mesh.processes.iter_mut().find(|process| process.name == "apps/pod-1").unwrap().held = old;
    let seen = block_on(mesh.observe(&need(&goal, &ended.seen))).unwrap();
    match next(&goal, &seen, true, SignedDuration::ZERO, LIMITS) {
        Step::Stuck(why) => assert!(why.contains("apps/pod-1 came up with other trust anchors"), "{why}"),
        _ => panic!("it is taken for restarted"),
    }
    mesh.restart_control_plane();
    let seen = block_on(mesh.observe(&need(&goal, &seen))).unwrap();
    assert_eq!(due(&goal, &seen).len(), 1, "an injector that is gone gave it; the one that is there now may do better");
}

#[test]
fn what_cannot_be_restarted_is_named_and_left_alone() {
    let mut mesh = Model::new(51, 365, Watcher::Alive);
    mesh.apps[3].blocker = Some("the Deployment is paused");
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    let (goal, ended) = restart(&mut mesh, Scope::All, LIMITS);
    assert!(matches!(ended.outcome, Outcome::Done(_)), "{:?}", ended.outcome);
    assert_eq!(mesh.restarts(), [1, 1, 1, 0]);
    let named = [Blocked { workload: "apps/deploy/app-3".to_owned(), why: "the Deployment is paused".to_owned() }];
    assert_eq!(blocked(&goal, &ended.seen), named);
    let held_back = rotate(&mut mesh, &all()).unwrap_err().to_string();
    assert!(held_back.contains("Blocked") && held_back.contains("apps/pod-3"), "an append waits: {held_back}");
    assert!(!held_back.contains("\"apps/pod-2\""), "{held_back}");
}

#[test]
fn a_plan_has_a_move_for_each_wave() {
    let mut mesh = Model::new(52, 365, Watcher::Alive);
    let seen = block_on(mesh.observe(&Need::default())).unwrap();
    let goal = Goal::restart(Scope::All, &seen, None).unwrap();
    let seen = block_on(mesh.observe(&need(&goal, &seen))).unwrap();
    let moves = plan(&goal, &seen, 3).unwrap();
    let words: Vec<String> = moves.iter().skip(5).map(ToString::to_string).collect();
    assert_eq!(words, ["restart apps/deploy/app-0, apps/deploy/app-1, apps/deploy/app-2", "restart apps/deploy/app-3"]);
}
