//! Proposes goals: what is minted for each strategy, and which strategy is taken.
//!
//! # Why
//! There are no rules about path lengths, key usages or name constraints here. Each strategy that fits the inputs is
//! minted, planned on paper and kept if the invariant lets the plan through: the certificates themselves decide.

use jiff::{SignedDuration, Timestamp};

use super::goal::{CannotStage, Goal, Restart, Strategy, Trio, live};
use super::safety::{breaks, in_words};
use super::{Move, Record, plan};
use crate::mesh::{Consumer, Dependent, Observed, Pair, Role, is_of_file_era, layers, live_bridges, names};
use crate::pki::{self, Certificate, Entropy, Issuer, PrivateKey, Profile, TrustBundle, Validity, below};

/// What the caller brings to a rotation.
#[derive(Clone)]
pub enum Inputs {
    /// Nothing: a new root and a new issuer are minted.
    Fresh,
    /// A root key: the live root's renews that root, another makes a new root.
    Key(PrivateKey),
    /// Certificates of the caller's own, judged before they come here.
    Given(Trio),
}

/// What a goal is made from, beyond what was observed.
#[derive(Clone)]
pub struct Request {
    /// What the caller brings.
    pub inputs: Inputs,
    /// `None`: the first strategy that is safe.
    pub strategy: Option<Strategy>,
    /// How long the new certificates live.
    pub valid_for: SignedDuration,
    /// What is restarted afterwards.
    pub restart: Option<super::Scope>,
    /// How long a rollout may take: a bridge must outlive it.
    pub timeout: SignedDuration,
    /// How soon a CA that ends is renewed: an open rotation whose published CA ends within it is over.
    pub window: SignedDuration,
    /// A digest of the inputs, for the record.
    pub digest: String,
}

/// A goal and what its root was signed with, if a root was minted.
pub struct Proposal {
    /// The goal.
    pub goal: Goal,
    /// The key of a root minted here. It is offered to the caller once and then dropped.
    pub root_key: Option<PrivateKey>,
    /// Why this strategy and not one before it.
    pub why: String,
}

/// Why there is no goal: each strategy that was tried, with what speaks against it.
#[derive(Debug, thiserror::Error)]
#[error("no strategy is safe here: {}", .tried.iter().map(|(s, why)| format!("{}: {why}", s.word())).collect::<Vec<_>>().join("; "))]
pub struct NoStrategy {
    /// The strategy that was asked for.
    pub by_name: Option<Strategy>,
    /// Those that were tried, and why not.
    pub tried: Vec<(Strategy, String)>,
}

/// Takes the first strategy that is possible, those first that need no restart. What hinders one that is possible is no
/// reason for the next.
pub fn choose(
    request: &Request,
    seen: &Observed,
    record: Option<&Record>,
    entropy: Entropy,
) -> Result<Proposal, NoStrategy> {
    let mut tried = Vec::new();
    for strategy in candidates(request, seen, record) {
        let by_name = request.strategy == Some(strategy);
        let mut proposal = match propose(strategy, request, seen, record, entropy) {
            Ok(proposal) => proposal,
            Err(why) => {
                tried.push((strategy, why.to_string()));
                continue;
            }
        };
        if let Some(why) = objection(&proposal.goal, seen, request, by_name) {
            tried.push((strategy, why));
            continue;
        }
        if let Some(why) = hindrance(&proposal.goal, seen) {
            tried.push((strategy, why));
            break;
        }
        proposal.why = reason(strategy, by_name, &tried);
        return Ok(proposal);
    }
    if tried.is_empty() {
        let why = match seen.published.pair {
            Pair::Absent => "nothing is published, while somebody may hold a CA that no record has; by name only",
            _ => "what is published is damaged and has not expired, and no record has the CA; by name only",
        };
        tried.push((Strategy::Replace, why.to_owned()));
    }
    Err(NoStrategy { by_name: request.strategy, tried })
}

/// The strategies that fit, the best first.
///
/// # Why
/// `create` and `replace` may break every call, so nobody gets them unasked but where nothing is running or where the
/// live CA has expired. What is damaged and not expired is mended from the record; without one only a name helps.
/// An append leaves the live issuer in place for long: over a CA that Sentry invented, calls would fail meanwhile.
fn candidates(request: &Request, seen: &Observed, record: Option<&Record>) -> Vec<Strategy> {
    if let Some(strategy) = request.strategy {
        return vec![strategy];
    }
    let published = &seen.published;
    let under = |root: &Certificate| match &request.inputs {
        Inputs::Key(key) if key.matches(root) => Some(Strategy::SameKey),
        Inputs::Given(trio) if trio_under(trio, root, seen) => Some(Strategy::Issuer),
        _ => None,
    };
    if let Some(root) = seen.signing_root() {
        let is_invented = record.is_some_and(|record| record.kept(seen).is_some());
        return match under(root) {
            Some(strategy) => vec![strategy],
            None if is_invented => vec![Strategy::Bridge],
            None => vec![Strategy::Bridge, Strategy::Append],
        };
    }
    if record.and_then(Record::last_published).is_some_and(|kept| kept.until(seen).is_some()) {
        return vec![Strategy::Bridge];
    }
    if published.pair == Pair::Absent && nobody_runs(seen) {
        return vec![Strategy::Create];
    }
    let has_expired = seen.former_root().is_some();
    let strategy = has_expired.then(|| live_root(seen).and_then(under).unwrap_or(Strategy::Replace));
    strategy.into_iter().collect()
}

/// Whether nobody is there whom a first CA could cut off. In a directory nobody can be seen, and nobody has had a CA.
fn nobody_runs(seen: &Observed) -> bool {
    seen.is_directory()
        || (seen.consumers_complete && seen.consumers.iter().all(|consumer| consumer.role == Role::Sentry))
}

/// The anchor under which a new issuer takes the place of the live one, which may have expired while its root has not.
fn live_root(seen: &Observed) -> Option<&Certificate> {
    seen.signing_root().or_else(|| seen.former_root().filter(|root| !root.is_expired(seen.now)))
}

fn trio_under(trio: &Trio, root: &Certificate, seen: &Observed) -> bool {
    seen.until(&trio.issuer.chain, std::slice::from_ref(root), Profile::Spiffe).is_ok()
}

/// Why a strategy is not possible here.
fn objection(goal: &Goal, seen: &Observed, request: &Request, by_name: bool) -> Option<String> {
    if goal.target.until(seen).is_none() {
        return Some("the CA that it would publish is accepted by nobody now".to_owned());
    }
    if goal.strategy == Strategy::Append {
        return append_objection(goal, seen);
    }
    let former = goal
        .former(seen)
        .filter(|former| Trio { issuer: former.issuer.clone(), ..goal.target.clone() }.until(seen).is_some());
    if former.is_some() {
        return Some("what the former issuer has signed would still be accepted, since its root stays".to_owned());
    }
    // Why: what nobody can read is judged by what is published, which the trust write itself makes look better.
    let switch = Move::PublishIssuer { issuer: goal.target.issuer.clone() };
    let found = breaks(goal, &switch, seen);
    if !found.is_empty() {
        return Some(in_words(&found));
    }
    if goal.strategy != Strategy::Bridge || by_name {
        return None;
    }
    let settings = &seen.settings;
    let needed = settings.workload_cert_ttl + settings.allowed_clock_skew + request.timeout;
    let end = bridge_end(goal, seen)?;
    let left = end.duration_since(seen.now);
    (left < needed).then(|| {
        format!(
            "the bridge would end {end}, before all SVIDs are issued anew (that takes up to {needed:#}); \
             `--strategy bridge` takes it all the same, with that deadline"
        )
    })
}

/// With so many bridges every handshake carries 7 KB more; Go gives up at the fiftieth.
const MOST_BRIDGES: usize = 8;

/// Why a strategy that is possible cannot go ahead before somebody does something else.
fn hindrance(goal: &Goal, seen: &Observed) -> Option<String> {
    // Why: the plan of an append ends where it waits, and whoever runs it asks for that plan too.
    if goal.strategy == Strategy::Append {
        return None;
    }
    if let Err(breaks) = plan(goal, seen, usize::MAX) {
        return Some(in_words(&breaks));
    }
    let bridges = live_bridges(&layers(seen), seen.now);
    (goal.strategy == Strategy::Bridge && bridges >= MOST_BRIDGES).then(|| {
        format!(
            "the issuer's chain carries {bridges} bridges already, each 900 bytes in every handshake; `mtls prune` \
             retires those that nobody needs any more"
        )
    })
}

/// An append waits until everybody is seen to hold the new root, so that must be possible, and the end of it good.
fn append_objection(goal: &Goal, seen: &Observed) -> Option<String> {
    if !seen.consumers_complete {
        let why = "it must be seen that every consumer holds the new root, and not all of them can be seen here";
        return Some(why.to_owned());
    }
    let Some(today) = Trio::published(seen).and_then(|trio| trio.until(seen)) else {
        return Some("what is published must work until the switch, and it does not".to_owned());
    };
    // Why: what a sidecar has read of its mount is asked once that is fresh.
    let is_hidden = |consumer: &&Consumer| {
        !consumer.role.is_control_plane() && consumer.held.proven().is_none() && !is_of_file_era(consumer)
    };
    let hidden: Vec<Dependent> = seen.consumers.iter().filter(is_hidden).map(Dependent::from).collect();
    if !hidden.is_empty() {
        return Some(format!("what these hold cannot be seen: {}", names(&hidden)));
    }
    let then = goal.target.until(seen)?;
    (then < today.min(goal.valid_until)).then(|| {
        format!("the new CA would end {then}, before the live one ({today}) and the validity that was asked for")
    })
}

/// When the bridge that a goal adds ends, for a peer that holds only the root which signs before the rotation.
pub fn bridge_end(goal: &Goal, seen: &Observed) -> Option<Timestamp> {
    let root = goal.previous.as_ref()?.root()?;
    (goal.target.root() != Some(root)).then(|| goal.target.until_under(root, seen))?
}

fn reason(strategy: Strategy, by_name: bool, tried: &[(Strategy, String)]) -> String {
    if by_name && !matches!(strategy, Strategy::Abort | Strategy::Restore) {
        return "asked for by name".to_owned();
    }
    let why = match strategy {
        Strategy::Issuer => "the given chain ends in the live root: one write, nobody restarts",
        Strategy::SameKey => "the key is the live root's: nobody restarts before the old root ends",
        Strategy::Bridge => "the live issuer can sign the new root for every peer: nobody restarts before the switch",
        Strategy::Append => "everybody is made to hold the new root before the switch",
        Strategy::Replace => "the live CA has expired, so that nothing works any more",
        Strategy::Create => "there is no CA yet",
        Strategy::Abort => "the previous issuer goes back",
        Strategy::Restart => "what is published stays",
        Strategy::Prune => "nobody needs the rest any more",
        Strategy::Restore => "the CA on record signs again, and what else is trusted stays trusted",
    };
    tried.iter().fold(why.to_owned(), |why, (strategy, not)| {
        format!("{why}, since {} is not safe here: {not}", strategy.word())
    })
}

fn propose(
    strategy: Strategy,
    request: &Request,
    seen: &Observed,
    record: Option<&Record>,
    entropy: Entropy,
) -> Result<Proposal, CannotStage> {
    // Why: what may break every call carries nothing along.
    let record = record.filter(|_| !strategy.may_break());
    let from = starting_point(seen, record, entropy)?;
    let minter = Minter { request, seen, record, from: from.as_ref() };
    let (target, root_key) = minter.target(strategy, entropy)?;
    let invented = record.filter(|record| record.kept(seen).is_some()).and_then(|_| seen.signing_root().cloned());
    let end = match (strategy, &invented, &from) {
        (Strategy::Abort, ..) | (Strategy::Restore, None, _) => target.until(seen).unwrap_or(seen.now),
        (_, Some(root), Some(kept)) => {
            target.issuer.certificate().not_after().min(kept.until_under(root, seen).unwrap_or(seen.now))
        }
        _ => target.issuer.certificate().not_after().min(seen.now + request.valid_for),
    };
    let previous = match strategy {
        Strategy::Abort => record.and_then(|record| record.goal.previous.clone()),
        _ => from.or_else(|| Trio::published(seen)),
    };
    let replaces = strategy == Strategy::Replace && !seen.control_plane.is_empty();
    let restart = request.restart.or(replaces.then_some(super::Scope::ControlPlane));
    let goal = Goal {
        strategy,
        invented,
        target,
        previous,
        valid_until: end,
        began: seen.now,
        allowed: Vec::new(),
        former_svids_end: None,
        restart: restart.map(|scope| Restart { scope, since: seen.now }),
        inputs: request.digest.clone(),
    };
    Ok(Proposal { goal, root_key, why: String::new() })
}

/// What a rotation starts from: what is published; the record's trio where that is damaged; or, where Sentry invented
/// it, the kept trio bridged over it, so that the pods of both sides are carried along.
fn starting_point(seen: &Observed, record: Option<&Record>, entropy: Entropy) -> Result<Option<Trio>, CannotStage> {
    let published = Trio::published(seen);
    if let (Some(kept), Some(published)) = (record.and_then(|record| record.kept(seen)), &published) {
        return kept.over(published, seen.now, entropy).map(Some);
    }
    let usable = |trio: &Trio| trio.until(seen).is_some();
    if published.as_ref().is_some_and(usable) {
        return Ok(published);
    }
    Ok(record.and_then(Record::last_published).cloned().filter(usable).or(published))
}

struct Minter<'a> {
    request: &'a Request,
    seen: &'a Observed,
    record: Option<&'a Record>,
    from: Option<&'a Trio>,
}

impl Minter<'_> {
    fn validity(&self) -> Validity {
        Validity {
            not_before: self.seen.now - self.seen.settings.allowed_clock_skew,
            not_after: self.seen.now + self.request.valid_for,
        }
    }

    fn from(&self) -> Result<&Trio, CannotStage> {
        self.from.ok_or(CannotStage::NoIssuer)
    }

    fn target(&self, strategy: Strategy, entropy: Entropy) -> Result<(Trio, Option<PrivateKey>), CannotStage> {
        match strategy {
            Strategy::Issuer => Ok((self.under_live_root(entropy)?, None)),
            Strategy::SameKey => Ok((self.same_key(entropy)?, None)),
            Strategy::Bridge => {
                let (new, root_key) = self.new_trio(entropy)?;
                Ok((self.bridge(new, entropy)?, root_key))
            }
            Strategy::Append => {
                let (new, root_key) = self.new_trio(entropy)?;
                let trust = self.beside_the_old(new.trust.anchors())?;
                Ok((Trio { trust, issuer: new.issuer }, root_key))
            }
            Strategy::Replace | Strategy::Create => self.new_trio(entropy),
            Strategy::Abort => Ok((self.previous()?, None)),
            Strategy::Restore => Ok((self.from()?.clone(), None)),
            Strategy::Restart => Err(CannotStage::Needs("`mtls restart`")),
            Strategy::Prune => Err(CannotStage::Needs("`mtls prune`")),
        }
    }

    /// A root and an issuer under it, from whatever was given.
    fn new_trio(&self, entropy: Entropy) -> Result<(Trio, Option<PrivateKey>), CannotStage> {
        let (key, minted) = match &self.request.inputs {
            Inputs::Given(trio) => return Ok((trio.clone(), None)),
            Inputs::Key(key) => (key.clone(), false),
            Inputs::Fresh => (PrivateKey::generate(entropy), true),
        };
        let root = pki::root(&self.seen.identity.trust_domain, &key, &self.validity(), entropy)?;
        let issuer = self.issuer(&root, &key, entropy)?;
        let trust = bundle(vec![root])?;
        Ok((Trio { trust, issuer: Issuer { chain: vec![issuer.0], key: issuer.1 } }, minted.then_some(key)))
    }

    fn issuer(
        &self,
        root: &Certificate,
        root_key: &PrivateKey,
        entropy: Entropy,
    ) -> Result<(Certificate, PrivateKey), CannotStage> {
        let identity = &self.seen.identity;
        let key = PrivateKey::generate(entropy);
        let mut validity = self.validity();
        validity.not_after = validity.not_after.min(root.not_after());
        let certificate =
            pki::issuer(root, root_key, &identity.trust_domain, &identity.namespace, &key, &validity, entropy)?;
        Ok((certificate, key))
    }

    /// The new issuer, the new root cross-signed by the live issuer, then the whole live chain.
    fn bridge(&self, new: Trio, entropy: Entropy) -> Result<Trio, CannotStage> {
        let from = self.from()?;
        let root = new.last_root().ok_or(CannotStage::NoRoot)?;
        let validity =
            Validity { not_before: self.validity().not_before.max(root.not_before()), not_after: root.not_after() };
        let cross = pki::cross_sign(root, from.issuer.certificate(), &from.issuer.key, &validity, entropy)?;
        let mut chain = new.issuer.chain.clone();
        chain.push(cross);
        chain.extend(live(&from.issuer.chain, self.seen.now));
        let trust = self.beside_the_old(new.trust.anchors())?;
        Ok(Trio { trust, issuer: Issuer { chain, key: new.issuer.key } })
    }

    fn same_key(&self, entropy: Entropy) -> Result<Trio, CannotStage> {
        let Inputs::Key(key) = &self.request.inputs else {
            return Err(CannotStage::Needs("the live root's key"));
        };
        let live_root = self.live_root()?;
        let root = pki::same_key_root(live_root, key, &self.validity(), entropy)?;
        let (certificate, issuer_key) = self.issuer(&root, key, entropy)?;
        let trust = self.beside_the_old(std::slice::from_ref(&root))?;
        Ok(Trio { trust, issuer: Issuer { chain: self.with_tail(vec![certificate])?, key: issuer_key } })
    }

    fn under_live_root(&self, entropy: Entropy) -> Result<Trio, CannotStage> {
        let (chain, key) = match &self.request.inputs {
            Inputs::Given(trio) => (trio.issuer.chain.clone(), trio.issuer.key.clone()),
            Inputs::Key(root_key) => {
                let (certificate, key) = self.issuer(self.live_root()?, root_key, entropy)?;
                (vec![certificate], key)
            }
            Inputs::Fresh => return Err(CannotStage::Needs("the live root's key, or an issuer under that root")),
        };
        let trust = self.beside_the_old(&[])?;
        Ok(Trio { trust, issuer: Issuer { chain: self.with_tail(chain)?, key } })
    }

    fn previous(&self) -> Result<Trio, CannotStage> {
        let previous = self.record.and_then(|record| record.goal.previous.clone()).ok_or(CannotStage::NoIssuer)?;
        Ok(Trio { trust: self.beside_the_old(previous.trust.anchors())?, issuer: previous.issuer })
    }

    /// The chain must be in order, so a new issuer under the live root takes the place of the live issuer, and what
    /// stood behind that one stays: peers that hold only an older root need it.
    fn with_tail(&self, mut chain: Vec<Certificate>) -> Result<Vec<Certificate>, CannotStage> {
        let live_chain = &self.from()?.issuer.chain;
        let own = below(live_chain, self.live_root()?).len();
        chain.extend(live(&live_chain[own..], self.seen.now));
        Ok(chain)
    }

    fn live_root(&self) -> Result<&Certificate, CannotStage> {
        live_root(self.seen).ok_or(CannotStage::NoRoot)
    }

    /// `new` in front of every anchor that is published.
    fn beside_the_old(&self, new: &[Certificate]) -> Result<TrustBundle, CannotStage> {
        let old = self.from.map_or_else(|| self.seen.published.own_anchors(), |trio| trio.trust.anchors().to_vec());
        bundle(new.iter().cloned().chain(old).collect())
    }
}

fn bundle(anchors: Vec<Certificate>) -> Result<TrustBundle, CannotStage> {
    Ok(TrustBundle::from_anchors(anchors)?)
}
