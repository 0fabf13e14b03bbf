//! The one next safe step towards a goal, from one look.

use jiff::{SignedDuration, Timestamp};

use super::left::{Left, left};
use super::paper::after;
use super::safety::{Break, breaks};
use super::{Goal, Move, Need, Strategy, Trio};
use super::{applications, distribution};
use crate::mesh::{Answer, Consumer, Observed, Pair, Phase, Role, Workload, WorkloadKind};
use crate::pki::{Certificate, Issuer, Profile, Shown, TrustBundle, verify};

/// What to do next.
pub enum Step {
    /// Make this move, then look again.
    Do(Move),
    /// Nothing to do but wait for this, then ask for it again.
    Wait(String, Need),
    /// Nothing to do by what was asked: look at everything.
    LookAgain,
    /// The goal is reached; this is left, named.
    Done(Vec<Left>),
    /// The only move left would break these.
    Blocked(Vec<Break>),
    /// Something that should have come to an end by now has not.
    Stuck(String),
}

/// How long to wait before going on or giving up, and how much to restart at once.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For a proof to come in.
    pub propagation: SignedDuration,
    /// For one rollout.
    pub rollout: SignedDuration,
    /// How many applications.
    pub parallel: usize,
}

/// Names the next step. `full`: the look asked everything that [`need`] names; what is only found on a full look is not
/// decided on a part of one. `waited` is the time since the last change.
pub fn next(goal: &Goal, seen: &Observed, full: bool, waited: SignedDuration, limits: Limits) -> Step {
    let mut held_back = Vec::new();
    if let Some(step) = publication(goal, seen) {
        held_back = breaks(goal, &step, seen);
        match (held_back.is_empty(), waits_for_proof(goal, &step, seen)) {
            (true, true) if !full => return Step::LookAgain,
            (true, _) => return Step::Do(step),
            (false, false) => return Step::Blocked(held_back),
            (false, true) => {}
        }
    }
    if let Some(service) = rolling(goal, seen) {
        return if waited < limits.rollout {
            Step::Wait(format!("the rollout of {}", service.name), Need { control_plane: true, ..Need::default() })
        } else {
            Step::Stuck(format!("the rollout of {} did not come to an end", service.name))
        };
    }
    if let Some(wait) = applications::wait(goal, seen, waited, limits)
        && restarts(goal, seen).is_none()
    {
        return wait;
    }
    // Why: copies come one by one for minutes; mounts that have become right are refreshed together.
    let gathers = !seen.behind().is_empty() && waited < MOUNTS_GATHER;
    if !held_back.is_empty() && !gathers && nudge_helps(seen, waited) {
        return Step::Do(Move::Nudge);
    }
    // Why: the operator may be the one who copies, so what is to be restarted of the control plane comes first.
    let knows_restarts = full || goal.restart.is_none_or(|restart| !restart.scope.is_stale_only());
    if (!held_back.is_empty() || applications::has(goal))
        && knows_restarts
        && restarts(goal, seen).is_none()
        && let Some(wait) = distribution::wait(goal, seen)
    {
        return wait;
    }
    if let Some((missing, need)) = unproven(goal, seen) {
        if nudge_helps(seen, waited) {
            return Step::Do(Move::Nudge);
        }
        if waited < limits.propagation.max(seen.mount_lag) {
            return Step::Wait(missing, need);
        }
    }
    if !full {
        return Step::LookAgain;
    }
    if let Some(restart) = restarts(goal, seen) {
        return restart;
    }
    // Why: an application that is restarted before the control plane holds the new root is restarted for nothing.
    if !held_back.iter().any(|held_back| held_back.is_control_plane)
        && let Some(restart) = applications::restarts(goal, seen, waited, limits)
    {
        return restart;
    }
    if held_back.is_empty() {
        return Step::Done(left(goal, seen));
    }
    let may_pass = |held_back: &Break| held_back.may_pass || held_back.may_read;
    let all_may_pass = held_back.iter().all(may_pass);
    let awaited =
        held_back.iter().find(|held_back| may_pass(held_back) && (all_may_pass || held_back.is_control_plane));
    // Why: the pods that a wave has replaced take their time to go, once its rollout has come to an end.
    let patience = |awaited: &Break| match limits.propagation.max(seen.mount_lag) {
        proof if applications::has(goal) && !awaited.is_control_plane => limits.rollout + proof,
        proof => proof,
    };
    match awaited {
        Some(awaited) if waited < patience(awaited) => {
            let what = match goal.strategy {
                Strategy::Prune => format!("{} {}, which {}", awaited.role, awaited.consumer, awaited.why),
                _ => format!("{} to hold the new root", awaited.consumer),
            };
            Step::Wait(what, need(goal, seen))
        }
        _ => Step::Blocked(held_back),
    }
}

/// Whether a move waits until everybody is seen to be ready for it: the switch of an append, and what a prune does.
pub(super) fn waits_for_proof(goal: &Goal, step: &Move, seen: &Observed) -> bool {
    let is_kept = |bundle: &TrustBundle| seen.published.anchors.iter().all(|a| bundle.contains(a.fingerprint()));
    match (goal.strategy, step) {
        (Strategy::Append | Strategy::Prune, Move::PublishIssuer { .. }) => true,
        (Strategy::Prune, Move::PublishTrust { bundle, .. }) => !is_kept(bundle),
        _ => false,
    }
}

/// All that a decision can need: before the switch whether the new chain would be accepted, afterwards every proof. Of
/// an append also before: who holds the new root, of everybody.
pub fn need(goal: &Goal, seen: &Observed) -> Need {
    let publication = publication(goal, seen);
    let published = publication.is_none();
    let prunes = goal.strategy == Strategy::Prune;
    let proves = publication.as_ref().is_some_and(|step| waits_for_proof(goal, step, seen));
    let applications = applications::has(goal);
    let mounts = proves || applications || prunes && !published;
    Need {
        consumers: prunes || applications || !matches!(publication, Some(Move::PublishTrust { issuer: None, .. })),
        everyone: proves || applications || goal.former(seen).is_some(),
        applications,
        distribution: mounts || published && (seen.trust_source.is_some() || seen.has_file_era()),
        served: published || prunes,
        held: published || proves || applications,
        svids: if published { goal.strategy == Strategy::Replace } else { prunes },
        signed_histories: prunes && !published,
        owners: false,
        control_plane: goal.restart.is_some(),
        accepts: Some(goal.target.issuer.clone()),
        holds: goal.target.issuer_alone(seen).filter(|_| published || proves),
        former: goal.former(seen).filter(|_| published).map(|former| former.issuer.clone()),
    }
}

/// What the decision right after a move needs, and whether that is everything. It is, but between restarts, where only
/// the rollouts and Sentry are looked at.
pub fn need_after_move(goal: &Goal, seen: &Observed) -> (Need, bool) {
    if !seen.behind().is_empty() && distribution::matters(goal) {
        (distribution::need(goal, seen), false)
    } else if publication(goal, seen).is_some() || goal.restart.is_none() {
        (need(goal, seen), true)
    } else {
        let applications = applications::has(goal);
        (Need { served: true, control_plane: true, applications, ..Need::default() }, false)
    }
}

/// More moves than any goal takes, waves of applications not counted.
const MOST: usize = 64;

/// Until when everybody accepts the new chain who holds older anchors only, as far as that is known; `None`: nobody does,
/// or no root is new.
pub fn deadline(goal: &Goal, seen: &Observed) -> Option<Timestamp> {
    let is_new = |root: &Certificate| !seen.published.anchors.contains(root);
    goal.target.root().filter(|root| is_new(root))?;
    let end = |consumer: &Consumer| {
        let profile = consumer.role.profile();
        match consumer.held.proven() {
            Some(held) => seen.until(&goal.target.issuer.chain, held, profile).ok(),
            None => goal.worst_until(seen, profile),
        }
    };
    let known = seen.consumers.iter().filter(|consumer| consumer.role != Role::Sentry).filter_map(end).min();
    if seen.consumers_complete { known } else { known.or_else(|| goal.worst_until(seen, Profile::Spiffe)) }
}

/// All moves of a goal, on paper, so many applications restarted at once. Errors with what the first unsafe one would
/// break, or with the services that could not be restarted in the end.
pub fn plan(goal: &Goal, seen: &Observed, parallel: usize) -> Result<Vec<Move>, Vec<Break>> {
    let stuck = |service: &Workload| {
        let why = format!("cannot be restarted: {}", blocker(goal, service)?);
        Some(Break {
            consumer: service.name.clone(),
            role: "service",
            why,
            restart: None,
            is_control_plane: true,
            may_pass: false,
            may_read: false,
            is_unseen: false,
            may_be_allowed: false,
        })
    };
    let all = goal.restart.is_some_and(|restart| !restart.scope.is_stale_only());
    let due = seen.control_plane.iter().filter(|service| all && service.role.is_some() && !is_restarted(goal, service));
    let stuck: Vec<Break> = due.filter_map(stuck).collect();
    if !stuck.is_empty() {
        return Err(stuck);
    }
    let limits = Limits { propagation: SignedDuration::ZERO, rollout: SignedDuration::ZERO, parallel };
    let mut seen = seen.clone();
    let mut moves = Vec::new();
    while moves.len() < MOST + seen.applications.len() {
        match next(goal, &seen, true, SignedDuration::ZERO, limits) {
            Step::Do(step) => {
                seen = after(&seen, &step);
                moves.push(step);
            }
            Step::Blocked(_) if publication(goal, &seen).is_some_and(|step| waits_for_proof(goal, &step, &seen)) => {
                break;
            }
            Step::Blocked(found) => return Err(found),
            Step::Wait(..) | Step::LookAgain | Step::Done(_) | Step::Stuck(_) => break,
        }
    }
    Ok(moves)
}

pub(super) fn publication(goal: &Goal, seen: &Observed) -> Option<Move> {
    let published = &seen.published;
    let switched = is_switched(goal, seen);
    let bundle = goal.bundle(seen);
    let exact = if goal.is_exact(seen) {
        published.anchors.len() == bundle.anchors().len()
    } else {
        published.anchors.iter().all(Certificate::is_anchor)
    };
    if published.pair != Pair::Equal || !published.has(goal.target.trust.anchors()) || !exact {
        let stands = Trio::published(seen)
            .is_some_and(|trio| Trio { trust: bundle.clone(), issuer: trio.issuer }.until(seen).is_some());
        let issuer = (!stands || (goal.may_break() && !switched)).then(|| standing_issuer(goal, &bundle, seen));
        return Some(Move::PublishTrust { bundle, issuer });
    }
    // Why: a restart leaves what is published to whoever published it, also if that has changed since it began.
    let may_switch = goal.strategy != Strategy::Restart;
    let switch = (may_switch && !switched).then(|| Move::PublishIssuer { issuer: goal.target.issuer.clone() });
    let source = || distribution::publication(goal, seen);
    // Why: a prune writes nothing before it is proven that nobody needs what it retires.
    if goal.strategy == Strategy::Prune { switch.or_else(source) } else { source().or(switch) }
}

/// The issuer that goes along where the live one cannot stand beside the new bundle. Of an append it is the one before,
/// as long as that one lives: nobody has been seen to hold the new root.
fn standing_issuer(goal: &Goal, bundle: &TrustBundle, seen: &Observed) -> Issuer {
    let before = goal.previous.as_ref().filter(|_| goal.strategy == Strategy::Append);
    let lives = |issuer: &&Issuer| Trio { trust: bundle.clone(), issuer: (*issuer).clone() }.until(seen).is_some();
    before.map(|previous| &previous.issuer).filter(lives).unwrap_or(&goal.target.issuer).clone()
}

/// Whether the goal's issuer is what is published.
pub(super) fn is_switched(goal: &Goal, seen: &Observed) -> bool {
    let issuer = &goal.target.issuer;
    seen.published.chain == issuer.chain
        && seen.published.key.as_ref().is_some_and(|key| key.public_fingerprint() == issuer.key.public_fingerprint())
}

/// A mount that a nudge has reached is fresh long before (dapr-facts §12: 0.9 s at most).
const NUDGE_IS_LOST: SignedDuration = SignedDuration::from_secs(10);

/// How long mounts that have become right wait for others, as long as copies come.
const MOUNTS_GATHER: SignedDuration = SignedDuration::from_secs(10);

fn nudge_helps(seen: &Observed, waited: SignedDuration) -> bool {
    !seen.nudge_refused && seen.nudge().is_some_and(|nudge| nudge.is_first || waited >= NUDGE_IS_LOST)
}

/// The first proof that was asked for and is still missing, and the question that can bring it.
fn unproven(goal: &Goal, seen: &Observed) -> Option<(String, Need)> {
    let waits = |consumer: &&Consumer| match consumer.role {
        _ if consumer.phase == Phase::Terminating || awaits_restart(goal, seen, consumer) => false,
        Role::Sentry if !is_switched(goal, seen) => false,
        Role::Sentry => match consumer.served {
            Answer::NotAsked | Answer::Forbidden(_) | Answer::Assumed(_) => false,
            Answer::Proven(_) | Answer::Unknown(_) => !serves(consumer, &goal.target.issuer.chain),
        },
        Role::Operator | Role::Placement | Role::Scheduler => {
            matches!(consumer.accepts, Answer::Proven(false) | Answer::Unknown(_))
                || consumer.accepts_former == Answer::Proven(true)
        }
        Role::Injector => match &consumer.held {
            Answer::Proven(held) => !holds_target(goal, held),
            Answer::Unknown(_) => true,
            Answer::NotAsked | Answer::Forbidden(_) | Answer::Assumed(_) => false,
        },
        Role::Webhook | Role::Conversion => {
            matches!(&consumer.held, Answer::Proven(_)) && !trusts_its_server(consumer, seen)
        }
        Role::EtcdPeer | Role::Sidecar { .. } => false,
    };
    let consumer = seen.consumers.iter().find(waits)?;
    let name = &consumer.name;
    Some(match consumer.role {
        Role::Sentry => (format!("{name} to serve the new chain"), Need { served: true, ..Need::default() }),
        Role::Injector => (format!("{name} to inject the new trust bundle"), Need { held: true, ..Need::default() }),
        Role::Webhook | Role::Conversion => (format!("the caBundle of {name}"), Need { held: true, ..Need::default() }),
        _ if consumer.accepts_former == Answer::Proven(true) => {
            let Need { accepts, former, .. } = need(goal, seen);
            (format!("{name} to refuse the former CA"), Need { accepts, former, ..Need::default() })
        }
        _ => {
            let accepts = Some(goal.target.issuer.clone());
            (format!("{name} to accept the new chain"), Need { accepts, ..Need::default() })
        }
    })
}

/// Whether a Sentry replica sends `chain` behind its own leaf.
pub fn serves(sentry: &Consumer, chain: &[Certificate]) -> bool {
    // Sentry does not send a root that is its own issuer (`dapr/kit/crypto/pem`).
    let expected = chain.iter().filter(|certificate| !certificate.self_signed());
    sentry.served.proven().and_then(|served| served.get(1..)).is_some_and(|sent| sent.iter().eq(expected))
}

pub(super) fn holds_target(goal: &Goal, held: &[Certificate]) -> bool {
    goal.target.root().is_some_and(|root| held.contains(root))
}

/// Whether a consumer accepts what the CA that was replaced has signed.
pub(super) fn accepts_former(goal: &Goal, seen: &Observed, consumer: &Consumer) -> Answer<bool> {
    let Some(former) = goal.former(seen) else { return Answer::NotAsked };
    match consumer.held.known() {
        Some(held) => Answer::Proven(seen.until(&former.issuer.chain, held, consumer.role.profile()).is_ok()),
        None => consumer.accepts_former.clone(),
    }
}

/// Whether a process was seen to show an SVID of a former issuer, which whoever holds only the goal's anchors refuses. It
/// may hold them itself: its mount has been refreshed, and its SVID is issued anew at half its validity.
pub(super) fn shows_former(goal: &Goal, seen: &Observed, consumer: &Consumer) -> bool {
    let chain = consumer
        .served
        .proven()
        .filter(|_| consumer.role.shows_svid())
        .map(|served| served.get(1..).unwrap_or_default());
    chain.is_some_and(|chain| seen.until(chain, goal.target.trust.anchors(), Profile::Spiffe).is_err())
}

/// Whether a `caBundle` verifies the server behind it, as far as both were seen; of what is none, nothing is asked.
pub(super) fn trusts_its_server(webhook: &Consumer, seen: &Observed) -> bool {
    if !matches!(webhook.role, Role::Webhook | Role::Conversion) {
        return true;
    }
    let (Some(held), Some(served)) = (webhook.held.proven(), webhook.served.proven()) else {
        return true;
    };
    let Some((leaf, chain)) = served.split_first() else {
        return true;
    };
    verify(Shown::Leaf(leaf), chain, held, webhook.role.profile(), seen.now).is_ok()
}

/// A service that was restarted for this goal and whose rollout has not come to an end.
fn rolling<'a>(goal: &Goal, seen: &'a Observed) -> Option<&'a Workload> {
    seen.control_plane.iter().find(|service| is_restarted(goal, service) && !service.complete)
}

pub(super) fn is_restarted(goal: &Goal, service: &Workload) -> bool {
    goal.restart.is_some_and(|restart| service.restarted.is_some_and(|at| at >= restart.since))
}

/// Whether the goal restarts a consumer's service anyway and has not yet: waiting for what it holds now is idle.
fn awaits_restart(goal: &Goal, seen: &Observed, consumer: &Consumer) -> bool {
    goal.restart.is_some_and(|restart| !restart.scope.is_stale_only())
        && seen.control_plane.iter().any(|service| service.keeps(consumer) && !is_restarted(goal, service))
}

/// The next restart that the goal asks for, in the order of the control plane: each complete before the next.
fn restarts(goal: &Goal, seen: &Observed) -> Option<Step> {
    let restart = goal.restart?;
    let due = |service: &&Workload| {
        let wanted = !restart.scope.is_stale_only() || is_stale(goal, seen, service);
        service.role.is_some() && wanted && !is_restarted(goal, service)
    };
    let service = seen.control_plane.iter().find(due)?;
    Some(match blocker(goal, service) {
        Some(blocker) => Step::Stuck(format!("{} cannot be restarted: {blocker}", service.name)),
        None => Step::Do(Move::Restart { workload: service.name.clone() }),
    })
}

/// Why a workload must not be restarted now. One that is short of replicas would lose its quorum, unless it has none to
/// lose or everything is broken anyway.
pub(super) fn blocker(goal: &Goal, service: &Workload) -> Option<String> {
    let Workload { ready, replicas, .. } = service;
    let is_short = service.kind == WorkloadKind::StatefulSet && 0 < *ready && ready < replicas && !goal.may_break();
    let short =
        || format!("only {ready} of its {replicas} replicas are ready, and a restart would take those down too");
    service.blocker.clone().or_else(|| is_short.then(short))
}

fn is_stale(goal: &Goal, seen: &Observed, service: &Workload) -> bool {
    let theirs = |c: &&Consumer| service.keeps(c) && c.phase != Phase::Terminating;
    // Why: a Sentry reads the objects when it starts, and a caller who may not ask has no other proof.
    let is_newer =
        |c: &Consumer| c.started.is_some_and(|started| seen.published.written.is_some_and(|at| started > at));
    seen.consumers.iter().filter(theirs).any(|consumer| match consumer.role {
        _ if accepts_former(goal, seen, consumer) == Answer::Proven(true) || shows_former(goal, seen, consumer) => true,
        Role::Sentry => is_switched(goal, seen) && !serves(consumer, &goal.target.issuer.chain) && !is_newer(consumer),
        Role::Injector if matches!(consumer.held, Answer::Forbidden(_)) => !is_newer(consumer),
        Role::Webhook | Role::Conversion => {
            consumer.held.proven().is_some_and(|held| !holds_target(goal, held)) || !trusts_its_server(consumer, seen)
        }
        _ => !is_proven_to_hold(goal, consumer),
    })
}

pub(super) fn is_proven_to_hold(goal: &Goal, consumer: &Consumer) -> bool {
    consumer.holds == Answer::Proven(true) || consumer.held.proven().is_some_and(|held| holds_target(goal, held))
}
