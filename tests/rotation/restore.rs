//! Restores on the mesh in memory: the kept CA back over one that Sentry invented, and every place to be cut off at.

use jiff::SignedDuration;
use mtls::error::Error;
use mtls::mesh::{Answer, Consumer, Observed, Pair, Role};
use mtls::rotation::strategy::Inputs;
use mtls::rotation::{Ask, Concern, Left, Mesh, Need, Status, Strategy, Trio, begin};

use super::cuts::Case;
use super::model::{Cut, Model, Watcher};
use super::{block_on, go, request};

fn restore(mesh: &mut Model) -> Result<Vec<Left>, Error> {
    block_on(go(mesh, Ask::Restore, &request(Inputs::Fresh, 0)))
}

fn renew(mesh: &mut Model, ask: Ask) -> Result<Vec<Left>, Error> {
    block_on(go(mesh, ask, &request(Inputs::Fresh, 90)))
}

type Damage = fn(&mut Model);

/// A mesh that was rotated, and whose Sentry then invented a CA, under which a pod was born.
pub fn invented(seed: u64, watcher: Watcher) -> (Model, Trio) {
    let mut mesh = Model::new(seed, 365, watcher);
    renew(&mut mesh, Ask::Renew).unwrap();
    let kept = mesh.secret.clone();
    mesh.tear();
    (0..100).for_each(|_| mesh.pass(SignedDuration::from_secs(1)));
    assert!(mesh.invented > 0);
    mesh.restart("apps/pod-0");
    assert!(mesh.refusals() > 0);
    (mesh, kept)
}

/// The SVIDs of the invented CA have gone, and everybody accepts everybody.
fn calls_are_back(mesh: &mut Model, left: &[Left]) {
    for left in left.iter().filter(|left| left.concern == Concern::InventedSvid) {
        mesh.restart(&left.consumer);
    }
    assert_eq!(mesh.refusals(), 0, "{left:?}");
}

#[test]
fn a_ca_that_sentry_invented_gives_way_to_the_kept_one_and_the_pods_under_it_are_named() {
    for seed in 0..6 {
        for watcher in [Watcher::Alive, Watcher::Dead] {
            let (mut mesh, kept) = invented(40 + seed, watcher);
            let invented = mesh.secret.root().unwrap().clone();
            let left = restore(&mut mesh).unwrap_or_else(|why| panic!("seed {seed} {watcher:?}: {why}"));
            let named = left.iter().any(|left| left.consumer == "apps/pod-0" && left.concern == Concern::InventedSvid);
            assert!(named, "{left:?}");
            assert_eq!(mesh.secret.root(), kept.root(), "no new root");
            assert_eq!(mesh.secret.issuer.key.public_fingerprint(), kept.issuer.key.public_fingerprint());
            assert!(mesh.secret.trust.contains(invented.fingerprint()), "trusted until it is pruned");
            let record = block_on(mesh.load()).unwrap().unwrap();
            assert_eq!((record.goal.strategy, record.status), (Strategy::Restore, Status::Done));
            assert_eq!(record.goal.invented, Some(invented));
            calls_are_back(&mut mesh, &left);

            let writes = mesh.writes;
            let again = restore(&mut mesh).unwrap_err().to_string();
            assert_eq!(again, "nothing to restore: what is published is on record, and works");
            assert_eq!(mesh.writes, writes);
            renew(&mut mesh, Ask::Abort).unwrap_err();
            mesh.restless = true;
            renew(&mut mesh, Ask::Renew).unwrap();
            (0..40).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
        }
    }
}

#[test]
fn cut_off_at_any_write_the_same_command_or_a_resumed_rotation_goes_on() {
    for (watcher, ask) in [(Watcher::Alive, Ask::Restore), (Watcher::Dead, Ask::Resume)] {
        let start = Case::of(Strategy::Restore, watcher);
        let kept = start.mesh.recorded().unwrap().goal.target;
        start.each_cut(&Cut::ALL, |mut case, first, context| {
            if case.is_done() {
                return;
            }
            let ask = if case.is_open() { ask } else { Ask::Restore };
            let left = renew(&mut case.mesh, ask)
                .unwrap_or_else(|second| panic!("{context}, then {ask:?}: first {first:?}, then {second}"));
            assert_eq!(case.mesh.secret.root(), kept.root(), "{context}");
            let anchors = case.mesh.secret.trust.anchors().len();
            assert_eq!(anchors, 3, "{context}: the invented one beside the two kept");
            assert!(case.is_done(), "{context}");
            calls_are_back(&mut case.mesh, &left);
        });
    }
}

#[test]
fn what_is_damaged_before_sentry_acts_comes_back_as_it_was() {
    let damages: [(&str, Damage); 3] = [
        ("both objects are empty", |mesh| mesh.emptied = true),
        ("an anchor that nobody knows", Model::tear_config_map),
        ("another's issuer", |mesh| mesh.secret.issuer = Model::new(61, 365, Watcher::Dead).secret.issuer),
    ];
    for (what, damage) in damages {
        let mut mesh = Model::new(60, 365, Watcher::Dead);
        renew(&mut mesh, Ask::Renew).unwrap();
        mesh.pass(SignedDuration::from_secs(200));
        let before = (mesh.secret.trust.clone(), mesh.secret.issuer.chain.clone());
        damage(&mut mesh);
        let left = restore(&mut mesh).unwrap_or_else(|why| panic!("{what}: {why}"));
        assert!(left.iter().all(|left| left.concern != Concern::InventedSvid), "{what}: {left:?}");
        assert_eq!((mesh.secret.trust.clone(), mesh.secret.issuer.chain.clone()), before, "{what}");
        assert_eq!((mesh.is_whole(), mesh.emptied, mesh.invented), (true, false, 0), "{what}");
    }
}

#[test]
fn what_cannot_be_restored_is_refused_without_a_write() {
    let refusal = |mesh: &mut Model| {
        let writes = mesh.writes;
        let why = restore(mesh).unwrap_err().to_string();
        assert_eq!(mesh.writes, writes, "{why}");
        why
    };
    let mut fresh = Model::new(70, 365, Watcher::Alive);
    let none = "no CA is kept that could be restored: there is no record of a rotation";
    assert_eq!(refusal(&mut fresh), none);

    renew(&mut fresh, Ask::Renew).unwrap();
    assert_eq!(refusal(&mut fresh), "nothing to restore: what is published is on record, and works");

    let mut open = Model::new(71, 365, Watcher::Alive);
    open.cut = Some((1, Cut::After));
    renew(&mut open, Ask::Renew).unwrap_err();
    open.cut = None;
    let why = refusal(&mut open);
    assert!(why.starts_with("a rotation (strategy bridge) is open since 2026-03-01T"), "{why}");
    assert!(why.ends_with(", and mends what is published when it goes on"), "{why}");

    let mut expired = Model::new(72, 365, Watcher::Alive);
    expired.broken = true;
    block_on(go(&mut expired, Ask::Renew, &request(Inputs::Fresh, 3))).unwrap();
    expired.tear();
    expired.pass(SignedDuration::from_hours(24 * 4));
    assert!(expired.invented > 0);
    let why = refusal(&mut expired);
    assert!(why.starts_with("the CA on record cannot be restored: ") && why.contains("expired"), "{why}");

    let (mut replaced, _) = invented(73, Watcher::Alive);
    replaced.broken = true;
    replaced.restart_control_plane();
    (0..4).for_each(|n| replaced.restart(&format!("apps/pod-{n}")));
    assert_eq!(refusal(&mut replaced), "nothing to restore: nobody is seen to need the CA on record");
    let record = block_on(replaced.load()).unwrap().unwrap();
    let seen = block_on(replaced.observe(&Need { consumers: true, ..Need::default() })).unwrap();
    let refused = |change: &dyn Fn(&mut Observed)| {
        let mut seen = seen.clone();
        change(&mut seen);
        let mut entropy = |_: &mut [u8]| panic!("nothing is minted");
        let begun = begin(Ask::Restore, &request(Inputs::Fresh, 0), &seen, Some(&record), &mut entropy);
        begun.err().unwrap().to_string()
    };
    let nobody = "the CA on record cannot be restored: nobody is seen to need the CA on record";
    let is_mute = |consumer: &mut Consumer| {
        (consumer.held, consumer.holds) = (Answer::NotAsked, Answer::Unknown("no answer".to_owned()));
    };
    assert_eq!(
        refused(&|seen| seen.consumers.iter_mut().filter(|c| c.role == Role::Operator).for_each(is_mute)),
        format!("{nobody}, and dapr-system/operator could not be asked")
    );
    assert_eq!(
        refused(&|seen| seen.published.pair = Pair::Unequal("ca.crt differs".to_owned())),
        format!("{nobody}, and the two objects are not equal")
    );

    let mut aborted = Model::new(74, 365, Watcher::Alive);
    renew(&mut aborted, Ask::Renew).unwrap();
    let mut record = block_on(aborted.load()).unwrap().unwrap();
    (record.status, record.goal.previous) = (Status::Aborted, None);
    aborted.record = Some(record.to_data());
    aborted.tear();
    (0..100).for_each(|_| aborted.pass(SignedDuration::from_secs(1)));
    let none =
        "no CA is kept that could be restored: the record of the last rotation has none that was published before";
    assert_eq!(refusal(&mut aborted), none);
}

/// A renewal would bridge from the invented CA alone, with the record as it stands: what is open goes on first.
#[test]
fn a_ca_that_sentry_invents_again_meanwhile_is_bridged_by_the_same_restore() {
    let (mut mesh, kept) = invented(80, Watcher::Alive);
    mesh.invents_after = Some(mesh.steps() + 1);
    restore(&mut mesh).unwrap();
    assert_eq!(mesh.secret.root(), kept.root());
    let record = block_on(mesh.load()).unwrap().unwrap();
    assert_eq!((record.goal.strategy, record.status), (Strategy::Restore, Status::Done));
    mesh.restart_control_plane();
    (0..4).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    assert_eq!(mesh.refusals(), 0);
}

#[test]
fn one_that_would_cut_off_the_pods_of_the_invented_ca_is_refused() {
    let (mut mesh, kept) = invented(81, Watcher::Alive);
    let writes = mesh.writes;
    mesh.secret.issuer.key = kept.issuer.key;
    let why = restore(&mut mesh).unwrap_err().to_string();
    assert!(why.starts_with("no strategy is safe here: restore: "), "nothing can be cross-signed: {why}");
    assert!(why.contains("sidecar apps/pod-0"), "{why}");
    assert_eq!(mesh.writes, writes);
}
