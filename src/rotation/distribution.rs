//! The file era: the source of its trust bundle, and the wait until every namespace has the new root.
//!
//! # Why
//! A pod mounts what its namespace has when it is born. So an append, a prune and a wave of restarts wait for the copies,
//! not only for those that hold the root today. No total bounds that wait, since a distributor takes minutes for many
//! namespaces; standing still does (dapr-facts §12).

use jiff::{SignedDuration, Timestamp};

use super::applications::in_short;
use super::next::Step;
use super::safety::Break;
use super::{Goal, Move, Need, Strategy};
use crate::duration::in_words;
use crate::mesh::{DISTRIBUTED, Distributor, Observed, Propagation, Role};

/// A distributor that has written nothing for so long stands still: while it works it writes five copies a second.
const STANDSTILL: SignedDuration = SignedDuration::from_secs(60);

/// The write that the source needs, once both objects carry the trust bundle: what was retired leaves it, and what else
/// is in it stays.
pub(super) fn publication(goal: &Goal, seen: &Observed) -> Option<Move> {
    let source = seen.trust_source.as_ref().filter(|_| goal.is_recorded())?;
    let own = seen.published.own_anchors();
    let strangers = source.anchors.iter().filter(|anchor| !own.contains(anchor) && !goal.knows(anchor));
    let anchors: Vec<_> = own.iter().chain(strangers).cloned().collect();
    let lacks = anchors.iter().any(|anchor| !source.anchors.contains(anchor));
    let has_retired = source.anchors.iter().any(|anchor| !anchors.contains(anchor));
    (lacks || has_retired).then_some(Move::PublishSource { anchors })
}

/// The wait for copies that are behind, as long as their distributor is at work: it has written something, or was given
/// something to write, or is Dapr's operator and was restarted.
///
/// # Why
/// What this run does meanwhile says nothing of it: mounts of pods that come and go are refreshed again and again.
pub(super) fn wait(goal: &Goal, seen: &Observed) -> Option<Step> {
    let moved = seen.distribution.proven()?.moved;
    let operators = seen.control_plane.iter().filter(|service| service.role == Some(Role::Operator));
    let restarted = operators.filter_map(|service| service.restarted);
    let source = seen.trust_source.as_ref().and_then(|source| source.written);
    let since = restarted.chain(seen.published.written).chain(source).fold(moved, Timestamp::max);
    let is_at_work = seen.now.duration_since(since) < STANDSTILL;
    (is_at_work && !seen.behind().is_empty()).then(|| {
        let what = format!("ConfigMap `{DISTRIBUTED}` to carry the new root in every namespace");
        Step::Wait(what, need(goal, seen))
    })
}

/// What is looked at meanwhile: the copies, and the sidecars that mount a right one.
pub(super) fn need(goal: &Goal, seen: &Observed) -> Need {
    Need { distribution: true, holds: goal.target.issuer_alone(seen), ..Need::default() }
}

/// The copies that are behind, which new pods would mount.
pub(super) fn behind(seen: &Observed) -> Option<Break> {
    if let Some(why) = seen.distribution.why_not() {
        return Some(unready(format!("of the namespaces is not seen: {why}")));
    }
    let behind = seen.behind();
    let named = in_short(&behind)?;
    let distribution = seen.distribution.proven()?;
    let idle = seen.now.duration_since(distribution.moved);
    let who = distribution.distributor().map_or_else(|| "whoever copies it".to_owned(), ToString::to_string);
    let trouble = distribution.trouble.as_ref().map_or_else(String::new, |trouble| format!("; {trouble}"));
    let is_unfed =
        seen.trust_source.is_none() && matches!(distribution.distributor(), Some(Distributor::TrustManager(_)));
    let state = match in_words(idle) {
        _ if is_unfed => format!("no Secret was found that {who} copies from: name it with `--trust-source`"),
        _ if idle < STANDSTILL => format!("{who} is given time, and the same command goes on later"),
        idle => format!("{who} has written nothing for {idle}{trouble}"),
    };
    let (behind, total) = (behind.len(), seen.propagation()?.total);
    let why = format!("does not carry the new root in {behind} of {total} namespaces ({named}): {state}");
    Some(unready(why))
}

/// What stands for the copies among those who hold a move back.
pub const COPIES: &str = "ConfigMap";

fn unready(why: String) -> Break {
    Break {
        consumer: format!("`{DISTRIBUTED}`"),
        role: COPIES,
        why,
        restart: None,
        is_control_plane: true,
        may_pass: false,
        may_read: false,
        is_unseen: true,
        may_be_allowed: false,
    }
}

/// How fast copies come, measured from the first look that found some missing.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    since: Timestamp,
    from: usize,
    last: Propagation,
}

/// How far the trust bundle has been copied, how fast, and how long the rest takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// So many namespaces have it.
    pub done: usize,
    /// So many should.
    pub total: usize,
    /// So many a minute got it, and so long the rest takes at that pace; `None`: that is not known yet.
    pub pace: Option<(i64, SignedDuration)>,
}

impl Pace {
    /// What has changed since the last look, if something has.
    pub(super) fn follow(pace: &mut Option<Self>, seen: &Observed) -> Option<Progress> {
        let now = seen.propagation()?;
        let Propagation { done, total } = now;
        let Some(known) = pace else {
            if done == total {
                return None;
            }
            *pace = Some(Self { since: seen.now, from: done, last: now });
            return Some(Progress { done, total, pace: None });
        };
        if known.last == now {
            return None;
        }
        known.last = now;
        let took = seen.now.duration_since(known.since).as_secs();
        let count = |namespaces: usize| i64::try_from(namespaces).unwrap_or(i64::MAX);
        let (copied, rest) = (count(done.saturating_sub(known.from)), count(total - done));
        let pace = || (copied * 60 / took, SignedDuration::from_secs(rest * took / copied));
        Some(Progress { done, total, pace: (took > 0 && copied > 0).then(pace) })
    }
}

/// Whether a strategy's next step depends on what new pods would mount.
pub(super) fn matters(goal: &Goal) -> bool {
    matches!(goal.strategy, Strategy::Append | Strategy::Prune)
}
