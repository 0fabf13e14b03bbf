//! Refusals in the words that an operator reads: of a strategy, of a move, of a prune, of a way back.

use mtls::mesh::{Era, Observed};
use mtls::pki::{Issuer, TrustBundle, Validity, issuer};
use mtls::rotation::Trio;
use mtls::rotation::safety::{breaks, in_words};

use super::model::{Topology, ca_with, prunable, prune};
use super::prune::{bridged, look, restart_everything, who};
use super::*;

const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Why a strategy that is asked for by name is not taken.
#[track_caller]
fn why_not(mesh: &mut Model, strategy: Strategy, inputs: Inputs) -> String {
    let refused = rotate(mesh, &Request { strategy: Some(strategy), ..request(inputs, 90) }).unwrap_err().to_string();
    assert_eq!(mesh.writes, 0, "{refused}");
    let begins = format!("no strategy is safe here: {}: ", strategy.word());
    refused.strip_prefix(&begins).unwrap_or_else(|| panic!("{refused}")).to_owned()
}

/// A CA whose root ends after a month, and its issuer later.
fn outlasting_its_root(mesh: &Model) -> Trio {
    let mut chance = Chance::new(182);
    let key = PrivateKey::generate(&mut |bytes: &mut [u8]| chance.fill(bytes));
    let Trio { trust, issuer: Issuer { key: own, .. } } = ca_with(&key, &mut chance, mesh.now, 30);
    let validity = Validity { not_before: mesh.now, not_after: mesh.now + DAY * 90 };
    let (root, entropy) = (&trust.anchors()[0], &mut |bytes: &mut [u8]| chance.fill(bytes));
    let chain = vec![issuer(root, &key, "cluster.local", "dapr-system", &own, &validity, entropy).unwrap()];
    Trio { trust, issuer: Issuer { chain, key: own } }
}

#[test]
fn a_strategy_says_which_input_it_lacks() {
    let mut mesh = Model::new(80, 365, Watcher::Alive);
    assert_eq!(why_not(&mut mesh, Strategy::SameKey, Inputs::Fresh), "it needs the live root's key");
    let needs = "it needs the live root's key, or an issuer under that root";
    assert_eq!(why_not(&mut mesh, Strategy::Issuer, Inputs::Fresh), needs);
}

#[test]
fn where_nothing_is_published_and_nothing_is_on_record_somebody_must_name_a_replacement() {
    let mut mesh = Model::new(79, 365, Watcher::Alive);
    mesh.emptied = true;
    let why = rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap_err().to_string();
    let told = "no strategy is safe here: replace: nothing is published, while somebody may hold a CA that no record \
                has; by name only";
    assert_eq!(why, told);
    let why = why_not(&mut mesh, Strategy::Bridge, Inputs::Fresh);
    assert_eq!(why, "there is no live issuer with its key, so nothing can be signed with it");
    let key = mesh.root_keys[0].clone();
    let why = why_not(&mut mesh, Strategy::SameKey, Inputs::Key(key));
    assert_eq!(why, "the live chain ends in no trust anchor that is published");
}

#[test]
fn a_ca_that_has_ended_is_not_published() {
    let mut mesh = Model::new(81, 365, Watcher::Alive);
    let ended = make_ca(&mut Chance::new(183), mesh.now - DAY * 400, 300);
    let why = why_not(&mut mesh, Strategy::Replace, Inputs::Given(ended));
    assert_eq!(why, "the CA that it would publish is accepted by nobody now");
}

#[test]
fn a_root_that_ends_before_what_was_asked_for_shortens_nobodys_time() {
    let mut mesh = Model::new(82, 365, Watcher::Alive);
    let short = outlasting_its_root(&mesh);
    let why = why_not(&mut mesh, Strategy::Bridge, Inputs::Given(short.clone()));
    let until = "would accept the new chain until 2026-03-31T12:00:00Z only, today's until 2027-03-01T12:00:00Z";
    assert!(why.contains(&format!("sidecar apps/pod-3 {until}")), "{why}");
    let why = why_not(&mut mesh, Strategy::Append, Inputs::Given(short));
    let ends = "the new CA would end 2026-03-31T12:00:00Z, before the live one (2027-03-01T12:00:00Z) and the validity \
                that was asked for";
    assert_eq!(why, ends);
}

/// The goal of a renewal, and what was seen before it.
fn renewal(mesh: &mut Model, request: &Request, alter: &dyn Fn(&mut Observed)) -> Result<(Goal, Observed), String> {
    let need = Need { consumers: true, control_plane: true, ..Need::default() };
    let mut seen = block_on(mesh.observe(&need)).unwrap();
    alter(&mut seen);
    let mut chance = Chance::new(184);
    let chosen = choose(request, &seen, None, &mut |bytes: &mut [u8]| chance.fill(bytes));
    chosen.map(|proposal| (proposal.goal, seen)).map_err(|why| why.to_string())
}

fn of(seen: &mut Observed, name: &str, change: impl FnOnce(&mut Consumer)) {
    change(seen.consumers.iter_mut().find(|consumer| consumer.name == name).unwrap());
}

#[test]
fn an_append_is_not_begun_where_a_sidecar_hides_what_it_holds() {
    let mut mesh = Model::new(83, 365, Watcher::Alive);
    let hides = |seen: &mut Observed| of(seen, "apps/pod-0", |pod| pod.held = Answer::Unknown("no answer".to_owned()));
    let why = renewal(&mut mesh, &append(), &hides).err().unwrap();
    let told = "no strategy is safe here: append: what these hold cannot be seen: 1 consumer (sidecar apps/pod-0)";
    assert_eq!(why, told);
}

#[test]
fn the_guard_says_what_a_move_would_do_to_whom() {
    let mut mesh = Model::new(84, 365, Watcher::Alive);
    let (goal, mut seen) = renewal(&mut mesh, &request(Inputs::Fresh, 90), &|_| ()).unwrap();
    let alone = TrustBundle::from_anchors(vec![goal.target.root().unwrap().clone()]).unwrap();
    let drops = Move::PublishTrust { bundle: alone, issuer: None };
    let old = seen.published.anchors[0].fingerprint().short();
    let why = format!("trust anchor {old} would leave the trust bundle while SVIDs under it may exist");
    assert_eq!(in_words(&breaks(&goal, &drops, &seen)), why);

    let switch = Move::PublishIssuer { issuer: goal.target.issuer.clone() };
    assert_eq!(breaks(&goal, &switch, &seen), []);
    of(&mut seen, "dapr-system/operator", |operator| operator.accepts = Answer::Proven(false));
    let why = "operator dapr-system/operator refused the new chain in a canary handshake";
    assert_eq!(in_words(&breaks(&goal, &switch, &seen)), why);
}

#[test]
fn of_those_who_are_in_the_way_for_one_reason_ten_are_named() {
    let sidecars = vec![(Era::Env, Watcher::NoMount); 12];
    let watchers = vec![Watcher::Alive];
    let mut mesh = Model::with(91, 365, Topology { sentries: 1, injectors: 1, schedulers: 1, watchers, sidecars });
    let (goal, seen) = renewal(&mut mesh, &append(), &|_| ()).unwrap();
    let why = in_words(&breaks(&goal, &Move::PublishIssuer { issuer: goal.target.issuer.clone() }, &seen));
    let told = "injector dapr-system/injector, sidecar apps/pod-0, sidecar apps/pod-1, sidecar apps/pod-2, \
                sidecar apps/pod-3, sidecar apps/pod-4, sidecar apps/pod-5 and 6 more would refuse the new chain: ";
    assert!(why.contains(told), "{why}");
}

#[test]
fn nothing_is_retired_before_every_sentry_serves_the_shorter_chain() {
    let mut mesh = bridged(85, Watcher::Alive, 1);
    restart_everything(&mut mesh);
    let (goal, mut seen) = look(&mut mesh);
    seen.published.chain.clone_from(&goal.target.issuer.chain);
    let retires = Move::PublishTrust { bundle: goal.target.trust.clone(), issuer: None };
    let why = "sentry dapr-system/sentry-0, sentry dapr-system/sentry-1 does not serve the shorter chain yet";
    assert_eq!(in_words(&breaks(&goal, &retires, &seen)), why);
}

#[test]
fn where_a_root_was_renewed_with_its_key_no_handshake_tells_who_holds_it() {
    let mut mesh = Model::new(86, 365, Watcher::Alive);
    let key = mesh.root_keys[0].clone();
    let left = rotate(&mut mesh, &request(Inputs::Key(key), 400)).unwrap();
    let operator = left.iter().find(|left| left.role == "operator").unwrap();
    let why = "could not be asked: an older anchor has the same key, so that a handshake does not tell them apart";
    assert_eq!((operator.concern, operator.why.as_str()), (Concern::Unseen, why));
    let why = "may hold only an older anchor, which has the same key: no handshake tells them apart";
    let found = who(&mut mesh);
    assert!(found.contains(&("dapr-system/operator".to_owned(), why.to_owned())), "{found:?}");
}

/// Its owner may have issued certificates under it that this mesh never sees.
#[test]
fn the_root_of_an_external_ca_stands_for_others_when_it_is_to_go() {
    let mut mesh = Model::new(87, 365, Watcher::Alive);
    mesh.live_without_bridges();
    let brought = mesh.secret.trust.anchors()[0].fingerprint().short();
    rotate(&mut mesh, &Request { restart: Some(Scope::All), ..append() }).unwrap();
    restart_everything(&mut mesh);
    let (_, _, found) = block_on(prunable(&mut mesh)).unwrap().unwrap();
    let why = format!(
        "trust anchor of an external CA {brought} stands for others, and what those hold and show cannot be seen"
    );
    assert_eq!(in_words(&found), why);
    assert!(found[0].may_be_allowed);
}

#[test]
fn what_is_no_whole_ca_is_not_pruned() {
    let refusal = |damage: &dyn Fn(&mut Model)| {
        let mut mesh = bridged(88, Watcher::Alive, 1);
        mesh.broken = true;
        damage(&mut mesh);
        block_on(prunable(&mut mesh)).err().unwrap().to_string()
    };
    assert_eq!(refusal(&|mesh| mesh.lacks_key = true), "nothing was retired: what is published is no whole CA");
    let other = make_ca(&mut Chance::new(189), Model::new(88, 365, Watcher::Alive).now, 300).trust;
    let rootless = |mesh: &mut Model| {
        mesh.secret.trust = other.clone();
        mesh.config_map = other.anchors().to_vec();
    };
    let why = "nothing was retired: the live chain ends in no trust anchor that is published";
    assert_eq!(refusal(&rootless), why);
}

#[test]
fn an_abort_says_why_there_is_nothing_to_go_back_to() {
    let mut mesh = Model::new(90, 365, Watcher::Alive);
    let refusal = |mesh: &mut Model, ask| {
        let writes = mesh.writes;
        let why = block_on(go(mesh, ask, &request(Inputs::Fresh, 90))).unwrap_err().to_string();
        assert_eq!(mesh.writes, writes, "{why}");
        why
    };
    let nothing = "no rotation is open, so there is nothing to resume";
    assert_eq!(refusal(&mut mesh, Ask::Resume), nothing);
    assert_eq!(refusal(&mut mesh, Ask::Abort), "nothing to go back to: there is no record of a rotation");
    rotate(&mut mesh, &request(Inputs::Fresh, 90)).unwrap();
    assert_eq!(refusal(&mut mesh, Ask::Resume), nothing);
    restart_everything(&mut mesh);
    block_on(prune(&mut mesh, 0)).unwrap();
    let why = "nothing to go back to: the last rotation replaced no issuer that could come back";
    assert_eq!(refusal(&mut mesh, Ask::Abort), why);
}
