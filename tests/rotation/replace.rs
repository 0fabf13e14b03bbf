//! Replacements: the new CA at once, then everything restarted into it, and whoever is not is named.

use super::*;

fn replacement(restart: Option<Scope>) -> Request {
    Request { strategy: Some(Strategy::Replace), restart, ..request(Inputs::Fresh, 90) }
}

/// The moves that were made, but for nudges, in words.
fn moves(mesh: &Model) -> Vec<&str> {
    let moves = mesh.diary.iter().filter_map(|line| line.split_once(" move ")?.1.split_once(": "));
    moves.map(|(_, step)| step).filter(|step| !step.starts_with("nudge")).collect()
}

#[test]
fn the_new_ca_is_published_then_the_control_plane_restarted_in_order_then_applications_in_waves() {
    for watcher in [Watcher::Alive, Watcher::Dead] {
        let mut mesh = Model::new(90, 365, watcher);
        (mesh.broken, mesh.limits.parallel) = (true, 3);
        let left = rotate(&mut mesh, &replacement(Some(Scope::All))).unwrap();
        let made = moves(&mesh);
        assert!(made[0].starts_with("publish the trust bundle") && made[0].contains(", and issuer "), "{made:?}");
        let restarts = [
            "restart dapr-sentry",
            "restart dapr-operator",
            "restart dapr-placement-server",
            "restart dapr-scheduler-server",
            "restart dapr-sidecar-injector",
            "restart apps/deploy/app-0, apps/deploy/app-1, apps/deploy/app-2",
            "restart apps/deploy/app-3",
        ];
        assert_eq!(made[1..], restarts);
        let stay = || mesh.processes.iter().filter(|process| !process.leaving);
        assert!(stay().all(|process| process.held == mesh.secret.trust.anchors()), "the new anchors alone");
        assert!(stay().all(|process| process.shows == mesh.secret.issuer.chain));
        assert!(left.iter().all(|left| left.concern == Concern::Leaving), "{left:?}");
        assert_eq!(mesh.recorded().unwrap().status, Status::Done);
        mesh.pass(SignedDuration::from_secs(40));
        assert_eq!(mesh.refusals(), 0);
    }
}

#[test]
fn whoever_is_named_refuses_or_is_refused_and_nobody_else() {
    for watcher in [Watcher::Alive, Watcher::Dead] {
        let mut mesh = Model::new(91, 365, watcher);
        mesh.broken = true;
        let left = rotate(&mut mesh, &replacement(None)).unwrap();
        assert!(!mesh.broken && mesh.refusals() > 0);
        (0..40).for_each(|_| mesh.pass(SignedDuration::from_hours(1)));
        for left in left {
            mesh.restart(&left.consumer);
        }
        assert_eq!(mesh.refusals(), 0);
    }
}

#[test]
fn a_process_that_reads_the_new_root_and_shows_a_former_svid_is_stale() {
    for scope in [Scope::Stale, Scope::AllStale] {
        let mut mesh = Model::new(92, 365, Watcher::Alive);
        mesh.broken = true;
        let left = rotate(&mut mesh, &replacement(Some(scope))).unwrap();
        assert!(left.iter().all(|left| left.role == "sidecar"), "{left:?}");
        (0..4).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
        for name in mesh.sidecars() {
            mesh.restart(&name);
        }
        assert_eq!(mesh.refusals(), 0, "{scope:?}");
    }
}
