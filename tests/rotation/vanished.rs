//! The record of a rotation is deleted, between two runs or in the middle of one. What it was after is forgotten: the
//! next command begins anew on whatever is published, in the middle of a pair too.

use super::cuts::Case;
use super::prune::restart_everything;
use super::*;

const KILLED: [Cut; 3] = [Cut::Before, Cut::BetweenThePair, Cut::After];

/// A renewal, or the same command where it needs no record. A control plane that holds only a CA which nobody knows any
/// more comes first.
fn again(case: &mut Case) -> Result<(), Error> {
    if case.strategy == Strategy::Restore {
        block_on(model::restart(&mut case.mesh, Scope::Stale))?;
    }
    match case.strategy {
        Strategy::Append | Strategy::Replace => case.run(),
        Strategy::Prune if case.mesh.secret.trust.anchors().len() > 1 => case.run(),
        _ => rotate(&mut case.mesh, &request(Inputs::Fresh, 90)).map(drop),
    }
}

/// What is published is whole and the goal's, and whoever was restarted accepts everybody.
fn all_is_well(case: &mut Case, invented: u32, context: &str) {
    let mesh = &mut case.mesh;
    assert_eq!(mesh.invented, invented, "{context}: Sentry invented a CA");
    assert_eq!(mesh.secret.trust.anchors(), mesh.config_map, "{context}: the pair is whole");
    let target = mesh.recorded().unwrap().goal.target;
    assert_eq!(mesh.secret.issuer.chain, target.issuer.chain, "{context}: switched");
    mesh.pass(SignedDuration::from_secs(100));
    restart_everything(mesh);
    assert_eq!(mesh.refusals(), 0, "{context}");
}

#[test]
fn a_record_that_vanished_at_any_write_costs_no_call_and_no_ca() {
    for start in Case::all(Watcher::Dead).chain([Case::of_files()]) {
        let invented = start.mesh.invented;
        start.each_cut(&KILLED, |mut case, _, context| {
            case.mesh.record = None;
            // Why: until it is published, the CA that is restored stands in the record alone.
            case.mesh.broken |= case.strategy == Strategy::Restore;
            again(&mut case).unwrap_or_else(|why| panic!("{context}: {why}"));
            all_is_well(&mut case, invented, context);
        });
    }
}

#[test]
fn a_record_that_somebody_deletes_during_a_run_is_missed_by_its_last_write() {
    for start in Case::all(Watcher::Dead).chain([Case::of_files()]) {
        let invented = start.mesh.invented;
        for after in 1.. {
            let context = format!("{:?} after {after}", start.strategy);
            let mut case = start.clone();
            case.mesh.forgets_after = Some(case.mesh.steps() + after);
            let Err(why) = case.run() else {
                assert!(after > 1, "{context}");
                break;
            };
            assert!(why.to_string().contains("there is no such object"), "{context}: {why}");
            case.mesh.forgets_after = None;
            again(&mut case).unwrap_or_else(|why| panic!("{context}: {why}"));
            all_is_well(&mut case, invented, &context);
        }
    }
}

#[test]
fn an_append_that_is_forgotten_while_it_waits_leaves_an_anchor_that_nobody_uses() {
    let mut mesh = Model::new(56, 365, Watcher::Alive);
    let issuer = mesh.secret.issuer.chain.clone();
    for anchors in [2, 3] {
        mesh.record = None;
        rotate(&mut mesh, &append()).unwrap_err();
        assert_eq!((mesh.secret.trust.anchors().len(), &mesh.secret.issuer.chain), (anchors, &issuer));
    }
    (0..4).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    rotate(&mut mesh, &append()).unwrap();
    restart_everything(&mut mesh);
    prune::prune(&mut mesh, 0).unwrap();
    assert_eq!(mesh.secret.trust.anchors().len(), 1);
}
