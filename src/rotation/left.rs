//! Who is left behind once the goal is published: in what way, until when that is fine, and what would change it.

use jiff::Timestamp;

use super::next::{accepts_former, holds_target, serves, shows_former, trusts_its_server};
use super::safety::{Break, UNSEEN, unseen as unseen_consumers};
use super::{Goal, Strategy, Trio};
use crate::mesh::{Answer, Consumer, Observed, Phase, Role};

/// What a consumer that is left behind has to do with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Concern {
    /// Is being deleted, so that nothing is left to do about it.
    Leaving,
    /// Is taken to hold the new root, after a wait: it may not be asked.
    Assumed,
    /// Does not hold the new root yet, which an append waits for; what it is shown today it accepts.
    NotYet,
    /// Holds only older anchors; what it is shown is accepted until then.
    OldTrust,
    /// Could not be seen.
    Unseen,
    /// A Sentry replica that still signs with another issuer.
    Behind,
    /// Refuses what it is shown, as it refused what it was shown before the rotation.
    RefusedBefore,
    /// Its SVID comes from a CA that Sentry invented: peers of the kept CA refuse it until it is restarted.
    InventedSvid,
    /// Refuses what it is shown, and was counted among those that may.
    Allowed,
    /// Holds the new root, and shows an SVID of the CA that was replaced, which everybody else who does refuses.
    FormerSvid,
    /// Accepts what the CA that was replaced has signed.
    AcceptsFormer,
    /// Refuses what it is shown.
    Refuses,
}

/// A consumer that a finished rotation leaves behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Left {
    /// Who.
    pub consumer: String,
    /// What it is, in a word.
    pub role: &'static str,
    /// Whether it is a part of the control plane, and no application's sidecar.
    pub is_control_plane: bool,
    /// In what way.
    pub concern: Concern,
    /// In a sentence's end: "holds only …".
    pub why: String,
    /// Until when that is fine.
    pub until: Option<Timestamp>,
    /// What a restart would name.
    pub restart: Option<String>,
}

impl Left {
    /// A consumer that an append waits for.
    pub fn not_yet(held_back: &Break) -> Self {
        Self {
            consumer: held_back.consumer.clone(),
            role: held_back.role,
            is_control_plane: held_back.is_control_plane,
            concern: Concern::NotYet,
            why: if held_back.is_unseen { held_back.why.clone() } else { "does not hold the new root yet".to_owned() },
            until: None,
            restart: held_back.restart.clone(),
        }
    }

    /// Whether the goal is not reached because of it: the record stays open, and the same command looks again.
    pub fn is_unfinished(&self) -> bool {
        matches!(self.concern, Concern::Behind | Concern::Refuses | Concern::AcceptsFormer | Concern::FormerSvid)
    }
}

/// Who is left behind once the goal is published, those that need action first.
pub fn left(goal: &Goal, seen: &Observed) -> Vec<Left> {
    let hidden = if goal.former(seen).is_some() { unseen_consumers(seen) } else { Vec::new() };
    let everybody = seen.consumers.iter().chain(&hidden);
    let mut found: Vec<Left> = everybody.filter_map(|consumer| left_behind(goal, seen, consumer)).collect();
    found.sort_by_key(|left| std::cmp::Reverse(left.concern as u8));
    found
}

fn left_behind(goal: &Goal, seen: &Observed, consumer: &Consumer) -> Option<Left> {
    let (concern, why, until) = match concern(goal, seen, consumer)? {
        (Concern::Refuses, why, until) if goal.allowed.contains(&consumer.name) => (Concern::Allowed, why, until),
        other => other,
    };
    let left = Left {
        consumer: consumer.name.clone(),
        role: consumer.role.word(),
        is_control_plane: consumer.role.is_control_plane(),
        concern,
        why,
        until,
        restart: consumer.owner.clone().filter(|_| !matches!(concern, Concern::Unseen | Concern::Assumed)),
    };
    Some(match consumer.phase {
        Phase::Terminating => {
            Left { concern: Concern::Leaving, why: format!("{}; it is being deleted", left.why), restart: None, ..left }
        }
        _ => left,
    })
}

/// In what way, why, and until when that is fine.
type Why = (Concern, String, Option<Timestamp>);

fn concern(goal: &Goal, seen: &Observed, consumer: &Consumer) -> Option<Why> {
    if consumer.role == Role::Sentry {
        return concern_of_sentry(goal, seen, consumer);
    }
    if let Some(refusal) = refusal(goal, seen, consumer) {
        return Some(refusal);
    }
    if let Some(acceptance) = acceptance_of_former(goal, seen, consumer) {
        return Some(acceptance);
    }
    if goal.strategy == Strategy::Replace && shows_former(goal, seen, consumer) {
        let why = "shows an SVID of the former CA, which is refused until it is restarted or issued a new one";
        return Some((Concern::FormerSvid, why.to_owned(), None));
    }
    if goal.has_invented_svid(consumer, seen) {
        let why =
            "may have an SVID of the CA that Sentry invented, which peers of the kept CA refuse until it is restarted";
        return Some((Concern::InventedSvid, why.to_owned(), None));
    }
    let profile = consumer.role.profile();
    let older = |until| Some((Concern::OldTrust, "holds only older trust anchors".to_owned(), until));
    if let Answer::Assumed(held) = &consumer.held
        && holds_target(goal, held)
    {
        let why = "may not be asked, and is taken to hold the new root: its mount has been refreshed by now";
        return Some((Concern::Assumed, why.to_owned(), None));
    }
    match (consumer.held.proven(), &consumer.holds) {
        (Some(held), _) if holds_target(goal, held) => None,
        (Some(held), _) => older(seen.until(&goal.target.issuer.chain, held, profile).ok()),
        (None, Answer::Proven(true)) => None,
        (None, Answer::Proven(false)) => older(goal.worst_until(seen, profile)),
        (None, Answer::NotAsked) if consumer.held == Answer::NotAsked && goal.target.issuer_alone(seen).is_none() => {
            let why = "an older anchor has the same key, so that a handshake does not tell them apart";
            Some(unseen(Some(why.to_owned())))
        }
        (None, holds) => {
            let why = holds.why_not().or_else(|| consumer.held.why_not()).or_else(|| consumer.accepts.why_not());
            Some(unseen(why))
        }
    }
}

/// Whether a consumer accepts what the CA that was replaced has signed.
fn acceptance_of_former(goal: &Goal, seen: &Observed, consumer: &Consumer) -> Option<Why> {
    goal.former(seen)?;
    if consumer.name == UNSEEN {
        let why = "may still accept what the former CA has signed: not everybody can be seen here";
        return Some((Concern::Unseen, why.to_owned(), None));
    }
    match accepts_former(goal, seen, consumer) {
        Answer::Proven(true) => {
            Some((Concern::AcceptsFormer, "still accepts what the former CA has signed".to_owned(), None))
        }
        answer => answer.why_not().map(|why| unseen(Some(why))),
    }
}

fn unseen(why: Option<String>) -> Why {
    let why = why.unwrap_or_else(|| "nothing was learned".to_owned());
    (Concern::Unseen, format!("could not be asked: {why}"), None)
}

fn concern_of_sentry(goal: &Goal, seen: &Observed, sentry: &Consumer) -> Option<Why> {
    let chain = &goal.target.issuer.chain;
    match &sentry.served {
        Answer::Proven(_) if serves(sentry, chain) => None,
        Answer::Proven(_) => Some((Concern::Behind, "still signs with another issuer".to_owned(), None)),
        answer => {
            let why = answer.why_not();
            let serves = |other: &Consumer| other.role == Role::Sentry && serves(other, chain);
            if seen.consumers.iter().any(serves) || matches!(answer, Answer::Forbidden(_)) {
                Some(unseen(why))
            } else {
                let why = why.unwrap_or_else(|| "it was not asked".to_owned());
                Some((Concern::Behind, format!("was not seen to sign with the new issuer: {why}"), None))
            }
        }
    }
}

/// Why a consumer refuses what it is shown now, if it does.
fn refusal(goal: &Goal, seen: &Observed, consumer: &Consumer) -> Option<Why> {
    if consumer.accepts == Answer::Proven(false) {
        return Some((Concern::Refuses, "refuses the new chain".to_owned(), None));
    }
    if !trusts_its_server(consumer, seen) {
        return Some((Concern::Refuses, "does not verify the chain that is served to it".to_owned(), None));
    }
    let held = consumer.held.proven()?;
    let profile = consumer.role.profile();
    let why = seen.until(&goal.target.issuer.chain, held, profile).err()?;
    // Of an abort, the previous trio is what it goes back to.
    let before = goal.previous.as_ref().filter(|_| !goal.may_break() && goal.strategy != Strategy::Abort);
    let refused = |before: &Trio| seen.until_from(goal.began, &before.issuer.chain, held, profile).is_err();
    Some(if before.is_some_and(refused) {
        (Concern::RefusedBefore, format!("refuses the new chain as it did the one before: {why}"), None)
    } else {
        (Concern::Refuses, format!("refuses the new chain: {why}"), None)
    })
}
