//! A CA that has leaked is replaced: nobody may accept what it has signed any more.

use jiff::SignedDuration;
use mtls::mesh::Role;
use mtls::pki::TrustBundle;
use mtls::rotation::strategy::{Inputs, Request};
use mtls::rotation::{Concern, Goal, Mesh, Move, Need, Restart, Scope, Status, Step, Strategy, Trio, need, next};

use crate::model::{LIMITS, Model, Watcher, block_on, request};
use crate::rotate;

fn replace(with: Trio) -> Request {
    Request { strategy: Some(Strategy::Replace), ..request(Inputs::Given(with), 90) }
}

fn another_ca(seed: u64) -> Trio {
    Model::new(seed, 365, Watcher::Alive).secret
}

/// Somebody has published the new root beside the leaked one before, and everything was restarted since.
fn publish_beside(mesh: &mut Model, new: &Trio) -> TrustBundle {
    let both = new.trust.merged(&mesh.secret.trust).unwrap();
    mesh.secret.trust = both.clone();
    mesh.config_map = both.anchors().to_vec();
    mesh.processes.iter_mut().for_each(|process| process.held = both.anchors().to_vec());
    both
}

#[test]
fn nobody_accepts_a_leaked_ca_once_everything_was_restarted_or_is_named() {
    for blocker in [None, Some("it is paused")] {
        let mut mesh = Model::new(51, 365, Watcher::Alive);
        let (leaked, new) = (mesh.secret.root().unwrap().clone(), another_ca(52));
        publish_beside(&mut mesh, &new);
        (mesh.broken, mesh.apps[2].blocker) = (true, blocker);
        let replace = Request { restart: Some(Scope::All), ..replace(new) };
        let left = rotate(&mut mesh, &replace).unwrap();
        let stay = mesh.processes.iter().filter(|process| !process.leaving && process.held.contains(&leaked));
        let accepting: Vec<&str> = stay.map(|process| process.name.as_str()).collect();
        let named =
            left.iter().filter(|left| left.concern == Concern::AcceptsFormer).map(|left| left.consumer.as_str());
        assert_eq!(named.collect::<Vec<_>>(), accepting);
        assert_eq!(accepting, blocker.map_or(vec![], |_| vec!["apps/pod-2"]));
        let status = if blocker.is_some() { Status::Open } else { Status::Done };
        assert_eq!(mesh.recorded().unwrap().status, status);
        mesh.apps[2].blocker = None;
        if blocker.is_some() {
            let left = rotate(&mut mesh, &replace).unwrap();
            assert!(left.iter().all(|left| left.concern == Concern::Leaving), "{left:?}");
            assert_eq!((mesh.restarts(), mesh.recorded().unwrap().status), (vec![1; 4], Status::Done));
        }
    }
}

#[test]
fn whoever_accepts_what_a_leaked_ca_has_signed_is_named_until_the_last_one_is_restarted() {
    let mut mesh = Model::new(41, 365, Watcher::Alive);
    mesh.broken = true;
    let new = another_ca(42);
    let both = publish_beside(&mut mesh, &new);

    let left = rotate(&mut mesh, &replace(new.clone())).unwrap();
    let accepting: Vec<&str> =
        left.iter().filter(|left| left.concern == Concern::AcceptsFormer).map(|left| left.consumer.as_str()).collect();
    assert_eq!(accepting, ["apps/pod-0", "apps/pod-1", "apps/pod-2", "apps/pod-3"], "{left:?}");
    assert_eq!(block_on(mesh.load()).unwrap().unwrap().status, Status::Open);

    (0..3).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    let held = mesh.processes.iter().position(|process| process.role == Role::Operator).unwrap();
    mesh.processes[held].held = both.anchors().to_vec();
    mesh.processes[held].watcher = Watcher::Dead;
    mesh.processes[held].made = mesh.now - SignedDuration::from_hours(1);
    mesh.restart("apps/pod-3");
    let left = rotate(&mut mesh, &replace(new.clone())).unwrap();
    let seen = block_on(mesh.observe(&Need::default())).unwrap();
    let goal = block_on(mesh.load()).unwrap().unwrap().goal;
    let restart = Some(Restart { scope: Scope::Stale, since: seen.now });
    let goal = Goal { restart, ..goal };
    let seen = block_on(mesh.observe(&need(&goal, &seen))).unwrap();
    let step = next(&goal, &seen, true, LIMITS.propagation, LIMITS);
    assert!(matches!(step, Step::Do(Move::Restart { workload }) if workload == "dapr-operator"), "it is stale");
    let operator = left.iter().find(|left| left.concern == Concern::AcceptsFormer).unwrap();
    assert_eq!(operator.role, "operator", "a canary that the leaked CA signs shows what its files do not");

    mesh.processes[held].held = new.trust.anchors().to_vec();
    let left = rotate(&mut mesh, &replace(new)).unwrap();
    assert!(left.iter().all(|left| left.concern != Concern::AcceptsFormer), "{left:?}");
}

#[test]
fn where_not_everybody_can_be_seen_a_replacement_says_so() {
    let mut mesh = Model::new(46, 365, Watcher::Alive);
    (mesh.broken, mesh.hidden) = (true, true);
    let left = rotate(&mut mesh, &replace(another_ca(47))).unwrap();
    let unseen = left.iter().find(|left| left.consumer == "that cannot be seen").unwrap();
    assert!(unseen.concern == Concern::Unseen && unseen.why.contains("may still accept"), "{unseen:?}");
}

#[test]
fn a_server_behind_a_webhook_that_shows_a_former_svid_is_restarted_as_stale() {
    let mut mesh = Model::new(48, 365, Watcher::Alive);
    mesh.broken = true;
    let left = rotate(&mut mesh, &Request { restart: Some(Scope::Stale), ..replace(another_ca(49)) }).unwrap();
    assert!(left.iter().all(|left| left.role == "sidecar"), "pods are born with a sidecar again: {left:?}");
}

#[test]
fn a_replacement_under_the_leaked_root_is_refused() {
    let mut mesh = Model::new(43, 365, Watcher::Alive);
    let (live, new) = (mesh.secret.clone(), another_ca(44));
    let anchors = new.trust.anchors().iter().chain(live.trust.anchors()).cloned().collect();
    let with_the_leaked_root = Trio { trust: TrustBundle::from_anchors(anchors).unwrap(), ..new };
    let refused = rotate(&mut mesh, &replace(with_the_leaked_root)).unwrap_err();
    assert!(refused.to_string().contains("would still be accepted, since its root stays"), "{refused}");
    assert_eq!(mesh.writes, 0);
}
