//! Sidecars that mount their trust anchors, copied into one namespace after the other.

use mtls::mesh::Era;
use mtls::rotation::{Outcome, blocked};

use super::model::Topology;
use super::*;

/// A mesh whose two sidecars mount their anchors and see their mounts change so; from a source or from the operator.
pub fn of_files(seed: u64, watcher: Watcher, has_source: bool) -> Model {
    let sidecars = vec![(Era::File, watcher); 2];
    let watchers = vec![Watcher::Alive];
    let mut mesh = Model::with(seed, 365, Topology { sentries: 1, injectors: 1, schedulers: 1, watchers, sidecars });
    if has_source {
        mesh.distribute_from_a_source();
    }
    mesh
}

fn unrestarted() -> Request {
    Request { restart: None, ..append() }
}

fn is_switched(mesh: &Model) -> bool {
    mesh.secret.trust.anchors().len() == 2 && mesh.secret.root() == mesh.secret.trust.anchors().first()
}

#[test]
fn an_append_reaches_mounts_without_a_restart() {
    for has_source in [true, false] {
        for seed in 60..66 {
            let mut mesh = of_files(seed, Watcher::Alive, has_source);
            mesh.restless = true;
            let left = rotate(&mut mesh, &unrestarted()).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
            assert!(left.is_empty(), "everybody holds the new root: {left:?}");
            assert!(is_switched(&mesh));
            (0..40).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
            assert_eq!(mesh.refusals(), 0);
        }
    }
}

#[test]
fn a_source_that_changes_during_a_pass_goes_out_in_the_next_one_which_is_waited_for() {
    for seed in 77..83 {
        let mut mesh = of_files(seed, Watcher::Alive, true);
        let other = make_ca(&mut Chance::new(seed), mesh.now, 300).trust.anchors()[0].clone();
        let first = [mesh.config_map.clone(), vec![other]].concat();
        mesh.publish_source(&first);
        mesh.pass(SignedDuration::from_secs(1));
        rotate(&mut mesh, &unrestarted()).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
        assert!(is_switched(&mesh));
        assert!(mesh.diary.iter().filter(|line| line.ends_with("namespace is new")).count() > 1, "two passes");
        assert!(mesh.copies.all_have(mesh.copies.source.as_ref().unwrap()), "seed {seed}");
    }
}

#[test]
fn a_sidecar_whose_watch_is_dead_is_named_and_proven_once_it_is_restarted() {
    let mut mesh = of_files(67, Watcher::Dead, true);
    let why = rotate(&mut mesh, &unrestarted()).unwrap_err().to_string();
    assert!(why.starts_with("Blocked") && why.contains("apps/pod-0") && why.contains("apps/pod-1"), "{why}");
    mesh.restart("apps/pod-0");
    let why = rotate(&mut mesh, &unrestarted()).unwrap_err().to_string();
    assert!(!why.contains("apps/pod-0") && why.contains("apps/pod-1"), "{why}");
    assert!(!is_switched(&mesh));
    mesh.restart("apps/pod-1");
    rotate(&mut mesh, &unrestarted()).unwrap();
    assert!(is_switched(&mesh));
}

#[test]
fn a_wave_waits_for_the_copies_that_new_pods_mount() {
    for watcher in [Watcher::Alive, Watcher::Dead] {
        let mut mesh = of_files(68, watcher, true);
        rotate(&mut mesh, &Request { restart: Some(Scope::All), ..append() }).unwrap();
        assert!(is_switched(&mesh));
        assert_eq!(mesh.restarts(), [1, 1], "each once, and not in vain");
    }
}

#[test]
fn a_replacement_restarts_applications_once_they_mount_the_new_root_alone() {
    for watcher in [Watcher::Alive, Watcher::Dead] {
        let mut mesh = of_files(76, watcher, true);
        mesh.broken = true;
        let replace = Request { strategy: Some(Strategy::Replace), restart: Some(Scope::All), ..append() };
        let left = rotate(&mut mesh, &replace).unwrap();
        assert!(left.iter().all(|left| left.concern == Concern::Leaving), "{left:?}");
        assert_eq!((mesh.restarts(), mesh.secret.trust.anchors().len()), (vec![1, 1], 1));
        mesh.pass(SignedDuration::from_secs(40));
        assert_eq!(mesh.refusals(), 0);
    }
}

#[test]
fn a_replacement_names_a_mount_that_is_right_while_its_sidecar_shows_a_former_svid() {
    let mut mesh = of_files(84, Watcher::Alive, true);
    mesh.broken = true;
    let replace = |restart| Request { strategy: Some(Strategy::Replace), restart, ..append() };
    rotate(&mut mesh, &replace(None)).unwrap();
    (0..6).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
    let left = rotate(&mut mesh, &replace(None)).unwrap();
    let named: Vec<_> = left.iter().map(|left| (left.consumer.as_str(), left.concern)).collect();
    assert_eq!(named, [("apps/pod-0", Concern::FormerSvid), ("apps/pod-1", Concern::FormerSvid)]);
    assert_eq!(mesh.recorded().unwrap().status, Status::Open);

    let left = rotate(&mut mesh, &replace(Some(Scope::AllStale))).unwrap();
    assert!(left.iter().all(|left| left.concern == Concern::Leaving), "{left:?}");
    assert_eq!((mesh.restarts(), mesh.recorded().unwrap().status), (vec![1, 1], Status::Done));
    mesh.pass(SignedDuration::from_secs(40));
    assert_eq!(mesh.refusals(), 0);
}

#[test]
fn whoever_would_mount_the_same_again_is_named_and_not_restarted() {
    let mut mesh = of_files(75, Watcher::Dead, true);
    mesh.copies.stuck = true;
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    let mut restart = |stuck: bool| {
        mesh.copies.stuck = stuck;
        let (goal, ended) = block_on(model::restart(&mut mesh, Scope::All)).unwrap();
        assert!(matches!(ended.outcome, Outcome::Done(_)), "{:?}", ended.outcome);
        (blocked(&goal, &ended.seen), mesh.restarts())
    };
    let (named, restarts) = restart(true);
    assert_eq!((named.len(), restarts), (2, vec![0, 0]), "{named:?}");
    assert!(named.iter().all(|it| it.why.contains("does not carry what is published yet")), "{named:?}");
    assert_eq!(restart(false), (vec![], vec![1, 1]));
}

#[test]
fn a_distributor_that_stands_still_holds_the_switch_and_the_prune_back() {
    for has_source in [true, false] {
        let mut mesh = of_files(69, Watcher::Alive, has_source);
        mesh.copies.stuck = true;
        let why = rotate(&mut mesh, &unrestarted()).unwrap_err().to_string();
        assert!(
            why.starts_with("Blocked") && why.contains("does not carry the new root in 4 of 4 namespaces"),
            "{why}"
        );
        assert!(!is_switched(&mesh));
        mesh.copies.stuck = false;
        rotate(&mut mesh, &unrestarted()).unwrap();
        assert!(is_switched(&mesh));
    }
}

#[test]
fn a_prune_waits_for_no_copy_and_retires_nothing_where_one_is_behind() {
    let mut mesh = of_files(70, Watcher::Alive, true);
    mesh.copies.stuck = true;
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    let retired = |mesh: &mut Model| block_on(model::prune(mesh, 0)).map(|_| ());
    let why = retired(&mut mesh).unwrap_err().to_string();
    assert!(why.contains("trust-manager (Bundle trust) is given time, and the same command goes on later"), "{why}");
    (0..60).for_each(|_| mesh.pass(SignedDuration::from_mins(30)));
    let why = retired(&mut mesh).unwrap_err().to_string();
    assert!(why.contains("ConfigMap `dapr-root-ca.crt` does not carry the new root in 4 of 4 namespaces"), "{why}");
    assert_eq!(mesh.secret.trust.anchors().len(), 2);
    mesh.copies.stuck = false;
    (0..60).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
    retired(&mut mesh).unwrap();
    assert_eq!((mesh.secret.trust.anchors().len(), mesh.copies.source.as_ref().unwrap().len()), (1, 1));
    (0..60).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
    assert_eq!(mesh.refusals(), 0);
}

#[test]
fn what_others_put_into_the_source_stays_and_what_is_retired_leaves_it() {
    let mut mesh = of_files(72, Watcher::Alive, true);
    let stranger = make_ca(&mut Chance::new(73), mesh.now, 300).trust.anchors()[0].clone();
    mesh.copies.source.as_mut().unwrap().push(stranger.clone());
    rotate(&mut mesh, &unrestarted()).unwrap();
    let source = |mesh: &Model| mesh.copies.source.clone().unwrap();
    assert_eq!(source(&mesh), [mesh.secret.trust.anchors(), std::slice::from_ref(&stranger)].concat());
    (0..60).for_each(|_| mesh.pass(SignedDuration::from_mins(30)));
    block_on(model::prune(&mut mesh, 0)).unwrap();
    assert_eq!(source(&mesh), [mesh.secret.trust.anchors(), &[stranger]].concat());
    assert_eq!(source(&mesh).len(), 2);
}

#[test]
fn a_replacement_is_not_done_while_a_mount_accepts_the_former_ca() {
    let mut mesh = of_files(74, Watcher::Alive, true);
    (mesh.broken, mesh.copies.stuck) = (true, true);
    let replace = Request { strategy: Some(Strategy::Replace), restart: None, ..request(Inputs::Fresh, 90) };
    let left = rotate(&mut mesh, &replace).unwrap();
    let accepts = left.iter().filter(|left| left.concern == Concern::AcceptsFormer && left.role == "sidecar").count();
    assert_eq!(accepts, 2, "{left:?}");
    assert_eq!(block_on(mesh.load()).unwrap().unwrap().status, Status::Open);
    mesh.copies.stuck = false;
    (0..10).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
    let left = rotate(&mut mesh, &replace).unwrap();
    assert!(left.iter().all(|left| left.concern != Concern::AcceptsFormer), "{left:?}");
}
