//! What may be retired, and who stands in the way: the proof behind `mtls prune` (dapr-facts §7).
//!
//! # Why
//! Two things must be true before an anchor goes. Everybody holds the root that stays, or the shorter chain is refused.
//! And nobody shows an SVID that only the anchor verifies, or pods that are born later refuse it: either every SVID of
//! a former issuer has expired, or each that is served was looked at.

use jiff::Timestamp;

use super::next::{is_proven_to_hold, serves};
use super::safety::{Break, broken, unseen};
use super::{Goal, Record, Strategy, Trio};
use crate::mesh::{Answer, Consumer, Observed, Phase, Role};
use crate::pki::{Certificate, Profile, TrustBundle, below};

/// Why there is nothing to retire.
#[derive(Debug, thiserror::Error)]
pub enum NothingToRetire {
    /// What is published is no whole CA.
    #[error("what is published is no whole CA")]
    NoCa,
    /// The chain ends in no published anchor.
    #[error("the live chain ends in no trust anchor that is published")]
    NoRoot,
    /// Everything that is published is in use, or somebody else's.
    #[error("nothing to retire")]
    Nothing,
}

impl Goal {
    /// The goal of a prune: of the anchors the root in use, and those that never were this mesh's; of the chain what
    /// stands below that root. `allowed`: how many consumers may break.
    pub fn prune(seen: &Observed, record: Option<&Record>, allowed: usize) -> Result<Self, NothingToRetire> {
        let published = Trio::published(seen).ok_or(NothingToRetire::NoCa)?;
        let root = published.root().ok_or(NothingToRetire::NoRoot)?.clone();
        let mut target = published.clone();
        target.issuer.chain = below(&published.issuer.chain, &root).to_vec();
        let foreign = foreign_anchors(seen, record).into_iter().cloned();
        let staying: Vec<Certificate> = [root].into_iter().chain(foreign).collect();
        if staying.len() == seen.published.anchors.len() && target.issuer.chain == published.issuer.chain {
            return Err(NothingToRetire::Nothing);
        }
        target.trust = TrustBundle::from_anchors(staying).map_err(|_| NothingToRetire::NoCa)?;
        Ok(Self {
            strategy: Strategy::Prune,
            valid_until: target.issuer.certificate().not_after(),
            target,
            previous: Some(published),
            began: seen.now,
            restart: None,
            invented: None,
            allowed,
            inputs: "prune".to_owned(),
        })
    }
}

/// The anchors that live and are not known to have been a root of this mesh: those of another one, or of an external CA.
/// They stay, and each stands for somebody who cannot be seen.
pub fn foreign_anchors<'a>(seen: &'a Observed, record: Option<&Record>) -> Vec<&'a Certificate> {
    let root = seen.signing_root();
    let trios = record.into_iter().flat_map(|r| [Some(&r.goal.target), r.goal.previous.as_ref()]).flatten();
    let recorded: Vec<&Certificate> = trios
        .flat_map(|trio| [trio.root(), trio.last_root()])
        .chain([record.and_then(|record| record.goal.invented.as_ref())])
        .flatten()
        .collect();
    let was_ours = |anchor: &Certificate| {
        recorded.contains(&anchor)
            || seen.published.noted_roots.contains(&anchor.fingerprint())
            || root.is_some_and(|root| root.spki_der() == anchor.spki_der())
            || seen.until(&seen.published.chain, std::slice::from_ref(anchor), Profile::Spiffe).is_ok()
    };
    let anchors = seen.published.anchors.iter().filter(|anchor| anchor.is_anchor());
    anchors.filter(|anchor| Some(*anchor) != root && !anchor.is_expired(seen.now) && !was_ours(anchor)).collect()
}

/// Everybody who stands in the way of a prune's goal, whatever `goal.allowed` says.
pub fn obstacles(goal: &Goal, seen: &Observed) -> Vec<Break> {
    let retires =
        seen.published.anchors.iter().any(|a| !a.is_expired(seen.now) && !goal.target.trust.contains(a.fingerprint()));
    if retires { stranded(goal, seen) } else { not_holding(goal, seen) }
}

/// When a prune will be possible for all that SVIDs have to do with it; `None`: it is now, or nobody can tell.
pub fn possible_from(seen: &Observed) -> Option<Timestamp> {
    seen.former_svids_end().filter(|end| *end > seen.now)
}

/// Who is not seen to hold the root that stays.
pub(super) fn not_holding(goal: &Goal, seen: &Observed) -> Vec<Break> {
    let consumers =
        seen.consumers.iter().chain(&unseen(seen)).filter_map(|c| missing_root(goal, c)).collect::<Vec<_>>();
    consumers.into_iter().chain(outsiders(goal, seen)).collect()
}

/// Who is not seen to hold the root that stays, or may show an SVID that needs one which goes.
pub(super) fn stranded(goal: &Goal, seen: &Observed) -> Vec<Break> {
    let end = seen.former_svids_end();
    let svids_are_gone = end.is_some_and(|end| end <= seen.now);
    let obstacle = |consumer: &Consumer| {
        missing_root(goal, consumer)
            .or_else(|| if svids_are_gone { None } else { former_svid(goal, seen, end, consumer) })
    };
    let consumers = seen.consumers.iter().chain(&unseen(seen)).filter_map(obstacle).collect::<Vec<_>>();
    consumers.into_iter().chain(outsiders(goal, seen)).collect()
}

/// Sentry replicas that are not seen to serve the shorter chain. They are waited for, and nobody may do without them.
pub(super) fn lagging(goal: &Goal, seen: &Observed) -> Vec<Break> {
    let lags = |consumer: &&Consumer| {
        consumer.role == Role::Sentry
            && consumer.phase != Phase::Terminating
            && !serves(consumer, &goal.target.issuer.chain)
    };
    let why = |consumer: &Consumer| consumer.served.why_not().unwrap_or_else(|| "it serves another".to_owned());
    let lagging = seen.consumers.iter().filter(lags);
    lagging.map(|sentry| broken(sentry, format!("was not seen to serve the shorter chain: {}", why(sentry)))).collect()
}

fn missing_root(goal: &Goal, consumer: &Consumer) -> Option<Break> {
    let holds = consumer.held.known().is_some_and(|held| goal.target.root().is_some_and(|root| held.contains(root)));
    if consumer.role == Role::Sentry || holds || is_proven_to_hold(goal, consumer) {
        return None;
    }
    let holds_not = consumer.held.proven().is_some() || consumer.holds == Answer::Proven(false);
    let why = if holds_not {
        "holds only older trust anchors".to_owned()
    } else {
        let why = consumer.holds.why_not().or_else(|| consumer.held.why_not());
        let why =
            why.unwrap_or_else(|| "an older anchor has the same key, and no handshake tells them apart".to_owned());
        format!("is not seen to hold the root that stays: {why}")
    };
    Some(broken(consumer, why))
}

fn former_svid(goal: &Goal, seen: &Observed, end: Option<Timestamp>, consumer: &Consumer) -> Option<Break> {
    let shows_none = matches!(consumer.role, Role::Sentry | Role::EtcdPeer | Role::Webhook | Role::Conversion);
    if shows_none || consumer.phase == Phase::Pending {
        return None;
    }
    let until = end.map_or_else(String::new, |end| format!(", until {end}"));
    let why = match &consumer.served {
        Answer::Proven(served) => {
            let anchors = goal.target.trust.anchors();
            let chain = served.get(1..).unwrap_or_default();
            if seen.until(chain, anchors, Profile::Spiffe).is_ok() {
                return None;
            }
            format!("shows an SVID of a former issuer{until}")
        }
        answer => {
            let why = answer.why_not().unwrap_or_else(|| "it was not asked".to_owned());
            format!("may show an SVID of a former issuer{until}: {why}")
        }
    };
    Some(broken(consumer, why))
}

/// Those who take part without being seen: clients that joined through a token validator, and other meshes that trust
/// this one as it trusts them.
fn outsiders(goal: &Goal, seen: &Observed) -> Vec<Break> {
    let outsider = |role: &'static str, name: String| Break {
        consumer: name,
        role,
        why: "stands for others, and what those hold cannot be seen".to_owned(),
        restart: None,
        is_control_plane: false,
        may_pass: false,
    };
    let validators = (1..=seen.settings.token_validators)
        .map(|n| outsider("token validator", format!("{n} of Configuration `daprsystem`")));
    let others = goal.target.trust.anchors().iter().skip(1);
    validators.chain(others.map(|anchor| outsider("foreign trust anchor", anchor.fingerprint().short()))).collect()
}
