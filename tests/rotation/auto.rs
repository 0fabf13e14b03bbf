//! Which strategy is taken where none is asked for by name: a bridge, or else an append, or neither.

use super::model::ca_without_bridges;
use super::*;

/// A mesh whose issuer signs no bridge, after so many rotations; nobody was restarted since.
fn without_bridges(mut mesh: Model, rotations: usize) -> Model {
    for _ in 0..rotations {
        rotate(&mut mesh, &request(Inputs::Fresh, 365)).unwrap();
    }
    let mut chance = Chance::new(50);
    let key = PrivateKey::generate(&mut |bytes: &mut [u8]| chance.fill(bytes));
    let own = ca_without_bridges(&key, &mut chance, mesh.now, 300);
    rotate(&mut mesh, &request(Inputs::Given(own), 300)).unwrap();
    mesh
}

fn renewal(inputs: Inputs) -> Request {
    Request { digest: "another".to_owned(), ..request(inputs, 90) }
}

/// Why nothing is begun. It leaves no trace.
#[track_caller]
fn refusal(mesh: &mut Model, request: &Request) -> String {
    let (steps, record) = (mesh.steps(), mesh.record.clone());
    let refused = rotate(mesh, request).unwrap_err().to_string();
    assert!(refused.starts_with("no strategy is safe here: bridge: "), "{refused}");
    assert!(mesh.steps() == steps && mesh.record == record, "something was written");
    refused
}

fn goal(mesh: &mut Model) -> Goal {
    block_on(mesh.load()).unwrap().unwrap().goal
}

#[test]
fn where_no_bridge_is_possible_the_new_root_is_published_first_and_the_same_command_switches() {
    let mut chance = Chance::new(51);
    let key = PrivateKey::generate(&mut |bytes: &mut [u8]| chance.fill(bytes));
    for rotations in [0, 7] {
        let own = make_ca(&mut chance, Model::new(0, 365, Watcher::Alive).now, 90);
        for inputs in [Inputs::Fresh, Inputs::Key(key.clone()), Inputs::Given(own)] {
            let mut mesh = without_bridges(Model::new(52, 365, Watcher::Alive), rotations);
            let (issuer, anchors) = (mesh.secret.issuer.chain.clone(), mesh.secret.trust.anchors().len());
            let request = renewal(inputs);
            for n in 0..4 {
                let waits = rotate(&mut mesh, &request).unwrap_err().to_string();
                assert!(waits.starts_with("Blocked") && waits.contains(&format!("apps/pod-{n}")), "{waits}");
                assert_eq!((&mesh.secret.issuer.chain, mesh.secret.trust.anchors().len()), (&issuer, anchors + 1));
                assert_eq!(goal(&mut mesh).strategy, Strategy::Append);
                mesh.restart(&format!("apps/pod-{n}"));
            }
            rotate(&mut mesh, &request).unwrap();
            assert_eq!(goal(&mut mesh).strategy, Strategy::Append);
            assert_eq!(mesh.secret.issuer.chain.len(), 1, "no bridge, however many there were");
            (0..40).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
            assert_eq!(mesh.refusals(), 0);
        }
    }
}

#[test]
fn a_sentence_says_why_an_append_is_taken() {
    let reason = |mesh: &mut Model, request: &Request| {
        let seen = block_on(mesh.observe(&Need { consumers: true, control_plane: true, ..Need::default() })).unwrap();
        let mut entropy = Chance::new(53);
        let proposal = choose(request, &seen, None, &mut |bytes: &mut [u8]| entropy.fill(bytes)).unwrap();
        assert_eq!(proposal.goal.strategy, Strategy::Append);
        proposal.why
    };
    let begins = "everybody is made to hold the new root before the switch, since bridge is not safe here: ";
    let mut short = without_bridges(Model::new(54, 365, Watcher::Alive), 0);
    let why = reason(&mut short, &renewal(Inputs::Fresh));
    assert!(why.starts_with(begins) && why.contains("allows 0 further certificates below it"), "{why}");
    let why = reason(&mut Model::new(9, 1, Watcher::Alive), &renewal(Inputs::Fresh));
    assert!(why.starts_with(begins) && why.contains("the bridge would end"), "{why}");
    let named = Request { strategy: Some(Strategy::Append), ..renewal(Inputs::Fresh) };
    assert_eq!(reason(&mut short, &named), "asked for by name");
}

#[test]
fn where_an_append_cannot_be_seen_to_its_end_nothing_is_begun_and_both_are_told() {
    let mut hidden = without_bridges(Model::new(55, 365, Watcher::Alive), 0);
    hidden.hidden = true;
    let why = refusal(&mut hidden, &renewal(Inputs::Fresh));
    assert!(why.contains("would refuse the new chain") && why.contains("; append: it must be seen"), "{why}");
}

#[test]
fn a_ninth_live_bridge_is_refused_without_a_write() {
    let mut mesh = Model::new(10, 365, Watcher::Alive);
    for _ in 0..8 {
        rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    }
    let why = refusal(&mut mesh, &request(Inputs::Fresh, 90));
    assert!(why.contains("carries 8 bridges") && !why.contains("append"), "{why}");
}

#[test]
fn a_service_that_cannot_be_restarted_is_no_reason_to_append() {
    let mut mesh = Model::new(57, 365, Watcher::Alive);
    mesh.ready = 2;
    let why = refusal(&mut mesh, &Request { restart: Some(Scope::ControlPlane), ..renewal(Inputs::Fresh) });
    assert!(why.contains("only 2 of its 3 replicas are ready") && !why.contains("append"), "{why}");
}

#[test]
fn a_ca_that_sentry_invented_over_one_that_signs_no_bridge_is_not_appended_to() {
    let mut mesh = without_bridges(Model::new(58, 365, Watcher::Alive), 0);
    mesh.broken = true;
    mesh.tear();
    (0..100).for_each(|_| mesh.pass(SignedDuration::from_secs(1)));
    assert_eq!(mesh.invented, 1);
    let why = refusal(&mut mesh, &renewal(Inputs::Fresh));
    assert!(!why.contains("append"), "{why}");
    block_on(go(&mut mesh, Ask::Restore, &renewal(Inputs::Fresh))).unwrap();
    let waits = rotate(&mut mesh, &renewal(Inputs::Fresh)).unwrap_err().to_string();
    assert!(waits.starts_with("Blocked"), "{waits}");
    assert_eq!(goal(&mut mesh).strategy, Strategy::Append);
}

#[test]
fn an_append_that_waited_until_its_ca_had_expired_is_over_and_everything_is_replaced() {
    let mut mesh = Model::new(59, 1, Watcher::Alive);
    rotate(&mut mesh, &renewal(Inputs::Fresh)).unwrap_err();
    mesh.pass(SignedDuration::from_hours(23));
    let waits = rotate(&mut mesh, &renewal(Inputs::Fresh)).unwrap_err().to_string();
    assert!(waits.starts_with("Blocked"), "{waits}");
    mesh.broken = true;
    mesh.pass(SignedDuration::from_hours(2));
    rotate(&mut mesh, &renewal(Inputs::Fresh)).unwrap();
    assert_eq!(goal(&mut mesh).strategy, Strategy::Replace);
    (0..4).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    assert_eq!(mesh.refusals(), 0);
}
