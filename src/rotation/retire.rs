//! What may be retired, and who stands in the way: the proof behind `mtls prune` (dapr-facts §7).
//!
//! # Why
//! Two things must be true before anything goes. Everybody holds the root that stays, or the shorter chain is refused. And
//! nobody shows an SVID that only a former root verifies, or pods that are born later refuse it. What a process shows is
//! looked at; only for one that cannot be asked does the time count by which every SVID of a former issuer has expired.

use super::next::{is_proven_to_hold, is_switched, serves, shows_former};
use super::safety::{Break, broken, unseen};
use super::{Goal, Record, Status, Strategy, Trio, distribution};
use crate::mesh::{Answer, Consumer, Denied, Observed, Phase, Role};
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
    /// stands below that root.
    pub fn prune(seen: &Observed, record: Option<&Record>) -> Result<Self, NothingToRetire> {
        let published = Trio::published(seen).ok_or(NothingToRetire::NoCa)?;
        let root = published.root().ok_or(NothingToRetire::NoRoot)?.clone();
        let mut target = published.clone();
        target.issuer.chain = below(&published.issuer.chain, &root).to_vec();
        let own = || [&root].into_iter().chain(record.into_iter().flat_map(Record::roots));
        let stays = |anchor: &&Certificate| is_foreign(anchor, own(), seen);
        let foreign = published.trust.anchors().iter().filter(|anchor| **anchor != root).filter(stays).cloned();
        let staying: Vec<Certificate> = [root.clone()].into_iter().chain(foreign).collect();
        if staying.len() == seen.published.anchors.len() && target.issuer.chain == published.issuer.chain {
            return Err(NothingToRetire::Nothing);
        }
        target.trust = TrustBundle::from_anchors(staying).map_err(|_| NothingToRetire::NoCa)?;
        let issuer = published.issuer.certificate();
        let of_this_issuer =
            |record: &&Record| record.status == Status::Done && record.goal.target.issuer.certificate() == issuer;
        Ok(Self {
            strategy: Strategy::Prune,
            valid_until: target.issuer.certificate().not_after(),
            target,
            previous: Some(published.clone()),
            began: seen.now,
            restart: None,
            invented: None,
            allowed: Vec::new(),
            former_svids_end: record.filter(of_this_issuer).and_then(|record| record.goal.former_svids_end),
            inputs: "prune".to_owned(),
        })
    }
}

/// Whether an anchor lives and is not known to have been a root of this mesh, as `own` were, nor has the key of one: it is
/// another one's, or an external CA's. It stays, and stands for somebody who cannot be seen.
fn is_foreign<'a>(anchor: &Certificate, own: impl Iterator<Item = &'a Certificate>, seen: &'a Observed) -> bool {
    let published = &seen.published;
    let noted = published.anchors.iter().filter(|anchor| published.noted_roots.contains(&anchor.fingerprint()));
    let was_ours = own.chain(noted).any(|own| own.spki_der() == anchor.spki_der())
        || seen.until(&published.chain, std::slice::from_ref(anchor), Profile::Spiffe).is_ok();
    !was_ours && !anchor.is_expired(seen.now)
}

/// Who is not seen to be ready for what a prune does next.
pub(super) fn unready(goal: &Goal, seen: &Observed) -> Vec<Break> {
    let obstacle = |consumer: &Consumer| match consumer.role {
        Role::Sentry => lagging(goal, seen, consumer),
        _ => missing_root(goal, seen, consumer).or_else(|| former_svid(goal, seen, consumer)),
    };
    let mut found: Vec<Break> = seen.consumers.iter().filter_map(obstacle).collect();
    found.extend(unseen(seen).iter().filter_map(obstacle));
    found.extend(distribution::behind(seen));
    found.extend(outsiders_of_prune(goal, seen));
    found.extend(conditions(seen));
    found
}

/// A Sentry replica that is not seen to serve the shorter chain, or at all before that is published: whoever signs
/// unseen may sign with a former issuer.
fn lagging(goal: &Goal, seen: &Observed, sentry: &Consumer) -> Option<Break> {
    let chain = &goal.target.issuer.chain;
    match &sentry.served {
        Answer::Proven(_) if !is_switched(goal, seen) || serves(sentry, chain) => None,
        Answer::Proven(_) => Some(broken(sentry, "does not serve the shorter chain yet".to_owned())),
        answer => {
            let why = answer.why_not().unwrap_or_else(|| "it was not asked".to_owned());
            Some(broken(sentry, format!("is not seen to serve the live chain: {why}")))
        }
    }
}

fn missing_root(goal: &Goal, seen: &Observed, consumer: &Consumer) -> Option<Break> {
    let refuses = consumer.holds == Answer::Proven(false) || consumer.accepts == Answer::Proven(false);
    let holds = consumer.held.known().is_some_and(|held| goal.target.root().is_some_and(|root| held.contains(root)));
    if !refuses && (holds || is_proven_to_hold(goal, consumer)) {
        return None;
    }
    let why = if refuses || consumer.held.proven().is_some() {
        "holds only older trust anchors".to_owned()
    } else if goal.target.issuer_alone(seen).is_none() && consumer.held == Answer::NotAsked {
        "may hold only an older anchor, which has the same key: no handshake tells them apart".to_owned()
    } else {
        let why = consumer.holds.why_not().or_else(|| consumer.held.why_not());
        format!("is not seen to hold the root that stays: {}", why.unwrap_or_else(|| "it was not asked".to_owned()))
    };
    Some(broken(consumer, why))
}

fn former_svid(goal: &Goal, seen: &Observed, consumer: &Consumer) -> Option<Break> {
    if !consumer.role.shows_svid() || consumer.phase == Phase::Pending {
        return None;
    }
    let until = goal.former_svids_end.filter(|end| *end > seen.now);
    let until = until.map_or_else(String::new, |end| format!(", until {end}"));
    match &consumer.served {
        Answer::Proven(_) => {
            let shows = shows_former(goal, seen, consumer);
            shows.then(|| broken(consumer, format!("shows an SVID of a former issuer{until}")))
        }
        _ if goal.former_svids_end.is_some_and(|end| end <= seen.now) => None,
        answer => {
            let why = answer.why_not().unwrap_or_else(|| "it was not asked".to_owned());
            let found = broken(consumer, format!("may show an SVID of a former issuer{until}: {why}"));
            // Why: one that gave no answer this time may give one the next.
            let may_pass = found.may_pass || matches!(answer, Answer::Unknown(_));
            Some(Break { may_pass, ..found })
        }
    }
}

/// The outsiders of a prune: each anchor that stays without being the root in use, and each that goes without being one
/// that a mesh makes for itself.
fn outsiders_of_prune(goal: &Goal, seen: &Observed) -> Vec<Break> {
    let bundle = goal.staying(seen);
    let others = seen.published.anchors.iter().filter(|anchor| Some(*anchor) != goal.target.root());
    outsiders(
        seen,
        others.filter(|anchor| !anchor.is_expired(seen.now)).filter_map(|anchor| {
            if bundle.contains(anchor.fingerprint()) {
                Some((FOREIGN, anchor))
            } else {
                (!is_minted(anchor, &seen.identity.trust_domain)).then_some(("trust anchor of an external CA", anchor))
            }
        }),
    )
}

/// The outsiders of an append's switch, who were given the old root and must be given the new one by whoever runs them.
pub(super) fn outsiders_of_append(goal: &Goal, seen: &Observed) -> Vec<Break> {
    let own = || {
        let before = goal.previous.iter().flat_map(|previous| previous.root().into_iter().chain(previous.last_root()));
        before.chain(goal.target.root())
    };
    let foreign = seen.published.anchors.iter().filter(|anchor| is_foreign(anchor, own(), seen));
    let mut found = outsiders(seen, foreign.map(|anchor| (FOREIGN, anchor)));
    found.extend(hidden_settings(seen));
    found
}

const FOREIGN: &str = "foreign trust anchor";

/// Those who take part without being seen: clients that joined through a token validator, other meshes that trust this
/// one as it trusts them, and whoever else has SVIDs under a root that somebody brought.
fn outsiders<'a>(seen: &Observed, anchors: impl Iterator<Item = (&'static str, &'a Certificate)>) -> Vec<Break> {
    let outsider = |role, name| {
        let why = "stands for others, and what those hold and show cannot be seen".to_owned();
        Break { may_be_allowed: true, ..condition(name, role, why) }
    };
    let validators = (1..=seen.settings.token_validators)
        .map(|n| outsider("token validator", format!("{n} of Configuration `daprsystem`")));
    validators.chain(anchors.map(|(role, anchor)| outsider(role, anchor.fingerprint().short()))).collect()
}

/// Whether a root has the Subject of those that Sentry, Dapr's CLI and this tool make: no other mesh hangs under it.
fn is_minted(root: &Certificate, trust_domain: &str) -> bool {
    let subject = root.subject();
    let rest = subject.strip_prefix(&format!("O={trust_domain}"));
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(", CN="))
}

/// What stands in the way without being a process, and cannot be seen to be otherwise.
fn condition(name: String, role: &'static str, why: String) -> Break {
    Break {
        consumer: name,
        role,
        why,
        restart: None,
        is_control_plane: false,
        may_pass: false,
        may_read: false,
        is_unseen: true,
        may_be_allowed: false,
    }
}

/// Nobody knows how many token validators there are, nor how long an SVID lasts.
fn hidden_settings(seen: &Observed) -> Option<Break> {
    let denied = seen.denied.iter().find(|denied| Denied::hides_settings(denied))?;
    let why = format!("cannot be seen (not allowed to {})", denied.grant);
    Some(condition("`daprsystem`".to_owned(), "Configuration", why))
}

/// What holds of the mesh as a whole, and nobody may do without.
fn conditions(seen: &Observed) -> Vec<Break> {
    let mut found = Vec::new();
    if !seen.is_directory() && !seen.consumers.iter().any(|consumer| consumer.role == Role::Sentry) {
        let why = "is seen, so that nobody knows which chain is served";
        found.push(condition("replica".to_owned(), "no Sentry", why.to_owned()));
    }
    found.extend(hidden_settings(seen));
    match &seen.signed_histories {
        Answer::Proven(names) => found.extend(names.iter().map(|name| {
            let why =
                "has workflow history signed, and what a former issuer signed verifies never again without its root";
            condition(name.clone(), "Configuration", why.to_owned())
        })),
        answer => {
            let unseen =
                |why| condition("of workflows".to_owned(), "signed history", format!("cannot be ruled out: {why}"));
            found.extend(answer.why_not().map(unseen));
        }
    }
    found
}
