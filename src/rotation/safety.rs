//! The invariant: no consumer may come to refuse what it will be shown.
//!
//! For every pair of a verifier and a presenter, `until` is how long the verifier accepts what the presenter shows.
//! A move is allowed if no pair's time gets shorter than today's, or than the validity that was asked for, whichever is
//! less. A pair that is broken already may stay broken, so a mesh in any state can be mended.

use std::sync::Arc;

use jiff::Timestamp;

use super::next::{publication, waits_for_proof};
use super::retire::{outsiders_of_append, unready};
use super::{Goal, Move, Strategy, distribution};
use crate::mesh::{Anchors, Answer, Consumer, Observed, Phase, Role, is_of_file_era};
use crate::pki::{Certificate, Profile, TrustBundle};

/// One consumer that would refuse one chain.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own")]
pub struct Break {
    /// `namespace/pod` or the object.
    pub consumer: String,
    /// What it is, in a word.
    pub role: &'static str,
    /// What it would refuse, and why.
    pub why: String,
    /// What a restart would name.
    pub restart: Option<String>,
    /// Whether it is a part of the control plane.
    pub is_control_plane: bool,
    /// Whether that may change by itself: it is being deleted, or belongs to the control plane, whose mounts are refreshed.
    pub may_pass: bool,
    /// Whether it is a sidecar that may yet read more of its mount.
    pub may_read: bool,
    /// Whether that is because something is not seen, so that `why` says all there is to say.
    pub is_unseen: bool,
    /// Whether it may be counted among those that may break: what every later pod depends on may not.
    pub may_be_allowed: bool,
}

/// The breaks in words: for each reason the consumers, the first ten by name.
pub fn in_words(breaks: &[Break]) -> String {
    const NAMED: usize = 10;
    let mut reasons: Vec<(&str, Vec<&Break>)> = Vec::new();
    for found in breaks {
        match reasons.iter_mut().find(|(why, _)| *why == found.why) {
            Some((_, alike)) => alike.push(found),
            None => reasons.push((&found.why, vec![found])),
        }
    }
    let sentence = |(why, alike): &(&str, Vec<&Break>)| {
        let names: Vec<String> = alike.iter().take(NAMED).map(|b| format!("{} {}", b.role, b.consumer)).collect();
        match alike.len().saturating_sub(NAMED) {
            0 => format!("{} {why}", names.join(", ")),
            more => format!("{} and {more} more {why}", names.join(", ")),
        }
    };
    reasons.iter().map(sentence).collect::<Vec<_>>().join("; ")
}

/// What a move would break, beyond what is broken already and what the goal allows. Empty: the move keeps the invariant.
pub fn breaks(goal: &Goal, step: &Move, seen: &Observed) -> Vec<Break> {
    if goal.may_break() {
        return Vec::new();
    }
    let mut found = broken_by(goal, step, seen);
    found.retain(|found| !found.may_be_allowed || !goal.allowed.contains(&found.consumer));
    found
}

/// Everybody who stands in the way of what waits for proof, whoever may break. Nobody does as long as something else is
/// to be done first, and a Sentry replica that answers is waited for.
pub fn obstacles(goal: &Goal, seen: &Observed) -> Vec<Break> {
    let step = publication(goal, seen).filter(|step| waits_for_proof(goal, step, seen));
    let mut found = step.map_or_else(Vec::new, |step| broken_by(goal, &step, seen));
    let answers = |sentry: &Consumer| sentry.role == Role::Sentry && sentry.served.proven().is_some();
    let answering: Vec<&str> = seen.consumers.iter().filter(|c| answers(c)).map(|c| c.name.as_str()).collect();
    found.retain(|found| !answering.contains(&found.consumer.as_str()));
    found
}

fn broken_by(goal: &Goal, step: &Move, seen: &Observed) -> Vec<Break> {
    let mut found = match step {
        _ if goal.strategy == Strategy::Prune && waits_for_proof(goal, step, seen) => unready(goal, seen),
        Move::PublishTrust { bundle, issuer } => {
            let mut found = dropped_anchors(bundle, seen);
            if let Some(issuer) = issuer {
                found.extend(refusals(goal, &issuer.chain, seen, false));
            }
            found
        }
        // Why: who refuses what is signed today may be brought back before an append's switch, not by it.
        Move::PublishIssuer { issuer } if goal.strategy == Strategy::Append => {
            let mut found = refusals(goal, &issuer.chain, seen, true);
            found.extend(distribution::behind(seen));
            found.extend(outsiders_of_append(goal, seen));
            found
        }
        Move::PublishIssuer { issuer } => refusals(goal, &issuer.chain, seen, false),
        Move::PublishSource { .. } | Move::Nudge | Move::Restart { .. } | Move::RestartApplications { .. } => {
            Vec::new()
        }
    };
    // Why: nobody knows how many stand behind this one, but in a directory, where nobody can ever be seen.
    for unseen in found.iter_mut().filter(|found| found.consumer == UNSEEN) {
        unseen.may_be_allowed &= seen.is_directory();
    }
    found
}

fn dropped_anchors(bundle: &TrustBundle, seen: &Observed) -> Vec<Break> {
    let live = seen.published.anchors.iter().filter(|anchor| anchor.is_anchor() && !anchor.is_expired(seen.now));
    live.filter(|anchor| !bundle.contains(anchor.fingerprint()))
        .map(|anchor| Break {
            consumer: anchor.fingerprint().short(),
            role: "trust anchor",
            why: "would leave the trust bundle while SVIDs under it may exist".to_owned(),
            restart: None,
            is_control_plane: false,
            may_pass: false,
            may_read: false,
            is_unseen: false,
            may_be_allowed: false,
        })
        .collect()
}

/// `strictly`: those count too that refuse what is published.
fn refusals(goal: &Goal, chain: &[Certificate], seen: &Observed, strictly: bool) -> Vec<Break> {
    let mut known: Vec<(Anchors, Profile, Option<String>)> = Vec::new();
    let mut found = Vec::new();
    for consumer in seen.consumers.iter().chain(&unseen(seen)) {
        if let Some(why) = measured(consumer) {
            found.push(broken(consumer, why));
            continue;
        }
        let profile = consumer.role.profile();
        for anchors in possible(goal, consumer, seen) {
            let place = known.iter().position(|(a, p, _)| *p == profile && *a == anchors).unwrap_or_else(|| {
                let verdict = shortened(goal, chain, &anchors, profile, seen).or_else(|| {
                    let refusal = seen.until(chain, &anchors, profile).err().filter(|_| strictly)?;
                    Some(format!("would refuse the new chain: {refusal}"))
                });
                known.push((Arc::clone(&anchors), profile, verdict));
                known.len() - 1
            });
            let verdict = known[place].2.clone();
            if let Some(why) = verdict {
                let unseen = unseen_file(consumer).map(|why| format!("is not seen to hold the new root: {why}"));
                let is_unseen = unseen.is_some();
                // Why: a new pod would mount the same copy.
                let restart = consumer.owner.clone().filter(|_| !is_unseen || consumer.mounts);
                found.push(Break { restart, is_unseen, ..broken(consumer, unseen.unwrap_or(why)) });
                break;
            }
        }
    }
    found
}

/// The name of whoever stands for all that cannot be seen.
pub(super) const UNSEEN: &str = "that cannot be seen";

/// Stands for everyone that the look could not list: a directory's sidecars, pods that were not in the LIST.
pub(super) fn unseen(seen: &Observed) -> Vec<Consumer> {
    if seen.consumers_complete {
        return Vec::new();
    }
    let role = Role::Sidecar { era: crate::mesh::Era::Env, app_id: String::new() };
    let held = Answer::Unknown("not everybody can be seen here".to_owned());
    vec![Consumer { held, ..Consumer::new(role, UNSEEN) }]
}

pub(super) fn broken(consumer: &Consumer, why: String) -> Break {
    Break {
        consumer: consumer.name.clone(),
        role: consumer.role.word(),
        why,
        restart: consumer.owner.clone(),
        is_control_plane: consumer.role.is_control_plane(),
        may_pass: consumer.phase == Phase::Terminating || consumer.role.is_control_plane(),
        may_read: may_be_refreshed(consumer),
        is_unseen: false,
        may_be_allowed: !matches!(consumer.role, Role::Sentry | Role::Injector | Role::Webhook | Role::Conversion),
    }
}

/// Whether a sidecar may come to hold more by itself: it mounts a copy that is right, and can be asked.
fn may_be_refreshed(consumer: &Consumer) -> bool {
    is_of_file_era(consumer) && consumer.mounts && !matches!(consumer.holds, Answer::Forbidden(_))
}

/// Why nobody knows what a sidecar holds that mounts its anchors.
fn unseen_file(consumer: &Consumer) -> Option<String> {
    let is_known = consumer.held.known().is_some() || consumer.holds.proven().is_some();
    let is_unseen = is_of_file_era(consumer) && !is_known;
    consumer.holds.why_not().or_else(|| consumer.held.why_not()).filter(|_| is_unseen)
}

/// A canary handshake is the invariant itself, measured: it outweighs what is worked out.
fn measured(consumer: &Consumer) -> Option<String> {
    (consumer.accepts == Answer::Proven(false)).then(|| "refused the new chain in a canary handshake".to_owned())
}

/// The sets of anchors that a consumer may hold.
///
/// # Why
/// Where they can't be read, each anchor that was published before this rotation may be the only one: the worst case.
/// A new anchor was never published alone, so it never stands alone.
fn possible(goal: &Goal, consumer: &Consumer, seen: &Observed) -> Vec<Anchors> {
    if consumer.role == Role::Sentry || consumer.accepts == Answer::Proven(true) {
        return Vec::new();
    }
    if let Some(anchors) = consumer.held.known() {
        return vec![Arc::clone(anchors)];
    }
    if let (Answer::Proven(true), Some(root)) = (&consumer.holds, goal.target.root()) {
        return vec![Anchors::from([root.clone()])];
    }
    let before = match &goal.previous {
        Some(previous) => previous.trust.anchors(),
        None => &seen.published.anchors,
    };
    let mut sets: Vec<Anchors> = before.iter().map(|anchor| Anchors::from([anchor.clone()])).collect();
    sets.push(seen.published.anchors.clone().into());
    sets
}

/// Why holders of `anchors` would be worse off with `chain` than they are today; `None`: they would not be.
fn shortened(
    goal: &Goal,
    chain: &[Certificate],
    anchors: &[Certificate],
    profile: Profile,
    seen: &Observed,
) -> Option<String> {
    let accepted = |chain: &[Certificate]| seen.until(chain, anchors, profile);
    let today: Timestamp = accepted(&seen.published.chain).ok()?;
    match accepted(chain) {
        Err(refusal) => Some(format!("would refuse the new chain: {refusal}")),
        Ok(then) if then < today.min(goal.valid_until) => {
            Some(format!("would accept the new chain until {then} only, today's until {today}"))
        }
        Ok(_) => None,
    }
}
