//! Whole rotations on the mesh in memory: every strategy, cut off at every write, under restless pods.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "rotation/applications.rs"]
mod applications;
#[path = "rotation/auto.rs"]
mod auto;
#[path = "rotation/cuts.rs"]
mod cuts;
#[path = "rotation/file_era.rs"]
mod file_era;
#[path = "rotation/leak.rs"]
mod leak;
mod model;
#[path = "rotation/open.rs"]
mod open;
#[path = "rotation/prune.rs"]
mod prune;
#[path = "rotation/refusals.rs"]
mod refusals;
#[path = "rotation/replace.rs"]
mod replace;
#[path = "rotation/restore.rs"]
mod restore;
#[path = "rotation/vanished.rs"]
mod vanished;

use jiff::SignedDuration;
use model::{Chance, Cut, LIMITS, Model, Watcher, block_on, go, make_ca, request};
use mtls::error::Error;
use mtls::mesh::{Anchors, Answer, Consumer, Role};
use mtls::pki::PrivateKey;
use mtls::rotation::strategy::{Inputs, Request, choose};
use mtls::rotation::{
    Ask, Concern, Event, Goal, Left, Mesh, Move, Need, Record, Scope, Status, Step, Strategy, need, next, obstacles,
    plan, run,
};

fn rotate(mesh: &mut Model, request: &Request) -> Result<Vec<Left>, Error> {
    block_on(go(mesh, Ask::Renew, request))
}

#[test]
fn bridges_in_a_row_break_no_handshake_whatever_the_pods_do() {
    for seed in 0..12 {
        for watcher in [Watcher::Alive, Watcher::Dead] {
            let mut mesh = Model::new(seed, 365, watcher);
            mesh.restless = true;
            for _ in 0..3 {
                rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap_or_else(|why| panic!("seed {seed}: {why}"));
                (0..40).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
            }
            assert_eq!(mesh.secret.trust.anchors().len(), 4, "no anchor leaves a bundle but by prune");
            assert_eq!(mesh.secret.issuer.chain.len(), 7, "each bridge keeps the whole tail");
            assert_eq!(mesh.secret.root(), mesh.secret.trust.anchors().first(), "the new root, whatever ends last");
            assert_eq!(mesh.invented, 0);
        }
    }
}

#[test]
fn each_proof_that_is_missing_is_waited_for_by_its_own_question() {
    let mut mesh = Model::new(8, 365, Watcher::Alive);
    let old: Anchors = mesh.config_map.clone().into();
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    let goal = block_on(mesh.load()).unwrap().unwrap().goal;
    let seen = block_on(mesh.observe(&Need::default())).unwrap();
    let seen = block_on(mesh.observe(&need(&goal, &seen))).unwrap();
    assert!(matches!(next(&goal, &seen, true, SignedDuration::ZERO, LIMITS), Step::Done(_)));
    let lacks = |role: Role, lack: &dyn Fn(&mut Consumer)| {
        let mut seen = seen.clone();
        let consumer = seen.consumers.iter_mut().find(|consumer| consumer.role == role).unwrap();
        lack(consumer);
        let name = consumer.name.clone();
        match next(&goal, &seen, true, SignedDuration::ZERO, LIMITS) {
            Step::Wait(what, need) if what.contains(&name) => need,
            _ => panic!("{name} is not waited for"),
        }
    };
    let former = goal.previous.as_ref().unwrap().issuer.chain.clone();
    let serves_old = |sentry: &mut Consumer| sentry.served = Answer::Proven(former.clone());
    assert!(lacks(Role::Sentry, &serves_old).served);
    assert!(lacks(Role::Injector, &|injector| injector.held = Answer::Proven(old.clone())).held);
    assert!(lacks(Role::Operator, &|operator| operator.accepts = Answer::Proven(false)).accepts.is_some());
}

#[test]
fn a_run_does_not_fight_with_whoever_puts_the_former_ca_back() {
    let mut mesh = Model::new(76, 365, Watcher::Alive);
    (mesh.put_back, mesh.broken) = (Some(mesh.secret.clone()), true);
    let why = rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap_err().to_string();
    assert!(why.contains("Stuck") && why.contains("what was published is not what is read back"), "{why}");
    assert!(mesh.writes < 16, "{} writes", mesh.writes);
}

#[test]
fn an_abort_after_the_switch_puts_the_issuer_back_and_keeps_the_anchors() {
    for watcher in [Watcher::Alive, Watcher::Dead] {
        let mut mesh = Model::new(7, 365, watcher);
        let before = mesh.secret.issuer.chain.clone();
        rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
        mesh.restart("apps/pod-0");
        block_on(go(&mut mesh, Ask::Abort, &request(Inputs::Fresh, 90))).unwrap();
        mesh.restart("apps/pod-1");
        assert_eq!(mesh.secret.issuer.chain, before);
        assert_eq!(mesh.secret.trust.anchors().len(), 2);
        let again = block_on(go(&mut mesh, Ask::Abort, &request(Inputs::Fresh, 90)));
        assert!(again.is_err_and(|why| why.to_string().contains("aborted already")));
    }
}

#[test]
fn the_live_roots_key_renews_that_root_on_top_of_a_bridge() {
    let mut mesh = Model::new(3, 365, Watcher::Alive);
    mesh.restless = true;
    let key = PrivateKey::generate(&mut |bytes: &mut [u8]| Chance::new(99).fill(bytes));
    for _ in 0..3 {
        rotate(&mut mesh, &request(Inputs::Key(key.clone()), 90)).unwrap();
        (0..20).for_each(|_| mesh.pass(SignedDuration::from_secs(60)));
    }
    let record = block_on(mesh.load()).unwrap().unwrap();
    assert_eq!(record.goal.strategy, Strategy::SameKey);
    assert_eq!(mesh.secret.issuer.chain.len(), 3, "the bridge stays for pods that hold only the first root");
}

#[test]
fn own_certificates_are_bridged_and_a_new_issuer_under_them_is_one_write() {
    let mut mesh = Model::new(4, 365, Watcher::Dead);
    mesh.restless = true;
    let own = make_ca(&mut Chance::new(5), mesh.now, 300);
    rotate(&mut mesh, &request(Inputs::Given(own.clone()), 300)).unwrap();
    assert_eq!(mesh.secret.issuer.chain[0], own.issuer.chain[0]);
    let trust = mesh.secret.trust.clone();
    let mut request = request(Inputs::Given(own), 300);
    "another".clone_into(&mut request.digest);
    rotate(&mut mesh, &request).unwrap();
    assert_eq!(mesh.secret.trust, trust);
}

#[test]
fn a_ca_that_sentry_invented_is_bridged_to_the_kept_one() {
    let mut mesh = Model::new(11, 365, Watcher::Alive);
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    mesh.broken = true;
    mesh.tear();
    (0..100).for_each(|_| mesh.pass(SignedDuration::from_secs(1)));
    assert_eq!(mesh.invented, 1);
    mesh.restart("apps/pod-0");
    assert!(mesh.refusals() > 0);
    let left = rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    let lost: Vec<&Left> = left.iter().filter(|left| left.concern == Concern::InventedSvid).collect();
    assert_eq!(lost.len(), 1, "{left:?}");
    for left in lost {
        mesh.restart(&left.consumer);
    }
    for index in 0..mesh.processes.len() {
        mesh.processes[index].shows = mesh.secret.issuer.chain.clone();
    }
    assert_eq!(mesh.refusals(), 0, "one rotation and the named restarts bring every call back");
}

#[test]
fn a_ca_that_sentry_invented_is_bridged_for_a_control_plane_that_knows_no_other() {
    let mut mesh = Model::new(27, 365, Watcher::Alive);
    for _ in 0..2 {
        rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
        mesh.pass(SignedDuration::from_hours(1));
    }
    mesh.broken = true;
    mesh.tear();
    (0..100).for_each(|_| mesh.pass(SignedDuration::from_secs(1)));
    mesh.restart_control_plane();
    mesh.restart("apps/pod-0");
    let left = rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    assert!(left.iter().any(|left| left.consumer == "apps/pod-0" && left.concern == Concern::InventedSvid), "{left:?}");
}

#[test]
fn a_ca_that_sentry_invented_is_bridged_where_the_control_plane_alone_holds_the_kept_one() {
    let mut mesh = Model::new(35, 365, Watcher::Dead);
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    let kept = mesh.secret.trust.clone();
    mesh.tear();
    (0..100).for_each(|_| mesh.pass(SignedDuration::from_secs(1)));
    assert!(mesh.invented > 0);
    // The operator, whose watcher is dead, holds the first root alone, which only the kept chain reaches.
    mesh.restart("dapr-system/injector");
    (0..4).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    let record = block_on(mesh.load()).unwrap().unwrap();
    let seen = block_on(mesh.observe(&Need { consumers: true, ..Need::default() })).unwrap();
    let mut seen = block_on(mesh.observe(&record.doubts(&seen).unwrap())).unwrap();
    seen.consumers.retain(|consumer| consumer.held.proven().is_none());
    assert!(record.kept(&seen).is_some(), "a process accepts the kept CA");
    seen.consumers.retain(|consumer| consumer.holds != Answer::Proven(true));
    assert!(record.kept(&seen).is_none(), "nobody does");

    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    assert!(kept.anchors().iter().all(|anchor| mesh.config_map.contains(anchor)), "the kept CA is published again");
    for index in 0..mesh.processes.len() {
        mesh.processes[index].shows = mesh.secret.issuer.chain.clone();
    }
    assert_eq!(mesh.refusals(), 0, "everybody accepts what is signed now");
}

#[test]
fn an_expired_ca_is_replaced_with_the_control_plane_restarted_in_order() {
    let mut mesh = Model::new(2, 10, Watcher::Alive);
    mesh.broken = true;
    mesh.pass(SignedDuration::from_hours(24 * 11));
    let left = rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    let record = block_on(mesh.load()).unwrap().unwrap();
    assert_eq!(record.goal.strategy, Strategy::Replace);
    assert_eq!(left.iter().filter(|left| left.concern == Concern::Refuses).count(), 4, "the applications are named");
    (0..4).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    assert_eq!(mesh.refusals(), 0);
}

#[test]
fn a_pod_that_is_being_deleted_keeps_no_rotation_open() {
    let mut mesh = Model::new(15, 10, Watcher::Alive);
    mesh.broken = true;
    mesh.pass(SignedDuration::from_hours(24 * 11));
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    (0..3).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    let status = |mesh: &mut Model| block_on(mesh.load()).unwrap().unwrap().status;
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    assert_eq!(status(&mut mesh), Status::Open, "a pod that stays and refuses everybody");
    mesh.processes.iter_mut().filter(|process| process.name == "apps/pod-3").for_each(|process| process.leaving = true);
    let left = rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    assert_eq!(left.iter().map(|left| left.concern).collect::<Vec<_>>(), [Concern::Leaving], "it is named");
    assert_eq!(status(&mut mesh), Status::Done);
}

#[test]
fn other_inputs_on_an_open_rotation_are_refused_without_a_write() {
    let mut mesh = Model::new(8, 365, Watcher::Alive);
    mesh.cut = Some((1, Cut::After));
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap_err();
    mesh.cut = None;
    let writes = mesh.writes;
    let other = Request { digest: "another".to_owned(), ..request(Inputs::Fresh, 30) };
    let refused = rotate(&mut mesh, &other).unwrap_err();
    assert!(refused.to_string().contains("other inputs"), "{refused}");
    assert_eq!(mesh.writes, writes);
    block_on(go(&mut mesh, Ask::Resume, &other)).unwrap();
}

#[test]
fn an_open_rotation_goes_on_after_sentry_invented_a_ca_and_a_pod_was_born_under_it() {
    let mut mesh = Model::new(12, 365, Watcher::Alive);
    mesh.cut = Some((1, Cut::After));
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap_err();
    mesh.cut = None;
    mesh.broken = true;
    mesh.tear();
    (0..100).for_each(|_| mesh.pass(SignedDuration::from_secs(1)));
    mesh.restart("apps/pod-0");
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    for index in 0..mesh.processes.len() {
        mesh.processes[index].shows = mesh.secret.issuer.chain.clone();
    }
    assert_eq!(mesh.refusals(), 0);
}

#[test]
fn a_ca_that_sentry_invents_in_the_middle_of_a_run_is_bridged_by_the_same_run() {
    for after in 1..4 {
        let mut mesh = Model::new(15, 365, Watcher::Alive);
        mesh.invents_after = Some(after);
        rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap_or_else(|why| panic!("after {after}: {why}"));
        assert_eq!(mesh.invented, 1);
        for index in 0..mesh.processes.len() {
            mesh.processes[index].shows = mesh.secret.issuer.chain.clone();
        }
        assert_eq!(mesh.refusals(), 0, "after {after}: pods of both CAs accept the one chain");
    }
}

#[test]
fn whoever_follows_a_run_is_told_that_sentry_invented_a_ca() {
    let mut mesh = Model::new(15, 365, Watcher::Alive);
    mesh.invents_after = Some(0);
    let seen = block_on(mesh.observe(&Need { consumers: true, control_plane: true, ..Need::default() })).unwrap();
    let mut chance = Chance::new(16);
    let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let goal = choose(&request(Inputs::Fresh, 90), &seen, None, &mut entropy).unwrap().goal;
    let seen = block_on(mesh.observe(&need(&goal, &seen))).unwrap();
    let mut told = Vec::new();
    let mut tell = |event| told.push(event);
    block_on(run(&mut mesh, &mut Record::open(goal), seen, LIMITS, &mut entropy, &mut tell)).unwrap();
    told.retain(|event| matches!(event, Event::Noticed(_)));
    let invented = "Sentry has invented a CA of its own; the goal is bridged over it";
    assert_eq!(told, [Event::Noticed(invented.to_owned())]);
}

#[test]
fn what_is_damaged_and_has_not_expired_is_mended_from_the_record_and_never_replaced_unasked() {
    let mut mesh = Model::new(13, 365, Watcher::Alive);
    let other = make_ca(&mut Chance::new(14), mesh.now, 365);
    let [mut kept, mut lost] = [13, 13].map(|seed| Model::new(seed, 365, Watcher::Alive));
    rotate(&mut kept, &request(Inputs::Fresh, 90)).unwrap();
    for mesh in [&mut kept, &mut lost] {
        mesh.broken = true;
        mesh.secret.trust = other.trust.clone();
        mesh.config_map = other.trust.anchors().to_vec();
    }
    let mut again = request(Inputs::Fresh, 90);
    "another".clone_into(&mut again.digest);
    rotate(&mut kept, &again).unwrap();
    assert_eq!(kept.refusals(), 0);
    let writes = lost.writes;
    let refused = rotate(&mut lost, &request(Inputs::Fresh, 90)).unwrap_err();
    assert!(refused.to_string().contains("by name only"), "{refused}");
    assert_eq!(lost.writes, writes);
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
}

#[test]
fn a_rotation_whose_ca_has_expired_is_over_and_a_new_one_begins() {
    let mut mesh = Model::new(16, 365, Watcher::Alive);
    mesh.cut = Some((1, Cut::After));
    rotate(&mut mesh, &request(Inputs::Fresh, 2)).unwrap_err();
    mesh.cut = None;
    mesh.pass(SignedDuration::from_hours(24 * 3));
    rotate(&mut mesh, &request(Inputs::Fresh, 2)).unwrap();
    let record = block_on(mesh.load()).unwrap().unwrap();
    assert_eq!(record.status, Status::Done);
    assert!(record.goal.target.until(&block_on(mesh.observe(&Need::default())).unwrap()).is_some(), "a CA that lives");
    assert_eq!(mesh.secret.trust.anchors().len(), 3, "an anchor that has expired stays until it is pruned");
}

#[test]
fn a_renewal_does_not_go_on_with_an_abort_that_was_cut_off() {
    let mut mesh = Model::new(17, 365, Watcher::Alive);
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    mesh.cut = Some((mesh.steps() + 1, Cut::Before));
    block_on(go(&mut mesh, Ask::Abort, &request(Inputs::Fresh, 90))).unwrap_err();
    mesh.cut = None;
    let refused = rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap_err();
    assert!(refused.to_string().contains("strategy abort"), "{refused}");
    block_on(go(&mut mesh, Ask::Abort, &request(Inputs::Fresh, 90))).unwrap();
}

#[test]
fn an_abort_after_a_replacement_is_refused_where_somebody_holds_the_new_root_alone() {
    let mut mesh = Model::new(18, 365, Watcher::Alive);
    mesh.broken = true;
    let replace = Request { strategy: Some(Strategy::Replace), ..request(Inputs::Fresh, 90) };
    rotate(&mut mesh, &replace).unwrap();
    mesh.hidden = true;
    let writes = mesh.writes;
    let refused = block_on(go(&mut mesh, Ask::Abort, &replace)).unwrap_err();
    assert!(refused.to_string().contains("would refuse the new chain"), "{refused}");
    assert_eq!(mesh.writes, writes);
}

#[test]
fn a_root_that_is_its_own_issuer_is_bridged_and_the_loop_ends() {
    let mut mesh = Model::new(22, 365, Watcher::Alive);
    mesh.be_its_own_issuer();
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    assert_eq!(mesh.secret.issuer.chain.len(), 2, "a self-signed certificate is never sent along");
    assert_eq!(mesh.secret.trust.anchors().len(), 2);
}

#[test]
fn an_expired_issuer_under_a_root_that_lives_is_renewed_by_its_key() {
    let mut mesh = Model::new(19, 365, Watcher::Alive);
    let key = PrivateKey::generate(&mut |bytes: &mut [u8]| Chance::new(98).fill(bytes));
    rotate(&mut mesh, &request(Inputs::Key(key.clone()), 90)).unwrap();
    let anchors = mesh.secret.trust.anchors().len();
    mesh.broken = true;
    mesh.pass(SignedDuration::from_hours(4));
    mesh.expire_issuer(&key);
    mesh.record = None;
    let mut again = request(Inputs::Key(key), 90);
    "another".clone_into(&mut again.digest);
    rotate(&mut mesh, &again).unwrap();
    let record = block_on(mesh.load()).unwrap().unwrap();
    assert_eq!(record.goal.strategy, Strategy::SameKey);
    assert_eq!(mesh.secret.trust.anchors().len(), anchors + 1, "nothing is thrown away");
}

#[test]
fn a_restart_makes_an_unequal_pair_whole_before_sentry_reads_it() {
    for tear in [Model::tear, Model::tear_config_map] {
        let mut mesh = Model::new(22, 365, Watcher::Alive);
        tear(&mut mesh);
        let seen = block_on(mesh.observe(&Need::default())).unwrap();
        let mut record = Record::open(Goal::restart(Scope::ControlPlane, &seen, None).unwrap());
        let seen = block_on(mesh.observe(&need(&record.goal, &seen))).unwrap();
        let mut entropy = |_: &mut [u8]| panic!("nothing is minted");
        let ended = block_on(run(&mut mesh, &mut record, seen, LIMITS, &mut entropy, &mut |_| {})).unwrap();
        assert_eq!((ended.services.len(), mesh.invented), (5, 0));
        assert_eq!(mesh.config_map, mesh.secret.trust.anchors(), "what the Secret has counts");
    }
}

#[test]
fn a_restart_never_switches_the_issuer() {
    let mut mesh = Model::new(20, 365, Watcher::Alive);
    let seen = block_on(mesh.observe(&Need::default())).unwrap();
    let goal = Goal::restart(Scope::ControlPlane, &seen, None).unwrap();
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    let (issuer, anchors) = (mesh.secret.issuer.chain.clone(), mesh.secret.trust.clone());
    let mut record = Record::open(goal);
    let seen = block_on(mesh.observe(&need(&record.goal, &seen))).unwrap();
    let mut entropy = |_: &mut [u8]| panic!("nothing is minted");
    let ended = block_on(run(&mut mesh, &mut record, seen, LIMITS, &mut entropy, &mut |_| {})).unwrap();
    assert_eq!(ended.services.len(), 5);
    assert_eq!((&mesh.secret.issuer.chain, &mesh.secret.trust), (&issuer, &anchors), "somebody rotated meanwhile");
}

#[test]
fn a_restart_makes_the_missing_half_of_an_open_rotations_trust_write() {
    let mut mesh = Model::new(21, 365, Watcher::Alive);
    mesh.cut = Some((1, Cut::BetweenThePair));
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap_err();
    mesh.cut = None;
    let seen = block_on(mesh.observe(&Need::default())).unwrap();
    let open = block_on(mesh.load()).unwrap().unwrap().goal;
    let goal = Goal::restart(Scope::Stale, &seen, Some(&open)).unwrap();
    assert_eq!(goal.target.trust, open.target.trust, "promoted, since the open rotation is after it");
    let goal = Goal::restart(Scope::Stale, &seen, None).unwrap();
    assert_eq!(goal.target.trust, mesh.secret.trust, "not without it");
}

#[test]
fn a_service_short_of_its_quorum_is_not_restarted_unless_everything_is_broken() {
    let mut mesh = Model::new(23, 365, Watcher::Alive);
    mesh.ready = 2;
    let seen = block_on(mesh.observe(&Need::default())).unwrap();
    let goal = Goal::restart(Scope::ControlPlane, &seen, None).unwrap();
    let stuck = plan(&goal, &seen, 10).err().unwrap();
    assert!(stuck.iter().any(|stuck| stuck.why.contains("only 2 of its 3 replicas are ready")), "{stuck:?}");
    let replace = Goal { strategy: Strategy::Replace, ..goal };
    assert_eq!(plan(&replace, &seen, 10).unwrap().len(), 5);
}

#[test]
fn an_append_switches_once_everybody_was_restarted_into_the_new_root_and_breaks_no_handshake() {
    for watcher in [Watcher::Alive, Watcher::Dead] {
        let mut mesh = Model::new(24, 365, watcher);
        let issuer = mesh.secret.issuer.chain.clone();
        let append = Request {
            strategy: Some(Strategy::Append),
            restart: Some(Scope::ControlPlane),
            ..request(Inputs::Fresh, 90)
        };
        let waits = |mesh: &mut Model| rotate(mesh, &append).unwrap_err().to_string();
        assert!(waits(&mut mesh).contains("Blocked"), "env-era pods cannot take the new root");
        for n in 0..4 {
            assert_eq!(mesh.secret.issuer.chain, issuer, "not before the last pod holds the new root");
            assert!(waits(&mut mesh).contains(&format!("apps/pod-{n}")), "it is named");
            mesh.restart(&format!("apps/pod-{n}"));
        }
        rotate(&mut mesh, &append).unwrap();
        assert_ne!(mesh.secret.issuer.chain, issuer);
        assert_eq!(mesh.secret.issuer.chain.len(), 1, "no bridge");
        assert_eq!(mesh.secret.trust.anchors().len(), 2);
        (0..40).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
        assert_eq!(mesh.invented, 0);
    }
}

#[test]
fn an_append_switches_on_a_look_at_everything_only() {
    let mut mesh = Model::new(27, 365, Watcher::Alive);
    let append = Request { restart: Some(Scope::ControlPlane), ..append() };
    rotate(&mut mesh, &append).unwrap_err();
    (0..4).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    let goal = block_on(mesh.load()).unwrap().unwrap().goal;
    let seen = block_on(mesh.observe(&Need::default())).unwrap();
    let seen = block_on(mesh.observe(&need(&goal, &seen))).unwrap();
    assert!(matches!(next(&goal, &seen, false, SignedDuration::ZERO, LIMITS), Step::LookAgain));
    let switches =
        |seen| matches!(next(&goal, seen, true, SignedDuration::ZERO, LIMITS), Step::Do(Move::PublishIssuer { .. }));
    assert!(switches(&seen));
    let mut blind = seen.clone();
    blind.consumers_complete = false;
    assert!(!switches(&blind), "not all pods were listed");
    let mut refused = seen.clone();
    refused.consumers.iter_mut().find(|consumer| consumer.role == Role::Operator).unwrap().accepts =
        Answer::Proven(false);
    assert!(!switches(&refused), "a handshake outweighs what is worked out");
}

#[test]
fn an_append_is_refused_where_not_everybody_can_be_seen() {
    let mut mesh = Model::new(25, 365, Watcher::Alive);
    mesh.hidden = true;
    let append = Request { strategy: Some(Strategy::Append), ..request(Inputs::Fresh, 90) };
    let refused = rotate(&mut mesh, &append).unwrap_err();
    assert!(refused.to_string().contains("not all of them can be seen"), "{refused}");
    assert_eq!(mesh.writes, 0);
}

#[test]
fn who_cannot_be_seen_is_not_among_those_that_may_break() {
    let mut mesh = Model::new(45, 365, Watcher::Alive);
    rotate(&mut mesh, &append()).unwrap_err();
    mesh.hidden = true;
    let goal = block_on(mesh.load()).unwrap().unwrap().goal;
    let seen = block_on(mesh.observe(&Need::default())).unwrap();
    let seen = block_on(mesh.observe(&need(&goal, &seen))).unwrap();
    let found = obstacles(&goal, &seen);
    assert!(found.iter().any(|found| found.consumer == "that cannot be seen" && !found.may_be_allowed), "{found:?}");
}

fn append() -> Request {
    Request { strategy: Some(Strategy::Append), restart: Some(Scope::ControlPlane), ..request(Inputs::Fresh, 90) }
}

#[test]
fn an_append_that_may_break_so_many_switches_and_those_alone_refuse() {
    let mut mesh = Model::new(55, 365, Watcher::Alive);
    rotate(&mut mesh, &append()).unwrap_err();
    (0..2).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    let issuer = mesh.secret.issuer.chain.clone();
    mesh.force = 1;
    let writes = mesh.writes;
    let why = rotate(&mut mesh, &append()).unwrap_err().to_string();
    assert!(why.starts_with("sidecar apps/pod-2, sidecar apps/pod-3 would refuse the new chain"), "{why}");
    assert_eq!((mesh.writes, &mesh.secret.issuer.chain), (writes, &issuer));

    mesh.force = 2;
    let left = rotate(&mut mesh, &append()).unwrap();
    let allowed = left.iter().filter(|left| left.concern == Concern::Allowed).map(|left| left.consumer.as_str());
    assert_eq!(allowed.collect::<Vec<_>>(), ["apps/pod-2", "apps/pod-3"]);
    (0..40).for_each(|_| mesh.pass(SignedDuration::from_hours(1)));
    assert!(mesh.refusals() > 0, "it is those two");
    (2..4).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    assert_eq!(mesh.refusals(), 0);
}

#[test]
fn an_append_never_switches_because_what_was_published_is_gone() {
    let mut mesh = Model::new(28, 365, Watcher::Alive);
    mesh.emptied = true;
    let refused = rotate(&mut mesh, &append()).unwrap_err();
    assert!(refused.to_string().contains("must work until the switch"), "{refused}");
    assert_eq!(mesh.writes, 0);
    mesh.emptied = false;

    let issuer = mesh.secret.issuer.chain.clone();
    rotate(&mut mesh, &append()).unwrap_err();
    mesh.emptied = true;
    rotate(&mut mesh, &append()).unwrap_err();
    assert_eq!(mesh.secret.issuer.chain, issuer, "the issuer before is put back, and everybody still accepts it");
    assert_eq!(mesh.secret.trust.anchors().len(), 2);
    (0..4).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    rotate(&mut mesh, &append()).unwrap();
}

#[test]
fn a_ca_that_sentry_invents_while_an_append_waits_is_bridged_to_the_one_that_everybody_holds() {
    let mut mesh = Model::new(29, 365, Watcher::Alive);
    rotate(&mut mesh, &append()).unwrap_err();
    mesh.broken = true;
    mesh.tear();
    (0..100).for_each(|_| mesh.pass(SignedDuration::from_secs(1)));
    assert!(mesh.invented > 0);
    mesh.restart("apps/pod-0");
    rotate(&mut mesh, &append()).unwrap();
    for index in 0..mesh.processes.len() {
        mesh.processes[index].shows = mesh.secret.issuer.chain.clone();
    }
    assert_eq!(mesh.refusals(), 0, "pods of both CAs accept what is signed now");
}

#[test]
fn an_append_waits_for_a_pod_too_that_refuses_what_is_signed_today() {
    let mut mesh = Model::new(36, 365, Watcher::Alive);
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    mesh.tear();
    (0..100).for_each(|_| mesh.pass(SignedDuration::from_secs(1)));
    assert!(mesh.invented > 0);
    let append = Request { digest: "another".to_owned(), ..append() };
    rotate(&mut mesh, &append).unwrap_err();
    (0..3).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    let waits = rotate(&mut mesh, &append).unwrap_err().to_string();
    assert!(waits.contains("apps/pod-3"), "{waits}");
    mesh.restart("apps/pod-3");
    rotate(&mut mesh, &append).unwrap();
    (0..40).for_each(|_| mesh.pass(SignedDuration::from_hours(1)));
    assert_eq!(mesh.refusals(), 0);
}

#[test]
fn a_pod_that_is_being_deleted_is_waited_for_by_an_append() {
    let mut mesh = Model::new(33, 365, Watcher::Alive);
    rotate(&mut mesh, &append()).unwrap_err();
    (0..3).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    mesh.die("apps/pod-3", SignedDuration::from_secs(20));
    rotate(&mut mesh, &append()).unwrap();
}

#[test]
fn where_no_process_may_be_asked_an_append_waits_for_the_mounts_and_says_so() {
    let mut mesh = Model::new(34, 365, Watcher::Alive);
    mesh.muted = true;
    let append = Request { restart: None, ..append() };
    rotate(&mut mesh, &append).unwrap_err();
    (0..4).for_each(|n| mesh.restart(&format!("apps/pod-{n}")));
    let left = rotate(&mut mesh, &append).unwrap();
    assert_eq!(left.iter().filter(|left| left.concern == Concern::Assumed).count(), 4, "{left:?}");
    assert_eq!(mesh.secret.issuer.chain.len(), 1);
    (0..40).for_each(|_| mesh.pass(SignedDuration::from_secs(30)));
}

#[test]
fn a_nudge_that_the_kubelets_were_not_ready_for_is_made_once_more() {
    let mut mesh = Model::new(40, 365, Watcher::Alive);
    mesh.nudges_are_lost = true;
    let before = mesh.now;
    let left = rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    assert!(left.iter().all(|left| left.role == "sidecar"), "the control plane has taken it: {left:?}");
    assert!(mesh.now.duration_since(before) < SignedDuration::from_secs(30), "no mount came by itself so soon");
    let seen = block_on(mesh.observe(&Need::default())).unwrap();
    assert_eq!(seen.nudge(), None, "and no more often");
}
